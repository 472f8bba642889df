// SPDX-License-Identifier: GPL-2.0
/*
 * What has completed, and who is told on which processor?
 *
 * A completion queue is a bounded ring. When it is armed and something
 * arrives, the queue is put on the list of its completion vector; the vector's
 * tasklet, on the vector's processor, calls the handler; so does the tasklet of
 * a queue pair that raised it there, when it has done its sends. So a handler
 * runs in softirq and never inside a verb. As where interrupts are balanced,
 * the HCAs do not all begin with the same processor. With steer=sender it runs
 * on the processor that completes, which is mostly the sender's: two flows that
 * keep to a processor each then share none, as those over a veth pair do not.
 *
 * Order of this file: vectors, pushing, holding back, polling and arming,
 * moderation, life.
 */
#include <linux/cpumask.h>
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait_bit.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* --- Vectors ------------------------------------------------------------- */

/**
 * struct fab_vector - an interrupt vector of every HCA
 * @cpu: where its handlers run
 * @cqs: queues to tell
 * @call: brings the tasklet to @cpu
 * @work: tells them
 */
struct fab_vector {
	int cpu;
	struct llist_head cqs;
	call_single_data_t call;
	struct tasklet_struct work;
};

static struct fab_vector *vectors;

/* True where a queue pair's tasklet runs, see fab_vectors_hold(). */
static DEFINE_PER_CPU(bool, vectors_held);

static bool steer_to_sender;

static int fab_steer_set(const char *text, const struct kernel_param *param)
{
	if (sysfs_streq(text, "vector")) {
		WRITE_ONCE(steer_to_sender, false);
	} else if (sysfs_streq(text, "sender")) {
		WRITE_ONCE(steer_to_sender, true);
	} else {
		pr_err("ib_fabric: steer is vector or sender\n");
		return -EINVAL;
	}

	return 0;
}

static int fab_steer_get(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%s\n",
			  READ_ONCE(steer_to_sender) ? "sender" : "vector");
}

static const struct kernel_param_ops fab_steer_ops = {
	.set = fab_steer_set,
	.get = fab_steer_get,
};

module_param_cb(steer, &fab_steer_ops, NULL, 0644);
MODULE_PARM_DESC(steer, "completion handlers run on the processor of their vector or of the sender (vector)");

static void fab_cq_report_overflow(struct fab_cq *cq)
{
	struct ib_event event = {
		.device = cq->ibcq.device,
		.element.cq = &cq->ibcq,
		.event = IB_EVENT_CQ_ERR,
	};

	fab_misuse(to_fab_hca(cq->ibcq.device), FAB_MISUSE_CQ_FULL,
		   "a completion queue overflowed");
	fab_event_raised(&to_fab_hca(cq->ibcq.device)->node->events,
			 IB_EVENT_CQ_ERR);
	if (cq->ibcq.event_handler)
		cq->ibcq.event_handler(&event, cq->ibcq.cq_context);
}

static void fab_cq_tell(struct fab_cq *cq)
{
	if (test_and_clear_bit(FAB_CQ_ERROR, &cq->flags))
		fab_cq_report_overflow(cq);
	if (!test_and_clear_bit(FAB_CQ_EVENT, &cq->flags))
		return;

	cq->stat_events++;
	cq->stat_cpu = smp_processor_id();
	if (cq->ibcq.comp_handler)
		cq->ibcq.comp_handler(&cq->ibcq, cq->ibcq.cq_context);
}

static void fab_vector_arrive(void *arg)
{
	struct fab_vector *vector = arg;

	tasklet_schedule(&vector->work);
}

static void fab_vector_kick(struct fab_vector *vector)
{
	int cpu = get_cpu();

	if (vector->cpu != cpu)
		smp_call_function_single_async(vector->cpu, &vector->call);
	else if (!__this_cpu_read(vectors_held))
		tasklet_schedule(&vector->work);
	put_cpu();
}

static struct fab_vector *fab_cq_vector(const struct fab_cq *cq)
{
	if (READ_ONCE(steer_to_sender))
		/* The first ones are those of the processors, each its own. */
		return &vectors[raw_smp_processor_id() % fabric.num_vectors];
	return &vectors[cq->home];
}

