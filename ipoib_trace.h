/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What can be watched from outside while the driver runs?
 *
 * Tracepoints of the system "ipoib": state changes and dropped packets. They
 * carry numbers; the names of the numbers are in ipoib_wire.h and ipoib.h.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ipoib

#if !defined(IPOIB_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define IPOIB_TRACE_H

#include <linux/netdevice.h>
#include <linux/tracepoint.h>

#include "ipoib.h"

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
	    TP_printk("ifindex=%d event=%u state=%u->%u", __entry->ifindex,
		      __entry->event, __entry->from, __entry->to)
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
		      ipoib_link_reason_name(__entry->reason),
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
	    TP_printk("ifindex=%d mgid=%pI6 event=%u state=%u->%u",
		      __entry->ifindex, __entry->mgid, __entry->event,
		      __entry->from, __entry->to)
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
	    TP_printk("ifindex=%d gid=%pI6 state=%u->%u status=%d",
		      __entry->ifindex, __entry->gid, __entry->from,
		      __entry->to, __entry->status)
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
	    TP_printk("ifindex=%d queue=%u stage=%u", __entry->ifindex,
		      __entry->queue, __entry->stage)
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
	    TP_printk("ifindex=%d skbaddr=%p reason=%u", __entry->ifindex,
		      __entry->skbaddr, __entry->reason)
);

#endif /* IPOIB_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE ipoib_trace
#include <trace/define_trace.h>
