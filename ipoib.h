/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Which objects are there, who owns them, which lock guards each field, and
 * which file provides each function?
 *
 * Calls go down: front ends (ethtool, netlink) -> control (main, link) ->
 * objects (ib, multicast, neigh) -> verbs -> pure (ipoib_wire.h). News goes up
 * by one door, ipoib_link_post().
 *
 * Lock order, outermost first:
 *
 *   1  rtnl                  configuration fields, registration
 *   2  netdev instance lock  7.3; the core holds it around our ndos and ethtool
 *                            ops where a lower driver asks for it
 *   3  children.lock         a parent's list of children; let go of before any
 *                            dev_* function is called on a child
 *   4  link.lock             a transition and its actions, queue pair states,
 *                            the link's own copies, group memberships
 *   5  netdev tx queue lock  producer side of that queue's ring
 *   6  mcast.lock            groups, their states (in dev->addr_list_lock)
 *   7  resolve.lock          neighbours, paths, the dead address handles
 *   8  hca->sa.lock          questions to the subnet administrator
 *   8  hca->members_lock     memberships that its interfaces asked for
 *   8  link.facts_lock       what the link tells of itself
 *   -  each NAPI alone       consumer side of its ring
 *
 * Two ordered work queues, one rule each. ipd->wq (one per interface) never
 * takes 1 or 2, so it may be flushed with RTNL held, outside link.lock.
 * hca->rtnl_wq may take 1, re-reads the state after that, is never flushed
 * under it, and waits for no query, drain or connection while it holds it. Two
 * more are the module's: ipoib_teardown destroys tables of interfaces that are
 * unregistered, ipoib_unbound_wq adds HCAs and unregisters children for
 * delete_child.
 *
 * Completion and event callbacks come in any context: they schedule NAPI, or
 * post to the link. Nothing that interrupts us takes a lock of ours, so the
 * spinlocks are taken with bottom halves off, and plain inside ndo_start_xmit.
 */
#ifndef IPOIB_H
#define IPOIB_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/if_arp.h>
#include <linux/if_infiniband.h>
#include <linux/ipv6.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/u64_stats_sync.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <net/page_pool/types.h>

#include <rdma/ib_sa.h>
#include <rdma/ib_verbs.h>

#include "ipoib_wire.h"

#define IPOIB_NAME		"ib_ipoib"

/* more queues than this win nothing on HCAs known today */
#define IPOIB_MAX_TXQ		8

/* queue pairs are made for rings so many times as deep as the parameters say */
#define IPOIB_RING_GROWTH	4

/* of a long chain each so many-th request is signalled; a power of two */
#define IPOIB_SIGNAL_EVERY	32

/* bytes of a send that are asked to go with the request itself */
#define IPOIB_INLINE_BYTES	128

/* a fault that may come back at once is reported once in so many jiffies */
#define IPOIB_FAULT_INTERVAL	HZ

/* receive requests that share a doorbell */
#define IPOIB_REFILL_BATCH	16

/* receive buffers of each kind that are kept at hand */
#define IPOIB_RX_SPARE		64

/* in front of what is received, for whoever forwards it */
#define IPOIB_RX_HEADROOM	NET_SKB_PAD

/*
 * Limits of rings. A receive ring takes one NAPI budget: with less most of a
 * burst is dropped, and TCP stops at its minimum window. A send ring takes two.
 */
#define IPOIB_RX_RING_LEAST	64
#define IPOIB_TX_RING_LEAST	128
#define IPOIB_RING_MOST		8192

/* a datagram's linear part and every fragment the stack may hand down */
#define IPOIB_MAX_SGE		(MAX_SKB_FRAGS + 1)

/* completions taken off a queue at once */
#define IPOIB_POLL_BATCH	16

/* headroom of the stack's first 20 bytes, and what sits on the wire after it */
#define IPOIB_HARD_LEN		sizeof(struct ipoib_header)

/*
 * Memory of pending packets: for one neighbour, for all groups, and in all of
 * an interface. Groups leave neighbours at least as much.
 */
#define IPOIB_NEIGH_PARKED_MOST		(64 * 1024)
#define IPOIB_GROUPS_PARKED_MOST	(2 * 1024 * 1024)
#define IPOIB_ALL_PARKED_MOST		(4 * 1024 * 1024)

/* packets that wait for a group's membership */
#define IPOIB_MCAST_PARKED_MOST	64

/* addresses in all */
#define IPOIB_NEIGHS_MOST	65536

/*
 * addresses that wait for the path to a GID, and for any path; of each GID one
 * may wait in any case
 */
#define IPOIB_PATH_NEIGHS_MOST		64
#define IPOIB_UNRESOLVED_NEIGHS_MOST	8192

/* joins that wait for their answer at once */
#define IPOIB_JOINS_MOST	32

/* the HCA's table of memberships has that many bits of an MGID's hash */
#define IPOIB_MEMBERS_BITS	8

/* groups that are only sent to */
#define IPOIB_SEND_ONLY_MOST	4096

/**
 * struct ipoib_param - a module parameter that may change at any time
 * @value: now
 * @min: what is below this is EINVAL
 * @max: what is above
 */
struct ipoib_param {
	unsigned int value;
	unsigned int min;
	unsigned int max;
};

struct ipoib_dev;

/**
 * enum ipoib_drop_reason - why a packet ended in this driver
 * @IPOIB_DROP_TX_SHORT: no complete header in front of it
 * @IPOIB_DROP_TX_PROTO: a type this link does not carry
 * @IPOIB_DROP_TX_LINK: the link is not active
 * @IPOIB_DROP_TX_PARK_FULL: too many wait for the same neighbour or group, or
 *	there are too many groups
 * @IPOIB_DROP_TX_NO_PATH: the subnet administrator knows no path
 * @IPOIB_DROP_TX_NO_GROUP: the group could not be joined
 * @IPOIB_DROP_TX_FORGOTTEN: parked, then the neighbour or group went away
 * @IPOIB_DROP_TX_NO_MEM: no memory for a neighbour, path or group
 * @IPOIB_DROP_TX_TOO_BIG: longer than the group's MTU
 * @IPOIB_DROP_TX_LINEARIZE: too many fragments, and no memory to join them
 * @IPOIB_DROP_TX_MAP: DMA mapping failed
 * @IPOIB_DROP_TX_POST: the HCA refused the work request
 * @IPOIB_DROP_TX_RING_FULL: the ring was full though the queue ran
 * @IPOIB_DROP_TX_ERROR: the completion says error
 * @IPOIB_DROP_TX_FLUSHED: given back unsent when the queue pair was stopped
 * @IPOIB_DROP_RX_RUNT: shorter than its headers
 * @IPOIB_DROP_RX_PROTO: its type is no ethertype
 * @IPOIB_DROP_RX_ECHO: own multicast, looped back by the fabric
 * @IPOIB_DROP_RX_ERROR: the completion says error
 * @IPOIB_DROP_RX_NO_MEM: no memory for the packet's description
 * @IPOIB_DROP_REASONS: how many reasons there are
 */
enum ipoib_drop_reason {
	IPOIB_DROP_TX_SHORT,
	IPOIB_DROP_TX_PROTO,
	IPOIB_DROP_TX_LINK,
	IPOIB_DROP_TX_PARK_FULL,
	IPOIB_DROP_TX_NO_PATH,
	IPOIB_DROP_TX_NO_GROUP,
	IPOIB_DROP_TX_FORGOTTEN,
	IPOIB_DROP_TX_NO_MEM,
	IPOIB_DROP_TX_TOO_BIG,
	IPOIB_DROP_TX_LINEARIZE,
	IPOIB_DROP_TX_MAP,
	IPOIB_DROP_TX_POST,
	IPOIB_DROP_TX_RING_FULL,
	IPOIB_DROP_TX_ERROR,
	IPOIB_DROP_TX_FLUSHED,
	IPOIB_DROP_RX_RUNT,
	IPOIB_DROP_RX_PROTO,
	IPOIB_DROP_RX_ECHO,
	IPOIB_DROP_RX_ERROR,
	IPOIB_DROP_RX_NO_MEM,
	IPOIB_DROP_REASONS,
};

/**
 * enum ipoib_count - what else is counted of an interface
 * @IPOIB_N_JOIN_REQUESTS: memberships asked for
 * @IPOIB_N_JOIN_GRANTS: granted
 * @IPOIB_N_JOIN_REFUSALS: refused, or not answered
 * @IPOIB_N_JOIN_VOIDS: ended by a port or subnet manager event
 * @IPOIB_N_PATH_QUERIES: paths the subnet administrator was asked for
 * @IPOIB_N_PATH_ANSWERS: paths found
 * @IPOIB_N_PATH_REFUSALS: not found, or not answered
 * @IPOIB_N_PATH_SHARED: paths another interface of the port was asking for
 * @IPOIB_N_NEIGH_ADDS: neighbours made
 * @IPOIB_N_NEIGH_REMOVES: neighbours forgotten
 * @IPOIB_N_ANNOUNCEMENTS: times peers were told of a new link address
 * @IPOIB_COUNTS: how many there are
 */
