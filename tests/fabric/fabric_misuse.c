// SPDX-License-Identifier: GPL-2.0
/*
 * What does an HCA answer to who breaks the rules of its verbs?
 *
 *	echo "fab1 send_lkey" > /sys/kernel/debug/fabric_misuse
 *	cat /sys/kernel/debug/fabric_misuse
 *
 * Each run has a UD queue pair of its own on port 1, P_Key index 0, that sends
 * to itself; the port has to be ACTIVE. What is tried is an honest exchange
 * but for one thing, which the name says. The write returns when it is over;
 * the read tells the errno of the first verb that refused, the status of the
 * last send and receive that completed (-1 for none), its bytes, the state of
 * the queue pair, how many asynchronous events came and what else struct
 * misuse_result has.
 *
 * Order of this file: ways to break the rules, the bed, an attempt, the file.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>

#define MISUSE_QKEY	0x0badc0de
#define MISUSE_LKEY	0x0badbad0
#define MISUSE_GRH	40
#define MISUSE_BYTES	64
#define MISUSE_MTU	4096
#define MISUSE_PORT	1
#define MISUSE_SEND_ID	0x5e4d
#define MISUSE_RECV_ID	0x4ecf
/* What the queue pair is made for */
#define MISUSE_WRS	4
#define MISUSE_SGES	2
#define MISUSE_CQES	16
/* Longest that a completion may take; one that is lost takes it all. */
#define MISUSE_PATIENCE_MS	2000

/**
 * struct misuse_try - what is posted, and where
 * @state: of the queue pair when it is
 * @sends: times the send is posted
 * @recvs: times the receive is posted, before
 * @cqes: completions that the queue of sends takes
 * @pkey_index: for modify_qp()
 * @path_bits: of the address handle
 * @foreign: the send names an address handle of another PD
 * @drop_ah: the address handle is destroyed as soon as it is posted
 * @raise: the queue pair moves from @state to RTS once both are posted
 * @reset: the queue pair moves to RESET once both have completed, before
 *	anybody polls, and back to RTS, where both are posted again
 * @send: the send
 * @recv: the receive
 * @from: payload of the send
 * @to: room of the receive
 */
struct misuse_try {
	enum ib_qp_state state;
	unsigned int sends;
	unsigned int recvs;
	unsigned int cqes;
	u16 pkey_index;
	u8 path_bits;
	bool foreign;
	bool drop_ah;
	bool raise;
	bool reset;
	struct ib_ud_wr send;
	struct ib_recv_wr recv;
	struct ib_sge from[MISUSE_SGES + 1];
	struct ib_sge to[MISUSE_SGES + 1];
};

/**
 * struct misuse_result - what came of it
 * @err: of the first verb that refused
 * @send_status: of the last send that completed, -1 for none
 * @recv_status: of the last receive that completed, -1 for none
 * @bytes: received, with the GRH
 * @state: of the queue pair, enum ib_qp_state
 * @events: asynchronous ones
 * @stale: completions of before the RESET, polled after it
 * @handled: times the handler of receives was called
 * @send_id: wr_id of the last send that completed
 * @recv_id: wr_id of the last receive that completed
 * @slid: source LID it says
 */
struct misuse_result {
	int err;
	int send_status;
	int recv_status;
	u32 bytes;
	int state;
	int events;
	int stale;
	int handled;
	u64 send_id;
	u64 recv_id;
	u16 slid;
};

static DEFINE_MUTEX(misuse_mutex); /* one run at a time; all below */
static DEFINE_XARRAY_ALLOC(misuse_devices);
static struct misuse_result misuse_last;
static struct dentry *misuse_file;

/* --- Ways to break the rules --------------------------------------------- */

static void misuse_nothing(struct misuse_try *try)
{
}

static void misuse_send_state(struct misuse_try *try)
{
	try->state = IB_QPS_INIT;
}

static void misuse_recv_state(struct misuse_try *try)
{
	try->state = IB_QPS_RESET;
}

static void misuse_modify_pkey(struct misuse_try *try)
{
	try->pkey_index = U16_MAX;
}

static void misuse_send_sge(struct misuse_try *try)
{
	try->send.wr.num_sge = MISUSE_SGES + 1;
}

static void misuse_recv_sge(struct misuse_try *try)
{
	try->recv.num_sge = MISUSE_SGES + 1;
}

static void misuse_foreign_ah(struct misuse_try *try)
{
	try->foreign = true;
}

