// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which groups are wanted, joined, attached?
 *
 * The broadcast group, which is the link; the groups the stack wants to
 * receive; and groups somebody only sends to. Each walks through the states of
 * ipoib_mcast_table[], moved by one work item under link.lock. ib_sa's callback
 * and senders only leave notes for it.
 *
 * Stages: table, memberships, address handles, attaching, state machine, work,
 * wanted groups, link's group, sending, link's orders, set-up.
 */
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include <net/arp.h>

#include <rdma/ib_sa.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* wait after a refusal; the first retry is soon, the last ones spare the SM */
#define IPOIB_JOIN_FIRST_MS	500
#define IPOIB_JOIN_MOST_MS	16000

/* attempts after which packets for a send-only group are given up */
#define IPOIB_SEND_ONLY_FAILURES	2

/*
 * Refusals in a row after which a void membership is given up. The broadcast
 * group's is the link: it is kept for as long as a subnet manager may need to
 * start up, too.
 */
#define IPOIB_RENEW_REFUSALS	3
#define IPOIB_LINK_REFUSED_MS	30000

/*
 * Refusals in a row after which a membership is not confirmed any more: a
 * subnet administrator may not know how a port is a member in two ways.
 */
#define IPOIB_CONFIRM_REFUSALS	4

/* wait for memory, for all of the stack's list or for the broadcast group */
#define IPOIB_SYNC_AGAIN_MS	100

/* log lines about refusals per group: after that it is known */
#define IPOIB_JOIN_COMPLAINTS	20

/* no action in ipoib_mcast_event_due() */
#define IPOIB_MC_NONE		IPOIB_MCAST_EVENTS

/* ---- table ---- */

static const struct rhashtable_params ipoib_mcast_params = {
	.key_len = sizeof(union ib_gid),
	.key_offset = offsetof(struct ipoib_mcast, mgid),
	.head_offset = offsetof(struct ipoib_mcast, node),
	.automatic_shrinking = true,
};

static struct ipoib_mcast *__ipoib_mcast_find(struct ipoib_dev *ipd,
					      const union ib_gid *mgid)
	__must_hold(&ipd->mcast.lock)
{
	lockdep_assert_held(&ipd->mcast.lock);

	return rhashtable_lookup_fast(&ipd->mcast.table, mgid,
				      ipoib_mcast_params);
}

static struct ipoib_mcast *__ipoib_mcast_add(struct ipoib_dev *ipd,
					     const union ib_gid *mgid,
					     enum ipoib_mcast_kind kind)
	__must_hold(&ipd->mcast.lock)
{
	struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->mcast.lock);

	group = kzalloc_obj(*group, GFP_ATOMIC);
	if (!group)
		return NULL;

	group->mgid = *mgid;
	group->kind = kind;
	group->state = IPOIB_MCAST_IDLE;
	group->used = jiffies;
	group->created = jiffies;
	group->sync = ipd->mcast.sync;
	INIT_LIST_HEAD(&group->todo);
	__skb_queue_head_init(&group->parked);
	if (rhashtable_insert_fast(&ipd->mcast.table, &group->node,
				   ipoib_mcast_params)) {
		kfree(group);
		return NULL;
	}

	list_add_tail(&group->entry, &ipd->mcast.groups);
	if (kind == IPOIB_MCAST_SEND_ONLY)
		ipd->mcast.num_send_only++;
	return group;
}

static void __ipoib_mcast_unlink(struct ipoib_dev *ipd,
				 struct ipoib_mcast *group)
	__must_hold(&ipd->mcast.lock)
{
	lockdep_assert_held(&ipd->mcast.lock);

	rhashtable_remove_fast(&ipd->mcast.table, &group->node,
			       ipoib_mcast_params);
	list_del(&group->entry);
	if (group->kind == IPOIB_MCAST_SEND_ONLY)
		ipd->mcast.num_send_only--;
	if (ipd->mcast.broadcast == group)
		ipd->mcast.broadcast = NULL;
}

static void ipoib_mcast_kick(struct ipoib_dev *ipd)
{
	mod_delayed_work(ipd->wq, &ipd->mcast.work, 0);
}

/* ---- memberships ---- */

/*
 * A membership ends with all others of the port, but ib_sa tells of one after
 * the other: the broadcast group's may be the last. To ask for it once too
 * often costs nothing, as ib_sa knows a membership that still is one.
 */
static void __ipoib_mcast_doubt_link(struct ipoib_dev *ipd)
	__must_hold(&ipd->mcast.lock)
{
	struct ipoib_mcast *link = ipd->mcast.broadcast;

	lockdep_assert_held(&ipd->mcast.lock);

	if (link && !ipoib_mcast_is_asking(link->state))
		link->renew = true;
}

/*
 * ib_sa's callback, process context. Returning 0 keeps the handle, which is
 * freed by the work only: so a membership has one owner at any time.
 */
static int ipoib_membership_news(int status, struct ib_sa_multicast *sa)
{
	struct ipoib_membership *member = sa->context;
	struct ipoib_dev *ipd = member->ipd;

	if (status == -ENETRESET)
		ipoib_count(ipd, IPOIB_N_JOIN_VOIDS);
	else
		ipoib_count(ipd, status ? IPOIB_N_JOIN_REFUSALS :
					  IPOIB_N_JOIN_GRANTS);

	spin_lock_bh(&ipd->mcast.lock);
	member->status = status;
	if (!status) {
		member->rec = sa->rec;
		member->state = IPOIB_MEMBER_GRANTED;
	} else if (status == -ENETRESET) {
		member->state = IPOIB_MEMBER_VOID;
		__ipoib_mcast_doubt_link(ipd);
	} else {
		member->state = IPOIB_MEMBER_REFUSED;
	}
	spin_unlock_bh(&ipd->mcast.lock);

	ipoib_mcast_kick(ipd);
	return 0;
}

static u32 ipoib_mgid_hash(const union ib_gid *mgid)
{
	return jhash(mgid, sizeof(*mgid), 0);
}

static struct ipoib_membership *
ipoib_membership_alloc(struct ipoib_dev *ipd,
		       const struct ib_sa_mcmember_rec *rec)
{
	struct ipoib_hca *hca = ipd->hca;
	struct ipoib_membership *member;

	member = kzalloc_obj(*member, GFP_KERNEL);
	if (!member)
		return NULL;

	member->ipd = ipd;
	member->state = IPOIB_MEMBER_PENDING;
	member->mgid = rec->mgid;
	member->gid = rec->port_gid;
	member->full = rec->join_state & BIT(FULLMEMBER_JOIN);
	spin_lock_bh(&hca->members_lock);
	hash_add(hca->members, &member->entry, ipoib_mgid_hash(&member->mgid));
	spin_unlock_bh(&hca->members_lock);
	return member;
}

static void ipoib_membership_free(struct ipoib_membership *member)
{
	struct ipoib_hca *hca;

	if (!member)
		return;

	/* waits for a running callback; after that there is none any more */
	if (!IS_ERR_OR_NULL(member->sa))
		ib_sa_free_multicast(member->sa);
	hca = member->ipd->hca;
	spin_lock_bh(&hca->members_lock);
	hash_del(&member->entry);
	spin_unlock_bh(&hca->members_lock);
	kfree(member);
}

/* One of a group, on an interface's port, that fits; its GID goes to @by. */
static bool ipoib_membership_find(struct ipoib_dev *ipd,
				  const union ib_gid *mgid,
				  bool (*fits)(const struct ipoib_membership *,
					       const struct ipoib_dev *),
				  union ib_gid *by)
{
	const struct ipoib_membership *member;
	struct ipoib_hca *hca = ipd->hca;
	bool found = false;

