/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The objects of the software InfiniBand fabric, who owns them, what guards
 * them, and what each file offers to the others.
 *
 * Two layers of objects. Nodes, ports and links are the hardware: they are
 * made when the module is loaded and live until it goes. HCAs, queue pairs,
 * completion queues are what ib_core sees: they come and go, and a packet
 * finds them by RCU.
 *
 * A packet's way. post_send() writes a request into the ring of its queue pair
 * and schedules the pair's tasklet. The tasklet walks the route (link, switch,
 * link) by plain function calls, takes a receive request of the destination,
 * copies the payload once, from the sender's memory to the receiver's, and
 * completes both sides. Nothing on that way takes a lock shared by two ports.
 * Subnet management packets are copied and queue at each switch instead.
 *
 * Locks, outermost first:
 *
 *	fab_node.plug	whether an HCA is plugged
 *	fab_lane_mutex	faults, when a test sets them
 *	fab_vf_mutex	virtual functions
 *	fab_fabric.ctl	port states, PortInfo, tables that an SMP can set
 *	fab_qp.sq.lock	producer side of a send ring, and the state
 *	fab_qp.rq.lock	receive ring, and the state; held while a packet is
 *			copied into it, so that a QP which has left a receiving
 *			state is not written to any more
 *	fab_cq.lock	the ring of completions, arming, moderation
 *	fab_lane.lock	packets that a fault lets wait; softirq only
 *
 * ctl is taken with interrupts saved. Those of queue pairs and completion
 * queues are taken in softirq for each packet, and saving interrupts is dear (a
 * system call under User Mode Linux). They are never taken by a hardware
 * interrupt, so keeping softirqs out is enough: see fab_softirqs_off().
 *
 * fab_qp.mutex (modify and destroy against each other) is outside all of them.
 * Lookups run under rcu_read_lock().
 */
#ifndef FABRIC_H
#define FABRIC_H

#include <linux/bitops.h>
#include <linux/device.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/xarray.h>
#include <net/checksum.h>
#include <rdma/ib_verbs.h>

#include "fab_compat.h"
#include "fab_rule.h"
#include "fab_shape.h"
#include "fab_wire.h"

/* Limits of the parameters: an 8-bit port number, less one for port 0 */
#define FAB_MAX_HCAS		250
#define FAB_MAX_SWITCHES	16

/* Sizes of the tables of a switch, and of a port's groups */
#define FAB_LFT_SIZE		(FAB_LID_UCAST_MAX + 1)
#define FAB_MFT_SIZE		4096
#define FAB_MCAST_BUCKETS	256

/* Longest payload of a packet, IBA 7.7.8 */
#define FAB_MTU_MAX		4096

/* What an HCA can do */
#define FAB_MAX_QP		65536
#define FAB_MAX_QP_WR		16384
#define FAB_MAX_SGE		18
#define FAB_MAX_CQ		65536
#define FAB_MAX_CQE		BIT(20)
#define FAB_LOCAL_LKEY		0x00fab000
/* Payload of one request for segmentation: four skbs of the usual limit */
#define FAB_MAX_LSO		BIT(18)

/* A switch queues so many SMPs; VL15 has no flow control (IBA 7.6.4) */
#define FAB_VL15_DEPTH		256

/* A packet that met this many switches is in a loop */
#define FAB_MAX_HOPS		32

/* Send requests a queue pair executes before others get the processor */
#define FAB_SQ_BUDGET		64

struct dentry;
struct platform_device;

struct fab_capture;
struct fab_freight;
struct fab_lane;
struct fab_node;
struct fab_port;
struct fab_hca;
struct fab_qp;
struct fab_vf;
struct seq_file;

/*
 * Every copy of a packet ends in exactly one of these. sent + replicated is
 * always delivered + dropped, once the fabric is at rest.
 */
enum fab_counter {
	FAB_SENT,
	FAB_REPLICATED,
	FAB_DELIVERED,
	/* what left by the cable and came by it; words of 4 bytes */
	FAB_XMIT_PACKETS,
	FAB_XMIT_MCAST,
	FAB_XMIT_WORDS,
	FAB_RCV_PACKETS,
	FAB_RCV_MCAST,
	FAB_RCV_WORDS,
	FAB_LINK_DOWNED,
	/* what a reader of the cable's capture got, and was too slow for */
	FAB_CAPTURED,
	FAB_CAPTURE_LOST,
	/* requests that had their bytes in them */
	FAB_INLINE,
	/* requests cut, what came of it, sums written, packets vouched for */
	FAB_LSO_REQUESTS,
	FAB_LSO_SEGMENTS,
	FAB_CSUM_MADE,
	FAB_CSUM_VOUCHED,
	/* first cause of a drop */
	FAB_DROP_LINK_DOWN,
	FAB_DROP_PORT_STATE,
	FAB_DROP_RCV_STATE,
	FAB_DROP_MTU,
	FAB_DROP_NO_ROUTE,
	FAB_DROP_LOOPING,
	FAB_DROP_HOPS,
	FAB_DROP_NO_MEMBER,
	FAB_DROP_NO_ATTACH,
	FAB_DROP_NOT_OUR_LID,
	FAB_DROP_DGID,
	FAB_DROP_NO_QP,
	FAB_DROP_QP_STATE,
	FAB_DROP_PKEY,
	FAB_DROP_QKEY,
	FAB_DROP_NO_RECV_WQE,
	FAB_DROP_TOO_LONG,
	FAB_DROP_RECV_ERROR,
	FAB_DROP_CQ_OVERFLOW,
	FAB_DROP_VL15,
	FAB_DROP_BAD_SMP,
	FAB_DROP_SWITCH_GMP,
	FAB_DROP_NO_MEMORY,
	FAB_DROP_FAULT_LOSS,
	FAB_DROP_FAULT_CORRUPT,
	FAB_DROP_FAULT_MAD,
	FAB_DROP_FAULT_OVERFLOW,
	FAB_COUNTERS,
};