enum ipoib_count {
	IPOIB_N_JOIN_REQUESTS,
	IPOIB_N_JOIN_GRANTS,
	IPOIB_N_JOIN_REFUSALS,
	IPOIB_N_JOIN_VOIDS,
	IPOIB_N_PATH_QUERIES,
	IPOIB_N_PATH_ANSWERS,
	IPOIB_N_PATH_REFUSALS,
	IPOIB_N_PATH_SHARED,
	IPOIB_N_NEIGH_ADDS,
	IPOIB_N_NEIGH_REMOVES,
	IPOIB_N_ANNOUNCEMENTS,
	IPOIB_COUNTS,
};

/**
 * enum ipoib_sa_place - how an answer comes about
 * @IPOIB_SA_ASKED: by a query of its own
 * @IPOIB_SA_SHARED: by the query of another interface
 * @IPOIB_SA_KNOWN: it was there
 */
enum ipoib_sa_place {
	IPOIB_SA_ASKED,
	IPOIB_SA_SHARED,
	IPOIB_SA_KNOWN,
};

/**
 * struct ipoib_sa_waiter - who waits for a path
 * @entry: of a question, or empty; guarded by sa->lock
 * @done: told of it, with an errno or a record, in process context
 */
struct ipoib_sa_waiter {
	struct list_head entry;
	void (*done)(struct ipoib_sa_waiter *waiter, int status,
		     const struct sa_path_rec *rec);
};

/**
 * struct ipoib_ah - an address handle the data path may be using
 * @ah: the handle
 * @dead: entry of resolve.dead_ahs, once retired
 * @grace: RCU cookie of the moment it was unpublished
 * @snapped: the grace period is over and @snapshot is valid
 * @snapshot: each transmit ring's head at that moment
 *
 * One path or one group owns it; packets borrow it within an RCU read section
 * and the HCA until their completion. See ipoib_ah_retire().
 */
struct ipoib_ah {
	struct ib_ah *ah;
	struct list_head dead;
	unsigned long grace;
	bool snapped;
	u32 snapshot[IPOIB_MAX_TXQ];
};

/**
 * enum ipoib_path_state - what is known of the way to a GID
 * @IPOIB_PATH_WANTED: a query is to be sent
 * @IPOIB_PATH_QUERYING: a query is out
 * @IPOIB_PATH_ANSWERED: its answer is to be looked at
 * @IPOIB_PATH_READY: the address handle is fresh
 * @IPOIB_PATH_STALE: it works, but the next packet asks anew
 * @IPOIB_PATH_BACKOFF: the last answer was no; not asked again for a while
 * @IPOIB_PATH_DEAD: unlinked
 *
 * Whether there is an address handle is not a state: an old one serves on
 * while a query is out.
 */
enum ipoib_path_state {
	IPOIB_PATH_WANTED,
	IPOIB_PATH_QUERYING,
	IPOIB_PATH_ANSWERED,
	IPOIB_PATH_READY,
	IPOIB_PATH_STALE,
	IPOIB_PATH_BACKOFF,
	IPOIB_PATH_DEAD,
};

/**
 * struct ipoib_path - the way to a GID, shared by all its queue pairs
 * @node: entry of resolve.paths
 * @gid: key
 * @ipd: the interface
 * @ah: address handle, or NULL
 * @entry: entry of resolve.path_list
 * @todo: entry of resolve.answered, todo or waiting, or empty
 * @urgent: packets other than address resolution are pending, or a second one
 *	is; until the next reply or failure
 * @excess: entry of resolve.excess, or empty
 * @neighs: its neighbours, by their @on_path
 * @num_neighs: how many they are
 * @state: see there
 * @outdated: something has changed since the query was sent; as it may do so in
 *	more than one state, this is none of them
 * @retry: queries in vain
 * @refusals: times the subnet administrator said no in a row
 * @retry_at: no query before this, in jiffies
 * @found: when it was found, in jiffies
 * @lifetime: after how many jiffies it is queried again when it is used
 * @doubted: it is queried though no event of the port gives a reason
 * @answer_status: of the last query
 * @answer: its record, valid when the status is 0
 * @waiter: for the answer
 * @refs: table, query, each neighbour
 * @rcu: delays the freeing
 *
 * Guarded by resolve.lock where nothing else is said.
 */
struct ipoib_path {
	struct rhash_head node;
	union ib_gid gid;
	struct ipoib_dev *ipd;
	struct ipoib_ah __rcu *ah;
	struct list_head entry;
	struct list_head todo;
	bool urgent;
	struct list_head excess;
	struct list_head neighs;
	unsigned int num_neighs;
	enum ipoib_path_state state;
	bool outdated;
	struct ipoib_retry retry;
	u32 refusals;
	unsigned long retry_at;
	unsigned long found;
	unsigned long lifetime;
	bool doubted;
	int answer_status;
	struct sa_path_rec answer;
	struct ipoib_sa_waiter waiter;
	refcount_t refs;
	struct rcu_head rcu;
};

/**
 * struct ipoib_neigh - a unicast hardware address packets were sent to
 * @node: entry of resolve.neighs
 * @ha: key; all 20 bytes count
 * @path: way to its GID, never changes; holds a reference
 * @used: last use in jiffies; written by any sender, read by the collector
 * @probed: when the stack last asked that address whether it is there, in
 *	jiffies; written by any sender
 * @on_path: entry of the path's list, guarded by resolve.lock
 * @parked: packets that wait for the path, guarded by resolve.lock
 * @parked_bytes: their memory; the same
 * @rcu: delays the freeing
 */
struct ipoib_neigh {
	struct rhash_head node;
	struct ipoib_hwaddr ha __aligned(4);
	struct ipoib_path *path;
	unsigned long used;
	unsigned long probed;
	struct list_head on_path;
	struct sk_buff_head parked;
	u32 parked_bytes;
	struct rcu_head rcu;
};

/**
 * struct ipoib_path_info - a path as it is shown
 * @gid: where to
 * @dlid: 0 when it is not known
 * @sl: service level
 * @mbps: static rate
 */
struct ipoib_path_info {
	union ib_gid gid;
	u32 dlid;
	u32 sl;
	u32 mbps;
};

/**
 * struct ipoib_mcast_info - a group as it is shown
 * @mgid: which
 * @created: when, in jiffies
 * @parked: packets that wait for it
 * @complete: it can be sent to
 * @send_only: nobody here receives it
 */
struct ipoib_mcast_info {
	union ib_gid mgid;
	unsigned long created;
	unsigned int parked;
	bool complete;
	bool send_only;
};

/**
 * struct ipoib_resolve - neighbours, paths and address handles of an interface
 * @neighs: struct ipoib_neigh by hardware address
 * @paths: struct ipoib_path by GID
 * @lock: every list here, and the fields that say so
 * @path_list: every path
 * @excess: paths without an address handle and without a query in flight,
 *	those that were used last at the end: the first go when there are too
 *	many
 * @answered: paths whose reply the work has to look at
 * @todo: paths to be queried, the most urgent ones first
 * @waiting: paths in backoff with packets parked
 * @dead_ahs: retired address handles
 * @queries: queries whose callback has not run
 * @unresolved: paths without an address handle
 * @pathless: their neighbours
 * @accepting: whether packets may create entries; the link's word on it, kept
 *	here because senders ask for it under this lock
 * @idle: woken when @queries gets to 0
 * @work: sends queries and handles answers; cancelled by ipoib_resolve_exit()
 * @gc_work: drops what is not used; runs while the link is up
 * @reap_work: destroys dead address handles
 */
struct ipoib_resolve {
	struct rhashtable neighs;
	struct rhashtable paths;
	spinlock_t lock; /* order 7 */
	struct list_head path_list __guarded_by(&lock);
	struct list_head excess __guarded_by(&lock);
	struct list_head answered __guarded_by(&lock);
	struct list_head todo __guarded_by(&lock);
	struct list_head waiting __guarded_by(&lock);
	struct list_head dead_ahs __guarded_by(&lock);
	unsigned int queries __guarded_by(&lock);
	unsigned int unresolved __guarded_by(&lock);
	unsigned int pathless __guarded_by(&lock);
	bool accepting __guarded_by(&lock);
	wait_queue_head_t idle;
	struct delayed_work work;
	struct delayed_work gc_work;
	struct delayed_work reap_work;
};

/**
 * enum ipoib_membership_state - where a join stands at ib_sa
 * @IPOIB_MEMBER_PENDING: no answer yet
 * @IPOIB_MEMBER_GRANTED: member
 * @IPOIB_MEMBER_REFUSED: not
 * @IPOIB_MEMBER_VOID: was one, until a port or subnet manager event
 * @IPOIB_MEMBER_NOTED: void, and the group has acted on it
 */
