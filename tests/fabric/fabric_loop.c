// SPDX-License-Identifier: GPL-2.0
/*
 * How many datagrams a second do bare verbs carry from one HCA to another?
 *
 * The floor under every figure of a driver: nothing but post, poll and copy.
 * Every message carries its number, twice, which the receiver checks; it tells
 * what came twice, and what came after a later one.
 *
 *	echo "fab1 fab2 bytes=2048 messages=100000 both=1 chain=4 inline=0 usecs=0" \
 *		> /sys/kernel/debug/fabric_loop
 *	cat /sys/kernel/debug/fabric_loop
 *
 * With a chain the first messages are posted so many at once. A message that
 * the HCA refuses is not sent again. With usecs completions of receives are
 * moderated.
 *
 * The write returns when the run is over, the read gives its result. Works on
 * any HCA with InfiniBand ports; only port 1 and P_Key index 0 are used.
 *
 * Order of this file: HCAs, one end, receiving, sending, a run, the file.
 */
#include <linux/debugfs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <rdma/ib_verbs.h>

#define LOOP_QKEY	0x00c0ffee
#define LOOP_GRH	40
#define LOOP_RING	1024
/* Receives are reposted later than sends complete: leave them room. */
#define LOOP_WINDOW	256
#define LOOP_MIN_BYTES	16
/* Every byte but the numbers; the one at LOOP_PROBE is checked */
#define LOOP_FILL	0x5a
#define LOOP_PROBE	8
#define LOOP_MAX_BYTES	4096
#define LOOP_MAX_MSGS	10000000
#define LOOP_PORT	1
/* A run that makes no progress for so long has lost messages. */
#define LOOP_STALL	(HZ / 2)

struct loop_end;

/**
 * struct loop_slot - a work request and its buffer
 * @cqe: completion
 * @end: whose
 * @buf: message; behind the GRH for a receive
 * @sge: its address for the HCA
 * @inline_sge: its address for the processor, which copies inline data
 * @wr: of a send
 */
struct loop_slot {
	struct ib_cqe cqe;
	struct loop_end *end;
	void *buf;
	struct ib_sge sge;
	struct ib_sge inline_sge;
	struct ib_ud_wr wr;
};

/**
 * struct loop_end - one of the two HCAs of a run
 * @dev: the HCA; loop_mutex keeps it from being removed
 * @pd: protection domain
 * @send_cq: completions of sends
 * @recv_cq: completions of receives
 * @qp: UD queue pair
 * @ah: towards the other end
 * @peer_qpn: of the other end
 * @bytes: length of a message
 * @inlined: it travels in the send request
 * @usecs: longest that an event for receives waits, 0 without moderation
 * @quota: messages this end sends in all
 * @expected: messages this end is to receive
 * @chain: messages posted at once
 * @lock: fields down to @bad_wr, as sends are posted by the run and by
 *	completions; messages are posted under it, in the order of their numbers
 * @posted: messages posted
 * @refused: those that the HCA did not take
 * @bad_wr: place in its chain of the first of them, from 1 on
 * @sent: sends completed
 * @send_errors: those that failed; written by the send CQ alone
 * @flushed: sends given back unsent; written by the send CQ alone
 * @recv_errors: receives that failed; written by the receive CQ alone
 * @fatal: the queue pair failed, and completions may be lost
 * @seen: numbers received, a bit each, up to @expected
 * @next: one more than the highest of them
 * @received: messages received; like all from @seen on, written by the receive
 *	CQ alone
 * @duplicates: those that had been received before
 * @late: those with a number lower than one before
 * @corrupt: those that were not what was sent
 * @stopping: post no more
 * @outstanding: work requests the HCA has
 * @wait: the run waits here
 * @sends: LOOP_WINDOW slots
 * @recvs: LOOP_RING slots
 */
