// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * In what state is an interface's link, and what follows from that?
 *
 * Reads the levels that decide it, compares them with what was last acted on,
 * takes the step and does what it asks for: who the interface is in the port's
 * tables now, a transport that is closed and opened anew, carrier and MTU. Not
 * here: what the states are (ipoib_wire.h), how groups and paths are kept,
 * which netdev it is and what a user may set (ipoib_main.c).
 *
 * Stages: levels, link, identity, transport, jobs under RTNL, open and stop,
 * events.
 */
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/string.h>

#include <net/netdev_lock.h>
#include <net/sch_generic.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* events handled in one go before others on the queue get their turn */
#define IPOIB_LINK_ROUNDS	16

/* between two looks for what a link waits for, without any event */
#define IPOIB_POLL_FIRST_MS	100
#define IPOIB_POLL_MOST_MS	5000
#define IPOIB_LINK_POLLS_MOST	16U

/*
 * A subnet manager that takes over and wants registrations asks for them within
 * that time; and not all ports of a subnet ask it at once.
 */
#define IPOIB_CONFIRM_MS	2000

/* peers are told so often of a new address, and with so much time between */
#define IPOIB_ANNOUNCEMENTS	3
#define IPOIB_ANNOUNCE_MS	1000

/* wait before a restart that failed is tried again */
#define IPOIB_RESTART_FIRST_MS	100
#define IPOIB_RESTART_MOST_MS	10000

/* ---- levels ---- */

/*
 * Where a P_Key is in the port's table, as full member if it is that anywhere.
 * ib_core reads the table before it tells of a change; the HCA itself is asked
 * for a key that is not there alone, because events get lost. -ENOENT when that
 * has none either.
 */
static int ipoib_pkey_index(struct ipoib_dev *ipd, u16 pkey, u16 *index)
{
	if (!pkey)
		return -ENOENT;
	if (!ib_find_cached_pkey(ipd->ibdev, ipd->port, pkey, index))
		return 0;

	return ib_find_pkey(ipd->ibdev, ipd->port, pkey, index);
}

static int ipoib_pkey_look(struct ipoib_dev *ipd, u16 pkey,
			   struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	view->pkey = pkey;
	return ipoib_pkey_index(ipd, pkey, &view->pkey_index);
}

/*
 * A parent keeps the P_Key it came up with wherever it moves to in the table,
 * takes the first entry only when its own is gone, and goes home when that
 * comes back. A child's is for life. A query that fails is no change.
 */
static void ipoib_pkey_find(struct ipoib_dev *ipd, struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	int err;

	err = ipoib_pkey_look(ipd, ipd->home_pkey, view);
	if (err == -ENOENT)
		err = ipoib_pkey_look(ipd, ipd->link.pkey, view);
	if (err == -ENOENT) {
		view->pkey = 0;
		view->pkey_index = 0;
		if (!ipd->parent)
			err = ipoib_port_pkey(ipd->ibdev, ipd->port, 0,
					      &view->pkey);
	}
	if (err && err != -ENOENT) {
		view->pkey = ipd->link.acted.pkey;
		view->pkey_index = ipd->link.acted.pkey_index;
	}
}

/*
 * The GID that the interface should have now: the port's first, or with a GUID
 * of its own, which the port may not have yet. False when nothing is known.
 */
static bool ipoib_gid_wanted(struct ipoib_dev *ipd, union ib_gid *gid)
	__must_hold(&ipd->link.lock)
{
	if (ipoib_port_gid(ipd->ibdev, ipd->port, gid))
		return false;
	if (ipd->link.alias)
		gid->global.interface_id = ipd->link.alias;

	return true;
}

/* Reads whether own GID is the one wanted now, and whether the port has it. */
static void ipoib_gid_look(struct ipoib_dev *ipd, struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	const union ib_gid *own = &ipd->link.gid;
	union ib_gid wanted;
	bool differs;

	differs = ipoib_gid_wanted(ipd, &wanted) &&
		  memcmp(&wanted, own, sizeof(wanted));
	/* the job reads it again when it runs, and then has the link look */
	view->gid_changed = differs && !test_bit(IPOIB_RTNL_READDRESS,
						 &ipd->link.jobs);
	view->gid_valid = !differs &&
			  ipoib_port_gid_index(ipd->ibdev, ipd->port, own) >= 0;
}

/*
 * A subnet manager that moves a P_Key takes it out of one block of the table
 * and puts it into another, and ib_core rewrites its GIDs one by one. What a
 * link that works needs is there until a second look misses it, too.
 */
static void ipoib_link_confirm(struct ipoib_dev *ipd,
			       struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	const struct ipoib_link_view *acted = &ipd->link.acted;
	bool no_pkey, no_gid;

	no_pkey = acted->pkey && view->pkey != acted->pkey &&
		  (!view->pkey || view->pkey != ipd->home_pkey);
	if (ipoib_absence_is_sure(&ipd->link.no_pkey, no_pkey, jiffies))
		no_pkey = false;
	if (no_pkey) {
		view->pkey = acted->pkey;
		view->pkey_index = acted->pkey_index;
	}

	no_gid = acted->gid_valid && !view->gid_valid;
	if (ipoib_absence_is_sure(&ipd->link.no_gid, no_gid, jiffies))
		no_gid = false;
	if (no_gid)
		view->gid_valid = true;

	if (no_pkey || no_gid)
		mod_delayed_work(ipd->wq, &ipd->link.poll_work,
				 msecs_to_jiffies(IPOIB_ABSENCE_MS));
}

