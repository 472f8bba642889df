// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Who asks the subnet administrator for a path, and how often?
 *
 * The interfaces of an HCA ask together: what one is asking for already, or has
 * been told a moment ago, the others get without a query of their own. Those of
 * a port ask with measure, as thousands of hosts do so at once. A path is of
 * one partition (its service level may be), so those share it that have the
 * P_Key.
 *
 * Stages: budget, questions, answers, asking, set-up.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/slab.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_sa.h>
#include <rdma/rdma_netlink.h>

#include "ipoib.h"

/*
 * A query is sent again after the first of these, or later: the time doubles
 * with each query in vain, up to the second.
 */
#define IPOIB_SA_RESEND_MIN_MS	500U
#define IPOIB_SA_RESEND_MAX_MS	2000U

/* how often a query is sent before it times out */
#define IPOIB_SA_SENDS		3

/* ib_sa sends again after this part of the timeout that it is told */
#define IPOIB_SA_TIMEOUT_PARTS	10

/*
 * Where a program of user space replies for the subnet administrator, ib_sa
 * waits for it so long at most (RDMA_NL_LS_OP_SET_TIMEOUT) before it sends.
 */
#define IPOIB_SA_LOCAL_MS	200000

/* how often to look for queries that have timed out, while any is in flight */
#define IPOIB_SA_EXPIRE_MS	100

static struct ipoib_param ipoib_path_query_rate = {
	.value = 100, .min = 1, .max = 10000
};
module_param_cb(path_query_rate, &ipoib_param_ops, &ipoib_path_query_rate,
		0644);
MODULE_PARM_DESC(path_query_rate,
		 "Path queries a port sends in a second (1-10000)");

static struct ipoib_param ipoib_path_query_burst = {
	.value = 64, .min = 1, .max = 4096
};
module_param_cb(path_query_burst, &ipoib_param_ops, &ipoib_path_query_burst,
		0644);
MODULE_PARM_DESC(path_query_burst,
		 "Path queries a port has in flight (1-4096)");

/**
 * enum ipoib_sa_validity - what a port event has made of a question
 * @IPOIB_SA_CURRENT: nothing, there was none since
 * @IPOIB_SA_BEFORE: those who wait get the answer, and nobody else
 * @IPOIB_SA_VOID: the reply is not used: it may be from another subnet manager,
 *	or the query may be on its way to one that is gone
 */
enum ipoib_sa_validity {
	IPOIB_SA_CURRENT,
	IPOIB_SA_BEFORE,
	IPOIB_SA_VOID,
};

/**
 * struct ipoib_sa_question - what the subnet administrator is or was asked
 * @entry: entry of sa->questions
 * @what: the question
 * @waiters: who waits for the answer
 * @sending: ib_sa has not returned from the call that sends it, so @id is not
 *	known; the reply may be there already
 * @answered: there is one
 * @validity: see there
 * @at: when it was sent or, then, answered; in jiffies
 * @resend: after how many jiffies ib_sa sends it again
 * @sends: how many MADs the port's budget was charged for it
 * @expires: when to cancel it, in jiffies
 * @status: errno of the answer
 * @rec: the path, when that is 0
 * @sa: whose it is
 * @id: what ib_sa knows the query by, with @query
 * @query: the same
 *
 * Guarded by sa->lock.
 */
struct ipoib_sa_question {
	struct list_head entry;
	struct ipoib_sa_path what;
	struct list_head waiters;
	bool sending;
	bool answered;
	enum ipoib_sa_validity validity;
	unsigned long at;
	unsigned long resend;
	unsigned int sends;
	unsigned long expires;
	int status;
	struct sa_path_rec rec;
	struct ipoib_sa *sa;
	int id;
	struct ib_sa_query *query;
};

/* ---- budget ---- */

static void ipoib_sa_refill(struct ipoib_sa_budget *budget)
{
	u32 step_ns = NSEC_PER_SEC / ipoib_param_value(&ipoib_path_query_rate);
	u64 steps = div_u64(ktime_get_ns() - budget->refilled_ns, step_ns);

	budget->refilled_ns += steps * step_ns;
	budget->tokens = min_t(s64, budget->tokens + steps,
			       ipoib_param_value(&ipoib_path_query_burst));
}