enum ipoib_membership_state {
	IPOIB_MEMBER_PENDING,
	IPOIB_MEMBER_GRANTED,
	IPOIB_MEMBER_REFUSED,
	IPOIB_MEMBER_VOID,
	IPOIB_MEMBER_NOTED,
};

/**
 * struct ipoib_membership - one join, from request to leave
 * @ipd: the interface
 * @entry: entry of hca->members
 * @mgid: the group
 * @gid: by which the port is in it
 * @full: to receive it
 * @sa: ib_sa's handle; freeing it waits for the callback
 * @state: written by the callback under mcast.lock
 * @status: errno of a refusal
 * @rec: the record granted
 */
struct ipoib_membership {
	struct ipoib_dev *ipd;
	struct hlist_node entry;
	union ib_gid mgid;
	union ib_gid gid;
	bool full;
	struct ib_sa_multicast *sa;
	enum ipoib_membership_state state;
	int status;
	struct ib_sa_mcmember_rec rec;
};

/**
 * struct ipoib_mcast - a multicast group
 * @node: entry of mcast.table
 * @mgid: key
 * @ah: address handle, or NULL while it cannot be sent to
 * @used: last use by a sender, in jiffies
 * @created: when it was made, in jiffies
 * @entry: entry of mcast.groups
 * @todo: entry of the work's own list
 * @parked: packets that wait for the membership, guarded by mcast.lock
 * @parked_bytes: their memory; the same
 * @kind: why it is there; written under mcast.lock and link.lock
 * @state: the same
 * @sync: mcast.sync when it was last wanted
 * @renew: it is to be joined anew; guarded by mcast.lock
 * @confirm: the next join is to be one that ib_core has to send; only the
 *	holder of link.lock looks at it
 * @unwanted: it is to be left; guarded by mcast.lock
 * @in_full: sent to only, but the subnet administrator takes no such members;
 *	only the holder of link.lock looks at it
 * @cur: membership in force; only the holder of link.lock looks at it
 * @next: membership asked for; the same
 * @attached_mlid: the queue pair receives this MLID, 0 is none; the same
 * @attached_qkey: Q_Key it was attached with; the same
 * @retry: attempts in vain; the same
 * @refusals: times the subnet administrator said no in a row; the same
 * @refused_at: when it first did so, in jiffies; the same
 * @status: errno of the last failure; the same
 * @retry_at: jiffies; the same
 * @rcu: delays the freeing
 */
struct ipoib_mcast {
	struct rhash_head node;
	union ib_gid mgid;
	struct ipoib_ah __rcu *ah;
	unsigned long used;
	unsigned long created;
	struct list_head entry;
	struct list_head todo;
	struct sk_buff_head parked;
	u32 parked_bytes;
	enum ipoib_mcast_kind kind;
	enum ipoib_mcast_state state;
	u32 sync;
	bool renew;
	bool confirm;
	bool unwanted;
	bool in_full;
	struct ipoib_membership *cur;
	struct ipoib_membership *next;
	u16 attached_mlid;
	u32 attached_qkey;
	struct ipoib_retry retry;
	u32 refusals;
	unsigned long refused_at;
	int status;
	unsigned long retry_at;
	struct rcu_head rcu;
};

/**
 * struct ipoib_mcast_table - multicast groups of an interface
 * @table: struct ipoib_mcast by GID
 * @link_mgid: the broadcast group's GID; written while @accepting is false,
 *	read by senders
 * @lock: every field below, and what the groups' fields say
 * @groups: every group
 * @broadcast: the broadcast group, or NULL
 * @link_rec: its record while it works: what other groups are made from
 * @sync: counts looks at the stack's multicast list
 * @num_asking: groups whose join waits for an answer
 * @num_send_only: groups that are only sent to
 * @parked_bytes: memory of all packets that wait for a membership
 * @accepting: whether packets may create groups; as in struct ipoib_resolve
 * @refused_mtu_bytes: MTU of a broadcast group that was refused, or 0
 * @group_unknown: the subnet administrator tells no way to that group
 * @sa_absent: nor the way from the port to itself, which every one knows: there
 *	is none, and it is the HCA there that rejects what it is sent
 * @lacks_broadcast: there was no memory for the broadcast group, and @work
 *	tries again; guarded by link.lock
 * @sync_wanted: bit 0: the stack's list changed; any context sets it
 * @work: moves groups through their states
 * @undone: attachments that the HCA did not undo; guarded by link.lock
 * @why: asks why the broadcast group was refused
 * @why_self: it asks for the way from the port to itself; written while
 *	@asking_why is false
 * @asking_why: @why is out; written with link.lock held, cleared by the answer
 */
struct ipoib_mcast_table {
	struct rhashtable table;
	struct ipoib_mgid link_mgid;
	spinlock_t lock; /* order 6 */
	struct list_head groups __guarded_by(&lock);
	struct ipoib_mcast *broadcast __guarded_by(&lock);
	struct ib_sa_mcmember_rec link_rec __guarded_by(&lock);
	u32 sync __guarded_by(&lock);
	unsigned int num_asking __guarded_by(&lock);
	unsigned int num_send_only __guarded_by(&lock);
	u32 parked_bytes __guarded_by(&lock);
	bool accepting __guarded_by(&lock);
	int refused_mtu_bytes __guarded_by(&lock);
	bool group_unknown __guarded_by(&lock);
	bool sa_absent __guarded_by(&lock);
	bool lacks_broadcast;
	unsigned long sync_wanted;
	struct delayed_work work;
	struct list_head undone;
	struct ipoib_sa_waiter why;
	bool why_self;
	bool asking_why;
};

/**
 * struct ipoib_tx_slot - a datagram on its way out
 * @skb: the packet, owned from linking to completion
 * @bytes: what the queue's byte limit was told of it
 * @hlen: headers of a large send, encapsulation included; 0 otherwise
 * @wire_packets: how many packets it is on the wire
 * @wire_bytes: how many bytes, all their encapsulation and headers included
 * @mapped: pieces that have a DMA mapping
 * @head_mapped: the first of them is of the linear part
 * @refused: the HCA did not take it: it was dropped, and nothing will complete
 *	it; set by the producer, cleared by the NAPI that passes over the slot
 * @wr: its work request; lives here because a chain of them may outlast the
 *	ndo_start_xmit that linked it
 * @sge: the mapped pieces; also what is unmapped again
 */
struct ipoib_tx_slot {
	struct sk_buff *skb;
	u32 bytes;
	u32 hlen;
	u32 wire_packets;
	u32 wire_bytes;
	u16 mapped;
	bool head_mapped;
	bool refused;
	struct ib_ud_wr wr;
	struct ib_sge sge[IPOIB_MAX_SGE];
};

/**
 * struct ipoib_tx_made - what the producer of a transmit ring counts
 * @syncp: guards the rest; written under the netdev tx queue lock
 * @stops: times the queue was stopped, as the ring was full
 * @csum: packets the HCA was asked to sum
 * @lso: large sends
 * @lso_packets: packets they were cut into
 */
struct ipoib_tx_made {
	struct u64_stats_sync syncp;
	u64_stats_t stops;
	u64_stats_t csum;
	u64_stats_t lso;
	u64_stats_t lso_packets;
};

/**
 * struct ipoib_tx_done_stats - what the consumer of a transmit ring counts
 * @syncp: guards the rest; written by the queue's NAPI alone
 * @packets: sent
 * @bytes: sent, encapsulation headers included
 * @wakes: times the queue was woken
 */
struct ipoib_tx_done_stats {
	struct u64_stats_sync syncp;
	u64_stats_t packets;
	u64_stats_t bytes;
	u64_stats_t wakes;
};

/**
 * struct ipoib_txq_totals - a transmit queue's counters, read in one go
 * @packets: sent
 * @bytes: sent, encapsulation headers included
 * @stops: times the queue was stopped
 * @wakes: times it was woken
 * @csum: packets the HCA was asked to sum
 * @lso: large sends
 * @lso_packets: packets they were cut into
 */
struct ipoib_txq_totals {
	u64 packets;
	u64 bytes;
	u64 stops;
	u64 wakes;
	u64 csum;
	u64 lso;
	u64 lso_packets;
};

/**
 * enum ipoib_heal_stage - what is done for a queue that ails, in this order
 * @IPOIB_HEAL_REARM: arm its completion queue anew and look what is in it
 * @IPOIB_HEAL_SQE: take the queue pair from SQE back to RTS
 * @IPOIB_HEAL_RESET: take it through RESET, where it keeps its number
 * @IPOIB_HEAL_RECREATE: make all queue pairs and completion queues anew
 * @IPOIB_HEAL_STAGES: how many there are
 */
enum ipoib_heal_stage {
	IPOIB_HEAL_REARM,
	IPOIB_HEAL_SQE,
	IPOIB_HEAL_RESET,
	IPOIB_HEAL_RECREATE,
	IPOIB_HEAL_STAGES,
};

