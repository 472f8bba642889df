/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What can be watched from outside while the driver runs?
 *
 * Tracepoints of the system "ipoib": state changes and dropped packets. They
 * carry numbers. The formats have the names as well, and call no function, so
 * that perf and trace-cmd can decode them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ipoib

#if !defined(IPOIB_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define IPOIB_TRACE_H

#include <linux/netdevice.h>
#include <linux/tracepoint.h>

#include "ipoib.h"

/* enum ipoib_link_event */
TRACE_DEFINE_ENUM(IPOIB_EV_REMOVE);
TRACE_DEFINE_ENUM(IPOIB_EV_ADMIN_UP);
TRACE_DEFINE_ENUM(IPOIB_EV_ADMIN_UP_NO_PKEY);
TRACE_DEFINE_ENUM(IPOIB_EV_ADMIN_DOWN);
TRACE_DEFINE_ENUM(IPOIB_EV_PKEY_LOST);
TRACE_DEFINE_ENUM(IPOIB_EV_PKEY_CHANGED);
TRACE_DEFINE_ENUM(IPOIB_EV_PKEY_MOVED);
TRACE_DEFINE_ENUM(IPOIB_EV_PORT_LOST);
TRACE_DEFINE_ENUM(IPOIB_EV_GID_CHANGED);
TRACE_DEFINE_ENUM(IPOIB_EV_GID_LOST);
TRACE_DEFINE_ENUM(IPOIB_EV_LID_CHANGED);
TRACE_DEFINE_ENUM(IPOIB_EV_SM_CHANGED);
TRACE_DEFINE_ENUM(IPOIB_EV_REREGISTER);
TRACE_DEFINE_ENUM(IPOIB_EV_BROKEN);
TRACE_DEFINE_ENUM(IPOIB_EV_STUCK);
TRACE_DEFINE_ENUM(IPOIB_EV_JOIN_LOST);
TRACE_DEFINE_ENUM(IPOIB_EV_JOIN_CHANGED);
TRACE_DEFINE_ENUM(IPOIB_EV_RESUMED);
TRACE_DEFINE_ENUM(IPOIB_EV_JOINED);

#define ipoib_show_link_event(value)					\
	__print_symbolic(value,						\
		{ IPOIB_EV_REMOVE, "REMOVE" },				\
		{ IPOIB_EV_ADMIN_UP, "ADMIN_UP" },			\
		{ IPOIB_EV_ADMIN_UP_NO_PKEY, "ADMIN_UP_NO_PKEY" },	\
		{ IPOIB_EV_ADMIN_DOWN, "ADMIN_DOWN" },			\
		{ IPOIB_EV_PKEY_LOST, "PKEY_LOST" },			\
		{ IPOIB_EV_PKEY_CHANGED, "PKEY_CHANGED" },		\
		{ IPOIB_EV_PKEY_MOVED, "PKEY_MOVED" },			\
		{ IPOIB_EV_PORT_LOST, "PORT_LOST" },			\
		{ IPOIB_EV_GID_CHANGED, "GID_CHANGED" },		\
		{ IPOIB_EV_GID_LOST, "GID_LOST" },			\
		{ IPOIB_EV_LID_CHANGED, "LID_CHANGED" },		\
		{ IPOIB_EV_SM_CHANGED, "SM_CHANGED" },			\
		{ IPOIB_EV_REREGISTER, "REREGISTER" },			\
		{ IPOIB_EV_BROKEN, "BROKEN" },				\
		{ IPOIB_EV_STUCK, "STUCK" },				\
		{ IPOIB_EV_JOIN_LOST, "JOIN_LOST" },			\
		{ IPOIB_EV_JOIN_CHANGED, "JOIN_CHANGED" },		\
		{ IPOIB_EV_RESUMED, "RESUMED" },			\
		{ IPOIB_EV_JOINED, "JOINED" })

/* enum ipoib_link_state */
TRACE_DEFINE_ENUM(IPOIB_LINK_DOWN);
TRACE_DEFINE_ENUM(IPOIB_LINK_NO_PKEY);
TRACE_DEFINE_ENUM(IPOIB_LINK_JOINING);
TRACE_DEFINE_ENUM(IPOIB_LINK_ACTIVE);
TRACE_DEFINE_ENUM(IPOIB_LINK_DEAD);

