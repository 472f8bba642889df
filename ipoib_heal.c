// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What becomes of a transmit queue that ails?
 *
 * Whoever sees that one does says so by ipoib_ud_ails(), and queues that stand
 * still are found here. Each is treated in stages, the next when one did not
 * help: its completions are looked for, its queue pair is taken out of SQE, or
 * through RESET, where it keeps its number. What helps no single queue is left
 * to the link, which has all made anew. Not here: what those are made of
 * (ipoib_ud.c).
 *
 * Stages: keeping count, treatment, finding out, rounds.
 */
#include <linux/iopoll.h>
#include <linux/netdevice.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/*
 * a healthy HCA flushes a queue pair in microseconds; while the others run one
 * waits for it no longer than this
 */
#define IPOIB_HEAL_DRAIN_MS	2000

/* time for a queue whose completions were armed anew to move */
#define IPOIB_HEAL_WATCH_MS	200

/* sends of a healthy queue complete in that time */
#define IPOIB_HEAL_SETTLE_MS	10

/* between two looks at a queue under treatment */
#define IPOIB_HEAL_LOOK_MS	5

/* between two looks at all queues: nothing may take so long to complete */
#define IPOIB_HEAL_ROUND_MS	5000

/* so many treatments of one queue in so long, and it is made anew */
#define IPOIB_HEAL_ROW		8
#define IPOIB_HEAL_ROW_MS	10000

/* ---- keeping count ---- */

static void ipoib_heal_count(struct ipoib_txq *txq, enum ipoib_heal_stage stage)
{
	trace_ipoib_heal(txq->ipd->netdev, txq->index, stage);
	atomic64_inc(&txq->ipd->ud.heals[stage]);
}

static void ipoib_heal_set_step(struct ipoib_txq *txq,
				enum ipoib_heal_step step, u32 patience_ms)
	__must_hold(&txq->ipd->link.lock)
{
	lockdep_assert_held(&txq->ipd->link.lock);

	txq->heal.step = step;
	txq->heal.until = jiffies + msecs_to_jiffies(patience_ms);
}

/*
 * Only a new queue pair and completion queue help: the link's business. The
 * first queue's number is in the link address, and so with it all are
 * recreated; any other is recreated alone.
 */
static void ipoib_heal_give_up(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	if (txq->index) {
		ipoib_txq_halt(txq, IPOIB_HALT_HEAL);
		ipoib_heal_set_step(txq, IPOIB_QUEUE_RECREATING, 0);
		set_bit(txq->index, &txq->ipd->ud.lost);
		ipoib_link_recreate_queues(txq->ipd);
		return;
	}

	ipoib_heal_set_step(txq, IPOIB_QUEUE_WELL, 0);
	set_bit(0, &txq->ipd->ud.lost);
	ipoib_link_post(txq->ipd, IPOIB_EV_BROKEN);
}

/* ---- treatment ---- */

static void ipoib_heal_watch(struct ipoib_txq *txq, enum ipoib_heal_stage stage)
	__must_hold(&txq->ipd->link.lock)
{
	ipoib_heal_count(txq, stage);
	txq->heal.tail = READ_ONCE(txq->tail);
	ipoib_heal_set_step(txq, IPOIB_QUEUE_WATCHED, IPOIB_HEAL_WATCH_MS);
	/* a poll arms the completion queue when it ends */
	ipoib_napi_kick(&txq->napi);
	if (!txq->index)
		ipoib_napi_kick(&txq->ipd->ud.rxq.napi);
}

static void ipoib_heal_drain(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ipoib_rxq *rxq = &txq->ipd->ud.rxq;

	ipoib_txq_halt(txq, IPOIB_HALT_HEAL);
	if (!txq->index) {
		WRITE_ONCE(rxq->fence, IPOIB_RX_FENCE_HOLD);
		ipoib_napi_kick(&rxq->napi);
	}
	ipoib_txq_set_error(txq);
	ipoib_heal_set_step(txq, IPOIB_QUEUE_DRAINING, IPOIB_HEAL_DRAIN_MS);
}

/*
 * Nothing is wrong with the queue, but its queue pair needs a P_Key index that
 * it takes in RESET alone: what is under way gets a chance to leave.
 */
static void ipoib_heal_settle(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	bool idle;

	ipoib_txq_halt(txq, IPOIB_HALT_HEAL);
	read_poll_timeout(ipoib_txq_is_idle, idle, idle, USEC_PER_MSEC / 10,
			  IPOIB_HEAL_SETTLE_MS * USEC_PER_MSEC, false, txq);
}

