// SPDX-License-Identifier: GPL-2.0
/*
 * What state is a queue pair in, and what may be posted to it?
 *
 * Requests are written into rings by the verbs and executed by the queue
 * pair's tasklet, in order. What a send request does on the wire is fab_ud.c's
 * matter.
 *
 * Order of this file: posting, executing and flushing, states, life, look-up.
 */
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* Longest message any queue pair takes, as PortInfo's max_msg_sz says. */
#define FAB_MAX_MSG BIT(31)

/* --- Posting ------------------------------------------------------------- */

static bool fab_ring_full(const struct fab_ring *ring)
{
	return ring->head - READ_ONCE(ring->freed) >= ring->limit;
}

/* The length of a scatter list, or -EINVAL when no message is that long. */
static s64 fab_sge_total(const struct ib_sge *sge, int num)
{
	u64 total = 0;
	int i;

	for (i = 0; i < num; i++)
		total += sge[i].length;

	return total > FAB_MAX_MSG ? -EINVAL : (s64)total;
}

/*
 * IBA 10.3.1 has a queue pair reject what it cannot execute yet. Drivers such
 * as mlx4 do not look at the state: the request stays in the ring.
 */
static bool fab_qp_takes_sends(const struct fab_qp *qp)
{
	return qp->hca->node->shape.post_in_reset ||
	       qp->state == IB_QPS_RTS || qp->state == IB_QPS_SQD ||
	       qp->state == IB_QPS_SQE || qp->state == IB_QPS_ERR;
}

static bool fab_qp_takes_recvs(const struct fab_qp *qp)
{
	return qp->hca->node->shape.post_in_reset ||
	       qp->state != IB_QPS_RESET;
}

/* A queue pair that was never in INIT has no port yet. */
static bool fab_ah_fits(const struct fab_qp *qp, struct ib_ah *ah)
{
	return ah && ah->pd == qp->ibqp->pd &&
	       (!qp->port || to_fab_ah(ah)->port_num == qp->port->num);
}

static int fab_send_check(struct fab_qp *qp, const struct ib_send_wr *wr)
{
	if (!fab_qp_takes_sends(qp)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_STATE,
			   "a send was posted to a QP that is not ready to send");
		return -EINVAL;
	}
	if (wr->opcode != IB_WR_SEND && wr->opcode != IB_WR_SEND_WITH_IMM &&
	    !(wr->opcode == IB_WR_LSO && qp->lso)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_OPCODE,
			   "a datagram QP was given an operation it has not");
		return -EINVAL;
	}
	if (wr->num_sge < 0 || wr->num_sge > qp->sq.max_sge) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_SGE,
			   "a send has more SGEs than its QP allows");
		return -EINVAL;
	}
	if (!fab_ah_fits(qp, ud_wr(wr)->ah)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_AH,
			   "a send names an address handle of another PD or port");
		return -EINVAL;
	}

	if (fab_ring_full(&qp->sq)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_FULL,
			   "a send was posted to a ring that is full");
		return -ENOMEM;
	}

	return 0;
}

static int fab_send_payload(struct fab_qp *qp, struct fab_swqe *wqe,
			    const struct ib_send_wr *wr)
{
	s64 total = fab_sge_total(wr->sg_list, wr->num_sge);

	if (total < 0 || ((wr->send_flags & IB_SEND_INLINE) &&
			  total > qp->max_inline)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_LENGTH,
			   "a send is longer than its QP allows");
		return -EINVAL;
	}

	wqe->length = total;
	if (wr->send_flags & IB_SEND_INLINE) {
		wqe->num_sge = 0;
		fab_copy_from(wqe->sge, wr->sg_list, wr->num_sge);
		return 0;
	}

	wqe->num_sge = wr->num_sge;
	fab_sges_take(qp->hca, wqe->sge, wr->sg_list, wr->num_sge);
	return 0;
}

