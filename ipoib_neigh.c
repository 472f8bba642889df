// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which way leads to this address, and what becomes of a packet until, or
 * unless, there is one?
 *
 * Address handles, paths to GIDs, neighbours; packets that wait for one, and
 * the door by which packets leave unserved. Not here: how a packet is sent
 * (ipoib_ib.c), and the way to a group (ipoib_multicast.c).
 *
 * Stages: drops, parking, address handles, paths, path queries, neighbours,
 * resolver.
 */
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include <net/arp.h>
#include <net/dst_metadata.h>
#include <net/ndisc.h>
#include <net/neighbour.h>

#include <rdma/ib_sa.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* wait between queries for a GID the subnet administrator knows no path to */
#define IPOIB_PATH_FIRST_MS	250
#define IPOIB_PATH_MOST_MS	4000

/* the port has asked too much of late: ask on after this, or a bit later */
#define IPOIB_PATH_BUDGET_MS	20

/* refusals in a row after which an address handle that worked is given up */
#define IPOIB_PATH_REFUSALS	3

/* after a subnet manager change, queries spread over this time */
#define IPOIB_PATH_SPREAD_MS	500

/* of so many neighbours of a GID the idlest is evicted */
#define IPOIB_EVICT_SAMPLE	16

/* so many GIDs are looked at for one with more neighbours than it needs */
#define IPOIB_CROWD_SAMPLE	64

/* of so many GIDs pending packets are dropped to make room for others */
#define IPOIB_ROOM_SAMPLE	8

/* above twice as many no new paths are taken until some have been given up */
static struct ipoib_param ipoib_path_max_unresolved = {
	.value = 4096, .min = 64, .max = 32768
};
module_param_cb(path_max_unresolved, &ipoib_param_ops,
		&ipoib_path_max_unresolved, 0644);
MODULE_PARM_DESC(path_max_unresolved,
		 "GIDs without a path that an interface remembers (64-32768)");

static struct ipoib_param ipoib_neigh_max_per_gid = {
	.value = 1024, .min = 64, .max = IPOIB_NEIGHS_MOST
};
module_param_cb(neigh_max_per_gid, &ipoib_param_ops, &ipoib_neigh_max_per_gid,
		0644);
MODULE_PARM_DESC(neigh_max_per_gid,
		 "Link addresses of a GID that an interface remembers (64-65536)");

/* a second probe within this says that the first one was lost */
#define IPOIB_PROBE_MS		2000

static struct ipoib_param ipoib_path_max_age = {
	.value = 3600, .min = 1, .max = 86400
};
module_param_cb(path_max_age, &ipoib_param_ops, &ipoib_path_max_age, 0644);
MODULE_PARM_DESC(path_max_age,
		 "Seconds after which a path in use is queried again (1-86400)");

/* how old the time of a neighbour's last use may be; less than what is idle */
#define IPOIB_USED_SLACK	HZ

/* how often to look whether a dead address handle may be destroyed */
#define IPOIB_REAP_MS		100

/* ---- drops ---- */

enum ipoib_drop_counter {
	IPOIB_COUNT_NONE,
	IPOIB_COUNT_TX_DROPPED,
	IPOIB_COUNT_TX_ERRORS,
	IPOIB_COUNT_RX_LENGTH,
	IPOIB_COUNT_RX_ERRORS,
	IPOIB_COUNT_RX_DROPPED,
};

/* The kernel's reasons are those that all kernels have. */
static const struct {
	const char *name;
	enum ipoib_drop_counter counter;
	enum skb_drop_reason reason;
} ipoib_drop_table[IPOIB_DROP_REASONS] = {
	[IPOIB_DROP_TX_SHORT] = {
		"tx_short", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_HDR_TRUNC
	},
	[IPOIB_DROP_TX_PROTO] = {
		"tx_proto", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_UNHANDLED_PROTO
	},
	[IPOIB_DROP_TX_LINK] = {
		"tx_link", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_DEV_READY
	},
	[IPOIB_DROP_TX_PARK_FULL] = {
		"tx_park_full", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_NEIGH_QUEUEFULL
	},
	[IPOIB_DROP_TX_NO_PATH] = {
		"tx_no_path", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_NEIGH_FAILED
	},
	[IPOIB_DROP_TX_NO_GROUP] = {
		"tx_no_group", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_NEIGH_FAILED
	},
	[IPOIB_DROP_TX_FORGOTTEN] = {
		"tx_forgotten", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_NEIGH_DEAD
	},
	[IPOIB_DROP_TX_NO_MEM] = {
		"tx_no_mem", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_NOMEM
	},
	[IPOIB_DROP_TX_TOO_BIG] = {
		"tx_too_big", IPOIB_COUNT_TX_ERRORS,
		SKB_DROP_REASON_PKT_TOO_BIG
	},
	[IPOIB_DROP_TX_LINEARIZE] = {
		"tx_linearize", IPOIB_COUNT_TX_ERRORS,
		SKB_DROP_REASON_NOMEM
	},
	[IPOIB_DROP_TX_MAP] = {
		"tx_map", IPOIB_COUNT_TX_ERRORS,
		SKB_DROP_REASON_NOMEM
	},
	[IPOIB_DROP_TX_POST] = {
		"tx_post", IPOIB_COUNT_TX_ERRORS,
		SKB_DROP_REASON_DEV_READY
	},
	[IPOIB_DROP_TX_RING_FULL] = {
		"tx_ring_full", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_FULL_RING
	},
	[IPOIB_DROP_TX_ERROR] = {
		"tx_error", IPOIB_COUNT_TX_ERRORS,
		SKB_DROP_REASON_NOT_SPECIFIED
	},
	[IPOIB_DROP_TX_FLUSHED] = {
		"tx_flushed", IPOIB_COUNT_TX_DROPPED,
		SKB_DROP_REASON_DEV_READY
	},
	[IPOIB_DROP_RX_RUNT] = {
		"rx_runt", IPOIB_COUNT_RX_LENGTH,
		SKB_DROP_REASON_PKT_TOO_SMALL
	},
	[IPOIB_DROP_RX_PROTO] = {
		"rx_proto", IPOIB_COUNT_RX_ERRORS,
		SKB_DROP_REASON_UNHANDLED_PROTO
	},
	[IPOIB_DROP_RX_ECHO] = {
		"rx_echo", IPOIB_COUNT_NONE,
		SKB_DROP_REASON_NOT_SPECIFIED
	},
	[IPOIB_DROP_RX_ERROR] = {
		"rx_error", IPOIB_COUNT_RX_ERRORS,
		SKB_DROP_REASON_NOT_SPECIFIED
	},
	[IPOIB_DROP_RX_NO_MEM] = {
		"rx_no_mem", IPOIB_COUNT_RX_DROPPED,
		SKB_DROP_REASON_NOMEM
	},
};

/**
 * ipoib_drop_name() - what a reason is called in counters
 * @reason: a reason
 *
 * Return: the name without its "drop_".
 */
const char *ipoib_drop_name(enum ipoib_drop_reason reason)
{
	return ipoib_drop_table[reason].name;
}

static void ipoib_drop_note(struct ipoib_dev *ipd, const struct sk_buff *skb,
			    enum ipoib_drop_reason reason)
{
	trace_ipoib_drop(ipd->netdev, skb, reason);
	atomic64_inc(&ipd->drops[reason]);
}

/**
 * ipoib_drop() - the one door by which packets leave unserved
 * @ipd: interface
 * @skb: packet, gone afterwards
 * @reason: which counter moves, and what those are told who trace packets
 *
 * Context: any.
 */
void ipoib_drop(struct ipoib_dev *ipd, struct sk_buff *skb,
		enum ipoib_drop_reason reason)
{
	ipoib_drop_note(ipd, skb, reason);
	dev_kfree_skb_any_reason(skb, ipoib_drop_table[reason].reason);
}

