// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What does rtnetlink see of an interface, and what may it change, make and
 * delete?
 *
 * The kind "ipoib": the interfaces of ports, which come and go with the HCA,
 * and children on them, which may be made and deleted here.
 *
 * And the virtual functions of an interface's HCA, which are asked about and
 * set by the interface, but are the HCA's own matter.
 *
 * Stages: change, make, delete, show, table, virtual functions.
 */
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/netlink.h>

#include <net/netlink.h>
#include <net/rtnetlink.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"

static const struct nla_policy ipoib_policy[IFLA_IPOIB_MAX + 1] = {
	/* of these none is cut, or filled up, to two bytes */
	[IFLA_IPOIB_UNSPEC] = { .strict_start_type = IFLA_IPOIB_PKEY },
	[IFLA_IPOIB_PKEY] = { .type = NLA_U16 },
	[IFLA_IPOIB_MODE] = { .type = NLA_U16 },
	[IFLA_IPOIB_UMCAST] = { .type = NLA_U16 },
};

/* ---- change ---- */

static int ipoib_link_mode(struct ipoib_dev *ipd, struct nlattr *data[],
			   struct netlink_ext_ack *extack)
{
	u16 mode;

	if (!data || !data[IFLA_IPOIB_MODE])
		return 0;

	mode = nla_get_u16(data[IFLA_IPOIB_MODE]);
	if (mode <= IPOIB_MODE_CONNECTED)
		return ipoib_mode_set(ipd, mode == IPOIB_MODE_CONNECTED,
				      extack);

	NL_SET_ERR_MSG_ATTR(extack, data[IFLA_IPOIB_MODE],
			    "The mode is 0, datagram, or 1, connected");
	return -EINVAL;
}

static int ipoib_changelink(struct net_device *dev, struct nlattr *tb[],
			    struct nlattr *data[],
			    struct netlink_ext_ack *extack)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	if (!data)
		return 0;

	/* what `ip link` repeats from its own listing is no change */
	if (data[IFLA_IPOIB_PKEY] &&
	    !ipoib_pkey_same(nla_get_u16(data[IFLA_IPOIB_PKEY]),
			     ipoib_link_pkey(ipd))) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_IPOIB_PKEY],
				    "The P_Key of an interface does not change");
		return -EOPNOTSUPP;
	}

	err = ipoib_link_mode(ipd, data, extack);
	if (err)
		return err;

	if (data[IFLA_IPOIB_UMCAST])
		ipoib_umcast_set(ipd, nla_get_u16(data[IFLA_IPOIB_UMCAST]));

	return 0;
}

/* ---- make ---- */

/* The interface a child is to hang on, from IFLA_LINK. */
static struct ipoib_dev *ipoib_newlink_parent(struct net *net,
					      struct nlattr *tb[],
					      struct netlink_ext_ack *extack)
{
	struct net_device *dev;
	struct ipoib_dev *ipd;

	if (!tb[IFLA_LINK]) {
		NL_SET_ERR_MSG_MOD(extack, "A child needs a parent: link NAME");
		return ERR_PTR(-EINVAL);
	}

	dev = __dev_get_by_index(net, nla_get_u32(tb[IFLA_LINK]));
	/* a bond, a team or a tun may have the hardware type, too */
	if (!dev || !ipoib_netdev_is_ours(dev)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_LINK],
				    "The parent is no interface of this driver");
		return ERR_PTR(-ENODEV);
	}

	ipd = ipoib_from_netdev(dev);
	if (ipd->parent) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_LINK],
				    "The parent is a child itself");
		return ERR_PTR(-EINVAL);
	}
	if (dev->reg_state != NETREG_REGISTERED || ipoib_link_is_dead(ipd)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_LINK],
				    "The parent is being removed");
		return ERR_PTR(-ENODEV);
	}

	return ipd;
}

static int ipoib_newlink_pkey(struct ipoib_dev *parent, struct nlattr *data[],
			      u16 *pkey, struct netlink_ext_ack *extack)
{
	*pkey = ipoib_link_pkey(parent);
	if (data && data[IFLA_IPOIB_PKEY])
		*pkey = nla_get_u16(data[IFLA_IPOIB_PKEY]);
	if (ipoib_pkey_valid(*pkey))
		return 0;

	NL_SET_ERR_MSG_MOD(extack, "P_Key 0x0000 and 0x8000 name no partition");
	return -EINVAL;
}