static void ipoib_link_read(struct ipoib_dev *ipd, struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	/* of a port that does not answer the last known values stand */
	*view = ipd->link.seen;
	ipoib_port_view(ipd->ibdev, ipd->port, view);
	ipoib_pkey_find(ipd, view);
	ipoib_mcast_broadcast_view(ipd, &view->bcast);
	ipoib_gid_look(ipd, view);
	/* a link that is down has nothing to lose, and polls nothing */
	if (ipd->link.state == IPOIB_LINK_JOINING ||
	    ipd->link.state == IPOIB_LINK_ACTIVE)
		ipoib_link_confirm(ipd, view);
	view->ready = view->port_serves && view->gid_valid &&
		      !view->gid_changed &&
		      !test_bit(IPOIB_RTNL_READDRESS, &ipd->link.jobs) &&
		      !test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
	ipd->link.seen = *view;
}

/* ---- link ---- */

/* Without the lock it may change any moment, as it may after this returned. */
static bool ipoib_link_is(struct ipoib_dev *ipd, enum ipoib_link_state state)
{
	return READ_ONCE(ipd->link.state) == state;
}

/*
 * What is queued holds the netdev: a child may be unregistered by somebody who
 * holds RTNL, which the work waits for.
 */
static void ipoib_rtnl_queue(struct ipoib_dev *ipd, u32 delay_ms)
{
	dev_hold(ipd->netdev);
	if (!queue_delayed_work(ipd->hca->rtnl_wq, &ipd->link.rtnl_work,
				msecs_to_jiffies(delay_ms)))
		dev_put(ipd->netdev);
}

static void ipoib_rtnl_job(struct ipoib_dev *ipd, enum ipoib_rtnl_job job)
{
	set_bit(job, &ipd->link.jobs);
	dev_hold(ipd->netdev);
	if (mod_delayed_work(ipd->hca->rtnl_wq, &ipd->link.rtnl_work, 0))
		dev_put(ipd->netdev);
}

/**
 * ipoib_link_recreate_queues() - have lost transmit queues recreated
 * @ipd: interface
 *
 * Those of ud.lost but the first; that takes RTNL.
 *
 * Context: process.
 */
void ipoib_link_recreate_queues(struct ipoib_dev *ipd)
{
	ipoib_rtnl_job(ipd, IPOIB_RTNL_QUEUES);
}

/* The broadcast group's parameters are those of every packet from here on. */
static void ipoib_link_adopt(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	const struct ipoib_bcast *bcast = &ipd->link.acted.bcast;

	WRITE_ONCE(ipoib_rn(ipd)->mtu, ipoib_ud_mtu_bytes(bcast->mtu_bytes));
	ipoib_dbg(ipd, "group MTU %u, MLID %#x, Q_Key %#x, SL %u, rate %u\n",
		  bcast->mtu_bytes, bcast->mlid, bcast->qkey, bcast->sl,
		  bcast->rate);
}

/* With link.lock held, while the link works: ipoib_link_stop() cancels it. */
static void ipoib_link_confirm_later(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	u32 wait_ms = ipoib_spread_ms(IPOIB_CONFIRM_MS, get_random_u32());

	queue_delayed_work(ipd->wq, &ipd->link.confirm_work,
			   msecs_to_jiffies(wait_ms));
}

static void ipoib_link_confirm_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     link.confirm_work.work);

	mutex_lock(&ipd->link.lock);
	if (ipd->link.state == IPOIB_LINK_ACTIVE)
		ipoib_mcast_confirm_all(ipd);
	mutex_unlock(&ipd->link.lock);
}

/* Groups, paths and the address know nothing of the index. */
static void ipoib_link_reindex(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	u16 index = ipd->link.acted.pkey_index;
	struct rdma_netdev *rn = ipoib_rn(ipd);

	if (rn->set_id)
		rn->set_id(ipd->netdev, index);
	/* a lower driver's own queue pairs take it when they are started */
	if (!ipoib_ud_move_pkey(ipd, index))
		ipoib_link_post(ipd, IPOIB_EV_BROKEN);
}