	spin_lock_bh(&hca->members_lock);
	hash_for_each_possible(hca->members, member, entry,
			       ipoib_mgid_hash(mgid)) {
		found = member->ipd->port == ipd->port &&
			!memcmp(&member->mgid, mgid, sizeof(*mgid)) &&
			fits(member, ipd);
		if (found) {
			*by = member->gid;
			break;
		}
	}
	spin_unlock_bh(&hca->members_lock);

	return found;
}

static bool ipoib_membership_receives(const struct ipoib_membership *member,
				      const struct ipoib_dev *ipd)
{
	return member->full;
}

static bool ipoib_membership_is_siblings(const struct ipoib_membership *member,
					 const struct ipoib_dev *ipd)
{
	return member->ipd != ipd;
}

/* Which parts of a request count: of the broadcast group as few as can be. */
static ib_sa_comp_mask ipoib_join_mask(enum ipoib_mcast_kind kind)
{
	ib_sa_comp_mask mask = IB_SA_MCMEMBER_REC_MGID |
			       IB_SA_MCMEMBER_REC_PORT_GID |
			       IB_SA_MCMEMBER_REC_PKEY |
			       IB_SA_MCMEMBER_REC_JOIN_STATE;

	if (kind == IPOIB_MCAST_BROADCAST)
		return mask;

	return mask | IB_SA_MCMEMBER_REC_QKEY |
	       IB_SA_MCMEMBER_REC_MTU_SELECTOR | IB_SA_MCMEMBER_REC_MTU |
	       IB_SA_MCMEMBER_REC_TRAFFIC_CLASS |
	       IB_SA_MCMEMBER_REC_RATE_SELECTOR | IB_SA_MCMEMBER_REC_RATE |
	       IB_SA_MCMEMBER_REC_SL | IB_SA_MCMEMBER_REC_FLOW_LABEL |
	       IB_SA_MCMEMBER_REC_HOP_LIMIT;
}

/*
 * ib_sa has one record of a group for the whole port, and interfaces of one
 * partition may have GUIDs of their own. Who asks by another of the port's GIDs
 * than those that are in the group is refused by ib_sa itself; or, if they are
 * in it in another way, ib_sa forgets them, and will not leave for them. The
 * record stays for as long as a leave takes, but without a join state.
 */
static bool ipoib_join_is_taken(struct ipoib_dev *ipd,
				const struct ipoib_mcast *group,
				union ib_gid *by)
	__must_hold(&ipd->link.lock)
{
	union ib_gid mgid = group->mgid;
	struct ib_sa_mcmember_rec rec;

	if (ib_sa_get_mcmember_rec(ipd->ibdev, ipd->port, &mgid, &rec) ||
	    !rec.join_state)
		return false;

	*by = rec.port_gid;
	return memcmp(by, &ipd->link.gid, sizeof(*by));
}

/*
 * The own GID, unless others are in the group by theirs. What ib_sa has may
 * also be our own membership by the GID of before, which is about to leave, and
 * the same goes for a sibling that is about to get another GID, too: so what is
 * there has to be in the way of one attempt first. In groups other than the
 * broadcast group, which come after that one, ib_sa would not always be, and a
 * sibling is there to stay.
 */
static void ipoib_join_gid(struct ipoib_dev *ipd,
			   const struct ipoib_mcast *group, union ib_gid *gid)
	__must_hold(&ipd->link.lock)
{
	bool refused = ipoib_sa_is_no(group->status);
	bool ask_sibling = refused || group->kind != IPOIB_MCAST_BROADCAST;

	if (group->cur) {
		*gid = group->cur->rec.port_gid;
		return;
	}
	if (ask_sibling &&
	    ipoib_membership_find(ipd, &group->mgid,
				  ipoib_membership_is_siblings, gid))
		return;
	if (refused && ipoib_join_is_taken(ipd, group, gid))
		return;

	*gid = ipd->link.gid;
}

/*
 * The broadcast group must exist and brings its parameters; every other group
 * takes the link's, so that the subnet administrator may create it.
 */
static void ipoib_join_fill(struct ipoib_dev *ipd,
			    const struct ipoib_mcast *group,
			    struct ib_sa_mcmember_rec *rec)
	__must_hold(&ipd->link.lock)
{
	enum ib_sa_mc_join_states join = FULLMEMBER_JOIN;
	union ib_gid gid;

	memset(rec, 0, sizeof(*rec));
	if (group->kind != IPOIB_MCAST_BROADCAST) {
		spin_lock_bh(&ipd->mcast.lock);
		*rec = ipd->mcast.link_rec;
		spin_unlock_bh(&ipd->mcast.lock);
		rec->mtu_selector = IB_SA_EQ;
		rec->rate_selector = IB_SA_EQ;
	}

	if (group->kind == IPOIB_MCAST_SEND_ONLY && !group->in_full)
		join = SENDONLY_FULLMEMBER_JOIN;
	ipoib_join_gid(ipd, group, &gid);
	ipoib_sa_member_ask(rec, &group->mgid, &gid, ipd->link.pkey, join);
	if (group->confirm)
		rec->join_state |= join == FULLMEMBER_JOIN ?
				   BIT(NONMEMBER_JOIN) :
				   BIT(SENDONLY_NONMEBER_JOIN);
}

static struct ipoib_membership *
ipoib_membership_request(struct ipoib_dev *ipd, const struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_membership *member;
	struct ib_sa_mcmember_rec rec;

	ipoib_join_fill(ipd, group, &rec);
	member = ipoib_membership_alloc(ipd, &rec);
	if (!member)
		return NULL;

	ipoib_count(ipd, IPOIB_N_JOIN_REQUESTS);
	member->sa = ib_sa_join_multicast(&ipoib_sa_client, ipd->ibdev,
					  ipd->port, &rec,
					  ipoib_join_mask(group->kind),
					  GFP_KERNEL, ipoib_membership_news,
					  member);
	if (IS_ERR(member->sa)) {
		/* then there is no callback: this is the answer */
		member->status = PTR_ERR(member->sa);
		member->state = IPOIB_MEMBER_REFUSED;
		ipoib_mcast_kick(ipd);
	}

	return member;
}

/* ---- address handles ---- */

static struct ipoib_ah *ipoib_mcast_make_ah(struct ipoib_dev *ipd,
					    struct ib_sa_mcmember_rec *rec)
	__must_hold(&ipd->link.lock)
{
	struct rdma_ah_attr attr = {};
	int index;

	/* 0 unless the interface has an alias GUID */
	index = ipoib_port_gid_index(ipd->ibdev, ipd->port, &ipd->link.gid);
	if (index < 0)
		return ERR_PTR(index);

	attr.type = rdma_ah_find_type(ipd->ibdev, ipd->port);
	rdma_ah_set_dlid(&attr, be16_to_cpu(rec->mlid));
	rdma_ah_set_port_num(&attr, ipd->port);
	rdma_ah_set_sl(&attr, rec->sl);
	rdma_ah_set_static_rate(&attr, rec->rate);
	rdma_ah_set_grh(&attr, &rec->mgid, be32_to_cpu(rec->flow_label), index,
			rec->hop_limit, rec->traffic_class);

	return ipoib_ah_create(ipd, &attr);
}

static void ipoib_mcast_publish(struct ipoib_dev *ipd,
				struct ipoib_mcast *group, struct ipoib_ah *ah)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ah *old;

	spin_lock_bh(&ipd->mcast.lock);
	old = rcu_replace_pointer(group->ah, ah,
				  lockdep_is_held(&ipd->mcast.lock));
	spin_unlock_bh(&ipd->mcast.lock);
	ipoib_ah_retire(ipd, old);
}