static bool ipoib_heal_in_a_row(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ipoib_heal *heal = &txq->heal;
	unsigned long end = heal->since + msecs_to_jiffies(IPOIB_HEAL_ROW_MS);

	if (!heal->row || time_after(jiffies, end)) {
		heal->since = jiffies;
		heal->row = 0;
	}

	return ++heal->row > IPOIB_HEAL_ROW;
}

/* Somebody says that the queue ails: see what the HCA thinks of it. */
static void ipoib_heal_begin(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	enum ipoib_heal_stage stage = IPOIB_HEAL_REARM;
	bool moved;
	bool reset;
	int state;

	reset = test_and_clear_bit(txq->index, &txq->ipd->ud.needs_reset);

	if (test_bit(txq->index, &txq->ipd->ud.lost) ||
	    ipoib_heal_in_a_row(txq)) {
		ipoib_heal_give_up(txq);
		return;
	}

	state = ipoib_qp_state(txq->qp);
	if (state == IB_QPS_SQE && !ipoib_qp_sqe_to_rts(txq->qp))
		stage = IPOIB_HEAL_SQE;
	else if (state != IB_QPS_RTS)
		stage = IPOIB_HEAL_RESET;
	if (reset)
		stage = IPOIB_HEAL_RESET;

	moved = txq->pkey_index != txq->ipd->ud.pkey_index;
	if (moved && stage != IPOIB_HEAL_RESET)
		ipoib_heal_settle(txq);
	/* it may be that one, missed since, that it ails for */
	if (stage == IPOIB_HEAL_RESET || moved || ipoib_txq_take_qkey(txq))
		ipoib_heal_drain(txq);
	else
		ipoib_heal_watch(txq, stage);
}

static bool ipoib_heal_moves(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	if (!txq->index && READ_ONCE(txq->ipd->ud.rxq.flushed))
		return false;

	return READ_ONCE(txq->tail) != txq->heal.tail ||
	       READ_ONCE(txq->tail) == READ_ONCE(txq->head);
}

static bool ipoib_heal_is_late(const struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	return time_after(jiffies, txq->heal.until);
}

static void ipoib_heal_watched(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	if (ipoib_heal_moves(txq)) {
		ipoib_heal_set_step(txq, IPOIB_QUEUE_WELL, 0);
		/* what this stopped may have missed its waking */
		ipoib_txq_resume(txq, IPOIB_HALT_HEAL);
	} else if (ipoib_heal_is_late(txq)) {
		ipoib_heal_drain(txq);
	}
}

static void ipoib_heal_drained(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ipoib_rxq *rxq = &txq->ipd->ud.rxq;
	bool held, idle;

	/* no completion will come that it could wait for */
	if (test_bit(txq->index, &txq->ipd->ud.lost)) {
		ipoib_heal_give_up(txq);
		return;
	}

	held = txq->index ||
	       /* pairs with the release in ipoib_rx_poll() */
	       smp_load_acquire(&rxq->fence) == IPOIB_RX_FENCE_HELD;
	idle = held && ipoib_txq_is_idle(txq) &&
	       (txq->index || ipoib_rxq_is_idle(rxq));
	if (!idle && !ipoib_heal_is_late(txq))
		return;

	ipoib_heal_count(txq, IPOIB_HEAL_RESET);
	if (!held || ipoib_qp_reset(txq->qp)) {
		ipoib_heal_give_up(txq);
		return;
	}

	ipoib_heal_set_step(txq, IPOIB_QUEUE_PURGING, IPOIB_HEAL_DRAIN_MS);
	/* pairs with the acquire in ipoib_tx_poll() */
	smp_store_release(&txq->purge, true);
	ipoib_napi_kick(&txq->napi);
	if (txq->index)
		return;
	/* pairs with the acquire in ipoib_rx_poll() */
	smp_store_release(&rxq->fence, IPOIB_RX_FENCE_PURGE);
	ipoib_napi_kick(&rxq->napi);
}

static bool ipoib_heal_purged(struct ipoib_txq *txq)
{
	/* pairs with the release in ipoib_tx_poll() */
	if (smp_load_acquire(&txq->purge))
		return false;
	/* pairs with the release in ipoib_rx_poll() */
	return txq->index || smp_load_acquire(&txq->ipd->ud.rxq.fence) ==
			     IPOIB_RX_FENCE_PURGED;
}