static void ipoib_link_do(struct ipoib_dev *ipd, enum ipoib_link_action action)
	__must_hold(&ipd->link.lock)
{
	switch (action) {
	case IPOIB_ACT_CARRIER_OFF:
		netif_carrier_off(ipd->netdev);
		break;
	case IPOIB_ACT_LEAVE:
		cancel_delayed_work(&ipd->link.confirm_work);
		ipoib_mcast_leave_all(ipd);
		ipd->link.acted.bcast.up = false;
		break;
	case IPOIB_ACT_FORGET:
		ipoib_resolve_forget(ipd);
		break;
	case IPOIB_ACT_HEAL:
		mod_delayed_work(ipd->wq, &ipd->ud.heal_work, 0);
		break;
	case IPOIB_ACT_RESTART:
		ipd->link.acted.ready = false;
		ipoib_rtnl_job(ipd, IPOIB_RTNL_RESTART);
		break;
	case IPOIB_ACT_REINDEX:
		ipoib_link_reindex(ipd);
		break;
	case IPOIB_ACT_READDRESS:
		ipoib_rtnl_job(ipd, IPOIB_RTNL_READDRESS);
		break;
	case IPOIB_ACT_ACCEPT:
		ipoib_resolve_accept(ipd);
		break;
	case IPOIB_ACT_JOIN:
		/* otherwise RESUMED comes when it is */
		if (ipd->link.acted.ready)
			ipoib_mcast_join_broadcast(ipd);
		break;
	case IPOIB_ACT_CONFIRM:
		ipoib_link_confirm_later(ipd);
		break;
	case IPOIB_ACT_RENEW:
		/* ib_core has none on record then, and asks for each */
		cancel_delayed_work(&ipd->link.confirm_work);
		ipoib_mcast_renew_all(ipd);
		break;
	case IPOIB_ACT_STALE:
		ipoib_resolve_refresh(ipd, false);
		break;
	case IPOIB_ACT_REFRESH:
		ipoib_resolve_refresh(ipd, true);
		break;
	case IPOIB_ACT_ADOPT:
		ipoib_link_adopt(ipd);
		break;
	case IPOIB_ACT_SYNC:
		ipoib_mcast_sync_later(ipd);
		break;
	case IPOIB_ACT_CARRIER_ON:
		ipoib_rtnl_job(ipd, IPOIB_RTNL_CARRIER);
		break;
	default:
		WARN_ON_ONCE(1);
	}
}

/* The one place that assigns the link's state. */
static void ipoib_link_set_state(struct ipoib_dev *ipd,
				 enum ipoib_link_event event,
				 enum ipoib_link_state state)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	trace_ipoib_link(ipd->netdev, event, ipd->link.state, state);
	if (state == IPOIB_LINK_NO_PKEY && state != ipd->link.state)
		netdev_info(ipd->netdev,
			    "no carrier: P_Key %#06x is not in the table of port %u\n",
			    ipd->link.pkey, ipd->port);
	WRITE_ONCE(ipd->link.state, state);
}

static void ipoib_link_step(struct ipoib_dev *ipd, enum ipoib_link_event event,
			    const struct ipoib_link_view *now)
	__must_hold(&ipd->link.lock)
{
	const struct ipoib_link_cell *cell;
	unsigned long actions;
	unsigned int action;

	cell = ipoib_link_next(ipd->link.state, event);
	actions = cell->actions;
	ipoib_link_ack(&ipd->link.acted, now, event);
	ipoib_link_set_state(ipd, event, cell->next);
	if (event == IPOIB_EV_STUCK && actions)
		ipoib_ud_report(ipd);
	for_each_set_bit(action, &actions, IPOIB_LINK_ACTIONS)
		ipoib_link_do(ipd, action);
}

/* Looks once, acts on the most urgent difference; false when there is none. */
static bool ipoib_link_turn(struct ipoib_dev *ipd, struct ipoib_link_view *now)
	__must_hold(&ipd->link.lock)
{
	unsigned int event;
	u32 events;

	clear_bit(IPOIB_LINK_LOOK, &ipd->link.posted);
	ipoib_link_read(ipd, now);
	if (!now->ready)
		ipd->link.acted.ready = false;
	if (!now->gid_changed)
		ipd->link.acted.gid_changed = false;

	events = ipoib_link_diff(&ipd->link.acted, now);
	events |= READ_ONCE(ipd->link.posted) & (BIT(IPOIB_LINK_EVENTS) - 1);
	if (!events)
		return false;

	event = __ffs(events);
	clear_bit(event, &ipd->link.posted);
	ipoib_link_step(ipd, event, now);
	return true;
}

/*
 * What a link waits for comes with an event, or so HCAs promise; looking now
 * and then costs little and makes it sure. One that works has to look, too: of
 * a GID of an InfiniBand port that changed ib_core tells no client.
 */
static void ipoib_link_poll(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	bool looks = ipd->link.state == IPOIB_LINK_NO_PKEY ||
		     ipd->link.state == IPOIB_LINK_ACTIVE ||
		     (ipd->link.state == IPOIB_LINK_JOINING &&
		      !ipd->link.acted.ready);
	u32 wait_ms;

	lockdep_assert_held(&ipd->link.lock);

	if (!looks) {
		ipd->link.polls = 0;
		return;
	}
	if (delayed_work_pending(&ipd->link.poll_work))
		return;

	ipd->link.polls = min(ipd->link.polls + 1, IPOIB_LINK_POLLS_MOST);
	wait_ms = ipoib_backoff_ms(ipd->link.polls, IPOIB_POLL_FIRST_MS,
				   IPOIB_POLL_MOST_MS, get_random_u32());
	queue_delayed_work(ipd->wq, &ipd->link.poll_work,
			   msecs_to_jiffies(wait_ms));
}

static void ipoib_link_poll_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     link.poll_work.work);

	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

/* What is known without a query is as of now, and not as of the last look. */
static enum ipoib_link_reason ipoib_link_judge(struct ipoib_dev *ipd,
					       struct ipoib_link_facts *facts)
{
	facts->kept = READ_ONCE(ipd->ud.kept);
	facts->restarting = test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
	facts->carrier = netif_carrier_ok(ipd->netdev);