/**
 * enum ipoib_heal_step - where a queue's treatment stands
 * @IPOIB_QUEUE_WELL: none is under way
 * @IPOIB_QUEUE_WATCHED: does it move again?
 * @IPOIB_QUEUE_DRAINING: in ERR, the HCA gives back what it has
 * @IPOIB_QUEUE_PURGING: in RESET, its NAPI takes back what is left
 * @IPOIB_QUEUE_RECREATING: halted until it has a new queue pair and completion
 *	queue
 */
enum ipoib_heal_step {
	IPOIB_QUEUE_WELL,
	IPOIB_QUEUE_WATCHED,
	IPOIB_QUEUE_DRAINING,
	IPOIB_QUEUE_PURGING,
	IPOIB_QUEUE_RECREATING,
};

/**
 * enum ipoib_halt - why a transmit queue is halted, each a bit
 * @IPOIB_HALT_HEAL: its queue pair is not in RTS
 * @IPOIB_HALT_CHANGE: its ring is changed, or the queue taken away
 */
enum ipoib_halt {
	IPOIB_HALT_HEAL,
	IPOIB_HALT_CHANGE,
};

/**
 * struct ipoib_heal - a queue's treatment; guarded by link.lock
 * @step: where it stands
 * @until: when patience ends, in jiffies
 * @tail: of the ring when it was last looked at
 * @waited: something was under way then
 * @since: when the first treatment of a row began, in jiffies
 * @row: treatments since then
 */
struct ipoib_heal {
	enum ipoib_heal_step step;
	unsigned long until;
	u32 tail;
	bool waited;
	unsigned long since;
	u32 row;
};

/**
 * struct ipoib_txq - a transmit queue: queue pair, completions, ring
 * @ipd: the interface
 * @qp: send queue pair; queue 0's is the one peers know and also receives
 * @cq: its send completions
 * @slots: ring of @size entries while the transport is open, or NULL
 * @index: of the netdev queue
 * @size: entries, a power of two; RTNL
 * @depth: entries the queue pair was made for
 * @max_sge: pieces the queue pair takes
 * @max_inline: bytes it takes within a request
 * @halted: why nothing may be sent by it, bits of enum ipoib_halt; written
 *	under the netdev tx queue lock
 * @pkey_index: place of the P_Key that the queue pair was given; guarded by
 *	link.lock
 * @fault_at: when a fault of it was last reported, in jiffies; any context
 * @heal: its treatment
 * @head: entries ever linked; written under the netdev tx queue lock
 * @posted: entries ever posted, at most @head; the same
 * @signalled: up to here the HCA tells of completion; the same
 * @rejects: requests that the HCA rejected in a row; the same
 * @repost: the HCA had no memory for what is linked; set under the same lock,
 *	cleared by @napi
 * @made: counters of the producer
 * @tail: entries ever completed; written by @napi alone
 * @purge: the queue pair is in RESET, @napi is to take back the ring; set under
 *	link.lock, cleared by @napi
 * @napi: completion context
 * @done: counters of @napi
 * @cpu: where the last completion was told of, or -1; written by the handler
 * @wcs: room for one poll, @napi's alone: too large for a stack
 * @rcu: delays the freeing, for readers of the counters
 */
struct ipoib_txq {
	struct ipoib_dev *ipd;
	struct ib_qp *qp;
	struct ib_cq *cq;
	struct ipoib_tx_slot *slots;
	u16 index;
	u32 size;
	u32 depth;
	u32 max_sge;
	u32 max_inline;
	unsigned long halted;
	u16 pkey_index;
	unsigned long fault_at;
	struct ipoib_heal heal;

	u32 head ____cacheline_aligned_in_smp;
	u32 posted;
	u32 signalled;
	u32 rejects;
	bool repost;
	struct ipoib_tx_made made;

	u32 tail ____cacheline_aligned_in_smp;
	bool purge;
	struct napi_struct napi;
	struct ipoib_tx_done_stats done;
	int cpu;
	struct ib_wc wcs[IPOIB_POLL_BATCH];
	struct rcu_head rcu;
};

/**
 * struct ipoib_rx_piece - a part of a page that the HCA may write to
 * @page: the page, or NULL
 * @offset: where in it
 */
struct ipoib_rx_piece {
	struct page *page;
	unsigned int offset;
};

/**
 * struct ipoib_rx_slot - a receive buffer
 * @head: becomes the packet's linear part: headers, and all of a small packet
 * @frags: the rest of a large one
 */
struct ipoib_rx_slot {
	struct ipoib_rx_piece head;
	struct ipoib_rx_piece frags[IPOIB_RX_FRAGS];
};

/**
 * struct ipoib_rx_wr - a receive request while it is posted
 * @wr: the request; the HCA has a copy when posting returns
 * @sge: its pieces
 */
struct ipoib_rx_wr {
	struct ib_recv_wr wr;
	struct ib_sge sge[1 + IPOIB_RX_FRAGS];
};

/**
 * struct ipoib_rx_store - where receive buffers of one kind come from
 * @pool: pages, mapped once; while the transport is open, else NULL
 * @bytes: length of a piece
 * @num_spare: entries of @spare
 * @spare: pieces at hand, IPOIB_RX_SPARE at most; in the queue's room
 */
struct ipoib_rx_store {
	struct page_pool *pool;
	u32 bytes;
	u32 num_spare;
	struct ipoib_rx_piece *spare;
};

/**
 * struct ipoib_rx_room - where the receive side works
 * @wrs: room for one chain, used as the queue's @head is
 * @wcs: room for one poll, the NAPI's alone: too large for a stack
 * @spare_heads: pieces of one kind at hand
 * @spare_frags: and of the other
 *
 * Apart from the queue, as it is most of an interface and a child that was
 * never up need not have it.
 */
struct ipoib_rx_room {
	struct ipoib_rx_wr wrs[IPOIB_REFILL_BATCH];
	struct ib_wc wcs[IPOIB_POLL_BATCH];
	struct ipoib_rx_piece spare_heads[IPOIB_RX_SPARE];
	struct ipoib_rx_piece spare_frags[IPOIB_RX_SPARE];
};

/**
 * enum ipoib_rx_fence - may the receive NAPI post buffers?
 * @IPOIB_RX_FENCE_OPEN: it may
 * @IPOIB_RX_FENCE_HOLD: it is to stop; set under link.lock
 * @IPOIB_RX_FENCE_HELD: it has stopped; set by the NAPI
 * @IPOIB_RX_FENCE_PURGE: the queue pair is in RESET, and the NAPI is to take
 *	back the ring; set under link.lock
 * @IPOIB_RX_FENCE_PURGED: it has taken it back; set by the NAPI
 *
 * Some HCAs take a buffer while the queue pair is in RESET, and own it from
 * then on. So RESET waits for HELD, and posting for the queue pair's start.
 */
enum ipoib_rx_fence {
	IPOIB_RX_FENCE_OPEN,
	IPOIB_RX_FENCE_HOLD,
	IPOIB_RX_FENCE_HELD,
	IPOIB_RX_FENCE_PURGE,
	IPOIB_RX_FENCE_PURGED,
};

/**
 * struct ipoib_rxq - the receive side of the datagram queue pair
 * @ipd: the interface
 * @cq: receive completions
 * @slots: ring of @depth entries while the transport is open, or NULL
 * @size: entries that are to be posted; RTNL, read by @napi
 * @depth: entries the queue pair was made for, a power of two
 * @buf_bytes: length of a buffer as the HCA sees it
 * @layout: how that is laid out over pieces
 * @heads: where heads come from
 * @frags: where the other pieces come from
 * @self: by what own packets are known; written under link.lock. A reader may
 *	catch a GID half written, but only while no group is attached: at worst
 *	one packet is taken for another's
 * @usecs: moderation; RTNL
 * @frames: moderation; RTNL
 * @head: buffers ever posted; written by @napi, and on open before it runs
 * @tail: buffers ever completed; the same
 * @flushed: buffers come back unused, so none are posted until the next start;
 *	written as @head is
 * @fence: whether @napi may post
 * @napi: completion context
 * @syncp: guards the counters; written by @napi alone
 * @packets: received
 * @bytes: received, encapsulation header included
 * @multicast: received by a group other than broadcast
 * @csum: vouched for by the HCA
 * @short_of: times there was no memory for a buffer; written as @head is
 * @refill_work: fills the ring when memory was short and nothing will come in
 * @room: where it works; there as long as @cq
 * @napi_grace: after this nobody sees @napi where it was listed before; RTNL
 */
struct ipoib_rxq {
	struct ipoib_dev *ipd;
	struct ib_cq *cq;
	struct ipoib_rx_slot *slots;
	u32 size;
	u32 depth;
	u32 buf_bytes;
	struct ipoib_rx_layout layout;
	struct ipoib_rx_store heads;
	struct ipoib_rx_store frags;
	struct ipoib_rx_self self;
	u16 usecs;
	u16 frames;