#define ipoib_show_link_state(value)					\
	__print_symbolic(value,						\
		{ IPOIB_LINK_DOWN, "DOWN" },				\
		{ IPOIB_LINK_NO_PKEY, "NO_PKEY" },			\
		{ IPOIB_LINK_JOINING, "JOINING" },			\
		{ IPOIB_LINK_ACTIVE, "ACTIVE" },			\
		{ IPOIB_LINK_DEAD, "DEAD" })

/* enum ipoib_mcast_event */
TRACE_DEFINE_ENUM(IPOIB_MC_START);
TRACE_DEFINE_ENUM(IPOIB_MC_ANSWER);
TRACE_DEFINE_ENUM(IPOIB_MC_REFUSAL);
TRACE_DEFINE_ENUM(IPOIB_MC_ATTACHED);
TRACE_DEFINE_ENUM(IPOIB_MC_ATTACH_FAILED);
TRACE_DEFINE_ENUM(IPOIB_MC_RETRY);
TRACE_DEFINE_ENUM(IPOIB_MC_RENEW);
TRACE_DEFINE_ENUM(IPOIB_MC_EXPIRED);
TRACE_DEFINE_ENUM(IPOIB_MC_STOP);
TRACE_DEFINE_ENUM(IPOIB_MC_UNREADY);

#define ipoib_show_mcast_event(value)					\
	__print_symbolic(value,						\
		{ IPOIB_MC_START, "START" },				\
		{ IPOIB_MC_ANSWER, "ANSWER" },				\
		{ IPOIB_MC_REFUSAL, "REFUSAL" },			\
		{ IPOIB_MC_ATTACHED, "ATTACHED" },			\
		{ IPOIB_MC_ATTACH_FAILED, "ATTACH_FAILED" },		\
		{ IPOIB_MC_RETRY, "RETRY" },				\
		{ IPOIB_MC_RENEW, "RENEW" },				\
		{ IPOIB_MC_EXPIRED, "EXPIRED" },			\
		{ IPOIB_MC_STOP, "STOP" },				\
		{ IPOIB_MC_UNREADY, "UNREADY" })

/* enum ipoib_mcast_state */
TRACE_DEFINE_ENUM(IPOIB_MCAST_IDLE);
TRACE_DEFINE_ENUM(IPOIB_MCAST_JOINING);
TRACE_DEFINE_ENUM(IPOIB_MCAST_BACKOFF);
TRACE_DEFINE_ENUM(IPOIB_MCAST_JOINED);
TRACE_DEFINE_ENUM(IPOIB_MCAST_ATTACHED);
TRACE_DEFINE_ENUM(IPOIB_MCAST_RENEWING);
TRACE_DEFINE_ENUM(IPOIB_MCAST_STALE);
TRACE_DEFINE_ENUM(IPOIB_MCAST_LEAVING);

#define ipoib_show_mcast_state(value)					\
	__print_symbolic(value,						\
		{ IPOIB_MCAST_IDLE, "IDLE" },				\
		{ IPOIB_MCAST_JOINING, "JOINING" },			\
		{ IPOIB_MCAST_BACKOFF, "BACKOFF" },			\
		{ IPOIB_MCAST_JOINED, "JOINED" },			\
		{ IPOIB_MCAST_ATTACHED, "ATTACHED" },			\
		{ IPOIB_MCAST_RENEWING, "RENEWING" },			\
		{ IPOIB_MCAST_STALE, "STALE" },				\
		{ IPOIB_MCAST_LEAVING, "LEAVING" })

/* enum ipoib_path_state */
TRACE_DEFINE_ENUM(IPOIB_PATH_WANTED);
TRACE_DEFINE_ENUM(IPOIB_PATH_QUERYING);
TRACE_DEFINE_ENUM(IPOIB_PATH_ANSWERED);
TRACE_DEFINE_ENUM(IPOIB_PATH_READY);
TRACE_DEFINE_ENUM(IPOIB_PATH_STALE);
TRACE_DEFINE_ENUM(IPOIB_PATH_BACKOFF);
TRACE_DEFINE_ENUM(IPOIB_PATH_DEAD);

