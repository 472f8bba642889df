// SPDX-License-Identifier: GPL-2.0
/*
 * How does a packet wait before it goes onto its cable?
 *
 * In a parcel, a copy of packet and payload that outlives the queue pair it
 * was sent from. Ports live as long as the module, so a parcel may name them.
 * A timer of the port sends parcels on; it works in softirq, as senders do, and
 * lets others in between.
 *
 * Order of this file: parcels, sending on, waiting, life.
 */
#include <linux/slab.h>

#include "fab_wirefault.h"

/* Parcels that go on before others get the processor */
#define FAB_LANE_BUDGET 64

/* Faults as they are set; tests change them, packets only read. */
DEFINE_MUTEX(fab_lane_mutex);

/* --- Parcels ------------------------------------------------------------- */

static void fab_parcel_fill(struct fab_parcel *parcel,
			    const struct fab_packet *pkt)
{
	parcel->pkt = *pkt;
	parcel->freight.pkt = &parcel->pkt;
	fab_copy_from(parcel->payload, pkt->sge, pkt->num_sge);
	parcel->sge.addr = (uintptr_t)parcel->payload;
	parcel->sge.length = pkt->length;
	parcel->sge.lkey = FAB_LOCAL_LKEY;
	parcel->pkt.sge = &parcel->sge;
	parcel->pkt.num_sge = 1;
}

/**
 * fab_parcel_pack - copy a packet that is about to leave a port
 * @lane: the port's; counts the packet as dropped when memory lacks
 * @what: the packet
 *
 * Context: softirq.
 * Return: the copy, to be freed with kfree(), or NULL.
 */
struct fab_parcel *fab_parcel_pack(struct fab_lane *lane,
				   const struct fab_freight *what)
{
	u32 length = what->pkt ? what->pkt->length : 0;
	struct fab_parcel *parcel;

	parcel = kzalloc(struct_size(parcel, payload, length), GFP_ATOMIC);
	if (!parcel) {
		fab_count(lane->port, FAB_DROP_NO_MEMORY);
		return NULL;
	}

	parcel->breaks = READ_ONCE(lane->port->breaks);
	if (what->pkt) {
		fab_parcel_fill(parcel, what->pkt);
	} else {
		parcel->smp = *what->smp;
		parcel->freight.smp = &parcel->smp;
	}
	return parcel;
}

/* --- Sending on ---------------------------------------------------------- */

/**
 * fab_lane_carry - over the cable, with nothing more in the way
 * @lane: the port's
 * @what: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_lane_carry(struct fab_lane *lane, const struct fab_freight *what)
{
	if (!fab_link_is_up(lane->port)) {
		fab_count(lane->port, FAB_DROP_LINK_DOWN);
		return;
	}

	fab_capture(lane->port->peer, what);
	if (what->pkt)
		fab_link_arrive(lane->port->peer, what->pkt);
	else
		fab_link_arrive_smp(lane->port->peer, what->smp);
}

/* What is on a cable when it is pulled does not arrive when it is back. */
static void fab_lane_send_on(struct fab_lane *lane, struct fab_parcel *parcel,
			     void (*how)(struct fab_lane *lane,
					 const struct fab_freight *what))
{
	if (parcel->breaks != READ_ONCE(lane->port->breaks))
		fab_count(lane->port, FAB_DROP_LINK_DOWN);
	else
		how(lane, &parcel->freight);
	kfree(parcel);
}

static void fab_lane_send_all(struct fab_lane *lane, struct list_head *list,
			      void (*how)(struct fab_lane *lane,
					  const struct fab_freight *what))
{
	struct fab_parcel *parcel, *next;

	list_for_each_entry_safe(parcel, next, list, list)
		fab_lane_send_on(lane, parcel, how);
}

/* --- Waiting ------------------------------------------------------------- */

static ktime_t fab_lane_next_due(struct fab_lane *lane)
{
	struct fab_parcel *first;
	ktime_t due = KTIME_MAX;
	int why;

	lockdep_assert_held(&lane->lock);

	for (why = 0; why < FAB_WAITS; why++) {
		first = list_first_entry_or_null(&lane->queues[why],
						 struct fab_parcel, list);
		if (first)
			due = min(due, first->due);
	}

	return due;
}