	return ipoib_link_why(facts);
}

/*
 * Notes what whoever asks for the reason is told; one line for each change of
 * why there is no carrier.
 */
static void ipoib_link_explain(struct ipoib_dev *ipd,
			       const struct ipoib_link_view *now)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_link_facts facts = {
		.state = ipd->link.state,
		.gid_good = now->gid_valid,
		.pkey = ipd->link.pkey,
		.port_active = now->port_active,
		.lid = now->lid,
		.sm_lid = now->sm_lid,
	};
	enum ipoib_link_reason reason;

	lockdep_assert_held(&ipd->link.lock);

	ipoib_mcast_broadcast_trouble(ipd, &facts.status, &facts.tries);
	reason = ipoib_link_judge(ipd, &facts);
	spin_lock(&ipd->link.facts_lock);
	ipd->link.facts = facts;
	spin_unlock(&ipd->link.facts_lock);
	if (reason == ipd->link.reason)
		return;

	ipd->link.reason = reason;
	trace_ipoib_reason(ipd->netdev, reason, facts.status, facts.tries);
	ipoib_dbg(ipd, "link: %s\n", ipoib_link_reason_name(reason));
}

/**
 * ipoib_link_reason() - why has an interface no carrier?
 * @ipd: interface
 * @facts: gets what that was found from
 *
 * Answers from the last look at the link: everybody may ask, as often as they
 * like, and an HCA that is slow holds up nobody.
 *
 * Context: process.
 * Return: the reason that has to go first, or that there is a carrier.
 */
enum ipoib_link_reason ipoib_link_reason(struct ipoib_dev *ipd,
					 struct ipoib_link_facts *facts)
{
	spin_lock(&ipd->link.facts_lock);
	*facts = ipd->link.facts;
	spin_unlock(&ipd->link.facts_lock);

	return ipoib_link_judge(ipd, facts);
}

/**
 * ipoib_link_is_dead() - is the interface on its way out?
 * @ipd: interface
 *
 * Return: true when its HCA or the module goes away.
 */
bool ipoib_link_is_dead(struct ipoib_dev *ipd)
{
	return ipoib_link_is(ipd, IPOIB_LINK_DEAD);
}

static void ipoib_link_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev, link.work);
	struct ipoib_link_view now;
	unsigned int rounds = 0;

	mutex_lock(&ipd->link.lock);
	while (rounds < IPOIB_LINK_ROUNDS && ipoib_link_turn(ipd, &now))
		rounds++;
	ipoib_ud_know_self(ipd, ipd->link.acted.lid);
	ipoib_link_poll(ipd);
	ipoib_link_explain(ipd, &now);
	mutex_unlock(&ipd->link.lock);

	if (rounds == IPOIB_LINK_ROUNDS)
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

/**
 * ipoib_link_pkey() - the P_Key of an interface
 * @ipd: interface
 *
 * Context: any; waits for nothing, as it is asked for under RTNL.
 * Return: its full-member form; 0 when the port's table has never had one.
 */
u16 ipoib_link_pkey(struct ipoib_dev *ipd)
{
	return READ_ONCE(ipd->link.pkey);
}

/* ---- identity ---- */

/* RTNL. Peers are told when the carrier is there, and more than once. */
static void ipoib_announce_later(struct ipoib_dev *ipd)
{
	ipd->announcements = IPOIB_ANNOUNCEMENTS;
	if (netif_carrier_ok(ipd->netdev))
		ipoib_rtnl_job(ipd, IPOIB_RTNL_ANNOUNCE);
}

static void ipoib_identity_notify(struct ipoib_dev *ipd)
{
	if (ipd->netdev->reg_state == NETREG_REGISTERED)
		call_netdevice_notifiers(NETDEV_CHANGEADDR, ipd->netdev);
}

/* RTNL; returns true when the address changed. */
static bool ipoib_identity_take_gid(struct ipoib_dev *ipd)
{
	const unsigned int at = offsetof(struct ipoib_hwaddr, gid);
	bool changed = false;
	union ib_gid gid;

	mutex_lock(&ipd->link.lock);
	if (ipoib_gid_wanted(ipd, &gid)) {
		changed = memcmp(&gid, &ipd->link.gid, sizeof(gid));
		ipd->link.gid = gid;
		/* a change after this one is another one */
		ipd->link.acted.gid_changed = false;
	}
	mutex_unlock(&ipd->link.lock);
	if (!changed)
		return false;

	dev_addr_mod(ipd->netdev, at, gid.raw, sizeof(gid.raw));
	/* the memberships in force, and all paths, are the old one's */
	ipoib_link_post(ipd, IPOIB_EV_JOIN_LOST);
	ipoib_announce_later(ipd);
	return true;
}

/*
 * RTNL. The stack reads the P_Key from the broadcast address, so it is put
 * there, and the link takes over the rest from there.
 */
