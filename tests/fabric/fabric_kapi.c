// SPDX-License-Identifier: GPL-2.0
/*
 * Uses a network interface as other kernel modules do.
 *
 *	echo "hold ib0.8001" > /sys/kernel/debug/fabric_kapi
 *	echo "drop" > /sys/kernel/debug/fabric_kapi
 *	echo "link ib0" > /sys/kernel/debug/fabric_kapi
 *	cat /sys/kernel/debug/fabric_kapi
 *
 * "hold" takes a reference on an interface of the writer's namespace. "drop"
 * gives it back under RTNL, as IPv6 and many notifiers' works do; it gives up
 * on RTNL after KAPI_RTNL_MS, so that a test of a deadlock ends. "link" calls
 * the interface's ethtool get_link without RTNL, as LNet does.
 *
 * The read shows how many references are held (0 or 1), how often one was
 * dropped without RTNL, and what the last get_link returned.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/ethtool.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>

/* Longest wait for RTNL: a machine under load holds it for less. */
#define KAPI_RTNL_MS	10000

static DEFINE_MUTEX(kapi_mutex); /* all below */
static struct net_device *kapi_held;
static unsigned int kapi_forced;
static u32 kapi_link;
static struct dentry *kapi_file;

static void kapi_drop_work(struct work_struct *work)
{
	unsigned long end = jiffies + msecs_to_jiffies(KAPI_RTNL_MS);
	bool locked;

	while (!(locked = rtnl_trylock()) && time_before(jiffies, end))
		msleep(20);

	mutex_lock(&kapi_mutex);
	dev_put(kapi_held);
	kapi_held = NULL;
	if (!locked)
		kapi_forced++;
	mutex_unlock(&kapi_mutex);

	if (locked)
		rtnl_unlock();
}

static DECLARE_WORK(kapi_drop, kapi_drop_work);

static int kapi_hold(const char *name)
{
	int err = 0;

	mutex_lock(&kapi_mutex);
	if (kapi_held)
		err = -EBUSY;
	else
		kapi_held = dev_get_by_name(current->nsproxy->net_ns, name);
	if (!err && !kapi_held)
		err = -ENODEV;
	mutex_unlock(&kapi_mutex);

	return err;
}

static int kapi_get_link(const char *name)
{
	struct net_device *dev;
	int err = 0;

	dev = dev_get_by_name(current->nsproxy->net_ns, name);
	if (!dev)
		return -ENODEV;

	mutex_lock(&kapi_mutex);
	if (dev->ethtool_ops && dev->ethtool_ops->get_link)
		kapi_link = dev->ethtool_ops->get_link(dev);
	else
		err = -EOPNOTSUPP;
	mutex_unlock(&kapi_mutex);
	dev_put(dev);

	return err;
}

static int kapi_show(struct seq_file *m, void *unused)
{
	mutex_lock(&kapi_mutex);
	seq_printf(m, "held %d\nforced %u\nlink %u\n", !!kapi_held, kapi_forced,
		   kapi_link);
	mutex_unlock(&kapi_mutex);
	return 0;
}

static int kapi_open(struct inode *inode, struct file *file)
{
	return single_open(file, kapi_show, NULL);
}

static ssize_t kapi_write(struct file *file, const char __user *user,
			  size_t count, loff_t *pos)
{
	char line[64], verb[16], name[IFNAMSIZ];
	int words, err = -EINVAL;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, user, count))
		return -EFAULT;
	line[count] = '\0';

	words = sscanf(line, "%15s %15s", verb, name);
	if (words == 2 && !strcmp(verb, "hold")) {
		err = kapi_hold(name);
	} else if (words == 2 && !strcmp(verb, "link")) {
		err = kapi_get_link(name);
	} else if (words == 1 && !strcmp(verb, "drop")) {
		schedule_work(&kapi_drop);
		err = 0;
	}

	return err ?: count;
}

static const struct file_operations kapi_fops = {
	.owner = THIS_MODULE,
	.open = kapi_open,
	.read = seq_read,
	.write = kapi_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init kapi_init(void)
{
	kapi_file = debugfs_create_file("fabric_kapi", 0600, NULL, NULL,
					&kapi_fops);
	return 0;
}

static void __exit kapi_exit(void)
{
	debugfs_remove(kapi_file);
	flush_work(&kapi_drop);
	dev_put(kapi_held);
}

module_init(kapi_init);
module_exit(kapi_exit);

MODULE_DESCRIPTION("Uses network interfaces as other kernel modules do");
MODULE_LICENSE("GPL");
