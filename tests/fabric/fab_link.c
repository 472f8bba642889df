// SPDX-License-Identifier: GPL-2.0
/*
 * Is the cable plugged, who has to hear of it, and how does a packet leave a
 * port?
 *
 * A link is up when both ends want it. When it comes up both ports are in INIT
 * and the subnet manager takes them further.
 *
 * Order of this file: training, news, packets.
 */
#include "fab_wirefault.h"

/* --- Training ------------------------------------------------------------ */

static bool fab_port_wants_link(const struct fab_port *port)
{
	const struct fab_hca *hca;

	lockdep_assert_held(&fabric.ctl);

	if (port->held_down || port->phys == FAB_PHYS_DISABLED)
		return false;

	if (fab_node_is_switch(port->node))
		return true;

	hca = rcu_dereference_protected(port->node->hca,
					lockdep_is_held(&fabric.ctl));
	return hca && !hca->dead;
}

/* What the subnet manager itself sets is no news to it (IBA 14.2.5.4). */
static void fab_switch_port_moved(struct fab_port *port, u8 old)
{
	if (old == IB_PORT_DOWN || port->state == IB_PORT_DOWN)
		fab_switch_port_changed(port->node);
}

/**
 * fab_port_set_state - give a port another PortState
 * @port: the port
 * @state: enum ib_port_state
 *
 * Context: ctl is held. The caller publishes the news when it has let go.
 */
void fab_port_set_state(struct fab_port *port, u8 state)
{
	u8 old = port->state;

	lockdep_assert_held(&fabric.ctl);

	if (old == state)
		return;

	WRITE_ONCE(port->state, state);
	if (fab_node_is_switch(port->node))
		fab_switch_port_moved(port, old);
	else if (state == IB_PORT_ACTIVE)
		__set_bit(IB_EVENT_PORT_ACTIVE, &port->news);
	else if (old == IB_PORT_ACTIVE)
		__set_bit(IB_EVENT_PORT_ERR, &port->news);
}

static void fab_port_train(struct fab_port *port, bool up)
{
	if (!up)
		WRITE_ONCE(port->breaks, port->breaks + 1);
	if (!up && port->state != IB_PORT_DOWN)
		fab_count(port, FAB_LINK_DOWNED);
	if (up)
		port->phys = FAB_PHYS_LINKUP;
	else if (port->phys == FAB_PHYS_LINKUP)
		port->phys = FAB_PHYS_POLLING;
	fab_port_set_state(port, up ? IB_PORT_INIT : IB_PORT_DOWN);
}

/**
 * fab_link_update - bring a link to what its two ends want
 * @port: either end
 *
 * Context: ctl is held. The caller publishes the news of both ends.
 */
void fab_link_update(struct fab_port *port)
{
	struct fab_port *peer = port->peer;
	bool up;

	lockdep_assert_held(&fabric.ctl);

	if (!peer)
		return;

	up = fab_port_wants_link(port) && fab_port_wants_link(peer);
	if (up == (port->phys == FAB_PHYS_LINKUP &&
		   peer->phys == FAB_PHYS_LINKUP))
		return;

	fab_port_train(port, up);
	fab_port_train(peer, up);
}

/**
 * fab_link_retrain - drop a link and let it come up again if it can
 * @port: either end
 *
 * Context: ctl is held. The caller publishes the news of both ends.
 */
void fab_link_retrain(struct fab_port *port)
{
	lockdep_assert_held(&fabric.ctl);

	if (!port->peer)
		return;

	fab_port_train(port, false);
	fab_port_train(port->peer, false);
	fab_link_update(port);
}

/**
 * fab_link_hold - pull a cable, or plug it again
 * @port: where
 * @down: pull it
 */
void fab_link_hold(struct fab_port *port, bool down)
{
	unsigned long flags;

	spin_lock_irqsave(&fabric.ctl, flags);
	port->held_down = down;
	fab_link_update(port);
	spin_unlock_irqrestore(&fabric.ctl, flags);

	fab_news_publish(port);
	if (port->peer)
		fab_news_publish(port->peer);
}

/* --- News ---------------------------------------------------------------- */

static void fab_news_dispatch(struct fab_hca *hca, struct fab_port *port,
			      unsigned long news)
{
	struct ib_event event = {
		.device = &hca->ibdev,
		.element.port_num = port->num,
	};
	unsigned int type;

	for_each_set_bit(type, &news, BITS_PER_LONG) {
		event.event = type;
		fab_event_raised(&port->events, type);
		ib_dispatch_event(&event);
	}
}

/**
 * fab_news_publish - tell ib_core what happened at a port
 * @port: the port; of a switch there is nothing to tell here, its traps are
 *	sent by a timer
 *
 * What happens while ib_core registers the HCA waits until it listens.
 * Context: any, ctl is not held. ib_core hands events to a workqueue.
 */