static void ipoib_identity_take_broadcast(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_hwaddr ha;

	lockdep_assert_held(&ipd->link.lock);

	memcpy(&ha, ipd->netdev->broadcast, sizeof(ha));
	ipoib_hwaddr_mgid(&ha)->pkey = cpu_to_be16(ipd->link.pkey);
	memcpy(ipd->netdev->broadcast, &ha, sizeof(ha));
	ipd->link.broadcast = ipoib_hwaddr_gid(&ha);
}

/* RTNL; returns true when the broadcast address changed. */
static bool ipoib_identity_take_pkey(struct ipoib_dev *ipd)
{
	struct ipoib_link_view view;
	bool changed;

	mutex_lock(&ipd->link.lock);
	ipoib_pkey_find(ipd, &view);
	changed = view.pkey && view.pkey != ipd->link.pkey;
	if (changed && ipd->link.pkey)
		netdev_info(ipd->netdev, "P_Key changes from %#06x to %#06x\n",
			    ipd->link.pkey, view.pkey);
	if (changed)
		WRITE_ONCE(ipd->link.pkey, view.pkey);
	if (!ipd->home_pkey)
		ipd->home_pkey = view.pkey;
	ipoib_identity_take_broadcast(ipd);
	mutex_unlock(&ipd->link.lock);

	return changed;
}

/* RTNL. Address and broadcast address as port and P_Key table have them now. */
static void ipoib_identity_take(struct ipoib_dev *ipd)
{
	bool moved = ipoib_identity_take_gid(ipd);

	if (ipoib_identity_take_pkey(ipd) || moved)
		ipoib_identity_notify(ipd);
}

/**
 * ipoib_identity_init() - give a new interface its address and P_Key
 * @ipd: interface
 *
 * Context: RTNL.
 * Return: 0 or an errno: a port without a GID is not what it says it is.
 */
int ipoib_identity_init(struct ipoib_dev *ipd)
{
	union ib_gid gid;
	int err;

	err = rdma_query_gid(ipd->ibdev, ipd->port, 0, &gid);
	if (err)
		return err;

	mutex_lock(&ipd->link.lock);
	if (ipd->link.alias)
		gid.global.interface_id = ipd->link.alias;
	ipd->link.gid = gid;
	/* a child's key is its own whether the port has it or not */
	WRITE_ONCE(ipd->link.pkey, ipd->home_pkey);
	mutex_unlock(&ipd->link.lock);
	dev_addr_mod(ipd->netdev, offsetof(struct ipoib_hwaddr, gid), gid.raw,
		     sizeof(gid.raw));
	ipoib_identity_take_pkey(ipd);
	ipd->announcements = IPOIB_ANNOUNCEMENTS;
	return 0;
}

/**
 * ipoib_identity_set_guid() - give an interface a GUID of its own
 * @ipd: interface
 * @guid: an alias that the subnet manager gives the port, or will; 0 for the
 *	port's own
 *
 * Context: RTNL.
 */
