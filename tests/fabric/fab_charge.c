// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory would the queues of an HCA take if it were a real one?
 *
 *	fab<i>/memory	"qpn N mlx4 BYTES mlx5 BYTES" for each queue pair,
 *			"cq N ..." for each completion queue, "total ..."
 *
 * fab_charge.h says how that is worked out.
 */
#include "fab_charge.h"
#include "fab_debugfs.h"

/**
 * struct fab_charge - bytes so far
 * @mlx4: on an HCA of mlx4
 * @mlx5: on an HCA of mlx5
 */
struct fab_charge {
	u64 mlx4;
	u64 mlx5;
};

static void fab_charge_show(struct seq_file *m, struct fab_charge *total,
			    u64 mlx4, u64 mlx5)
{
	total->mlx4 += mlx4;
	total->mlx5 += mlx5;
	seq_printf(m, " mlx4 %llu mlx5 %llu\n", mlx4, mlx5);
}

static void fab_charge_show_qp(struct seq_file *m, struct fab_charge *total,
			       const struct fab_qp *qp)
{
	struct fab_charge_qp what;

	if (!qp)
		return;

	what = (struct fab_charge_qp) {
		.type = qp->type,
		.lso = qp->lso,
		.cap = {
			.max_send_wr = qp->sq.limit,
			.max_recv_wr = qp->rq.limit,
			.max_send_sge = qp->sq.max_sge,
			.max_recv_sge = qp->rq.max_sge,
			.max_inline_data = qp->max_inline,
		},
	};
	seq_printf(m, "qpn 0x%06x", qp->qpn);
	fab_charge_show(m, total, fab_charge_mlx4_qp(&what),
			fab_charge_mlx5_qp(&what));
}

static int fab_memory_show(struct seq_file *m, void *unused)
{
	struct fab_node *node = m->private;
	struct fab_charge total = {};
	struct fab_hca *hca;
	unsigned long index;
	struct fab_cq *cq;
	struct fab_qp *qp;
	unsigned int num;

	rcu_read_lock();
	for (num = 1; num <= node->num_ports; num++) {
		struct fab_port *port = &node->ports[num];

		fab_charge_show_qp(m, &total, rcu_dereference(port->smi));
		fab_charge_show_qp(m, &total, rcu_dereference(port->gsi));
	}
	hca = rcu_dereference(node->hca);
	if (hca) {
		xa_for_each(&hca->qps, index, qp)
			fab_charge_show_qp(m, &total, qp);
		xa_lock(&hca->cqs);
		xa_for_each(&hca->cqs, index, cq) {
			seq_printf(m, "cq %u", cq->id);
			fab_charge_show(m, &total, fab_charge_cq(cq->size),
					fab_charge_cq(cq->size));
		}
		xa_unlock(&hca->cqs);
	}
	rcu_read_unlock();

	seq_puts(m, "total");
	fab_charge_show(m, &total, total.mlx4, total.mlx5);
	return 0;
}

FAB_FILE(memory, NULL);

/**
 * fab_charge_debugfs - create the file "memory"
 * @node: node of type CA
 * @dir: its folder
 */
void fab_charge_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("memory", 0400, dir, node, &fab_memory_fops);
}