/* ---- attaching ---- */

/**
 * struct ipoib_mcast_undone - an attachment that the HCA did not undo
 * @entry: of mcast.undone
 * @mgid: group
 * @mlid: its MLID then
 *
 * The queue pair cannot be destroyed before.
 */
struct ipoib_mcast_undone {
	struct list_head entry;
	union ib_gid mgid;
	u16 mlid;
};

static void ipoib_mcast_note_undone(struct ipoib_dev *ipd,
				    const struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_mcast_undone *undone = kzalloc_obj(*undone, GFP_KERNEL);

	if (!undone)
		return;

	undone->mgid = group->mgid;
	undone->mlid = group->attached_mlid;
	list_add_tail(&undone->entry, &ipd->mcast.undone);
}

/* Of one group before it is attached to again, or of all. */
static void ipoib_mcast_undo(struct ipoib_dev *ipd, const union ib_gid *mgid)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_mcast_undone *undone, *next;
	struct rdma_netdev *rn = ipoib_rn(ipd);

	list_for_each_entry_safe(undone, next, &ipd->mcast.undone, entry) {
		if (mgid && memcmp(mgid, &undone->mgid, sizeof(*mgid)))
			continue;
		if (rn->detach_mcast(ipd->netdev, ipd->ibdev, &undone->mgid,
				     undone->mlid))
			continue;
		list_del(&undone->entry);
		kfree(undone);
	}
}

static void ipoib_mcast_detach(struct ipoib_dev *ipd, struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct rdma_netdev *rn = ipoib_rn(ipd);
	int err;

	if (!group->attached_mlid)
		return;

	err = rn->detach_mcast(ipd->netdev, ipd->ibdev, &group->mgid,
			       group->attached_mlid);
	if (err) {
		ipoib_warn(ipd, "cannot detach from %pI6: %pe\n",
			   group->mgid.raw, ERR_PTR(err));
		ipoib_mcast_note_undone(ipd, group);
	}
	group->attached_mlid = 0;
}

/*
 * A renewal that brings the same MLID and Q_Key changes nothing, and loses
 * nothing. Otherwise the old one goes first: HCAs that tell groups apart by GID
 * alone would take a second attach for the first, and its detach for both.
 */
static int ipoib_mcast_attach(struct ipoib_dev *ipd, struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	u16 mlid = be16_to_cpu(group->cur->rec.mlid);
	u32 qkey = be32_to_cpu(group->cur->rec.qkey);
	bool is_link = group->kind == IPOIB_MCAST_BROADCAST;
	struct rdma_netdev *rn = ipoib_rn(ipd);
	int err;

	if (group->attached_mlid == mlid && group->attached_qkey == qkey)
		return 0;

	ipoib_mcast_detach(ipd, group);
	ipoib_mcast_undo(ipd, &group->mgid);
	err = rn->attach_mcast(ipd->netdev, ipd->ibdev, &group->mgid, mlid,
			       is_link, qkey);
	/* the interface is being stopped: the group is about to be left */
	if (err == -ENETDOWN)
		return err;
	if (err) {
		ipoib_warn(ipd, "cannot attach to %pI6: %pe\n",
			   group->mgid.raw, ERR_PTR(err));
		return err;
	}

	group->attached_mlid = mlid;
	group->attached_qkey = qkey;
	return 0;
}

/* ---- state machine ---- */

static void ipoib_mcast_take_parked(struct ipoib_dev *ipd,
				    struct ipoib_mcast *group,
				    struct sk_buff_head *parked)
{
	__skb_queue_head_init(parked);
	spin_lock_bh(&ipd->mcast.lock);
	atomic_sub(group->parked_bytes, &ipd->pending_bytes);
	ipd->mcast.parked_bytes -= group->parked_bytes;
	group->parked_bytes = 0;
	skb_queue_splice_tail_init(&group->parked, parked);
	spin_unlock_bh(&ipd->mcast.lock);
}

static void ipoib_mcast_complain(struct ipoib_dev *ipd,
				 const struct ipoib_mcast *group, int status)
{
	u32 failures = group->retry.failures;
	bool news = failures && failures < IPOIB_JOIN_COMPLAINTS;

	/* a subnet manager that starts up refuses once without meaning it */
	if (!news || !ipoib_sa_is_no(status) ||
	    group->kind == IPOIB_MCAST_SEND_ONLY) {
		ipoib_dbg_mcast(ipd, "no membership of %pI6: %pe\n",
				group->mgid.raw, ERR_PTR(status));
		return;
	}

	ipoib_warn(ipd, "joining %pI6 was refused: %pe\n", group->mgid.raw,
		   ERR_PTR(status));
}

static void ipoib_mcast_wait(struct ipoib_mcast *group, int status)
{
	u32 wait_ms;

	ipoib_retry_note(&group->retry, status);
	wait_ms = ipoib_retry_ms(&group->retry, IPOIB_JOIN_FIRST_MS,
				 IPOIB_JOIN_MOST_MS, get_random_u32());
	group->retry_at = jiffies + msecs_to_jiffies(wait_ms);
}

/*
 * Only a row of refusals says that there is nothing to be had; those that no
 * subnet administrator has sent say nothing.
 */
static void ipoib_mcast_count_refusal(struct ipoib_dev *ipd,
				      struct ipoib_mcast *group, int status)
{
	if (status == -ETIMEDOUT || READ_ONCE(ipd->mcast.sa_absent))
		group->refusals = 0;
	if (!ipoib_sa_is_no(status))
		return;

	if (!group->refusals)
		group->refused_at = jiffies;
	group->refusals++;
}

static void ipoib_mcast_adopt(struct ipoib_mcast *group)
{
	ipoib_membership_free(group->cur);
	group->cur = group->next;
	group->next = NULL;
}

/*
 * A membership that was asked for before is let go of afterwards: ib_sa leaves
 * a group with the last of the port's memberships and requests.
 */
static void ipoib_mcast_request(struct ipoib_dev *ipd,
				struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_membership *before = group->next;

	group->next = ipoib_membership_request(ipd, group);
	ipoib_membership_free(before);
}

static void ipoib_mcast_do(struct ipoib_dev *ipd, struct ipoib_mcast *group,
			   enum ipoib_mcast_action action)
	__must_hold(&ipd->link.lock)
{
	switch (action) {
	case IPOIB_MCDO_DETACH:
		ipoib_mcast_publish(ipd, group, NULL);
		ipoib_mcast_detach(ipd, group);
		break;
	case IPOIB_MCDO_LEAVE:
		ipoib_membership_free(group->cur);
		group->cur = NULL;
		break;
	case IPOIB_MCDO_CANCEL:
		ipoib_membership_free(group->next);
		group->next = NULL;
		break;
	case IPOIB_MCDO_ADOPT:
		ipoib_mcast_adopt(group);
		break;
	case IPOIB_MCDO_REQUEST:
		ipoib_mcast_request(ipd, group);
		break;
	case IPOIB_MCDO_WAIT:
		ipoib_mcast_wait(group, group->status);
		break;
	default:
		WARN_ON_ONCE(1);
	}
}

/* The one place that assigns a group's state. */
static void ipoib_mcast_set_state(struct ipoib_dev *ipd,
				  struct ipoib_mcast *group,
				  enum ipoib_mcast_event event,
				  enum ipoib_mcast_state state)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	trace_ipoib_mcast(ipd->netdev, group->mgid.raw, event, group->state,
			  state);
	spin_lock_bh(&ipd->mcast.lock);
	ipd->mcast.num_asking -= ipoib_mcast_is_asking(group->state);
	ipd->mcast.num_asking += ipoib_mcast_is_asking(state);
	group->state = state;
	spin_unlock_bh(&ipd->mcast.lock);
	/* the link looks for itself, when this is over */
	if (group->kind == IPOIB_MCAST_BROADCAST)
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