#define FAB_DROP_FIRST FAB_DROP_LINK_DOWN

struct fab_stats {
	u64 count[FAB_COUNTERS];
};

/**
 * enum fab_violation - keys of arriving packets that were wrong
 * @FAB_VIOLATION_PKEY: PortInfo.P_KeyViolations
 * @FAB_VIOLATION_QKEY: PortInfo.Q_KeyViolations
 * @FAB_VIOLATIONS: number of kinds
 */
enum fab_violation {
	FAB_VIOLATION_PKEY,
	FAB_VIOLATION_QKEY,
	FAB_VIOLATIONS,
};

/* Counters the performance manager can set, of all attributes together */
#define FAB_PMA_FIELDS	35

/* Types of asynchronous events, enum ib_event_type, that are counted */
#define FAB_EVENTS (IB_EVENT_WQ_FATAL + 1)

/**
 * struct fab_events - how often which asynchronous event was raised
 * @count: by enum ib_event_type
 */
struct fab_events {
	atomic_t count[FAB_EVENTS];
};

/**
 * struct fab_mcast_entry - one queue pair attached to one group
 * @node: in the bucket of its group
 * @mgid: the group
 * @qp: the queue pair, which outlives the entry by a grace period
 * @rcu: frees the entry
 */
struct fab_mcast_entry {
	struct hlist_node node;
	union ib_gid mgid;
	struct fab_qp *qp;
	struct rcu_head rcu;
};

/* A port's rx_offload, beside the families: a fault is set */
#define FAB_RX_FAULTY	BIT(7)

/**
 * enum fab_rx_fault - what can go wrong with the sum of an arriving packet
 * @FAB_RX_NONE: it is right, and the HCA does not say so
 * @FAB_RX_BAD: it is damaged
 * @FAB_RX_FAULTS: number of faults
 */
enum fab_rx_fault {
	FAB_RX_NONE,
	FAB_RX_BAD,
	FAB_RX_FAULTS,
};

/**
 * struct fab_port - one port of an HCA or of a switch
 * @node: the node it belongs to
 * @peer: the port at the other end of the cable; wired for life, or NULL
 * @num: port number, 0 is the management port of a switch
 * @guid: port GUID
 * @faults: what is wrong with packets that leave here, BIT of enum
 *	fab_fault_kind; 0 when nothing is
 * @lane: the way onto the cable; ports that have none have none
 * @breaks: times the link went down; written under ctl, read anywhere
 * @held_down: a test pulled the cable here
 * @phys: PortPhysicalState; written under ctl, read anywhere
 * @state: PortState, enum ib_port_state; written under ctl, read anywhere
 * @lid: base LID, 0 when not assigned; written under ctl, read anywhere
 * @mtu_bytes: payload a packet may have; written under ctl, read anywhere
 * @info: PortInfo as it travels, but for what stands in the fields above
 * @mkey_leased: somebody without the M_Key wanted in, and the lease runs; ctl
 * @mkey_expires: when it ends, in jiffies; ctl
 * @news: events (BIT of enum ib_event_type) not yet told to ib_core
 * @events: events told
 * @pkeys: P_Key table, as long as the shape says; written under ctl, read
 *	anywhere
 * @guids: GUID table, entry 0 is @guid, as long as the shape says; written
 *	under ctl, read anywhere
 * @prefix: subnet prefix; written under ctl, read anywhere
 * @smi: QP0 of this port
 * @gsi: QP1 of this port
 * @capture: who reads the file "pcap", NULL when nobody does
 * @mcast_lock: writers of @mcast
 * @mcast: attached queue pairs, hashed by group
 * @rx_offload: FAB_FAMILY_* whose sums are checked on arrival, and
 *	FAB_RX_FAULTY; 0 when arriving packets are looked at no closer
 * @rx_fault: what goes wrong with sums, by enum fab_rx_fault
 * @pma_base: what each performance counter stood at when it was set to 0;
 *	guarded by ctl
 * @violation_base: what was counted of each kind of violation when its counter
 *	was set to 0; guarded by ctl
 * @stats: counters, by processor
 */
struct fab_port {
	struct fab_node *node;
	struct fab_port *peer;
	u8 num;
	__be64 guid;

	unsigned long faults;
	struct fab_lane *lane;
	unsigned int breaks;
	bool held_down;
	u8 phys;
	u8 state;
	u16 lid;
	u16 mtu_bytes;
	struct ib_port_info info;
	bool mkey_leased;
	unsigned long mkey_expires;
	unsigned long news;
	struct fab_events events;
	u16 pkeys[FAB_MAX_PKEYS];
	__be64 guids[FAB_MAX_GIDS];
	__be64 prefix;