/**
 * ipoib_drop_count() - count what was dropped before it became a packet
 * @ipd: interface
 * @reason: which counter moves
 *
 * Context: any.
 */
void ipoib_drop_count(struct ipoib_dev *ipd, enum ipoib_drop_reason reason)
{
	ipoib_drop_note(ipd, NULL, reason);
}

static void ipoib_drop_add_stats(const struct ipoib_dev *ipd,
				 enum ipoib_drop_reason reason,
				 struct rtnl_link_stats64 *stats)
{
	u64 count = atomic64_read(&ipd->drops[reason]);

	switch (ipoib_drop_table[reason].counter) {
	case IPOIB_COUNT_TX_DROPPED:
		stats->tx_dropped += count;
		break;
	case IPOIB_COUNT_TX_ERRORS:
		stats->tx_errors += count;
		stats->tx_dropped += count;
		break;
	case IPOIB_COUNT_RX_LENGTH:
		stats->rx_length_errors += count;
		stats->rx_errors += count;
		break;
	case IPOIB_COUNT_RX_ERRORS:
		stats->rx_errors += count;
		break;
	case IPOIB_COUNT_RX_DROPPED:
		stats->rx_dropped += count;
		break;
	case IPOIB_COUNT_NONE:
		break;
	}
}

/**
 * ipoib_drop_stats() - add what was dropped to the interface's counters
 * @ipd: interface
 * @stats: where to
 */
void ipoib_drop_stats(const struct ipoib_dev *ipd,
		      struct rtnl_link_stats64 *stats)
{
	unsigned int reason;

	for (reason = 0; reason < IPOIB_DROP_REASONS; reason++)
		ipoib_drop_add_stats(ipd, reason, stats);
}

/* ---- parking ---- */

/**
 * ipoib_parked_drop() - drop packets that waited in vain
 * @ipd: interface
 * @parked: a list nobody else sees any more; empty afterwards
 * @reason: for all of them
 */
void ipoib_parked_drop(struct ipoib_dev *ipd, struct sk_buff_head *parked,
		       enum ipoib_drop_reason reason)
{
	struct sk_buff *skb;

	while ((skb = __skb_dequeue(parked)))
		ipoib_drop(ipd, skb, reason);
}

/**
 * ipoib_parked_resend() - send packets that waited
 * @ipd: interface
 * @parked: a list nobody else sees any more; empty afterwards
 *
 * They were parked as they came, headers included, and take the same way again:
 * a stopped queue holds them back as it does all others.
 *
 * Context: process, no spinlock held.
 */
void ipoib_parked_resend(struct ipoib_dev *ipd, struct sk_buff_head *parked)
{
	struct sk_buff *skb;

	while ((skb = __skb_dequeue(parked))) {
		skb->dev = ipd->netdev;
		dev_queue_xmit(skb);
	}
}

/*
 * Only the neighbour entry that has led the packet here is meant: its address
 * may have been put right meanwhile.
 */
static void ipoib_parked_doubt_one(struct sk_buff *skb)
{
	const struct ipoib_header *header = ipoib_header_at(skb->data);
	char ha[MAX_ADDR_LEN] = {};
	struct neighbour *neigh;

	if (skb->protocol != htons(ETH_P_IP) &&
	    skb->protocol != htons(ETH_P_IPV6))
		return;
	if (!skb_valid_dst(skb))
		return;
	neigh = dst_neigh_lookup_skb(skb_dst(skb), skb);
	if (!neigh)
		return;

	neigh_ha_snapshot(ha, neigh, neigh->dev);
	/* what an administrator has set to stay does */
	if (!memcmp(ha, &header->ha, sizeof(header->ha)))
		neigh_update(neigh, NULL, NUD_FAILED, 0, 0);
	neigh_release(neigh);
}

/*
 * The subnet administrator knows nobody of that GID, so what the stack has for
 * the neighbours' addresses is old. It may believe that for most of a minute
 * yet; this has it ask them with the next packet. As often as the administrator
 * is asked, and no more.
 *
 * Process context, no spinlock held.
 */
static void ipoib_parked_doubt(struct sk_buff_head *parked)
{
	struct sk_buff *skb;

	skb_queue_walk(parked, skb)
		ipoib_parked_doubt_one(skb);
}

/* ---- address handles ---- */

/**
 * ipoib_ah_create() - make an address handle
 * @ipd: interface
 * @attr: where to
 *
 * Return: the handle, owned by the caller, or an ERR_PTR. Sleeps.
 */
struct ipoib_ah *ipoib_ah_create(struct ipoib_dev *ipd,
				 struct rdma_ah_attr *attr)
{
	struct ipoib_ah *ah;
	struct ib_ah *raw;

	ah = kzalloc_obj(*ah, GFP_KERNEL);
	if (!ah)
		return ERR_PTR(-ENOMEM);

	raw = rdma_create_ah(ipd->pd, attr, RDMA_CREATE_AH_SLEEPABLE);
	if (IS_ERR(raw)) {
		kfree(ah);
		return ERR_CAST(raw);
	}

	ah->ah = raw;
	return ah;
}

static void ipoib_ah_destroy(struct ipoib_ah *ah)
{
	rdma_destroy_ah(ah->ah, RDMA_DESTROY_AH_SLEEPABLE);
	kfree(ah);
}

/**
 * ipoib_ah_retire() - let go of an address handle
 * @ipd: interface
 * @ah: handle no reader can find any more, or NULL
 *
 * Senders that found it before may still be posting with it, and the HCA may
 * read it until those sends complete. So it goes through two waits: an RCU
 * grace period, then each transmit ring's tail has to pass the head it had at
 * that time. Packets need no reference to it for that.
 *
 * Context: any that may take a _bh lock, between ipoib_resolve_init() and exit.
 */
void ipoib_ah_retire(struct ipoib_dev *ipd, struct ipoib_ah *ah)
{
	struct ipoib_resolve *resolve = &ipd->resolve;

	if (!ah)
		return;

	ah->grace = start_poll_synchronize_rcu();
	spin_lock_bh(&resolve->lock);
	list_add_tail(&ah->dead, &resolve->dead_ahs);
	spin_unlock_bh(&resolve->lock);
	queue_delayed_work(ipd->wq, &resolve->reap_work,
			   msecs_to_jiffies(IPOIB_REAP_MS));
}

/*
 * A queue that is made anew goes on counting where the old one was, so what was
 * noted of the old one is passed at once; and one that is not there now is
 * noted where it will begin.
 */
static void ipoib_ah_snap(const struct ipoib_dev *ipd, struct ipoib_ah *ah)
{
	unsigned int i;

	for (i = 0; i < IPOIB_MAX_TXQ; i++)
		ah->snapshot[i] = i < ipd->ud.num_txq ?
				  READ_ONCE(ipd->ud.txq[i]->head) :
				  ipd->ud.origin[i];
	ah->snapped = true;
}

static bool ipoib_ah_unused(const struct ipoib_dev *ipd, struct ipoib_ah *ah)
{
	unsigned int i;
	u32 tail;

	/* a queue pair that the HCA keeps may use any of them */
	if (ipd->ud.kept)
		return false;

	if (!ah->snapped) {
		if (!poll_state_synchronize_rcu(ah->grace))
			return false;
		ipoib_ah_snap(ipd, ah);
	}

	for (i = 0; i < ipd->ud.num_txq; i++) {
		tail = READ_ONCE(ipd->ud.txq[i]->tail);
		if (!ipoib_snapshot_passed(tail, ah->snapshot[i]))
			return false;
	}

	return true;
}