void ipoib_identity_set_guid(struct ipoib_dev *ipd, __be64 guid)
{
	mutex_lock(&ipd->link.lock);
	ipd->link.alias = guid;
	mutex_unlock(&ipd->link.lock);
	if (ipoib_identity_take_gid(ipd))
		ipoib_identity_notify(ipd);
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

/*
 * RTNL. Of a broadcast address only the scope is the user's. The core has put
 * it into the netdev before, so that what is not followed is taken back there;
 * true when anything was.
 */
static bool ipoib_identity_correct_broadcast(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_hwaddr ha;
	u16 pkey;

	lockdep_assert_held(&ipd->link.lock);

	memcpy(&ha, ipd->netdev->broadcast, sizeof(ha));
	if (!ipoib_hwaddr_is_broadcast(&ha)) {
		ipoib_info(ipd, "broadcast address refused: only its scope, the low half of byte 6, may change\n");
		ipoib_hwaddr_fill(&ha, IPOIB_QPN_MULTICAST,
				  &ipd->link.broadcast);
		memcpy(ipd->netdev->broadcast, &ha, sizeof(ha));
		return true;
	}

	pkey = be16_to_cpu(ipoib_hwaddr_mgid(&ha)->pkey);
	if (pkey == ipd->link.pkey)
		return false;
	/* an address that was copied from a table has none, and needs none */
	if (pkey)
		ipoib_info(ipd, "broadcast address: its P_Key stays %#06x\n",
			   ipd->link.pkey);
	return true;
}

/**
 * ipoib_identity_follow_broadcast() - the stack has another broadcast address
 * @ipd: interface
 *
 * Context: RTNL.
 */
void ipoib_identity_follow_broadcast(struct ipoib_dev *ipd)
{
	bool changed, corrected;
	union ib_gid old;

	mutex_lock(&ipd->link.lock);
	old = ipd->link.broadcast;
	corrected = ipoib_identity_correct_broadcast(ipd);
	ipoib_identity_take_broadcast(ipd);
	changed = memcmp(&old, &ipd->link.broadcast, sizeof(old));
	mutex_unlock(&ipd->link.lock);

	/* the membership in force is that of another group now */
	if (changed)
		ipoib_link_post(ipd, IPOIB_EV_JOIN_LOST);
	/* others have been told of what was asked for, maybe */
	if (corrected)
		ipoib_identity_notify(ipd);
}

/* ---- transport ---- */

/* RTNL; -ENOENT when the P_Key is not in the port's table. */
static int ipoib_transport_open(struct ipoib_dev *ipd)
{
	const unsigned int at = offsetof(struct ipoib_hwaddr, qpn);
	struct rdma_netdev *rn = ipoib_rn(ipd);
	u16 pkey = ipoib_link_pkey(ipd);
	u8 old_qpn[3];
	u16 index;
	int err;

	err = ipoib_pkey_index(ipd, pkey, &index);
	if (err)
		return err;
	if (rn->set_id)
		rn->set_id(ipd->netdev, index);
	/* where it has moved to since then the next look finds */
	mutex_lock(&ipd->link.lock);
	ipd->link.acted.pkey_index = index;
	mutex_unlock(&ipd->link.lock);

	memcpy(old_qpn, ipd->netdev->dev_addr + at, sizeof(old_qpn));
	err = ipd->lower->ndo_open(ipd->netdev);
	if (memcmp(old_qpn, ipd->netdev->dev_addr + at, sizeof(old_qpn))) {
		ipoib_identity_notify(ipd);
		ipoib_announce_later(ipd);
	}
	if (err)
		return err;

	ipd->lower_open = true;
	return 0;
}

/* RTNL. */
static void ipoib_transport_close(struct ipoib_dev *ipd)
{
	if (!ipd->lower_open)
		return;

	ipd->lower->ndo_stop(ipd->netdev);
	ipd->lower_open = false;
}

/* ---- jobs under RTNL ---- */

static void ipoib_restart_later(struct ipoib_dev *ipd, int err)
{
	u32 wait_ms;

	/* that has been said, and nothing but a reset of the HCA helps */
	if (!ipd->ud.kept)
		ipoib_warn(ipd, "cannot start the transport: %pe\n",
			   ERR_PTR(err));
	mutex_lock(&ipd->link.lock);
	wait_ms = ipoib_backoff_ms(++ipd->link.restart_failures,
				   IPOIB_RESTART_FIRST_MS,
				   IPOIB_RESTART_MOST_MS, get_random_u32());
	mutex_unlock(&ipd->link.lock);
	ipoib_rtnl_queue(ipd, wait_ms);
}

/*
 * The link may have gone down, or away, while this waited for RTNL. Or the
 * restart was requested only then: queue pairs that are still in RTS are not
 * drained under RTNL, but by the next run of the work.
 */
static void ipoib_restart(struct ipoib_dev *ipd)
{
	int err = 0;

	if (ipoib_link_is(ipd, IPOIB_LINK_JOINING)) {
		if (ipoib_ud_is_open(ipd)) {
			ipoib_rtnl_queue(ipd, 0);
			return;
		}
		/* what was woken before they left RTS may still be sending */
		netif_tx_disable(ipd->netdev);
		ipoib_transport_close(ipd);
		ipoib_identity_take(ipd);
		err = ipoib_transport_open(ipd);
	}
	/* without its P_Key the link finds out for itself where it is */
	if (err && err != -ENOENT) {
		ipoib_restart_later(ipd, err);
		return;
	}

	mutex_lock(&ipd->link.lock);
	ipd->link.restart_failures = 0;
	clear_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
	mutex_unlock(&ipd->link.lock);
	if (netif_running(ipd->netdev))
		netif_tx_wake_all_queues(ipd->netdev);
}

/*
 * The user's MTU stays in force as far as the group allows; one that was the
 * group's follows it.
 */
static void ipoib_mtu_follow(struct ipoib_dev *ipd, unsigned int group_mtu)
{
	unsigned int admin_mtu = ipd->admin_mtu;

	if (admin_mtu == ipd->group_mtu)
		admin_mtu = group_mtu;
	ipd->group_mtu = group_mtu;
	netif_set_mtu(ipd->netdev, min(admin_mtu, group_mtu));
	ipd->admin_mtu = admin_mtu;
}

/**
 * ipoib_link_carrier_on() - tell the stack that there is a carrier
 * @ipd: interface; its link may be gone by now, and with it what this was begun
 *	for: then nothing is told
 *
 * Context: RTNL.
 */
void ipoib_link_carrier_on(struct ipoib_dev *ipd)
{
	mutex_lock(&ipd->link.lock);
	if (ipd->link.state == IPOIB_LINK_ACTIVE)
		netif_carrier_on(ipd->netdev);
	mutex_unlock(&ipd->link.lock);
}

static void ipoib_carrier(struct ipoib_dev *ipd)
{
	unsigned int mtu_bytes = 0;

	mutex_lock(&ipd->link.lock);
	if (ipd->link.state == IPOIB_LINK_ACTIVE)
		mtu_bytes = ipoib_ud_mtu_bytes(ipd->link.acted.bcast.mtu_bytes);
	mutex_unlock(&ipd->link.lock);
	if (!mtu_bytes)
		return;

	/* calls back into our ndo and the stack's notifiers: no lock held */
	ipoib_mtu_follow(ipd, mtu_bytes);

	/* some of a row that a lost carrier has cut short may be lost, too */
	if (ipd->announcements && !netif_carrier_ok(ipd->netdev))
		ipd->announcements = IPOIB_ANNOUNCEMENTS;
	ipoib_link_carrier_on(ipd);
	if (ipd->announcements)
		set_bit(IPOIB_RTNL_ANNOUNCE, &ipd->link.jobs);
}

/*
 * The stack drops what is sent before it has made the queueing discipline
 * active, a moment after the carrier came: ipoib_link_activated() is told of
 * that. And what is sent before the subnet manager has programmed the switches
 * for the new member is lost, so a row of announcements is sent.
 */
static void ipoib_announce(struct ipoib_dev *ipd)
{
	if (!ipd->announcements || !netif_carrier_ok(ipd->netdev) ||
	    qdisc_tx_is_noop(ipd->netdev))
		return;

	ipd->announcements--;
	ipoib_count(ipd, IPOIB_N_ANNOUNCEMENTS);
	__netdev_notify_peers(ipd->netdev);
	if (!ipd->announcements)
		return;
	set_bit(IPOIB_RTNL_ANNOUNCE, &ipd->link.jobs);
	ipoib_rtnl_queue(ipd, IPOIB_ANNOUNCE_MS);
}

/**
 * ipoib_link_activated() - the stack may have acted on a new carrier
 * @ipd: interface
 *
 * The first announcement of a row waits for that. Those that follow have their
 * own time.
 *
 * Context: RTNL.
 */
void ipoib_link_activated(struct ipoib_dev *ipd)
{
	if (ipd->announcements == IPOIB_ANNOUNCEMENTS &&
	    netif_carrier_ok(ipd->netdev))
		ipoib_rtnl_job(ipd, IPOIB_RTNL_ANNOUNCE);
}

static void ipoib_rtnl_jobs(struct ipoib_dev *ipd, bool quiesced)
{
	ASSERT_RTNL();

	if (ipd->netdev->reg_state != NETREG_REGISTERED)
		return;
	/* closed and opened meanwhile: it may be the new one that stopped */
	if (quiesced && !test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs))
		ipoib_link_post(ipd, IPOIB_EV_BROKEN);
	if (test_and_clear_bit(IPOIB_RTNL_READDRESS, &ipd->link.jobs))
		ipoib_identity_take(ipd);
	if (test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs))
		ipoib_restart(ipd);
	if (test_and_clear_bit(IPOIB_RTNL_QUEUES, &ipd->link.jobs))
		ipoib_ud_recreate_lost(ipd);
	if (test_and_clear_bit(IPOIB_RTNL_CARRIER, &ipd->link.jobs))
		ipoib_carrier(ipd);
	if (test_and_clear_bit(IPOIB_RTNL_ANNOUNCE, &ipd->link.jobs))
		ipoib_announce(ipd);
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