	struct fab_qp __rcu *smi;
	struct fab_qp __rcu *gsi;
	struct fab_capture __rcu *capture;
	spinlock_t mcast_lock; /* writers of mcast */
	struct hlist_head mcast[FAB_MCAST_BUCKETS];
	u8 rx_offload;
	struct fab_rule rx_fault[FAB_RX_FAULTS];
	u64 pma_base[FAB_PMA_FIELDS];
	u64 violation_base[FAB_VIOLATIONS];
	struct fab_stats __percpu *stats;
};

/**
 * struct fab_smp - a subnet management packet on its way
 * @list: in the queue of a switch
 * @in_port: port it arrived at, or the management port when sent from here
 * @slid: source LID
 * @dlid: destination LID, permissive for a directed route
 * @mad: the packet
 */
struct fab_smp {
	struct list_head list;
	struct fab_port *in_port;
	u16 slid;
	u16 dlid;
	struct ib_smp mad;
};

/**
 * struct fab_switch - what a switch has beside its ports
 * @node: the node
 * @info: SwitchInfo as it travels; guarded by ctl
 * @lft: port by LID, FAB_LFT_DROP when none; written under ctl, read anywhere
 * @mft: ports by multicast LID, 16 to a word; written under ctl, read anywhere
 * @vl15_lock: @vl15 and @vl15_len
 * @vl15: SMPs to handle
 * @vl15_len: length of @vl15
 * @work: handles @vl15
 * @trap_timer: repeats trap 128 until the subnet manager represses it
 * @trap_wait_ms: until the next repetition; ctl
 * @closing: the module goes, the timer is not started again; ctl
 * @trap_pending: a port changed its state and no TrapRepress came yet; ctl
 * @trap_tid: transaction of the pending trap; ctl
 */
struct fab_switch {
	struct fab_node *node;
	struct fab_switch_info info;
	u8 *lft;
	u16 (*mft)[FAB_MFT_POSITIONS];

	spinlock_t vl15_lock; /* vl15 and vl15_len */
	struct list_head vl15;
	unsigned int vl15_len;
	struct tasklet_struct work;

	struct timer_list trap_timer;
	unsigned int trap_wait_ms;
	bool closing;
	bool trap_pending;
	u64 trap_tid;
};

/**
 * struct fab_node - an HCA or a switch as the fabric's hardware
 * @type: RDMA_NODE_IB_CA or RDMA_NODE_IB_SWITCH
 * @index: number among the nodes of its type
 * @shape: what it can do; of a switch, only the tables of port 0
 * @num_ports: external ports; @ports has one more
 * @name: "fab3", "switch0"
 * @desc: NodeDescription
 * @guid: node GUID
 * @ports: by number; a CA does not use number 0
 * @hca: the device ib_core knows, NULL while it is unplugged
 * @plug: who plugs or unplugs it
 * @events: events of no port: of the HCA, of its queue pairs and queues
 * @faults: what is wrong with the HCA; only of a CA
 * @vfs: its virtual functions, as many as the shape says; NULL when none
 * @sw: only of a switch
 */
struct fab_node {
	u8 type;
	unsigned int index;
	struct fab_shape shape;
	unsigned int num_ports;
	char name[20];
	char desc[IB_DEVICE_NODE_DESC_MAX];
	__be64 guid;
	struct fab_port *ports;
	struct fab_hca __rcu *hca;
	struct mutex plug; /* plugging and unplugging */
	struct fab_events events;
	struct fab_hca_faults *faults;
	struct fab_vf *vfs;
	struct fab_switch *sw;
};

/**
 * struct fab_fabric - everything there is
 * @ctl: see the top of this file
 * @hcas: nodes of type CA
 * @switches: nodes of type switch
 * @num_hcas: length of @hcas
 * @num_switches: length of @switches
 * @num_vectors: completion vectors of the HCA that has the most
 */
struct fab_fabric {
	spinlock_t ctl; /* states, PortInfo, tables an SMP can set */
	struct fab_node *hcas;
	struct fab_node *switches;
	unsigned int num_hcas;
	unsigned int num_switches;
	unsigned int num_vectors;
};

extern struct fab_fabric fabric;

/**
 * struct fab_hca - the ib_device of a node
 * @ibdev: for ib_core
 * @node: the hardware behind it
 * @parent: on the fabric's own bus; netdevs link to it
 * @dma: whose DMA addresses SGEs have; NULL when they have kernel pointers
 * @qps: queue pairs by number, from 2 on
 * @next_qpn: where the search for a free number goes on
 * @cqs: completion queues, by a number of their own; who walks them locks it
 * @next_cq: where the search for a free number goes on
 * @ah_lock: @ahs
 * @ahs: address handles
 * @mrs: memory regions by lkey
 * @next_mr: where the search for a free key goes on
 * @listening: ib_core has registered it and may be told events
 * @dead: it was torn out: nothing leaves it, nothing is made on it any more;
 *	written under ctl, read anywhere
 * @named: misuse of verbs that was already named in the log, by bit
 * @tstats: what the netdev it brings along has counted; NULL without one
 * @netdev_ops: IPoIB's operations, and those of that netdev's own
 */