static void ipoib_ah_reap(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     resolve.reap_work.work);
	struct ipoib_resolve *resolve = &ipd->resolve;
	struct ipoib_ah *ah, *next;
	LIST_HEAD(dead);
	bool again;

	spin_lock_bh(&resolve->lock);
	list_splice_init(&resolve->dead_ahs, &dead);
	spin_unlock_bh(&resolve->lock);

	/* keeps the queues from changing while their rings are looked at */
	mutex_lock(&ipd->link.lock);
	list_for_each_entry_safe(ah, next, &dead, dead) {
		if (!ipoib_ah_unused(ipd, ah))
			continue;
		list_del(&ah->dead);
		ipoib_ah_destroy(ah);
	}
	mutex_unlock(&ipd->link.lock);

	spin_lock_bh(&resolve->lock);
	list_splice(&dead, &resolve->dead_ahs);
	again = !list_empty(&resolve->dead_ahs) && !READ_ONCE(ipd->ud.kept);
	spin_unlock_bh(&resolve->lock);

	if (again)
		queue_delayed_work(ipd->wq, &resolve->reap_work,
				   msecs_to_jiffies(IPOIB_REAP_MS));
}

/*
 * The queue pairs are gone and so are all readers: nothing holds them. What the
 * HCA keeps, it keeps with the handles it may send by.
 */
static void ipoib_ah_reap_all(struct ipoib_dev *ipd)
{
	struct ipoib_ah *ah, *next;
	LIST_HEAD(dead);

	if (ipd->ud.kept)
		return;

	spin_lock_bh(&ipd->resolve.lock);
	list_splice_init(&ipd->resolve.dead_ahs, &dead);
	spin_unlock_bh(&ipd->resolve.lock);
	if (list_empty(&dead))
		return;

	/* with RTNL held that is the quick kind */
	synchronize_net();
	list_for_each_entry_safe(ah, next, &dead, dead)
		ipoib_ah_destroy(ah);
}

/* ---- paths ---- */

static const struct rhashtable_params ipoib_neigh_params = {
	.key_len = sizeof(struct ipoib_hwaddr),
	.key_offset = offsetof(struct ipoib_neigh, ha),
	.head_offset = offsetof(struct ipoib_neigh, node),
	.automatic_shrinking = true,
};

static const struct rhashtable_params ipoib_path_params = {
	.key_len = sizeof(union ib_gid),
	.key_offset = offsetof(struct ipoib_path, gid),
	.head_offset = offsetof(struct ipoib_path, node),
	.automatic_shrinking = true,
};

static void ipoib_path_put(struct ipoib_path *path)
{
	if (refcount_dec_and_test(&path->refs))
		kfree_rcu(path, rcu);
}

/*
 * Keeps resolve.excess: the paths that may be given up when there are too many.
 * A query in flight is worth its reply, and an address handle is in use. To be
 * called when the state or the address handle has changed.
 */
static void __ipoib_path_list_excess(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	bool may_go = !rcu_access_pointer(path->ah) &&
		      (path->state == IPOIB_PATH_WANTED ||
		       path->state == IPOIB_PATH_BACKOFF);

	lockdep_assert_held(&path->ipd->resolve.lock);

	if (!may_go)
		list_del_init(&path->excess);
	else if (list_empty(&path->excess))
		list_add_tail(&path->excess, &path->ipd->resolve.excess);
}

static void __ipoib_path_set_state(struct ipoib_path *path,
				   enum ipoib_path_state state)
	__must_hold(&path->ipd->resolve.lock)
{
	lockdep_assert_held(&path->ipd->resolve.lock);

	trace_ipoib_path(path->ipd->netdev, path->gid.raw, path->state, state,
			 path->answer_status);
	/* senders peek at it without the lock */
	WRITE_ONCE(path->state, state);
	__ipoib_path_list_excess(path);
}

static void ipoib_path_done(struct ipoib_sa_waiter *waiter, int status,
			    const struct sa_path_rec *rec);

/* A flood of addresses nobody has must not take all memory. */
static bool __ipoib_resolve_is_full(const struct ipoib_resolve *resolve)
	__must_hold(&resolve->lock)
{
	return resolve->unresolved >=
	       2 * ipoib_param_value(&ipoib_path_max_unresolved);
}

static struct ipoib_path *__ipoib_path_create(struct ipoib_dev *ipd,
					      const union ib_gid *gid)
	__must_hold(&ipd->resolve.lock)
{
	struct ipoib_path *path;

	if (__ipoib_resolve_is_full(&ipd->resolve))
		return ERR_PTR(-ENOSPC);

	path = kzalloc_obj(*path, GFP_ATOMIC);
	if (!path)
		return ERR_PTR(-ENOMEM);

	path->ipd = ipd;
	path->gid = *gid;
	path->state = IPOIB_PATH_BACKOFF;
	path->retry_at = jiffies;
	INIT_LIST_HEAD(&path->todo);
	INIT_LIST_HEAD(&path->excess);
	INIT_LIST_HEAD(&path->neighs);
	INIT_LIST_HEAD(&path->waiter.entry);
	path->waiter.done = ipoib_path_done;
	refcount_set(&path->refs, 1);

	if (rhashtable_insert_fast(&ipd->resolve.paths, &path->node,
				   ipoib_path_params)) {
		kfree(path);
		return ERR_PTR(-ENOMEM);
	}

	list_add_tail(&path->entry, &ipd->resolve.path_list);
	ipd->resolve.unresolved++;
	__ipoib_path_list_excess(path);
	return path;
}

static struct ipoib_path *__ipoib_path_get(struct ipoib_dev *ipd,
					   const union ib_gid *gid)
	__must_hold(&ipd->resolve.lock)
{
	struct ipoib_path *path;

	lockdep_assert_held(&ipd->resolve.lock);

	path = rhashtable_lookup_fast(&ipd->resolve.paths, gid,
				      ipoib_path_params);
	if (!path)
		path = __ipoib_path_create(ipd, gid);
	if (!IS_ERR(path))
		refcount_inc(&path->refs);

	return path;
}

/*
 * What is in use goes first, and the newest before the older: a flood of GIDs
 * that nobody has ever answered for does not hold up a peer. Those that have
 * failed take their turn, as do those that only address resolution is for.
 */
static void __ipoib_path_requery(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	struct list_head *todo = &path->ipd->resolve.todo;

	__ipoib_path_set_state(path, IPOIB_PATH_WANTED);
	if (rcu_access_pointer(path->ah) ||
	    (path->urgent && !path->retry.failures))
		list_move(&path->todo, todo);
	else
		list_move_tail(&path->todo, todo);
}

/* A packet is pending: see that the path is queried. */
static void __ipoib_path_want(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;

	lockdep_assert_held(&resolve->lock);

	if (path->state != IPOIB_PATH_BACKOFF)
		return;

	if (time_before(jiffies, path->retry_at)) {
		list_move_tail(&path->todo, &resolve->waiting);
		return;
	}

	__ipoib_path_requery(path);
}

static void ipoib_path_kick(struct ipoib_dev *ipd)
{
	mod_delayed_work(ipd->wq, &ipd->resolve.work, 0);
}

/*
 * The GID may be somewhere else by now: the path serves on, and the next packet
 * that uses it queries it again. That is not before a reply would be another
 * one than the last.
 */
static void __ipoib_path_doubt(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	lockdep_assert_held(&path->ipd->resolve.lock);

	if (path->state != IPOIB_PATH_READY)
		return;

	WRITE_ONCE(path->retry_at,
		   path->found + msecs_to_jiffies(IPOIB_SA_FRESH_MS) + 1);
	path->doubted = true;
	__ipoib_path_set_state(path, IPOIB_PATH_STALE);
}

/* A packet uses a path that may be due for a query; true when it is. */
static bool __ipoib_path_refresh(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	lockdep_assert_held(&path->ipd->resolve.lock);

	if (path->state != IPOIB_PATH_STALE ||
	    time_before(jiffies, path->retry_at))
		return false;

	__ipoib_path_requery(path);
	return true;
}

static void ipoib_path_refresh(struct ipoib_path *path)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;
	bool kick;

	if (time_before(jiffies, READ_ONCE(path->retry_at)))
		return;

	spin_lock_bh(&resolve->lock);
	kick = __ipoib_path_refresh(path);
	spin_unlock_bh(&resolve->lock);

	if (kick)
		ipoib_path_kick(path->ipd);
}