	u32 head ____cacheline_aligned_in_smp;
	u32 tail;
	bool flushed;
	enum ipoib_rx_fence fence;
	struct napi_struct napi;
	struct u64_stats_sync syncp;
	u64_stats_t packets;
	u64_stats_t bytes;
	u64_stats_t multicast;
	u64_stats_t csum;
	u64 short_of;
	struct delayed_work refill_work;
	struct ipoib_rx_room *room;
	unsigned long napi_grace;
};

/**
 * struct ipoib_rxq_totals - a receive queue's counters, read in one go
 * @packets: received
 * @bytes: received, encapsulation header included
 * @multicast: received by a group other than broadcast
 * @csum: vouched for by the HCA
 * @short_of: times there was no memory for a buffer
 */
struct ipoib_rxq_totals {
	u64 packets;
	u64 bytes;
	u64 multicast;
	u64 csum;
	u64 short_of;
};

/**
 * enum ipoib_ud_state - how the queue pairs of the datagram transport stand
 * @IPOIB_UD_CLOSED: in RESET, or not there yet
 * @IPOIB_UD_OPEN: in RTS
 * @IPOIB_UD_STOPPING: in ERR; nothing new is posted, no queue woken
 */
enum ipoib_ud_state {
	IPOIB_UD_CLOSED,
	IPOIB_UD_OPEN,
	IPOIB_UD_STOPPING,
};

/**
 * struct ipoib_ud - the datagram transport over plain verbs
 * @txq: @num_txq transmit queues
 * @num_txq: of them; 0 where a lower driver sends, and while a child is down.
 *	Written under RTNL and link.lock
 * @qpns: their queue pair numbers
 * @origin: where the counters of a queue go on when it is made anew
 * @left: counters of queues that are no more, or were made anew; written
 *	before @txq is cleared, read where that is NULL
 * @handled_on: where completions of a queue are handled, -1 before it was seen;
 *	guarded by link.lock
 * @is_spread: processors have been told which queue to use; RTNL
 * @led_to: only so many queues are sent by, as the others are about to go; 0 is
 *	all. Written under RTNL, read by senders
 * @vector: completion vector of the receive side; the queues' follow
 * @tx_size: entries of a transmit ring; RTNL
 * @qkey: of every datagram; written under link.lock, read by senders
 * @state: of the queue pairs; written under link.lock. Not the link's: that may
 *	be DOWN, NO_PKEY or DEAD for a while with these still up
 * @drain_until: when the HCA has had its time to give buffers back, in jiffies;
 *	set with STOPPING
 * @pkey_index: what the queue pairs are to have
 * @ailing: a bit for each queue that somebody has to look at, any context
 * @needs_reset: a bit for each queue that only RESET helps, any context
 * @lost: a bit for each queue whose completion queue is in error, or whose
 *	queue pair cannot be taken to RESET: only new ones help. Bit 0 stands
 *	for all queues, as the others can be recreated alone; any context
 * @kept: the HCA has not let go of a queue pair, whose memory is kept;
 *	written under RTNL
 * @heals: treatments, by enum ipoib_heal_stage
 * @next_round: when all queues are looked at, in jiffies; guarded by link.lock
 * @heal_work: treats queues; on the interface's queue, cancelled by stop
 * @repost_work: has queues with @repost post again; on the interface's queue,
 *	cancelled by stop
 * @too_big: packets whose senders are to be told of the MTU
 * @too_big_work: tells them; on the interface's queue, cancelled by uninit
 * @rxq: receive side
 */
struct ipoib_ud {
	struct ipoib_txq *txq[IPOIB_MAX_TXQ];
	unsigned int num_txq;
	u32 qpns[IPOIB_MAX_TXQ];
	u32 origin[IPOIB_MAX_TXQ];
	struct ipoib_txq_totals left[IPOIB_MAX_TXQ];
	int handled_on[IPOIB_MAX_TXQ];
	bool is_spread;
	unsigned int led_to;
	u32 vector;
	u32 tx_size;
	u32 qkey;
	enum ipoib_ud_state state;
	unsigned long drain_until;
	u16 pkey_index;
	unsigned long ailing;
	unsigned long needs_reset;
	unsigned long lost;
	bool kept;
	atomic64_t heals[IPOIB_HEAL_STAGES];
	unsigned long next_round;
	struct delayed_work heal_work;
	struct delayed_work repost_work;
	struct sk_buff_head too_big;
	struct work_struct too_big_work;
	struct ipoib_rxq rxq;
};

/**
 * enum ipoib_rtnl_job - what waits for RTNL
 * @IPOIB_RTNL_RESTART: close and open the transport
 * @IPOIB_RTNL_QUEUES: recreate transmit queues above the first
 * @IPOIB_RTNL_READDRESS: take over the port's GID
 * @IPOIB_RTNL_CARRIER: set MTU and carrier
 * @IPOIB_RTNL_ANNOUNCE: tell peers of the link address
 */
enum ipoib_rtnl_job {
	IPOIB_RTNL_RESTART,
	IPOIB_RTNL_QUEUES,
	IPOIB_RTNL_READDRESS,
	IPOIB_RTNL_CARRIER,
	IPOIB_RTNL_ANNOUNCE,
};

/**
 * struct ipoib_link - state of the link, and its own copies of what it needs
 * @lock: everything below but @facts, @posted, @jobs and the works; @state and
 *	@pkey are written under it and read anywhere
 * @state: written by ipoib_link_set_state() alone
 * @acted: the levels last acted on
 * @seen: the levels as they were last read
 * @no_pkey: the P_Key last acted on is not in the port's table
 * @no_gid: own GID is not
 * @pkey: own P_Key in full-member form, in the table or not; 0 before the first
 * @gid: own GID
 * @alias: interface id that is not the port's, or 0
 * @broadcast: GID of the link's broadcast group
 * @posted: bits of enum ipoib_link_event that have no level, any context
 * @work: looks at the levels and runs transitions
 * @polls: looks in a row for what the link waits for
 * @poll_work: the next one, on the interface's queue; cancelled by stop
 * @confirm_work: has memberships confirmed, on the interface's queue; cancelled
 *	by stop
 * @reason: why there is no carrier, as it was last traced
 * @facts: what that was found from, for those who ask; they wait for no @lock,
 *	which is held while the HCA is
 * @facts_lock: @facts
 * @jobs: bits of enum ipoib_rtnl_job
 * @rtnl_work: does them, on hca->rtnl_wq
 * @restart_failures: restarts that failed in a row
 */
struct ipoib_link {
	struct mutex lock; /* order 4 */
	enum ipoib_link_state state;
	struct ipoib_link_view acted __guarded_by(&lock);
	struct ipoib_link_view seen __guarded_by(&lock);
	struct ipoib_absence no_pkey __guarded_by(&lock);
	struct ipoib_absence no_gid __guarded_by(&lock);
	u16 pkey;
	union ib_gid gid __guarded_by(&lock);
	__be64 alias __guarded_by(&lock);
	union ib_gid broadcast __guarded_by(&lock);
	u32 restart_failures __guarded_by(&lock);
	u32 polls __guarded_by(&lock);
	enum ipoib_link_reason reason __guarded_by(&lock);
	spinlock_t facts_lock; /* order 8 */
	struct ipoib_link_facts facts __guarded_by(&facts_lock);
	struct delayed_work poll_work;
	struct delayed_work confirm_work;
	unsigned long posted;
	struct work_struct work;
	unsigned long jobs;
	struct delayed_work rtnl_work;
};

/**
 * struct ipoib_children - the interfaces on top of a parent
 * @lock: the list
 * @list: their @sibling
 * @num: how many they are
 * @wait: writers of delete_child, until the child's @deleted or @closing
 * @closing: the parent is being removed; written under RTNL
 */
struct ipoib_children {
	struct mutex lock; /* order 3 */
	struct list_head list __guarded_by(&lock);
	unsigned int num __guarded_by(&lock);
	wait_queue_head_t wait;
	bool closing;
};

/**
 * struct ipoib_sa_budget - how much a port may ask for; guarded by sa->lock
 * @tokens: MADs that may be sent at once; below 0 when ib_sa has sent more
 * @in_flight: queries without an answer
 * @refilled_ns: when there was last one more; ktime_get_ns()
 */
struct ipoib_sa_budget {
	int tokens;
	unsigned int in_flight;
	u64 refilled_ns;
};

/**
 * struct ipoib_sa - what the interfaces of an HCA ask for
 * @ibdev: the HCA
 * @lock: the rest
 * @questions: struct ipoib_sa_question
 * @busy: those whose waiters have not all been told
 * @budgets: by port number, from 1
 * @work: cancels queries that have timed out; on the system's queue while any
 *	is in flight; cancelled by ipoib_sa_exit()
 * @idle: woken when @busy gets to 0
 */
struct ipoib_sa {
	struct ib_device *ibdev;
	spinlock_t lock; /* order 8 */
	struct list_head questions __guarded_by(&lock);
	unsigned int busy __guarded_by(&lock);
	struct ipoib_sa_budget *budgets;
	struct delayed_work work;
	wait_queue_head_t idle;
};

