// SPDX-License-Identifier: GPL-2.0
/*
 * lab_provoke: does the lab see each kind of report that a kernel makes?
 *
 * Loading it with what=NAME commits one fault on purpose. The lab's tests load
 * it in a machine of their own and expect the run to end with that report. It
 * proves nothing about the driver and is loaded by nobody else.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>

/* Longer than the shortest stall and hang limits a test can set. */
#define PROVOKE_HOLD_MS	8000

static char *what = "";
module_param(what, charp, 0400);
MODULE_PARM_DESC(what, "oops|warn|bug|lockdep|kasan|ubsan|leak|hung|stall|dma");

static DEFINE_MUTEX(provoke_first);
static DEFINE_MUTEX(provoke_second);

/**
 * struct provoke_fault - one fault and its name
 * @name: value of the parameter
 * @commit: what does it; process context
 */
struct provoke_fault {
	const char *name;
	void (*commit)(void);
};

static void provoke_oops(void)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
}

static void provoke_warn(void)
{
	WARN_ON(1);
}

static void provoke_bug(void)
{
	BUG();
}

/* The same two mutexes in both orders: a deadlock only waiting for a rival. */
static void provoke_lockdep(void)
{
	mutex_lock(&provoke_first);
	mutex_lock(&provoke_second);
	mutex_unlock(&provoke_second);
	mutex_unlock(&provoke_first);

	mutex_lock(&provoke_second);
	mutex_lock(&provoke_first);
	mutex_unlock(&provoke_first);
	mutex_unlock(&provoke_second);
}

static void provoke_kasan(void)
{
	u8 *gone = kmalloc(64, GFP_KERNEL);

	if (!gone)
		return;
	kfree(gone);
	OPTIMIZER_HIDE_VAR(gone);
	WRITE_ONCE(gone[8], 1);
}

static void provoke_ubsan(void)
{
	unsigned int shift = 32 + get_random_u32() % 8;
	u32 value = 1;

	OPTIMIZER_HIDE_VAR(shift);
	pr_info("shifted to %u\n", value << shift);
}

/* Many: a stale pointer on some stack may hide one of them from the scan. */
static void provoke_leak(void)
{
	void *lost;
	int i;

	for (i = 0; i < 32; i++) {
		lost = kmalloc(321, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(lost);
	}
}

static int provoke_sleep(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(msecs_to_jiffies(PROVOKE_HOLD_MS));
	return 0;
}

static void provoke_hung(void)
{
	struct task_struct *task;

	task = kthread_run(provoke_sleep, NULL, "lab_provoke");
	if (IS_ERR(task))
		pr_err("no thread to hang: %pe\n", task);
	/* the module's code must outlive the thread */
	msleep(PROVOKE_HOLD_MS + 500);
}

static void provoke_waited(struct rcu_head *unused)
{
}

/* By the clock and not by mdelay(), which a busy host makes too short. */
static void provoke_stall(void)
{
	static struct rcu_head waiting;
	unsigned long end;

	/*
	 * A grace period must be under way to be stalled, and must have begun
	 * after the test set the limit.
	 */
	synchronize_rcu();
	call_rcu(&waiting, provoke_waited);
	preempt_disable();
	end = jiffies + msecs_to_jiffies(PROVOKE_HOLD_MS);
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
	rcu_barrier();
}

/* One mapping, undone twice. */
static void provoke_dma(void)
{
	struct platform_device *dev =
		platform_device_register_simple("lab_provoke", 0, NULL, 0);
	void *buf = kmalloc(64, GFP_KERNEL);
	dma_addr_t addr;

	if (IS_ERR(dev) || !buf)
		return;
	addr = dma_map_single(&dev->dev, buf, 64, DMA_TO_DEVICE);
	if (!dma_mapping_error(&dev->dev, addr)) {
		dma_unmap_single(&dev->dev, addr, 64, DMA_TO_DEVICE);
		dma_unmap_single(&dev->dev, addr, 64, DMA_TO_DEVICE);
	}
	kfree(buf);
	platform_device_unregister(dev);
}

static const struct provoke_fault provoke_faults[] = {
	{ "oops", provoke_oops },
	{ "warn", provoke_warn },
	{ "bug", provoke_bug },
	{ "lockdep", provoke_lockdep },
	{ "kasan", provoke_kasan },
	{ "ubsan", provoke_ubsan },
	{ "leak", provoke_leak },
	{ "hung", provoke_hung },
	{ "stall", provoke_stall },
	{ "dma", provoke_dma },
};

static int __init provoke_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(provoke_faults); i++) {
		if (strcmp(what, provoke_faults[i].name))
			continue;
		provoke_faults[i].commit();
		return 0;
	}
	pr_err("what=%s names no fault\n", what);
	return -EINVAL;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("Faults on purpose, for the tests of the lab");
MODULE_LICENSE("GPL");