struct loop_end {
	struct ib_device *dev;
	struct ib_pd *pd;
	struct ib_cq *send_cq;
	struct ib_cq *recv_cq;
	struct ib_qp *qp;
	struct ib_ah *ah;
	u32 peer_qpn;
	u32 bytes;
	bool inlined;
	u32 usecs;
	u64 quota;
	u64 expected;
	u32 chain;
	spinlock_t lock; /* posted, refused, bad_wr */
	u64 posted;
	u64 refused;
	u32 bad_wr;
	u64 sent;
	u64 send_errors;
	u64 flushed;
	u64 recv_errors;
	bool fatal;
	unsigned long *seen;
	u64 next;
	u64 received;
	u64 duplicates;
	u64 late;
	u64 corrupt;
	bool stopping;
	atomic_t outstanding;
	wait_queue_head_t *wait;
	struct loop_slot *sends;
	struct loop_slot *recvs;
};

/**
 * struct loop_result - what a run found
 * @messages: sent, both directions
 * @received: arrived
 * @duplicates: arrived once more
 * @late: arrived after one that was sent later
 * @corrupt: arrived, but not as sent
 * @refused: the HCA did not take them
 * @bad_wr: place in its chain of the first of them, from 1 on
 * @send_errors: sends that failed
 * @flushed: sends that came back unsent
 * @recv_errors: receives that failed
 * @fatal: queue pairs that failed
 * @ns: time from the first post to the last arrival
 */
struct loop_result {
	u64 messages;
	u64 received;
	u64 duplicates;
	u64 late;
	u64 corrupt;
	u64 refused;
	u32 bad_wr;
	u64 send_errors;
	u64 flushed;
	u64 recv_errors;
	u32 fatal;
	u64 ns;
};

/**
 * struct loop_device - an HCA there is
 * @list: in loop_devices
 * @ibdev: the HCA
 */
struct loop_device {
	struct list_head list;
	struct ib_device *ibdev;
};

/* One run at a time; guards loop_last and loop_devices, too. */
static DEFINE_MUTEX(loop_mutex);
static LIST_HEAD(loop_devices);
static struct loop_result loop_last;
static struct dentry *loop_file;

/* --- HCAs ---------------------------------------------------------------- */

static int loop_device_add(struct ib_device *ibdev)
{
	struct loop_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return -ENOMEM;

	dev->ibdev = ibdev;
	mutex_lock(&loop_mutex);
	list_add(&dev->list, &loop_devices);
	mutex_unlock(&loop_mutex);
	return 0;
}

/* Waits for a run to end: it is bounded. */
static void loop_device_remove(struct ib_device *ibdev, void *client_data)
{
	struct loop_device *dev, *next;

	mutex_lock(&loop_mutex);
	list_for_each_entry_safe(dev, next, &loop_devices, list) {
		if (dev->ibdev != ibdev)
			continue;
		list_del(&dev->list);
		kfree(dev);
	}
	mutex_unlock(&loop_mutex);
}

static struct ib_client loop_client = {
	.name = "fabric_loop",
	.add = loop_device_add,
	.remove = loop_device_remove,
};

static struct ib_device *loop_device_find(const char *name)
{
	struct loop_device *dev;

	lockdep_assert_held(&loop_mutex);

	list_for_each_entry(dev, &loop_devices, list) {
		if (!strcmp(dev_name(&dev->ibdev->dev), name))
			return dev->ibdev;
	}

	return NULL;
}

/* --- One end ------------------------------------------------------------- */

static void loop_slots_free(struct loop_end *end, struct loop_slot *slots,
			    unsigned int n, size_t size,
			    enum dma_data_direction dir)
{
	unsigned int i;

	for (i = 0; slots && i < n && slots[i].buf; i++) {
		ib_dma_unmap_single(end->dev, slots[i].sge.addr, size, dir);
		kfree(slots[i].buf);
	}
	vfree(slots);
}

