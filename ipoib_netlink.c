// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What does rtnetlink see of an interface, and what may it change?
 *
 * The kind "ipoib" on the interfaces of ports. They come and go with the HCA:
 * without a setup function and a dellink the core refuses to make or delete
 * one.
 *
 * And the virtual functions of an interface's HCA, which are asked about and
 * set by the interface, but are the HCA's own matter.
 *
 * Stages: change, show, virtual functions.
 */
#include <linux/if_link.h>
#include <linux/netlink.h>

#include <net/netlink.h>
#include <net/rtnetlink.h>

#include <rdma/ib_verbs.h>

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

/* ---- virtual functions ---- */

/**
 * ipoib_set_vf_link_state() - ndo_set_vf_link_state
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @state: IFLA_VF_LINK_STATE_*, of the function's port of the same number
 *
 * Return: 0 or what the HCA says: -EOPNOTSUPP without virtual functions.
 */
int ipoib_set_vf_link_state(struct net_device *dev, int vf, int state)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	return ib_set_vf_link_state(ipd->ibdev, vf, ipd->port, state);
}

/**
 * ipoib_set_vf_guid() - ndo_set_vf_guid
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @guid: what the function is to have, in host order
 * @type: IFLA_VF_IB_NODE_GUID or IFLA_VF_IB_PORT_GUID
 *
 * Return: 0, -EINVAL for another type, or what the HCA says.
 */
int ipoib_set_vf_guid(struct net_device *dev, int vf, u64 guid, int type)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (type != IFLA_VF_IB_NODE_GUID && type != IFLA_VF_IB_PORT_GUID)
		return -EINVAL;

	return ib_set_vf_guid(ipd->ibdev, vf, ipd->port, guid, type);
}

/**
 * ipoib_get_vf_guid() - ndo_get_vf_guid
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @node_guid: the function's
 * @port_guid: of its port
 *
 * Return: 0 or what the HCA says.
 */
int ipoib_get_vf_guid(struct net_device *dev, int vf,
		      struct ifla_vf_guid *node_guid,
		      struct ifla_vf_guid *port_guid)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	return ib_get_vf_guid(ipd->ibdev, vf, ipd->port, node_guid, port_guid);
}

/**
 * ipoib_get_vf_config() - ndo_get_vf_config
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @info: what there is to show of it
 *
 * A function's own hardware address is its driver's to make, so what is shown
 * is that of this interface.
 *
 * Return: 0 or what the HCA says.
 */
int ipoib_get_vf_config(struct net_device *dev, int vf,
			struct ifla_vf_info *info)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	err = ib_get_vf_config(ipd->ibdev, vf, ipd->port, info);
	if (err)
		return err;

	/* last, as an HCA may clear what it does not know */
	info->vf = vf;
	memcpy(info->mac, dev->dev_addr, dev->addr_len);
	return 0;
}

/**
 * ipoib_get_vf_stats() - ndo_get_vf_stats
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @stats: what came and went by its port
 *
 * Return: 0 or what the HCA says.
 */
int ipoib_get_vf_stats(struct net_device *dev, int vf,
		       struct ifla_vf_stats *stats)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	return ib_get_vf_stats(ipd->ibdev, vf, ipd->port, stats);
}
