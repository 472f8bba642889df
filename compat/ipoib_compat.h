/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Which of the newest kernel's names does this one lack?
 *
 * Included before every file of an out-of-tree build; compat/Kbuild.include
 * says what is missing. A callback whose prototype changed gets a thunk: a
 * macro with the callback's own name and arguments, which therefore meets its
 * definition, and puts a function of the older prototype beside it. Uses of the
 * name without arguments, as in a table of callbacks, are that function.
 */
#ifndef IPOIB_COMPAT_H
#define IPOIB_COMPAT_H

#ifdef IPOIB_LACKS_GUARDED_BY
#define __guarded_by(...)
#endif

#ifdef IPOIB_LACKS_KZALLOC_OBJ
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(obj), gfp)
#endif

#ifdef IPOIB_LACKS_NETIF_SET_MTU
/* there is no instance lock to hold or not */
#define netif_set_mtu(dev, mtu)	dev_set_mtu(dev, mtu)
#endif

#ifdef IPOIB_LACKS_ETHTOOL_PUTS
#include <linux/ethtool.h>

static inline void ethtool_puts(u8 **data, const char *text)
{
	strscpy(*data, text, ETH_GSTRING_LEN);
	*data += ETH_GSTRING_LEN;
}
#endif

#ifdef IPOIB_LACKS_QUEUE_SET_NAPI
/* nobody asks which NAPI serves a queue */
static inline void ipoib_no_queue_napi(const void *dev, unsigned int index,
				       const void *napi)
{
}

#define netif_queue_set_napi(dev, index, type, napi)			\
	ipoib_no_queue_napi(dev, index, napi)
#endif

#ifdef IPOIB_LACKS_KFREE_ANY_REASON
#include <linux/netdevice.h>

/* what the interrupted context frees later loses its reason */
static inline void dev_kfree_skb_any_reason(struct sk_buff *skb,
					    enum skb_drop_reason reason)
{
	if (in_hardirq() || irqs_disabled())
		dev_kfree_skb_any(skb);
	else
		kfree_skb_reason(skb, reason);
}
#endif

#ifdef IPOIB_LACKS_RDMA_DEV_NET
#define rdma_dev_net(ibdev)	((void)(ibdev), &init_net)
#endif

#ifdef IPOIB_LACKS_COMPLETED_WAKE
/* the waking macros leave byte queue limits to the driver */
#define __netif_txq_completed_wake(txq_, pkts, bytes, get_desc, start, down) \
({									\
	struct netdev_queue *_txq = (txq_);				\
									\
	netdev_tx_completed_queue(_txq, pkts, bytes);			\
	__netif_txq_maybe_wake(_txq, get_desc, start, down);		\
})
#endif

#ifdef IPOIB_LACKS_IB_SPEED_XDR
/* IBA volume 1, PortInfo: the bit after NDR's */
#define IB_SPEED_XDR		BIT(8)
#endif

#ifdef IPOIB_LACKS_PORT_SPEED_INFO
#include <rdma/ib_verbs.h>

struct ib_port_speed_info {
	const char *str;
	int rate;
};

/* Tenths of Gb/s of a lane; 0 for a speed the headers do not know. */
static inline int ipoib_lane_rate(u16 speed)
{
	switch (speed) {
	case IB_SPEED_SDR:
		return 25;
	case IB_SPEED_DDR:
		return 50;
	case IB_SPEED_QDR:
	case IB_SPEED_FDR10:
		return 100;
	case IB_SPEED_FDR:
		return 140;
	case IB_SPEED_EDR:
		return 250;
	case IB_SPEED_HDR:
		return 500;
	case IB_SPEED_NDR:
		return 1000;
	case IB_SPEED_XDR:
		return 2000;
	default:
		return 0;
	}
}

static inline int ib_port_attr_to_speed_info(struct ib_port_attr *attr,
					     struct ib_port_speed_info *info)
{
	info->str = "";
	info->rate = ipoib_lane_rate(attr->active_speed) *
		     ib_width_enum_to_int(attr->active_width);
	return info->rate > 0 ? 0 : -EINVAL;
}
#endif

#ifdef IPOIB_LACKS_NEWLINK_PARAMS
struct net;
struct nlattr;

struct rtnl_newlink_params {
	struct net *src_net;
	struct nlattr **tb;
	struct nlattr **data;
};

static inline struct net *
rtnl_newlink_link_net(struct rtnl_newlink_params *params)
{
	return params->src_net;
}

#define IPOIB_THUNK_NEWLINK(name, ...)					\
	name##_by_params(__VA_ARGS__);					\
static int name(struct net *src_net, struct net_device *dev,		\
		struct nlattr *tb[], struct nlattr *data[],		\
		struct netlink_ext_ack *extack)				\
{									\
	struct rtnl_newlink_params params = {				\
		.src_net = src_net,					\
		.tb = tb,						\
		.data = data,						\
	};								\
									\
	return name##_by_params(dev, &params, extack);			\
}									\
static int name##_by_params(__VA_ARGS__)
#define ipoib_newlink(...)						\
	IPOIB_THUNK_NEWLINK(ipoib_newlink, __VA_ARGS__)
#endif

#ifdef IPOIB_LACKS_RX_MODE_ASYNC
#define ndo_set_rx_mode_async	ndo_set_rx_mode
#define ipoib_set_rx_mode(...)						\
	ipoib_set_rx_mode_lists(__VA_ARGS__);				\
static void ipoib_set_rx_mode(struct net_device *dev)			\
{									\
	ipoib_set_rx_mode_lists(dev, &dev->uc, &dev->mc);		\
}									\
static int ipoib_set_rx_mode_lists(__VA_ARGS__)
#endif

#ifdef IPOIB_LACKS_UNSIGNED_NUM_PRS
#define ipoib_sa_done(...)						\
	ipoib_sa_done_unsigned(__VA_ARGS__);				\
static void ipoib_sa_done(int status, struct sa_path_rec *rec, int num,	\
			  void *context)				\
{									\
	ipoib_sa_done_unsigned(status, rec, num, context);		\
}									\
static void ipoib_sa_done_unsigned(__VA_ARGS__)
#endif

#endif /* IPOIB_COMPAT_H */