static void ipoib_mcast_step(struct ipoib_dev *ipd, struct ipoib_mcast *group,
			     enum ipoib_mcast_event event)
	__must_hold(&ipd->link.lock)
{
	const struct ipoib_mcast_cell *cell;
	unsigned long actions;
	unsigned int action;

	cell = ipoib_mcast_next(group->state, event);
	actions = cell->actions;
	ipoib_mcast_set_state(ipd, group, event, cell->next);
	for_each_set_bit(action, &actions, IPOIB_MCAST_ACTIONS)
		ipoib_mcast_do(ipd, group, action);
}

static void ipoib_mcast_read_rec(struct ipoib_dev *ipd,
				 const struct ib_sa_mcmember_rec *rec,
				 struct ipoib_bcast *bcast)
{
	ipoib_bcast_take(bcast, rec);
	bcast->mtu_bytes = rdma_mtu_enum_to_int(ipd->ibdev, ipd->port,
						rec->mtu);
}

/* Other groups were made from what is no longer the link's. */
static void __ipoib_mcast_renew_rest(struct ipoib_dev *ipd)
	__must_hold(&ipd->mcast.lock)
{
	struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->mcast.lock);

	list_for_each_entry(group, &ipd->mcast.groups, entry)
		if (group->kind != IPOIB_MCAST_BROADCAST)
			group->renew = group->state != IPOIB_MCAST_IDLE;
}

/* The group's parameters are the link's from here on. */
static void ipoib_mcast_set_link_rec(struct ipoib_dev *ipd,
				     const struct ipoib_mcast *group)
{
	struct ipoib_bcast old = {};
	struct ipoib_bcast now = {};

	spin_lock_bh(&ipd->mcast.lock);
	ipoib_mcast_read_rec(ipd, &ipd->mcast.link_rec, &old);
	ipoib_mcast_read_rec(ipd, &group->cur->rec, &now);
	if (ipd->mcast.accepting && !ipoib_bcast_same(&old, &now))
		__ipoib_mcast_renew_rest(ipd);
	ipd->mcast.link_rec = group->cur->rec;
	ipd->mcast.accepting = true;
	spin_unlock_bh(&ipd->mcast.lock);
	ipoib_mcast_sync_later(ipd);
}

/* A link of packets that the port can never receive is none. */
static bool ipoib_mcast_is_too_wide(const struct ipoib_dev *ipd, int mtu_bytes)
{
	return mtu_bytes > 0 && mtu_bytes > ipd->max_ib_mtu;
}

static void ipoib_mcast_say_too_wide(struct ipoib_dev *ipd, int mtu_bytes)
{
	ipoib_warn(ipd, "no carrier: the broadcast group has an MTU of %d, the port can %u\n",
		   mtu_bytes, ipd->max_ib_mtu);
}

static int ipoib_mcast_check_width(struct ipoib_dev *ipd,
				   const struct ipoib_mcast *group)
{
	int mtu_bytes;

	if (group->kind != IPOIB_MCAST_BROADCAST)
		return 0;

	mtu_bytes = rdma_mtu_enum_to_int(ipd->ibdev, ipd->port,
					 group->cur->rec.mtu);
	if (!ipoib_mcast_is_too_wide(ipd, mtu_bytes))
		return 0;

	ipoib_mcast_say_too_wide(ipd, mtu_bytes);
	return -EMSGSIZE;
}

/* Packets for a group that is only sent to do not wait for ever. */
static void ipoib_mcast_tire(struct ipoib_dev *ipd, struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct sk_buff_head parked;

	if (group->kind != IPOIB_MCAST_SEND_ONLY ||
	    group->retry.failures < IPOIB_SEND_ONLY_FAILURES)
		return;

	ipoib_mcast_take_parked(ipd, group, &parked);
	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_NO_GROUP);
}

/* Our own trouble: a group that works goes on with the handle it has. */
static void ipoib_mcast_unready(struct ipoib_dev *ipd,
				struct ipoib_mcast *group, int err)
	__must_hold(&ipd->link.lock)
{
	ipoib_warn(ipd, "no address handle for %pI6: %pe\n", group->mgid.raw,
		   ERR_PTR(err));
	group->status = err;
	ipoib_mcast_step(ipd, group, IPOIB_MC_UNREADY);
	ipoib_mcast_tire(ipd, group);
}

static int ipoib_mcast_ready(struct ipoib_dev *ipd, struct ipoib_mcast *group,
			     struct ipoib_ah *ah)
	__must_hold(&ipd->link.lock)
{
	int err;

	ipoib_mcast_publish(ipd, group, ah);
	err = ipoib_mcast_check_width(ipd, group);
	if (err || group->kind == IPOIB_MCAST_SEND_ONLY)
		return err;

	return ipoib_mcast_attach(ipd, group);
}

/*
 * Back to the one way to be a member, from which there is another again. What
 * was granted may be a request of before, and confirms nothing.
 */
static void ipoib_mcast_confirmed(struct ipoib_dev *ipd,
				  struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	const u8 other_way = BIT(NONMEMBER_JOIN) | BIT(SENDONLY_NONMEBER_JOIN);

	if (!group->confirm || !(group->cur->rec.join_state & other_way))
		return;

	group->confirm = false;
	spin_lock_bh(&ipd->mcast.lock);
	group->renew = true;
	spin_unlock_bh(&ipd->mcast.lock);
}

static void ipoib_mcast_granted(struct ipoib_dev *ipd,
				struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct sk_buff_head parked;
	struct ipoib_ah *ah;
	int err;

	group->refusals = 0;
	ah = ipoib_mcast_make_ah(ipd, &group->next->rec);
	if (IS_ERR(ah)) {
		ipoib_mcast_unready(ipd, group, PTR_ERR(ah));
		return;
	}

	ipoib_mcast_step(ipd, group, IPOIB_MC_ANSWER);
	err = ipoib_mcast_ready(ipd, group, ah);
	if (err) {
		group->status = err;
		ipoib_mcast_step(ipd, group, IPOIB_MC_ATTACH_FAILED);
		return;
	}

	group->retry = (struct ipoib_retry){};
	ipoib_mcast_confirmed(ipd, group);
	if (group->kind != IPOIB_MCAST_SEND_ONLY)
		ipoib_mcast_step(ipd, group, IPOIB_MC_ATTACHED);
	if (group->kind == IPOIB_MCAST_BROADCAST)
		ipoib_mcast_set_link_rec(ipd, group);

	ipoib_mcast_take_parked(ipd, group, &parked);
	ipoib_parked_resend(ipd, &parked);
}

static bool ipoib_mcast_is_over(const struct ipoib_mcast *group)
{
	unsigned long least = 0;

	if (group->kind == IPOIB_MCAST_BROADCAST)
		least = msecs_to_jiffies(IPOIB_LINK_REFUSED_MS);

	return group->state == IPOIB_MCAST_STALE && !group->confirm &&
	       ipoib_sa_is_no(group->status) &&
	       group->refusals >= IPOIB_RENEW_REFUSALS &&
	       time_after_eq(jiffies, group->refused_at + least);
}

/* An older subnet administrator does not know members that only send. */
static bool ipoib_mcast_falls_back(struct ipoib_dev *ipd,
				   const struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	union ib_gid by;

	return group->kind == IPOIB_MCAST_SEND_ONLY && !group->in_full &&
	       ipoib_sa_is_no(group->status) &&
	       !ipoib_join_is_taken(ipd, group, &by);
}

