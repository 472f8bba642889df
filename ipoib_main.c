// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which interface is this, and in what state is it?
 *
 * Module, ib_client, netdev tables, the link's state machine, policy of
 * address, P_Key, MTU and mode, and the interface's sysfs files. No packet
 * comes by here, and no verb is called but what asks a port about itself.
 *
 * Stages: parameters, levels, link, identity, transport, jobs under RTNL, open
 * and stop, netdev tables, mode and sysfs, interface set-up, events, finding an
 * interface, client, notifier, module.
 */
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/in6.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <net/addrconf.h>
#include <net/netdev_lock.h>
#include <net/net_namespace.h>
#include <net/pkt_sched.h>
#include <net/rtnetlink.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"

#define CREATE_TRACE_POINTS
#include "ipoib_trace.h"

MODULE_DESCRIPTION("IP over InfiniBand");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_ALIAS_RTNL_LINK("ipoib");

/* a transmit queue that does not move for this long is stuck */
#define IPOIB_WATCHDOG_MS	10000

/* events handled in one go before others on the queue get their turn */
#define IPOIB_LINK_ROUNDS	16

/* between two looks for what a link waits for, without any event */
#define IPOIB_POLL_FIRST_MS	100
#define IPOIB_POLL_MOST_MS	5000
#define IPOIB_LINK_POLLS_MOST	16U

/* peers are told so often of a new address, and with so much time between */
#define IPOIB_ANNOUNCEMENTS	3
#define IPOIB_ANNOUNCE_MS	1000

/* wait before a restart that failed is tried again */
#define IPOIB_RESTART_FIRST_MS	100
#define IPOIB_RESTART_MOST_MS	10000

struct ib_sa_client ipoib_sa_client;

/* ---- parameters ---- */

int ipoib_recv_queue_size = 512;
module_param_named(recv_queue_size, ipoib_recv_queue_size, int, 0444);
MODULE_PARM_DESC(recv_queue_size, "Entries of the receive ring, a power of two");

int ipoib_send_queue_size = 512;
module_param_named(send_queue_size, ipoib_send_queue_size, int, 0444);
MODULE_PARM_DESC(send_queue_size,
		 "Entries of each transmit ring, a power of two");

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG)
int ipoib_debug_level;
module_param_named(debug_level, ipoib_debug_level, int, 0644);
MODULE_PARM_DESC(debug_level, "Print debugging messages when above 0");

int ipoib_mcast_debug_level;
module_param_named(mcast_debug_level, ipoib_mcast_debug_level, int, 0644);
MODULE_PARM_DESC(mcast_debug_level,
		 "Print debugging messages about multicast when above 0");
#endif

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG_DATA)
int ipoib_data_debug_level;
module_param_named(data_debug_level, ipoib_data_debug_level, int, 0644);
MODULE_PARM_DESC(data_debug_level,
		 "Print debugging messages about each packet when above 0");
#endif

static void ipoib_ring_param(const char *name, int *value, u32 least)
{
	u32 size = ipoib_ring_size(*value, least, IPOIB_RING_MOST);

	if (size != *value)
		pr_info("%s=%d becomes %u, a power of two from %u to %u\n",
			name, *value, size, least, IPOIB_RING_MOST);
	*value = size;
}

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
 * comes back. A child's is for life. And what an HCA does not answer it has not
 * said to be gone.
 */
static void ipoib_pkey_find(struct ipoib_dev *ipd, struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	int err;

	err = ipoib_pkey_look(ipd, ipd->home_pkey, view);
	if (err == -ENOENT)
		err = ipoib_pkey_look(ipd, ipd->link.pkey, view);
	if (!err)
		return;
	if (err != -ENOENT) {
		view->pkey = ipd->link.acted.pkey;
		view->pkey_index = ipd->link.acted.pkey_index;
		return;
	}

	view->pkey_index = 0;
	if (ipd->parent ||
	    ipoib_port_pkey(ipd->ibdev, ipd->port, 0, &view->pkey))
		view->pkey = 0;
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

static bool ipoib_gid_is_good(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	union ib_gid gid;

	return ipoib_gid_wanted(ipd, &gid) &&
	       !memcmp(&gid, &ipd->link.gid, sizeof(gid)) &&
	       ipoib_port_gid_index(ipd->ibdev, ipd->port, &gid) >= 0;
}

static void ipoib_link_read(struct ipoib_dev *ipd, struct ipoib_link_view *view)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	memset(view, 0, sizeof(*view));
	ipoib_pkey_find(ipd, view);
	ipoib_mcast_broadcast_view(ipd, &view->bcast);
	/* an HCA that does not answer has no port */
	if (ipoib_port_view(ipd->ibdev, ipd->port, view))
		view->port_active = false;
	view->gid_valid = ipoib_gid_is_good(ipd);
	view->ready = view->port_active && view->gid_valid &&
		      !test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
}

/* ---- link ---- */