static int loop_slot_init(struct loop_end *end, struct loop_slot *slot,
			  size_t size, enum dma_data_direction dir)
{
	void *buf = kmalloc(size, GFP_KERNEL);
	u64 addr;

	if (!buf)
		return -ENOMEM;
	addr = ib_dma_map_single(end->dev, buf, size, dir);
	if (ib_dma_mapping_error(end->dev, addr)) {
		kfree(buf);
		return -EIO;
	}

	memset(buf, LOOP_FILL, size);
	slot->end = end;
	slot->buf = buf;
	slot->sge.addr = addr;
	slot->sge.length = size;
	slot->sge.lkey = end->pd->local_dma_lkey;
	slot->inline_sge = slot->sge;
	slot->inline_sge.addr = (uintptr_t)buf;
	return 0;
}

static struct loop_slot *loop_slots_alloc(struct loop_end *end, unsigned int n,
					  size_t size,
					  enum dma_data_direction dir)
{
	struct loop_slot *slots = vzalloc(array_size(n, sizeof(*slots)));
	unsigned int i;

	for (i = 0; slots && i < n; i++) {
		if (loop_slot_init(end, &slots[i], size, dir)) {
			loop_slots_free(end, slots, n, size, dir);
			return NULL;
		}
	}

	return slots;
}

static int loop_qp_up(struct ib_qp *qp)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_INIT,
		.port_num = LOOP_PORT,
		.qkey = LOOP_QKEY,
	};
	int err;

	err = ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_PKEY_INDEX |
			   IB_QP_PORT | IB_QP_QKEY);
	if (err)
		return err;
	attr.qp_state = IB_QPS_RTR;
	err = ib_modify_qp(qp, &attr, IB_QP_STATE);
	if (err)
		return err;
	attr.qp_state = IB_QPS_RTS;
	return ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_SQ_PSN);
}

/* Any context. Nobody knows how many completions will still come. */
static void loop_qp_event(struct ib_event *event, void *context)
{
	struct loop_end *end = context;

	if (event->event != IB_EVENT_QP_FATAL)
		return;

	WRITE_ONCE(end->fatal, true);
	wake_up(end->wait);
}

static int loop_qp_create(struct loop_end *end)
{
	struct ib_qp_init_attr init = {
		.event_handler = loop_qp_event,
		.qp_context = end,
		.send_cq = end->send_cq,
		.recv_cq = end->recv_cq,
		.cap = {
			.max_send_wr = LOOP_WINDOW,
			.max_recv_wr = LOOP_RING,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = end->inlined ? end->bytes : 0,
		},
		.sq_sig_type = IB_SIGNAL_ALL_WR,
		.qp_type = IB_QPT_UD,
	};

	end->qp = ib_create_qp(end->pd, &init);
	if (IS_ERR(end->qp)) {
		int err = PTR_ERR(end->qp);

		end->qp = NULL;
		return err;
	}

	return loop_qp_up(end->qp);
}

static void loop_end_close(struct loop_end *end)
{
	if (end->ah)
		rdma_destroy_ah(end->ah, RDMA_DESTROY_AH_SLEEPABLE);
	if (end->qp)
		ib_destroy_qp(end->qp);
	if (!IS_ERR_OR_NULL(end->send_cq))
		ib_free_cq(end->send_cq);
	if (!IS_ERR_OR_NULL(end->recv_cq))
		ib_free_cq(end->recv_cq);
	if (end->pd) {
		loop_slots_free(end, end->sends, LOOP_WINDOW, end->bytes,
				DMA_TO_DEVICE);
		loop_slots_free(end, end->recvs, LOOP_RING,
				LOOP_GRH + end->bytes, DMA_FROM_DEVICE);
		ib_dealloc_pd(end->pd);
	}
	kvfree(end->seen);
}