/* Process context; exactly once, unless it is cancelled. */
static void ipoib_mcast_why_done(struct ipoib_sa_waiter *waiter, int status,
				 const struct sa_path_rec *rec)
{
	struct ipoib_dev *ipd = container_of(waiter, struct ipoib_dev,
					     mcast.why);
	struct ipoib_mcast_table *mcast = &ipd->mcast;
	bool refused = ipoib_sa_is_no(status);
	bool absent = refused && mcast->why_self;
	int mtu_bytes = 0;
	bool news;

	if (!status && !mcast->why_self)
		mtu_bytes = rdma_mtu_enum_to_int(ipd->ibdev, ipd->port,
						 rec->mtu);
	spin_lock_bh(&mcast->lock);
	news = mcast->refused_mtu_bytes != mtu_bytes ||
	       mcast->sa_absent != absent;
	mcast->refused_mtu_bytes = mtu_bytes;
	mcast->group_unknown = refused;
	WRITE_ONCE(mcast->sa_absent, absent);
	spin_unlock_bh(&mcast->lock);

	if (news && ipoib_mcast_is_too_wide(ipd, mtu_bytes))
		ipoib_mcast_say_too_wide(ipd, mtu_bytes);
	if (news)
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	/* pairs with the acquire in ipoib_mcast_exit(); the last of @ipd */
	smp_store_release(&mcast->asking_why, false);
	/* who waits sees that, or is seen: pairs with the one of his wait */
	smp_mb();
	wake_up_var(&mcast->asking_why);
}

/*
 * That a request is invalid is all that a subnet administrator says when a port
 * is not fit for a group, but it tells the way to that group to anybody. Where
 * no subnet administrator runs the port's HCA rejects everything in the same
 * words, the way from the port to itself included: that is what is asked next
 * when there was none to the group.
 */
static void ipoib_mcast_ask_why(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_mcast_table *mcast = &ipd->mcast;
	struct ipoib_sa_path what;

	lockdep_assert_held(&ipd->link.lock);

	if (READ_ONCE(mcast->asking_why))
		return;

	memset(&what, 0, sizeof(what));
	what.port = ipd->port;
	what.dgid = ipd->link.broadcast;
	what.pkey = ipd->link.pkey;
	spin_lock_bh(&mcast->lock);
	mcast->why_self = mcast->group_unknown;
	spin_unlock_bh(&mcast->lock);
	if (mcast->why_self) {
		what.sgid = ipd->link.gid;
		what.dgid = ipd->link.gid;
	}
	WRITE_ONCE(mcast->asking_why, true);
	if (ipoib_sa_ask(&ipd->hca->sa, &what, 0, &mcast->why) < 0)
		WRITE_ONCE(mcast->asking_why, false);
}

static void ipoib_mcast_forget_why(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	if (ipoib_sa_cancel(&ipd->hca->sa, &ipd->mcast.why))
		WRITE_ONCE(ipd->mcast.asking_why, false);
	spin_lock_bh(&ipd->mcast.lock);
	ipd->mcast.refused_mtu_bytes = 0;
	ipd->mcast.group_unknown = false;
	WRITE_ONCE(ipd->mcast.sa_absent, false);
	spin_unlock_bh(&ipd->mcast.lock);
}

static void ipoib_mcast_refused(struct ipoib_dev *ipd,
				struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	group->status = group->next ? group->next->status : -ENOMEM;
	ipoib_mcast_complain(ipd, group, group->status);
	ipoib_mcast_count_refusal(ipd, group, group->status);
	ipoib_mcast_step(ipd, group, IPOIB_MC_REFUSAL);
	if (group->kind == IPOIB_MCAST_BROADCAST &&
	    ipoib_sa_is_no(group->status))
		ipoib_mcast_ask_why(ipd);
	if (ipoib_mcast_falls_back(ipd, group)) {
		group->in_full = true;
		group->retry_at = jiffies;
		return;
	}
	if (group->confirm && group->refusals >= IPOIB_CONFIRM_REFUSALS)
		group->confirm = false;
	else if (ipoib_mcast_is_over(group))
		ipoib_mcast_step(ipd, group, IPOIB_MC_EXPIRED);
	ipoib_mcast_tire(ipd, group);
}

/* Senders found it under RCU; ib_sa's callbacks are over when this returns. */
static void ipoib_mcast_end(struct ipoib_dev *ipd, struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	struct sk_buff_head parked;

	spin_lock_bh(&ipd->mcast.lock);
	__ipoib_mcast_unlink(ipd, group);
	spin_unlock_bh(&ipd->mcast.lock);

	ipoib_mcast_step(ipd, group, IPOIB_MC_STOP);
	ipoib_mcast_take_parked(ipd, group, &parked);
	ipoib_parked_drop(ipd, &parked, IPOIB_DROP_TX_FORGOTTEN);
	kfree_rcu(group, rcu);
}

/* ---- work ---- */

static unsigned long ipoib_mcast_idle_time(void)
{
	return 2 * max_t(unsigned long, READ_ONCE(arp_tbl.gc_interval), HZ);
}

/* Are the link's parameters what the subnet administrator last said? */
static bool __ipoib_mcast_link_is_sure(const struct ipoib_dev *ipd)
	__must_hold(&ipd->mcast.lock)
{
	const struct ipoib_mcast *link = ipd->mcast.broadcast;

	return link && link->state == IPOIB_MCAST_ATTACHED && !link->renew &&
	       link->cur->state == IPOIB_MEMBER_GRANTED;
}

/*
 * Who asks for a group may be the one that makes it, and makes it from the
 * broadcast group's parameters: so that one comes first. Then so many ask at
 * once: an answer lets the next one ask.
 */
static bool __ipoib_mcast_may_ask(const struct ipoib_dev *ipd,
				  const struct ipoib_mcast *group)
	__must_hold(&ipd->mcast.lock)
{
	lockdep_assert_held(&ipd->mcast.lock);

	if (group->kind == IPOIB_MCAST_BROADCAST)
		return true;

	return __ipoib_mcast_link_is_sure(ipd) &&
	       (ipoib_mcast_is_asking(group->state) ||
		ipd->mcast.num_asking < IPOIB_JOINS_MOST);
}

/* It would have asked by now, if it might. */
static bool __ipoib_mcast_is_held_up(const struct ipoib_mcast *group)
{
	return group->state == IPOIB_MCAST_IDLE || group->renew ||
	       (group->cur && group->cur->state == IPOIB_MEMBER_VOID) ||
	       (group->next && group->next->state == IPOIB_MEMBER_VOID);
}

static bool __ipoib_mcast_will_retry(const struct ipoib_mcast *group)
{
	if (group->state == IPOIB_MCAST_STALE)
		return true;

	/* a group that nobody waits for is asked for by the next packet */
	return group->state == IPOIB_MCAST_BACKOFF &&
	       (group->kind != IPOIB_MCAST_SEND_ONLY ||
		!skb_queue_empty(&group->parked));
}

/* What happens to the group without any news, and when. */
static enum ipoib_mcast_event
__ipoib_mcast_alarm(const struct ipoib_dev *ipd,
		    const struct ipoib_mcast *group, unsigned long *at)
	__must_hold(&ipd->mcast.lock)
{
	if (__ipoib_mcast_will_retry(group) &&
	    __ipoib_mcast_may_ask(ipd, group)) {
		*at = group->retry_at;
		return IPOIB_MC_RETRY;
	}

	if (group->kind != IPOIB_MCAST_SEND_ONLY)
		return IPOIB_MC_NONE;
	*at = READ_ONCE(group->used) + ipoib_mcast_idle_time();
	return IPOIB_MC_STOP;
}

