// SPDX-License-Identifier: GPL-2.0
/*
 * Through which port does a switch send a packet on?
 *
 * Data follow the tables the subnet manager wrote and never wait here.
 * Subnet management packets are copied and wait for the switch's tasklet, as
 * they may change those tables, and may be answered.
 *
 * Order of this file: data, management packets, traps, life.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "fabric.h"

/* First and longest pause between two repetitions of a trap. */
#define FAB_TRAP_FIRST_MS	100
#define FAB_TRAP_LONGEST_MS	4000

/* --- Data ---------------------------------------------------------------- */

static void fab_switch_emit(struct fab_port *out, struct fab_packet *pkt)
{
	if (READ_ONCE(out->state) != IB_PORT_ACTIVE)
		fab_count(out, FAB_DROP_PORT_STATE);
	else if (pkt->length > READ_ONCE(out->mtu_bytes))
		fab_count(out, FAB_DROP_MTU);
	else
		fab_link_cross(out, pkt);
}

static u8 fab_switch_lookup(const struct fab_switch *sw, u16 dlid)
{
	u16 top = be16_to_cpu(READ_ONCE(sw->info.linear_top));

	return dlid && dlid <= top ? READ_ONCE(sw->lft[dlid]) : FAB_LFT_DROP;
}

/**
 * fab_switch_unicast - send a packet on by its destination LID
 * @in: port it arrived at, or port 0 for one of the switch's own
 * @pkt: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_switch_unicast(struct fab_port *in, struct fab_packet *pkt)
{
	struct fab_node *node = in->node;
	u8 out = fab_switch_lookup(node->sw, pkt->dlid);

	if (out == 0)
		fab_pma_switch_gmp(in, pkt);
	else if (out > node->num_ports)
		fab_count(in, FAB_DROP_NO_ROUTE);
	else if (out == in->num)
		fab_count(in, FAB_DROP_LOOPING);
	else
		fab_switch_emit(&node->ports[out], pkt);
}

/* The ports of one word of a multicast entry, without the one it came in by. */
static u16 fab_mft_ports(const struct fab_port *in, u16 index,
			 unsigned int position)
{
	u16 ports = READ_ONCE(in->node->sw->mft[index][position]);

	if (in->num / 16 == position)
		ports &= ~BIT(in->num % 16);
	/* Port 0, the switch itself, listens to no group. */
	return position ? ports : ports & ~BIT(0);
}

static void fab_switch_mcast(struct fab_port *in, struct fab_packet *pkt)
{
	u16 index = pkt->dlid - FAB_LID_MCAST_MIN;
	struct fab_node *node = in->node;
	unsigned int copies = 0;
	unsigned int position;

	for (position = 0; index < FAB_MFT_SIZE &&
	     position * 16 <= node->num_ports; position++) {
		unsigned long ports = fab_mft_ports(in, index, position);
		unsigned int bit;

		for_each_set_bit(bit, &ports, 16) {
			if (position * 16 + bit > node->num_ports)
				break;
			fab_switch_emit(&node->ports[position * 16 + bit], pkt);
			copies++;
		}
	}

	if (copies)
		fab_count_add(in, FAB_REPLICATED, copies - 1);
	else
		fab_count(in, FAB_DROP_NO_MEMBER);
}

/**
 * fab_switch_forward - a packet arrived at a port of a switch
 * @in: the port
 * @pkt: the packet
 *
 * Context: softirq, RCU read section. Calls itself when switches are chained;
 * FAB_MAX_HOPS bounds the depth.
 */
void fab_switch_forward(struct fab_port *in, struct fab_packet *pkt)
{
	if (READ_ONCE(in->state) < IB_PORT_ARMED) {
		fab_count(in, FAB_DROP_RCV_STATE);
		return;
	}
	if (pkt->hops >= FAB_MAX_HOPS) {
		fab_count(in, FAB_DROP_HOPS);
		return;
	}

	pkt->hops++;
	if (fab_lid_is_mcast(pkt->dlid))
		fab_switch_mcast(in, pkt);
	else
		fab_switch_unicast(in, pkt);
	pkt->hops--;
}

/* --- Management packets -------------------------------------------------- */

static void fab_switch_send_smp(struct fab_node *node, u8 out,
				const struct fab_smp *smp)
{
	if (out && out <= node->num_ports)
		fab_link_send_smp(&node->ports[out], smp);
	else
		fab_count(smp->in_port, FAB_DROP_NO_ROUTE);
}

