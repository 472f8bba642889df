// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which groups and paths does an interface have, as debugfs shows them?
 *
 * Files <interface>_mcg and <interface>_path in the folder "ipoib", in the form
 * that scripts have always read. A reader gets the tables as they were when it
 * opened the file: it holds no lock and meets no change.
 *
 * Stages: snapshots, lines, files.
 */
#include <linux/debugfs.h>
#include <linux/netdevice.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include <net/net_namespace.h>

#include "ipoib.h"

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG)

static struct dentry *ipoib_fs_root;

/* ---- snapshots ---- */

/* An array of records that begin with a GID, in the order of that. */
struct ipoib_fs_snap {
	size_t size;
	unsigned int count;
	u8 records[] __aligned(8);
};

static_assert(IS_ALIGNED(offsetof(struct ipoib_fs_snap, records),
			 __alignof__(struct ipoib_mcast_info)));
static_assert(IS_ALIGNED(offsetof(struct ipoib_fs_snap, records),
			 __alignof__(struct ipoib_path_info)));

/*
 * What a file shows: a table, by records of @size. @list fills in @most of
 * them, and says how many; without @records it says how much room to bring.
 */
struct ipoib_fs_kind {
	size_t size;
	unsigned int (*list)(struct ipoib_dev *ipd, void *records,
			     unsigned int most);
	void (*put)(struct seq_file *file, const void *record);
};

static int ipoib_fs_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(union ib_gid));
}

static struct ipoib_fs_snap *ipoib_fs_snap_alloc(unsigned int most, size_t size)
{
	struct ipoib_fs_snap *snap;

	snap = kvzalloc(struct_size(snap, records, most * size), GFP_KERNEL);
	if (snap)
		snap->size = size;

	return snap;
}

/* A table that has filled the room may have grown out of it. */
static struct ipoib_fs_snap *
ipoib_fs_snap_take(struct ipoib_dev *ipd, const struct ipoib_fs_kind *kind)
{
	unsigned int most = kind->list(ipd, NULL, 0);
	struct ipoib_fs_snap *snap;

	while ((snap = ipoib_fs_snap_alloc(most, kind->size))) {
		snap->count = kind->list(ipd, snap->records, most);
		if (snap->count < most)
			break;
		kvfree(snap);
		most *= 2;
	}

	return snap;
}

static unsigned int ipoib_fs_list_groups(struct ipoib_dev *ipd, void *records,
					 unsigned int most)
{
	return ipoib_mcast_list_groups(ipd, records, most);
}

static unsigned int ipoib_fs_list_paths(struct ipoib_dev *ipd, void *records,
					unsigned int most)
{
	return ipoib_resolve_list_paths(ipd, records, most);
}

/* ---- lines ---- */

/* Eight groups, no leading zeros, and none left out. */
static void ipoib_fs_put_gid(struct seq_file *file, const union ib_gid *gid)
{
	unsigned int i;

	seq_puts(file, "GID: ");
	for (i = 0; i < sizeof(gid->raw); i += 2)
		seq_printf(file, "%x%c", gid->raw[i] << 8 | gid->raw[i + 1],
			   i + 2 < sizeof(gid->raw) ? ':' : '\n');
}

static void ipoib_fs_put_group(struct seq_file *file, const void *record)
{
	const struct ipoib_mcast_info *info = record;

	ipoib_fs_put_gid(file, &info->mgid);
	seq_printf(file,
		   "  created: %10lu\n  queuelen: %9u\n  complete: %9s\n  send_only: %8s\n\n",
		   info->created, info->parked, info->complete ? "yes" : "no",
		   info->send_only ? "yes" : "no");
}

static void ipoib_fs_put_path(struct seq_file *file, const void *record)
{
	const struct ipoib_path_info *info = record;

	ipoib_fs_put_gid(file, &info->gid);
	seq_printf(file, "  complete: %6s\n", info->dlid ? "yes" : "no");
	if (info->dlid) {
		seq_printf(file, "  DLID:     0x%04x\n  SL: %12u\n  rate: %8u",
			   info->dlid, info->sl, info->mbps / 1000);
		/* whole numbers have had one digit behind the point for ever */
		seq_printf(file, info->mbps % 1000 ? ".%03u Gb/sec\n" :
						     ".%u Gb/sec\n",
			   info->mbps % 1000);
	}
	seq_putc(file, '\n');
}

/* ---- files ---- */

struct ipoib_fs_view {
	const struct ipoib_fs_kind *kind;
	struct ipoib_fs_snap *snap;
};

static void *ipoib_fs_start(struct seq_file *file, loff_t *pos)
{
	const struct ipoib_fs_view *view = file->private;

	if (*pos >= view->snap->count)
		return NULL;

	return view->snap->records + *pos * view->snap->size;
}

static void *ipoib_fs_next(struct seq_file *file, void *record, loff_t *pos)
{
	++*pos;
	return ipoib_fs_start(file, pos);
}

static void ipoib_fs_stop(struct seq_file *file, void *record)
{
}

static int ipoib_fs_show(struct seq_file *file, void *record)
{
	const struct ipoib_fs_view *view = file->private;

	view->kind->put(file, record);
	return 0;
}

static const struct seq_operations ipoib_fs_seq_ops = {
	.start = ipoib_fs_start,
	.next = ipoib_fs_next,
	.stop = ipoib_fs_stop,
	.show = ipoib_fs_show,
};