/* The headers are copied now: the caller's are his again when we return. */
static int fab_send_header(struct fab_qp *qp, struct fab_swqe *wqe,
			   const struct ib_ud_wr *wr)
{
	if (!wr->header || wr->hlen <= 0 || wr->hlen > FAB_HEADERS_MAX ||
	    wr->mss <= 0 || wr->mss > U16_MAX || wqe->length > FAB_MAX_LSO) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_LSO,
			   "an LSO request's headers, MSS or length are out of bounds");
		return -EINVAL;
	}

	memcpy(fab_swqe_header(&qp->sq, wqe), wr->header, wr->hlen);
	wqe->hlen = wr->hlen;
	wqe->mss = wr->mss;
	wqe->longest = wqe->hlen + min_t(u32, wqe->mss, wqe->length);
	wqe->flags |= FAB_SEND_LSO;
	return 0;
}

/* Under the ring's lock. */
static void fab_ring_count(struct fab_ring *ring, bool signalled)
{
	WRITE_ONCE(ring->requests, ring->requests + 1);
	if (signalled)
		WRITE_ONCE(ring->signalled, ring->signalled + 1);
}

static bool fab_send_is_signalled(const struct fab_qp *qp, u32 flags)
{
	return qp->sig_all || (flags & IB_SEND_SIGNALED);
}

static int fab_send_add(struct fab_qp *qp, const struct ib_send_wr *wr)
{
	struct fab_swqe *wqe = fab_swqe(&qp->sq, qp->sq.head);
	int err;

	lockdep_assert_held(&qp->sq.lock);

	err = fab_send_check(qp, wr);
	if (err)
		return err;
	err = fab_send_payload(qp, wqe, wr);
	if (err)
		return err;

	wqe->flags = wr->send_flags & ~FAB_SEND_LSO;
	wqe->longest = wqe->length;
	if (wr->opcode == IB_WR_LSO) {
		err = fab_send_header(qp, wqe, ud_wr(wr));
		if (err)
			return err;
	}

	wqe->wr_id = wr->wr_id;
	wqe->opcode = wr->opcode;
	wqe->imm = wr->ex.imm_data;
	wqe->ah = to_fab_ah(ud_wr(wr)->ah);
	wqe->remote_qpn = ud_wr(wr)->remote_qpn;
	wqe->qkey = ud_wr(wr)->remote_qkey;
	wqe->pkey_index = ud_wr(wr)->pkey_index;
	atomic_inc(&wqe->ah->in_use);
	fab_ring_count(&qp->sq, fab_send_is_signalled(qp, wqe->flags));

	/* The tasklet reads the slot after it has seen the new head. */
	smp_store_release(&qp->sq.head, qp->sq.head + 1);
	return 0;
}

int fab_qp_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		     const struct ib_send_wr **bad_wr)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	unsigned long flags;
	int err = 0;

	fab_post_delay(qp, FAB_VERB_POST_SEND);
	flags = fab_softirqs_off();
	spin_lock(&qp->sq.lock);
	WRITE_ONCE(qp->sq.posts, qp->sq.posts + 1);
	for (; wr; wr = wr->next) {
		err = fab_verb_fault(qp->hca, FAB_VERB_POST_SEND,
				     BIT(qp->type));
		if (!err)
			err = fab_send_add(qp, wr);
		if (err) {
			*bad_wr = wr;
			break;
		}
	}
	/* Under the lock, so that none is scheduled once the QP is reset. */
	if (qp->state != IB_QPS_RESET)
		tasklet_schedule(&qp->work);
	spin_unlock(&qp->sq.lock);
	fab_softirqs_on(flags);

	return err;
}