static int loop_end_open(struct loop_end *end, const char *name)
{
	int err = -ENOMEM;

	end->dev = loop_device_find(name);
	if (!end->dev)
		return -ENODEV;

	end->seen = kvcalloc(BITS_TO_LONGS(end->expected + 1),
			     sizeof(*end->seen), GFP_KERNEL);
	if (!end->seen)
		return -ENOMEM;

	spin_lock_init(&end->lock);
	end->pd = ib_alloc_pd(end->dev, 0);
	if (IS_ERR(end->pd)) {
		err = PTR_ERR(end->pd);
		end->pd = NULL;
		goto err_close;
	}
	end->sends = loop_slots_alloc(end, LOOP_WINDOW, end->bytes,
				      DMA_TO_DEVICE);
	end->recvs = loop_slots_alloc(end, LOOP_RING, LOOP_GRH + end->bytes,
				      DMA_FROM_DEVICE);
	if (!end->sends || !end->recvs)
		goto err_close;

	end->send_cq = ib_alloc_cq(end->dev, end, LOOP_WINDOW, 0,
				   IB_POLL_SOFTIRQ);
	end->recv_cq = ib_alloc_cq(end->dev, end, LOOP_RING,
				   1 % end->dev->num_comp_vectors,
				   IB_POLL_SOFTIRQ);
	err = PTR_ERR_OR_ZERO(end->send_cq) ?: PTR_ERR_OR_ZERO(end->recv_cq);
	if (err)
		goto err_close;

	if (end->usecs)
		err = rdma_set_cq_moderation(end->recv_cq, LOOP_RING,
					     end->usecs);
	if (!err)
		err = loop_qp_create(end);
	if (err)
		goto err_close;
	return 0;

err_close:
	loop_end_close(end);
	return err;
}

/* --- Receiving ----------------------------------------------------------- */

static void loop_returned(struct loop_end *end)
{
	if (atomic_dec_and_test(&end->outstanding))
		wake_up(end->wait);
}

/* A message: its number, and the number again at its very end. */
static bool loop_message_valid(const struct loop_end *end, const void *msg)
{
	const __le64 *first = msg;
	const __le64 *last = msg + end->bytes - sizeof(*last);
	const u8 *probe = msg + LOOP_PROBE;

	return *first == *last && le64_to_cpu(*first) < end->expected &&
	       (end->bytes < 2 * LOOP_MIN_BYTES || *probe == LOOP_FILL);
}

static void loop_message_note(struct loop_end *end, const __le64 *msg)
{
	u64 number = le64_to_cpu(*msg);

	if (__test_and_set_bit(number, end->seen))
		WRITE_ONCE(end->duplicates, end->duplicates + 1);
	else if (number < end->next)
		end->late++;
	else
		end->next = number + 1;
}

/* Messages that arrived, however often. */
static u64 loop_arrived(const struct loop_end *end)
{
	return READ_ONCE(end->received) - READ_ONCE(end->duplicates);
}

static void loop_recv_done(struct ib_cq *cq, struct ib_wc *wc);

static int loop_recv_post(struct loop_slot *slot)
{
	struct ib_recv_wr wr = {
		.wr_cqe = &slot->cqe,
		.sg_list = &slot->sge,
		.num_sge = 1,
	};
	int err;

	slot->cqe.done = loop_recv_done;
	atomic_inc(&slot->end->outstanding);
	err = ib_post_recv(slot->end->qp, &wr, NULL);
	if (err)
		loop_returned(slot->end);
	return err;
}

static void loop_recv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct loop_slot *slot = container_of(wc->wr_cqe, struct loop_slot,
					      cqe);
	struct loop_end *end = slot->end;

	if (wc->status == IB_WC_SUCCESS) {
		if (wc->byte_len != LOOP_GRH + end->bytes ||
		    !loop_message_valid(end, slot->buf + LOOP_GRH))
			end->corrupt++;
		else
			loop_message_note(end, slot->buf + LOOP_GRH);
		WRITE_ONCE(end->received, end->received + 1);
		if (loop_arrived(end) == end->expected)
			wake_up(end->wait);
		if (!READ_ONCE(end->stopping))
			loop_recv_post(slot);
	} else if (wc->status != IB_WC_WR_FLUSH_ERR) {
		end->recv_errors++;
	}
	loop_returned(end);
}

static int loop_recv_fill(struct loop_end *end)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < LOOP_RING && !err; i++)
		err = loop_recv_post(&end->recvs[i]);
	return err;
}

