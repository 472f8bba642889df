// SPDX-License-Identifier: GPL-2.0
/*
 * What does the administrator of an HCA's virtual functions see, and set?
 *
 * Link policy, GUIDs and counters of each. No function is an HCA of its own
 * here: what is set is kept and told again, and what a function's owner would
 * have sent and received is written by hand:
 *
 *	fab<i>/vfs	VF PORT NAME=NUMBER...
 *
 * All of it is gone when the HCA loses power. Until a GUID is set it is 0, as
 * HCAs answer that leave the choice to the function itself.
 *
 * Order of this file: finding one, what can be asked, what can be set, the
 * file "vfs", life.
 */
#include <linux/if_link.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "fab_debugfs.h"

/**
 * struct fab_vf_port - a port of a virtual function
 * @policy: of its link, IFLA_VF_LINK_STATE_*
 * @guid: port GUID, 0 when not set
 * @stats: what came and went by it
 */
struct fab_vf_port {
	u32 policy;
	u64 guid;
	struct ifla_vf_stats stats;
};

/**
 * struct fab_vf - a virtual function
 * @node_guid: 0 when not set
 * @ports: port 1 first
 */
struct fab_vf {
	u64 node_guid;
	struct fab_vf_port ports[FAB_MAX_PORTS];
};

static DEFINE_MUTEX(fab_vf_mutex); /* all that the node's vfs point to */

/* --- Finding one --------------------------------------------------------- */

static struct fab_vf *__fab_vf_find(const struct fab_node *node,
				    unsigned int vf, unsigned int port_num)
{
	lockdep_assert_held(&fab_vf_mutex);

	if (vf >= node->shape.vfs || !port_num || port_num > node->num_ports)
		return NULL;

	return &node->vfs[vf];
}

/* --- What can be asked --------------------------------------------------- */

static int fab_vf_get_config(struct ib_device *ibdev, int vf, u32 port,
			     struct ifla_vf_info *info)
{
	const struct fab_vf *of;

	mutex_lock(&fab_vf_mutex);
	of = __fab_vf_find(to_fab_hca(ibdev)->node, vf, port);
	if (of)
		info->linkstate = of->ports[port - 1].policy;
	mutex_unlock(&fab_vf_mutex);

	return of ? 0 : -EINVAL;
}

static int fab_vf_get_stats(struct ib_device *ibdev, int vf, u32 port,
			    struct ifla_vf_stats *stats)
{
	const struct fab_vf *of;

	mutex_lock(&fab_vf_mutex);
	of = __fab_vf_find(to_fab_hca(ibdev)->node, vf, port);
	if (of)
		*stats = of->ports[port - 1].stats;
	mutex_unlock(&fab_vf_mutex);

	return of ? 0 : -EINVAL;
}

static int fab_vf_get_guid(struct ib_device *ibdev, int vf, u32 port,
			   struct ifla_vf_guid *node_guid,
			   struct ifla_vf_guid *port_guid)
{
	const struct fab_vf *of;

	mutex_lock(&fab_vf_mutex);
	of = __fab_vf_find(to_fab_hca(ibdev)->node, vf, port);
	if (of) {
		node_guid->guid = of->node_guid;
		port_guid->guid = of->ports[port - 1].guid;
	}
	mutex_unlock(&fab_vf_mutex);

	return of ? 0 : -EINVAL;
}

/* --- What can be set ----------------------------------------------------- */

static int fab_vf_set_link_state(struct ib_device *ibdev, int vf, u32 port,
				 int state)
{
	struct fab_vf *of;

	if (state < 0 || state >= __IFLA_VF_LINK_STATE_MAX)
		return -EINVAL;

	mutex_lock(&fab_vf_mutex);
	of = __fab_vf_find(to_fab_hca(ibdev)->node, vf, port);
	if (of)
		of->ports[port - 1].policy = state;
	mutex_unlock(&fab_vf_mutex);

	return of ? 0 : -EINVAL;
}

static int fab_vf_set_guid(struct ib_device *ibdev, int vf, u32 port, u64 guid,
			   int type)
{
	struct fab_vf *of;

	if (type != IFLA_VF_IB_NODE_GUID && type != IFLA_VF_IB_PORT_GUID)
		return -EINVAL;

	mutex_lock(&fab_vf_mutex);
	of = __fab_vf_find(to_fab_hca(ibdev)->node, vf, port);
	if (of && type == IFLA_VF_IB_NODE_GUID)
		of->node_guid = guid;
	else if (of)
		of->ports[port - 1].guid = guid;
	mutex_unlock(&fab_vf_mutex);

	return of ? 0 : -EINVAL;
}

static const struct ib_device_ops fab_vf_ops = {
	.get_vf_config = fab_vf_get_config,
	.get_vf_guid = fab_vf_get_guid,
	.get_vf_stats = fab_vf_get_stats,
	.set_vf_guid = fab_vf_set_guid,
	.set_vf_link_state = fab_vf_set_link_state,
};

/* --- The file "vfs" ------------------------------------------------------ */

#define FAB_VF_STAT(name) { #name, offsetof(struct ifla_vf_stats, name) }

static const struct fab_vf_stat {
	const char *name;
	size_t offset;
} fab_vf_stats[] = {
	FAB_VF_STAT(rx_packets),
	FAB_VF_STAT(tx_packets),
	FAB_VF_STAT(rx_bytes),
	FAB_VF_STAT(tx_bytes),
	FAB_VF_STAT(broadcast),
	FAB_VF_STAT(multicast),
	FAB_VF_STAT(rx_dropped),
	FAB_VF_STAT(tx_dropped),
};