static int fab_recv_add(struct fab_qp *qp, const struct ib_recv_wr *wr)
{
	struct fab_rwqe *wqe = fab_rwqe(&qp->rq, qp->rq.head);
	s64 total;

	lockdep_assert_held(&qp->rq.lock);

	if (!fab_qp_takes_recvs(qp)) {
		fab_misuse(qp->hca, FAB_MISUSE_RECV_STATE,
			   "a receive was posted to a QP in RESET");
		return -EINVAL;
	}
	if (wr->num_sge < 0 || wr->num_sge > qp->rq.max_sge) {
		fab_misuse(qp->hca, FAB_MISUSE_RECV_SGE,
			   "a receive has more SGEs than its QP allows");
		return -EINVAL;
	}
	total = fab_sge_total(wr->sg_list, wr->num_sge);
	if (total < 0) {
		fab_misuse(qp->hca, FAB_MISUSE_RECV_LENGTH,
			   "a receive is longer than its QP allows");
		return -EINVAL;
	}
	if (fab_ring_full(&qp->rq)) {
		fab_misuse(qp->hca, FAB_MISUSE_RECV_FULL,
			   "a receive was posted to a ring that is full");
		return -ENOMEM;
	}

	wqe->wr_id = wr->wr_id;
	wqe->num_sge = wr->num_sge;
	wqe->length = total;
	fab_sges_take(qp->hca, wqe->sge, wr->sg_list, wr->num_sge);
	fab_ring_count(&qp->rq, true);
	qp->rq.head++;
	return 0;
}

int fab_qp_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		     const struct ib_recv_wr **bad_wr)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	unsigned long flags;
	int err = 0;

	fab_post_delay(qp, FAB_VERB_POST_RECV);
	flags = fab_softirqs_off();
	spin_lock(&qp->rq.lock);
	WRITE_ONCE(qp->rq.posts, qp->rq.posts + 1);
	for (; wr; wr = wr->next) {
		err = fab_verb_fault(qp->hca, FAB_VERB_POST_RECV,
				     BIT(qp->type));
		if (!err)
			err = fab_recv_add(qp, wr);
		if (err) {
			*bad_wr = wr;
			break;
		}
	}
	/* A queue pair in error gives every request back at once. */
	if (qp->state == IB_QPS_ERR)
		tasklet_schedule(&qp->work);
	spin_unlock(&qp->rq.lock);
	fab_softirqs_on(flags);

	return err;
}

/* --- Executing and flushing ---------------------------------------------- */

static bool fab_sq_complete(struct fab_qp *qp, struct fab_swqe *wqe,
			    enum ib_wc_status status)
{
	struct fab_cqe cqe = {
		.wc = {
			.wr_id = wqe->wr_id,
			.status = status,
			.opcode = wqe->opcode == IB_WR_LSO ? IB_WC_LSO :
							     IB_WC_SEND,
			.qp = qp->ibqp,
		},
		.qp = qp,
		.is_send = true,
		.ring_next = ++qp->sq.next,
	};

	atomic_dec(&wqe->ah->in_use);
	if (status == IB_WC_SUCCESS && !fab_send_is_signalled(qp, wqe->flags))
		return true;

	return fab_cq_push(qp->send_cq, &cqe);
}

static void fab_rq_flush(struct fab_qp *qp)
{
	unsigned long flags;

	flags = fab_softirqs_off();
	spin_lock(&qp->rq.lock);
	while (qp->state == IB_QPS_ERR && qp->rq.next != qp->rq.head) {
		struct fab_rwqe *wqe = fab_rwqe(&qp->rq, qp->rq.next);
		struct fab_cqe cqe = {
			.wc = {
				.wr_id = wqe->wr_id,
				.status = IB_WC_WR_FLUSH_ERR,
				.opcode = IB_WC_RECV,
				.qp = qp->ibqp,
			},
			.qp = qp,
			.ring_next = ++qp->rq.next,
		};

		fab_cq_push(qp->recv_cq, &cqe);
	}
	spin_unlock(&qp->rq.lock);
	fab_softirqs_on(flags);
}