struct fab_hca {
	struct ib_device ibdev;
	struct fab_node *node;
	struct device *parent;
	struct platform_device *dma;
	struct xarray qps;
	u32 next_qpn;
	struct xarray cqs;
	u32 next_cq;
	spinlock_t ah_lock; /* ahs */
	struct list_head ahs;
	struct xarray mrs;
	u32 next_mr;
	bool listening;
	bool dead;
	unsigned long named;
	struct pcpu_sw_netstats __percpu *tstats;
	struct net_device_ops netdev_ops;
};

struct fab_pd {
	struct ib_pd ibpd;
};

/**
 * struct fab_mr - a memory region over all of the kernel's memory
 * @ibmr: for ib_core
 */
struct fab_mr {
	struct ib_mr ibmr;
};

/**
 * struct fab_ah - an address vector
 * @ibah: for ib_core
 * @entry: in the HCA's list
 * @dlid: destination
 * @sl: service level
 * @path_bits: added to the source LID
 * @has_grh: the packet carries a GRH
 * @sgid_index: source of the GRH
 * @traffic_class: of the GRH
 * @hop_limit: of the GRH
 * @flow_label: of the GRH
 * @dgid: of the GRH
 * @port_num: port to send from
 * @in_use: send requests posted with it and not yet executed
 */
struct fab_ah {
	struct ib_ah ibah;
	struct list_head entry;
	u16 dlid;
	u8 sl;
	u8 path_bits;
	bool has_grh;
	u8 sgid_index;
	u8 traffic_class;
	u8 hop_limit;
	u32 flow_label;
	union ib_gid dgid;
	u32 port_num;
	atomic_t in_use;
};

/**
 * struct fab_cqe - one completion
 * @wc: for the consumer
 * @qp: whose it is; frees ring space when it is polled
 * @is_send: a send request's
 * @solicited: it answers a request for a solicited event
 * @disowned: the queue pair was reset since, so that @ring_next means nothing
 * @ring_next: position in that ring after the completed request
 * @due: when it may be seen, set by the queue while there are faults; 0 at once
 */
struct fab_cqe {
	struct ib_wc wc;
	struct fab_qp *qp;
	bool is_send;
	bool solicited;
	bool disowned;
	u32 ring_next;
	ktime_t due;
};

/**
 * struct fab_cq - a completion queue
 * @ibcq: for ib_core
 * @link: in the list of its vector, while FAB_CQ_QUEUED
 * @flags: FAB_CQ_*
 * @active: handlers queued or running; destruction waits for 0
 * @vector: completion vector, as it was made
 * @home: which of all HCAs' vectors that is
 * @id: number in the HCA's table
 * @types: kinds of queue pairs that ever used it, bits of enum ib_qp_type
 * @lock: everything below
 * @ring: completions
 * @size: completions it may hold, exactly as asked for
 * @mask: length of @ring less one; a power of two, so that positions may wrap
 * @head: next to write
 * @shown: end of what can be polled; @head unless a fault holds some back
 * @tail: next to poll
 * @armed: enum ib_cq_notify_flags asked for, 0 when not armed
 * @overflowed: completions were lost; the CQ is of no more use
 * @mod_count: completions that end the moderation, 0 or 1 for none
 * @mod_usecs: longest time an event is held back
 * @held: completions since the event is being held back
 * @timer: ends the moderation
 * @hold_timer: when the next completion that is held back may be seen
 * @stat_events: times the handler was called; by it alone
 * @stat_cpu: where it was last called, -1 if never; by it alone
 */
struct fab_cq {
	struct ib_cq ibcq;
	struct llist_node link;
	unsigned long flags;
	atomic_t active;
	unsigned int vector;
	unsigned int home;
	u32 id;
	unsigned long types;

	spinlock_t lock; /* everything below */
	struct fab_cqe *ring;
	u32 size;
	u32 mask;
	u32 head;
	u32 shown;
	u32 tail;
	unsigned int armed;
	bool overflowed;
	u16 mod_count;
	u16 mod_usecs;
	u32 held;
	struct hrtimer timer;
	struct hrtimer hold_timer;
	u64 stat_events;
	int stat_cpu;
};

#define FAB_CQ_QUEUED	0
#define FAB_CQ_DEAD	1
#define FAB_CQ_EVENT	2
#define FAB_CQ_ERROR	3

/**
 * struct fab_swqe - a posted send request
 * @wr_id: returned in the completion
 * @opcode: IB_WR_SEND, IB_WR_SEND_WITH_IMM or IB_WR_LSO
 * @flags: enum ib_send_flags, and FAB_SEND_LSO
 * @imm: immediate data
 * @ah: where to
 * @remote_qpn: destination QP
 * @qkey: Q_Key to send
 * @pkey_index: for QP1
 * @num_sge: entries of @sge, 0 when the payload is inline
 * @length: bytes of payload
 * @longest: bytes of the longest packet that comes of it
 * @hlen: IB_WR_LSO: bytes of headers, which are at fab_swqe_header()
 * @mss: IB_WR_LSO: payload of a segment
 * @sge: where the payload is; with inline data, the payload itself
 */