/* The core has put it into the netdev before; with us its length counts. */
static int ipoib_newlink_address(struct ipoib_dev *parent, struct nlattr *tb[],
				 __be64 *guid, struct netlink_ext_ack *extack)
{
	struct ipoib_hwaddr above, ha;
	union ib_gid gid;

	*guid = 0;
	if (!tb[IFLA_ADDRESS])
		return 0;
	if (nla_len(tb[IFLA_ADDRESS]) != sizeof(ha)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_ADDRESS],
				    "A link address has 20 bytes");
		return -EINVAL;
	}

	memcpy(&ha, nla_data(tb[IFLA_ADDRESS]), sizeof(ha));
	memcpy(&above, parent->netdev->dev_addr, sizeof(above));
	gid = ipoib_hwaddr_gid(&ha);
	if (!memchr_inv(&ha, 0, sizeof(ha)))
		return 0;
	if (!gid.global.interface_id) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_ADDRESS],
				    "The last 8 bytes of the address are a GUID, and not 0");
		return -EINVAL;
	}
	if (memcmp(ha.gid, above.gid, sizeof(gid.global.subnet_prefix))) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_ADDRESS],
				    "The address has another subnet prefix than the parent's");
		return -EINVAL;
	}

	if (memcmp(ha.gid, above.gid, sizeof(ha.gid)))
		*guid = gid.global.interface_id;
	return 0;
}

static int ipoib_newlink_mtu(struct ipoib_dev *ipd, struct nlattr *tb[],
			     struct netlink_ext_ack *extack)
{
	unsigned int mtu_bytes;

	if (!tb[IFLA_MTU])
		return 0;

	mtu_bytes = nla_get_u32(tb[IFLA_MTU]);
	if (mtu_bytes < IPOIB_MIN_MTU_BYTES ||
	    mtu_bytes > ipoib_ud_mtu_bytes(ipd->max_ib_mtu)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_MTU],
				    "The MTU is below 68, or more than the port can ever carry");
		return -EINVAL;
	}

	ipd->admin_mtu = mtu_bytes;
	ipd->netdev->mtu = mtu_bytes;
	return 0;
}

static int ipoib_newlink_broadcast(struct ipoib_dev *ipd, struct nlattr *tb[],
				   struct netlink_ext_ack *extack)
{
	struct ipoib_hwaddr ha;

	if (!tb[IFLA_BROADCAST])
		return 0;

	if (nla_len(tb[IFLA_BROADCAST]) == sizeof(ha)) {
		memcpy(&ha, nla_data(tb[IFLA_BROADCAST]), sizeof(ha));
		if (ipoib_hwaddr_is_broadcast(&ha)) {
			memcpy(ipd->netdev->broadcast, &ha, sizeof(ha));
			return 0;
		}
	}

	NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_BROADCAST],
			    "That is no broadcast address of an IPoIB link (RFC 4391)");
	return -EINVAL;
}

/* What the user asked for, on top of what is the parent's. */
static int ipoib_newlink_fill(struct ipoib_dev *ipd, struct nlattr *tb[],
			      struct nlattr *data[],
			      struct netlink_ext_ack *extack)
{
	int err;

	err = ipoib_newlink_mtu(ipd, tb, extack);
	if (err)
		return err;
	err = ipoib_newlink_broadcast(ipd, tb, extack);
	if (err)
		return err;
	err = ipoib_link_mode(ipd, data, extack);
	if (err)
		return err;

	if (data && data[IFLA_IPOIB_UMCAST])
		ipoib_umcast_set(ipd, nla_get_u16(data[IFLA_IPOIB_UMCAST]));
	return 0;
}

static int ipoib_newlink(struct net_device *dev,
			 struct rtnl_newlink_params *params,
			 struct netlink_ext_ack *extack)
{
	struct nlattr **data = params->data;
	struct nlattr **tb = params->tb;
	struct ipoib_dev *parent, *ipd;
	__be64 guid;
	u16 pkey;
	int err;

	parent = ipoib_newlink_parent(rtnl_newlink_link_net(params), tb,
				      extack);
	if (IS_ERR(parent))
		return PTR_ERR(parent);

	err = ipoib_newlink_pkey(parent, data, &pkey, extack);
	if (err)
		return err;
	err = ipoib_newlink_address(parent, tb, &guid, extack);
	if (err)
		return err;

	ipd = ipoib_child_prepare(parent, dev, pkey);
	if (IS_ERR(ipd))
		return PTR_ERR(ipd);