/**
 * struct ipoib_hca - what the interfaces of an HCA share
 * @ibdev: the HCA
 * @rtnl_wq: ordered queue for what needs RTNL
 * @sa: paths its interfaces ask for
 * @interfaces: how many it ever had
 * @parents: its parent interfaces; only add and remove change the list
 * @members_lock: guards @members
 * @members: what its interfaces asked for, and did not leave, by MGID
 */
struct ipoib_hca {
	struct ib_device *ibdev;
	struct workqueue_struct *rtnl_wq;
	struct ipoib_sa sa;
	atomic_t interfaces;
	struct list_head parents;
	spinlock_t members_lock; /* order 8 */
	struct hlist_head members[BIT(IPOIB_MEMBERS_BITS)]
		__guarded_by(&members_lock);
};

/**
 * struct ipoib_fs - an interface's debugfs files
 * @mcg: its groups
 * @path: its paths
 */
struct ipoib_fs {
	struct dentry *mcg;
	struct dentry *path;
};

/**
 * struct ipoib_dev - an interface
 * @netdev: the interface as the stack sees it
 * @hca: its HCA
 * @ibdev: the same as @hca->ibdev
 * @parent: interface it is a child of, or NULL
 * @parent_tracker: reference on the parent's netdev, from ipoib_dev_tie() until
 *	after @lower_destructor
 * @lower: netdev ops of the transport: ours, or an accelerated HCA driver's
 * @lower_destructor: the transport's priv_destructor, or NULL
 * @pd: protection domain, from ndo_init to ndo_uninit
 * @wq: ordered queue, from ndo_init to ndo_uninit
 * @port: port of the HCA, from 1
 * @max_ib_mtu: largest IB MTU the port may ever use
 * @rcu: frees this, as a NAPI in it was listed; where kfree_rcu() finds it
 * @ud: our transport
 * @drops: packets dropped, by enum ipoib_drop_reason
 * @counts: what else happened, by enum ipoib_count
 * @pending_bytes: memory of all packets that wait for a path or a membership
 * @resolve: neighbours, paths, address handles
 * @mcast: groups
 * @link: state machine
 * @children: interfaces on top
 * @sibling: entry of the parent's list, or of hca->parents
 * @event_handler: of a parent: asynchronous events of the HCA
 * @lower_open: the lower ndo_open has run and ndo_stop has not; RTNL. The link
 *	is up without it while its P_Key is missing
 * @admin_mtu: the MTU the user asked for; RTNL
 * @group_mtu: IP MTU of the broadcast group, 0 before the first join; RTNL
 * @home_pkey: own P_Key in full-member form: a child's for life, the one that a
 *	parent first had; 0 before that. Written under RTNL and link.lock
 * @has_tables: the tables of @resolve and @mcast are there; RTNL
 * @tables_work: destroys them, on ipoib_teardown; flushed by ipoib_dev_free()
 * @own_guid: the user has chosen its GUID; RTNL
 * @announcements: times peers are still to be told of the address; RTNL
 * @by_file: a child that create_child made; constant
 * @kept_down: a child that was taken down by itself; RTNL
 * @following: a child is just going where its parent went; RTNL
 * @delete_work: unregisters a child, on ipoib_unbound_wq; holds the netdev
 * @deleted: @delete_work has run; written under RTNL
 * @fs: its debugfs files; RTNL
 * @umcast: leave groups alone that user space has joined; RTNL, read anywhere
 */
struct ipoib_dev {
	struct net_device *netdev;
	struct ipoib_hca *hca;
	struct ib_device *ibdev;
	struct ipoib_dev *parent;
	netdevice_tracker parent_tracker;
	const struct net_device_ops *lower;
	void (*lower_destructor)(struct net_device *netdev);
	struct ib_pd *pd;
	struct workqueue_struct *wq;
	u32 port;
	unsigned int max_ib_mtu;
	struct rcu_head rcu;

	struct ipoib_ud ud;
	atomic64_t drops[IPOIB_DROP_REASONS];
	atomic64_t counts[IPOIB_COUNTS];
	atomic_t pending_bytes;
	struct ipoib_resolve resolve;
	struct ipoib_mcast_table mcast;

	struct ipoib_link link;
	struct ipoib_children children;
	struct list_head sibling;
	struct ib_event_handler event_handler;
	bool lower_open;
	unsigned int admin_mtu;
	unsigned int group_mtu;
	u16 home_pkey;
	bool has_tables;
	struct work_struct tables_work;
	bool own_guid;
	u8 announcements;
	bool by_file;
	bool kept_down;
	bool following;
	struct work_struct delete_work;
	bool deleted;
	struct ipoib_fs fs;
	bool umcast;
};

/**
 * ipoib_from_netdev() - the interface behind a netdev of this driver
 * @dev: netdev made by ipoib_setup()
 *
 * Return: the interface; NULL until it is tied to the netdev.
 */
static inline struct ipoib_dev *ipoib_from_netdev(const struct net_device *dev)
{
	const struct rdma_netdev *rn = netdev_priv(dev);

	return rn->clnt_priv;
}

/**
 * ipoib_rn() - the lower-driver contract of an interface
 * @ipd: interface
 *
 * Return: the first bytes of the netdev's private area.
 */
static inline struct rdma_netdev *ipoib_rn(const struct ipoib_dev *ipd)
{
	return netdev_priv(ipd->netdev);
}

/* a bit of link.posted that stands for "look at the levels" alone */
#define IPOIB_LINK_LOOK		IPOIB_LINK_EVENTS

/**
 * ipoib_link_post() - tell the link that something may have changed
 * @ipd: interface
 * @event: an event without a level (REREGISTER, STUCK, JOIN_LOST), or
 *	IPOIB_LINK_LOOK
 *
 * The one door for news on its way up: any layer, any context, between
 * ndo_init and ndo_uninit. It is a hint; the work re-reads what can be read.
 */
static inline void ipoib_link_post(struct ipoib_dev *ipd, unsigned int event)
{
	set_bit(event, &ipd->link.posted);
	queue_work(ipd->wq, &ipd->link.work);
}

/**
 * ipoib_count() - count an event
 * @ipd: interface
 * @what: which
 */
static inline void ipoib_count(struct ipoib_dev *ipd, enum ipoib_count what)
{
	atomic64_inc(&ipd->counts[what]);
}

/**
 * ipoib_ud_is_open() - may a queue be woken, and its flushes be wondered at?
 * @ipd: interface
 *
 * Context: any; without link.lock it may be true a moment late.
 *
 * Return: true while the queue pairs are meant to be in RTS.
 */
static inline bool ipoib_ud_is_open(const struct ipoib_dev *ipd)
{
	return READ_ONCE(ipd->ud.state) == IPOIB_UD_OPEN;
}

/**
 * ipoib_ud_is_stopping() - are buffers meant to come back?
 * @ipd: interface
 *
 * Context: any; without link.lock it may be true a moment late.
 *
 * Return: true while the queue pairs are taken out of RTS.
 */
static inline bool ipoib_ud_is_stopping(const struct ipoib_dev *ipd)
{
	return READ_ONCE(ipd->ud.state) == IPOIB_UD_STOPPING;
}

/**
 * ipoib_txq_is_idle() - has all been completed that tells of its end?
 * @txq: queue
 *
 * Return: false while the HCA owes a completion; of what is posted beyond the
 *	last signalled request it tells nothing.
 */
static inline bool ipoib_txq_is_idle(const struct ipoib_txq *txq)
{
	return ipoib_snapshot_passed(READ_ONCE(txq->tail),
				     READ_ONCE(txq->signalled));
}

/**
 * ipoib_rxq_is_idle() - does the HCA own no receive buffer?
 * @rxq: queue
 *
 * Return: true when all that was posted came back.
 */
static inline bool ipoib_rxq_is_idle(const struct ipoib_rxq *rxq)
{
	return READ_ONCE(rxq->head) == READ_ONCE(rxq->tail);
}

/**
 * ipoib_napi_kick() - have a queue polled, which arms it at the end
 * @napi: of the queue
 *
 * Context: process.
 */
static inline void ipoib_napi_kick(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

/**
 * ipoib_ud_ails() - have somebody look at a queue
 * @ipd: interface
 * @index: of the transmit queue; queue 0's queue pair receives, too
 *
 * Context: any.
 */
static inline void ipoib_ud_ails(struct ipoib_dev *ipd, unsigned int index)
{
	/* of a queue pair that outlived the interface there may be news, too */
	if (READ_ONCE(ipd->ud.kept))
		return;

	set_bit(index, &ipd->ud.ailing);
	ipoib_link_post(ipd, IPOIB_EV_STUCK);
}

/* ---- printing ------------------------------------------------------------ */

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG)
extern int ipoib_debug_level;
extern int ipoib_mcast_debug_level;