static void __ipoib_neigh_take_parked(struct ipoib_dev *ipd,
				      struct ipoib_neigh *neigh,
				      struct sk_buff_head *parked)
	__must_hold(&ipd->resolve.lock)
{
	atomic_sub(neigh->parked_bytes, &ipd->pending_bytes);
	neigh->parked_bytes = 0;
	skb_queue_splice_tail_init(&neigh->parked, parked);
}

static bool __ipoib_neigh_has_room(const struct ipoib_neigh *neigh, u32 bytes)
	__must_hold(&neigh->path->ipd->resolve.lock)
{
	/* one waits, whatever its size */
	return !neigh->parked_bytes ||
	       neigh->parked_bytes + bytes <= IPOIB_NEIGH_PARKED_MOST;
}

static void __ipoib_path_take_parked(struct ipoib_path *path,
				     struct sk_buff_head *parked)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_neigh *neigh;

	lockdep_assert_held(&path->ipd->resolve.lock);

	list_for_each_entry(neigh, &path->neighs, on_path)
		__ipoib_neigh_take_parked(path->ipd, neigh, parked);
}

/*
 * For one more packet, pending packets of other paths are dropped: those that
 * have waited longest. A path that has none left is met again at the end.
 */
static bool __ipoib_resolve_make_room(struct ipoib_dev *ipd,
				      const struct ipoib_path *except,
				      u32 bytes, struct sk_buff_head *evicted)
	__must_hold(&ipd->resolve.lock)
{
	struct ipoib_resolve *resolve = &ipd->resolve;
	const u32 most = IPOIB_ALL_PARKED_MOST;
	struct ipoib_path *path;
	unsigned int i;

	lockdep_assert_held(&resolve->lock);

	for (i = 0; i < IPOIB_ROOM_SAMPLE; i++) {
		if (atomic_read(&ipd->pending_bytes) + bytes <= most)
			return true;
		path = list_first_entry_or_null(&resolve->excess,
						struct ipoib_path, excess);
		if (!path || path == except)
			return false;
		__ipoib_path_take_parked(path, evicted);
		list_move_tail(&path->excess, &resolve->excess);
	}

	return atomic_read(&ipd->pending_bytes) + bytes <= most;
}

/* Readers that found it keep it, and its path, for a grace period. */
static void __ipoib_neigh_unlink(struct ipoib_dev *ipd,
				 struct ipoib_neigh *neigh,
				 struct sk_buff_head *parked)
	__must_hold(&ipd->resolve.lock)
{
	lockdep_assert_held(&ipd->resolve.lock);

	rhashtable_remove_fast(&ipd->resolve.neighs, &neigh->node,
			       ipoib_neigh_params);
	list_del_init(&neigh->on_path);
	neigh->path->num_neighs--;
	if (!rcu_access_pointer(neigh->path->ah))
		ipd->resolve.pathless--;
	__ipoib_neigh_take_parked(ipd, neigh, parked);
	trace_ipoib_neigh(ipd->netdev, (const u8 *)&neigh->ha, false);
	ipoib_count(ipd, IPOIB_N_NEIGH_REMOVES);
	ipoib_path_put(neigh->path);
	kfree_rcu(neigh, rcu);
}

/*
 * One is enough to remember by that there is no path; the others may come
 * again.
 */
static void __ipoib_path_forget_neighs(struct ipoib_path *path,
				       struct sk_buff_head *parked)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_neigh *neigh, *next;

	list_for_each_entry_safe(neigh, next, &path->neighs, on_path) {
		if (!list_is_first(&neigh->on_path, &path->neighs))
			__ipoib_neigh_unlink(path->ipd, neigh, parked);
	}
}

static struct ipoib_ah *__ipoib_path_swap_ah(struct ipoib_path *path,
					     struct ipoib_ah *ah)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;
	struct ipoib_ah *old;

	old = rcu_replace_pointer(path->ah, ah,
				  lockdep_is_held(&resolve->lock));
	if (path->state != IPOIB_PATH_DEAD) {
		resolve->unresolved -= !old;
		resolve->unresolved += !ah;
	}
	if (!old)
		resolve->pathless -= path->num_neighs;
	if (!ah)
		resolve->pathless += path->num_neighs;
	__ipoib_path_list_excess(path);

	return old;
}

/* ---- path queries ---- */

/*
 * Notes the end of a query, in process context. After the unlock the interface
 * may be gone.
 */
static void ipoib_path_done(struct ipoib_sa_waiter *waiter, int status,
			    const struct sa_path_rec *rec)
{
	struct ipoib_path *path = container_of(waiter, struct ipoib_path,
					       waiter);
	struct ipoib_dev *ipd = path->ipd;
	struct ipoib_resolve *resolve = &ipd->resolve;

	spin_lock_bh(&resolve->lock);
	if (path->state == IPOIB_PATH_QUERYING) {
		path->answer_status = status;
		if (!status)
			path->answer = *rec;
		__ipoib_path_set_state(path, IPOIB_PATH_ANSWERED);
		list_move_tail(&path->todo, &resolve->answered);
		ipoib_path_kick(ipd);
	}
	if (!--resolve->queries)
		wake_up(&resolve->idle);
	spin_unlock_bh(&resolve->lock);

	ipoib_path_put(path);
}

/* The next of those that wait, as soon as the budget allows. */
static void ipoib_path_ask_later(struct ipoib_path *path)
	__must_hold(&path->ipd->link.lock)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;

	spin_lock_bh(&resolve->lock);
	__ipoib_path_set_state(path, IPOIB_PATH_WANTED);
	list_move(&path->todo, &resolve->todo);
	resolve->queries--;
	spin_unlock_bh(&resolve->lock);
	ipoib_path_put(path);
}

/* False when the subnet administrator has been asked too much of late. */
static bool ipoib_path_query(struct ipoib_path *path)
	__must_hold(&path->ipd->link.lock)
{
	struct ipoib_dev *ipd = path->ipd;
	struct ipoib_sa_path what;
	int place;

	lockdep_assert_held(&ipd->link.lock);

	memset(&what, 0, sizeof(what));
	what.port = ipd->port;
	what.dgid = path->gid;
	what.sgid = ipd->link.gid;
	what.pkey = ipd->link.pkey;
	what.traffic_class = ipd->link.acted.bcast.traffic_class;

	refcount_inc(&path->refs);
	spin_lock_bh(&ipd->resolve.lock);
	__ipoib_path_set_state(path, IPOIB_PATH_QUERYING);
	path->outdated = false;
	ipd->resolve.queries++;
	spin_unlock_bh(&ipd->resolve.lock);

	place = ipoib_sa_ask(&ipd->hca->sa, &what, path->retry.failures,
			     &path->waiter);
	if (place < 0) {
		ipoib_path_ask_later(path);
		return false;
	}

	ipoib_count(ipd, place == IPOIB_SA_ASKED ? IPOIB_N_PATH_QUERIES :
						   IPOIB_N_PATH_SHARED);
	return true;
}

/* The table's reference stays, so this one is never the last. */
static void __ipoib_path_cancel(struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;

	lockdep_assert_held(&path->ipd->link.lock);
	lockdep_assert_held(&resolve->lock);

	if (!ipoib_sa_cancel(&path->ipd->hca->sa, &path->waiter))
		return;

	refcount_dec(&path->refs);
	if (!--resolve->queries)
		wake_up(&resolve->idle);
}

static struct ipoib_ah *ipoib_path_make_ah(struct ipoib_path *path)
{
	struct ipoib_dev *ipd = path->ipd;
	struct rdma_ah_attr attr;
	struct ipoib_ah *ah;
	int err;

	/* a router may answer with the GID of the next hop */
	path->answer.dgid = path->gid;
	err = ib_init_ah_attr_from_path(ipd->ibdev, ipd->port, &path->answer,
					&attr, NULL);
	if (err)
		return ERR_PTR(err);