static void fab_switch_bad_smp(const struct fab_smp *smp)
{
	fab_count(smp->in_port, FAB_DROP_BAD_SMP);
}

/* An answer is a new packet; the question ended here. */
static bool fab_switch_answer(struct fab_smp *smp)
{
	struct ib_smp resp;

	if (!fab_mad_is_request((const struct ib_mad_hdr *)&smp->mad) ||
	    !fab_sma_answer(smp->in_port, &smp->mad, &resp, false)) {
		fab_switch_bad_smp(smp);
		return false;
	}

	fab_count(smp->in_port, FAB_DELIVERED);
	fab_count(smp->in_port, FAB_SENT);
	smp->mad = resp;
	return true;
}

static void fab_switch_route_smp(struct fab_node *node, struct fab_smp *smp)
{
	fab_switch_send_smp(node, fab_switch_lookup(node->sw, smp->dlid), smp);
}

/*
 * Switches form a line, so a packet that never turns back cannot loop. Data
 * have the same rule, see fab_switch_unicast().
 */
static void fab_switch_forward_smp(struct fab_node *node, struct fab_smp *smp)
{
	u8 out = fab_switch_lookup(node->sw, smp->dlid);

	if (out == smp->in_port->num)
		fab_count(smp->in_port, FAB_DROP_LOOPING);
	else
		fab_switch_send_smp(node, out, smp);
}

/* The directed part of a path ends here, and one by LIDs begins. */
static void fab_switch_leave_dr(struct fab_node *node, struct fab_smp *smp,
				__be16 dlid)
{
	smp->slid = READ_ONCE(node->ports[0].lid);
	smp->dlid = be16_to_cpu(dlid);
	fab_switch_route_smp(node, smp);
}

static void fab_switch_step_dr(struct fab_node *node, struct fab_smp *smp,
			       u8 out)
{
	smp->slid = FAB_LID_PERMISSIVE;
	smp->dlid = FAB_LID_PERMISSIVE;
	fab_switch_send_smp(node, out, smp);
}

/* IBA 14.2.2.3: back along the path it came. */
static void fab_switch_return_dr(struct fab_node *node, struct fab_smp *smp)
{
	struct ib_smp *mad = &smp->mad;
	bool last = mad->hop_ptr == 1;

	if (!mad->hop_ptr || mad->hop_ptr > mad->hop_cnt + 1 ||
	    (last && mad->dr_slid == IB_LID_PERMISSIVE)) {
		fab_switch_bad_smp(smp);
		return;
	}

	mad->hop_ptr--;
	if (last)
		fab_switch_leave_dr(node, smp, mad->dr_slid);
	else
		fab_switch_step_dr(node, smp, mad->return_path[mad->hop_ptr]);
}

/* IBA 14.2.2.2: outward, or to this switch. */
static void fab_switch_advance_dr(struct fab_node *node, struct fab_smp *smp)
{
	struct ib_smp *mad = &smp->mad;

	/* Pointer 0 begins the directed part, behind one by LIDs. */
	if (mad->hop_ptr > mad->hop_cnt ||
	    (!mad->hop_ptr && smp->dlid == FAB_LID_PERMISSIVE)) {
		fab_switch_bad_smp(smp);
		return;
	}

	if (mad->hop_ptr)
		mad->return_path[mad->hop_ptr] = smp->in_port->num;
	mad->hop_ptr++;
	if (mad->hop_ptr <= mad->hop_cnt)
		fab_switch_step_dr(node, smp, mad->initial_path[mad->hop_ptr]);
	else if (mad->dr_dlid != IB_LID_PERMISSIVE)
		fab_switch_leave_dr(node, smp, mad->dr_dlid);
	else if (fab_switch_answer(smp))
		fab_switch_return_dr(node, smp);
}

static void fab_switch_lid_routed(struct fab_node *node, struct fab_smp *smp)
{
	u16 from = smp->slid;

	if (smp->mad.method == IB_MGMT_METHOD_TRAP_REPRESS) {
		fab_count(smp->in_port, FAB_DELIVERED);
		fab_switch_repress(node, smp->mad.tid);
		return;
	}
	if (!fab_switch_answer(smp))
		return;

	smp->slid = smp->dlid;
	smp->dlid = from;
	fab_switch_route_smp(node, smp);
}