static void ipoib_heal_restart(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	if (!ipoib_heal_purged(txq)) {
		if (ipoib_heal_is_late(txq))
			ipoib_heal_give_up(txq);
		return;
	}

	if (test_bit(txq->index, &txq->ipd->ud.lost) ||
	    ipoib_txq_join_in(txq)) {
		ipoib_heal_give_up(txq);
		return;
	}

	ipoib_heal_set_step(txq, IPOIB_QUEUE_WELL, 0);
	/* what came back meanwhile came of this */
	clear_bit(txq->index, &txq->ipd->ud.ailing);
	clear_bit(txq->index, &txq->ipd->ud.needs_reset);
	if (!txq->index) {
		WRITE_ONCE(txq->ipd->ud.rxq.fence, IPOIB_RX_FENCE_OPEN);
		ipoib_napi_kick(&txq->ipd->ud.rxq.napi);
	}
	ipoib_txq_resume(txq, IPOIB_HALT_HEAL);
}

/* Returns whether to look again soon. */
static bool ipoib_heal_queue(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	switch (txq->heal.step) {
	case IPOIB_QUEUE_WELL:
		if (!test_and_clear_bit(txq->index, &txq->ipd->ud.ailing))
			return false;
		ipoib_heal_begin(txq);
		break;
	case IPOIB_QUEUE_WATCHED:
		ipoib_heal_watched(txq);
		break;
	case IPOIB_QUEUE_DRAINING:
		ipoib_heal_drained(txq);
		break;
	case IPOIB_QUEUE_PURGING:
		ipoib_heal_restart(txq);
		break;
	case IPOIB_QUEUE_RECREATING:
		return false;
	}

	return txq->heal.step != IPOIB_QUEUE_WELL ||
	       test_bit(txq->index, &txq->ipd->ud.ailing);
}

/* ---- finding out ---- */

/*
 * The stack's watchdog sees stopped queues only; one that is not full may be
 * as stuck, and holds on to its packets.
 */
static void ipoib_heal_suspect(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ipoib_heal *heal = &txq->heal;
	u32 tail = READ_ONCE(txq->tail);
	/* what is linked and not posted waits, too */
	bool waits = tail != READ_ONCE(txq->head);

	if (heal->step != IPOIB_QUEUE_WELL)
		return;
	if (waits && heal->waited && heal->tail == tail) {
		netdev_warn(txq->ipd->netdev,
			    "transmit queue %u timed out: nothing completed for %u ms\n",
			    txq->index, IPOIB_HEAL_ROUND_MS);
		ipoib_ud_ails(txq->ipd, txq->index);
	}
	heal->waited = waits;
	heal->tail = tail;
}

/* ---- rounds ---- */

static bool ipoib_heal_all(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ud *ud = &ipd->ud;
	bool round = time_after_eq(jiffies, ud->next_round);
	bool again = false;
	unsigned int i;

	if (round) {
		ud->next_round = jiffies +
				 msecs_to_jiffies(IPOIB_HEAL_ROUND_MS);
		ipoib_ud_learn_cpus(ipd);
		/* of a receive event that was lost nothing else would tell */
		ipoib_napi_kick(&ud->rxq.napi);
	}
	for (i = 0; i < ud->num_txq; i++) {
		again |= ipoib_heal_queue(ud->txq[i]);
		if (round)
			ipoib_heal_suspect(ud->txq[i]);
	}

	return again;
}

static void ipoib_heal_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     ud.heal_work.work);
	unsigned long delay = 0;

	mutex_lock(&ipd->link.lock);
	if (ipd->ud.state == IPOIB_UD_OPEN)
		delay = msecs_to_jiffies(ipoib_heal_all(ipd) ?
					 IPOIB_HEAL_LOOK_MS :
					 IPOIB_HEAL_ROUND_MS);
	mutex_unlock(&ipd->link.lock);

	if (delay)
		queue_delayed_work(ipd->wq, &ipd->ud.heal_work, delay);
}

/**
 * ipoib_heal_init_early() - set up what treats an interface's queues
 * @ipd: interface that nobody knows yet
 *
 * The work runs while the transport is open, which starts and cancels it.
 */
void ipoib_heal_init_early(struct ipoib_dev *ipd)
{
	INIT_DELAYED_WORK(&ipd->ud.heal_work, ipoib_heal_work);
}