static bool ipoib_link_is(struct ipoib_dev *ipd, enum ipoib_link_state state)
{
	bool is;

	mutex_lock(&ipd->link.lock);
	is = ipd->link.state == state;
	mutex_unlock(&ipd->link.lock);

	return is;
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

static void ipoib_link_do(struct ipoib_dev *ipd, enum ipoib_link_action action)
	__must_hold(&ipd->link.lock)
{
	switch (action) {
	case IPOIB_ACT_CARRIER_OFF:
		netif_carrier_off(ipd->netdev);
		break;
	case IPOIB_ACT_LEAVE:
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
	case IPOIB_ACT_RENEW:
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
	ipd->link.state = state;
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
static bool ipoib_link_turn(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_link_view now;
	unsigned int event;
	u32 events;

	clear_bit(IPOIB_LINK_LOOK, &ipd->link.posted);
	ipoib_link_read(ipd, &now);
	if (!now.ready)
		ipd->link.acted.ready = false;

	events = ipoib_link_diff(&ipd->link.acted, &now);
	events |= READ_ONCE(ipd->link.posted) & (BIT(IPOIB_LINK_EVENTS) - 1);
	if (!events)
		return false;

	event = __ffs(events);
	clear_bit(event, &ipd->link.posted);
	ipoib_link_step(ipd, event, &now);
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

static enum ipoib_link_reason
ipoib_link_facts(struct ipoib_dev *ipd, struct ipoib_link_facts *facts)
	__must_hold(&ipd->link.lock)
{
	struct ib_port_attr attr;

	lockdep_assert_held(&ipd->link.lock);

	memset(facts, 0, sizeof(*facts));
	facts->state = ipd->link.state;
	facts->kept = READ_ONCE(ipd->ud.kept);
	facts->restarting = test_bit(IPOIB_RTNL_RESTART, &ipd->link.jobs);
	facts->carrier = netif_carrier_ok(ipd->netdev);
	facts->gid_good = ipoib_gid_is_good(ipd);
	facts->pkey = ipd->link.pkey;
	if (!ib_query_port(ipd->ibdev, ipd->port, &attr)) {
		facts->port_active = attr.state == IB_PORT_ACTIVE;
		facts->lid = attr.lid;
		facts->sm_lid = attr.sm_lid;
	}
	ipoib_mcast_broadcast_trouble(ipd, &facts->status, &facts->tries);

	return ipoib_link_why(facts);
}

/* One line for each change of why there is no carrier. */
static void ipoib_link_explain(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	enum ipoib_link_reason reason;
	struct ipoib_link_facts facts;

	reason = ipoib_link_facts(ipd, &facts);
	if (reason == ipd->link.reason)
		return;

	ipd->link.reason = reason;
	trace_ipoib_reason(ipd->netdev, reason, facts.status, facts.tries);
	ipoib_dbg(ipd, "link: %s\n", ipoib_link_reason_name(reason));
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
	unsigned int rounds = 0;

	mutex_lock(&ipd->link.lock);
	while (rounds < IPOIB_LINK_ROUNDS && ipoib_link_turn(ipd))
		rounds++;
	ipoib_ud_know_self(ipd, ipd->link.acted.lid);
	ipoib_link_poll(ipd);
	ipoib_link_explain(ipd);
	mutex_unlock(&ipd->link.lock);

	if (rounds == IPOIB_LINK_ROUNDS)
		ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

/**
 * ipoib_link_pkey() - the P_Key of an interface
 * @ipd: interface
 *
 * Return: its full-member form; 0 when the port's table has never had one.
 */
u16 ipoib_link_pkey(struct ipoib_dev *ipd)
{
	u16 pkey;

	mutex_lock(&ipd->link.lock);
	pkey = ipd->link.pkey;
	mutex_unlock(&ipd->link.lock);

	return pkey;
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
		ipd->link.pkey = view.pkey;
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

/* The link may have gone down, or away, while this waited for RTNL. */
static void ipoib_restart(struct ipoib_dev *ipd)
{
	int err = 0;

	if (ipoib_link_is(ipd, IPOIB_LINK_JOINING)) {
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

/* RTNL. The link may be gone by now, and with it what this was begun for. */
static void ipoib_carrier_on(struct ipoib_dev *ipd)
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

	ipoib_carrier_on(ipd);
	if (ipd->announcements)
		set_bit(IPOIB_RTNL_ANNOUNCE, &ipd->link.jobs);
}

/*
 * What is sent before the subnet manager has programmed the switches for the
 * new member is lost, so it is said more than once.
 */
static void ipoib_announce(struct ipoib_dev *ipd)
{
	if (!ipd->announcements || !netif_carrier_ok(ipd->netdev))
		return;

	ipd->announcements--;
	ipoib_count(ipd, IPOIB_N_ANNOUNCEMENTS);
	__netdev_notify_peers(ipd->netdev);
	if (!ipd->announcements)
		return;
	set_bit(IPOIB_RTNL_ANNOUNCE, &ipd->link.jobs);
	ipoib_rtnl_queue(ipd, IPOIB_ANNOUNCE_MS);
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
		return err;
	}

	ipd->has_tables = true;
	return 0;
}

/* RTNL. Rings are most of the cost of a child, and most may be down. */
static void ipoib_slim_down(struct ipoib_dev *ipd)
{
	if (ipd->parent)
		ipoib_ud_release(ipd);
}

static int ipoib_open(struct net_device *dev)
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
	ipd->link.acted = now;
	ipoib_ud_know_self(ipd, now.lid);
	ipoib_link_step(ipd, event, &now);
	mutex_unlock(&ipd->link.lock);

	netif_tx_start_all_queues(dev);
	/* what changed between the lookup and the read shows as a difference */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return 0;
}

static int ipoib_stop(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_link_view now;

	netif_tx_stop_all_queues(dev);
	ipd->kept_down = ipd->parent && !ipd->following;
	mutex_lock(&ipd->link.lock);
	ipoib_link_read(ipd, &now);
	ipoib_link_step(ipd, IPOIB_EV_ADMIN_DOWN, &now);
	ipoib_link_explain(ipd);
	mutex_unlock(&ipd->link.lock);
	cancel_delayed_work(&ipd->link.poll_work);

	/* no work of this queue takes RTNL */
	flush_workqueue(ipd->wq);
	ipoib_transport_close(ipd);
	ipoib_slim_down(ipd);
	return 0;
}

/* ---- netdev tables ---- */

static int ipoib_init_identity(struct ipoib_dev *ipd)
{
	union ib_gid gid;
	int err;

	/* no GID, no address: the port is not what it says it is */
	err = rdma_query_gid(ipd->ibdev, ipd->port, 0, &gid);
	if (err)
		return err;

	mutex_lock(&ipd->link.lock);
	if (ipd->link.alias)
		gid.global.interface_id = ipd->link.alias;
	ipd->link.gid = gid;
	/* a child's key is its own whether the port has it or not */
	ipd->link.pkey = ipd->home_pkey;
	mutex_unlock(&ipd->link.lock);
	dev_addr_mod(ipd->netdev, offsetof(struct ipoib_hwaddr, gid), gid.raw,
		     sizeof(gid.raw));
	ipoib_identity_take_pkey(ipd);
	ipd->announcements = IPOIB_ANNOUNCEMENTS;
	return 0;
}

/* The transport must be gone: address handles may be destroyed only then. */
static void ipoib_exit_tables(struct ipoib_dev *ipd)
{
	cancel_delayed_work_sync(&ipd->link.poll_work);
	if (ipd->has_tables) {
		ipoib_mcast_exit(ipd);
		ipoib_resolve_exit(ipd);
	}
	cancel_work_sync(&ipd->link.work);
	destroy_workqueue(ipd->wq);
}

static int ipoib_init(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	ipd->pd = ib_alloc_pd(ipd->ibdev, 0);
	if (IS_ERR(ipd->pd))
		return PTR_ERR(ipd->pd);

	/* a rescuer for each of many children would be most of their cost */
	err = -ENOMEM;
	ipd->wq = alloc_ordered_workqueue("ipoib_%s", ipd->parent ? 0 :
					  WQ_MEM_RECLAIM, dev->name);
	if (!ipd->wq)
		goto err_dealloc_pd;

	err = ipoib_init_identity(ipd);
	if (err)
		goto err_exit_tables;

	err = ipd->lower->ndo_init(dev);
	if (err)
		goto err_exit_tables;

	return 0;

err_exit_tables:
	ipoib_exit_tables(ipd);
err_dealloc_pd:
	ib_dealloc_pd(ipd->pd);
	return err;
}

/* It may wait for RTNL, which we hold: then it sees that the device is gone. */
static void ipoib_rtnl_cancel(struct ipoib_dev *ipd)
{
	if (cancel_delayed_work(&ipd->link.rtnl_work))
		dev_put(ipd->netdev);
}

static void ipoib_uninit(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->parent)
		ipoib_child_unlist(ipd);
	ipoib_rtnl_cancel(ipd);
	ipd->lower->ndo_uninit(dev);
	ipoib_exit_tables(ipd);
	if (!ipd->ud.kept)
		ib_dealloc_pd(ipd->pd);
}

static int ipoib_set_rx_mode(struct net_device *dev,
			     struct netdev_hw_addr_list *uc,
			     struct netdev_hw_addr_list *mc)
{
	/* the work reads the list itself, as when nothing calls here */
	ipoib_mcast_sync_later(ipoib_from_netdev(dev));
	return 0;
}

/* An accelerated driver re-creates its rings for this: no carrier meanwhile. */
static int ipoib_lower_change_mtu(struct ipoib_dev *ipd, int mtu_bytes)
{
	bool carrier = netif_carrier_ok(ipd->netdev);
	int err;

	netif_carrier_off(ipd->netdev);
	err = ipd->lower->ndo_change_mtu(ipd->netdev, mtu_bytes);
	if (carrier)
		ipoib_carrier_on(ipd);

	return err;
}

/*
 * What does not fit the group is taken down to it without an error: network
 * scripts set 4092 without looking.
 */
static int ipoib_change_mtu(struct net_device *dev, int new_mtu)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int most = ipoib_ud_mtu_bytes(ipd->max_ib_mtu);
	int mtu_bytes = new_mtu;

	if (new_mtu < IPOIB_MIN_MTU_BYTES || new_mtu > most) {
		ipoib_info(ipd, "MTU %d refused: the port can carry %d to %d\n",
			   new_mtu, IPOIB_MIN_MTU_BYTES, most);
		return -EINVAL;
	}

	if (ipd->group_mtu)
		mtu_bytes = min_t(int, new_mtu, ipd->group_mtu);
	if (mtu_bytes != new_mtu)
		ipoib_info(ipd, "MTU %d is more than the broadcast group's %d\n",
			   new_mtu, mtu_bytes);

	ipd->admin_mtu = new_mtu;
	if (ipd->lower->ndo_change_mtu)
		return ipoib_lower_change_mtu(ipd, mtu_bytes);

	WRITE_ONCE(dev->mtu, mtu_bytes);
	return 0;
}

static void ipoib_tx_timeout(struct net_device *dev, unsigned int queue)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct rdma_netdev *rn = ipoib_rn(ipd);

	if (rn->tx_timeout) {
		rn->tx_timeout(dev, queue);
		return;
	}

	netdev_warn(dev, "transmit queue %u is stuck\n", queue);
	ipoib_ud_ails(ipd, queue);
}

/*
 * RTNL. A GUID of one's own: an alias that the subnet manager gives the port,
 * or will. Children that have none of their own have their parent's.
 */
static void ipoib_identity_set_guid(struct ipoib_dev *ipd, __be64 guid)
{
	mutex_lock(&ipd->link.lock);
	ipd->link.alias = guid;
	mutex_unlock(&ipd->link.lock);
	if (ipoib_identity_take_gid(ipd))
		ipoib_identity_notify(ipd);
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
}

static void ipoib_identity_set_guids(struct ipoib_dev *ipd, __be64 guid)
{
	struct ipoib_dev *child = NULL;

	ipoib_identity_set_guid(ipd, guid);
	while ((child = ipoib_child_next(ipd, child)))
		if (!child->own_guid)
			ipoib_identity_set_guid(child, guid);
}

/* Only the GUID is the user's; flags, queue pair and subnet prefix are not. */
static int ipoib_set_mac_address(struct net_device *dev, void *addr)
{
	const u8 *data = addr + offsetof(struct sockaddr, sa_data);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_hwaddr ha;
	union ib_gid gid, first;

	if (ipd->ibdev->attrs.kernel_cap_flags & IBK_VIRTUAL_FUNCTION)
		return -EOPNOTSUPP;
	if (!(dev->priv_flags & IFF_LIVE_ADDR_CHANGE) && netif_running(dev)) {
		ipoib_info(ipd, "address refused: it does not change while the interface is up\n");
		return -EBUSY;
	}

	/* longer than the struct says: the core has looked at addr_len */
	memcpy(&ha, data, sizeof(ha));
	gid = ipoib_hwaddr_gid(&ha);
	if (memcmp(&ha, dev->dev_addr, IPOIB_HWADDR_GUID_AT) ||
	    !gid.global.interface_id) {
		ipoib_info(ipd, "address refused: only the GUID, its last 8 bytes, may change, and not to 0\n");
		return -EINVAL;
	}

	/* the port's own is nobody's choice: it is followed when it changes */
	ipd->own_guid = ipoib_port_gid(ipd->ibdev, ipd->port, &first) ||
			first.global.interface_id != gid.global.interface_id;
	ipoib_identity_set_guids(ipd, ipd->own_guid ?
				      gid.global.interface_id : 0);
	return 0;
}

static int ipoib_get_iflink(const struct net_device *dev)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	/* the core asks while the interface is still being made */
	if (!ipd || !ipd->parent)
		return READ_ONCE(dev->ifindex);

	return READ_ONCE(ipd->parent->netdev->ifindex);
}

static void ipoib_get_stats64(struct net_device *dev,
			      struct rtnl_link_stats64 *stats)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->lower->ndo_get_stats64)
		ipd->lower->ndo_get_stats64(dev, stats);
	else if (dev->tstats)
		dev_get_tstats64(dev, stats);

	ipoib_ud_stats(ipd, stats);
}

