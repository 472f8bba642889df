/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernels from 6.1 to 7.3 call by different names. The fabric is
 * written to the newest; older ones are brought up to it here.
 */
#ifndef FAB_COMPAT_H
#define FAB_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <rdma/ib_verbs.h>

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp) kzalloc(sizeof(obj), gfp)
#endif

#ifndef timer_container_of
#define timer_container_of(var, timer, field) from_timer(var, timer, field)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define hrtimer_setup(timer, fn, clock, mode)		\
	do {						\
		hrtimer_init(timer, clock, mode);	\
		(timer)->function = fn;			\
	} while (0)
#endif

/* The third argument of create_cq changed its type in 6.11. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define FAB_CQ_ATTRS struct ib_udata
#else
#define FAB_CQ_ATTRS struct uverbs_attr_bundle
#endif

/* reg_user_mr gained a DMA handle. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define FAB_DMAH_PARAM
#else
#define FAB_DMAH_PARAM struct ib_dmah *dmah,
#endif

#endif /* FAB_COMPAT_H */