static void misuse_busy_ah(struct misuse_try *try)
{
	/* A send waits there until the queue pair is in RTS again. */
	try->state = IB_QPS_SQD;
	try->drop_ah = true;
}

static void misuse_send_lkey(struct misuse_try *try)
{
	try->from[0].lkey = MISUSE_LKEY;
}

static void misuse_recv_lkey(struct misuse_try *try)
{
	try->to[0].lkey = MISUSE_LKEY;
}

static void misuse_recv_short(struct misuse_try *try)
{
	try->to[0].length--;
}

static void misuse_send_zero(struct misuse_try *try)
{
	try->send.wr.num_sge = 0;
}

static void misuse_send_zero_sge(struct misuse_try *try)
{
	try->from[0].length = 0;
	try->from[0].lkey = MISUSE_LKEY;
}

static void misuse_send_mtu(struct misuse_try *try)
{
	try->from[0].length = MISUSE_MTU + 1;
}

/* More than any message may have, and more than 32 bits hold */
static void misuse_send_huge(struct misuse_try *try)
{
	try->send.wr.num_sge = 2;
	try->from[0].length = U32_MAX;
	try->from[1].length = U32_MAX;
}

static void misuse_recv_huge(struct misuse_try *try)
{
	try->recv.num_sge = 2;
	try->to[0].length = U32_MAX;
	try->to[1].length = U32_MAX;
}

static void misuse_inline(struct misuse_try *try)
{
	try->send.wr.send_flags |= IB_SEND_INLINE;
}

static void misuse_opcode(struct misuse_try *try)
{
	try->send.wr.opcode = IB_WR_RDMA_WRITE;
}

static void misuse_send_full(struct misuse_try *try)
{
	try->state = IB_QPS_SQD;
	try->sends = MISUSE_WRS + 1;
}

static void misuse_recv_full(struct misuse_try *try)
{
	try->recvs = MISUSE_WRS + 1;
}

static void misuse_cq_full(struct misuse_try *try)
{
	try->sends = 2;
	try->cqes = 1;
}

/* More than any port's LMC allows */
static void misuse_path_bits(struct misuse_try *try)
{
	try->path_bits = 0x7f;
}

/* Drivers that look at no state keep it until the queue pair is in RTS. */
static void misuse_early(struct misuse_try *try)
{
	try->state = IB_QPS_RESET;
	try->raise = true;
}

/* The queue of receives is armed once. */
static void misuse_twice(struct misuse_try *try)
{
	try->sends = 2;
	try->recvs = 2;
}

static void misuse_reset(struct misuse_try *try)
{
	try->reset = true;
}

static const struct {
	const char *name;
	void (*spoil)(struct misuse_try *try);
} misuse_ways[] = {
	{ "nothing", misuse_nothing },
	{ "send_state", misuse_send_state },
	{ "recv_state", misuse_recv_state },
	{ "modify_pkey", misuse_modify_pkey },
	{ "send_sge", misuse_send_sge },
	{ "recv_sge", misuse_recv_sge },
	{ "foreign_ah", misuse_foreign_ah },
	{ "busy_ah", misuse_busy_ah },
	{ "send_lkey", misuse_send_lkey },
	{ "recv_lkey", misuse_recv_lkey },
	{ "recv_short", misuse_recv_short },
	{ "send_zero", misuse_send_zero },
	{ "send_zero_sge", misuse_send_zero_sge },
	{ "send_mtu", misuse_send_mtu },
	{ "send_huge", misuse_send_huge },
	{ "recv_huge", misuse_recv_huge },
	{ "inline", misuse_inline },
	{ "opcode", misuse_opcode },
	{ "send_full", misuse_send_full },
	{ "recv_full", misuse_recv_full },
	{ "cq_full", misuse_cq_full },
	{ "path_bits", misuse_path_bits },
	{ "twice", misuse_twice },
	{ "early", misuse_early },
	{ "reset", misuse_reset },
};

/* --- The bed ------------------------------------------------------------- */

/**
 * struct misuse_bed - where it is tried
 * @dev: the HCA
 * @pd: of all but @foreign
 * @other: another PD
 * @foreign: address handle of @other
 * @ah: the way to the queue pair itself
 * @send_cq: completions of sends
 * @recv_cq: completions of receives
 * @qp: the queue pair
 * @buf: what is sent and received, each half
 * @dma: its address for the HCA
 * @events: asynchronous events
 * @failed: completed by each of them
 * @handled: calls of the handler of receives
 * @told: completed by each of them
 */