	ah = ipoib_ah_create(ipd, &attr);
	rdma_destroy_ah_attr(&attr);
	return ah;
}

/* Less up to a quarter: what was found together is not queried together. */
static unsigned long ipoib_path_lifetime(void)
{
	unsigned long most = ipoib_param_value(&ipoib_path_max_age) * HZ;

	return most - get_random_u32() % (most / 4 + 1);
}

static void ipoib_path_publish(struct ipoib_path *path, struct ipoib_ah *ah)
	__must_hold(&path->ipd->link.lock)
{
	struct ipoib_dev *ipd = path->ipd;
	struct sk_buff_head parked;
	struct ipoib_ah *old;

	__skb_queue_head_init(&parked);
	spin_lock_bh(&ipd->resolve.lock);
	old = __ipoib_path_swap_ah(path, ah);
	path->retry = (struct ipoib_retry){};
	path->refusals = 0;
	path->urgent = false;
	path->found = jiffies;
	path->lifetime = ipoib_path_lifetime();
	path->doubted = false;
	__ipoib_path_set_state(path, IPOIB_PATH_READY);
	/* good enough to send by, but it may have changed since */
	if (path->outdated)
		__ipoib_path_requery(path);
	__ipoib_path_take_parked(path, &parked);
	spin_unlock_bh(&ipd->resolve.lock);

	ipoib_ah_retire(ipd, old);
	ipoib_parked_resend(ipd, &parked);
}

/*
 * An address handle that works is worth more than the word of a subnet
 * administrator that may be starting up: it serves on through a few refusals,
 * and through any number of time-outs and troubles of our own. Through any
 * number of refusals, too, when no event of the port was the reason to query
 * it: while no subnet manager runs, the HCA there rejects each query.
 */
static bool __ipoib_path_serves_on(struct ipoib_path *path, int status)
	__must_hold(&path->ipd->resolve.lock)
{
	if (status == -ETIMEDOUT)
		path->refusals = 0;
	if (!ipoib_sa_is_no(status) ||
	    (path->doubted && rcu_access_pointer(path->ah)))
		return rcu_access_pointer(path->ah);

	return ++path->refusals < IPOIB_PATH_REFUSALS &&
	       rcu_access_pointer(path->ah);
}

static void ipoib_path_failed(struct ipoib_path *path, int status)
	__must_hold(&path->ipd->link.lock)
{
	struct ipoib_dev *ipd = path->ipd;
	struct ipoib_ah *old = NULL;
	struct sk_buff_head parked;
	u32 wait_ms;

	__skb_queue_head_init(&parked);
	spin_lock_bh(&ipd->resolve.lock);
	/* an event has come since: that is no reason to give up, or to wait */
	if (path->outdated)
		status = -EAGAIN;
	path->urgent = false;
	ipoib_retry_note(&path->retry, status);
	wait_ms = ipoib_retry_ms(&path->retry, IPOIB_PATH_FIRST_MS,
				 IPOIB_PATH_MOST_MS, get_random_u32());
	WRITE_ONCE(path->retry_at, jiffies + msecs_to_jiffies(wait_ms));
	if (__ipoib_path_serves_on(path, status)) {
		__ipoib_path_set_state(path, IPOIB_PATH_STALE);
		goto unlock;
	}
	__ipoib_path_set_state(path, IPOIB_PATH_BACKOFF);
	if (ipoib_retry_is_soon(&path->retry)) {
		/* packets wait on */
		list_move_tail(&path->todo, &ipd->resolve.waiting);
		goto unlock;
	}
	old = __ipoib_path_swap_ah(path, NULL);
	__ipoib_path_take_parked(path, &parked);
	__ipoib_path_forget_neighs(path, &parked);
unlock:
	spin_unlock_bh(&ipd->resolve.lock);

	ipoib_ah_retire(ipd, old);
	if (ipoib_sa_is_no(status))
		ipoib_parked_doubt(&parked);
	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_NO_PATH);
	ipoib_dbg(ipd, "no path to %pI6: %pe, asked %u times\n", path->gid.raw,
		  ERR_PTR(status), path->retry.failures);
}

static void ipoib_path_answered(struct ipoib_path *path)
	__must_hold(&path->ipd->link.lock)
{
	int status = path->answer_status;
	struct ipoib_ah *ah;

	lockdep_assert_held(&path->ipd->link.lock);

	ipoib_count(path->ipd, status ? IPOIB_N_PATH_REFUSALS :
					IPOIB_N_PATH_ANSWERS);
	if (status) {
		ipoib_path_failed(path, status);
		return;
	}

	ah = ipoib_path_make_ah(path);
	if (IS_ERR(ah)) {
		ipoib_dbg(path->ipd, "no address handle for %pI6: %pe\n",
			  path->gid.raw, ah);
		/* whatever the errno: this is no word of the administrator's */
		ipoib_path_failed(path, -ENOMEM);
		return;
	}

	ipoib_path_publish(path, ah);
}

/* ---- neighbours ---- */

/* Numbers that are guessed at a GID nobody has are no neighbours. */
static bool __ipoib_path_takes_neigh(const struct ipoib_path *path)
	__must_hold(&path->ipd->resolve.lock)
{
	const struct ipoib_resolve *resolve = &path->ipd->resolve;

	return rcu_access_pointer(path->ah) || !path->num_neighs ||
	       (path->num_neighs < IPOIB_PATH_NEIGHS_MOST &&
		resolve->pathless < IPOIB_UNRESOLVED_NEIGHS_MOST);
}

/*
 * Any sender may do this, so not all are looked at: the first ones, which then
 * go to the end. An address that is in use comes back with its next packet.
 */
static void __ipoib_neigh_evict_idlest(struct ipoib_path *path,
				       struct sk_buff_head *evicted)
	__must_hold(&path->ipd->resolve.lock)
{
	unsigned int i, n = min(path->num_neighs, IPOIB_EVICT_SAMPLE);
	struct ipoib_neigh *neigh, *idlest = NULL;

	for (i = 0; i < n; i++) {
		neigh = list_first_entry(&path->neighs, struct ipoib_neigh,
					 on_path);
		list_move_tail(&neigh->on_path, &path->neighs);
		if (!idlest || time_before(READ_ONCE(neigh->used),
					   READ_ONCE(idlest->used)))
			idlest = neigh;
	}

	if (idlest)
		__ipoib_neigh_unlink(path->ipd, idlest, evicted);
}

/* One GID's flood of addresses is at its own cost, and so are all together. */
static bool __ipoib_neigh_make_room(struct ipoib_path *path,
				    struct sk_buff_head *evicted)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;
	struct ipoib_path *crowded;
	unsigned int i;

	lockdep_assert_held(&resolve->lock);

	if (path->num_neighs >= ipoib_param_value(&ipoib_neigh_max_per_gid)) {
		__ipoib_neigh_evict_idlest(path, evicted);
		return true;
	}
	if (atomic_read(&resolve->neighs.nelems) < IPOIB_NEIGHS_MOST)
		return true;

	/* a path is not left without neighbours */
	for (i = 0; i < IPOIB_CROWD_SAMPLE; i++) {
		crowded = list_first_entry(&resolve->path_list,
					   struct ipoib_path, entry);
		list_move_tail(&crowded->entry, &resolve->path_list);
		if (crowded->num_neighs < 2)
			continue;
		__ipoib_neigh_evict_idlest(crowded, evicted);
		return true;
	}

	return false;
}

static void __ipoib_neigh_link(struct ipoib_neigh *neigh)
	__must_hold(&neigh->path->ipd->resolve.lock)
{
	struct ipoib_path *path = neigh->path;

	list_add_tail(&neigh->on_path, &path->neighs);
	path->num_neighs++;
	if (!rcu_access_pointer(path->ah))
		path->ipd->resolve.pathless++;
}