#define ipoib_dbg(ipd, fmt, ...)					\
do {									\
	if (READ_ONCE(ipoib_debug_level) > 0)				\
		netdev_printk(KERN_DEBUG, (ipd)->netdev, fmt, ##__VA_ARGS__); \
} while (0)

#define ipoib_dbg_mcast(ipd, fmt, ...)					\
do {									\
	if (READ_ONCE(ipoib_mcast_debug_level) > 0)			\
		netdev_printk(KERN_DEBUG, (ipd)->netdev, fmt, ##__VA_ARGS__); \
} while (0)
#else
#define ipoib_dbg(ipd, fmt, ...)					\
do {									\
	if (0)								\
		netdev_printk(KERN_DEBUG, (ipd)->netdev, fmt, ##__VA_ARGS__); \
} while (0)

#define ipoib_dbg_mcast(ipd, fmt, ...)	ipoib_dbg(ipd, fmt, ##__VA_ARGS__)
#endif

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG_DATA)
extern int ipoib_data_debug_level;

#define ipoib_dbg_data(ipd, fmt, ...)					\
do {									\
	if (READ_ONCE(ipoib_data_debug_level) > 0)			\
		netdev_printk(KERN_DEBUG, (ipd)->netdev, fmt, ##__VA_ARGS__); \
} while (0)
#else
#define ipoib_dbg_data(ipd, fmt, ...)					\
do {									\
	if (0)								\
		netdev_printk(KERN_DEBUG, (ipd)->netdev, fmt, ##__VA_ARGS__); \
} while (0)
#endif

#define ipoib_warn(ipd, fmt, ...)					\
do {									\
	if (net_ratelimit())						\
		netdev_warn((ipd)->netdev, fmt, ##__VA_ARGS__);		\
} while (0)

/* why something was refused, where the errno is all there is otherwise */
#define ipoib_info(ipd, fmt, ...)					\
do {									\
	if (net_ratelimit())						\
		netdev_info((ipd)->netdev, fmt, ##__VA_ARGS__);		\
} while (0)

/* ---- ipoib_main.c -------------------------------------------------------- */

static inline unsigned int ipoib_param_value(const struct ipoib_param *param)
{
	return READ_ONCE(param->value);
}

extern struct ib_sa_client ipoib_sa_client;
extern int ipoib_recv_queue_size;
extern int ipoib_send_queue_size;
extern struct workqueue_struct *ipoib_unbound_wq;
extern const struct kernel_param_ops ipoib_param_ops;

bool ipoib_netdev_is_ours(const struct net_device *dev);
int ipoib_sysfs_lock(struct net_device *dev);
void ipoib_setup(struct net_device *dev);
struct net_device *ipoib_dev_alloc(struct ib_device *ibdev, u32 port,
				   const char *name, unsigned char assigned);
struct ipoib_dev *ipoib_dev_tie(struct net_device *dev, struct ipoib_hca *hca,
				u32 port, struct ipoib_dev *parent);
void ipoib_dev_free(struct net_device *dev);
int ipoib_mode_set(struct ipoib_dev *ipd, bool connected,
		   struct netlink_ext_ack *extack);
void ipoib_umcast_set(struct ipoib_dev *ipd, bool umcast);

/* ---- ipoib_link.c -------------------------------------------------------- */

void ipoib_link_init_early(struct ipoib_dev *ipd);
int ipoib_link_open(struct net_device *dev);
int ipoib_link_stop(struct net_device *dev);
void ipoib_link_carrier_on(struct ipoib_dev *ipd);
void ipoib_link_activated(struct ipoib_dev *ipd);
void ipoib_link_recreate_queues(struct ipoib_dev *ipd);
void ipoib_link_condemn(struct ipoib_dev *ipd);
void ipoib_link_cancel(struct ipoib_dev *ipd);
void ipoib_link_cancel_sync(struct ipoib_dev *ipd);
void ipoib_link_hear(struct ib_event_handler *handler, struct ib_event *event);
u16 ipoib_link_pkey(struct ipoib_dev *ipd);
bool ipoib_link_is_dead(struct ipoib_dev *ipd);
enum ipoib_link_reason ipoib_link_reason(struct ipoib_dev *ipd,
					 struct ipoib_link_facts *facts);
int ipoib_identity_init(struct ipoib_dev *ipd);
void ipoib_identity_set_guid(struct ipoib_dev *ipd, __be64 guid);
void ipoib_identity_follow_broadcast(struct ipoib_dev *ipd);

/* ---- ipoib_vlan.c -------------------------------------------------------- */

extern struct device_attribute ipoib_attr_create_child;
extern struct device_attribute ipoib_attr_delete_child;
extern struct device_attribute ipoib_attr_parent;

struct ipoib_dev *ipoib_child_next(struct ipoib_dev *parent,
				   struct ipoib_dev *child);
struct ipoib_dev *ipoib_child_prepare(struct ipoib_dev *parent,
				      struct net_device *dev, u16 key);
void ipoib_child_choose_guid(struct ipoib_dev *ipd, __be64 guid);
int ipoib_child_register(struct ipoib_dev *ipd);
void ipoib_child_unlist(struct ipoib_dev *ipd);
void ipoib_children_close(struct ipoib_dev *parent);
void ipoib_children_remove(struct ipoib_dev *parent, struct list_head *list);
void ipoib_children_follow(struct ipoib_dev *parent, bool up);
void ipoib_children_begin_stop(struct ipoib_dev *parent);

/* ---- ipoib_neigh.c: drops, parking --------------------------------------- */

void ipoib_drop(struct ipoib_dev *ipd, struct sk_buff *skb,
		enum ipoib_drop_reason reason);
void ipoib_drop_count(struct ipoib_dev *ipd, enum ipoib_drop_reason reason);
const char *ipoib_drop_name(enum ipoib_drop_reason reason);
void ipoib_drop_stats(const struct ipoib_dev *ipd,
		      struct rtnl_link_stats64 *stats);
void ipoib_parked_drop(struct ipoib_dev *ipd, struct sk_buff_head *parked,
		       enum ipoib_drop_reason reason);
void ipoib_parked_resend(struct ipoib_dev *ipd, struct sk_buff_head *parked);

/* The type of an ICMPv6 message, 0 for every other packet of IPv6. */
static inline u8 ipoib_skb_icmp6_type(const struct sk_buff *skb)
{
	struct ipv6hdr ip6_room;
	const struct ipv6hdr *ip6;
	const u8 *type;
	u8 type_room;

	ip6 = skb_header_pointer(skb, IPOIB_HARD_LEN, sizeof(ip6_room),
				 &ip6_room);
	if (!ip6 || ip6->nexthdr != IPPROTO_ICMPV6)
		return 0;

	type = skb_header_pointer(skb, IPOIB_HARD_LEN + sizeof(*ip6),
				  sizeof(type_room), &type_room);
	return type ? *type : 0;
}

/* Does the packet resolve addresses: ARP, RARP or ND? */
static inline bool ipoib_skb_is_resolution(const struct sk_buff *skb)
{
	switch (be16_to_cpu(ipoib_header_at(skb->data)->encap.proto)) {
	case ETH_P_ARP:
	case ETH_P_RARP:
		return true;
	case ETH_P_IPV6:
		return ipoib_nd_type(ipoib_skb_icmp6_type(skb));
	default:
		return false;
	}
}

/* ---- ipoib_neigh.c: address handles, paths, neighbours ------------------- */

struct ipoib_ah *ipoib_ah_create(struct ipoib_dev *ipd,
				 struct rdma_ah_attr *attr);
void ipoib_ah_retire(struct ipoib_dev *ipd, struct ipoib_ah *ah);
const struct ipoib_ah *ipoib_neigh_resolve_rcu(struct ipoib_dev *ipd,
					       struct sk_buff *skb,
					       const struct ipoib_hwaddr *ha);
void ipoib_resolve_init_early(struct ipoib_dev *ipd);
int ipoib_resolve_init(struct ipoib_dev *ipd);
void ipoib_resolve_exit(struct ipoib_dev *ipd);
void ipoib_resolve_destroy(struct ipoib_dev *ipd);
void ipoib_resolve_accept(struct ipoib_dev *ipd);
void ipoib_resolve_forget(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock);
void ipoib_resolve_refresh(struct ipoib_dev *ipd, bool at_once);
unsigned int ipoib_resolve_list_paths(struct ipoib_dev *ipd,
				      struct ipoib_path_info *info,
				      unsigned int most);

/* ---- ipoib_sa.c ---------------------------------------------------------- */

/**
 * ipoib_sa_is_no() - did the subnet administrator itself say no?
 * @status: errno of a query or a join
 *
 * Whatever status its answer has, BUSY included, ib_sa makes -EINVAL of it.
 * Every other errno is of a request that was not answered, or not sent.
 *
 * Return: true when it did.
 */
static inline bool ipoib_sa_is_no(int status)
{
	return status == -EINVAL;
}

/* how long the reply to a query is good for others, and not queried again */
#define IPOIB_SA_FRESH_MS	2000

int ipoib_sa_init(struct ipoib_sa *sa, struct ib_device *ibdev);
void ipoib_sa_exit(struct ipoib_sa *sa);
int ipoib_sa_ask(struct ipoib_sa *sa, const struct ipoib_sa_path *what,
		 unsigned int failures, struct ipoib_sa_waiter *waiter);
bool ipoib_sa_cancel(struct ipoib_sa *sa, struct ipoib_sa_waiter *waiter);
void ipoib_sa_hear(struct ipoib_sa *sa, const struct ib_event *event);

/* ---- ipoib_ib.c ---------------------------------------------------------- */

extern const struct header_ops ipoib_header_ops;

netdev_tx_t ipoib_start_xmit(struct sk_buff *skb, struct net_device *dev);
u16 ipoib_select_queue(struct net_device *dev, struct sk_buff *skb,
		       struct net_device *sb_dev);
netdev_features_t ipoib_features_check(struct sk_buff *skb,
				       struct net_device *dev,
				       netdev_features_t features);
int ipoib_ud_send(struct net_device *dev, struct sk_buff *skb,
		  struct ib_ah *address, u32 qpn);
void ipoib_too_big_work(struct work_struct *work);
void ipoib_tx_ring(struct ipoib_txq *txq);
void ipoib_tx_repost_work(struct work_struct *work);
int ipoib_tx_clean(struct ipoib_txq *txq, int budget);
void ipoib_tx_free_posted(struct ipoib_txq *txq);
int ipoib_tx_poll(struct napi_struct *napi, int budget);
void ipoib_tx_event(struct ib_cq *cq, void *context);
int ipoib_rx_clean(struct ipoib_rxq *rxq, int budget, bool up);
void ipoib_rx_refill(struct ipoib_rxq *rxq);
void ipoib_rx_refill_work(struct work_struct *work);
void ipoib_rx_free(struct ipoib_rxq *rxq);
int ipoib_rx_poll(struct napi_struct *napi, int budget);
void ipoib_rx_event(struct ib_cq *cq, void *context);

/* ---- ipoib_ud.c ---------------------------------------------------------- */

extern const struct net_device_ops ipoib_ud_netdev_ops;
extern bool ipoib_ud_keeps;

unsigned int ipoib_ud_default_queues(const struct ib_device *ibdev);
void ipoib_ud_setup(struct net_device *dev, struct ib_device *ibdev, u32 port);
void ipoib_ud_init_early(struct ipoib_dev *ipd);
void ipoib_ud_offer_stats(struct net_device *dev);
void ipoib_ud_know_self(struct ipoib_dev *ipd, u32 lid)
	__must_hold(&ipd->link.lock);
void ipoib_ud_begin_stop(struct ipoib_dev *ipd);
void ipoib_ud_quiesce(struct ipoib_dev *ipd);
int ipoib_ud_recreate(struct ipoib_dev *ipd);
void ipoib_ud_recreate_lost(struct ipoib_dev *ipd);
void ipoib_ud_release(struct ipoib_dev *ipd);
void ipoib_ud_report(struct ipoib_dev *ipd);
void ipoib_ud_stats(struct ipoib_dev *ipd, struct rtnl_link_stats64 *stats);
void ipoib_rxq_stats(const struct ipoib_rxq *rxq,
		     struct ipoib_rxq_totals *totals);
void ipoib_txq_stats(const struct ipoib_txq *txq,
		     struct ipoib_txq_totals *totals);
void ipoib_ud_gone_stats(const struct ipoib_dev *ipd,
			 struct ipoib_txq_totals *totals);
void ipoib_ud_rings_most(const struct ipoib_dev *ipd, u32 *rx, u32 *tx);
int ipoib_ud_set_queues(struct ipoib_dev *ipd, unsigned int count);
int ipoib_ud_set_rings(struct ipoib_dev *ipd, u32 rx_size, u32 tx_size);
int ipoib_ud_set_moderation(struct ipoib_dev *ipd, u16 usecs, u16 frames);
void ipoib_ud_learn_cpus(struct ipoib_dev *ipd) __must_hold(&ipd->link.lock);
bool ipoib_ud_move_pkey(struct ipoib_dev *ipd, u16 index)
	__must_hold(&ipd->link.lock);
int ipoib_txq_take_qkey(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock);
int ipoib_txq_join_in(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock);
void ipoib_txq_set_error(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock);
void ipoib_txq_halt(struct ipoib_txq *txq, enum ipoib_halt why);
void ipoib_txq_resume(struct ipoib_txq *txq, enum ipoib_halt why);

/* ---- ipoib_heal.c -------------------------------------------------------- */

void ipoib_heal_init_early(struct ipoib_dev *ipd);

/* ---- ipoib_multicast.c --------------------------------------------------- */

void ipoib_mcast_init_early(struct ipoib_dev *ipd);
int ipoib_mcast_init(struct ipoib_dev *ipd);
void ipoib_mcast_exit(struct ipoib_dev *ipd);
void ipoib_mcast_destroy(struct ipoib_dev *ipd);
void ipoib_mcast_join_broadcast(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock);
void ipoib_mcast_leave_all(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock);
void ipoib_mcast_renew_all(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock);
void ipoib_mcast_confirm_all(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock);
void ipoib_mcast_sync_later(struct ipoib_dev *ipd);
void ipoib_mcast_broadcast_view(struct ipoib_dev *ipd,
				struct ipoib_bcast *bcast);
unsigned int ipoib_mcast_list_groups(struct ipoib_dev *ipd,
				     struct ipoib_mcast_info *info,
				     unsigned int most);
void ipoib_mcast_broadcast_trouble(struct ipoib_dev *ipd, int *status,
				   u32 *tries)
	__must_hold(&ipd->link.lock);
const struct ipoib_ah *ipoib_mcast_resolve_rcu(struct ipoib_dev *ipd,
					       struct sk_buff *skb,
					       const struct ipoib_hwaddr *ha);

/* ---- ipoib_verbs.c ------------------------------------------------------- */

struct ib_cq *ipoib_cq_create(struct ib_device *ibdev,
			      const struct ib_cq_init_attr *attr,
			      ib_comp_handler handler,
			      void (*event)(struct ib_event *, void *),
			      void *context);
int ipoib_cq_arm(struct ib_cq *cq);
struct ib_qp *ipoib_qp_create_ud(struct ib_pd *pd,
				 struct ib_qp_init_attr *init, bool receives);
int ipoib_qp_start(struct ib_qp *qp, u32 port, u16 pkey_index, u32 qkey);
int ipoib_qp_set_qkey(struct ib_qp *qp, u32 qkey);
int ipoib_qp_set_pkey_index(struct ib_qp *qp, u16 pkey_index);
int ipoib_qp_set_error(struct ib_qp *qp);
int ipoib_qp_reset(struct ib_qp *qp);
int ipoib_qp_sqe_to_rts(struct ib_qp *qp);
int ipoib_qp_state(struct ib_qp *qp);
const char *ipoib_qp_state_name(struct ib_qp *qp);
int ipoib_port_max_mtu(struct ib_device *ibdev, u32 port,
		       unsigned int *mtu_bytes);
void ipoib_port_view(struct ib_device *ibdev, u32 port,
		     struct ipoib_link_view *view);
int ipoib_port_gid(struct ib_device *ibdev, u32 port, union ib_gid *gid);
int ipoib_port_gid_index(struct ib_device *ibdev, u32 port,
			 const union ib_gid *gid);
int ipoib_port_pkey(struct ib_device *ibdev, u32 port, u16 index, u16 *pkey);

/* ---- ipoib_fs.c ---------------------------------------------------------- */

void ipoib_fs_init(void);
void ipoib_fs_exit(void);
void ipoib_fs_add(struct ipoib_dev *ipd);
void ipoib_fs_rename(struct ipoib_dev *ipd);
void ipoib_fs_remove(struct ipoib_dev *ipd);

/* ---- ipoib_ethtool.c, ipoib_netlink.c ------------------------------------ */

extern const struct ethtool_ops ipoib_ethtool_ops;
extern struct rtnl_link_ops ipoib_link_ops;
extern unsigned int ipoib_link_rx_queues;

void ipoib_link_make_room(struct ib_device *ibdev, u32 port);

int ipoib_set_vf_link_state(struct net_device *dev, int vf, int state);
int ipoib_set_vf_guid(struct net_device *dev, int vf, u64 guid, int type);
int ipoib_get_vf_guid(struct net_device *dev, int vf,
		      struct ifla_vf_guid *node_guid,
		      struct ifla_vf_guid *port_guid);
int ipoib_get_vf_config(struct net_device *dev, int vf,
			struct ifla_vf_info *info);
int ipoib_get_vf_stats(struct net_device *dev, int vf,
		       struct ifla_vf_stats *stats);

#endif /* IPOIB_H */