void fab_news_publish(struct fab_port *port)
{
	unsigned long flags, news = 0;
	struct fab_hca *hca;

	rcu_read_lock();
	hca = rcu_dereference(port->node->hca);
	spin_lock_irqsave(&fabric.ctl, flags);
	if (hca && READ_ONCE(hca->listening))
		swap(news, port->news);
	spin_unlock_irqrestore(&fabric.ctl, flags);
	if (news)
		fab_news_dispatch(hca, port, news);
	rcu_read_unlock();
}

/* --- Packets ------------------------------------------------------------- */

/**
 * fab_link_is_up - does what leaves a port arrive at the other end
 * @port: the port
 *
 * Context: any.
 * Return: true when a cable is plugged at both ends.
 */
bool fab_link_is_up(const struct fab_port *port)
{
	return port->peer && READ_ONCE(port->phys) == FAB_PHYS_LINKUP &&
	       READ_ONCE(port->peer->phys) == FAB_PHYS_LINKUP;
}

/**
 * fab_link_arrive - a packet comes out of the cable
 * @port: port it arrives at
 * @pkt: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_link_arrive(struct fab_port *port, struct fab_packet *pkt)
{
	fab_count(port, FAB_RCV_PACKETS);
	fab_count_add(port, FAB_RCV_WORDS, fab_packet_words(pkt));
	if (fab_lid_is_mcast(pkt->dlid))
		fab_count(port, FAB_RCV_MCAST);

	if (fab_node_is_switch(port->node))
		fab_switch_forward(port, pkt);
	else
		fab_ud_receive(port, pkt);
}

/**
 * fab_link_cross - carry a packet over the cable
 * @port: port it leaves from; its state was looked at
 * @pkt: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_link_cross(struct fab_port *port, struct fab_packet *pkt)
{
	const struct fab_freight what = { .pkt = pkt };

	if (!fab_link_is_up(port)) {
		fab_count(port, FAB_DROP_LINK_DOWN);
		return;
	}

	fab_count(port, FAB_XMIT_PACKETS);
	fab_count_add(port, FAB_XMIT_WORDS, fab_packet_words(pkt));
	if (fab_lid_is_mcast(pkt->dlid))
		fab_count(port, FAB_XMIT_MCAST);
	if (unlikely(READ_ONCE(port->faults)))
		fab_wire_leave(port, &what);
	else
		fab_link_arrive(port->peer, pkt);
}

/**
 * fab_link_send - a queue pair sends a packet from a port of an HCA
 * @port: the port
 * @pkt: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_link_send(struct fab_port *port, struct fab_packet *pkt)
{
	if (READ_ONCE(port->state) != IB_PORT_ACTIVE) {
		fab_count(port, FAB_DROP_PORT_STATE);
		return;
	}

	if (fab_lid_is_mcast(pkt->dlid)) {
		fab_ud_echo(port, pkt);
	} else if (fab_port_has_lid(port, pkt->dlid)) {
		fab_ud_receive(port, pkt);
		return;
	}
	fab_link_cross(port, pkt);
}

/**
 * fab_link_arrive_smp - a subnet management packet comes out of the cable
 * @port: port it arrives at
 * @smp: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_link_arrive_smp(struct fab_port *port, const struct fab_smp *smp)
{
	fab_count(port, FAB_RCV_PACKETS);
	fab_count_add(port, FAB_RCV_WORDS, FAB_WORDS_SMP);

	if (fab_node_is_switch(port->node))
		fab_switch_queue_smp(port, smp);
	else
		fab_ud_receive_smp(port, smp);
}

static void fab_link_cross_smp(struct fab_port *port,
			       const struct fab_smp *smp)
{
	const struct fab_freight what = { .smp = smp };

	if (!fab_link_is_up(port)) {
		fab_count(port, FAB_DROP_LINK_DOWN);
		return;
	}

	fab_count(port, FAB_XMIT_PACKETS);
	fab_count_add(port, FAB_XMIT_WORDS, FAB_WORDS_SMP);
	if (unlikely(READ_ONCE(port->faults)))
		fab_wire_leave(port, &what);
	else
		fab_link_arrive_smp(port->peer, smp);
}

/**
 * fab_link_send_smp - a subnet management packet leaves a port
 * @port: port of an HCA or of a switch
 * @smp: the packet
 *
 * SMPs travel in every state of the ports as long as the cable is plugged.
 * Context: softirq, RCU read section.
 */
void fab_link_send_smp(struct fab_port *port, const struct fab_smp *smp)
{
	bool own = !fab_node_is_switch(port->node) &&
		   fab_port_has_lid(port, smp->dlid);

	if (own)
		fab_ud_receive_smp(port, smp);
	else
		fab_link_cross_smp(port, smp);
}