static struct ipoib_neigh *__ipoib_neigh_create(struct ipoib_dev *ipd,
						const struct ipoib_hwaddr *ha,
						struct sk_buff_head *evicted)
	__must_hold(&ipd->resolve.lock)
{
	union ib_gid gid = ipoib_hwaddr_gid(ha);
	struct ipoib_neigh *neigh;
	struct ipoib_path *path;
	int err;

	path = __ipoib_path_get(ipd, &gid);
	if (IS_ERR(path))
		return ERR_CAST(path);

	err = -ENOSPC;
	if (!__ipoib_path_takes_neigh(path) ||
	    !__ipoib_neigh_make_room(path, evicted))
		goto err_put_path;

	err = -ENOMEM;
	neigh = kzalloc_obj(*neigh, GFP_ATOMIC);
	if (!neigh)
		goto err_put_path;

	neigh->ha = *ha;
	neigh->path = path;
	neigh->used = jiffies;
	__skb_queue_head_init(&neigh->parked);
	if (rhashtable_insert_fast(&ipd->resolve.neighs, &neigh->node,
				   ipoib_neigh_params))
		goto err_free;

	__ipoib_neigh_link(neigh);
	/* a peer with another queue pair may be at another port, too */
	__ipoib_path_doubt(path);
	trace_ipoib_neigh(ipd->netdev, (const u8 *)ha, true);
	ipoib_count(ipd, IPOIB_N_NEIGH_ADDS);
	return neigh;

err_free:
	kfree(neigh);
err_put_path:
	/* a path nobody uses yet stays in the table for the next attempt */
	ipoib_path_put(path);
	return ERR_PTR(err);
}

static struct ipoib_neigh *__ipoib_neigh_get(struct ipoib_dev *ipd,
					     const struct ipoib_hwaddr *ha,
					     struct sk_buff_head *evicted)
	__must_hold(&ipd->resolve.lock)
{
	struct ipoib_neigh *neigh;

	lockdep_assert_held(&ipd->resolve.lock);

	neigh = rhashtable_lookup_fast(&ipd->resolve.neighs, ha,
				       ipoib_neigh_params);
	return neigh ? neigh : __ipoib_neigh_create(ipd, ha, evicted);
}

static void __ipoib_path_unlink(struct ipoib_path *path,
				struct sk_buff_head *parked)
	__must_hold(&path->ipd->resolve.lock)
{
	struct ipoib_dev *ipd = path->ipd;
	struct ipoib_neigh *neigh, *next;

	lockdep_assert_held(&ipd->resolve.lock);

	list_for_each_entry_safe(neigh, next, &path->neighs, on_path)
		__ipoib_neigh_unlink(ipd, neigh, parked);
	rhashtable_remove_fast(&ipd->resolve.paths, &path->node,
			       ipoib_path_params);
	list_del(&path->entry);
	list_del_init(&path->todo);
	__ipoib_path_cancel(path);
	ipd->resolve.unresolved -= !rcu_access_pointer(path->ah);
	__ipoib_path_set_state(path, IPOIB_PATH_DEAD);
}

/*
 * The second half of removing a path, after the unlinking: nobody new finds it.
 * A query's callback may still hold it, and senders its address handle.
 */
static void ipoib_path_release(struct ipoib_path *path)
	__must_hold(&path->ipd->link.lock)
{
	struct ipoib_dev *ipd = path->ipd;
	struct ipoib_ah *ah;

	spin_lock_bh(&ipd->resolve.lock);
	ah = __ipoib_path_swap_ah(path, NULL);
	spin_unlock_bh(&ipd->resolve.lock);
	ipoib_ah_retire(ipd, ah);
	ipoib_path_put(path);
}

/*
 * No address handle for this neighbour: keep the packet until there is one.
 * Another sender or the resolver may have been faster; then it is sent after
 * all, which is what the returned handle is for. Caller is in an RCU read
 * section.
 */
static const struct ipoib_ah *
ipoib_neigh_park_rcu(struct ipoib_dev *ipd, struct sk_buff *skb,
		     const struct ipoib_hwaddr *ha)
{
	struct ipoib_resolve *resolve = &ipd->resolve;
	const struct ipoib_ah *ah = NULL;
	enum ipoib_drop_reason reason;
	struct sk_buff_head evicted;
	struct ipoib_neigh *neigh;
	struct ipoib_path *path;
	bool kick;

	__skb_queue_head_init(&evicted);
	spin_lock_bh(&resolve->lock);
	reason = IPOIB_DROP_TX_LINK;
	if (!resolve->accepting)
		goto drop;
	neigh = __ipoib_neigh_get(ipd, ha, &evicted);
	reason = PTR_ERR_OR_ZERO(neigh) == -ENOMEM ? IPOIB_DROP_TX_NO_MEM :
						     IPOIB_DROP_TX_PARK_FULL;
	if (IS_ERR(neigh))
		goto drop;

	path = neigh->path;
	ah = rcu_dereference_protected(path->ah,
				       lockdep_is_held(&resolve->lock));
	if (ah) {
		kick = __ipoib_path_refresh(path);
		goto unlock;
	}

	if (!__ipoib_neigh_has_room(neigh, skb->truesize) ||
	    !__ipoib_resolve_make_room(ipd, path, skb->truesize, &evicted))
		goto drop;
	if (!path->urgent &&
	    (neigh->parked_bytes || !ipoib_skb_is_resolution(skb))) {
		path->urgent = true;
		if (path->state == IPOIB_PATH_WANTED)
			__ipoib_path_requery(path);
	}
	__skb_queue_tail(&neigh->parked, skb);
	neigh->parked_bytes += skb->truesize;
	atomic_add(skb->truesize, &ipd->pending_bytes);
	/* a full list does not count as use, so a silent peer ages out */
	neigh->used = jiffies;
	if (!list_empty(&path->excess))
		list_move_tail(&path->excess, &resolve->excess);
	__ipoib_path_want(path);
	kick = true;
unlock:
	spin_unlock_bh(&resolve->lock);
	ipoib_parked_drop(ipd, &evicted, IPOIB_DROP_TX_PARK_FULL);
	if (kick)
		ipoib_path_kick(ipd);
	return ah;

drop:
	spin_unlock_bh(&resolve->lock);
	ipoib_parked_drop(ipd, &evicted, IPOIB_DROP_TX_PARK_FULL);
	ipoib_drop(ipd, skb, reason);
	return NULL;
}

/* A request by ARP or ND to the address itself, to see whether it is there. */
static bool ipoib_neigh_is_probe(const struct sk_buff *skb)
{
	const struct ipoib_header *header = ipoib_header_at(skb->data);
	struct arphdr arp_room;
	const struct arphdr *arp;

	switch (be16_to_cpu(header->encap.proto)) {
	case ETH_P_ARP:
		arp = skb_header_pointer(skb, IPOIB_HARD_LEN, sizeof(arp_room),
					 &arp_room);
		return arp && arp->ar_op == htons(ARPOP_REQUEST);
	case ETH_P_IPV6:
		return ipoib_skb_icmp6_type(skb) ==
		       NDISC_NEIGHBOUR_SOLICITATION;
	default:
		return false;
	}
}

/*
 * The stack repeats a probe after a second when nobody replies. One alone says
 * nothing: each neighbour in use is probed twice a minute, so a query for each
 * would be too many.
 */
static void ipoib_neigh_probed(struct ipoib_neigh *neigh)
{
	struct ipoib_resolve *resolve = &neigh->path->ipd->resolve;
	unsigned long last = READ_ONCE(neigh->probed);

	WRITE_ONCE(neigh->probed, jiffies | 1);
	if (!last ||
	    time_after(jiffies, last + msecs_to_jiffies(IPOIB_PROBE_MS)))
		return;

	spin_lock_bh(&resolve->lock);
	__ipoib_path_doubt(neigh->path);
	spin_unlock_bh(&resolve->lock);
}