static int ipoib_eth_ioctl(struct net_device *dev, struct ifreq *ifr, int cmd)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (!ipd->lower->ndo_eth_ioctl)
		return -EOPNOTSUPP;

	return ipd->lower->ndo_eth_ioctl(dev, ifr, cmd);
}

static const struct net_device_ops ipoib_netdev_ops = {
	.ndo_init = ipoib_init,
	.ndo_uninit = ipoib_uninit,
	.ndo_open = ipoib_open,
	.ndo_stop = ipoib_stop,
	.ndo_start_xmit = ipoib_start_xmit,
	.ndo_select_queue = ipoib_select_queue,
	.ndo_features_check = ipoib_features_check,
	.ndo_set_rx_mode_async = ipoib_set_rx_mode,
	.ndo_change_mtu = ipoib_change_mtu,
	.ndo_set_mac_address = ipoib_set_mac_address,
	.ndo_tx_timeout = ipoib_tx_timeout,
	.ndo_get_iflink = ipoib_get_iflink,
	.ndo_get_stats64 = ipoib_get_stats64,
	.ndo_eth_ioctl = ipoib_eth_ioctl,
	/* of an HCA that has none, or is one: -EOPNOTSUPP from ib_core */
	.ndo_set_vf_link_state = ipoib_set_vf_link_state,
	.ndo_set_vf_guid = ipoib_set_vf_guid,
	.ndo_get_vf_guid = ipoib_get_vf_guid,
	.ndo_get_vf_config = ipoib_get_vf_config,
	.ndo_get_vf_stats = ipoib_get_vf_stats,
};

