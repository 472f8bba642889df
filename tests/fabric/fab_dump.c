// SPDX-License-Identifier: GPL-2.0
/*
 * Which address handles has an HCA, and which groups has a port?
 *
 * Order of this file: address handles, groups, files.
 */
#include <linux/rculist.h>

#include "fab_debugfs.h"

/* --- Address handles ----------------------------------------------------- */

static void fab_ah_show(struct seq_file *m, const struct fab_ah *ah)
{
	seq_printf(m, "port %u dlid %u sl %u path_bits %u in_use %d",
		   ah->port_num, ah->dlid, ah->sl, ah->path_bits,
		   atomic_read(&ah->in_use));
	if (ah->has_grh)
		seq_printf(m, " dgid %pI6 sgid_index %u hop_limit %u traffic_class %u flow_label %u",
			   ah->dgid.raw, ah->sgid_index, ah->hop_limit,
			   ah->traffic_class, ah->flow_label);
	seq_putc(m, '\n');
}

static int fab_ahs_show(struct seq_file *m, void *unused)
{
	const struct fab_node *node = m->private;
	const struct fab_ah *ah;
	struct fab_hca *hca;
	unsigned long flags;

	rcu_read_lock();
	hca = rcu_dereference(node->hca);
	if (hca) {
		spin_lock_irqsave(&hca->ah_lock, flags);
		list_for_each_entry(ah, &hca->ahs, entry)
			fab_ah_show(m, ah);
		spin_unlock_irqrestore(&hca->ah_lock, flags);
	}
	rcu_read_unlock();

	return 0;
}

FAB_FILE(ahs, NULL);

/* --- Groups -------------------------------------------------------------- */

static int fab_groups_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;
	const struct fab_mcast_entry *entry;
	unsigned int i;

	rcu_read_lock();
	for (i = 0; i < FAB_MCAST_BUCKETS; i++) {
		hlist_for_each_entry_rcu(entry, &port->mcast[i], node)
			seq_printf(m, "mgid %pI6 qpn 0x%06x\n", entry->mgid.raw,
				   entry->qp->qpn);
	}
	rcu_read_unlock();

	return 0;
}

FAB_FILE(groups, NULL);

/* --- Files --------------------------------------------------------------- */

/**
 * fab_dump_node_debugfs - make the file "ahs" of an HCA
 * @node: the HCA
 * @dir: its folder
 */
void fab_dump_node_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("ahs", 0400, dir, node, &fab_ahs_fops);
}

/**
 * fab_dump_port_debugfs - make the file "groups" of a port of an HCA
 * @port: the port
 * @dir: its folder
 */
void fab_dump_port_debugfs(struct fab_port *port, struct dentry *dir)
{
	debugfs_create_file("groups", 0400, dir, port, &fab_groups_fops);
}