/* Queries in flight: they keep to the rate even if none is ever answered. */
static u32 ipoib_sa_window(void)
{
	u32 rate = ipoib_param_value(&ipoib_path_query_rate);
	u32 most = rate * IPOIB_SA_RESEND_MAX_MS / MSEC_PER_SEC;

	return min(ipoib_param_value(&ipoib_path_query_burst), max(most, 1U));
}

static u32 ipoib_sa_resend_ms(unsigned int failures)
{
	u32 first_ms = ipoib_sa_window() * MSEC_PER_SEC /
		       ipoib_param_value(&ipoib_path_query_rate);

	first_ms = max(first_ms, IPOIB_SA_RESEND_MIN_MS);
	return min(first_ms << min(failures, 4U), IPOIB_SA_RESEND_MAX_MS);
}

/* What ib_sa has sent again meanwhile counts as much as what is sent here. */
static void __ipoib_sa_charge(struct ipoib_sa_question *question)
	__must_hold(&question->sa->lock)
{
	struct ipoib_sa *sa = question->sa;
	unsigned int sends;

	lockdep_assert_held(&sa->lock);

	sends = min_t(unsigned long, IPOIB_SA_SENDS,
		      1 + (jiffies - question->at) / question->resend);
	sa->budgets[question->what.port].tokens -= sends - question->sends;
	question->sends = sends;
}

/* Each port its own: the two may be of different subnets. */
static bool __ipoib_sa_may_ask(struct ipoib_sa *sa, u32 port)
	__must_hold(&sa->lock)
{
	struct ipoib_sa_budget *budget = &sa->budgets[port];
	struct ipoib_sa_question *question;

	lockdep_assert_held(&sa->lock);

	ipoib_sa_refill(budget);
	list_for_each_entry(question, &sa->questions, entry)
		if (!question->answered)
			__ipoib_sa_charge(question);

	return budget->tokens > 0 && budget->in_flight < ipoib_sa_window();
}

static int ipoib_sa_init_budgets(struct ipoib_sa *sa)
{
	u32 port;

	/* by port number: there is no port 0, and it costs little */
	sa->budgets = kcalloc(rdma_end_port(sa->ibdev) + 1,
			      sizeof(*sa->budgets), GFP_KERNEL);
	if (!sa->budgets)
		return -ENOMEM;

	rdma_for_each_port(sa->ibdev, port) {
		sa->budgets[port].tokens =
			ipoib_param_value(&ipoib_path_query_burst);
		sa->budgets[port].refilled_ns = ktime_get_ns();
	}

	return 0;
}

/* ---- questions ---- */

static void __ipoib_sa_drop(struct ipoib_sa_question *question)
	__must_hold(&question->sa->lock)
{
	lockdep_assert_held(&question->sa->lock);

	list_del(&question->entry);
	kfree(question);
}

/* Nobody uses it any more, or whoever is still at it uses it no more. */
static bool ipoib_sa_is_over(const struct ipoib_sa_question *question)
{
	return question->answered && !question->sending;
}

static bool ipoib_sa_is_old(const struct ipoib_sa_question *question)
{
	return ipoib_sa_is_over(question) &&
	       (question->status || question->validity != IPOIB_SA_CURRENT ||
		time_after(jiffies, question->at +
				    msecs_to_jiffies(IPOIB_SA_FRESH_MS)));
}

/* Drops what is old on the way. */
static struct ipoib_sa_question *
__ipoib_sa_find(struct ipoib_sa *sa, const struct ipoib_sa_path *what)
	__must_hold(&sa->lock)
{
	struct ipoib_sa_question *question, *next, *found = NULL;

	lockdep_assert_held(&sa->lock);

	list_for_each_entry_safe(question, next, &sa->questions, entry) {
		if (ipoib_sa_is_old(question))
			__ipoib_sa_drop(question);
		else if (!memcmp(&question->what, what, sizeof(*what)) &&
			 !question->status &&
			 question->validity == IPOIB_SA_CURRENT)
			found = question;
	}

	return found;
}

