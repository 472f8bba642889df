/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What hurts packets that leave a port onto its cable, and where they wait.
 */
#ifndef FAB_WIREFAULT_H
#define FAB_WIREFAULT_H

#include "fab_rule.h"
#include "fabric.h"

/* Packets that may wait at a port, and how long */
#define FAB_LANE_ROOM		4096
#define FAB_LANE_MAX_US		(60 * USEC_PER_SEC)

/* Bytes of payload that "corrupt" changes */
#define FAB_FAULT_XOR_MAX	16

/* Kinds of queue pair a fault may be limited to */
#define FAB_QP_UD		BIT(0)
#define FAB_QP_GSI		BIT(1)
#define FAB_QP_SMI		BIT(2)
#define FAB_QP_ANY		(FAB_QP_UD | FAB_QP_GSI | FAB_QP_SMI)

/**
 * enum fab_fault_kind - what can happen to a packet; a bit of fab_port.faults
 * @FAB_FAULT_LOSS: it is gone
 * @FAB_FAULT_CORRUPT: bits of it are turned over
 * @FAB_FAULT_DUPLICATE: it arrives twice
 * @FAB_FAULT_DELAY: it arrives later
 * @FAB_FAULT_REORDER: later ones overtake it
 * @FAB_FAULT_MAD: a rule for management datagrams takes it
 * @FAB_FAULT_WATCHED: nothing, but an end of its cable is captured
 */
enum fab_fault_kind {
	FAB_FAULT_LOSS,
	FAB_FAULT_CORRUPT,
	FAB_FAULT_DUPLICATE,
	FAB_FAULT_DELAY,
	FAB_FAULT_REORDER,
	FAB_FAULT_MAD,
	FAB_FAULT_WATCHED,
};

/* Kinds that have one rule each; management datagrams have a list. */
#define FAB_FAULT_SLOTS FAB_FAULT_MAD

/**
 * struct fab_fault - one kind of fault at one port, replaced as a whole
 * @rule: when
 * @qps: to which packets, FAB_QP_*
 * @us: delay: how long; reorder: for how long at most
 * @room: delay, reorder: packets that may wait, the rest is dropped
 * @by: reorder: packets that overtake
 * @at: corrupt: first byte of the payload that is changed
 * @num_xor: corrupt: bytes that are changed, 0 for a bad CRC
 * @xor: corrupt: what they are changed by
 * @rcu: frees this
 */
struct fab_fault {
	struct fab_rule rule;
	unsigned int qps;
	u32 us;
	u32 room;
	u32 by;
	u32 at;
	unsigned int num_xor;
	u8 xor[FAB_FAULT_XOR_MAX];
	struct rcu_head rcu;
};

/**
 * struct fab_fault_slot - behind a file of a port's folder "faults"
 * @lane: the port's
 * @kind: the fault
 * @fault: how it is set, NULL when it is off; fab_lane_mutex
 */
struct fab_fault_slot {
	struct fab_lane *lane;
	enum fab_fault_kind kind;
	struct fab_fault __rcu *fault;
};

/**
 * enum fab_wait - why a packet waits; each has a queue of its own
 * @FAB_WAIT_DELAY: delayed; packets keep their order
 * @FAB_WAIT_MAD: delayed by a rule for management datagrams, which do not
 * @FAB_WAIT_REORDER: to be overtaken
 * @FAB_WAITS: number of them
 */
enum fab_wait {
	FAB_WAIT_DELAY,
	FAB_WAIT_MAD,
	FAB_WAIT_REORDER,
	FAB_WAITS,
};

/**
 * struct fab_lane - the way from a port onto its cable, and what is wrong there
 * @port: the port
 * @slots: faults that have one rule
 * @mads: rules for management datagrams, struct fab_mad_rule; fab_lane_mutex
 * @num_mads: length of @mads; fab_lane_mutex
 * @lock: everything below; taken in softirq
 * @queues: packets that wait, the first due first
 * @waiting: packets in all of @queues
 * @timer: when the next one is due
 */
struct fab_lane {
	struct fab_port *port;
	struct fab_fault_slot slots[FAB_FAULT_SLOTS];
	struct list_head mads;
	unsigned int num_mads;

	spinlock_t lock; /* everything below */
	struct list_head queues[FAB_WAITS];
	unsigned int waiting;
	struct hrtimer timer;
};

/**
 * struct fab_freight - what leaves a port: one of the two, the other is NULL
 * @pkt: a datagram
 * @smp: a subnet management packet
 */
struct fab_freight {
	struct fab_packet *pkt;
	const struct fab_smp *smp;
};

/**
 * struct fab_parcel - a copy of a packet and its payload
 * @list: in a queue of a lane
 * @due: when it goes on
 * @breaks: fab_port.breaks when it was packed: it is lost with the link
 * @overtakers: packets that are still to overtake it
 * @freight: @pkt or @smp
 * @pkt: the datagram
 * @smp: the subnet management packet
 * @sge: where @payload is
 * @payload: of a datagram
 */
struct fab_parcel {
	struct list_head list;
	ktime_t due;
	unsigned int breaks;
	unsigned int overtakers;
	struct fab_freight freight;
	union {
		struct fab_packet pkt;
		struct fab_smp smp;
	};
	struct ib_sge sge;
	u8 payload[];
};

/* One writer of faults at a time; changes are rare. */
extern struct mutex fab_lane_mutex;

/* The kind of queue pair a packet belongs to. */
static inline unsigned int fab_freight_qp(const struct fab_freight *what)
{
	if (what->smp)
		return FAB_QP_SMI;

	return what->pkt->dest_qpn == 1 ? FAB_QP_GSI : FAB_QP_UD;
}

/* fab_lane.c: packets that wait */
struct fab_parcel *fab_parcel_pack(struct fab_lane *lane,
				   const struct fab_freight *what);
void fab_lane_carry(struct fab_lane *lane, const struct fab_freight *what);
void fab_lane_park(struct fab_lane *lane, const struct fab_freight *what,
		   enum fab_wait why, const struct fab_fault *fault);
void fab_lane_overtake(struct fab_lane *lane, const struct fab_freight *what);

/* fab_wirefault.c: what happens to a packet */
void fab_wire_depart(struct fab_lane *lane, const struct fab_freight *what);
void fab_wire_debugfs(struct fab_port *port, struct dentry *dir);

/* fab_madfault.c: rules for management datagrams */
bool fab_mad_takes(struct fab_lane *lane, const struct fab_freight *what);
void fab_mad_clear(struct fab_lane *lane);
void fab_mad_debugfs(struct fab_lane *lane, struct dentry *dir);

/* fab_inject.c */
void fab_inject_debugfs(struct fab_port *port, struct dentry *dir);

#endif /* FAB_WIREFAULT_H */
