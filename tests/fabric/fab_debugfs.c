// SPDX-License-Identifier: GPL-2.0
/*
 * What can a test see of the fabric, and change in it, by hand?
 *
 *	/sys/kernel/debug/ib_fabric/
 *		counters		all ports together, and the balance
 *		seed			where pseudo-random faults begin
 *		fab<i>/qps		queue pairs
 *		fab<i>/cqs		completion queues
 *		fab<i>/memory		what these would take on a real HCA
 *		fab<i>/vfs		virtual functions
 *		offload_check		see fab_check.c
 *		fab<i>/ahs		address handles
 *		fab<i>/port<p>/groups	multicast groups attached to
 *		<node>/port<p>/counters	this port
 *		<node>/port<p>/pcap	what its cable carries, live
 *		<node>/port<p>/link	up or down; write the same
 *		<node>/port<p>/faults/	of packets that leave here; but of those
 *					that arrive: rx_csum
 *		fab<i>/port<p>/inject	write a datagram to send
 *		switch<k>/lft		"LID PORT"; write one to set it
 *		switch<k>/mft		"MLID PORT..."; write "MLID add|del PORT"
 *
 * Order of this file: counters, links, tables, queue pairs, completion queues,
 * tree.
 */
#include "fab_check_run.h"
#include "fab_debugfs.h"
#include "fab_hcafault.h"
#include "fab_wirefault.h"

static struct dentry *fab_root;

/* --- Counters ------------------------------------------------------------ */

static const char * const fab_counter_names[FAB_COUNTERS] = {
	[FAB_SENT] = "sent",
	[FAB_REPLICATED] = "replicated",
	[FAB_DELIVERED] = "delivered",
	[FAB_XMIT_PACKETS] = "xmit_packets",
	[FAB_XMIT_MCAST] = "xmit_mcast",
	[FAB_XMIT_WORDS] = "xmit_words",
	[FAB_RCV_PACKETS] = "rcv_packets",
	[FAB_RCV_MCAST] = "rcv_mcast",
	[FAB_RCV_WORDS] = "rcv_words",
	[FAB_LINK_DOWNED] = "link_downed",
	[FAB_CAPTURED] = "captured",
	[FAB_CAPTURE_LOST] = "capture_lost",
	[FAB_INLINE] = "inline",
	[FAB_LSO_REQUESTS] = "lso_requests",
	[FAB_LSO_SEGMENTS] = "lso_segments",
	[FAB_CSUM_MADE] = "csum_made",
	[FAB_CSUM_VOUCHED] = "csum_vouched",
	[FAB_DROP_LINK_DOWN] = "dropped_link_down",
	[FAB_DROP_PORT_STATE] = "dropped_port_state",
	[FAB_DROP_RCV_STATE] = "dropped_rcv_state",
	[FAB_DROP_MTU] = "dropped_mtu",
	[FAB_DROP_NO_ROUTE] = "dropped_no_route",
	[FAB_DROP_LOOPING] = "dropped_looping",
	[FAB_DROP_HOPS] = "dropped_hops",
	[FAB_DROP_NO_MEMBER] = "dropped_no_member",
	[FAB_DROP_NO_ATTACH] = "dropped_no_attach",
	[FAB_DROP_NOT_OUR_LID] = "dropped_not_our_lid",
	[FAB_DROP_DGID] = "dropped_dgid",
	[FAB_DROP_NO_QP] = "dropped_no_qp",
	[FAB_DROP_QP_STATE] = "dropped_qp_state",
	[FAB_DROP_PKEY] = "dropped_pkey",
	[FAB_DROP_QKEY] = "dropped_qkey",
	[FAB_DROP_NO_RECV_WQE] = "dropped_no_recv_wqe",
	[FAB_DROP_TOO_LONG] = "dropped_too_long",
	[FAB_DROP_RECV_ERROR] = "dropped_recv_error",
	[FAB_DROP_CQ_OVERFLOW] = "dropped_cq_overflow",
	[FAB_DROP_VL15] = "dropped_vl15",
	[FAB_DROP_BAD_SMP] = "dropped_bad_smp",
	[FAB_DROP_SWITCH_GMP] = "dropped_switch_gmp",
	[FAB_DROP_NO_MEMORY] = "dropped_no_memory",
	[FAB_DROP_FAULT_LOSS] = "dropped_fault_loss",
	[FAB_DROP_FAULT_CORRUPT] = "dropped_fault_corrupt",
	[FAB_DROP_FAULT_MAD] = "dropped_fault_mad",
	[FAB_DROP_FAULT_OVERFLOW] = "dropped_fault_overflow",
};