struct misuse_bed {
	struct ib_device *dev;
	struct ib_pd *pd;
	struct ib_pd *other;
	struct ib_ah *foreign;
	struct ib_ah *ah;
	struct ib_cq *send_cq;
	struct ib_cq *recv_cq;
	struct ib_qp *qp;
	void *buf;
	u64 dma;
	atomic_t events;
	struct completion failed;
	atomic_t handled;
	struct completion told;
};

#define MISUSE_HALF	(2 * MISUSE_MTU)

static void misuse_event(struct ib_event *event, void *context)
{
	struct misuse_bed *bed = context;

	atomic_inc(&bed->events);
	complete(&bed->failed);
}

/* Completions are polled for. */
static void misuse_completed(struct ib_cq *cq, void *context)
{
	struct misuse_bed *bed = context;

	if (cq != bed->recv_cq)
		return;
	atomic_inc(&bed->handled);
	complete(&bed->told);
}

static struct ib_ah *misuse_ah_create(struct ib_pd *pd, u8 path_bits)
{
	struct rdma_ah_attr attr = { .type = RDMA_AH_ATTR_TYPE_IB };
	struct ib_port_attr port;
	int err;

	err = ib_query_port(pd->device, MISUSE_PORT, &port);
	if (err)
		return ERR_PTR(err);

	rdma_ah_set_dlid(&attr, port.lid);
	rdma_ah_set_path_bits(&attr, path_bits);
	rdma_ah_set_port_num(&attr, MISUSE_PORT);
	return rdma_create_ah(pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
}

static struct ib_cq *misuse_cq_create(struct misuse_bed *bed, unsigned int cqes)
{
	struct ib_cq_init_attr attr = { .cqe = cqes };

	return ib_create_cq(bed->dev, misuse_completed, misuse_event, bed,
			    &attr);
}

static struct ib_qp *misuse_qp_create(struct misuse_bed *bed)
{
	struct ib_qp_init_attr init = {
		.event_handler = misuse_event,
		.qp_context = bed,
		.send_cq = bed->send_cq,
		.recv_cq = bed->recv_cq,
		.cap = {
			.max_send_wr = MISUSE_WRS,
			.max_recv_wr = MISUSE_WRS,
			.max_send_sge = MISUSE_SGES,
			.max_recv_sge = MISUSE_SGES,
		},
		.sq_sig_type = IB_SIGNAL_ALL_WR,
		.qp_type = IB_QPT_UD,
	};

