// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What does rtnetlink see of an interface, and what may it change?
 *
 * The kind "ipoib" on the interfaces of ports. They come and go with the HCA:
 * without a setup function and a dellink the core refuses to make or delete
 * one.
 *
 * Stages: change, show.
 */
#include <linux/if_link.h>
#include <linux/netlink.h>

#include <net/netlink.h>
#include <net/rtnetlink.h>

#include "ipoib.h"

static const struct nla_policy ipoib_policy[IFLA_IPOIB_MAX + 1] = {
	[IFLA_IPOIB_PKEY] = { .type = NLA_U16 },
	[IFLA_IPOIB_MODE] = NLA_POLICY_MAX(NLA_U16, IPOIB_MODE_CONNECTED),
	[IFLA_IPOIB_UMCAST] = { .type = NLA_U16 },
};

/* ---- change ---- */

static int ipoib_changelink(struct net_device *dev, struct nlattr *tb[],
			    struct nlattr *data[],
			    struct netlink_ext_ack *extack)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	u16 mode;
	int err;

	if (!data)
		return 0;

	/* what `ip link` repeats from its own listing is no change */
	if (data[IFLA_IPOIB_PKEY] &&
	    nla_get_u16(data[IFLA_IPOIB_PKEY]) != ipoib_link_pkey(ipd)) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_IPOIB_PKEY],
				    "The P_Key of an interface does not change");
		return -EOPNOTSUPP;
	}

	if (data[IFLA_IPOIB_MODE]) {
		mode = nla_get_u16(data[IFLA_IPOIB_MODE]);
		err = ipoib_mode_set(ipd, mode == IPOIB_MODE_CONNECTED, extack);
		if (err)
			return err;
	}

	if (data[IFLA_IPOIB_UMCAST])
		ipoib_umcast_set(ipd, nla_get_u16(data[IFLA_IPOIB_UMCAST]));

	return 0;
}

/* ---- show ---- */

static size_t ipoib_get_size(const struct net_device *dev)
{
	return nla_total_size(sizeof(u16)) +	/* IFLA_IPOIB_PKEY */
	       nla_total_size(sizeof(u16)) +	/* IFLA_IPOIB_MODE */
	       nla_total_size(sizeof(u16));	/* IFLA_IPOIB_UMCAST */
}

static int ipoib_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (nla_put_u16(skb, IFLA_IPOIB_PKEY, ipoib_link_pkey(ipd)) ||
	    nla_put_u16(skb, IFLA_IPOIB_MODE, IPOIB_MODE_DATAGRAM) ||
	    nla_put_u16(skb, IFLA_IPOIB_UMCAST, READ_ONCE(ipd->umcast)))
		return -EMSGSIZE;

	return 0;
}

/* not const: the core keeps its own bookkeeping in it */
struct rtnl_link_ops ipoib_link_ops __read_mostly = {
	.kind = "ipoib",
	.netns_refund = true,
	.maxtype = IFLA_IPOIB_MAX,
	.policy = ipoib_policy,
	.changelink = ipoib_changelink,
	.get_size = ipoib_get_size,
	.fill_info = ipoib_fill_info,
};