#define ipoib_show_path_state(value)					\
	__print_symbolic(value,						\
		{ IPOIB_PATH_WANTED, "WANTED" },			\
		{ IPOIB_PATH_QUERYING, "QUERYING" },			\
		{ IPOIB_PATH_ANSWERED, "ANSWERED" },			\
		{ IPOIB_PATH_READY, "READY" },				\
		{ IPOIB_PATH_STALE, "STALE" },				\
		{ IPOIB_PATH_BACKOFF, "BACKOFF" },			\
		{ IPOIB_PATH_DEAD, "DEAD" })

/* enum ipoib_heal_stage */
TRACE_DEFINE_ENUM(IPOIB_HEAL_REARM);
TRACE_DEFINE_ENUM(IPOIB_HEAL_SQE);
TRACE_DEFINE_ENUM(IPOIB_HEAL_RESET);
TRACE_DEFINE_ENUM(IPOIB_HEAL_RECREATE);

#define ipoib_show_heal_stage(value)					\
	__print_symbolic(value,						\
		{ IPOIB_HEAL_REARM, "REARM" },				\
		{ IPOIB_HEAL_SQE, "SQE" },				\
		{ IPOIB_HEAL_RESET, "RESET" },				\
		{ IPOIB_HEAL_RECREATE, "RECREATE" })

/* enum ipoib_drop_reason */
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_SHORT);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_PROTO);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_LINK);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_PARK_FULL);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_NO_PATH);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_NO_GROUP);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_FORGOTTEN);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_NO_MEM);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_TOO_BIG);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_LINEARIZE);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_MAP);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_POST);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_RING_FULL);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_ERROR);
TRACE_DEFINE_ENUM(IPOIB_DROP_TX_FLUSHED);
TRACE_DEFINE_ENUM(IPOIB_DROP_RX_RUNT);
TRACE_DEFINE_ENUM(IPOIB_DROP_RX_PROTO);
TRACE_DEFINE_ENUM(IPOIB_DROP_RX_ECHO);
TRACE_DEFINE_ENUM(IPOIB_DROP_RX_ERROR);
TRACE_DEFINE_ENUM(IPOIB_DROP_RX_NO_MEM);

#define ipoib_show_drop_reason(value)					\
	__print_symbolic(value,						\
		{ IPOIB_DROP_TX_SHORT, "tx_short" },			\
		{ IPOIB_DROP_TX_PROTO, "tx_proto" },			\
		{ IPOIB_DROP_TX_LINK, "tx_link" },			\
		{ IPOIB_DROP_TX_PARK_FULL, "tx_park_full" },		\
		{ IPOIB_DROP_TX_NO_PATH, "tx_no_path" },		\
		{ IPOIB_DROP_TX_NO_GROUP, "tx_no_group" },		\
		{ IPOIB_DROP_TX_FORGOTTEN, "tx_forgotten" },		\
		{ IPOIB_DROP_TX_NO_MEM, "tx_no_mem" },			\
		{ IPOIB_DROP_TX_TOO_BIG, "tx_too_big" },		\
		{ IPOIB_DROP_TX_LINEARIZE, "tx_linearize" },		\
		{ IPOIB_DROP_TX_MAP, "tx_map" },			\
		{ IPOIB_DROP_TX_POST, "tx_post" },			\
		{ IPOIB_DROP_TX_RING_FULL, "tx_ring_full" },		\
		{ IPOIB_DROP_TX_ERROR, "tx_error" },			\
		{ IPOIB_DROP_TX_FLUSHED, "tx_flushed" },		\
		{ IPOIB_DROP_RX_RUNT, "rx_runt" },			\
		{ IPOIB_DROP_RX_PROTO, "rx_proto" },			\
		{ IPOIB_DROP_RX_ECHO, "rx_echo" },			\
		{ IPOIB_DROP_RX_ERROR, "rx_error" },			\
		{ IPOIB_DROP_RX_NO_MEM, "rx_no_mem" })