	ipoib_child_choose_guid(ipd, guid);
	err = ipoib_newlink_fill(ipd, tb, data, extack);
	if (!err)
		err = ipoib_child_register(ipd);
	if (err)
		ipoib_dev_free(dev);

	return err;
}

static unsigned int ipoib_get_num_tx_queues(void)
{
	return IPOIB_MAX_TXQ;
}

static unsigned int ipoib_get_num_rx_queues(void)
{
	return READ_ONCE(ipoib_link_rx_queues);
}

/* ---- delete ---- */

/* The core does not ask whether it may: the log is all there is to say no. */
static void ipoib_dellink(struct net_device *dev, struct list_head *head)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->parent)
		unregister_netdevice_queue(dev, head);
	else
		ipoib_info(ipd, "not deleted: the interface of a port goes with its HCA or with the module\n");
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

/* Where a child's IFLA_LINK is an index of. */
static struct net *ipoib_get_link_net(const struct net_device *dev)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	return dev_net(ipd->parent ? ipd->parent->netdev : dev);
}

/* ---- table ---- */

unsigned int ipoib_link_rx_queues = 1;

/* not const: the core keeps its own bookkeeping in it */
struct rtnl_link_ops ipoib_link_ops __read_mostly = {
	.kind = "ipoib",
	.netns_refund = true,
	.maxtype = IFLA_IPOIB_MAX,
	.policy = ipoib_policy,
	.priv_size = sizeof(struct rdma_netdev),
	.setup = ipoib_setup,
	.newlink = ipoib_newlink,
	.changelink = ipoib_changelink,
	.dellink = ipoib_dellink,
	.get_size = ipoib_get_size,
	.fill_info = ipoib_fill_info,
	.get_link_net = ipoib_get_link_net,
	.get_num_tx_queues = ipoib_get_num_tx_queues,
	.get_num_rx_queues = ipoib_get_num_rx_queues,
};

/**
 * ipoib_link_make_room() - have rtnetlink allocate what an HCA's netdevs need
 * @ibdev: HCA
 * @port: from 1
 *
 * rtnetlink allocates before it says for which HCA, so the largest counts.
 */
void ipoib_link_make_room(struct ib_device *ibdev, u32 port)
{
	struct rdma_netdev_alloc_params params = {};

	if (!ibdev->ops.rdma_netdev_get_params ||
	    ibdev->ops.rdma_netdev_get_params(ibdev, port, RDMA_NETDEV_IPOIB,
					      &params))
		return;

	rtnl_lock();
	ipoib_link_ops.priv_size = max(ipoib_link_ops.priv_size,
				       params.sizeof_priv);
	WRITE_ONCE(ipoib_link_rx_queues,
		   max_t(unsigned int, ipoib_link_rx_queues, params.rxqs));
	rtnl_unlock();
}

/* ---- virtual functions ---- */

/*
 * Who was given a child, maybe the root of a container, administers a link, and
 * not the HCA.
 */
static bool ipoib_vf_may_set(const struct ipoib_dev *ipd)
{
	if (!ipd->parent || capable(CAP_NET_ADMIN))
		return true;

	ipoib_info(ipd, "virtual functions not set: that takes the administrator of the machine\n");
	return false;
}

/**
 * ipoib_set_vf_link_state() - ndo_set_vf_link_state
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @state: IFLA_VF_LINK_STATE_*, of the function's port of the same number
 *
 * Return: 0, -EPERM, or what the HCA says: -EOPNOTSUPP without virtual
 * functions.
 */
int ipoib_set_vf_link_state(struct net_device *dev, int vf, int state)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (!ipoib_vf_may_set(ipd))
		return -EPERM;

	return ib_set_vf_link_state(ipd->ibdev, vf, ipd->port, state);
}

/**
 * ipoib_set_vf_guid() - ndo_set_vf_guid
 * @dev: interface
 * @vf: number of a virtual function of its HCA
 * @guid: what the function is to have, in host order
 * @type: IFLA_VF_IB_NODE_GUID or IFLA_VF_IB_PORT_GUID
 *
 * Return: 0, -EINVAL for another type, -EPERM, or what the HCA says.
 */
int ipoib_set_vf_guid(struct net_device *dev, int vf, u64 guid, int type)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (type != IFLA_VF_IB_NODE_GUID && type != IFLA_VF_IB_PORT_GUID)
		return -EINVAL;
	if (!ipoib_vf_may_set(ipd))
		return -EPERM;

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