/**
 * ipoib_netdev_is_ours() - is there an interface of this driver behind it?
 * @dev: any netdev
 *
 * By the hardware type a bond or a tun could pass for one.
 *
 * Return: true when ipoib_from_netdev() may be asked.
 */
bool ipoib_netdev_is_ours(const struct net_device *dev)
{
	return dev->netdev_ops == &ipoib_netdev_ops;
}

/* ---- mode and sysfs ---- */

/**
 * ipoib_mode_set() - choose between datagrams and connections
 * @ipd: interface
 * @connected: connections
 * @extack: gets the reason of a refusal; may be NULL
 *
 * Return: 0, or -EINVAL: nothing here makes connections, as the address says.
 */
int ipoib_mode_set(struct ipoib_dev *ipd, bool connected,
		   struct netlink_ext_ack *extack)
{
	if (!connected)
		return 0;

	NL_SET_ERR_MSG_MOD(extack, "This interface does not offer connected mode");
	return -EINVAL;
}

/**
 * ipoib_umcast_set() - leave user space's multicast groups to it, or not
 * @ipd: interface
 * @umcast: leave them
 */
void ipoib_umcast_set(struct ipoib_dev *ipd, bool umcast)
{
	if (umcast && !ipd->umcast)
		ipoib_info(ipd, "groups that user space joined are left to it\n");
	WRITE_ONCE(ipd->umcast, umcast);
}

/**
 * ipoib_sysfs_lock() - take RTNL for what is written to a file
 * @dev: the file's interface
 *
 * A sysfs file of an interface must not wait for RTNL: unregistering holds that
 * and waits for the file.
 *
 * To the root of a container the files in it belong, so their modes do not tell
 * who may write: that is the administrator of the machine alone.
 *
 * Return: 0 with RTNL held; -EPERM, or -ERESTARTNOINTR, of which nobody hears.
 */
int ipoib_sysfs_lock(struct net_device *dev)
{
	if (!capable(CAP_NET_ADMIN)) {
		ipoib_info(ipoib_from_netdev(dev),
			   "write refused: that takes the administrator of the machine\n");
		return -EPERM;
	}
	if (!rtnl_trylock())
		return restart_syscall();
	if (dev->reg_state != NETREG_REGISTERED) {
		rtnl_unlock();
		return -EPERM;
	}

	return 0;
}

static ssize_t mode_show(struct device *d, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "datagram\n");
}

static ssize_t mode_store(struct device *d, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct net_device *dev = to_net_dev(d);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	bool connected = sysfs_streq(buf, "connected");
	int err;

	err = ipoib_sysfs_lock(dev);
	if (err)
		return err;
	err = -EINVAL;
	if (connected || sysfs_streq(buf, "datagram"))
		err = ipoib_mode_set(ipd, connected, NULL);
	if (err)
		ipoib_info(ipd, "mode refused: it is datagram, connected mode is not offered\n");
	rtnl_unlock();

	return err ?: count;
}
static DEVICE_ATTR_RW(mode);

static ssize_t pkey_show(struct device *d, struct device_attribute *attr,
			 char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));

	return sysfs_emit(buf, "0x%04x\n", ipoib_link_pkey(ipd));
}
static DEVICE_ATTR_RO(pkey);

static ssize_t umcast_show(struct device *d, struct device_attribute *attr,
			   char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));

	return sysfs_emit(buf, "%d\n", READ_ONCE(ipd->umcast));
}

static ssize_t umcast_store(struct device *d, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct net_device *dev = to_net_dev(d);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	unsigned long value;
	int err;

	err = ipoib_sysfs_lock(dev);
	if (err)
		return err;
	err = kstrtoul(buf, 0, &value);
	if (err)
		ipoib_info(ipd, "umcast refused: it is a number, 0 or more\n");
	else
		ipoib_umcast_set(ipd, value);
	rtnl_unlock();

	return err ?: count;
}
static DEVICE_ATTR_RW(umcast);