/*
 * A membership in force that is void is only noted while its successor is out:
 * ib_sa sends a request again that was out when it voided the others.
 */
static bool __ipoib_mcast_wants_renewal(struct ipoib_mcast *group)
{
	bool renew = group->renew;

	group->renew = false;
	if (group->cur && group->cur->state == IPOIB_MEMBER_VOID) {
		group->cur->state = IPOIB_MEMBER_NOTED;
		renew |= !group->next;
	}
	if (group->next && group->next->state == IPOIB_MEMBER_VOID)
		renew = true;

	return renew;
}

static enum ipoib_mcast_event
__ipoib_mcast_answer(const struct ipoib_mcast *group)
{
	if (!ipoib_mcast_is_asking(group->state))
		return IPOIB_MC_NONE;
	if (!group->next || group->next->state == IPOIB_MEMBER_REFUSED)
		return IPOIB_MC_REFUSAL;
	if (group->next->state == IPOIB_MEMBER_GRANTED)
		return IPOIB_MC_ANSWER;

	return IPOIB_MC_NONE;
}

/* What the notes left for a group add up to; takes them. */
static enum ipoib_mcast_event __ipoib_mcast_due(struct ipoib_dev *ipd,
						struct ipoib_mcast *group)
	__must_hold(&ipd->mcast.lock)
{
	enum ipoib_mcast_event event;
	unsigned long at;

	lockdep_assert_held(&ipd->mcast.lock);

	if (group->unwanted)
		return IPOIB_MC_STOP;

	/* first: a renewal would let go of what has just been granted */
	event = __ipoib_mcast_answer(group);
	if (event != IPOIB_MC_NONE)
		return event;

	if (__ipoib_mcast_may_ask(ipd, group)) {
		if (group->state == IPOIB_MCAST_IDLE)
			return IPOIB_MC_START;
		if (__ipoib_mcast_wants_renewal(group))
			return IPOIB_MC_RENEW;
	}

	event = __ipoib_mcast_alarm(ipd, group, &at);
	if (event == IPOIB_MC_NONE || time_before(jiffies, at))
		return IPOIB_MC_NONE;

	return event;
}

static enum ipoib_mcast_event ipoib_mcast_event_due(struct ipoib_dev *ipd,
						    struct ipoib_mcast *group)
{
	enum ipoib_mcast_event event;

	spin_lock_bh(&ipd->mcast.lock);
	event = __ipoib_mcast_due(ipd, group);
	spin_unlock_bh(&ipd->mcast.lock);

	return event;
}

/* Moves a group as far as it goes by itself; true when it is gone then. */
static bool ipoib_mcast_advance(struct ipoib_dev *ipd,
				struct ipoib_mcast *group)
	__must_hold(&ipd->link.lock)
{
	enum ipoib_mcast_event event;

	while ((event = ipoib_mcast_event_due(ipd, group)) != IPOIB_MC_NONE) {
		switch (event) {
		case IPOIB_MC_STOP:
			ipoib_mcast_end(ipd, group);
			return true;
		case IPOIB_MC_ANSWER:
			ipoib_mcast_granted(ipd, group);
			break;
		case IPOIB_MC_REFUSAL:
			ipoib_mcast_refused(ipd, group);
			break;
		default:
			ipoib_mcast_step(ipd, group, event);
			break;
		}
	}

	return false;
}

/* Only the holder of link.lock unlinks groups, so the list stays good. */
static void ipoib_mcast_list(struct ipoib_dev *ipd, struct list_head *list)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->link.lock);

	spin_lock_bh(&ipd->mcast.lock);
	list_for_each_entry(group, &ipd->mcast.groups, entry)
		list_add_tail(&group->todo, list);
	spin_unlock_bh(&ipd->mcast.lock);
}

static bool ipoib_mcast_next_alarm(struct ipoib_dev *ipd, unsigned long *delay)
{
	struct ipoib_mcast *group;
	bool any = false;
	unsigned long at;
	long left;

	*delay = MAX_JIFFY_OFFSET;
	spin_lock_bh(&ipd->mcast.lock);
	if (ipd->mcast.accepting && test_bit(0, &ipd->mcast.sync_wanted)) {
		*delay = msecs_to_jiffies(IPOIB_SYNC_AGAIN_MS);
		any = true;
	}
	list_for_each_entry(group, &ipd->mcast.groups, entry) {
		if (__ipoib_mcast_is_held_up(group) &&
		    __ipoib_mcast_may_ask(ipd, group))
			at = jiffies;
		else if (__ipoib_mcast_alarm(ipd, group, &at) == IPOIB_MC_NONE)
			continue;
		any = true;
		left = at - jiffies;
		*delay = min_t(unsigned long, *delay, max(left, 1L));
	}
	spin_unlock_bh(&ipd->mcast.lock);

	return any;
}

/* ---- wanted groups ---- */

/* Maps an entry of the stack's list; false for what is no IP group of ours. */
static bool ipoib_mcast_map(const u8 *addr, const union ib_gid *broadcast,
			    union ib_gid *mgid)
{
	struct ipoib_mgid link;
	struct ipoib_hwaddr ha;

	memcpy(&ha, addr, sizeof(ha));
	memcpy(&link, broadcast, sizeof(link));
	if (!ipoib_mgid_is_ip(ipoib_hwaddr_mgid(&ha)))
		return false;

	ipoib_mgid_rebase(ipoib_hwaddr_mgid(&ha), &link);
	*mgid = ipoib_hwaddr_gid(&ha);
	return memcmp(mgid, broadcast, sizeof(*mgid));
}

/*
 * Has somebody else joined it, to receive it? ib_sa keeps a record for as long
 * as a leave takes, but not the bit. That of a group we ourselves are in with a
 * full membership says nothing, nor does that of one a sibling is in.
 */
static bool ipoib_mcast_left_to_user(struct ipoib_dev *ipd, union ib_gid *mgid,
				     const struct ipoib_mcast *own)
{
	struct ib_sa_mcmember_rec rec;
	union ib_gid by;

	if (!READ_ONCE(ipd->umcast))
		return false;
	if (own && (own->kind != IPOIB_MCAST_SEND_ONLY || own->in_full))
		return false;

	return !ib_sa_get_mcmember_rec(ipd->ibdev, ipd->port, mgid, &rec) &&
	       rec.join_state & BIT(FULLMEMBER_JOIN) &&
	       !ipoib_membership_find(ipd, mgid, ipoib_membership_receives,
				      &by);
}

static int __ipoib_mcast_want(struct ipoib_dev *ipd, union ib_gid *mgid)
	__must_hold(&ipd->mcast.lock)
{
	struct ipoib_mcast *group = __ipoib_mcast_find(ipd, mgid);

	if (ipoib_mcast_left_to_user(ipd, mgid, group))
		return 0;
	if (!group)
		group = __ipoib_mcast_add(ipd, mgid, IPOIB_MCAST_FULL);
	if (!group)
		return -ENOMEM;

	if (group->kind == IPOIB_MCAST_SEND_ONLY) {
		group->kind = IPOIB_MCAST_FULL;
		ipd->mcast.num_send_only--;
		group->renew = true;
	}
	group->sync = ipd->mcast.sync;
	group->unwanted = false;
	return 0;
}

static void __ipoib_mcast_unwant_rest(struct ipoib_dev *ipd)
	__must_hold(&ipd->mcast.lock)
{
	struct ipoib_mcast *group;

	list_for_each_entry(group, &ipd->mcast.groups, entry)
		if (group->kind == IPOIB_MCAST_FULL &&
		    group->sync != ipd->mcast.sync)
			group->unwanted = true;
}