static void fab_sq_step(struct fab_qp *qp, enum ib_qp_state state)
{
	struct fab_swqe *wqe = fab_swqe(&qp->sq, qp->sq.next);
	enum ib_wc_status status = IB_WC_WR_FLUSH_ERR;

	if (state == IB_QPS_RTS)
		status = fab_completion_status(qp, true) ?:
			 fab_ud_send(qp, wqe);

	/* Who sees the completion and asks for the state is to find SQE. */
	if (status != IB_WC_SUCCESS && state == IB_QPS_RTS)
		fab_qp_fail(qp, IB_QPS_SQE, false);
	if (!fab_sq_complete(qp, wqe, status))
		fab_qp_fail(qp, IB_QPS_ERR, true);
}

static void fab_qp_report(struct fab_qp *qp, bool *flag,
			  enum ib_event_type type)
{
	struct ib_event event = {
		.device = qp->ibqp->device,
		.element.qp = qp->ibqp,
		.event = type,
	};
	unsigned long flags;
	bool report;

	flags = fab_softirqs_off();
	spin_lock(&qp->sq.lock);
	report = *flag;
	*flag = false;
	spin_unlock(&qp->sq.lock);
	fab_softirqs_on(flags);

	if (!report)
		return;

	fab_event_raised(&qp->hca->node->events, type);
	if (qp->ibqp->event_handler)
		qp->ibqp->event_handler(&event, qp->ibqp->qp_context);
}

static bool fab_sq_run(struct fab_qp *qp)
{
	int budget = FAB_SQ_BUDGET;

	/* Pairs with the release in fab_send_add(): the slot is written. */
	while (qp->sq.next != smp_load_acquire(&qp->sq.head)) {
		enum ib_qp_state state = READ_ONCE(qp->state);

		if (state != IB_QPS_RTS && state != IB_QPS_SQE &&
		    state != IB_QPS_ERR)
			return false;
		if (!budget--)
			return true;
		fab_sq_step(qp, state);
	}

	return false;
}

static void fab_qp_work(struct tasklet_struct *work)
{
	struct fab_qp *qp = from_tasklet(qp, work, work);
	bool more;

	fab_vectors_hold();
	rcu_read_lock();
	more = fab_sq_run(qp);
	rcu_read_unlock();
	fab_vectors_release();

	if (READ_ONCE(qp->state) == IB_QPS_SQD)
		fab_qp_report(qp, &qp->sqd_event, IB_EVENT_SQ_DRAINED);
	if (READ_ONCE(qp->state) == IB_QPS_ERR) {
		fab_rq_flush(qp);
		fab_qp_report(qp, &qp->fatal_event, IB_EVENT_QP_FATAL);
	}
	if (more)
		tasklet_schedule(work);
}

/* --- States -------------------------------------------------------------- */

static void fab_qp_set_state(struct fab_qp *qp, enum ib_qp_state state)
{
	lockdep_assert_held(&qp->sq.lock);
	lockdep_assert_held(&qp->rq.lock);

	WRITE_ONCE(qp->state, state);
}

/**
 * fab_qp_fail - what the hardware does to a queue pair after an error
 * @qp: the queue pair
 * @to: IB_QPS_SQE after a send that failed, IB_QPS_ERR after a receive that
 *	failed or after lost completions
 * @fatal: no completion tells of it, so an event does (IBA 11.6.3.2)
 *
 * Context: any, no lock of @qp held, RCU read section: a sender calls it
 * for the receiving queue pair, too. The owner is told by the tasklet of @qp,
 * which cannot run once the owner's handle is gone.
 * Return: false when it is in no state to leave that way.
 */
bool fab_qp_fail(struct fab_qp *qp, enum ib_qp_state to, bool fatal)
{
	unsigned long flags;
	bool moves;

	flags = fab_softirqs_off();
	spin_lock(&qp->sq.lock);
	spin_lock(&qp->rq.lock);
	moves = qp->state == IB_QPS_RTS ||
		(to == IB_QPS_ERR && qp->state != IB_QPS_RESET &&
		 qp->state != IB_QPS_ERR);
	if (moves) {
		fab_qp_set_state(qp, to);
		qp->fatal_event = fatal;
		tasklet_schedule(&qp->work);
	}
	spin_unlock(&qp->rq.lock);
	spin_unlock(&qp->sq.lock);
	fab_softirqs_on(flags);

	return moves;
}

