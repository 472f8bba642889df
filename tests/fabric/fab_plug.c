// SPDX-License-Identifier: GPL-2.0
/*
 * Is an HCA in its slot, and how does it leave it?
 *
 * Orderly: clients go first, with the links still up. By surprise: the links
 * drop, posted work comes back flushed, IB_EVENT_DEVICE_FATAL is raised, and
 * only then do the clients go. Either way a card that comes back is as after
 * power on: no LID, the default P_Key, no subnet manager.
 *
 * What debugfs shows of an HCA belongs to its node and stays when it goes, so
 * no file of ours is removed under its own writer. A writer keeps the module,
 * too. Writers of one HCA wait for each other.
 *
 * Order of this file: plugging, the file "plugged".
 */
#include "fab_debugfs.h"

/* --- Plugging ------------------------------------------------------------ */

static bool __fab_is_plugged(const struct fab_node *node)
{
	return rcu_access_pointer(node->hca);
}

static int __fab_plug(struct fab_node *node)
{
	return __fab_is_plugged(node) ? 0 : fab_hca_plug(node);
}

static void __fab_tear_out(struct fab_node *node)
{
	struct fab_hca *hca;

	hca = rcu_dereference_protected(node->hca,
					lockdep_is_held(&node->plug));
	if (hca)
		fab_hca_die(hca);
	fab_hca_unplug(node);
}

/**
 * fab_plug - put an HCA into its slot
 * @node: node of type CA; nothing happens when it is there already
 *
 * Context: may sleep.
 * Return: 0 or what ib_core says.
 */
int fab_plug(struct fab_node *node)
{
	int err;

	mutex_lock(&node->plug);
	err = __fab_plug(node);
	mutex_unlock(&node->plug);

	return err;
}

/**
 * fab_unplug - take an HCA out of its slot in good order
 * @node: node of type CA; nothing happens when it is out already
 *
 * Context: may sleep.
 */
void fab_unplug(struct fab_node *node)
{
	mutex_lock(&node->plug);
	fab_hca_unplug(node);
	mutex_unlock(&node->plug);
}

/* --- The file "plugged" -------------------------------------------------- */

static int fab_plugged_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%d\n", __fab_is_plugged(m->private));
	return 0;
}

static int fab_plugged_apply(struct fab_node *node, const char *word)
{
	int err = 0;

	if (mutex_lock_interruptible(&node->plug))
		return -EINTR;

	if (!strcmp(word, "1"))
		err = __fab_plug(node);
	else if (!strcmp(word, "0"))
		fab_hca_unplug(node);
	else if (!strcmp(word, "surprise"))
		__fab_tear_out(node);
	else
		err = -EINVAL;
	mutex_unlock(&node->plug);

	return err;
}

static ssize_t fab_plugged_write(struct file *file, const char __user *from,
				 size_t count, loff_t *pos)
{
	char line[16];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (!err)
		err = fab_plugged_apply(fab_file_private(file), line);
	return err ? err : count;
}

FAB_KNOB(plugged, "1, 0 or surprise");

/**
 * fab_plug_debugfs - create the file "plugged"
 * @node: node of type CA
 * @dir: its folder
 */
void fab_plug_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("plugged", 0600, dir, node, &fab_plugged_fops);
}