/*
 * On hca->rtnl_wq; cancelled before a parent is unregistered, and by the uninit
 * of a child, where it may be waiting for RTNL: then it finds that out.
 */
static void ipoib_rtnl_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     link.rtnl_work.work);
	struct net_device *dev = ipd->netdev;
	bool quiesce;

	/* what the HCA takes to give its buffers back is not RTNL's business */
	quiesce = test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs) &&
		  ipoib_link_is(ipd, IPOIB_LINK_JOINING);
	if (quiesce) {
		netif_tx_disable(dev);
		ipoib_ud_quiesce(ipd);
	}

	rtnl_lock();
	netdev_lock_ops(dev);
	ipoib_rtnl_jobs(ipd, quiesce);
	netdev_unlock_ops(dev);
	rtnl_unlock();
	dev_put(dev);
}

/**
 * ipoib_link_cancel() - take back what waits for RTNL
 * @ipd: interface
 *
 * It may be waiting already: then it sees that the device is gone.
 *
 * Context: RTNL.
 */
void ipoib_link_cancel(struct ipoib_dev *ipd)
{
	if (cancel_delayed_work(&ipd->link.rtnl_work))
		dev_put(ipd->netdev);
}

/**
 * ipoib_link_cancel_sync() - take back what waits for RTNL, or wait for its end
 * @ipd: interface, DEAD by now
 *
 * Context: process, without RTNL.
 */
void ipoib_link_cancel_sync(struct ipoib_dev *ipd)
{
	if (cancel_delayed_work_sync(&ipd->link.rtnl_work))
		dev_put(ipd->netdev);
}

/**
 * ipoib_link_init_early() - set up what an interface's link consists of
 * @ipd: interface that nobody knows yet
 */
void ipoib_link_init_early(struct ipoib_dev *ipd)
{
	mutex_init(&ipd->link.lock);
	spin_lock_init(&ipd->link.facts_lock);
	INIT_WORK(&ipd->link.work, ipoib_link_work);
	INIT_DELAYED_WORK(&ipd->link.poll_work, ipoib_link_poll_work);
	INIT_DELAYED_WORK(&ipd->link.confirm_work, ipoib_link_confirm_work);
	INIT_DELAYED_WORK(&ipd->link.rtnl_work, ipoib_rtnl_work);
}

/* ---- open and stop ---- */

/*
 * RTNL. Before the first open nothing is looked up in them; and destroying them
 * takes its time, which a thousand children that were never up need not pay.
 */