	return ib_create_qp(bed->pd, &init);
}

static int misuse_buf_map(struct misuse_bed *bed)
{
	bed->buf = kzalloc(2 * MISUSE_HALF, GFP_KERNEL);
	if (!bed->buf)
		return -ENOMEM;

	bed->dma = ib_dma_map_single(bed->dev, bed->buf, 2 * MISUSE_HALF,
				     DMA_BIDIRECTIONAL);
	if (!ib_dma_mapping_error(bed->dev, bed->dma))
		return 0;

	kfree(bed->buf);
	bed->buf = NULL;
	return -EIO;
}

static void misuse_bed_close(struct misuse_bed *bed)
{
	if (!IS_ERR_OR_NULL(bed->qp))
		ib_destroy_qp(bed->qp);
	if (!IS_ERR_OR_NULL(bed->ah))
		rdma_destroy_ah(bed->ah, RDMA_DESTROY_AH_SLEEPABLE);
	if (!IS_ERR_OR_NULL(bed->foreign))
		rdma_destroy_ah(bed->foreign, RDMA_DESTROY_AH_SLEEPABLE);
	if (!IS_ERR_OR_NULL(bed->recv_cq))
		ib_destroy_cq(bed->recv_cq);
	if (!IS_ERR_OR_NULL(bed->send_cq))
		ib_destroy_cq(bed->send_cq);
	if (bed->buf) {
		ib_dma_unmap_single(bed->dev, bed->dma, 2 * MISUSE_HALF,
				    DMA_BIDIRECTIONAL);
		kfree(bed->buf);
	}
	if (!IS_ERR_OR_NULL(bed->other))
		ib_dealloc_pd(bed->other);
	if (!IS_ERR_OR_NULL(bed->pd))
		ib_dealloc_pd(bed->pd);
}

/* On failure, too, misuse_bed_close() takes away what is there. */
static int misuse_bed_open(struct misuse_bed *bed, const struct misuse_try *try)
{
	int err;

	init_completion(&bed->failed);
	init_completion(&bed->told);
	bed->pd = ib_alloc_pd(bed->dev, 0);
	if (IS_ERR(bed->pd))
		return PTR_ERR(bed->pd);
	bed->other = ib_alloc_pd(bed->dev, 0);
	if (IS_ERR(bed->other))
		return PTR_ERR(bed->other);
	bed->send_cq = misuse_cq_create(bed, try->cqes);
	if (IS_ERR(bed->send_cq))
		return PTR_ERR(bed->send_cq);
	bed->recv_cq = misuse_cq_create(bed, MISUSE_CQES);
	if (IS_ERR(bed->recv_cq))
		return PTR_ERR(bed->recv_cq);
	err = ib_req_notify_cq(bed->recv_cq, IB_CQ_NEXT_COMP);
	if (err)
		return err;
	bed->ah = misuse_ah_create(bed->pd, try->path_bits);
	if (IS_ERR(bed->ah))
		return PTR_ERR(bed->ah);
	bed->foreign = misuse_ah_create(bed->other, 0);
	if (IS_ERR(bed->foreign))
		return PTR_ERR(bed->foreign);
	bed->qp = misuse_qp_create(bed);
	if (IS_ERR(bed->qp))
		return PTR_ERR(bed->qp);

	return misuse_buf_map(bed);
}

/* --- An attempt ---------------------------------------------------------- */

static int misuse_qp_move(struct misuse_bed *bed, enum ib_qp_state to, int mask)
{
	struct ib_qp_attr attr = { .qp_state = to };

	return ib_modify_qp(bed->qp, &attr, mask | IB_QP_STATE);
}

/* From RESET, by the states between. */
static int misuse_qp_raise(struct misuse_bed *bed, const struct misuse_try *try)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_INIT,
		.pkey_index = try->pkey_index,
		.port_num = MISUSE_PORT,
		.qkey = MISUSE_QKEY,
	};
	int err;

	if (try->state == IB_QPS_RESET)
		return 0;
	err = ib_modify_qp(bed->qp, &attr, IB_QP_STATE | IB_QP_PKEY_INDEX |
			   IB_QP_PORT | IB_QP_QKEY);
	if (err || try->state == IB_QPS_INIT)
		return err;

	err = misuse_qp_move(bed, IB_QPS_RTR, 0);
	if (!err)
		err = misuse_qp_move(bed, IB_QPS_RTS, IB_QP_SQ_PSN);
	if (!err && try->state == IB_QPS_SQD)
		err = misuse_qp_move(bed, IB_QPS_SQD, 0);
	return err;
}

/* Times a post was taken, until one was not. */
static unsigned int misuse_post(struct misuse_bed *bed,
				const struct misuse_try *try, int *err)
{
	unsigned int i;

	for (i = 0; i < try->recvs && !*err; i++)
		*err = ib_post_recv(bed->qp, &try->recv, NULL);
	for (i = 0; i < try->sends && !*err; i++)
		*err = ib_post_send(bed->qp, &try->send.wr, NULL);

	/* The last one was refused. */
	return *err && i ? i - 1 : i;
}

static int misuse_ah_drop(struct misuse_bed *bed)
{
	int err = rdma_destroy_ah_user(bed->ah, RDMA_DESTROY_AH_SLEEPABLE,
				       NULL);

	if (!err)
		bed->ah = NULL;
	return err;
}

/* Wait for @num completions; the status of the last of them. */
static int misuse_reap(struct ib_cq *cq, unsigned int num, u64 *wr_id)
{
	unsigned long end = jiffies + msecs_to_jiffies(MISUSE_PATIENCE_MS);
	int status = -1;
	struct ib_wc wc;

	while (num && time_before(jiffies, end)) {
		if (ib_poll_cq(cq, 1, &wc) != 1) {
			usleep_range(100, 1000);
			continue;
		}
		status = wc.status;
		*wr_id = wc.wr_id;
		num--;
	}

	return status;
}

/* Wait for a completion, and leave it in its queue. */
static int misuse_await(struct ib_cq *cq)
{
	unsigned long end = jiffies + msecs_to_jiffies(MISUSE_PATIENCE_MS);

	while (ib_req_notify_cq(cq, IB_CQ_NEXT_COMP |
				IB_CQ_REPORT_MISSED_EVENTS) <= 0) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		usleep_range(100, 1000);
	}

	return 0;
}