static void fab_vf_show(struct seq_file *m, const struct fab_vf *vf,
			unsigned int port_num)
{
	static const char * const policies[] = {
		[IFLA_VF_LINK_STATE_AUTO] = "auto",
		[IFLA_VF_LINK_STATE_ENABLE] = "enable",
		[IFLA_VF_LINK_STATE_DISABLE] = "disable",
	};
	const struct fab_vf_port *port = &vf->ports[port_num - 1];
	int i;

	seq_printf(m, "port %u state %s node_guid 0x%016llx port_guid 0x%016llx",
		   port_num, policies[port->policy], vf->node_guid, port->guid);
	for (i = 0; i < ARRAY_SIZE(fab_vf_stats); i++)
		seq_printf(m, " %s %llu", fab_vf_stats[i].name,
			   *(const u64 *)((const void *)&port->stats +
					  fab_vf_stats[i].offset));
	seq_putc(m, '\n');
}

static int fab_vfs_show(struct seq_file *m, void *unused)
{
	const struct fab_node *node = m->private;
	unsigned int vf, num;

	mutex_lock(&fab_vf_mutex);
	for (vf = 0; vf < node->shape.vfs; vf++) {
		for (num = 1; num <= node->num_ports; num++) {
			seq_printf(m, "vf %u ", vf);
			fab_vf_show(m, &node->vfs[vf], num);
		}
	}
	mutex_unlock(&fab_vf_mutex);

	return 0;
}

static int fab_vf_read_stat(char *word, struct ifla_vf_stats *stats)
{
	const char *name = strsep(&word, "=");
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_vf_stats); i++) {
		if (!strcmp(name, fab_vf_stats[i].name))
			return word ? kstrtou64(word, 0, (void *)stats +
						fab_vf_stats[i].offset) :
				      -EINVAL;
	}

	return -EINVAL;
}

static int fab_vf_read_stats(char *words, struct ifla_vf_stats *stats)
{
	char *word;
	int err;

	while ((word = strsep(&words, " \t"))) {
		if (!*word)
			continue;
		err = fab_vf_read_stat(word, stats);
		if (err)
			return err;
	}

	return 0;
}

static int fab_vfs_apply(const struct fab_node *node, char *line)
{
	struct ifla_vf_stats stats;
	unsigned int num, port;
	struct fab_vf *vf;
	int read = 0, err;

	if (sscanf(line, "%u %u %n", &num, &port, &read) != 2 || !line[read])
		return -EINVAL;

	mutex_lock(&fab_vf_mutex);
	vf = __fab_vf_find(node, num, port);
	err = -ERANGE;
	if (!vf)
		goto out;

	stats = vf->ports[port - 1].stats;
	err = fab_vf_read_stats(line + read, &stats);
	if (!err)
		vf->ports[port - 1].stats = stats;
out:
	mutex_unlock(&fab_vf_mutex);
	return err;
}

static ssize_t fab_vfs_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	char line[256];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (!err)
		err = fab_vfs_apply(fab_file_private(file), line);
	return err ? err : count;
}

static const struct fab_node *fab_vfs_node(struct file *file)
{
	return fab_file_private(file);
}

FAB_KNOB(vfs,
	 "VF PORT NAME=NUMBER...: VF 0 to %u, PORT 1 to %u, a NAME that it shows",
	 fab_vfs_node(file)->shape.vfs - 1, fab_vfs_node(file)->num_ports);

/**
 * fab_vf_debugfs - create the file "vfs" of an HCA that has virtual functions
 * @node: node of type CA
 * @dir: its folder
 */
void fab_vf_debugfs(struct fab_node *node, struct dentry *dir)
{
	if (node->shape.vfs)
		debugfs_create_file("vfs", 0600, dir, node, &fab_vfs_fops);
}

/* --- Life ---------------------------------------------------------------- */

/**
 * fab_vfs_create - make the virtual functions that a node's shape says
 * @node: the node
 *
 * Return: 0 or -ENOMEM.
 */
int fab_vfs_create(struct fab_node *node)
{
	if (!node->shape.vfs)
		return 0;

	node->vfs = kvcalloc(node->shape.vfs, sizeof(*node->vfs), GFP_KERNEL);
	return node->vfs ? 0 : -ENOMEM;
}

void fab_vfs_destroy(struct fab_node *node)
{
	kvfree(node->vfs);
}

/**
 * fab_vfs_power_off - forget what was set
 * @node: node of type CA
 *
 * Context: may sleep.
 */
void fab_vfs_power_off(struct fab_node *node)
{
	if (!node->vfs)
		return;

	mutex_lock(&fab_vf_mutex);
	memset(node->vfs, 0, node->shape.vfs * sizeof(*node->vfs));
	mutex_unlock(&fab_vf_mutex);
}

/**
 * fab_vfs_offer - give an HCA the operations of virtual functions, if it has
 *	any; ib_core reads missing ones as "not supported"
 * @hca: the HCA, not registered yet
 */
void fab_vfs_offer(struct fab_hca *hca)
{
	if (hca->node->shape.vfs)
		ib_set_device_ops(&hca->ibdev, &fab_vf_ops);
}