/* --- Sending ------------------------------------------------------------- */

static void loop_send_done(struct ib_cq *cq, struct ib_wc *wc);

static void loop_send_fill(struct loop_slot *slot)
{
	struct loop_end *end = slot->end;
	__le64 *first = slot->buf;
	__le64 *last = slot->buf + end->bytes - sizeof(*last);

	lockdep_assert_held(&end->lock);

	*first = cpu_to_le64(end->posted);
	*last = *first;
	end->posted++;
	slot->cqe.done = loop_send_done;
	slot->wr = (struct ib_ud_wr) {
		.wr = {
			.wr_cqe = &slot->cqe,
			.sg_list = &slot->sge,
			.num_sge = 1,
			.opcode = IB_WR_SEND,
			.send_flags = IB_SEND_SIGNALED,
		},
		.ah = end->ah,
		.remote_qpn = end->peer_qpn,
		.remote_qkey = LOOP_QKEY,
	};
	if (end->inlined) {
		slot->wr.wr.sg_list = &slot->inline_sge;
		slot->wr.wr.send_flags |= IB_SEND_INLINE;
	}
}

/* From @bad on the HCA has taken nothing. */
static void loop_refused(struct loop_end *end, const struct loop_slot *first,
			 const struct ib_send_wr *bad)
{
	u32 place = container_of(bad, struct loop_slot, wr.wr) - first;
	u32 refused = 0;

	lockdep_assert_held(&end->lock);

	for (; bad; bad = bad->next)
		refused++;
	end->refused += refused;
	if (!end->bad_wr)
		end->bad_wr = place + 1;
	if (atomic_sub_and_test(refused, &end->outstanding))
		wake_up(end->wait);
}

static unsigned int loop_send_link(struct loop_slot *slots, unsigned int num)
{
	struct loop_end *end = slots->end;
	unsigned int i;

	for (i = 0; i < num && end->posted < end->quota; i++) {
		loop_send_fill(&slots[i]);
		if (i)
			slots[i - 1].wr.wr.next = &slots[i].wr.wr;
	}

	return i;
}

/* Post the messages of @num slots that follow one another, at once. */
static void loop_send_post(struct loop_slot *slots, unsigned int num)
{
	struct loop_end *end = slots->end;
	const struct ib_send_wr *bad;

	spin_lock_bh(&end->lock);
	num = end->stopping ? 0 : loop_send_link(slots, num);
	atomic_add(num, &end->outstanding);
	if (num && ib_post_send(end->qp, &slots->wr.wr, &bad))
		loop_refused(end, slots, bad);
	spin_unlock_bh(&end->lock);
}

static void loop_send_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct loop_slot *slot = container_of(wc->wr_cqe, struct loop_slot,
					      cqe);
	struct loop_end *end = slot->end;

	WRITE_ONCE(end->sent, end->sent + 1);
	if (wc->status == IB_WC_SUCCESS)
		loop_send_post(slot, 1);
	else if (wc->status == IB_WC_WR_FLUSH_ERR)
		end->flushed++;
	else
		end->send_errors++;
	loop_returned(end);
}

/* --- A run --------------------------------------------------------------- */

static int loop_point(struct loop_end *from, const struct loop_end *to)
{
	struct rdma_ah_attr attr = { .type = RDMA_AH_ATTR_TYPE_IB };
	struct ib_port_attr port;
	int err;

	err = ib_query_port(to->dev, LOOP_PORT, &port);
	if (err)
		return err;
	/* The state does not matter: that is what tests want to see lost. */
	if (!port.lid)
		return -ENETDOWN;

	rdma_ah_set_dlid(&attr, port.lid);
	rdma_ah_set_port_num(&attr, LOOP_PORT);
	from->peer_qpn = to->qp->qp_num;
	from->ah = rdma_create_ah(from->pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
	if (IS_ERR(from->ah)) {
		err = PTR_ERR(from->ah);
		from->ah = NULL;
		return err;
	}

	return 0;
}

static void loop_drain(struct loop_end *end)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_ERR };

	spin_lock_bh(&end->lock);
	WRITE_ONCE(end->stopping, true);
	spin_unlock_bh(&end->lock);
	if (!ib_modify_qp(end->qp, &attr, IB_QP_STATE))
		wait_event(*end->wait, !atomic_read(&end->outstanding) ||
			   READ_ONCE(end->fatal));
}