struct fab_swqe {
	u64 wr_id;
	enum ib_wr_opcode opcode;
	int flags;
	__be32 imm;
	struct fab_ah *ah;
	u32 remote_qpn;
	u32 qkey;
	u16 pkey_index;
	u8 num_sge;
	u32 length;
	u32 longest;
	u16 hlen;
	u16 mss;
	struct ib_sge sge[];
};

/* Requests with this flag are cut into segments. */
#define FAB_SEND_LSO		IB_SEND_RESERVED_START
/* Requests with one of these are more than their bytes on the wire. */
#define FAB_SEND_OFFLOAD	(FAB_SEND_LSO | IB_SEND_IP_CSUM)

/**
 * struct fab_rwqe - a posted receive request
 * @wr_id: returned in the completion
 * @num_sge: entries of @sge
 * @length: room in bytes
 * @sge: where to put the packet
 */
struct fab_rwqe {
	u64 wr_id;
	u8 num_sge;
	u32 length;
	struct ib_sge sge[];
};

/**
 * struct fab_ring - a ring of work requests
 * @lock: see the top of fabric.h
 * @wqes: the slots
 * @mask: number of slots less one; a power of two, so that positions may wrap
 * @limit: requests that may be outstanding, as the consumer asked
 * @stride: bytes of a slot
 * @max_sge: entries a slot has room for
 * @head: next to post; @lock
 * @next: next to execute; send: the tasklet alone, receive: @lock
 * @freed: slots given back, when their completion was polled; a slot is not
 *	free before, as on a real HCA; written under the CQ's lock
 * @posts: calls of the verb, as a doorbell is rung for each; @lock
 * @requests: requests it was given in those and took; @lock
 * @signalled: those of them that complete even when they succeed; @lock
 */
struct fab_ring {
	spinlock_t lock; /* head and counts; of a receive ring next, too */
	void *wqes;
	u32 mask;
	u32 limit;
	u32 stride;
	u32 max_sge;
	u32 head;
	u32 next;
	u32 freed;
	u64 posts;
	u64 requests;
	u64 signalled;
};

/**
 * struct fab_qp - a queue pair, apart from ib_core's handle so that a lookup
 *	can outlive the handle by a grace period
 * @hca: its HCA
 * @ibqp: ib_core's handle, valid until destroy_qp() returns
 * @port: its port; of QP0 and QP1 for life, of others from INIT on
 * @type: IB_QPT_SMI, IB_QPT_GSI or IB_QPT_UD
 * @qpn: number, 24 bits
 * @sig_all: every send request is signalled
 * @no_mcast_echo: IB_QP_CREATE_BLOCK_MULTICAST_LOOPBACK
 * @lso: IB_QP_CREATE_IPOIB_UD_LSO
 * @max_inline: bytes a send request may carry in itself
 * @send_cq: completions of sends
 * @recv_cq: completions of receives
 * @mutex: modify and destroy
 * @state: enum ib_qp_state; written under both ring locks
 * @sq_psn: what modify_qp() was told, for query_qp(); @mutex
 * @psn: number of the next packet; the tasklet's, and written under both ring
 *	locks before the queue pair enters RTS
 * @pkey_index: written under both ring locks
 * @qkey: written under both ring locks
 * @sqd_event: report that the send queue is drained; sq.lock
 * @fatal_event: report that the hardware put it into error; sq.lock
 * @sq: send requests
 * @rq: receive requests
 * @work: executes send requests and flushes both rings
 * @rcu: frees this
 */
struct fab_qp {
	struct fab_hca *hca;
	struct ib_qp *ibqp;
	struct fab_port *port;
	enum ib_qp_type type;
	u32 qpn;
	bool sig_all;
	bool no_mcast_echo;
	bool lso;
	u32 max_inline;
	struct fab_cq *send_cq;
	struct fab_cq *recv_cq;
	struct mutex mutex; /* modify and destroy */
	enum ib_qp_state state;
	u32 sq_psn;
	u32 psn;
	u16 pkey_index;
	u32 qkey;
	bool sqd_event;
	bool fatal_event;
	struct fab_ring sq;
	struct fab_ring rq;
	struct tasklet_struct work;
	struct rcu_head rcu;
};

/**
 * struct fab_qp_handle - what ib_core allocates and frees for a queue pair
 * @ibqp: for ib_core
 * @qp: the queue pair
 */
struct fab_qp_handle {
	struct ib_qp ibqp;
	struct fab_qp *qp;
};

/**
 * struct fab_packet - a datagram on its way, headers as numbers
 * @src: port it left from
 * @src_qpn: DETH source QP; a number, as a packet may outlive its sender
 * @slid: LRH source LID
 * @dlid: LRH destination LID
 * @sl: LRH service level
 * @hops: switches met so far
 * @has_grh: @grh is valid
 * @has_imm: @imm is valid
 * @solicited: BTH solicited event
 * @pkey: BTH P_Key
 * @dest_qpn: BTH destination QP
 * @psn: BTH packet sequence number
 * @qkey: DETH Q_Key
 * @imm: immediate data
 * @grh: GRH as it travels
 * @sge: where the payload is, in the sender's memory
 * @num_sge: length of @sge
 * @length: bytes of payload
 */