static void fab_switch_handle_smp(struct fab_node *node, struct fab_smp *smp)
{
	struct ib_smp *mad = &smp->mad;

	if (!fab_smp_is_smp(mad) || (fab_smp_is_directed(mad) &&
				     mad->hop_cnt >= IB_SMP_MAX_PATH_HOPS))
		fab_switch_bad_smp(smp);
	else if (smp->dlid != FAB_LID_PERMISSIVE &&
		 !fab_port_has_lid(&node->ports[0], smp->dlid))
		fab_switch_forward_smp(node, smp);
	else if (!fab_smp_is_directed(mad))
		fab_switch_lid_routed(node, smp);
	else if (fab_smp_is_returning(mad))
		fab_switch_return_dr(node, smp);
	else
		fab_switch_advance_dr(node, smp);
}

static struct fab_smp *fab_switch_pop_smp(struct fab_switch *sw)
{
	struct fab_smp *smp;
	unsigned long flags;

	spin_lock_irqsave(&sw->vl15_lock, flags);
	smp = list_first_entry_or_null(&sw->vl15, struct fab_smp, list);
	if (smp) {
		list_del(&smp->list);
		sw->vl15_len--;
	}
	spin_unlock_irqrestore(&sw->vl15_lock, flags);

	return smp;
}

static void fab_switch_work(struct tasklet_struct *work)
{
	struct fab_switch *sw = from_tasklet(sw, work, work);
	struct fab_smp *smp;

	rcu_read_lock();
	while ((smp = fab_switch_pop_smp(sw))) {
		fab_switch_handle_smp(sw->node, smp);
		kfree(smp);
	}
	rcu_read_unlock();
}

/**
 * fab_switch_queue_smp - a subnet management packet arrived at a switch
 * @in: port it arrived at; the management port for one that starts here
 * @smp: the packet, which is copied
 *
 * Context: any.
 */
void fab_switch_queue_smp(struct fab_port *in, const struct fab_smp *smp)
{
	struct fab_switch *sw = in->node->sw;
	struct fab_smp *copy;
	unsigned long flags;
	bool room;

	copy = kmemdup(smp, sizeof(*smp), GFP_ATOMIC);
	if (!copy) {
		fab_count(in, FAB_DROP_NO_MEMORY);
		return;
	}
	copy->in_port = in;

	spin_lock_irqsave(&sw->vl15_lock, flags);
	room = sw->vl15_len < FAB_VL15_DEPTH;
	if (room) {
		list_add_tail(&copy->list, &sw->vl15);
		sw->vl15_len++;
	}
	spin_unlock_irqrestore(&sw->vl15_lock, flags);

	if (room) {
		tasklet_schedule(&sw->work);
	} else {
		kfree(copy);
		fab_count(in, FAB_DROP_VL15);
	}
}

/* --- Traps --------------------------------------------------------------- */

/**
 * struct fab_notice - attribute Notice with the details of trap 128
 * @type: urgent, generic
 * @producer: kind of node, 24 bits
 * @trap: trap number
 * @issuer_lid: LID of the switch
 * @toggle_count: of a notice queue, which we have not
 * @lid: LID of the switch whose port changed
 *
 * Source: IBA 13.4.8.2 and 14.2.5.1.
 */
struct fab_notice {
	u8 type;
	u8 producer[3];
	__be16 trap;
	__be16 issuer_lid;
	__be16 toggle_count;
	__be16 lid;
} __packed;

static bool fab_trap_build(struct fab_node *node, struct fab_smp *smp)
{
	struct fab_port *port0 = &node->ports[0];
	struct fab_notice *notice = (void *)smp->mad.data;

	lockdep_assert_held(&fabric.ctl);

	memset(smp, 0, sizeof(*smp));
	smp->in_port = port0;
	smp->slid = port0->lid;
	smp->dlid = be16_to_cpu(port0->info.sm_lid);
	if (!smp->slid || !smp->dlid)
		return false;

	smp->mad.base_version = IB_MGMT_BASE_VERSION;
	smp->mad.mgmt_class = IB_MGMT_CLASS_SUBN_LID_ROUTED;
	smp->mad.class_version = 1;
	smp->mad.method = IB_MGMT_METHOD_TRAP;
	smp->mad.tid = cpu_to_be64(node->sw->trap_tid);
	smp->mad.attr_id = IB_SMP_ATTR_NOTICE;
	smp->mad.mkey = port0->info.mkey;
	notice->type = FAB_NOTICE_GENERIC | FAB_NOTICE_URGENT;
	notice->producer[2] = FAB_PRODUCER_SWITCH;
	notice->trap = cpu_to_be16(FAB_TRAP_PORT_STATE);
	notice->issuer_lid = cpu_to_be16(smp->slid);
	notice->lid = notice->issuer_lid;
	return true;
}