static int ipoib_fs_open(struct file *file, struct ipoib_dev *ipd,
			 const struct ipoib_fs_kind *kind)
{
	struct ipoib_fs_view *view;

	view = __seq_open_private(file, &ipoib_fs_seq_ops, sizeof(*view));
	if (!view)
		return -ENOMEM;

	view->kind = kind;
	view->snap = ipoib_fs_snap_take(ipd, kind);
	if (!view->snap) {
		seq_release_private(NULL, file);
		return -ENOMEM;
	}

	sort(view->snap->records, view->snap->count, view->snap->size,
	     ipoib_fs_compare, NULL);
	return 0;
}

static int ipoib_fs_release(struct inode *inode, struct file *file)
{
	struct ipoib_fs_view *view = ((struct seq_file *)file->private_data)
					     ->private;

	kvfree(view->snap);
	return seq_release_private(inode, file);
}

static const struct ipoib_fs_kind ipoib_fs_groups = {
	.size = sizeof(struct ipoib_mcast_info),
	.list = ipoib_fs_list_groups,
	.put = ipoib_fs_put_group,
};

static const struct ipoib_fs_kind ipoib_fs_paths = {
	.size = sizeof(struct ipoib_path_info),
	.list = ipoib_fs_list_paths,
	.put = ipoib_fs_put_path,
};

static int ipoib_fs_open_mcg(struct inode *inode, struct file *file)
{
	return ipoib_fs_open(file, inode->i_private, &ipoib_fs_groups);
}

static int ipoib_fs_open_path(struct inode *inode, struct file *file)
{
	return ipoib_fs_open(file, inode->i_private, &ipoib_fs_paths);
}

static const struct file_operations ipoib_fs_mcg_fops = {
	.owner = THIS_MODULE,
	.open = ipoib_fs_open_mcg,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = ipoib_fs_release,
};

static const struct file_operations ipoib_fs_path_fops = {
	.owner = THIS_MODULE,
	.open = ipoib_fs_open_path,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = ipoib_fs_release,
};

/*
 * An interface of this name in another namespace may have been first, and one
 * of this name and number in a third. The first of a row is the one that keeps
 * the name as it is.
 */
static void ipoib_fs_name(const struct net_device *dev, const char *tail,
			  unsigned int nth, char *name, size_t size)
{
	switch (nth) {
	case 0:
		snprintf(name, size, "%s_%s", dev->name, tail);
		break;
	case 1:
		snprintf(name, size, "%s@%d_%s", dev->name, dev->ifindex, tail);
		break;
	default:
		snprintf(name, size, "%s@%d.%u_%s", dev->name, dev->ifindex,
			 nth, tail);
	}
}

static bool ipoib_fs_is_free(const char *name)
{
	struct dentry *there = debugfs_lookup(name, ipoib_fs_root);

	/* an error without CONFIG_DEBUG_FS, where no name is ever taken */
	if (IS_ERR_OR_NULL(there))
		return true;

	dput(there);
	return false;
}

/* RTNL, so that a name which is free stays so. */
static struct dentry *ipoib_fs_create(struct ipoib_dev *ipd, const char *tail,
				      const struct file_operations *fops)
{
	unsigned int nth = 0;
	char name[IFNAMSIZ + 32];

	do
		ipoib_fs_name(ipd->netdev, tail, nth++, name, sizeof(name));
	while (!ipoib_fs_is_free(name));

	return debugfs_create_file(name, 0444, ipoib_fs_root, ipd, fops);
}

/**
 * ipoib_fs_add() - make an interface's files
 * @ipd: interface; RTNL
 */
void ipoib_fs_add(struct ipoib_dev *ipd)
{
	ipoib_fs_remove(ipd);
	ipd->fs.mcg = ipoib_fs_create(ipd, "mcg", &ipoib_fs_mcg_fops);
	ipd->fs.path = ipoib_fs_create(ipd, "path", &ipoib_fs_path_fops);
}

/**
 * ipoib_fs_rename() - follow an interface's new name
 * @ipd: interface; RTNL
 *
 * By making them anew: who reads on reads on what was.
 */
void ipoib_fs_rename(struct ipoib_dev *ipd)
{
	if (ipd->fs.mcg)
		ipoib_fs_add(ipd);
}

/**
 * ipoib_fs_remove() - remove an interface's files
 * @ipd: interface; RTNL. Nobody is opening them when this returns
 */
void ipoib_fs_remove(struct ipoib_dev *ipd)
{
	debugfs_remove(ipd->fs.mcg);
	debugfs_remove(ipd->fs.path);
	ipd->fs.mcg = NULL;
	ipd->fs.path = NULL;
}

/**
 * ipoib_fs_init() - make the folder
 */
void ipoib_fs_init(void)
{
	ipoib_fs_root = debugfs_create_dir("ipoib", NULL);
}

/**
 * ipoib_fs_exit() - remove the folder
 */
void ipoib_fs_exit(void)
{
	debugfs_remove(ipoib_fs_root);
}

#else

void ipoib_fs_add(struct ipoib_dev *ipd)
{
}

void ipoib_fs_rename(struct ipoib_dev *ipd)
{
}

void ipoib_fs_remove(struct ipoib_dev *ipd)
{
}

void ipoib_fs_init(void)
{
}

void ipoib_fs_exit(void)
{
}

#endif