static struct ipoib_sa_question *
__ipoib_sa_add(struct ipoib_sa *sa, const struct ipoib_sa_path *what,
	       unsigned int failures)
	__must_hold(&sa->lock)
{
	struct ipoib_sa_question *question;

	question = kzalloc_obj(*question, GFP_ATOMIC);
	if (!question)
		return NULL;

	question->sa = sa;
	question->what = *what;
	question->sending = true;
	question->at = jiffies;
	question->resend = msecs_to_jiffies(ipoib_sa_resend_ms(failures));
	/* well after the last of the sends, and well before one more */
	question->expires = jiffies + IPOIB_SA_SENDS * question->resend -
			    question->resend / 2;
	if (rdma_nl_chk_listeners(RDMA_NL_GROUP_LS))
		question->expires += msecs_to_jiffies(IPOIB_SA_LOCAL_MS);
	INIT_LIST_HEAD(&question->waiters);
	list_add_tail(&question->entry, &sa->questions);
	sa->budgets[what->port].in_flight++;
	__ipoib_sa_charge(question);
	return question;
}

/* ---- answers ---- */

static struct ipoib_sa_waiter *ipoib_sa_next_waiter(struct ipoib_sa *sa,
						    struct list_head *waiters)
{
	struct ipoib_sa_waiter *waiter;

	spin_lock_bh(&sa->lock);
	waiter = list_first_entry_or_null(waiters, struct ipoib_sa_waiter,
					  entry);
	if (waiter)
		list_del_init(&waiter->entry);
	spin_unlock_bh(&sa->lock);

	return waiter;
}

/*
 * Whoever waits is told, and whoever has cancelled is on no list. Whoever comes
 * later finds the answer, and may drop it: @question is not used after that.
 */
static void ipoib_sa_answer(struct ipoib_sa_question *question, int status,
			    const struct sa_path_rec *rec)
{
	struct ipoib_sa *sa = question->sa;
	struct ipoib_sa_waiter *waiter;
	LIST_HEAD(waiters);

	spin_lock_bh(&sa->lock);
	__ipoib_sa_charge(question);
	sa->budgets[question->what.port].in_flight--;
	if (question->validity == IPOIB_SA_VOID)
		status = -EAGAIN;
	question->answered = true;
	question->at = jiffies;
	question->status = status;
	if (!status)
		question->rec = *rec;
	list_splice_init(&question->waiters, &waiters);
	spin_unlock_bh(&sa->lock);

	while ((waiter = ipoib_sa_next_waiter(sa, &waiters)))
		waiter->done(waiter, status, rec);

	spin_lock_bh(&sa->lock);
	if (!--sa->busy)
		wake_up(&sa->idle);
	spin_unlock_bh(&sa->lock);
}

/* ib_sa calls this exactly once per query, in process context. */
static void ipoib_sa_done(int status, struct sa_path_rec *rec,
			  unsigned int num_recs, void *context)
{
	/* it was cancelled: it has timed out, or is void, or nobody waits */
	ipoib_sa_answer(context, status == -EINTR ? -ETIMEDOUT : status, rec);
}

/* ib_mad does not cancel a MAD that is just being sent; see below */
static void __ipoib_sa_end(struct ipoib_sa_question *question)
	__must_hold(&question->sa->lock)
{
	lockdep_assert_held(&question->sa->lock);

	question->expires = jiffies;
	/* ib_sa frees it after the callback, which takes the lock */
	if (!question->answered && !question->sending)
		ib_sa_cancel_query(question->id, question->query);
}

/*
 * ib_sa sends a query up to eleven times. Cancelling it is the only way to have
 * it sent less often. It is tried until the callback has run.
 */