static bool fab_cq_is_raised(const struct fab_cq *cq)
{
	return !test_bit(FAB_CQ_DEAD, &cq->flags) &&
	       (test_bit(FAB_CQ_EVENT, &cq->flags) ||
		test_bit(FAB_CQ_ERROR, &cq->flags));
}

static void fab_cq_list(struct fab_cq *cq)
{
	struct fab_vector *vector = fab_cq_vector(cq);

	if (test_and_set_bit(FAB_CQ_QUEUED, &cq->flags))
		return;

	atomic_inc(&cq->active);
	if (llist_add(&cq->link, &vector->cqs))
		fab_vector_kick(vector);
}

/* @what: FAB_CQ_EVENT or FAB_CQ_ERROR */
static void fab_cq_raise(struct fab_cq *cq, unsigned int what)
{
	set_bit(what, &cq->flags);
	fab_cq_list(cq);
}

/* A handler never runs twice at once: the queue stays listed meanwhile. */
static void fab_vector_tell(struct fab_vector *vector)
{
	struct llist_node *list;
	struct fab_cq *cq, *next;

	list = llist_reverse_order(llist_del_all(&vector->cqs));
	llist_for_each_entry_safe(cq, next, list, link) {
		if (!test_bit(FAB_CQ_DEAD, &cq->flags))
			fab_cq_tell(cq);
		clear_bit(FAB_CQ_QUEUED, &cq->flags);
		/* Pairs with test_and_set_bit() in fab_cq_list(). */
		smp_mb__after_atomic();
		if (fab_cq_is_raised(cq))
			fab_cq_list(cq);
		if (atomic_dec_and_test(&cq->active))
			wake_up_var(&cq->active);
	}
}

static void fab_vector_run(struct tasklet_struct *work)
{
	struct fab_vector *vector = from_tasklet(vector, work, work);

	fab_vector_tell(vector);
}

/**
 * fab_vectors_hold - a tasklet is about to complete requests
 *
 * Vectors of this processor need no tasklet of their own until
 * fab_vectors_release(): scheduling one and a further round of softirqs cost
 * more than a small packet does.
 * Context: tasklet.
 */
void fab_vectors_hold(void)
{
	__this_cpu_write(vectors_held, true);
}

/**
 * fab_vectors_release - call the handlers due since fab_vectors_hold()
 *
 * Context: the same tasklet, no lock held.
 */
void fab_vectors_release(void)
{
	int cpu = smp_processor_id();
	unsigned int i;

	__this_cpu_write(vectors_held, false);
	for (i = 0; i < fabric.num_vectors; i++) {
		if (vectors[i].cpu == cpu && !llist_empty(&vectors[i].cqs))
			fab_vector_tell(&vectors[i]);
	}
}

/**
 * fab_vectors_create - make the completion vectors all HCAs share
 * @count: how many; they go round the processors
 *
 * Return: 0 or -ENOMEM.
 */
int fab_vectors_create(unsigned int count)
{
	int cpu = cpumask_first(cpu_online_mask);
	unsigned int i;

	vectors = kcalloc(count, sizeof(*vectors), GFP_KERNEL);
	if (!vectors)
		return -ENOMEM;

	for (i = 0; i < count; i++) {
		vectors[i].cpu = cpu;
		init_llist_head(&vectors[i].cqs);
		INIT_CSD(&vectors[i].call, fab_vector_arrive, &vectors[i]);
		tasklet_setup(&vectors[i].work, fab_vector_run);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
	}

	return 0;
}

/* No queue is left when this is called. */
void fab_vectors_destroy(void)
{
	unsigned int i;

	for (i = 0; vectors && i < fabric.num_vectors; i++)
		tasklet_kill(&vectors[i].work);
	kfree(vectors);
	vectors = NULL;
}

/**
 * fab_cq_cpu - the processor a completion queue's handler runs on
 * @cq: completion queue
 *
 * Return: its number, if completions are not steered to their sender.
 */
int fab_cq_cpu(const struct fab_cq *cq)
{
	return vectors[cq->home].cpu;
}

/* --- Pushing ------------------------------------------------------------- */