struct fab_packet {
	struct fab_port *src;
	u32 src_qpn;
	u16 slid;
	u16 dlid;
	u8 sl;
	u8 hops;
	bool has_grh;
	bool has_imm;
	bool solicited;
	u16 pkey;
	u32 dest_qpn;
	u32 psn;
	u32 qkey;
	__be32 imm;
	struct ib_grh grh;
	const struct ib_sge *sge;
	unsigned int num_sge;
	u32 length;
};

static inline struct fab_hca *to_fab_hca(struct ib_device *ibdev)
{
	return container_of(ibdev, struct fab_hca, ibdev);
}

static inline struct fab_ah *to_fab_ah(struct ib_ah *ibah)
{
	return container_of(ibah, struct fab_ah, ibah);
}

static inline struct fab_cq *to_fab_cq(struct ib_cq *ibcq)
{
	return container_of(ibcq, struct fab_cq, ibcq);
}

static inline struct fab_qp *to_fab_qp(struct ib_qp *ibqp)
{
	return container_of(ibqp, struct fab_qp_handle, ibqp)->qp;
}

static inline bool fab_node_is_switch(const struct fab_node *node)
{
	return node->type == RDMA_NODE_IB_SWITCH;
}

static inline unsigned int fab_num_pkeys(const struct fab_port *port)
{
	return port->node->shape.pkeys;
}

static inline unsigned int fab_num_gids(const struct fab_port *port)
{
	return port->node->shape.guids;
}

/* Packets move in softirq alone, which makes the plain operation enough. */
static inline void fab_count_add(struct fab_port *port, enum fab_counter which,
				 u64 n)
{
	__this_cpu_add(port->stats->count[which], n);
}

static inline void fab_count(struct fab_port *port, enum fab_counter which)
{
	fab_count_add(port, which, 1);
}

/**
 * fab_packet_words - length of a packet on the cable
 * @pkt: the packet
 *
 * Return: words of 4 bytes from the LRH to the ICRC, which is what LRH.PktLen
 * says and what the data counters count (IBA 7.7.5, 16.1.3.5).
 */
static inline u32 fab_packet_words(const struct fab_packet *pkt)
{
	u32 words = FAB_WORDS_UD + DIV_ROUND_UP(pkt->length, 4);

	if (pkt->has_grh)
		words += FAB_GRH_LEN / 4;
	return pkt->has_imm ? words + 1 : words;
}

/**
 * fab_softirqs_off - keep softirqs away while a lock of a queue is held
 *
 * Context: any but a hardware interrupt. Where they are off already, which is
 * where packets move, it costs nothing. Callers with interrupts off are why it
 * is not local_bh_disable().
 * Return: for fab_softirqs_on().
 */
static inline unsigned long fab_softirqs_off(void)
{
	unsigned long flags = 0;

	WARN_ON_ONCE(in_hardirq());
	if (!in_softirq())
		local_irq_save(flags);
	return flags;
}

/**
 * fab_softirqs_on - end what fab_softirqs_off() began
 * @flags: what it returned
 */
static inline void fab_softirqs_on(unsigned long flags)
{
	if (!in_softirq())
		local_irq_restore(flags);
}

/**
 * fab_port_has_lid - is a LID one of a port's own
 * @port: the port
 * @lid: unicast LID
 *
 * Return: true when it is, path bits aside.
 */
static inline bool fab_port_has_lid(const struct fab_port *port, u16 lid)
{
	u16 base = READ_ONCE(port->lid);
	u8 lmc = FIELD_GET(FAB_PI_LMC, READ_ONCE(port->info.mkeyprot_resv_lmc));

	return base && base == (lid & ~(BIT(lmc) - 1));
}

enum fab_misuse_kind {
	FAB_MISUSE_POST_STATE,
	FAB_MISUSE_POST_SGE,
	FAB_MISUSE_POST_LENGTH,
	FAB_MISUSE_POST_FULL,
	FAB_MISUSE_POST_OPCODE,
	FAB_MISUSE_POST_LKEY,
	FAB_MISUSE_RECV_STATE,
	FAB_MISUSE_RECV_SGE,
	FAB_MISUSE_RECV_LENGTH,
	FAB_MISUSE_RECV_FULL,
	FAB_MISUSE_RECV_LKEY,
	FAB_MISUSE_RECV_SHORT,
	FAB_MISUSE_SEND_MTU,
	FAB_MISUSE_CQ_FULL,
	FAB_MISUSE_POST_DMA,
	FAB_MISUSE_POST_AH,
	FAB_MISUSE_POST_CSUM,
	FAB_MISUSE_POST_LSO,
	FAB_MISUSE_AH_BUSY,
};

/**
 * fab_misuse - name a breach of the verbs' rules, once per HCA and kind
 * @hca: where it happened
 * @kind: bit number of the kind
 * @what: what the caller did wrong
 */
static inline void fab_misuse(struct fab_hca *hca, enum fab_misuse_kind kind,
			      const char *what)
{
	if (!test_and_set_bit(kind, &hca->named))
		dev_warn(hca->parent, "%s\n", what);
}

