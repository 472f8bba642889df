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
#include <rdma/ib_verbs.h>

/* hex2bin() moved out of linux/kernel.h. */
#ifdef FAB_LACKS_HEX
#include <linux/kernel.h>
#else
#include <linux/hex.h>
#endif

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp) kzalloc(sizeof(obj), gfp)
#endif

#ifndef timer_container_of
#define timer_container_of(var, timer, field) from_timer(var, timer, field)
#endif

#ifdef FAB_LACKS_HRTIMER_SETUP
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*fn)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
}
#endif

/* The third argument of create_cq() */
#ifdef FAB_LACKS_CQ_ATTRS
#define FAB_CQ_ATTRS struct ib_udata
#else
#define FAB_CQ_ATTRS struct uverbs_attr_bundle
#endif

/* reg_user_mr gained a DMA handle. */
#ifdef FAB_LACKS_DMAH
#define FAB_DMAH_PARAM
#else
#define FAB_DMAH_PARAM struct ib_dmah *dmah,
#endif

#endif /* FAB_COMPAT_H */