static bool fab_cq_wants_event(const struct fab_cq *cq,
			       const struct fab_cqe *cqe)
{
	if (cq->armed & IB_CQ_NEXT_COMP)
		return true;

	return (cq->armed & IB_CQ_SOLICITED) &&
	       (cqe->solicited || cqe->wc.status != IB_WC_SUCCESS);
}

/* It is not armed any more. False when the handler must not be called. */
static bool fab_cq_fire(struct fab_cq *cq)
{
	lockdep_assert_held(&cq->lock);

	cq->armed = 0;
	cq->held = 0;
	/* Who polled without being told has what the event was for. */
	if (!fab_hca_has_faults() || cq->shown == cq->tail)
		return true;

	return !__fab_completion_loses_event(&cq->ring[(cq->shown - 1) &
						       cq->mask]);
}

/* True when the handler is to be called now, false when it waits. */
static bool fab_cq_moderate(struct fab_cq *cq)
{
	u64 hold_ns = cq->mod_usecs * NSEC_PER_USEC;

	lockdep_assert_held(&cq->lock);

	if (cq->mod_usecs && ++cq->held < cq->mod_count) {
		if (cq->held == 1)
			hrtimer_start(&cq->timer, ns_to_ktime(hold_ns),
				      HRTIMER_MODE_REL_SOFT);
		return false;
	}

	return fab_cq_fire(cq);
}

/*
 * Let those be seen that are due. Returns true when the handler is to be
 * called.
 */
static bool fab_cq_show_due(struct fab_cq *cq, ktime_t now)
{
	bool raise = false;

	lockdep_assert_held(&cq->lock);

	while (cq->shown != cq->head) {
		struct fab_cqe *cqe = &cq->ring[cq->shown & cq->mask];

		if (cqe->due > now) {
			if (cqe->due != KTIME_MAX)
				hrtimer_start(&cq->hold_timer, cqe->due,
					      HRTIMER_MODE_ABS_SOFT);
			break;
		}
		cq->shown++;
		if (fab_cq_wants_event(cq, cqe))
			raise |= fab_cq_moderate(cq);
	}

	return raise;
}

/* Show the newest completion, or hold it back when a fault says so. */
static bool fab_cq_show_newest(struct fab_cq *cq)
{
	struct fab_cqe *cqe = &cq->ring[(cq->head - 1) & cq->mask];

	lockdep_assert_held(&cq->lock);

	if (fab_hca_has_faults()) {
		cqe->due = __fab_completion_due(cqe);
		/* One that is held back sees to it that this one is shown. */
		return cq->head - cq->shown > 1 ?
		       false : fab_cq_show_due(cq, ktime_get());
	}

	cq->shown = cq->head;
	return fab_cq_wants_event(cq, cqe) && fab_cq_moderate(cq);
}

static bool fab_cq_has_room(const struct fab_cq *cq, const struct fab_cqe *cqe)
{
	if (cq->overflowed || cq->head - cq->tail >= cq->size)
		return false;

	return !fab_hca_has_faults() || !__fab_completion_overflows(cqe);
}

/**
 * fab_cq_push - add a completion
 * @cq: the queue
 * @cqe: the completion
 *
 * Context: softirq.
 * Return: false when the queue is full. The queue is then in error for good
 * and its owner was told (IBA 11.6.3.1).
 */
bool fab_cq_push(struct fab_cq *cq, const struct fab_cqe *cqe)
{
	unsigned long flags;
	bool raise = false;
	bool first = false;
	bool room;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	room = fab_cq_has_room(cq, cqe);
	if (room) {
		struct fab_cqe *slot = &cq->ring[cq->head & cq->mask];

		*slot = *cqe;
		if (fab_hca_has_faults())
			slot->wc.wr_id ^= __fab_completion_wr_id_xor(slot);
		cq->head++;
		raise = fab_cq_show_newest(cq);
	} else {
		first = !cq->overflowed;
		cq->overflowed = true;
	}
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	if (raise)
		fab_cq_raise(cq, FAB_CQ_EVENT);
	if (first)
		fab_cq_raise(cq, FAB_CQ_ERROR);
	return room;
}