static void fab_stats_show(struct seq_file *m, const struct fab_stats *sum)
{
	int i;

	for (i = 0; i < FAB_COUNTERS; i++)
		seq_printf(m, "%s %llu\n", fab_counter_names[i], sum->count[i]);
}

static int fab_counters_show(struct seq_file *m, void *unused)
{
	struct fab_stats sum = {};

	fab_stats_add(&sum, m->private);
	fab_stats_show(m, &sum);
	return 0;
}

FAB_FILE(counters, NULL);

static void fab_stats_add_nodes(struct fab_stats *sum,
				const struct fab_node *nodes, unsigned int n)
{
	unsigned int i, num;

	for (i = 0; i < n; i++) {
		for (num = 0; num <= nodes[i].num_ports; num++)
			fab_stats_add(sum, &nodes[i].ports[num]);
	}
}

static int fab_total_show(struct seq_file *m, void *unused)
{
	struct fab_stats sum = {};
	u64 dropped = 0;
	int i;

	fab_stats_add_nodes(&sum, fabric.hcas, fabric.num_hcas);
	fab_stats_add_nodes(&sum, fabric.switches, fabric.num_switches);
	fab_stats_show(m, &sum);

	for (i = FAB_DROP_FIRST; i < FAB_COUNTERS; i++)
		dropped += sum.count[i];
	seq_printf(m, "dropped %llu\n", dropped);
	/* SMPs that wait in a switch, packets that a fault lets wait at a
	 * port; 0 at rest, whatever happened before.
	 */
	seq_printf(m, "in_flight %lld\n",
		   (s64)(sum.count[FAB_SENT] + sum.count[FAB_REPLICATED] -
			 sum.count[FAB_DELIVERED] - dropped));
	return 0;
}

FAB_FILE(total, NULL);

/* --- Links --------------------------------------------------------------- */

static int fab_link_show(struct seq_file *m, void *unused)
{
	struct fab_port *port = m->private;

	seq_puts(m, READ_ONCE(port->phys) == FAB_PHYS_LINKUP ? "up\n" :
							       "down\n");
	return 0;
}

static ssize_t fab_link_write(struct file *file, const char __user *from,
			      size_t count, loff_t *pos)
{
	struct fab_port *port = fab_file_private(file);
	char line[16];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;

	if (!strcmp(line, "up"))
		fab_link_hold(port, false);
	else if (!strcmp(line, "down"))
		fab_link_hold(port, true);
	else
		return -EINVAL;
	return count;
}

FAB_KNOB(link, "up or down");

/* --- Tables -------------------------------------------------------------- */

static unsigned int fab_file_num_ports(struct file *file)
{
	const struct fab_node *node = fab_file_private(file);

	return node->num_ports;
}

static int fab_lft_show(struct seq_file *m, void *unused)
{
	const struct fab_node *node = m->private;
	unsigned int lid;

	for (lid = 1; lid < FAB_LFT_SIZE; lid++) {
		u8 port = READ_ONCE(node->sw->lft[lid]);

		if (port != FAB_LFT_DROP)
			seq_printf(m, "%u %u\n", lid, port);
	}

	return 0;
}

static ssize_t fab_lft_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	struct fab_node *node = fab_file_private(file);
	unsigned int lid, port;
	char line[32];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (sscanf(line, "%i %u", &lid, &port) != 2 || !lid ||
	    lid >= FAB_LFT_SIZE || port > FAB_LFT_DROP ||
	    (port != FAB_LFT_DROP && port > node->num_ports))
		return -EINVAL;

	WRITE_ONCE(node->sw->lft[lid], port);
	return count;
}

FAB_KNOB(lft, "LID PORT: LID 1 to %u, PORT 0 to %u, or %u for none",
	 FAB_LFT_SIZE - 1, fab_file_num_ports(file), FAB_LFT_DROP);