/* The queue pair is in RTS again; what its queues had of its last life. */
static int misuse_qp_reset(struct misuse_bed *bed, const struct misuse_try *try,
			   int *stale)
{
	struct ib_wc wc;
	int err;

	err = misuse_await(bed->send_cq);
	if (!err)
		err = misuse_await(bed->recv_cq);
	if (!err)
		err = misuse_qp_move(bed, IB_QPS_RESET, 0);
	if (err)
		return err;

	while (ib_poll_cq(bed->send_cq, 1, &wc) == 1 ||
	       ib_poll_cq(bed->recv_cq, 1, &wc) == 1)
		*stale += 1;
	return misuse_qp_raise(bed, try);
}

static void misuse_attempt(struct misuse_bed *bed, struct misuse_try *try,
			   struct misuse_result *result)
{
	unsigned long patience = msecs_to_jiffies(MISUSE_PATIENCE_MS);
	struct ib_qp_init_attr init;
	struct ib_qp_attr attr;
	unsigned int sends;
	struct ib_wc wc;
	int i;

	result->err = misuse_qp_raise(bed, try);
	if (result->err)
		return;

	sends = misuse_post(bed, try, &result->err);
	if (try->drop_ah && !result->err)
		result->err = misuse_ah_drop(bed);
	if (try->state == IB_QPS_SQD)
		misuse_qp_move(bed, IB_QPS_RTS, 0);
	if (try->raise && !result->err) {
		try->state = IB_QPS_RTS;
		result->err = misuse_qp_raise(bed, try);
	}
	if (try->reset && !result->err) {
		result->err = misuse_qp_reset(bed, try, &result->stale);
		sends = misuse_post(bed, try, &result->err);
	}

	/* Nobody polls before queue and queue pair have told of it. */
	for (i = 0; i < 2 && sends > try->cqes; i++)
		wait_for_completion_timeout(&bed->failed, patience);
	result->send_status = misuse_reap(bed->send_cq, min(sends, try->cqes),
					  &result->send_id);
	/* A send has completed when its packet was delivered or lost. */
	while (sends && ib_poll_cq(bed->recv_cq, 1, &wc) == 1) {
		/* What is left in the ring of a QP in error is flushed. */
		if (result->recv_status > 0)
			break;
		result->recv_status = wc.status;
		result->recv_id = wc.wr_id;
		result->slid = wc.slid;
		if (wc.status == IB_WC_SUCCESS)
			result->bytes = wc.byte_len;
	}

	if (result->recv_status >= 0)
		wait_for_completion_timeout(&bed->told, patience);
	result->handled = atomic_read(&bed->handled);
	if (!ib_query_qp(bed->qp, &attr, IB_QP_STATE, &init))
		result->state = attr.qp_state;
	result->events = atomic_read(&bed->events);
}

static void misuse_try_init(struct misuse_try *try)
{
	*try = (struct misuse_try) {
		.state = IB_QPS_RTS,
		.sends = 1,
		.recvs = 1,
		.cqes = MISUSE_CQES,
	};
	try->from[0].length = MISUSE_BYTES;
	try->to[0].length = MISUSE_GRH + MISUSE_BYTES;
	try->send.wr.wr_id = MISUSE_SEND_ID;
	try->send.wr.num_sge = 1;
	try->send.wr.opcode = IB_WR_SEND;
	try->recv.wr_id = MISUSE_RECV_ID;
	try->recv.num_sge = 1;
}

/* What the way does not say, in terms of the bed. */
static void misuse_try_aim(struct misuse_try *try, const struct misuse_bed *bed)
{
	int i;

	for (i = 0; i <= MISUSE_SGES; i++) {
		try->from[i].addr = bed->dma;
		try->to[i].addr = bed->dma + MISUSE_HALF;
		if (!try->from[i].lkey)
			try->from[i].lkey = bed->pd->local_dma_lkey;
		if (!try->to[i].lkey)
			try->to[i].lkey = bed->pd->local_dma_lkey;
	}
	try->send.wr.sg_list = try->from;
	try->recv.sg_list = try->to;
	try->send.ah = try->foreign ? bed->foreign : bed->ah;
	try->send.remote_qpn = bed->qp->qp_num;
	try->send.remote_qkey = MISUSE_QKEY;
}