/* enum ipoib_link_reason */
TRACE_DEFINE_ENUM(IPOIB_WHY_UP);
TRACE_DEFINE_ENUM(IPOIB_WHY_REMOVED);
TRACE_DEFINE_ENUM(IPOIB_WHY_HCA_WEDGED);
TRACE_DEFINE_ENUM(IPOIB_WHY_ADMIN_DOWN);
TRACE_DEFINE_ENUM(IPOIB_WHY_PKEY_ABSENT);
TRACE_DEFINE_ENUM(IPOIB_WHY_PORT_DOWN);
TRACE_DEFINE_ENUM(IPOIB_WHY_LID_0);
TRACE_DEFINE_ENUM(IPOIB_WHY_GID_ABSENT);
TRACE_DEFINE_ENUM(IPOIB_WHY_RESTARTING);
TRACE_DEFINE_ENUM(IPOIB_WHY_MTU_MISMATCH);
TRACE_DEFINE_ENUM(IPOIB_WHY_SM_UNREACHABLE);
TRACE_DEFINE_ENUM(IPOIB_WHY_BCAST_JOINING);

#define ipoib_show_link_reason(value)					\
	__print_symbolic(value,						\
		{ IPOIB_WHY_UP, "up" },					\
		{ IPOIB_WHY_REMOVED, "removed" },			\
		{ IPOIB_WHY_HCA_WEDGED, "hca-wedged" },			\
		{ IPOIB_WHY_ADMIN_DOWN, "admin-down" },			\
		{ IPOIB_WHY_PKEY_ABSENT, "pkey-absent" },		\
		{ IPOIB_WHY_PORT_DOWN, "port-down" },			\
		{ IPOIB_WHY_LID_0, "lid-0" },				\
		{ IPOIB_WHY_GID_ABSENT, "gid-absent" },			\
		{ IPOIB_WHY_RESTARTING, "restarting" },			\
		{ IPOIB_WHY_MTU_MISMATCH, "mtu-mismatch" },		\
		{ IPOIB_WHY_SM_UNREACHABLE, "sm-unreachable" },		\
		{ IPOIB_WHY_BCAST_JOINING, "bcast-joining" })

TRACE_EVENT(ipoib_link,
	    TP_PROTO(const struct net_device *dev, u8 event, u8 from, u8 to),
	    TP_ARGS(dev, event, from, to),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __field(u8, event)
			     __field(u8, from)
			     __field(u8, to)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   __entry->event = event;
			   __entry->from = from;
			   __entry->to = to;),
	    TP_printk("ifindex=%d event=%u state=%u->%u (%s: %s->%s)",
		      __entry->ifindex, __entry->event, __entry->from,
		      __entry->to, ipoib_show_link_event(__entry->event),
		      ipoib_show_link_state(__entry->from),
		      ipoib_show_link_state(__entry->to))
);

TRACE_EVENT(ipoib_reason,
	    TP_PROTO(const struct net_device *dev, u8 reason, int status,
		     u32 tries),
	    TP_ARGS(dev, reason, status, tries),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __field(u8, reason)
			     __field(int, status)
			     __field(u32, tries)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   __entry->reason = reason;
			   __entry->status = status;
			   __entry->tries = tries;),
	    TP_printk("ifindex=%d reason=%s status=%d tries=%u",
		      __entry->ifindex,
		      ipoib_show_link_reason(__entry->reason),
		      __entry->status, __entry->tries)
);

TRACE_EVENT(ipoib_child,
	    TP_PROTO(const struct net_device *parent,
		     const struct net_device *dev, u16 pkey, bool added),
	    TP_ARGS(parent, dev, pkey, added),
	    TP_STRUCT__entry(__field(int, parent)
			     __field(int, ifindex)
			     __field(u16, pkey)
			     __field(bool, added)),
	    TP_fast_assign(__entry->parent = parent->ifindex;
			   __entry->ifindex = dev->ifindex;
			   __entry->pkey = pkey;
			   __entry->added = added;),
	    TP_printk("ifindex=%d parent=%d pkey=%#06x %s", __entry->ifindex,
		      __entry->parent, __entry->pkey,
		      __entry->added ? "added" : "removed")
);