static bool fab_mft_has(const struct fab_node *node, unsigned int index,
			unsigned int port)
{
	return READ_ONCE(node->sw->mft[index][port / 16]) & BIT(port % 16);
}

static void fab_mft_show_one(struct seq_file *m, const struct fab_node *node,
			     unsigned int index)
{
	bool empty = true;
	unsigned int port;

	for (port = 0; port <= node->num_ports; port++) {
		if (!fab_mft_has(node, index, port))
			continue;
		if (empty)
			seq_printf(m, "0x%04x", FAB_LID_MCAST_MIN + index);
		seq_printf(m, " %u", port);
		empty = false;
	}
	if (!empty)
		seq_putc(m, '\n');
}

static int fab_mft_show(struct seq_file *m, void *unused)
{
	unsigned int index;

	for (index = 0; index < FAB_MFT_SIZE; index++)
		fab_mft_show_one(m, m->private, index);
	return 0;
}

static ssize_t fab_mft_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	struct fab_node *node = fab_file_private(file);
	unsigned int mlid, port;
	char line[32], verb[8];
	unsigned long flags;
	u16 *word;
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (sscanf(line, "%i %7s %u", &mlid, verb, &port) != 3 ||
	    mlid < FAB_LID_MCAST_MIN ||
	    mlid >= FAB_LID_MCAST_MIN + FAB_MFT_SIZE ||
	    port > node->num_ports)
		return -EINVAL;
	if (strcmp(verb, "add") && strcmp(verb, "del"))
		return -EINVAL;

	word = &node->sw->mft[mlid - FAB_LID_MCAST_MIN][port / 16];
	spin_lock_irqsave(&fabric.ctl, flags);
	if (!strcmp(verb, "add"))
		WRITE_ONCE(*word, *word | BIT(port % 16));
	else
		WRITE_ONCE(*word, *word & ~BIT(port % 16));
	spin_unlock_irqrestore(&fabric.ctl, flags);
	return count;
}

FAB_KNOB(mft, "MLID add|del PORT: MLID 0x%04x to 0x%04x, PORT 0 to %u",
	 FAB_LID_MCAST_MIN, FAB_LID_MCAST_MIN + FAB_MFT_SIZE - 1,
	 fab_file_num_ports(file));

/* --- Queue pairs --------------------------------------------------------- */

static void fab_qp_show(struct seq_file *m, const struct fab_qp *qp)
{
	static const char * const states[] = {
		"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR",
	};
	const struct fab_port *port;

	if (!qp)
		return;

	port = READ_ONCE(qp->port);
	seq_printf(m, "qpn 0x%06x port %u state %s qkey 0x%08x pkey_index %u",
		   qp->qpn, port ? port->num : 0, states[READ_ONCE(qp->state)],
		   READ_ONCE(qp->qkey), qp->pkey_index);
	seq_printf(m, " send_posts %llu send_requests %llu signalled %llu recv_posts %llu recv_requests %llu",
		   READ_ONCE(qp->sq.posts), READ_ONCE(qp->sq.requests),
		   READ_ONCE(qp->sq.signalled), READ_ONCE(qp->rq.posts),
		   READ_ONCE(qp->rq.requests));
	seq_printf(m, " sq %u/%u rq %u/%u\n",
		   READ_ONCE(qp->sq.head) - READ_ONCE(qp->sq.freed),
		   qp->sq.limit,
		   READ_ONCE(qp->rq.head) - READ_ONCE(qp->rq.freed),
		   qp->rq.limit);
}

static int fab_qps_show(struct seq_file *m, void *unused)
{
	struct fab_node *node = m->private;
	struct fab_hca *hca;
	struct fab_qp *qp;
	unsigned long qpn;
	unsigned int num;

	rcu_read_lock();
	for (num = 1; num <= node->num_ports; num++) {
		fab_qp_show(m, rcu_dereference(node->ports[num].smi));
		fab_qp_show(m, rcu_dereference(node->ports[num].gsi));
	}
	hca = rcu_dereference(node->hca);
	if (hca) {
		xa_for_each(&hca->qps, qpn, qp)
			fab_qp_show(m, qp);
	}
	rcu_read_unlock();

	return 0;
}