/**
 * ipoib_neigh_resolve_rcu() - find the way to a unicast address
 * @ipd: interface
 * @skb: packet with its in-host header
 * @ha: its destination
 *
 * Context: ndo_start_xmit, in an RCU read section.
 *
 * Return: the address handle, good for as long as the read section; or NULL,
 * and then the packet is parked or dropped.
 */
const struct ipoib_ah *ipoib_neigh_resolve_rcu(struct ipoib_dev *ipd,
					       struct sk_buff *skb,
					       const struct ipoib_hwaddr *ha)
{
	const struct ipoib_ah *ah = NULL;
	struct ipoib_neigh *neigh;

	neigh = rhashtable_lookup(&ipd->resolve.neighs, ha, ipoib_neigh_params);
	if (likely(neigh))
		ah = rcu_dereference(neigh->path->ah);
	if (unlikely(!ah))
		return ipoib_neigh_park_rcu(ipd, skb, ha);

	/* many neighbours in use should not all have to be written back */
	if (time_after(jiffies, READ_ONCE(neigh->used) + IPOIB_USED_SLACK))
		WRITE_ONCE(neigh->used, jiffies);
	if (unlikely(ipoib_neigh_is_probe(skb)))
		ipoib_neigh_probed(neigh);
	if (unlikely(READ_ONCE(neigh->path->state) == IPOIB_PATH_STALE))
		ipoib_path_refresh(neigh->path);

	return ah;
}

/* ---- resolver ---- */

static struct ipoib_path *ipoib_resolve_next(struct ipoib_resolve *resolve,
					     enum ipoib_path_state *state)
{
	struct ipoib_path *path;

	spin_lock_bh(&resolve->lock);
	path = list_first_entry_or_null(&resolve->answered, struct ipoib_path,
					todo);
	if (!path)
		path = list_first_entry_or_null(&resolve->todo,
						struct ipoib_path, todo);
	if (path) {
		list_del_init(&path->todo);
		*state = path->state;
	}
	spin_unlock_bh(&resolve->lock);

	return path;
}

/*
 * Moves what is due; says when to come back, in jiffies from now. What is
 * not due goes back to the list it came from, so that list is walked apart.
 */
static bool ipoib_resolve_waiting(struct ipoib_resolve *resolve,
				  unsigned long *delay)
{
	struct ipoib_path *path, *next;
	bool waiting = false;
	LIST_HEAD(list);
	long left;

	*delay = MAX_JIFFY_OFFSET;
	spin_lock_bh(&resolve->lock);
	list_splice_init(&resolve->waiting, &list);
	list_for_each_entry_safe(path, next, &list, todo) {
		__ipoib_path_want(path);
		if (path->state != IPOIB_PATH_BACKOFF)
			continue;
		waiting = true;
		left = path->retry_at - jiffies;
		*delay = min_t(unsigned long, *delay, max(left, 1L));
	}
	if (!list_empty(&resolve->todo)) {
		waiting = true;
		*delay = 0;
	}
	spin_unlock_bh(&resolve->lock);

	return waiting;
}

/* The oldest path that may be given up, when there are too many. */
static struct ipoib_path *
ipoib_resolve_unlink_excess(struct ipoib_dev *ipd, struct sk_buff_head *parked)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_resolve *resolve = &ipd->resolve;
	struct ipoib_path *path = NULL;

	spin_lock_bh(&resolve->lock);
	if (resolve->unresolved > ipoib_param_value(&ipoib_path_max_unresolved))
		path = list_first_entry_or_null(&resolve->excess,
						struct ipoib_path, excess);
	if (path)
		__ipoib_path_unlink(path, parked);
	spin_unlock_bh(&resolve->lock);

	return path;
}

static void ipoib_resolve_trim(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct sk_buff_head parked;
	struct ipoib_path *path;

	__skb_queue_head_init(&parked);
	while ((path = ipoib_resolve_unlink_excess(ipd, &parked)))
		ipoib_path_release(path);
	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_PARK_FULL);
}

static unsigned long ipoib_path_budget_delay(void)
{
	return msecs_to_jiffies(ipoib_spread_ms(IPOIB_PATH_BUDGET_MS,
						get_random_u32()));
}

/*
 * Only the holder of link.lock unlinks paths, so one taken from the list stays
 * while it is looked at.
 */
static void ipoib_resolve_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     resolve.work.work);
	struct ipoib_resolve *resolve = &ipd->resolve;
	enum ipoib_path_state state;
	struct ipoib_path *path;
	bool held_up = false;
	unsigned long delay;
	bool waiting;

	mutex_lock(&ipd->link.lock);
	ipoib_resolve_waiting(resolve, &delay);
	while ((path = ipoib_resolve_next(resolve, &state))) {
		if (state == IPOIB_PATH_ANSWERED) {
			ipoib_path_answered(path);
		} else if (state == IPOIB_PATH_WANTED &&
			   !ipoib_path_query(path)) {
			held_up = true;
			break;
		}
	}
	ipoib_resolve_trim(ipd);
	/* replies have put some there */
	waiting = ipoib_resolve_waiting(resolve, &delay);
	if (held_up && waiting)
		delay = ipoib_path_budget_delay();
	mutex_unlock(&ipd->link.lock);

	/* a kick in between has set a shorter delay, which then stands */
	if (waiting)
		queue_delayed_work(ipd->wq, &resolve->work, delay);
}

static unsigned long ipoib_gc_interval(void)
{
	return max_t(unsigned long, READ_ONCE(arp_tbl.gc_interval), HZ);
}

static void ipoib_path_check_age(struct ipoib_path *path)
{
	struct ipoib_resolve *resolve = &path->ipd->resolve;

	if (READ_ONCE(path->state) != IPOIB_PATH_READY)
		return;

	spin_lock_bh(&resolve->lock);
	if (time_after(jiffies, path->found + path->lifetime))
		__ipoib_path_doubt(path);
	spin_unlock_bh(&resolve->lock);
}

static void ipoib_neigh_expire(struct ipoib_dev *ipd, struct ipoib_neigh *neigh)
{
	struct ipoib_path *path = neigh->path;
	struct sk_buff_head parked;
	bool last;

	__skb_queue_head_init(&parked);
	spin_lock_bh(&ipd->resolve.lock);
	/* a sender has evicted it, or the walk has met it before */
	if (list_empty(&neigh->on_path)) {
		spin_unlock_bh(&ipd->resolve.lock);
		return;
	}
	__ipoib_neigh_unlink(ipd, neigh, &parked);
	last = list_empty(&path->neighs);
	if (last)
		__ipoib_path_unlink(path, &parked);
	spin_unlock_bh(&ipd->resolve.lock);

	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_FORGOTTEN);
	if (last)
		ipoib_path_release(path);
}

static bool ipoib_resolve_is_accepting(struct ipoib_resolve *resolve)
{
	bool accepting;

	spin_lock_bh(&resolve->lock);
	accepting = resolve->accepting;
	spin_unlock_bh(&resolve->lock);

	return accepting;
}

/* The walk may meet an entry twice or start over; it takes what is idle. */
static void ipoib_resolve_gc(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     resolve.gc_work.work);
	unsigned long idle = 2 * ipoib_gc_interval();
	struct rhashtable_iter iter;
	struct ipoib_neigh *neigh;

	mutex_lock(&ipd->link.lock);
	rhashtable_walk_enter(&ipd->resolve.neighs, &iter);
	rhashtable_walk_start(&iter);
	while ((neigh = rhashtable_walk_next(&iter))) {
		if (IS_ERR(neigh))
			continue;
		if (time_after(jiffies, READ_ONCE(neigh->used) + idle))
			ipoib_neigh_expire(ipd, neigh);
		else
			ipoib_path_check_age(neigh->path);
	}
	rhashtable_walk_stop(&iter);
	rhashtable_walk_exit(&iter);
	mutex_unlock(&ipd->link.lock);

	if (ipoib_resolve_is_accepting(&ipd->resolve))
		queue_delayed_work(ipd->wq, &ipd->resolve.gc_work,
				   ipoib_gc_interval());
}