static void fab_lane_arm(struct fab_lane *lane)
{
	ktime_t due = fab_lane_next_due(lane);

	if (due != KTIME_MAX)
		hrtimer_start(&lane->timer, due, HRTIMER_MODE_ABS_SOFT);
}

/* Behind all that are due before it or at the same time. */
static void fab_queue_insert(struct list_head *queue, struct fab_parcel *parcel)
{
	struct fab_parcel *before;

	list_for_each_entry_reverse(before, queue, list) {
		if (before->due <= parcel->due)
			break;
	}
	list_add(&parcel->list, &before->list);
}

static bool fab_lane_queue(struct fab_lane *lane, struct fab_parcel *parcel,
			   enum fab_wait why, u32 room)
{
	struct list_head *queue = &lane->queues[why];

	lockdep_assert_held(&lane->lock);

	if (lane->waiting >= room)
		return false;

	/* A delay that was made shorter does not change the order. */
	if (why != FAB_WAIT_MAD && !list_empty(queue))
		parcel->due = max(parcel->due,
				  list_last_entry(queue, struct fab_parcel,
						  list)->due);
	fab_queue_insert(queue, parcel);
	lane->waiting++;
	if (list_is_first(&parcel->list, queue))
		fab_lane_arm(lane);
	return true;
}

/**
 * fab_lane_park - let a packet wait
 * @lane: the lane of the port it leaves from
 * @what: the packet, which is copied
 * @why: which queue
 * @fault: for how long, in how much room, and how many are to overtake
 *
 * Context: softirq.
 */
void fab_lane_park(struct fab_lane *lane, const struct fab_freight *what,
		   enum fab_wait why, const struct fab_fault *fault)
{
	struct fab_parcel *parcel = fab_parcel_pack(lane, what);
	bool queued;

	if (!parcel)
		return;

	parcel->due = ktime_add_us(ktime_get(), fault->us);
	parcel->overtakers = fault->by;
	spin_lock(&lane->lock);
	queued = fab_lane_queue(lane, parcel, why, fault->room);
	spin_unlock(&lane->lock);

	if (!queued) {
		kfree(parcel);
		fab_count(lane->port, FAB_DROP_FAULT_OVERFLOW);
	}
}

/**
 * fab_lane_overtake - a packet has passed those that wait to be overtaken
 * @lane: the lane of the port it left from
 * @what: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_lane_overtake(struct fab_lane *lane, const struct fab_freight *what)
{
	struct list_head *queue = &lane->queues[FAB_WAIT_REORDER];
	struct fab_parcel *parcel, *next;
	LIST_HEAD(overtaken);

	if (list_empty(queue))
		return;

	spin_lock(&lane->lock);
	list_for_each_entry_safe(parcel, next, queue, list) {
		if (fab_freight_qp(&parcel->freight) != fab_freight_qp(what) ||
		    --parcel->overtakers)
			continue;
		list_move_tail(&parcel->list, &overtaken);
		lane->waiting--;
	}
	spin_unlock(&lane->lock);

	fab_lane_send_all(lane, &overtaken, fab_lane_carry);
}

static int fab_lane_take_due(struct fab_lane *lane, enum fab_wait why,
			     int budget, struct list_head *taken)
{
	struct fab_parcel *parcel, *next;
	ktime_t now = ktime_get();

	lockdep_assert_held(&lane->lock);

	list_for_each_entry_safe(parcel, next, &lane->queues[why], list) {
		if (!budget || parcel->due > now)
			break;
		list_move_tail(&parcel->list, taken);
		lane->waiting--;
		budget--;
	}

	return budget;
}

static enum hrtimer_restart fab_lane_timeout(struct hrtimer *timer)
{
	struct fab_lane *lane = container_of(timer, struct fab_lane, timer);
	int budget = FAB_LANE_BUDGET;
	LIST_HEAD(never_overtaken);
	LIST_HEAD(delayed);

	spin_lock(&lane->lock);
	budget = fab_lane_take_due(lane, FAB_WAIT_MAD, budget, &delayed);
	budget = fab_lane_take_due(lane, FAB_WAIT_DELAY, budget, &delayed);
	fab_lane_take_due(lane, FAB_WAIT_REORDER, budget, &never_overtaken);
	spin_unlock(&lane->lock);

	rcu_read_lock();
	fab_lane_send_all(lane, &delayed, fab_wire_depart);
	fab_lane_send_all(lane, &never_overtaken, fab_lane_carry);
	rcu_read_unlock();

	spin_lock(&lane->lock);
	fab_lane_arm(lane);
	spin_unlock(&lane->lock);
	return HRTIMER_NORESTART;
}

/* --- Life ---------------------------------------------------------------- */