static ssize_t link_reason_show(struct device *d,
				struct device_attribute *attr, char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));
	enum ipoib_link_reason reason;
	struct ipoib_link_facts facts;

	mutex_lock(&ipd->link.lock);
	reason = ipoib_link_facts(ipd, &facts);
	mutex_unlock(&ipd->link.lock);

	switch (reason) {
	case IPOIB_WHY_PKEY_ABSENT:
		return sysfs_emit(buf, "%s pkey=0x%04x\n",
				  ipoib_link_reason_name(reason), facts.pkey);
	case IPOIB_WHY_BCAST_JOINING:
	case IPOIB_WHY_SM_UNREACHABLE:
	case IPOIB_WHY_MTU_MISMATCH:
		return sysfs_emit(buf, "%s status=%d tries=%u\n",
				  ipoib_link_reason_name(reason), facts.status,
				  facts.tries);
	default:
		return sysfs_emit(buf, "%s\n", ipoib_link_reason_name(reason));
	}
}
static DEVICE_ATTR_RO(link_reason);

static struct attribute *ipoib_port_attrs[] = {
	&dev_attr_link_reason.attr,
	&dev_attr_mode.attr,
	&dev_attr_pkey.attr,
	&dev_attr_umcast.attr,
	&ipoib_attr_create_child.attr,
	&ipoib_attr_delete_child.attr,
	NULL,
};

static struct attribute *ipoib_child_attrs[] = {
	&dev_attr_link_reason.attr,
	&dev_attr_mode.attr,
	&dev_attr_pkey.attr,
	&dev_attr_umcast.attr,
	&ipoib_attr_parent.attr,
	NULL,
};

/*
 * The core has room for one group of a driver's. One for both kinds would hide
 * attributes of the other, which 6.1 does not find when it gives the files to
 * another user namespace.
 */
static const struct attribute_group ipoib_port_attr_group = {
	.attrs = ipoib_port_attrs,
};

static const struct attribute_group ipoib_child_attr_group = {
	.attrs = ipoib_child_attrs,
};

/* ---- interface set-up ---- */

/**
 * ipoib_setup() - what every interface of ours has, whoever allocates it
 * @dev: netdev
 *
 * The lower table is a complete one: an accelerated driver replaces it, but may
 * call into it.
 */
void ipoib_setup(struct net_device *dev)
{
	struct ipoib_hwaddr broadcast;

	dev->netdev_ops = &ipoib_ud_netdev_ops;
	dev->ethtool_ops = &ipoib_ethtool_ops;
	dev->header_ops = &ipoib_header_ops;
	dev->type = ARPHRD_INFINIBAND;
	dev->addr_len = INFINIBAND_ALEN;
	dev->hard_header_len = IPOIB_HARD_LEN;
	dev->min_mtu = IPOIB_MIN_MTU_BYTES;
	dev->max_mtu = IPOIB_CM_MTU_BYTES;
	dev->tx_queue_len = DEFAULT_TX_QUEUE_LEN;
	dev->watchdog_timeo = msecs_to_jiffies(IPOIB_WATCHDOG_MS);
	dev->flags |= IFF_BROADCAST | IFF_MULTICAST;
	/* netpoll calls with interrupts off, where our locks do not reach */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
	dev->features |= NETIF_F_HIGHDMA | NETIF_F_VLAN_CHALLENGED;
	/* path MTU updates go through the dst */
	netif_keep_dst(dev);

	ipoib_hwaddr_broadcast(&broadcast, IPOIB_SCOPE_LINK_LOCAL, 0);
	memcpy(dev->broadcast, &broadcast, sizeof(broadcast));
}

/**
 * ipoib_dev_free() - priv_destructor, and undoing of ipoib_dev_tie()
 * @dev: netdev; may have been here before
 */
void ipoib_dev_free(struct net_device *dev)
{
	struct rdma_netdev *rn = netdev_priv(dev);
	struct ipoib_dev *ipd = rn->clnt_priv;

	/* a registration that fails may or may not have called this */
	if (!ipd)
		return;

	if (ipd->lower_destructor)
		ipd->lower_destructor(dev);
	rn->clnt_priv = NULL;
	/* what an HCA has kept of it is not ours to free */
	if (ipd->ud.kept)
		return;

	mutex_destroy(&ipd->link.lock);
	mutex_destroy(&ipd->children.lock);
	kfree(ipd);
}

/**
 * ipoib_dev_alloc() - allocate a netdev as an HCA wants it
 * @ibdev: HCA
 * @port: from 1
 * @name: of the interface, maybe with a %d
 * @assigned: NET_NAME_*, where the name comes from
 *
 * Return: a netdev for ipoib_dev_tie(), or an ERR_PTR.
 */
struct net_device *ipoib_dev_alloc(struct ib_device *ibdev, u32 port,
				   const char *name, unsigned char assigned)
{
	struct net_device *dev;

	dev = rdma_alloc_netdev(ibdev, port, RDMA_NETDEV_IPOIB, name, assigned,
				ipoib_setup);
	if (!IS_ERR(dev) || PTR_ERR(dev) != -EOPNOTSUPP)
		return dev;

	dev = alloc_netdev_mqs(sizeof(struct rdma_netdev), name, assigned,
			       ipoib_setup, IPOIB_MAX_TXQ, 1);
	return dev ?: ERR_PTR(-ENOMEM);
}

static int ipoib_plug_transport(struct net_device *dev, struct ib_device *ibdev,
				u32 port)
{
	unsigned int queues;
	int err;

	err = rdma_init_netdev(ibdev, port, RDMA_NETDEV_IPOIB, "ib%d",
			       NET_NAME_UNKNOWN, ipoib_setup, dev);
	if (err != -EOPNOTSUPP)
		return err;

	ipoib_ud_setup(dev, ibdev, port);
	/* `ip link add numtxqueues` allocates what it likes */
	queues = min(ipoib_ud_default_queues(ibdev), dev->num_tx_queues);
	return netif_set_real_num_queues(dev, queues, 1);
}

static void ipoib_set_features(struct net_device *dev,
			       const struct ib_device *ibdev)
{
	if (!(ibdev->attrs.device_cap_flags & IB_DEVICE_UD_IP_CSUM))
		return;

	dev->hw_features |= NETIF_F_IP_CSUM | NETIF_F_RXCSUM;
	if (ibdev->attrs.kernel_cap_flags & IBK_UD_TSO)
		dev->hw_features |= NETIF_F_TSO;
	dev->features |= dev->hw_features;
}

static struct ipoib_dev *ipoib_create_dev(struct ipoib_hca *hca, u32 port,
					  struct ipoib_dev *parent)
{
	struct ipoib_dev *ipd;