/**
 * ipoib_resolve_accept() - let packets create neighbours
 * @ipd: interface
 */
void ipoib_resolve_accept(struct ipoib_dev *ipd)
{
	spin_lock_bh(&ipd->resolve.lock);
	ipd->resolve.accepting = true;
	spin_unlock_bh(&ipd->resolve.lock);
	queue_delayed_work(ipd->wq, &ipd->resolve.gc_work, ipoib_gc_interval());
}

static struct ipoib_path *
ipoib_resolve_unlink_first(struct ipoib_dev *ipd, struct sk_buff_head *parked)
{
	struct ipoib_resolve *resolve = &ipd->resolve;
	struct ipoib_path *path;

	spin_lock_bh(&resolve->lock);
	resolve->accepting = false;
	path = list_first_entry_or_null(&resolve->path_list, struct ipoib_path,
					entry);
	if (path)
		__ipoib_path_unlink(path, parked);
	spin_unlock_bh(&resolve->lock);

	return path;
}

/**
 * ipoib_resolve_forget() - drop every neighbour and path, and take no new ones
 * @ipd: interface
 *
 * Queries are cancelled, their callbacks are not waited for.
 */
void ipoib_resolve_forget(struct ipoib_dev *ipd)
{
	struct sk_buff_head parked;
	struct ipoib_path *path;

	lockdep_assert_held(&ipd->link.lock);

	__skb_queue_head_init(&parked);
	while ((path = ipoib_resolve_unlink_first(ipd, &parked)))
		ipoib_path_release(path);
	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_FORGOTTEN);
	cancel_delayed_work(&ipd->resolve.gc_work);
}

static void __ipoib_path_age(struct ipoib_path *path, bool at_once)
	__must_hold(&path->ipd->resolve.lock)
{
	u32 spread_ms = at_once ? 0 : get_random_u32() % IPOIB_PATH_SPREAD_MS;

	/* the word of one that is no more */
	path->retry = (struct ipoib_retry){};
	path->refusals = 0;
	path->doubted = false;
	switch (path->state) {
	case IPOIB_PATH_READY:
	case IPOIB_PATH_STALE:
		WRITE_ONCE(path->retry_at,
			   jiffies + msecs_to_jiffies(spread_ms));
		__ipoib_path_set_state(path, IPOIB_PATH_STALE);
		break;
	case IPOIB_PATH_QUERYING:
	case IPOIB_PATH_ANSWERED:
		path->outdated = true;
		return;
	case IPOIB_PATH_BACKOFF:
		WRITE_ONCE(path->retry_at, jiffies);
		return;
	default:
		return;
	}

	if (at_once)
		__ipoib_path_requery(path);
}

/**
 * ipoib_resolve_refresh() - distrust all paths, but use them
 * @ipd: interface
 * @at_once: ask for each now; otherwise when a packet uses it, after a short
 *	random while that keeps a cluster's queries apart
 */
void ipoib_resolve_refresh(struct ipoib_dev *ipd, bool at_once)
{
	struct ipoib_path *path;

	spin_lock_bh(&ipd->resolve.lock);
	list_for_each_entry(path, &ipd->resolve.path_list, entry)
		__ipoib_path_age(path, at_once);
	spin_unlock_bh(&ipd->resolve.lock);

	ipoib_path_kick(ipd);
}

static void __ipoib_path_describe(struct ipoib_path *path,
				  struct ipoib_path_info *info)
	__must_hold(&path->ipd->resolve.lock)
{
	memset(info, 0, sizeof(*info));
	info->gid = path->gid;
	if (!rcu_access_pointer(path->ah))
		return;

	info->dlid = be32_to_cpu(sa_path_get_dlid(&path->answer));
	info->sl = path->answer.sl;
	info->mbps = max(ib_rate_to_mbps(path->answer.rate), 0);
}

/**
 * ipoib_resolve_list_paths() - describe all paths
 * @ipd: interface
 * @info: where to; or NULL, to ask how many there may be
 * @most: room there
 *
 * Return: how many were described, or room for how many is needed.
 */
unsigned int ipoib_resolve_list_paths(struct ipoib_dev *ipd,
				      struct ipoib_path_info *info,
				      unsigned int most)
{
	struct ipoib_path *path;
	unsigned int count = 0;

	/* some may come until the caller is back with the memory */
	if (!info)
		return atomic_read(&ipd->resolve.paths.nelems) + 16;

	spin_lock_bh(&ipd->resolve.lock);
	list_for_each_entry(path, &ipd->resolve.path_list, entry) {
		if (count == most)
			break;
		__ipoib_path_describe(path, &info[count++]);
	}
	spin_unlock_bh(&ipd->resolve.lock);

	return count;
}

/**
 * ipoib_resolve_init() - make the tables
 * @ipd: interface
 *
 * Return: 0 or an errno.
 */
int ipoib_resolve_init(struct ipoib_dev *ipd)
{
	struct ipoib_resolve *resolve = &ipd->resolve;
	int err;

	err = rhashtable_init(&resolve->neighs, &ipoib_neigh_params);
	if (err)
		return err;

	err = rhashtable_init(&resolve->paths, &ipoib_path_params);
	if (err)
		goto err_destroy_neighs;

	return 0;

err_destroy_neighs:
	rhashtable_destroy(&resolve->neighs);
	return err;
}

static bool ipoib_resolve_is_idle(struct ipoib_resolve *resolve)
{
	bool idle;

	spin_lock_bh(&resolve->lock);
	idle = !resolve->queries;
	spin_unlock_bh(&resolve->lock);

	return idle;
}

/**
 * ipoib_resolve_exit() - end what is at work on the tables
 * @ipd: interface; unregistered, everything forgotten, queue pairs destroyed
 *
 * Cancelled queries call back at once, so the wait is short.
 */
void ipoib_resolve_exit(struct ipoib_dev *ipd)
{
	struct ipoib_resolve *resolve = &ipd->resolve;

	wait_event(resolve->idle, ipoib_resolve_is_idle(resolve));
	cancel_delayed_work_sync(&resolve->work);
	cancel_delayed_work_sync(&resolve->gc_work);
	cancel_delayed_work_sync(&resolve->reap_work);
	ipoib_ah_reap_all(ipd);
}

/**
 * ipoib_resolve_destroy() - undo ipoib_resolve_init()
 * @ipd: interface, after ipoib_resolve_exit()
 *
 * Context: process; may take as long as some grace periods.
 */
void ipoib_resolve_destroy(struct ipoib_dev *ipd)
{
	rhashtable_destroy(&ipd->resolve.paths);
	rhashtable_destroy(&ipd->resolve.neighs);
}

/**
 * ipoib_resolve_init_early() - make what lives as long as the interface
 * @ipd: interface
 *
 * Lock, lists and work items: from here on the exit path may look at them.
 */
void ipoib_resolve_init_early(struct ipoib_dev *ipd)
{
	struct ipoib_resolve *resolve = &ipd->resolve;

	spin_lock_init(&resolve->lock);
	INIT_LIST_HEAD(&resolve->path_list);
	INIT_LIST_HEAD(&resolve->excess);
	INIT_LIST_HEAD(&resolve->answered);
	INIT_LIST_HEAD(&resolve->todo);
	INIT_LIST_HEAD(&resolve->waiting);
	INIT_LIST_HEAD(&resolve->dead_ahs);
	init_waitqueue_head(&resolve->idle);
	INIT_DELAYED_WORK(&resolve->work, ipoib_resolve_work);
	INIT_DELAYED_WORK(&resolve->gc_work, ipoib_resolve_gc);
	INIT_DELAYED_WORK(&resolve->reap_work, ipoib_ah_reap);
}