static int ipoib_make_tables(struct ipoib_dev *ipd)
{
	int err;

	if (ipd->has_tables)
		return 0;

	err = ipoib_resolve_init(ipd);
	if (err)
		return err;

	err = ipoib_mcast_init(ipd);
	if (err) {
		ipoib_resolve_exit(ipd);
		ipoib_resolve_destroy(ipd);
		return err;
	}

	ipd->has_tables = true;
	return 0;
}

/* RTNL. Queues are most of the cost of a child, and most may be down. */
static void ipoib_slim_down(struct ipoib_dev *ipd)
{
	if (ipd->parent)
		ipoib_ud_release(ipd);
}

/**
 * ipoib_link_open() - ndo_open
 * @dev: interface
 *
 * Context: RTNL.
 * Return: 0, also when the P_Key is not there yet, or an errno with all undone.
 */
int ipoib_link_open(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	enum ipoib_link_event event = IPOIB_EV_ADMIN_UP;
	struct ipoib_link_view now;
	int err;

	if (ipoib_link_is(ipd, IPOIB_LINK_DEAD))
		return -ENODEV;

	err = ipoib_make_tables(ipd);
	if (err)
		return err;

	netif_carrier_off(dev);
	ipd->kept_down = false;
	ipoib_identity_take(ipd);
	err = ipoib_transport_open(ipd);
	/* a P_Key that is not there yet may come: up, but no carrier */
	if (err && err != -ENOENT) {
		ipoib_slim_down(ipd);
		return err;
	}
	if (err)
		event = IPOIB_EV_ADMIN_UP_NO_PKEY;

	mutex_lock(&ipd->link.lock);
	clear_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
	/* there was none to lose */
	clear_bit(IPOIB_EV_JOIN_LOST, &ipd->link.posted);
	ipoib_link_read(ipd, &now);
	if (err)
		now.pkey = 0;
	else
		now.pkey_index = ipd->link.acted.pkey_index;
	ipd->link.acted = now;
	ipoib_ud_know_self(ipd, now.lid);
	ipoib_link_step(ipd, event, &now);
	ipoib_link_explain(ipd, &now);
	mutex_unlock(&ipd->link.lock);

	netif_tx_start_all_queues(dev);
	/* what changed between the lookup and the read shows as a difference */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return 0;
}

/**
 * ipoib_link_stop() - ndo_stop
 * @dev: interface
 *
 * Context: RTNL.
 * Return: 0.
 */
int ipoib_link_stop(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_link_view now;

	netif_tx_stop_all_queues(dev);
	ipd->kept_down = ipd->parent && !ipd->following;
	mutex_lock(&ipd->link.lock);
	ipoib_link_read(ipd, &now);
	ipoib_link_step(ipd, IPOIB_EV_ADMIN_DOWN, &now);
	ipoib_link_explain(ipd, &now);
	mutex_unlock(&ipd->link.lock);
	cancel_delayed_work(&ipd->link.poll_work);
	cancel_delayed_work(&ipd->link.confirm_work);

	/* no work of this queue takes RTNL */
	flush_workqueue(ipd->wq);
	ipoib_transport_close(ipd);
	ipoib_slim_down(ipd);
	return 0;
}

/**
 * ipoib_link_condemn() - let a link end for good
 * @ipd: interface
 *
 * With the link DEAD nothing new is started for it, so what is cancelled or
 * flushed after that stays so.
 */
void ipoib_link_condemn(struct ipoib_dev *ipd)
{
	struct ipoib_link_view now;

	mutex_lock(&ipd->link.lock);
	ipoib_link_read(ipd, &now);
	ipoib_link_step(ipd, IPOIB_EV_REMOVE, &now);
	ipoib_link_explain(ipd, &now);
	mutex_unlock(&ipd->link.lock);
}

/* ---- events ---- */

static void ipoib_event_post(struct ipoib_dev *ipd, enum ib_event_type type)
{
	switch (type) {
	case IB_EVENT_CLIENT_REREGISTER:
		ipoib_link_post(ipd, IPOIB_EV_REREGISTER);
		break;
	case IB_EVENT_SM_CHANGE:
		/* also where the same one is reached in another way */
		ipoib_resolve_refresh(ipd, false);
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
		break;
	case IB_EVENT_PORT_ACTIVE:
	case IB_EVENT_PORT_ERR:
	case IB_EVENT_LID_CHANGE:
	case IB_EVENT_PKEY_CHANGE:
	case IB_EVENT_GID_CHANGE:
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
		break;
	default:
		break;
	}
}

/**
 * ipoib_link_hear() - what an HCA says of a port
 * @handler: of the port's parent interface; children have none of their own
 * @event: what happened
 *
 * Context: process.
 */
void ipoib_link_hear(struct ib_event_handler *handler, struct ib_event *event)
{
	struct ipoib_dev *ipd = container_of(handler, struct ipoib_dev,
					     event_handler);
	struct ipoib_dev *child;

	if (event->element.port_num != ipd->port)
		return;

	ipoib_dbg(ipd, "event: %s\n", ib_event_msg(event->event));
	ipoib_sa_hear(&ipd->hca->sa, event);
	mutex_lock(&ipd->children.lock);
	list_for_each_entry(child, &ipd->children.list, sibling)
		ipoib_event_post(child, event->event);
	mutex_unlock(&ipd->children.lock);
	ipoib_event_post(ipd, event->event);
}