TRACE_EVENT(ipoib_neigh,
	    TP_PROTO(const struct net_device *dev, const u8 *ha, bool added),
	    TP_ARGS(dev, ha, added),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __array(u8, ha, 20)
			     __field(bool, added)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   memcpy(__entry->ha, ha, 20);
			   __entry->added = added;),
	    TP_printk("ifindex=%d ha=%20phC %s", __entry->ifindex,
		      __entry->ha, __entry->added ? "added" : "removed")
);

TRACE_EVENT(ipoib_queue,
	    TP_PROTO(const struct net_device *dev, u16 queue, bool stopped),
	    TP_ARGS(dev, queue, stopped),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __field(u16, queue)
			     __field(bool, stopped)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->stopped = stopped;),
	    TP_printk("ifindex=%d queue=%u %s", __entry->ifindex,
		      __entry->queue, __entry->stopped ? "stopped" : "woken")
);

TRACE_EVENT(ipoib_mcast,
	    TP_PROTO(const struct net_device *dev, const u8 *mgid, u8 event,
		     u8 from, u8 to),
	    TP_ARGS(dev, mgid, event, from, to),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __array(u8, mgid, 16)
			     __field(u8, event)
			     __field(u8, from)
			     __field(u8, to)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   memcpy(__entry->mgid, mgid, 16);
			   __entry->event = event;
			   __entry->from = from;
			   __entry->to = to;),
	    TP_printk("ifindex=%d mgid=%pI6 event=%u state=%u->%u (%s: %s->%s)",
		      __entry->ifindex, __entry->mgid, __entry->event,
		      __entry->from, __entry->to,
		      ipoib_show_mcast_event(__entry->event),
		      ipoib_show_mcast_state(__entry->from),
		      ipoib_show_mcast_state(__entry->to))
);

TRACE_EVENT(ipoib_path,
	    TP_PROTO(const struct net_device *dev, const u8 *gid, u8 from,
		     u8 to, int status),
	    TP_ARGS(dev, gid, from, to, status),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __array(u8, gid, 16)
			     __field(u8, from)
			     __field(u8, to)
			     __field(int, status)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   memcpy(__entry->gid, gid, 16);
			   __entry->from = from;
			   __entry->to = to;
			   __entry->status = status;),
	    TP_printk("ifindex=%d gid=%pI6 state=%u->%u status=%d (%s->%s)",
		      __entry->ifindex, __entry->gid, __entry->from,
		      __entry->to, __entry->status,
		      ipoib_show_path_state(__entry->from),
		      ipoib_show_path_state(__entry->to))
);

TRACE_EVENT(ipoib_heal,
	    TP_PROTO(const struct net_device *dev, u16 queue, u8 stage),
	    TP_ARGS(dev, queue, stage),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __field(u16, queue)
			     __field(u8, stage)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->stage = stage;),
	    TP_printk("ifindex=%d queue=%u stage=%u (%s)", __entry->ifindex,
		      __entry->queue, __entry->stage,
		      ipoib_show_heal_stage(__entry->stage))
);

TRACE_EVENT(ipoib_drop,
	    TP_PROTO(const struct net_device *dev, const struct sk_buff *skb,
		     u8 reason),
	    TP_ARGS(dev, skb, reason),
	    TP_STRUCT__entry(__field(int, ifindex)
			     __field(const void *, skbaddr)
			     __field(u8, reason)),
	    TP_fast_assign(__entry->ifindex = dev->ifindex;
			   __entry->skbaddr = skb;
			   __entry->reason = reason;),
	    TP_printk("ifindex=%d skbaddr=%p reason=%u (%s)", __entry->ifindex,
		      __entry->skbaddr, __entry->reason,
		      ipoib_show_drop_reason(__entry->reason))
);

#endif /* IPOIB_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE ipoib_trace
#include <trace/define_trace.h>