FAB_FILE(qps, NULL);

/* --- Completion queues --------------------------------------------------- */

static void fab_cq_show(struct seq_file *m, const struct fab_cq *cq)
{
	seq_printf(m, "cq %u vector %u cpu %d size %u used %u held %u armed %u",
		   cq->id, cq->vector, fab_cq_cpu(cq), cq->size,
		   READ_ONCE(cq->head) - READ_ONCE(cq->tail),
		   READ_ONCE(cq->head) - READ_ONCE(cq->shown),
		   READ_ONCE(cq->armed));
	seq_printf(m, " frames %u usecs %u events %llu on %d overflowed %u\n",
		   READ_ONCE(cq->mod_count), READ_ONCE(cq->mod_usecs),
		   READ_ONCE(cq->stat_events), READ_ONCE(cq->stat_cpu),
		   READ_ONCE(cq->overflowed));
}

static int fab_cqs_show(struct seq_file *m, void *unused)
{
	struct fab_node *node = m->private;
	struct fab_hca *hca;
	struct fab_cq *cq;
	unsigned long id;

	rcu_read_lock();
	hca = rcu_dereference(node->hca);
	if (hca) {
		xa_lock(&hca->cqs);
		xa_for_each(&hca->cqs, id, cq)
			fab_cq_show(m, cq);
		xa_unlock(&hca->cqs);
	}
	rcu_read_unlock();

	return 0;
}

FAB_FILE(cqs, NULL);

/* --- Tree ---------------------------------------------------------------- */

static struct dentry *fab_debugfs_node(struct fab_node *node)
{
	struct dentry *dir = debugfs_create_dir(node->name, fab_root);
	struct dentry *faults;
	unsigned int num;
	char name[16];

	for (num = 1; num <= node->num_ports; num++) {
		struct fab_port *port = &node->ports[num];
		struct dentry *sub;

		snprintf(name, sizeof(name), "port%u", num);
		sub = debugfs_create_dir(name, dir);
		debugfs_create_file("counters", 0400, sub, port,
				    &fab_counters_fops);
		debugfs_create_file("link", 0600, sub, port, &fab_link_fops);
		fab_pcap_debugfs(port, sub);
		faults = debugfs_create_dir("faults", sub);
		fab_wire_debugfs(port, faults);
		if (fab_node_is_switch(node))
			continue;
		fab_offload_debugfs(port, faults);
		fab_dump_port_debugfs(port, sub);
		fab_inject_debugfs(port, sub);
		fab_event_debugfs(&port->events, sub);
		fab_edit_debugfs(port, sub);
	}

	return dir;
}

void fab_debugfs_create(void)
{
	struct dentry *dir;
	unsigned int i;

	fab_root = debugfs_create_dir("ib_fabric", NULL);
	debugfs_create_file("counters", 0400, fab_root, NULL, &fab_total_fops);
	fab_rule_debugfs(fab_root);
	fab_check_debugfs(fab_root);
	for (i = 0; i < fabric.num_hcas; i++) {
		dir = fab_debugfs_node(&fabric.hcas[i]);
		debugfs_create_file("qps", 0400, dir, &fabric.hcas[i],
				    &fab_qps_fops);
		debugfs_create_file("cqs", 0400, dir, &fabric.hcas[i],
				    &fab_cqs_fops);
		fab_charge_debugfs(&fabric.hcas[i], dir);
		fab_dump_node_debugfs(&fabric.hcas[i], dir);
		fab_event_debugfs(&fabric.hcas[i].events, dir);
		fab_plug_debugfs(&fabric.hcas[i], dir);
		fab_vf_debugfs(&fabric.hcas[i], dir);
		fab_hca_faults_debugfs(&fabric.hcas[i], dir);
	}
	for (i = 0; i < fabric.num_switches; i++) {
		dir = fab_debugfs_node(&fabric.switches[i]);
		debugfs_create_file("lft", 0600, dir, &fabric.switches[i],
				    &fab_lft_fops);
		debugfs_create_file("mft", 0600, dir, &fabric.switches[i],
				    &fab_mft_fops);
	}
}

void fab_debugfs_destroy(void)
{
	debugfs_remove(fab_root);
}