/**
 * fab_qps_flush - have every queue pair of an HCA give back what was posted
 * @hca: an HCA that does nothing else any more
 *
 * Context: process.
 */
void fab_qps_flush(struct fab_hca *hca)
{
	struct fab_node *node = hca->node;
	struct fab_qp *qp;
	unsigned long qpn;
	unsigned int num;

	rcu_read_lock();
	for (num = 1; num <= node->num_ports; num++) {
		for (qpn = 0; qpn <= 1; qpn++) {
			qp = fab_qp_find_rcu(&node->ports[num], qpn);
			if (qp)
				fab_qp_fail(qp, IB_QPS_ERR, false);
		}
	}
	xa_for_each(&hca->qps, qpn, qp)
		fab_qp_fail(qp, IB_QPS_ERR, false);
	rcu_read_unlock();
}

/*
 * No request is left. The locks are held since the state became RESET: what is
 * posted from then on belongs to the queue pair's next life.
 */
static void fab_qp_empty(struct fab_qp *qp)
{
	u32 pos;

	lockdep_assert_held(&qp->sq.lock);
	lockdep_assert_held(&qp->rq.lock);

	for (pos = qp->sq.next; pos != qp->sq.head; pos++)
		atomic_dec(&fab_swqe(&qp->sq, pos)->ah->in_use);

	qp->sq.head = 0;
	qp->sq.next = 0;
	qp->sq.freed = 0;
	qp->rq.head = 0;
	qp->rq.next = 0;
	qp->rq.freed = 0;
}

/* @clean: its completions go, too */
static void fab_qp_reset(struct fab_qp *qp, bool clean)
{
	lockdep_assert_held(&qp->mutex);

	tasklet_disable(&qp->work);
	spin_lock_irq(&qp->sq.lock);
	spin_lock(&qp->rq.lock);
	fab_qp_set_state(qp, IB_QPS_RESET);
	qp->sqd_event = false;
	qp->fatal_event = false;
	if (clean) {
		fab_cq_forget_qp(qp->send_cq, qp);
		fab_cq_forget_qp(qp->recv_cq, qp);
	} else {
		fab_cq_disown_qp(qp->send_cq, qp);
		fab_cq_disown_qp(qp->recv_cq, qp);
	}
	fab_qp_empty(qp);
	spin_unlock(&qp->rq.lock);
	spin_unlock_irq(&qp->sq.lock);
	tasklet_enable(&qp->work);
}

static int fab_qp_check_attr(const struct fab_qp *qp,
			     const struct ib_qp_attr *attr, int mask)
{
	const struct fab_node *node = qp->hca->node;

	if ((mask & IB_QP_PKEY_INDEX) &&
	    attr->pkey_index >= node->shape.pkeys)
		return -EINVAL;
	if ((mask & IB_QP_PORT) &&
	    (!attr->port_num || attr->port_num > node->num_ports))
		return -EINVAL;

	return 0;
}

/* What survives in query_qp(), and what packets are checked against. */
static void fab_qp_apply(struct fab_qp *qp, const struct ib_qp_attr *attr,
			 int mask, enum ib_qp_state next)
{
	spin_lock_irq(&qp->sq.lock);
	spin_lock(&qp->rq.lock);
	if (mask & IB_QP_PORT)
		qp->port = &qp->hca->node->ports[attr->port_num];
	if (mask & IB_QP_PKEY_INDEX)
		qp->pkey_index = attr->pkey_index;
	if (mask & IB_QP_QKEY)
		WRITE_ONCE(qp->qkey, attr->qkey);
	if (mask & IB_QP_EN_SQD_ASYNC_NOTIFY)
		qp->sqd_event = attr->en_sqd_async_notify;
	if (mask & IB_QP_SQ_PSN) {
		qp->sq_psn = attr->sq_psn & FAB_PSN_MASK;
		qp->psn = qp->sq_psn;
	}
	fab_qp_set_state(qp, next);
	/* Requests that waited in SQD, or that are to be flushed now. */
	tasklet_schedule(&qp->work);
	spin_unlock(&qp->rq.lock);
	spin_unlock_irq(&qp->sq.lock);
}