static void ipoib_sa_expire(struct work_struct *work)
{
	struct ipoib_sa *sa = container_of(work, struct ipoib_sa, work.work);
	struct ipoib_sa_question *question;
	bool busy;

	spin_lock_bh(&sa->lock);
	list_for_each_entry(question, &sa->questions, entry) {
		if (time_after_eq(jiffies, question->expires))
			__ipoib_sa_end(question);
	}
	busy = sa->busy;
	spin_unlock_bh(&sa->lock);

	if (busy)
		schedule_delayed_work(&sa->work,
				      msecs_to_jiffies(IPOIB_SA_EXPIRE_MS));
}

/* ---- asking ---- */

/* Of a group OpenSM tells a port that it names only what a member may know. */
static ib_sa_comp_mask ipoib_sa_mask(const struct ipoib_sa_path *what)
{
	ib_sa_comp_mask mask = IB_SA_PATH_REC_DGID | IB_SA_PATH_REC_NUMB_PATH |
			       IB_SA_PATH_REC_TRAFFIC_CLASS |
			       IB_SA_PATH_REC_PKEY;

	if (!rdma_is_zero_gid(&what->sgid))
		mask |= IB_SA_PATH_REC_SGID;

	return mask;
}

static void ipoib_sa_query(struct ipoib_sa_question *question)
{
	struct ipoib_sa *sa = question->sa;
	struct sa_path_rec rec;
	int id;

	ipoib_sa_path_ask(&rec, &question->what,
			  rdma_cap_opa_ah(sa->ibdev, question->what.port));
	id = ib_sa_path_rec_get(&ipoib_sa_client, sa->ibdev,
				question->what.port, &rec,
				ipoib_sa_mask(&question->what),
				jiffies_to_msecs(question->resend) *
				IPOIB_SA_TIMEOUT_PARTS, GFP_KERNEL,
				ipoib_sa_done, question, &question->query);
	/* no callback then: a refusal is an answer like any other */
	if (id < 0)
		ipoib_sa_answer(question, id, NULL);

	spin_lock_bh(&sa->lock);
	question->id = id;
	question->sending = false;
	spin_unlock_bh(&sa->lock);
	schedule_delayed_work(&sa->work, msecs_to_jiffies(IPOIB_SA_EXPIRE_MS));
}

/* What is known, what is being asked, or a new question; in that order. */
static struct ipoib_sa_question *
__ipoib_sa_place(struct ipoib_sa *sa, const struct ipoib_sa_path *what,
		 unsigned int failures, enum ipoib_sa_place *place)
	__must_hold(&sa->lock)
{
	struct ipoib_sa_question *question;

	question = __ipoib_sa_find(sa, what);
	if (question) {
		*place = question->answered ? IPOIB_SA_KNOWN : IPOIB_SA_SHARED;
		return question;
	}

	if (!__ipoib_sa_may_ask(sa, what->port))
		return ERR_PTR(-EBUSY);
	question = __ipoib_sa_add(sa, what, failures);
	if (!question)
		return ERR_PTR(-ENOMEM);

	sa->busy++;
	*place = IPOIB_SA_ASKED;
	return question;
}

/**
 * ipoib_sa_ask() - ask for a path
 * @sa: of the HCA
 * @what: which path; no padding may be left unset in it
 * @failures: queries for it in vain, in a row: this one is given more time
 * @waiter: told exactly once, maybe before this returns, unless it is cancelled
 *
 * Context: process; sleeps. No lock held that @waiter's function takes.
 *
 * Return: how the answer comes; or -EBUSY when too much has been asked of late,
 * or -ENOMEM, and the waiter is not told.
 */
int ipoib_sa_ask(struct ipoib_sa *sa, const struct ipoib_sa_path *what,
		 unsigned int failures, struct ipoib_sa_waiter *waiter)
{
	struct ipoib_sa_question *question;
	enum ipoib_sa_place place;
	struct sa_path_rec rec;

	spin_lock_bh(&sa->lock);
	question = __ipoib_sa_place(sa, what, failures, &place);
	if (!IS_ERR(question)) {
		if (place == IPOIB_SA_KNOWN)
			rec = question->rec;
		else
			list_add_tail(&waiter->entry, &question->waiters);
	}
	spin_unlock_bh(&sa->lock);
	if (IS_ERR(question))
		return PTR_ERR(question);

	if (place == IPOIB_SA_KNOWN)
		waiter->done(waiter, 0, &rec);
	else if (place == IPOIB_SA_ASKED)
		ipoib_sa_query(question);

	return place;
}