static bool loop_all_arrived(const struct loop_end *a, const struct loop_end *b)
{
	return loop_arrived(a) + loop_arrived(b) >= a->quota + b->quota;
}

/* Until everything has arrived, or nothing has for a while. */
static void loop_wait(struct loop_end *a, struct loop_end *b)
{
	u64 before, now = 0;

	do {
		before = now;
		wait_event_timeout(*a->wait, loop_all_arrived(a, b),
				   LOOP_STALL);
		now = READ_ONCE(a->received) + READ_ONCE(b->received);
	} while (now != before && !loop_all_arrived(a, b));
}

static void loop_pump(struct loop_end *end)
{
	unsigned int i;

	for (i = 0; i < LOOP_WINDOW; i += end->chain)
		loop_send_post(&end->sends[i],
			       min(end->chain, LOOP_WINDOW - i));
}

static void loop_conclude(const struct loop_end *a, const struct loop_end *b,
			  u64 ns)
{
	loop_last = (struct loop_result) {
		.ns = ns,
		.messages = a->quota + b->quota,
		.received = a->received + b->received,
		.duplicates = a->duplicates + b->duplicates,
		.late = a->late + b->late,
		.corrupt = a->corrupt + b->corrupt,
		.refused = a->refused + b->refused,
		.bad_wr = a->bad_wr,
		.send_errors = a->send_errors + b->send_errors,
		.flushed = a->flushed + b->flushed,
		.recv_errors = a->recv_errors + b->recv_errors,
		.fatal = a->fatal + b->fatal,
	};
}

static int loop_measure(struct loop_end *a, struct loop_end *b)
{
	ktime_t start;
	u64 ns = 0;
	int err;

	err = loop_point(a, b);
	if (!err)
		err = loop_point(b, a);
	if (!err)
		err = loop_recv_fill(a);
	if (!err)
		err = loop_recv_fill(b);
	if (!err) {
		start = ktime_get();
		loop_pump(a);
		loop_pump(b);
		loop_wait(a, b);
		ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	}

	/* What a fault holds back is seen once it is released. */
	loop_drain(a);
	loop_drain(b);
	if (!err)
		loop_conclude(a, b, ns);
	return err;
}

/**
 * struct loop_request - what was asked for
 * @from: name of the HCA that sends
 * @to: name of the other
 * @bytes: length of a message
 * @messages: how many
 * @both: the other sends as many
 * @chain: first messages posted at once
 * @inlined: they travel in the send requests
 * @usecs: moderation of receives
 */
struct loop_request {
	char from[32];
	char to[32];
	u32 bytes;
	u32 messages;
	u32 both;
	u32 chain;
	u32 inlined;
	u32 usecs;
};

static int loop_run(const struct loop_request *ask)
{
	DECLARE_WAIT_QUEUE_HEAD_ONSTACK(wait);
	struct loop_end *ends = kcalloc(2, sizeof(*ends), GFP_KERNEL);
	int err = -ENOMEM;

	if (!ends)
		return err;

	ends[0].bytes = ask->bytes;
	ends[1].bytes = ask->bytes;
	ends[0].chain = ask->chain;
	ends[1].chain = ask->chain;
	ends[0].inlined = ask->inlined;
	ends[1].inlined = ask->inlined;
	ends[0].usecs = ask->usecs;
	ends[1].usecs = ask->usecs;
	ends[0].quota = ask->messages;
	ends[1].quota = ask->both ? ask->messages : 0;
	ends[0].expected = ends[1].quota;
	ends[1].expected = ends[0].quota;
	ends[0].wait = &wait;
	ends[1].wait = &wait;
	err = loop_end_open(&ends[0], ask->from);
	if (err)
		goto out_free;
	err = loop_end_open(&ends[1], ask->to);
	if (err)
		goto out_close;

	err = loop_measure(&ends[0], &ends[1]);
	loop_end_close(&ends[1]);
out_close:
	loop_end_close(&ends[0]);
out_free:
	kfree(ends);
	return err;
}