/* fab_main.c */
struct device *fab_parent_create(struct fab_node *node);
void fab_parent_destroy(struct device *dev);

/* fab_shape.c */
int fab_shape_check(unsigned int num_hcas);
void fab_shape_preset(struct fab_shape *to);
void fab_shape_hca(struct fab_shape *to, unsigned int index,
		   unsigned int num_hcas);

/* fab_device.c: the ib_device, its tables, PDs, AHs */
int fab_hca_plug(struct fab_node *node);
void fab_hca_unplug(struct fab_node *node);
void fab_hca_die(struct fab_hca *hca);
void fab_port_gid(const struct fab_port *port, unsigned int index,
		  union ib_gid *gid);

/* fab_vf.c */
int fab_vfs_create(struct fab_node *node);
void fab_vfs_destroy(struct fab_node *node);
void fab_vfs_power_off(struct fab_node *node);
void fab_vfs_offer(struct fab_hca *hca);
void fab_vf_debugfs(struct fab_node *node, struct dentry *dir);

/* fab_netdev.c */
void fab_netdev_offer(struct fab_hca *hca);
void fab_netdev_withdraw(struct fab_hca *hca);

/* fab_plug.c */
int fab_plug(struct fab_node *node);
void fab_unplug(struct fab_node *node);
void fab_plug_debugfs(struct fab_node *node, struct dentry *dir);

/* fab_event.c */
void fab_event_raised(struct fab_events *events, unsigned int type);
void fab_event_debugfs(struct fab_events *events, struct dentry *dir);

/* fab_edit.c */
void fab_edit_debugfs(struct fab_port *port, struct dentry *dir);

/* fab_cq.c */
int fab_vectors_create(unsigned int count);
void fab_vectors_hold(void);
void fab_vectors_release(void);
void fab_vectors_destroy(void);
int fab_cq_create(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		  FAB_CQ_ATTRS *attrs);
int fab_cq_destroy(struct ib_cq *ibcq, struct ib_udata *udata);
int fab_cq_modify(struct ib_cq *ibcq, u16 count, u16 usecs);
int fab_cq_poll(struct ib_cq *ibcq, int num, struct ib_wc *wc);
int fab_cq_arm(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);
bool fab_cq_push(struct fab_cq *cq, const struct fab_cqe *cqe);
void fab_cqs_release(struct fab_hca *hca);
int fab_cq_cpu(const struct fab_cq *cq);
void fab_cq_forget_qp(struct fab_cq *cq, const struct fab_qp *qp);
void fab_cq_disown_qp(struct fab_cq *cq, const struct fab_qp *qp);

/* fab_qp.c */
int fab_qp_create(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		  struct ib_udata *udata);
int fab_qp_modify(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_udata *udata);
int fab_qp_query(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		 struct ib_qp_init_attr *init);
int fab_qp_destroy(struct ib_qp *ibqp, struct ib_udata *udata);
int fab_qp_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		     const struct ib_send_wr **bad_wr);
int fab_qp_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		     const struct ib_recv_wr **bad_wr);
bool fab_qp_fail(struct fab_qp *qp, enum ib_qp_state to, bool fatal);
void fab_qps_flush(struct fab_hca *hca);
struct fab_qp *fab_qp_find_rcu(struct fab_port *port, u32 qpn);

static inline struct fab_swqe *fab_swqe(struct fab_ring *sq, u32 pos)
{
	return sq->wqes + (size_t)(pos & sq->mask) * sq->stride;
}

static inline struct fab_rwqe *fab_rwqe(struct fab_ring *rq, u32 pos)
{
	return rq->wqes + (size_t)(pos & rq->mask) * rq->stride;
}

/* Headers of a request for segmentation lie at the end of its slot. */
static inline u8 *fab_swqe_header(const struct fab_ring *sq,
				  const struct fab_swqe *wqe)
{
	return (u8 *)wqe + sq->stride - FAB_HEADERS_MAX;
}

/* fab_mem.c */
struct ib_mr *fab_mr_get_dma(struct ib_pd *ibpd, int access);
struct ib_mr *fab_mr_reg_user(struct ib_pd *ibpd, u64 start, u64 length,
			      u64 virt, int access, FAB_DMAH_PARAM
			      struct ib_udata *udata);
int fab_mr_dereg(struct ib_mr *ibmr, struct ib_udata *udata);
int fab_dma_create(struct fab_hca *hca);
void fab_dma_destroy(struct fab_hca *hca);
void fab_sges_take(struct fab_hca *hca, struct ib_sge *to,
		   const struct ib_sge *from, unsigned int num);
bool fab_sges_valid(struct fab_hca *hca, const struct ib_sge *sge,
		    unsigned int num);
void fab_copy(const struct ib_sge *to, u32 to_offset,
	      const struct ib_sge *from, unsigned int num_from);
void fab_copy_from(void *to, const struct ib_sge *from, unsigned int num_from);
void fab_copy_head(void *to, u32 length, const struct ib_sge *from);
unsigned int fab_sges_slice(struct ib_sge *to, const struct ib_sge *from,
			    u32 offset, u32 length);
__wsum fab_sges_sum(const struct ib_sge *sge, u32 length);
void fab_copy_to(const struct ib_sge *to, u32 to_offset, const void *from,
		 u32 length);