static int __fab_qp_modify(struct fab_qp *qp, const struct ib_qp_attr *attr,
			   int mask)
{
	enum ib_qp_state cur = READ_ONCE(qp->state);
	enum ib_qp_state next = mask & IB_QP_STATE ? attr->qp_state : cur;
	int err;

	lockdep_assert_held(&qp->mutex);

	if ((mask & IB_QP_CUR_STATE) && attr->cur_qp_state != cur)
		return -EINVAL;
	if (!ib_modify_qp_is_ok(cur, next, qp->type, mask))
		return -EINVAL;
	err = fab_qp_check_attr(qp, attr, mask);
	if (err)
		return err;

	if (next == IB_QPS_RESET)
		fab_qp_reset(qp, qp->hca->node->shape.cq_clean);
	else
		fab_qp_apply(qp, attr, mask, next);
	return 0;
}

/* What is left of a torn out HCA can stop a queue pair, no more. */
static int fab_modify_refused(const struct fab_qp *qp,
			      const struct ib_qp_attr *attr, int mask)
{
	if (READ_ONCE(qp->hca->dead) &&
	    !((mask & IB_QP_STATE) && (attr->qp_state == IB_QPS_ERR ||
				       attr->qp_state == IB_QPS_RESET)))
		return -EIO;

	return fab_command(qp->hca, FAB_VERB_MODIFY_QP, BIT(qp->type));
}

int fab_qp_modify(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_udata *udata)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	int err;

	if (mask & ~IB_QP_ATTR_STANDARD_BITS)
		return -EOPNOTSUPP;
	err = fab_modify_refused(qp, attr, mask);
	if (err)
		return err;

	mutex_lock(&qp->mutex);
	err = __fab_qp_modify(qp, attr, mask);
	mutex_unlock(&qp->mutex);

	return err;
}

static void fab_qp_caps(const struct fab_qp *qp, struct ib_qp_cap *cap)
{
	cap->max_send_wr = qp->sq.limit;
	cap->max_recv_wr = qp->rq.limit;
	cap->max_send_sge = qp->sq.max_sge;
	cap->max_recv_sge = qp->rq.max_sge;
	cap->max_inline_data = qp->max_inline;
}

int fab_qp_query(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		 struct ib_qp_init_attr *init)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	int err = fab_command_refused(qp->hca, FAB_VERB_QUERY_QP,
				      BIT(qp->type));

	if (err)
		return err;

	mutex_lock(&qp->mutex);
	memset(attr, 0, sizeof(*attr));
	attr->qp_state = READ_ONCE(qp->state);
	attr->cur_qp_state = attr->qp_state;
	attr->qkey = qp->qkey;
	attr->pkey_index = qp->pkey_index;
	attr->port_num = qp->port ? qp->port->num : 0;
	attr->sq_psn = qp->sq_psn;
	fab_qp_caps(qp, &attr->cap);
	mutex_unlock(&qp->mutex);

	memset(init, 0, sizeof(*init));
	init->event_handler = ibqp->event_handler;
	init->qp_context = ibqp->qp_context;
	init->send_cq = ibqp->send_cq;
	init->recv_cq = ibqp->recv_cq;
	init->cap = attr->cap;
	init->sq_sig_type = qp->sig_all ? IB_SIGNAL_ALL_WR : IB_SIGNAL_REQ_WR;
	init->qp_type = qp->type;
	init->port_num = attr->port_num;
	return 0;
}

/* --- Life ---------------------------------------------------------------- */

