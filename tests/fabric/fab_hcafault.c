// SPDX-License-Identifier: GPL-2.0
/*
 * Where are the faults of an HCA kept, and which queue pairs do they concern?
 *
 * Order of this file: kinds of queue pairs, qp_state, life.
 */
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_hcafault.h"

DEFINE_STATIC_KEY_FALSE(fab_hca_faults_on);

/* --- Kinds of queue pairs ------------------------------------------------ */

static const struct {
	const char *name;
	unsigned long types;
} fab_fault_types[] = {
	{ "ud", BIT(IB_QPT_UD) },
	{ "gsi", BIT(IB_QPT_GSI) },
	{ "smi", BIT(IB_QPT_SMI) },
	{ "any", BIT(IB_QPT_UD) | BIT(IB_QPT_GSI) | BIT(IB_QPT_SMI) },
};

/**
 * fab_fault_get_types - "ud", "gsi", "smi" or "any"
 * @word: one of them
 * @types: bits of enum ib_qp_type
 *
 * Return: 0 or -EINVAL.
 */
int fab_fault_get_types(const char *word, unsigned long *types)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_fault_types); i++) {
		if (strcmp(word, fab_fault_types[i].name))
			continue;
		*types = fab_fault_types[i].types;
		return 0;
	}

	return -EINVAL;
}

/**
 * fab_fault_show_types - the word again, as " qp=ud"
 * @m: where to
 * @types: bits of enum ib_qp_type
 */
void fab_fault_show_types(struct seq_file *m, unsigned long types)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_fault_types); i++) {
		if (types == fab_fault_types[i].types)
			seq_printf(m, " qp=%s", fab_fault_types[i].name);
	}
}

/* --- qp_state ------------------------------------------------------------ */

static int fab_qp_state_show(struct seq_file *m, void *unused)
{
	seq_puts(m, "write: QPN sqe|err\n");
	return 0;
}

/* The first port's QP0 and QP1, and all others. */
static int fab_qp_state_set(struct fab_node *node, u32 qpn,
			    enum ib_qp_state state)
{
	struct fab_hca *hca;
	struct fab_qp *qp;
	int err = 0;

	rcu_read_lock();
	hca = rcu_dereference(node->hca);
	if (qpn <= 1)
		qp = fab_qp_find_rcu(&node->ports[1], qpn);
	else
		qp = hca ? xa_load(&hca->qps, qpn) : NULL;
	if (!qp)
		err = -ENOENT;
	else if (!fab_qp_fail(qp, state, state == IB_QPS_ERR))
		err = -EINVAL;
	rcu_read_unlock();

	return err;
}

static ssize_t fab_qp_state_write(struct file *file, const char __user *from,
				  size_t count, loff_t *pos)
{
	struct fab_node *node = fab_file_private(file);
	enum ib_qp_state state;
	char line[32], word[8];
	int err, qpn;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (sscanf(line, "%i %7s", &qpn, word) != 2)
		return -EINVAL;
	if (!strcmp(word, "sqe"))
		state = IB_QPS_SQE;
	else if (!strcmp(word, "err"))
		state = IB_QPS_ERR;
	else
		return -EINVAL;

	err = fab_qp_state_set(node, qpn, state);
	return err ? err : count;
}

FAB_KNOB(qp_state,
	 "QPN sqe|err: sqe for a queue pair in RTS, err for one not in RESET or ERR");

/* --- Life ---------------------------------------------------------------- */

/**
 * fab_hca_faults_create - an HCA without faults
 * @node: node of type CA; its shape is set
 *
 * Return: 0 or -ENOMEM.
 */
int fab_hca_faults_create(struct fab_node *node)
{
	node->faults = kzalloc_obj(*node->faults, GFP_KERNEL);
	if (!node->faults)
		return -ENOMEM;

	mutex_init(&node->faults->lock);
	/* Slow commands are found where faults are. */
	if (node->shape.cmd_ms)
		static_branch_inc(&fab_hca_faults_on);
	return 0;
}

/**
 * fab_hca_faults_destroy - undo fab_hca_faults_create()
 * @node: node without a device, whose files are gone
 */
void fab_hca_faults_destroy(struct fab_node *node)
{
	if (!node->faults)
		return;

	fab_verbfault_clear(node->faults);
	fab_complfault_clear(node);
	if (node->shape.cmd_ms)
		static_branch_dec(&fab_hca_faults_on);
	kfree(node->faults);
	node->faults = NULL;
}

/**
 * fab_hca_faults_debugfs - create "faults" and "qp_state"
 * @node: node of type CA
 * @dir: its folder
 */
void fab_hca_faults_debugfs(struct fab_node *node, struct dentry *dir)
{
	struct dentry *faults = debugfs_create_dir("faults", dir);

	fab_verbfault_debugfs(node, faults);
	fab_complfault_debugfs(node, faults);
	debugfs_create_file("qp_state", 0600, dir, node, &fab_qp_state_fops);
}