	ipd = kzalloc_obj(*ipd, GFP_KERNEL);
	if (!ipd)
		return NULL;

	ipd->hca = hca;
	ipd->ibdev = hca->ibdev;
	ipd->port = port;
	ipd->parent = parent;
	mutex_init(&ipd->link.lock);
	INIT_WORK(&ipd->link.work, ipoib_link_work);
	INIT_DELAYED_WORK(&ipd->link.poll_work, ipoib_link_poll_work);
	INIT_DELAYED_WORK(&ipd->link.rtnl_work, ipoib_rtnl_work);
	INIT_LIST_HEAD(&ipd->sibling);
	mutex_init(&ipd->children.lock);
	INIT_LIST_HEAD(&ipd->children.list);
	ipoib_ud_init_early(ipd);
	ipoib_resolve_init_early(ipd);
	ipoib_mcast_init_early(ipd);
	return ipd;
}

/**
 * ipoib_dev_tie() - make a netdev an interface of ours
 * @dev: netdev that ipoib_setup() has set up
 * @hca: its HCA
 * @port: from 1
 * @parent: interface it is a child of, or NULL
 *
 * From here on ipoib_dev_free() has all there is to free.
 *
 * Return: the interface or an ERR_PTR.
 */
struct ipoib_dev *ipoib_dev_tie(struct net_device *dev, struct ipoib_hca *hca,
				u32 port, struct ipoib_dev *parent)
{
	struct rdma_netdev *rn = netdev_priv(dev);
	struct ipoib_dev *ipd;
	int err;

	err = ipoib_plug_transport(dev, hca->ibdev, port);
	if (err)
		return ERR_PTR(err);

	ipd = ipoib_create_dev(hca, port, parent);
	if (!ipd)
		return ERR_PTR(-ENOMEM);

	ipd->netdev = dev;
	ipd->lower = dev->netdev_ops;
	ipd->lower_destructor = dev->priv_destructor;
	rn->clnt_priv = ipd;
	dev->netdev_ops = &ipoib_netdev_ops;
	dev->rtnl_link_ops = &ipoib_link_ops;
	dev->priv_destructor = ipoib_dev_free;
	dev->needs_free_netdev = true;
	dev->sysfs_groups[0] = parent ? &ipoib_child_attr_group :
					&ipoib_port_attr_group;
	ipoib_set_features(dev, hca->ibdev);
	ipoib_ud_offer_stats(dev);
	netif_carrier_off(dev);
	return ipd;
}

static int ipoib_dress_parent(struct ipoib_dev *ipd)
{
	struct net_device *dev = ipd->netdev;
	int err;

	err = ipoib_port_max_mtu(ipd->ibdev, ipd->port, &ipd->max_ib_mtu);
	if (err)
		return err;

	ipd->admin_mtu = ipoib_ud_mtu_bytes(ipd->max_ib_mtu);
	dev->mtu = ipd->admin_mtu;
	ipoib_rn(ipd)->mtu = dev->mtu;
	dev->dev_port = ipd->port - 1;
	/* the older name of the same thing; what reads it expects it to stay */
	dev->dev_id = ipd->port - 1;
	dev_net_set(dev, rdma_dev_net(ipd->ibdev));
	SET_NETDEV_DEV(dev, ipd->ibdev->dev.parent);
	return 0;
}

static struct net_device *ipoib_make_netdev(struct ipoib_hca *hca, u32 port)
{
	struct net_device *dev;
	struct ipoib_dev *ipd;
	int err;

	dev = ipoib_dev_alloc(hca->ibdev, port, "ib%d", NET_NAME_UNKNOWN);
	if (IS_ERR(dev))
		return dev;

	ipd = ipoib_dev_tie(dev, hca, port, NULL);
	err = PTR_ERR_OR_ZERO(ipd);
	if (!err)
		err = ipoib_dress_parent(ipd);
	if (err) {
		ipoib_dev_free(dev);
		free_netdev(dev);
		return ERR_PTR(err);
	}

	return dev;
}

/* ---- events ---- */