/* --- The file ------------------------------------------------------------ */

static int loop_show(struct seq_file *m, void *unused)
{
	struct loop_result last;

	mutex_lock(&loop_mutex);
	last = loop_last;
	mutex_unlock(&loop_mutex);

	seq_printf(m, "messages %llu\nreceived %llu\nlost %llu\ncorrupt %llu\n",
		   last.messages, last.received,
		   last.messages - last.received + last.duplicates,
		   last.corrupt);
	seq_printf(m, "duplicates %llu\nlate %llu\n", last.duplicates,
		   last.late);
	seq_printf(m, "refused %llu\nbad_wr %u\nsend_errors %llu\n",
		   last.refused, last.bad_wr, last.send_errors);
	seq_printf(m, "flushed %llu\nrecv_errors %llu\nfatal %u\n",
		   last.flushed, last.recv_errors, last.fatal);
	seq_printf(m, "ns %llu\nmessages_per_second %llu\n", last.ns,
		   last.ns ? div64_u64(last.received * NSEC_PER_SEC, last.ns) :
			     0);
	return 0;
}

static int loop_open(struct inode *inode, struct file *file)
{
	return single_open(file, loop_show, NULL);
}

static bool loop_request_valid(const struct loop_request *ask)
{
	return ask->bytes >= LOOP_MIN_BYTES && ask->bytes <= LOOP_MAX_BYTES &&
	       ask->messages && ask->messages <= LOOP_MAX_MSGS &&
	       ask->both <= 1 && ask->inlined <= 1 && ask->usecs <= U16_MAX &&
	       ask->chain && ask->chain <= LOOP_WINDOW;
}

static ssize_t loop_refuse(void)
{
	pr_warn_ratelimited("fabric_loop takes FROM TO bytes=%u..%u messages=1..%u both=0|1 [chain=1..%u [inline=0|1 [usecs=0..%u]]]\n",
			    LOOP_MIN_BYTES, LOOP_MAX_BYTES, LOOP_MAX_MSGS,
			    LOOP_WINDOW, U16_MAX);
	return -EINVAL;
}

static ssize_t loop_write(struct file *file, const char __user *user,
			  size_t count, loff_t *pos)
{
	struct loop_request ask = { .chain = 1 };
	char line[128];
	int err;

	if (count >= sizeof(line))
		return loop_refuse();
	if (copy_from_user(line, user, count))
		return -EFAULT;
	line[count] = '\0';
	if (sscanf(line,
		   "%31s %31s bytes=%u messages=%u both=%u chain=%u inline=%u usecs=%u",
		   ask.from, ask.to, &ask.bytes, &ask.messages, &ask.both,
		   &ask.chain, &ask.inlined, &ask.usecs) < 5 ||
	    !loop_request_valid(&ask))
		return loop_refuse();

	mutex_lock(&loop_mutex);
	err = loop_run(&ask);
	mutex_unlock(&loop_mutex);
	return err ? err : count;
}

static const struct file_operations loop_fops = {
	.owner = THIS_MODULE,
	.open = loop_open,
	.read = seq_read,
	.write = loop_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init loop_init(void)
{
	int err = ib_register_client(&loop_client);

	if (err)
		return err;

	loop_file = debugfs_create_file("fabric_loop", 0600, NULL, NULL,
					&loop_fops);
	return 0;
}

static void __exit loop_exit(void)
{
	debugfs_remove(loop_file);
	ib_unregister_client(&loop_client);
}

module_init(loop_init);
module_exit(loop_exit);

MODULE_DESCRIPTION("Bare verbs from one HCA to another, counted and timed");
MODULE_LICENSE("GPL");