/**
 * ipoib_sa_cancel() - wait no more for an answer
 * @sa: of the HCA
 * @waiter: of a question, or of none
 *
 * Context: any that may take a _bh lock.
 *
 * Return: true when the waiter will not be told; false when it was, or is being
 * told just now.
 */
bool ipoib_sa_cancel(struct ipoib_sa *sa, struct ipoib_sa_waiter *waiter)
{
	bool waited;

	spin_lock_bh(&sa->lock);
	waited = !list_empty(&waiter->entry);
	list_del_init(&waiter->entry);
	spin_unlock_bh(&sa->lock);

	return waited;
}

/**
 * ipoib_sa_hear() - an event of a port: what was known before it is not shared
 * @sa: of the HCA
 * @event: what happened
 *
 * Those who wait for a query that it makes void get -EAGAIN.
 *
 * Context: any that may take a _bh lock.
 */
void ipoib_sa_hear(struct ipoib_sa *sa, const struct ib_event *event)
{
	enum ipoib_sa_validity validity = IPOIB_SA_VOID;
	struct ipoib_sa_question *question, *next;

	/* the subnet manager stays where it is */
	if (event->event == IB_EVENT_GID_CHANGE ||
	    event->event == IB_EVENT_PKEY_CHANGE)
		validity = IPOIB_SA_BEFORE;

	spin_lock_bh(&sa->lock);
	list_for_each_entry_safe(question, next, &sa->questions, entry) {
		if (question->what.port != event->element.port_num)
			continue;
		if (ipoib_sa_is_over(question)) {
			__ipoib_sa_drop(question);
			continue;
		}
		question->validity = max(question->validity, validity);
		if (validity == IPOIB_SA_VOID)
			__ipoib_sa_end(question);
	}
	spin_unlock_bh(&sa->lock);
}

/* ---- set-up ---- */

/**
 * ipoib_sa_init() - begin to ask for an HCA
 * @sa: where to
 * @ibdev: HCA
 *
 * Return: 0 or -ENOMEM.
 */
int ipoib_sa_init(struct ipoib_sa *sa, struct ib_device *ibdev)
{
	sa->ibdev = ibdev;
	spin_lock_init(&sa->lock);
	INIT_LIST_HEAD(&sa->questions);
	INIT_DELAYED_WORK(&sa->work, ipoib_sa_expire);
	init_waitqueue_head(&sa->idle);
	return ipoib_sa_init_budgets(sa);
}

static bool ipoib_sa_is_idle(struct ipoib_sa *sa)
{
	bool idle;

	spin_lock_bh(&sa->lock);
	idle = !sa->busy;
	spin_unlock_bh(&sa->lock);

	return idle;
}

/**
 * ipoib_sa_exit() - undo ipoib_sa_init()
 * @sa: nobody waits for an answer any more
 *
 * Queries in flight are cancelled, and call back soon after.
 */
void ipoib_sa_exit(struct ipoib_sa *sa)
{
	struct ipoib_sa_question *question, *next;

	spin_lock_bh(&sa->lock);
	list_for_each_entry(question, &sa->questions, entry)
		__ipoib_sa_end(question);
	spin_unlock_bh(&sa->lock);

	wait_event(sa->idle, ipoib_sa_is_idle(sa));
	cancel_delayed_work_sync(&sa->work);

	spin_lock_bh(&sa->lock);
	list_for_each_entry_safe(question, next, &sa->questions, entry)
		__ipoib_sa_drop(question);
	spin_unlock_bh(&sa->lock);
	kfree(sa->budgets);
}