static int misuse_run(struct ib_device *dev,
		      void (*spoil)(struct misuse_try *try))
{
	struct misuse_bed *bed = kzalloc(sizeof(*bed), GFP_KERNEL);
	struct misuse_try *try = kzalloc(sizeof(*try), GFP_KERNEL);
	int err = -ENOMEM;

	if (!bed || !try)
		goto out_free;

	misuse_try_init(try);
	spoil(try);
	bed->dev = dev;
	misuse_last = (struct misuse_result) {
		.send_status = -1,
		.recv_status = -1,
	};
	err = misuse_bed_open(bed, try);
	if (!err) {
		misuse_try_aim(try, bed);
		misuse_attempt(bed, try, &misuse_last);
	}
	misuse_bed_close(bed);

out_free:
	kfree(try);
	kfree(bed);
	return err;
}

/* --- The file ------------------------------------------------------------ */

static int misuse_device_add(struct ib_device *dev)
{
	u32 id;
	int err;

	mutex_lock(&misuse_mutex);
	err = xa_alloc(&misuse_devices, &id, dev, xa_limit_31b, GFP_KERNEL);
	mutex_unlock(&misuse_mutex);

	return err;
}

/* Waits for a run to end: it is bounded. */
static void misuse_device_remove(struct ib_device *dev, void *client_data)
{
	struct ib_device *one;
	unsigned long id;

	mutex_lock(&misuse_mutex);
	xa_for_each(&misuse_devices, id, one) {
		if (one == dev)
			xa_erase(&misuse_devices, id);
	}
	mutex_unlock(&misuse_mutex);
}

static struct ib_client misuse_client = {
	.name = "fabric_misuse",
	.add = misuse_device_add,
	.remove = misuse_device_remove,
};

static int misuse_run_on(const char *hca, unsigned int way)
{
	struct ib_device *dev;
	unsigned long id;
	int err = -ENODEV;

	mutex_lock(&misuse_mutex);
	xa_for_each(&misuse_devices, id, dev) {
		if (!strcmp(dev_name(&dev->dev), hca))
			err = misuse_run(dev, misuse_ways[way].spoil);
	}
	mutex_unlock(&misuse_mutex);

	return err;
}

static int misuse_show(struct seq_file *m, void *unused)
{
	struct misuse_result last;

	mutex_lock(&misuse_mutex);
	last = misuse_last;
	mutex_unlock(&misuse_mutex);

	seq_printf(m, "errno %d\nsend_status %d\nrecv_status %d\n", -last.err,
		   last.send_status, last.recv_status);
	seq_printf(m, "bytes %u\nstate %d\nevents %d\nstale %d\n",
		   last.bytes, last.state, last.events, last.stale);
	seq_printf(m, "handled %d\nsend_id %llu\nrecv_id %llu\nslid %u\n",
		   last.handled, last.send_id, last.recv_id, last.slid);
	return 0;
}

static int misuse_open(struct inode *inode, struct file *file)
{
	return single_open(file, misuse_show, NULL);
}

static int misuse_find(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(misuse_ways); i++) {
		if (!strcmp(name, misuse_ways[i].name))
			return i;
	}

	return -EINVAL;
}

static ssize_t misuse_write(struct file *file, const char __user *user,
			    size_t count, loff_t *pos)
{
	char line[64], hca[32], name[32];
	int way, err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, user, count))
		return -EFAULT;
	line[count] = '\0';
	if (sscanf(line, "%31s %31s", hca, name) != 2)
		return -EINVAL;
	way = misuse_find(name);
	if (way < 0)
		return way;

	err = misuse_run_on(hca, way);
	return err ? err : count;
}

static const struct file_operations misuse_fops = {
	.owner = THIS_MODULE,
	.open = misuse_open,
	.read = seq_read,
	.write = misuse_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init misuse_init(void)
{
	int err = ib_register_client(&misuse_client);

	if (err)
		return err;

	misuse_file = debugfs_create_file("fabric_misuse", 0600, NULL, NULL,
					  &misuse_fops);
	return 0;
}

static void __exit misuse_exit(void)
{
	debugfs_remove(misuse_file);
	ib_unregister_client(&misuse_client);
}

module_init(misuse_init);
module_exit(misuse_exit);

MODULE_DESCRIPTION("Breaks the rules of verbs, one at a time");
MODULE_LICENSE("GPL");