/*
 * Compares the stack's list with the groups that are there. Runs while the
 * broadcast group works: the others are made from its parameters.
 */
static void ipoib_mcast_sync(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct net_device *dev = ipd->netdev;
	struct netdev_hw_addr *entry;
	union ib_gid mgid;
	int err = 0;

	lockdep_assert_held(&ipd->link.lock);

	netif_addr_lock_bh(dev);
	spin_lock(&ipd->mcast.lock);
	ipd->mcast.sync++;
	netdev_for_each_mc_addr(entry, dev)
		if (ipoib_mcast_map(entry->addr, &ipd->link.broadcast, &mgid))
			err = __ipoib_mcast_want(ipd, &mgid) ?: err;
	if (!err)
		__ipoib_mcast_unwant_rest(ipd);
	spin_unlock(&ipd->mcast.lock);
	netif_addr_unlock_bh(dev);

	/* no memory for some: the work looks again in a moment */
	if (err)
		set_bit(0, &ipd->mcast.sync_wanted);
}

/**
 * ipoib_mcast_sync_later() - note that the stack's multicast list changed
 * @ipd: interface
 *
 * Context: any.
 */
void ipoib_mcast_sync_later(struct ipoib_dev *ipd)
{
	set_bit(0, &ipd->mcast.sync_wanted);
	ipoib_mcast_kick(ipd);
}

/* ---- link's group ---- */

/**
 * ipoib_mcast_join_broadcast() - start on the way to carrier
 * @ipd: interface
 *
 * Joins the group link.broadcast names, unless that is under way. Without the
 * memory for it the work calls this again in a moment.
 */
void ipoib_mcast_join_broadcast(struct ipoib_dev *ipd)
{
	struct ipoib_mcast_table *mcast = &ipd->mcast;

	lockdep_assert_held(&ipd->link.lock);

	spin_lock_bh(&mcast->lock);
	if (!mcast->broadcast) {
		memcpy(&mcast->link_mgid, &ipd->link.broadcast,
		       sizeof(mcast->link_mgid));
		mcast->broadcast = __ipoib_mcast_add(ipd, &ipd->link.broadcast,
						     IPOIB_MCAST_BROADCAST);
	}
	mcast->lacks_broadcast = !mcast->broadcast;
	spin_unlock_bh(&mcast->lock);

	mod_delayed_work(ipd->wq, &mcast->work, mcast->lacks_broadcast ?
			 msecs_to_jiffies(IPOIB_SYNC_AGAIN_MS) : 0);
}

static bool ipoib_mcast_is_accepting(struct ipoib_dev *ipd)
{
	bool accepting;

	spin_lock_bh(&ipd->mcast.lock);
	accepting = ipd->mcast.accepting;
	spin_unlock_bh(&ipd->mcast.lock);

	return accepting;
}

static void ipoib_mcast_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     mcast.work.work);
	struct ipoib_mcast *group, *next;
	unsigned long delay;
	LIST_HEAD(list);

	mutex_lock(&ipd->link.lock);
	if (ipd->mcast.lacks_broadcast)
		ipoib_mcast_join_broadcast(ipd);
	if (ipoib_mcast_is_accepting(ipd) &&
	    test_and_clear_bit(0, &ipd->mcast.sync_wanted))
		ipoib_mcast_sync(ipd);

	ipoib_mcast_list(ipd, &list);
	list_for_each_entry_safe(group, next, &list, todo) {
		list_del_init(&group->todo);
		ipoib_mcast_advance(ipd, group);
	}
	mutex_unlock(&ipd->link.lock);

	if (ipoib_mcast_next_alarm(ipd, &delay))
		queue_delayed_work(ipd->wq, &ipd->mcast.work, delay);
}

/* ---- sending ---- */

static bool __ipoib_mcast_has_room(const struct ipoib_dev *ipd,
				   const struct ipoib_mcast *group, u32 bytes)
	__must_hold(&ipd->mcast.lock)
{
	return skb_queue_len(&group->parked) < IPOIB_MCAST_PARKED_MOST &&
	       ipd->mcast.parked_bytes + bytes <= IPOIB_GROUPS_PARKED_MOST &&
	       atomic_read(&ipd->pending_bytes) + bytes <=
			IPOIB_ALL_PARKED_MOST;
}

/*
 * The group cannot be sent to yet: keep the packet, and see that the group is
 * joined. Hands back an address handle when somebody was faster. Caller is in
 * an RCU read section.
 */
static const struct ipoib_ah *ipoib_mcast_park_rcu(struct ipoib_dev *ipd,
						   struct sk_buff *skb,
						   const union ib_gid *mgid)
{
	struct ipoib_mcast_table *mcast = &ipd->mcast;
	enum ipoib_drop_reason reason;
	const struct ipoib_ah *ah = NULL;
	struct ipoib_mcast *group;

	spin_lock_bh(&mcast->lock);
	reason = IPOIB_DROP_TX_LINK;
	if (!mcast->accepting)
		goto drop;
	reason = IPOIB_DROP_TX_PARK_FULL;
	group = __ipoib_mcast_find(ipd, mgid);
	if (!group && mcast->num_send_only >= IPOIB_SEND_ONLY_MOST)
		goto drop;
	reason = IPOIB_DROP_TX_NO_MEM;
	if (!group)
		group = __ipoib_mcast_add(ipd, mgid, IPOIB_MCAST_SEND_ONLY);
	if (!group)
		goto drop;

	ah = rcu_dereference_protected(group->ah,
				       lockdep_is_held(&mcast->lock));
	if (ah)
		goto unlock;

	reason = IPOIB_DROP_TX_PARK_FULL;
	if (!__ipoib_mcast_has_room(ipd, group, skb->truesize))
		goto drop;
	__skb_queue_tail(&group->parked, skb);
	group->parked_bytes += skb->truesize;
	mcast->parked_bytes += skb->truesize;
	atomic_add(skb->truesize, &ipd->pending_bytes);
	WRITE_ONCE(group->used, jiffies);
unlock:
	spin_unlock_bh(&mcast->lock);
	if (!ah)
		ipoib_mcast_kick(ipd);
	return ah;

drop:
	spin_unlock_bh(&mcast->lock);
	ipoib_drop(ipd, skb, reason);
	return NULL;
}

/**
 * ipoib_mcast_resolve_rcu() - find the way to a group
 * @ipd: interface
 * @skb: packet with its in-host header
 * @ha: its destination, maybe mapped for an earlier P_Key or scope of the link
 *
 * Context: ndo_start_xmit, in an RCU read section.
 *
 * Return: the address handle, good for as long as the read section; or NULL,
 * and then the packet is parked or dropped.
 */
const struct ipoib_ah *ipoib_mcast_resolve_rcu(struct ipoib_dev *ipd,
					       struct sk_buff *skb,
					       const struct ipoib_hwaddr *ha)
{
	struct ipoib_hwaddr to = *ha;
	const struct ipoib_ah *ah = NULL;
	struct ipoib_mcast *group;
	union ib_gid mgid;

	ipoib_mgid_rebase(ipoib_hwaddr_mgid(&to), &ipd->mcast.link_mgid);
	mgid = ipoib_hwaddr_gid(&to);

	group = rhashtable_lookup(&ipd->mcast.table, &mgid, ipoib_mcast_params);
	if (likely(group))
		ah = rcu_dereference(group->ah);
	if (unlikely(!ah))
		return ipoib_mcast_park_rcu(ipd, skb, &mgid);

	if (time_after(jiffies, READ_ONCE(group->used)))
		WRITE_ONCE(group->used, jiffies);

	return ah;
}

/* ---- link's orders ---- */