/**
 * fab_lane_create - the lane of a port
 * @port: the port
 *
 * Return: 0 or -ENOMEM.
 */
int fab_lane_create(struct fab_port *port)
{
	struct fab_lane *lane = kzalloc_obj(*lane, GFP_KERNEL);
	int i;

	if (!lane)
		return -ENOMEM;

	lane->port = port;
	INIT_LIST_HEAD(&lane->mads);
	spin_lock_init(&lane->lock);
	for (i = 0; i < FAB_WAITS; i++)
		INIT_LIST_HEAD(&lane->queues[i]);
	for (i = 0; i < FAB_FAULT_SLOTS; i++) {
		lane->slots[i].lane = lane;
		lane->slots[i].kind = i;
	}
	hrtimer_setup(&lane->timer, fab_lane_timeout, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_SOFT);
	port->lane = lane;
	return 0;
}

static void fab_lane_empty(struct fab_lane *lane)
{
	struct fab_parcel *parcel, *next;
	int why;

	hrtimer_cancel(&lane->timer);
	for (why = 0; why < FAB_WAITS; why++) {
		list_for_each_entry_safe(parcel, next, &lane->queues[why], list)
			kfree(parcel);
		INIT_LIST_HEAD(&lane->queues[why]);
	}
}

static void fab_lanes_of(struct fab_node *nodes, unsigned int n,
			 void (*what)(struct fab_port *port))
{
	unsigned int i, num;

	for (i = 0; i < n; i++) {
		for (num = 1; nodes[i].ports && num <= nodes[i].num_ports;
		     num++) {
			if (nodes[i].ports[num].lane)
				what(&nodes[i].ports[num]);
		}
	}
}

static void fab_lane_close(struct fab_port *port)
{
	WRITE_ONCE(port->faults, 0);
}

static void fab_lane_stop(struct fab_port *port)
{
	fab_lane_empty(port->lane);
}

/**
 * fab_lanes_stop - let no packet wait any more, before nodes are destroyed
 *
 * Context: may sleep; no HCA is left.
 */
void fab_lanes_stop(void)
{
	fab_lanes_of(fabric.hcas, fabric.num_hcas, fab_lane_close);
	fab_lanes_of(fabric.switches, fabric.num_switches, fab_lane_close);
	/* Nobody is about to park a packet after this. */
	synchronize_rcu();
	fab_lanes_of(fabric.hcas, fabric.num_hcas, fab_lane_stop);
	fab_lanes_of(fabric.switches, fabric.num_switches, fab_lane_stop);
}

/**
 * fab_lane_destroy - free the lane of a port
 * @port: the port; its lane has been stopped, or there is none
 */
void fab_lane_destroy(struct fab_port *port)
{
	struct fab_lane *lane = port->lane;
	int i;

	if (!lane)
		return;

	mutex_lock(&fab_lane_mutex);
	fab_mad_clear(lane);
	mutex_unlock(&fab_lane_mutex);
	for (i = 0; i < FAB_FAULT_SLOTS; i++)
		kfree(rcu_dereference_protected(lane->slots[i].fault, true));
	kfree(lane);
	port->lane = NULL;
}