static int fab_ring_init(struct fab_ring *ring, u32 limit, u32 max_sge,
			 size_t header, size_t room)
{
	u32 slots = roundup_pow_of_two(max(limit, 1U));

	ring->mask = slots - 1;
	ring->limit = limit;
	ring->max_sge = max_sge;
	ring->stride = ALIGN(header + room, 8);
	ring->wqes = vzalloc(array_size(slots, ring->stride));
	return ring->wqes ? 0 : -ENOMEM;
}

static int fab_rings_init(struct fab_qp *qp, const struct ib_qp_cap *cap)
{
	size_t header = qp->lso ? FAB_HEADERS_MAX : 0;
	size_t sge = sizeof(struct ib_sge);
	int err;

	/* Inline data lie where the list of SGEs would. */
	err = fab_ring_init(&qp->sq, cap->max_send_wr, cap->max_send_sge,
			    sizeof(struct fab_swqe),
			    max(cap->max_send_sge * sge,
				(size_t)cap->max_inline_data) + header);
	if (err)
		return err;

	err = fab_ring_init(&qp->rq, cap->max_recv_wr, cap->max_recv_sge,
			    sizeof(struct fab_rwqe), cap->max_recv_sge * sge);
	if (err)
		vfree(qp->sq.wqes);
	return err;
}

static u32 fab_create_flags(const struct fab_shape *shape)
{
	u32 flags = 0;

	if (shape->mcast_loopback)
		flags |= IB_QP_CREATE_BLOCK_MULTICAST_LOOPBACK;
	if (shape->lso)
		flags |= IB_QP_CREATE_IPOIB_UD_LSO;
	return flags;
}

/* QP0 and QP1 are the device's own: no shape is told to ib_mad. */
static bool fab_qp_caps_fit(const struct fab_shape *shape,
			    enum ib_qp_type type, const struct ib_qp_cap *cap)
{
	u32 max_wr = type == IB_QPT_UD ? shape->max_wr : FAB_MAX_QP_WR;
	u32 sg = type == IB_QPT_UD ? shape->sg : FAB_MAX_SGE;

	return cap->max_send_wr <= max_wr && cap->max_recv_wr <= max_wr &&
	       cap->max_send_sge <= sg && cap->max_recv_sge <= FAB_MAX_SGE &&
	       cap->max_inline_data <= shape->max_inline;
}

static int fab_qp_check_init(const struct fab_shape *shape,
			     const struct ib_qp_init_attr *init)
{
	if (init->srq || (init->create_flags & ~fab_create_flags(shape)))
		return -EOPNOTSUPP;
	if (!init->send_cq || !init->recv_cq)
		return -EINVAL;

	return fab_qp_caps_fit(shape, init->qp_type, &init->cap) ? 0 : -EINVAL;
}

/* QP0 and QP1: one of each on a port. */
static int fab_qp_add_special(struct fab_qp *qp, u32 port_num)
{
	struct fab_qp __rcu **slot;

	if (!port_num || port_num > qp->hca->node->num_ports)
		return -EINVAL;

	qp->port = &qp->hca->node->ports[port_num];
	qp->qpn = qp->type == IB_QPT_SMI ? 0 : 1;
	slot = qp->qpn ? &qp->port->gsi : &qp->port->smi;
	if (cmpxchg((struct fab_qp **)slot, NULL, qp))
		return -EBUSY;

	return 0;
}

static int fab_qp_add(struct fab_qp *qp, const struct ib_qp_init_attr *init)
{
	struct fab_hca *hca = qp->hca;
	int err;

	if (qp->type == IB_QPT_SMI || qp->type == IB_QPT_GSI)
		return fab_qp_add_special(qp, init->port_num);

	/* The numbers below are left to special QPs. */
	err = xa_alloc_cyclic(&hca->qps, &qp->qpn, qp,
			      XA_LIMIT(64, FAB_QPN_MCAST - 1), &hca->next_qpn,
			      GFP_KERNEL);
	return err < 0 ? err : 0;
}