/**
 * ipoib_mcast_leave_all() - leave every group, and take no new ones
 * @ipd: interface
 *
 * Parked packets are dropped. Sleeps; sends leave requests, waits for none.
 */
void ipoib_mcast_leave_all(struct ipoib_dev *ipd)
{
	struct ipoib_mcast *group, *next;
	LIST_HEAD(list);

	lockdep_assert_held(&ipd->link.lock);

	spin_lock_bh(&ipd->mcast.lock);
	ipd->mcast.accepting = false;
	spin_unlock_bh(&ipd->mcast.lock);
	ipd->mcast.lacks_broadcast = false;

	ipoib_mcast_list(ipd, &list);
	list_for_each_entry_safe(group, next, &list, todo)
		ipoib_mcast_end(ipd, group);
	ipoib_mcast_undo(ipd, NULL);
	ipoib_mcast_forget_why(ipd);
	cancel_delayed_work(&ipd->mcast.work);
}

/**
 * ipoib_mcast_renew_all() - join every group anew, using the old memberships on
 * @ipd: interface
 *
 * The broadcast group first, then the others with what it has become.
 */
void ipoib_mcast_renew_all(struct ipoib_dev *ipd)
{
	struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->link.lock);

	spin_lock_bh(&ipd->mcast.lock);
	list_for_each_entry(group, &ipd->mcast.groups, entry) {
		group->renew = group->state != IPOIB_MCAST_IDLE;
		group->confirm = false;
		/* it may be another one that knows better */
		group->in_full = false;
		group->retry = (struct ipoib_retry){};
		group->refusals = 0;
	}
	spin_unlock_bh(&ipd->mcast.lock);

	ipoib_mcast_kick(ipd);
}

/**
 * ipoib_mcast_confirm_all() - see that the subnet manager knows each membership
 * @ipd: interface
 *
 * One that takes over may know none, and ask nobody to register; and ib_core
 * answers a join by itself where the port is a member already. But not where it
 * is to be one in another way as well (IBA 15.2.5.17, JoinState): that request
 * it sends. Who knows the port adds to its membership, who does not makes it a
 * member; then it goes back to the one way, which sends another request but
 * ends no membership.
 */
void ipoib_mcast_confirm_all(struct ipoib_dev *ipd)
{
	struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->link.lock);

	spin_lock_bh(&ipd->mcast.lock);
	list_for_each_entry(group, &ipd->mcast.groups, entry) {
		if (!ipoib_mcast_works(group->state))
			continue;
		group->renew = true;
		group->confirm = true;
		group->refusals = 0;
	}
	spin_unlock_bh(&ipd->mcast.lock);

	ipoib_mcast_kick(ipd);
}

/**
 * ipoib_mcast_broadcast_view() - how does the broadcast group stand?
 * @ipd: interface
 * @bcast: the answer; only @up says anything while the group does not work
 */
void ipoib_mcast_broadcast_view(struct ipoib_dev *ipd,
				struct ipoib_bcast *bcast)
{
	const struct ib_sa_mcmember_rec *rec = &ipd->mcast.link_rec;
	const struct ipoib_mcast *group;

	memset(bcast, 0, sizeof(*bcast));
	spin_lock_bh(&ipd->mcast.lock);
	group = ipd->mcast.broadcast;
	bcast->up = group && ipoib_mcast_works(group->state) &&
		    ipd->mcast.accepting;
	if (bcast->up)
		ipoib_mcast_read_rec(ipd, rec, bcast);
	spin_unlock_bh(&ipd->mcast.lock);
}

/**
 * ipoib_mcast_broadcast_trouble() - what keeps the broadcast group from working
 * @ipd: interface
 * @status: errno of the last attempt, or 0
 * @tries: attempts that failed in a row
 */
void ipoib_mcast_broadcast_trouble(struct ipoib_dev *ipd, int *status,
				   u32 *tries)
{
	const struct ipoib_mcast *group;

	lockdep_assert_held(&ipd->link.lock);

	*status = 0;
	*tries = 0;
	spin_lock_bh(&ipd->mcast.lock);
	group = ipd->mcast.broadcast;
	if (group && group->retry.failures) {
		*status = group->status;
		*tries = group->retry.failures;
	}
	if (ipoib_sa_is_no(*status) &&
	    ipoib_mcast_is_too_wide(ipd, ipd->mcast.refused_mtu_bytes))
		*status = -EMSGSIZE;
	else if (ipoib_sa_is_no(*status) && ipd->mcast.sa_absent)
		*status = -EHOSTUNREACH;
	spin_unlock_bh(&ipd->mcast.lock);
}

/**
 * ipoib_mcast_list_groups() - describe all groups
 * @ipd: interface
 * @info: where to; or NULL, to ask how many there may be
 * @most: room there
 *
 * Return: how many were described, or room for how many is needed.
 */
unsigned int ipoib_mcast_list_groups(struct ipoib_dev *ipd,
				     struct ipoib_mcast_info *info,
				     unsigned int most)
{
	const struct ipoib_mcast *group;
	unsigned int count = 0;

	/* some may come until the caller is back with the memory */
	if (!info)
		return atomic_read(&ipd->mcast.table.nelems) + 16;

	spin_lock_bh(&ipd->mcast.lock);
	list_for_each_entry(group, &ipd->mcast.groups, entry) {
		if (count == most)
			break;
		info[count].mgid = group->mgid;
		info[count].created = group->created;
		info[count].parked = skb_queue_len(&group->parked);
		info[count].complete = ipoib_mcast_works(group->state);
		info[count].send_only = group->kind == IPOIB_MCAST_SEND_ONLY;
		count++;
	}
	spin_unlock_bh(&ipd->mcast.lock);

	return count;
}

/* ---- set-up ---- */

/**
 * ipoib_mcast_init() - make the table
 * @ipd: interface
 *
 * Return: 0 or an errno.
 */
int ipoib_mcast_init(struct ipoib_dev *ipd)
{
	return rhashtable_init(&ipd->mcast.table, &ipoib_mcast_params);
}

/**
 * ipoib_mcast_exit() - end what is at work on the table of groups
 * @ipd: interface; unregistered, every group left
 */
void ipoib_mcast_exit(struct ipoib_dev *ipd)
{
	struct ipoib_mcast_undone *undone, *next;

	cancel_delayed_work_sync(&ipd->mcast.work);
	wait_var_event(&ipd->mcast.asking_why,
		       /* pairs with the release in ipoib_mcast_why_done() */
		       !smp_load_acquire(&ipd->mcast.asking_why));
	/* of a queue pair that is gone, or that the HCA keeps */
	list_for_each_entry_safe(undone, next, &ipd->mcast.undone, entry)
		kfree(undone);
}

/**
 * ipoib_mcast_destroy() - undo ipoib_mcast_init()
 * @ipd: interface, after ipoib_mcast_exit()
 *
 * Context: process; may take as long as a grace period.
 */
void ipoib_mcast_destroy(struct ipoib_dev *ipd)
{
	rhashtable_destroy(&ipd->mcast.table);
}

/**
 * ipoib_mcast_init_early() - make the parts that live as long as the interface
 * @ipd: interface
 */
void ipoib_mcast_init_early(struct ipoib_dev *ipd)
{
	spin_lock_init(&ipd->mcast.lock);
	INIT_LIST_HEAD(&ipd->mcast.groups);
	INIT_LIST_HEAD(&ipd->mcast.undone);
	INIT_DELAYED_WORK(&ipd->mcast.work, ipoib_mcast_work);
	INIT_LIST_HEAD(&ipd->mcast.why.entry);
	ipd->mcast.why.done = ipoib_mcast_why_done;
}