/* fab_ud.c: what a datagram QP sends and accepts */
void fab_grh_build(struct ib_grh *grh, const struct fab_port *port,
		   const struct fab_ah *ah, u32 length);
void fab_ud_emit(struct fab_qp *qp, struct fab_packet *pkt);
enum ib_wc_status fab_ud_send(struct fab_qp *qp, const struct fab_swqe *wqe);
int fab_port_find_pkey(const struct fab_port *port, u16 pkey);
void fab_ud_echo(struct fab_port *port, struct fab_packet *pkt);
void fab_ud_receive(struct fab_port *port, struct fab_packet *pkt);
bool fab_ud_receive_smp(struct fab_port *port, const struct fab_smp *smp);
void fab_packet_set_length(struct fab_packet *pkt, u32 length);
enum fab_counter fab_ud_put(struct fab_port *port, const struct fab_packet *pkt,
			    struct fab_qp *qp, int wc_flags);

/* fab_offload.c: checksums and segments */
enum ib_wc_status fab_offload_send(struct fab_qp *qp,
				   const struct fab_swqe *wqe,
				   struct fab_packet *pkt);
enum fab_counter fab_offload_put(struct fab_port *port,
				 const struct fab_packet *pkt,
				 struct fab_qp *qp);
void fab_offload_port_init(struct fab_port *port);
void fab_offload_debugfs(struct fab_port *port, struct dentry *faults);

/* fab_mcast.c */
int fab_mcast_attach(struct ib_qp *ibqp, union ib_gid *gid, u16 lid);
int fab_mcast_detach(struct ib_qp *ibqp, union ib_gid *gid, u16 lid);
unsigned int fab_mcast_deliver(struct fab_port *port, struct fab_packet *pkt,
			       void (*to)(struct fab_port *port,
					  struct fab_packet *pkt,
					  struct fab_qp *qp));

/* fab_link.c */
bool fab_link_is_up(const struct fab_port *port);
void fab_link_arrive_smp(struct fab_port *port, const struct fab_smp *smp);
void fab_port_set_state(struct fab_port *port, u8 state);
void fab_link_cross(struct fab_port *port, struct fab_packet *pkt);
void fab_link_arrive(struct fab_port *port, struct fab_packet *pkt);
void fab_link_update(struct fab_port *port);
void fab_link_retrain(struct fab_port *port);
void fab_link_hold(struct fab_port *port, bool down);
void fab_news_publish(struct fab_port *port);
void fab_link_send(struct fab_port *port, struct fab_packet *pkt);
void fab_link_send_smp(struct fab_port *port, const struct fab_smp *smp);

/* fab_switch.c */
int fab_switch_init(struct fab_node *node);
void fab_switch_destroy(struct fab_node *node);
void fab_switch_unicast(struct fab_port *in, struct fab_packet *pkt);
void fab_switch_forward(struct fab_port *in, struct fab_packet *pkt);
void fab_switch_queue_smp(struct fab_port *in, const struct fab_smp *smp);
void fab_switch_port_changed(struct fab_node *node);
void fab_switch_repress(struct fab_node *node, __be64 tid);

/* fab_lane.c, fab_wirefault.c: faults of a cable */
int fab_lane_create(struct fab_port *port);
void fab_lane_destroy(struct fab_port *port);
void fab_lanes_stop(void);
void fab_wire_leave(struct fab_port *port, const struct fab_freight *what);

/* fab_sma.c */
void fab_sma_port_init(struct fab_port *port);
u16 fab_port_violations(const struct fab_port *port, enum fab_violation which);
void fab_port_set_lid(struct fab_port *port, u16 lid);
void fab_port_set_prefix(struct fab_port *port, __be64 prefix);
void fab_port_set_guid(struct fab_port *port, unsigned int index, __be64 guid);
void fab_port_set_pkey(struct fab_port *port, unsigned int index, u16 pkey);
bool fab_sma_answer(struct fab_port *in_port, const struct ib_smp *req,
		    struct ib_smp *resp, bool trusted);
int fab_sma_process_mad(struct ib_device *ibdev, int flags, u32 port_num,
			const struct ib_wc *in_wc, const struct ib_grh *in_grh,
			const struct ib_mad *in, struct ib_mad *out,
			size_t *out_size, u16 *out_pkey_index);

/* fab_pma.c */
void fab_stats_add(struct fab_stats *sum, const struct fab_port *port);
bool fab_pma_answer(struct fab_port *port, const struct ib_mad *req,
		    struct ib_mad *resp);
void fab_pma_switch_gmp(struct fab_port *in, struct fab_packet *pkt);

/* fab_pcap.c */
void fab_capture(struct fab_port *port, const struct fab_freight *what);
void fab_pcap_debugfs(struct fab_port *port, struct dentry *dir);

/* fab_charge.c */
void fab_charge_debugfs(struct fab_node *node, struct dentry *dir);

/* fab_dump.c */
void fab_dump_node_debugfs(struct fab_node *node, struct dentry *dir);
void fab_dump_port_debugfs(struct fab_port *port, struct dentry *dir);

/* fab_debugfs.c */
void fab_debugfs_create(void);
void fab_debugfs_destroy(void);

#endif /* FABRIC_H */