/**
 * fab_cq_forget_qp - take a queue pair's completions out
 * @cq: the queue
 * @qp: the queue pair, which produces no more of them
 *
 * What destroying or resetting a queue pair does to its queues (IBA 10.2.4.4).
 */
void fab_cq_forget_qp(struct fab_cq *cq, const struct fab_qp *qp)
{
	unsigned long flags;
	u32 from, to, shown;
	bool raise;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	shown = cq->tail;
	for (from = cq->tail, to = cq->tail; from != cq->head; from++) {
		if (cq->ring[from & cq->mask].qp == qp)
			continue;
		if (from != to)
			cq->ring[to & cq->mask] = cq->ring[from & cq->mask];
		to++;
		/* Positions are compared as distances: they may wrap. */
		if (from - cq->tail < cq->shown - cq->tail)
			shown = to;
	}
	cq->head = to;
	cq->shown = shown;
	/* The one that held the others up may be gone. */
	raise = cq->shown != cq->head && fab_cq_show_due(cq, ktime_get());
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	if (raise)
		fab_cq_raise(cq, FAB_CQ_EVENT);
}

/**
 * fab_cq_disown_qp - leave a queue pair's completions where they are
 * @cq: the queue
 * @qp: the queue pair, whose rings begin again
 *
 * What resetting a queue pair does where the driver does not clean the queue:
 * the completions are polled later, and free no slot of the rings.
 */
void fab_cq_disown_qp(struct fab_cq *cq, const struct fab_qp *qp)
{
	unsigned long flags;
	u32 pos;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	for (pos = cq->tail; pos != cq->head; pos++) {
		struct fab_cqe *cqe = &cq->ring[pos & cq->mask];

		if (cqe->qp == qp)
			cqe->disowned = true;
	}
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);
}

/* --- Holding back -------------------------------------------------------- */

static void fab_cq_release(struct fab_cq *cq, ktime_t now)
{
	unsigned long flags;
	bool raise;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	raise = fab_cq_show_due(cq, now);
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	if (raise)
		fab_cq_raise(cq, FAB_CQ_EVENT);
}

static enum hrtimer_restart fab_cq_hold_timeout(struct hrtimer *timer)
{
	fab_cq_release(container_of(timer, struct fab_cq, hold_timer),
		       ktime_get());
	return HRTIMER_NORESTART;
}

/**
 * fab_cqs_release - let everything be seen that is held back
 * @hca: the HCA, no queue of which holds anything back from now on
 *
 * Context: RCU read section.
 */
void fab_cqs_release(struct fab_hca *hca)
{
	struct fab_cq *cq;
	unsigned long id;

	xa_lock(&hca->cqs);
	xa_for_each(&hca->cqs, id, cq)
		fab_cq_release(cq, KTIME_MAX);
	xa_unlock(&hca->cqs);
}

/* --- Polling and arming -------------------------------------------------- */

/* A slot of the ring is free again when its completion has been seen. */
static void fab_cq_credit(const struct fab_cqe *cqe)
{
	struct fab_ring *ring = cqe->is_send ? &cqe->qp->sq : &cqe->qp->rq;

	if (!cqe->disowned)
		WRITE_ONCE(ring->freed, cqe->ring_next);
}

int fab_cq_poll(struct ib_cq *ibcq, int num, struct ib_wc *wc)
{
	struct fab_cq *cq = to_fab_cq(ibcq);
	unsigned long flags;
	int n;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	for (n = 0; n < num && cq->tail != cq->shown; n++) {
		const struct fab_cqe *cqe = &cq->ring[cq->tail & cq->mask];

		wc[n] = cqe->wc;
		fab_cq_credit(cqe);
		cq->tail++;
	}
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	return n;
}

int fab_cq_arm(struct ib_cq *ibcq, enum ib_cq_notify_flags flags)
{
	struct fab_cq *cq = to_fab_cq(ibcq);
	unsigned long irq;
	int err, missed;

	err = fab_verb_fault(to_fab_hca(ibcq->device), FAB_VERB_REQ_NOTIFY_CQ,
			     READ_ONCE(cq->types));
	if (err)
		return err;

	irq = fab_softirqs_off();
	spin_lock(&cq->lock);
	/* Armed for any completion stays so, IBA 11.4.2.2. */
	if (cq->armed != IB_CQ_NEXT_COMP)
		cq->armed = flags & IB_CQ_SOLICITED_MASK;
	missed = (flags & IB_CQ_REPORT_MISSED_EVENTS) &&
		 cq->shown != cq->tail;
	spin_unlock(&cq->lock);
	fab_softirqs_on(irq);

	return missed;
}