/* Repeats the trap, ever more slowly, until somebody answers (IBA 13.4.9). */
static void fab_trap_timeout(struct timer_list *timer)
{
	struct fab_switch *sw = timer_container_of(sw, timer, trap_timer);
	bool pending, addressed = false;
	struct fab_smp smp;
	unsigned long flags;

	spin_lock_irqsave(&fabric.ctl, flags);
	pending = sw->trap_pending;
	if (pending) {
		addressed = fab_trap_build(sw->node, &smp);
		mod_timer(&sw->trap_timer,
			  jiffies + msecs_to_jiffies(sw->trap_wait_ms));
		sw->trap_wait_ms = min(sw->trap_wait_ms * 2,
				       FAB_TRAP_LONGEST_MS);
	}
	spin_unlock_irqrestore(&fabric.ctl, flags);

	if (!addressed)
		return;
	fab_count(smp.in_port, FAB_SENT);
	rcu_read_lock();
	fab_switch_route_smp(sw->node, &smp);
	rcu_read_unlock();
}

/**
 * fab_switch_port_changed - a link of this switch came up or went down
 * @node: the switch
 *
 * Context: ctl is held.
 */
void fab_switch_port_changed(struct fab_node *node)
{
	struct fab_switch *sw = node->sw;

	lockdep_assert_held(&fabric.ctl);

	sw->info.lifetime_change |= FAB_SI_STATE_CHANGE;
	sw->trap_pending = true;
	sw->trap_tid++;
	sw->trap_wait_ms = FAB_TRAP_FIRST_MS;
	if (!sw->closing)
		mod_timer(&sw->trap_timer, jiffies);
}

/**
 * fab_switch_repress - the subnet manager has heard the trap
 * @node: the switch
 * @tid: transaction of the trap; an older one leaves a newer trap pending
 */
void fab_switch_repress(struct fab_node *node, __be64 tid)
{
	struct fab_switch *sw = node->sw;
	unsigned long flags;

	spin_lock_irqsave(&fabric.ctl, flags);
	if (be64_to_cpu(tid) == sw->trap_tid)
		sw->trap_pending = false;
	spin_unlock_irqrestore(&fabric.ctl, flags);
}

/* --- Life ---------------------------------------------------------------- */

int fab_switch_init(struct fab_node *node)
{
	struct fab_switch *sw;

	sw = kzalloc_obj(*sw, GFP_KERNEL);
	if (!sw)
		return -ENOMEM;
	sw->lft = vmalloc(FAB_LFT_SIZE);
	sw->mft = vzalloc(array_size(FAB_MFT_SIZE, sizeof(*sw->mft)));
	if (!sw->lft || !sw->mft) {
		vfree(sw->mft);
		vfree(sw->lft);
		kfree(sw);
		return -ENOMEM;
	}

	memset(sw->lft, FAB_LFT_DROP, FAB_LFT_SIZE);
	sw->node = node;
	sw->info.linear_cap = cpu_to_be16(FAB_LFT_SIZE);
	sw->info.mcast_cap = cpu_to_be16(FAB_MFT_SIZE);
	spin_lock_init(&sw->vl15_lock);
	INIT_LIST_HEAD(&sw->vl15);
	tasklet_setup(&sw->work, fab_switch_work);
	timer_setup(&sw->trap_timer, fab_trap_timeout, 0);
	node->sw = sw;
	return 0;
}

/* No HCA is left, so no packet is on its way. */
void fab_switch_destroy(struct fab_node *node)
{
	struct fab_switch *sw = node->sw;
	struct fab_smp *smp;

	if (!sw)
		return;

	spin_lock_irq(&fabric.ctl);
	sw->closing = true;
	sw->trap_pending = false;
	spin_unlock_irq(&fabric.ctl);
	timer_delete_sync(&sw->trap_timer);
	tasklet_kill(&sw->work);
	while ((smp = fab_switch_pop_smp(sw)))
		kfree(smp);
	vfree(sw->mft);
	vfree(sw->lft);
	kfree(sw);
	node->sw = NULL;
}