static void ipoib_event_post(struct ipoib_dev *ipd, enum ib_event_type type)
{
	switch (type) {
	case IB_EVENT_CLIENT_REREGISTER:
		ipoib_link_post(ipd, IPOIB_EV_REREGISTER);
		break;
	case IB_EVENT_SM_CHANGE:
		/* memberships are good: a join would be answered locally */
		ipoib_resolve_refresh(ipd, false);
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

/* Process context; children have no handler of their own. */
static void ipoib_event(struct ib_event_handler *handler,
			struct ib_event *event)
{
	struct ipoib_dev *ipd = container_of(handler, struct ipoib_dev,
					     event_handler);
	struct ipoib_dev *child;

	if (event->element.port_num != ipd->port)
		return;

	ipoib_dbg(ipd, "event: %s\n", ib_event_msg(event->event));
	ipoib_sa_forget(&ipd->hca->sa);
	mutex_lock(&ipd->children.lock);
	list_for_each_entry(child, &ipd->children.list, sibling)
		ipoib_event_post(child, event->event);
	mutex_unlock(&ipd->children.lock);
	ipoib_event_post(ipd, event->event);
}

/* ---- finding an interface ---- */

/**
 * struct ipoib_search - which interface the RDMA connection manager asks for
 * @port: of the HCA
 * @pkey_index: place of the request's P_Key in the port's table
 * @gid: GID the request came to, or NULL
 * @addr: IP address it came to, or NULL before it matters
 * @found: the first interface that fits, held: a child may be deleted as soon
 *	as its parent's list is let go of
 * @count: how many do
 */
struct ipoib_search {
	u32 port;
	u16 pkey_index;
	const union ib_gid *gid;
	const struct sockaddr *addr;
	struct net_device *found;
	unsigned int count;
};

static bool ipoib_owns_ip(struct net_device *dev, const struct sockaddr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	struct in_device *in_dev;

	switch (addr->sa_family) {
	case AF_INET:
		in_dev = __in_dev_get_rcu(dev);
		return in_dev && inet_confirm_addr(dev_net(dev), in_dev, 0,
						   in->sin_addr.s_addr,
						   RT_SCOPE_HOST);
	case AF_INET6:
		return IS_ENABLED(CONFIG_IPV6) &&
		       ipv6_chk_addr(dev_net(dev), &in6->sin6_addr, dev, 1);
	default:
		return false;
	}
}

static int ipoib_upper_owns_ip(struct net_device *upper,
			       struct netdev_nested_priv *priv)
{
	return ipoib_owns_ip(upper, priv->data);
}

/* The interface itself, or a bond or the like on top of it. */
static bool ipoib_has_ip(struct net_device *dev, const struct sockaddr *addr)
{
	struct netdev_nested_priv priv = { .data = (void *)addr };
	bool has;

	rcu_read_lock();
	has = ipoib_owns_ip(dev, addr) ||
	      netdev_walk_all_upper_dev_rcu(dev, ipoib_upper_owns_ip, &priv);
	rcu_read_unlock();

	return has;
}

static bool ipoib_fits(struct ipoib_dev *ipd, const struct ipoib_search *search)
{
	bool fits;

	mutex_lock(&ipd->link.lock);
	fits = ipd->link.acted.pkey &&
	       ipd->link.acted.pkey_index == search->pkey_index &&
	       (!search->gid ||
		!memcmp(search->gid, &ipd->link.gid, sizeof(ipd->link.gid)));
	mutex_unlock(&ipd->link.lock);

	return fits && (!search->addr ||
			ipoib_has_ip(ipd->netdev, search->addr));
}

static void ipoib_search_one(struct ipoib_dev *ipd, struct ipoib_search *search)
{
	if (!ipoib_fits(ipd, search))
		return;
	if (!search->found) {
		search->found = ipd->netdev;
		dev_hold(search->found);
	}
	search->count++;
}

static void ipoib_search_all(struct ipoib_hca *hca, struct ipoib_search *search)
{
	struct ipoib_dev *ipd, *child;

	dev_put(search->found);
	search->found = NULL;
	search->count = 0;
	list_for_each_entry(ipd, &hca->parents, sibling) {
		if (ipd->port != search->port)
			continue;
		ipoib_search_one(ipd, search);
		mutex_lock(&ipd->children.lock);
		list_for_each_entry(child, &ipd->children.list, sibling)
			ipoib_search_one(child, search);
		mutex_unlock(&ipd->children.lock);
	}
}

/* A bond answers for its slaves; a VRF does not: it is no link. */
static struct net_device *ipoib_hold_top(struct net_device *dev)
{
	struct net_device *master;

	rcu_read_lock();
	master = netdev_master_upper_dev_get_rcu(dev);
	if (master && !netif_is_l3_master(master))
		dev = master;
	dev_hold(dev);
	rcu_read_unlock();

	return dev;
}

/* The IP address decides only where P_Key and GID leave a choice. */
static struct net_device *
ipoib_get_net_dev_by_params(struct ib_device *ibdev, u32 port, u16 pkey,
			    const union ib_gid *gid,
			    const struct sockaddr *addr, void *client_data)
{
	struct ipoib_search search = { .port = port, .gid = gid };
	struct net_device *top = NULL;

	if (!rdma_protocol_ib(ibdev, port) ||
	    ib_find_cached_pkey(ibdev, port, pkey, &search.pkey_index))
		return NULL;

	ipoib_search_all(client_data, &search);
	if (search.count > 1) {
		search.addr = addr;
		ipoib_search_all(client_data, &search);
	}
	if (search.count > 1)
		dev_warn_ratelimited(&ibdev->dev,
				     "%u interfaces of port %u have %pISc\n",
				     search.count, port, addr);

	if (search.found)
		top = ipoib_hold_top(search.found);
	dev_put(search.found);
	return top;
}

/* ---- client ---- */

static int ipoib_add_port(struct ipoib_hca *hca, u32 port)
{
	struct net_device *dev;
	struct ipoib_dev *ipd;
	int err;

	ipoib_link_make_room(hca->ibdev, port);
	dev = ipoib_make_netdev(hca, port);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	ipd = ipoib_from_netdev(dev);
	err = register_netdev(dev);
	if (err) {
		ipoib_dev_free(dev);
		free_netdev(dev);
		return err;
	}

	INIT_IB_EVENT_HANDLER(&ipd->event_handler, hca->ibdev, ipoib_event);
	ib_register_event_handler(&ipd->event_handler);
	list_add_tail(&ipd->sibling, &hca->parents);
	/* for what happened between init and the handler */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return 0;
}

/*
 * With the link DEAD nothing new is started for it, so what is cancelled or
 * flushed after that stays so.
 */
static void ipoib_dev_condemn(struct ipoib_dev *ipd)
{
	struct ipoib_link_view now;

	mutex_lock(&ipd->link.lock);
	ipoib_link_read(ipd, &now);
	ipoib_link_step(ipd, IPOIB_EV_REMOVE, &now);
	mutex_unlock(&ipd->link.lock);
}

/*
 * Children are made and deleted under RTNL. Once the parent is DEAD none is
 * made any more; those that are there go with it. Nobody is halfway through an
 * open then, so what is posted is all there will be.
 */
static void ipoib_condemn_children(struct ipoib_dev *parent)
{
	struct ipoib_dev *child = NULL;

	rtnl_lock();
	while ((child = ipoib_child_next(parent, child)))
		ipoib_dev_condemn(child);
	ipoib_children_begin_stop(parent);
	rtnl_unlock();
}

static void ipoib_quit_parent(struct ipoib_dev *ipd)
{
	ib_unregister_event_handler(&ipd->event_handler);
	ipoib_dev_condemn(ipd);
	ipoib_condemn_children(ipd);
}

static struct ipoib_hca *ipoib_create_hca(struct ib_device *ibdev)
{
	struct ipoib_hca *hca;

	hca = kzalloc_obj(*hca, GFP_KERNEL);
	if (!hca)
		return NULL;

	hca->ibdev = ibdev;
	INIT_LIST_HEAD(&hca->parents);
	if (ipoib_sa_init(&hca->sa, ibdev))
		goto err_free;

	hca->rtnl_wq = alloc_ordered_workqueue("ipoib_rtnl_%s", 0,
					       dev_name(&ibdev->dev));
	if (!hca->rtnl_wq)
		goto err_exit_sa;

	return hca;

err_exit_sa:
	ipoib_sa_exit(&hca->sa);
err_free:
	kfree(hca);
	return NULL;
}

static void ipoib_destroy_hca(struct ipoib_hca *hca)
{
	destroy_workqueue(hca->rtnl_wq);
	ipoib_sa_exit(&hca->sa);
	kfree(hca);
}

static void ipoib_add_ports(struct ipoib_hca *hca)
{
	struct ib_device *ibdev = hca->ibdev;
	unsigned int port;
	int err;

	rdma_for_each_port(ibdev, port) {
		if (!rdma_protocol_ib(ibdev, port)) {
			dev_info(&ibdev->dev,
				 "port %u has no InfiniBand link: no IPoIB interface\n",
				 port);
			continue;
		}
		err = ipoib_add_port(hca, port);
		if (err)
			dev_warn(&ibdev->dev,
				 "no IPoIB interface for port %u: %pe\n", port,
				 ERR_PTR(err));
	}
}

static struct ib_client ipoib_client;

static int ipoib_add_one(struct ib_device *ibdev)
{
	struct ipoib_hca *hca;

	hca = ipoib_create_hca(ibdev);
	if (!hca)
		return -ENOMEM;

	ipoib_add_ports(hca);
	if (list_empty(&hca->parents)) {
		ipoib_destroy_hca(hca);
		return -EOPNOTSUPP;
	}

	ib_set_client_data(ibdev, &ipoib_client, hca);
	return 0;
}

static void ipoib_remove_one(struct ib_device *ibdev, void *client_data)
{
	struct ipoib_hca *hca = client_data;
	struct ipoib_dev *ipd, *next;
	LIST_HEAD(list);

	/* all of them, before the first is waited for */
	list_for_each_entry(ipd, &hca->parents, sibling)
		ipoib_quit_parent(ipd);
	list_for_each_entry(ipd, &hca->parents, sibling)
		if (cancel_delayed_work_sync(&ipd->link.rtnl_work))
			dev_put(ipd->netdev);

	rtnl_lock();
	list_for_each_entry_safe(ipd, next, &hca->parents, sibling) {
		list_del_init(&ipd->sibling);
		ipoib_children_remove(ipd, &list);
		unregister_netdevice_queue(ipd->netdev, &list);
	}
	unregister_netdevice_many(&list);
	rtnl_unlock();
	ipoib_destroy_hca(hca);
}

static struct ib_client ipoib_client = {
	.name = "ipoib",
	.add = ipoib_add_one,
	.remove = ipoib_remove_one,
	.get_net_dev_by_params = ipoib_get_net_dev_by_params,
};

/* ---- notifier ---- */

/* RTNL. `ip link set broadcast` reaches a driver in no other way. */
static void ipoib_broadcast_changed(struct ipoib_dev *ipd)
{
	union ib_gid old;
	bool changed;

	mutex_lock(&ipd->link.lock);
	old = ipd->link.broadcast;
	ipoib_identity_take_broadcast(ipd);
	changed = memcmp(&old, &ipd->link.broadcast, sizeof(old));
	mutex_unlock(&ipd->link.lock);

	/* the membership in force is that of another group now */
	if (changed)
		ipoib_link_post(ipd, IPOIB_EV_JOIN_LOST);
}

static int ipoib_netdev_event(struct notifier_block *nb, unsigned long event,
			      void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);

	if (!ipoib_netdev_is_ours(dev))
		return NOTIFY_DONE;

	switch (event) {
	case NETDEV_CHANGEADDR:
		ipoib_broadcast_changed(ipoib_from_netdev(dev));
		break;
	case NETDEV_UP:
		ipoib_children_follow(ipoib_from_netdev(dev), true);
		break;
	case NETDEV_GOING_DOWN:
		ipoib_children_follow(ipoib_from_netdev(dev), false);
		break;
	case NETDEV_REGISTER:
		ipoib_fs_add(ipoib_from_netdev(dev));
		break;
	case NETDEV_CHANGENAME:
		ipoib_fs_rename(ipoib_from_netdev(dev));
		break;
	case NETDEV_UNREGISTER:
		ipoib_fs_remove(ipoib_from_netdev(dev));
		break;
	default:
		break;
	}

	return NOTIFY_DONE;
}

static struct notifier_block ipoib_netdev_notifier = {
	.notifier_call = ipoib_netdev_event,
};

/* ---- module ---- */

static int __init ipoib_module_init(void)
{
	int err;

	ipoib_fs_init();
	ipoib_ring_param("recv_queue_size", &ipoib_recv_queue_size,
			 IPOIB_RX_RING_LEAST);
	ipoib_ring_param("send_queue_size", &ipoib_send_queue_size,
			 IPOIB_TX_RING_LEAST);

	ib_sa_register_client(&ipoib_sa_client);
	err = rtnl_link_register(&ipoib_link_ops);
	if (err)
		goto err_unregister_sa;

	err = register_netdevice_notifier(&ipoib_netdev_notifier);
	if (err)
		goto err_unregister_link;

	err = ib_register_client(&ipoib_client);
	if (err)
		goto err_unregister_notifier;

	return 0;

err_unregister_notifier:
	unregister_netdevice_notifier(&ipoib_netdev_notifier);
err_unregister_link:
	rtnl_link_unregister(&ipoib_link_ops);
err_unregister_sa:
	ib_sa_unregister_client(&ipoib_sa_client);
	ipoib_fs_exit();
	return err;
}

/*
 * A reference to the module that is taken while it goes holds nothing up; not
 * to return does. Nothing but a reset of the machine helps that HCA anyway.
 */
static void ipoib_stay_for_kept(void)
{
	if (!READ_ONCE(ipoib_ud_keeps))
		return;

	pr_err("an HCA has kept a queue pair, and may call: the module stays, and rmmod does not return\n");
	for (;;)
		schedule_timeout_idle(MAX_SCHEDULE_TIMEOUT);
}

static void __exit ipoib_module_exit(void)
{
	ib_unregister_client(&ipoib_client);
	unregister_netdevice_notifier(&ipoib_netdev_notifier);
	rtnl_link_unregister(&ipoib_link_ops);
	/* waits for the last query's callback to return */
	ib_sa_unregister_client(&ipoib_sa_client);
	ipoib_fs_exit();
	rcu_barrier();
	ipoib_stay_for_kept();
}

module_init(ipoib_module_init);
module_exit(ipoib_module_exit);