/* --- Moderation ---------------------------------------------------------- */

static enum hrtimer_restart fab_cq_timeout(struct hrtimer *timer)
{
	struct fab_cq *cq = container_of(timer, struct fab_cq, timer);
	unsigned long flags;
	bool raise;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	raise = cq->held && cq->armed && fab_cq_fire(cq);
	cq->held = 0;
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	if (raise)
		fab_cq_raise(cq, FAB_CQ_EVENT);
	return HRTIMER_NORESTART;
}

/**
 * fab_cq_modify - set the moderation
 * @ibcq: the queue
 * @count: completions after which an event is raised at once
 * @usecs: longest time an event waits; 0 switches moderation off
 *
 * Return: 0, or what a fault says.
 */
int fab_cq_modify(struct ib_cq *ibcq, u16 count, u16 usecs)
{
	struct fab_cq *cq = to_fab_cq(ibcq);
	unsigned long flags;
	int err;

	err = fab_command_refused(to_fab_hca(ibcq->device), FAB_VERB_MODIFY_CQ,
				  READ_ONCE(cq->types));
	if (err)
		return err;

	flags = fab_softirqs_off();
	spin_lock(&cq->lock);
	/* Without a bound on the number, the time alone decides. */
	cq->mod_count = count ? count : U16_MAX;
	cq->mod_usecs = usecs;
	spin_unlock(&cq->lock);
	fab_softirqs_on(flags);

	return 0;
}

/* --- Life ---------------------------------------------------------------- */

int fab_cq_create(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		  FAB_CQ_ATTRS *attrs)
{
	struct fab_hca *hca = to_fab_hca(ibcq->device);
	struct fab_cq *cq = to_fab_cq(ibcq);
	int err;

	err = fab_command_refused(hca, FAB_VERB_CREATE_CQ, 0);
	if (err)
		return err;
	if (attr->flags || !attr->cqe || attr->cqe > FAB_MAX_CQE ||
	    attr->comp_vector >= hca->node->shape.vectors)
		return -EINVAL;

	cq->size = attr->cqe;
	cq->mask = roundup_pow_of_two(attr->cqe) - 1;
	cq->ring = vzalloc(array_size(cq->mask + 1, sizeof(*cq->ring)));
	if (!cq->ring)
		return -ENOMEM;

	err = xa_alloc_cyclic(&hca->cqs, &cq->id, cq, xa_limit_31b,
			      &hca->next_cq, GFP_KERNEL);
	if (err < 0) {
		vfree(cq->ring);
		return err;
	}

	spin_lock_init(&cq->lock);
	cq->stat_cpu = -1;
	cq->vector = attr->comp_vector;
	cq->home = (hca->node->index + cq->vector) % fabric.num_vectors;
	hrtimer_setup(&cq->timer, fab_cq_timeout, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_SOFT);
	hrtimer_setup(&cq->hold_timer, fab_cq_hold_timeout, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_SOFT);
	ibcq->cqe = attr->cqe;
	return 0;
}

int fab_cq_destroy(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct fab_cq *cq = to_fab_cq(ibcq);

	fab_command(to_fab_hca(ibcq->device), FAB_VERB_DESTROY_CQ,
		    READ_ONCE(cq->types));
	/*
	 * Who walks them, as for debugfs, holds the lock: a grace period would
	 * be many times what an HCA takes for this.
	 */
	xa_erase(&to_fab_hca(ibcq->device)->cqs, cq->id);
	/* Every queue pair is gone: nothing pushes any more. */
	set_bit(FAB_CQ_DEAD, &cq->flags);
	hrtimer_cancel(&cq->timer);
	hrtimer_cancel(&cq->hold_timer);
	wait_var_event(&cq->active, !atomic_read(&cq->active));
	vfree(cq->ring);
	return 0;
}