static void fab_qp_del(struct fab_qp *qp)
{
	if (qp->type == IB_QPT_SMI)
		RCU_INIT_POINTER(qp->port->smi, NULL);
	else if (qp->type == IB_QPT_GSI)
		RCU_INIT_POINTER(qp->port->gsi, NULL);
	else
		xa_erase(&qp->hca->qps, qp->qpn);
}

int fab_qp_create(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		  struct ib_udata *udata)
{
	struct fab_hca *hca = to_fab_hca(ibqp->device);
	struct fab_qp *qp;
	int err;

	if (init->qp_type != IB_QPT_SMI && init->qp_type != IB_QPT_GSI &&
	    init->qp_type != IB_QPT_UD)
		return -EOPNOTSUPP;
	err = fab_command_refused(hca, FAB_VERB_CREATE_QP, BIT(init->qp_type));
	if (err)
		return err;
	err = fab_qp_check_init(&hca->node->shape, init);
	if (err)
		return err;

	qp = kzalloc_obj(*qp, GFP_KERNEL);
	if (!qp)
		return -ENOMEM;

	qp->hca = hca;
	qp->ibqp = ibqp;
	qp->type = init->qp_type;
	qp->sig_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	qp->no_mcast_echo = init->create_flags &
			    IB_QP_CREATE_BLOCK_MULTICAST_LOOPBACK;
	qp->lso = init->create_flags & IB_QP_CREATE_IPOIB_UD_LSO;
	qp->max_inline = init->cap.max_inline_data;
	qp->send_cq = to_fab_cq(init->send_cq);
	qp->recv_cq = to_fab_cq(init->recv_cq);
	qp->state = IB_QPS_RESET;
	mutex_init(&qp->mutex);
	/* Two places, so that lockdep tells the outer lock from the inner. */
	spin_lock_init(&qp->sq.lock);
	spin_lock_init(&qp->rq.lock);
	tasklet_setup(&qp->work, fab_qp_work);

	err = fab_rings_init(qp, &init->cap);
	if (err)
		goto err_free;
	err = fab_qp_add(qp, init);
	if (err)
		goto err_free_rings;

	set_bit(qp->type, &qp->send_cq->types);
	set_bit(qp->type, &qp->recv_cq->types);
	container_of(ibqp, struct fab_qp_handle, ibqp)->qp = qp;
	ibqp->qp_num = qp->qpn;
	return 0;

err_free_rings:
	vfree(qp->sq.wqes);
	vfree(qp->rq.wqes);
err_free:
	kfree(qp);
	return err;
}

/*
 * A sender that found the queue pair before fab_qp_del() may still hold the
 * pointer. It takes the receive lock, sees RESET and leaves the rings alone, so
 * only the struct itself must wait for a grace period.
 */
int fab_qp_destroy(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct fab_qp *qp = to_fab_qp(ibqp);

	fab_command(qp->hca, FAB_VERB_DESTROY_QP, BIT(qp->type));
	fab_qp_del(qp);
	mutex_lock(&qp->mutex);
	/* Whatever the shape: nobody may find a queue pair that is gone. */
	fab_qp_reset(qp, true);
	mutex_unlock(&qp->mutex);
	tasklet_kill(&qp->work);
	vfree(qp->sq.wqes);
	vfree(qp->rq.wqes);
	kfree_rcu(qp, rcu);
	return 0;
}

/* --- Look-up ------------------------------------------------------------- */

/**
 * fab_qp_find_rcu - the queue pair a packet is addressed to
 * @port: port it arrived at
 * @qpn: destination QP
 *
 * Context: RCU read section.
 * Return: NULL when there is none on this port.
 */
struct fab_qp *fab_qp_find_rcu(struct fab_port *port, u32 qpn)
{
	struct fab_hca *hca;
	struct fab_qp *qp;

	if (qpn == 0)
		return rcu_dereference(port->smi);
	if (qpn == 1)
		return rcu_dereference(port->gsi);

	hca = rcu_dereference(port->node->hca);
	qp = hca ? xa_load(&hca->qps, qpn) : NULL;
	return qp && READ_ONCE(qp->port) == port ? qp : NULL;
}
