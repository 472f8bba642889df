// SPDX-License-Identifier: GPL-2.0
/*
 * lab_watchdog: how long does the kernel's watchdog bear a stopped queue?
 *
 * As long as its driver says, and no file tells it otherwise. A driver that
 * looks after its queues itself, and more often, never sees the watchdog then.
 * While this module is loaded it is more impatient with one interface, which is
 * looked for in the network namespace of whoever loads it: the watchdog is the
 * kernel's own, with the locks it takes. From the next time the interface comes
 * up it is so for sure; the interface stays as long as the module.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>

static char *name = "ib0";
module_param(name, charp, 0400);
MODULE_PARM_DESC(name, "Interface");

static unsigned int ms = 500;
module_param(ms, uint, 0400);
MODULE_PARM_DESC(ms, "How long one of its queues may be stopped");

static struct net_device *watchdog_dev;
static int watchdog_before;

static int __init watchdog_init(void)
{
	watchdog_dev = dev_get_by_name(current->nsproxy->net_ns, name);
	if (!watchdog_dev)
		return -ENODEV;

	rtnl_lock();
	watchdog_before = watchdog_dev->watchdog_timeo;
	watchdog_dev->watchdog_timeo = msecs_to_jiffies(ms);
	rtnl_unlock();
	return 0;
}

static void __exit watchdog_exit(void)
{
	rtnl_lock();
	watchdog_dev->watchdog_timeo = watchdog_before;
	rtnl_unlock();
	dev_put(watchdog_dev);
}

module_init(watchdog_init);
module_exit(watchdog_exit);
MODULE_DESCRIPTION("An impatient watchdog of transmit queues, for tests");
MODULE_LICENSE("GPL");
