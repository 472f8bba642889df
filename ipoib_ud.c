// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which queues does a datagram interface have, and when do they run?
 *
 * The transport over plain verbs, plugged in below the netdev as an accelerated
 * HCA driver's would be: it makes the queue pairs, completion queues and rings,
 * starts, stops, resizes and counts them. Not here: what a packet does in a
 * ring (ipoib_ib.c), what becomes of a queue that ails (ipoib_heal.c), how a
 * verb is called (ipoib_verbs.c).
 *
 * Stages: transmit queues, receive side, rings, stopping, starting, queues
 * together, lower table, resizing, set-up, statistics.
 */
#include <linux/cpumask.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/slab.h>

#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>
#include <net/sch_generic.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* a healthy HCA flushes a queue pair in microseconds; the rest is patience */
#define IPOIB_DRAIN_MS		5000

/* the first look at how queues do, after a start; more follow by themselves */
#define IPOIB_HEAL_FIRST_MS	500

/* counters of a ring begin so near their end that each queue passes it */
#define IPOIB_RING_ORIGIN	((u32)-1000)

/* how long a change of a ring waits for what is under way in it */
#define IPOIB_RESIZE_MS		2000

/* ---- transmit queues ---- */

/* Any context. The queue pair is in ERR, or soon will be. */
static void ipoib_qp_event(struct ib_event *event, void *context)
{
	struct ipoib_txq *txq = context;

	if (event->event == IB_EVENT_QP_FATAL ||
	    event->event == IB_EVENT_QP_REQ_ERR ||
	    event->event == IB_EVENT_QP_ACCESS_ERR)
		ipoib_ud_ails(txq->ipd, txq->index);
}

/* Any context. A completion queue in error stays so. */
static void ipoib_ud_lose(struct ipoib_dev *ipd, unsigned int index)
{
	set_bit(index, &ipd->ud.lost);
	ipoib_ud_ails(ipd, index);
}

static void ipoib_tx_cq_event(struct ib_event *event, void *context)
{
	struct ipoib_txq *txq = context;

	ipoib_ud_lose(txq->ipd, txq->index);
}

static void ipoib_rx_cq_event(struct ib_event *event, void *context)
{
	struct ipoib_rxq *rxq = context;

	ipoib_ud_lose(rxq->ipd, 0);
}

/* What is wanted, or as much as the HCA's queues hold. */
static u32 ipoib_ring_fit(const struct ib_device *ibdev, u32 wanted)
{
	return min_t(u32, wanted, rounddown_pow_of_two(ibdev->attrs.max_qp_wr));
}

/* A queue pair's rings cannot grow, so they are made with room for that. */
static u32 ipoib_ring_depth(const struct ib_device *ibdev, u32 size)
{
	return ipoib_ring_fit(ibdev, min_t(u32, size * IPOIB_RING_GROWTH,
					   IPOIB_RING_MOST));
}

static struct ib_qp *ipoib_txq_try_qp(struct ipoib_txq *txq, u32 inline_bytes)
{
	struct ipoib_dev *ipd = txq->ipd;
	struct ib_qp_init_attr init = {
		.send_cq = txq->cq,
		/* those that only send have it too: some HCAs dereference it */
		.recv_cq = ipd->ud.rxq.cq,
		.event_handler = ipoib_qp_event,
		.qp_context = txq,
		.cap = {
			.max_send_wr = txq->depth,
			.max_send_sge = min_t(u32, IPOIB_MAX_SGE,
					      ipd->ibdev->attrs.max_send_sge),
			.max_recv_wr = txq->index ? 1 : ipd->ud.rxq.depth,
			.max_recv_sge = 1 + ipd->ud.rxq.layout.frags,
			.max_inline_data = inline_bytes,
		},
	};
	struct ib_qp *qp;

	qp = ipoib_qp_create_ud(ipd->pd, &init, !txq->index);
	if (IS_ERR(qp))
		return qp;

	txq->max_sge = min_t(u32, IPOIB_MAX_SGE, init.cap.max_send_sge);
	txq->max_inline = init.cap.max_inline_data;
	return qp;
}

/* No attribute tells whether an HCA takes data within requests. */
static struct ib_qp *ipoib_txq_create_qp(struct ipoib_txq *txq)
{
	struct ib_qp *qp;

	qp = ipoib_txq_try_qp(txq, IPOIB_INLINE_BYTES);
	if (PTR_ERR_OR_ZERO(qp) == -EINVAL ||
	    PTR_ERR_OR_ZERO(qp) == -EOPNOTSUPP)
		qp = ipoib_txq_try_qp(txq, 0);

	return qp;
}

/*
 * What an HCA holds of requests as wide as these it does not tell: with less
 * room to grow it may have them. The first queue pair has the receive ring.
 */
static bool ipoib_txq_settle_for_less(struct ipoib_txq *txq)
{
	struct ipoib_rxq *rxq = &txq->ipd->ud.rxq;
	bool less = txq->depth > txq->size;

	txq->depth = max(txq->depth / 2, txq->size);
	if (!txq->index && rxq->depth / 2 >= rxq->size) {
		rxq->depth /= 2;
		less = true;
	}

	return less;
}

static struct ib_qp *ipoib_txq_create_some_qp(struct ipoib_txq *txq)
{
	struct ib_qp *qp;

	do {
		qp = ipoib_txq_create_qp(txq);
	} while ((PTR_ERR_OR_ZERO(qp) == -ENOMEM ||
		  PTR_ERR_OR_ZERO(qp) == -EINVAL) &&
		 ipoib_txq_settle_for_less(txq));

	return qp;
}

static int ipoib_txq_create_verbs(struct ipoib_txq *txq)
{
	struct ipoib_dev *ipd = txq->ipd;
	struct ib_cq_init_attr attr = {
		.cqe = txq->depth,
		/* the first is the receive side's */
		.comp_vector = ipd->ud.vector + 1 + txq->index,
	};

	txq->cq = ipoib_cq_create(ipd->ibdev, &attr, ipoib_tx_event,
				  ipoib_tx_cq_event, txq);
	if (IS_ERR(txq->cq))
		return PTR_ERR(txq->cq);

	txq->qp = ipoib_txq_create_some_qp(txq);
	if (IS_ERR(txq->qp)) {
		ib_destroy_cq(txq->cq);
		return PTR_ERR(txq->qp);
	}

	return 0;
}

/* A queue that is made anew goes on counting. */
static void ipoib_txq_inherit(struct ipoib_txq *txq)
{
	struct ipoib_txq_totals *left = &txq->ipd->ud.left[txq->index];

	u64_stats_set(&txq->done.packets, left->packets);
	u64_stats_set(&txq->done.bytes, left->bytes);
	u64_stats_set(&txq->done.wakes, left->wakes);
	u64_stats_set(&txq->made.stops, left->stops);
	u64_stats_set(&txq->made.csum, left->csum);
	u64_stats_set(&txq->made.lso, left->lso);
	u64_stats_set(&txq->made.lso_packets, left->lso_packets);
}

/* Counters go on where the queue's forerunner left off: see ipoib_ah_snap(). */
static struct ipoib_txq *ipoib_txq_create(struct ipoib_dev *ipd,
					  unsigned int index)
{
	struct ipoib_txq *txq;
	int err;

	txq = kzalloc_obj(*txq, GFP_KERNEL);
	if (!txq)
		return ERR_PTR(-ENOMEM);

	txq->ipd = ipd;
	txq->index = index;
	txq->cpu = -1;
	txq->fault_at = jiffies - IPOIB_FAULT_INTERVAL;
	txq->depth = ipoib_ring_depth(ipd->ibdev, ipoib_send_queue_size);
	txq->size = min(txq->depth, ipd->ud.tx_size);
	txq->head = ipd->ud.origin[index];
	txq->posted = txq->head;
	txq->signalled = txq->head;
	txq->tail = txq->head;
	u64_stats_init(&txq->made.syncp);
	u64_stats_init(&txq->done.syncp);
	ipoib_txq_inherit(txq);

	err = ipoib_txq_create_verbs(txq);
	if (err) {
		kfree(txq);
		return ERR_PTR(err);
	}

	netif_napi_add_tx(ipd->netdev, &txq->napi, ipoib_tx_poll);
	return txq;
}

static void ipoib_txq_free(struct ipoib_txq *txq)
{
	ib_destroy_cq(txq->cq);
	kvfree(txq->slots);
	kfree_rcu(txq, rcu);
}

/* an HCA has kept a queue pair since the module was loaded */
bool ipoib_ud_keeps;

/* The HCA may use the memory as long as it lives: better lost than shared. */
static void ipoib_ud_keep(struct ipoib_txq *txq, int err)
{
	netdev_err(txq->ipd->netdev,
		   "the HCA does not let go of queue pair %u: %pe; its memory is kept, and this module\n",
		   txq->qp->qp_num, ERR_PTR(err));
	if (!txq->ipd->ud.kept)
		__module_get(THIS_MODULE);
	WRITE_ONCE(ipoib_ud_keeps, true);
	WRITE_ONCE(txq->ipd->ud.kept, true);
}

/*
 * With its queue pair gone the HCA owns nothing of the ring, else it keeps all
 * of it.
 */
static int ipoib_txq_destroy_qp(struct ipoib_txq *txq)
{
	int err;

	err = ib_destroy_qp(txq->qp);
	if (err) {
		ipoib_ud_keep(txq, err);
		return err;
	}
	if (!txq->slots)
		return 0;

	local_bh_disable();
	ipoib_tx_free_posted(txq);
	local_bh_enable();
	return 0;
}

/* RTNL. One that nobody knows of yet. */
static void ipoib_txq_discard(struct ipoib_txq *txq)
{
	netif_napi_del(&txq->napi);
	if (!ipoib_txq_destroy_qp(txq))
		ipoib_txq_free(txq);
}

/* ---- receive side ---- */

static int ipoib_rxq_alloc_room(struct ipoib_rxq *rxq)
{
	struct ipoib_rx_room *room = kzalloc_obj(*room, GFP_KERNEL);
	unsigned int i, n;

	if (!room)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(room->wrs); i++) {
		room->wrs[i].wr.sg_list = room->wrs[i].sge;
		for (n = 0; n < ARRAY_SIZE(room->wrs[i].sge); n++)
			room->wrs[i].sge[n].lkey = rxq->ipd->pd->local_dma_lkey;
	}
	rxq->heads.spare = room->spare_heads;
	rxq->frags.spare = room->spare_frags;
	rxq->room = room;
	return 0;
}

static int ipoib_rxq_create(struct ipoib_dev *ipd)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;
	struct ib_cq_init_attr attr = { .comp_vector = ipd->ud.vector };
	int err;

	err = ipoib_rxq_alloc_room(rxq);
	if (err)
		return err;

	rxq->depth = ipoib_ring_depth(ipd->ibdev, ipoib_recv_queue_size);
	rxq->size = min(rxq->depth, rxq->size);
	rxq->buf_bytes = ipoib_rx_buf_bytes(ipd->max_ib_mtu);
	rxq->layout = ipoib_rx_layout(rxq->buf_bytes,
				      ipd->ibdev->attrs.max_recv_sge);
	rxq->heads.bytes = IPOIB_RX_HEADROOM +
			   max_t(u32, rxq->layout.head_bytes, IPOIB_RX_COPY);
	rxq->heads.bytes = SKB_DATA_ALIGN(rxq->heads.bytes) +
			   SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
	rxq->frags.bytes = rxq->layout.frag_bytes;

	attr.cqe = rxq->depth + 1;
	rxq->cq = ipoib_cq_create(ipd->ibdev, &attr, ipoib_rx_event,
				  ipoib_rx_cq_event, rxq);
	if (IS_ERR(rxq->cq)) {
		kfree(rxq->room);
		return PTR_ERR(rxq->cq);
	}

	if (!poll_state_synchronize_rcu(rxq->napi_grace))
		synchronize_net();
	netif_napi_add(ipd->netdev, &rxq->napi, ipoib_rx_poll);
	return 0;
}

/*
 * A queue pair that is kept goes on using it. The grace period is waited for
 * when it is made anew, if that is soon: many children go down together.
 */
static void ipoib_rxq_destroy(struct ipoib_dev *ipd)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;

	__netif_napi_del(&rxq->napi);
	rxq->napi_grace = start_poll_synchronize_rcu();
	if (ipd->ud.kept)
		return;

	ib_destroy_cq(rxq->cq);
	kfree(rxq->room);
}

/* ---- rings ---- */

static struct ipoib_tx_slot *ipoib_txq_alloc_slots(const struct ipoib_txq *txq,
						   u32 size)
{
	u32 lkey = txq->ipd->pd->local_dma_lkey;
	struct ipoib_tx_slot *slots;
	unsigned int i;
	u32 n;

	slots = kvcalloc(size, sizeof(*slots), GFP_KERNEL);
	if (!slots)
		return NULL;

	for (n = 0; n < size; n++) {
		slots[n].wr.wr.wr_id = ipoib_wr_id(IPOIB_WR_TX, txq->index, n);
		slots[n].wr.wr.sg_list = slots[n].sge;
		for (i = 0; i < ARRAY_SIZE(slots[n].sge); i++)
			slots[n].sge[i].lkey = lkey;
	}

	return slots;
}

static int ipoib_txq_alloc_ring(struct ipoib_txq *txq)
{
	if (!txq->slots)
		txq->slots = ipoib_txq_alloc_slots(txq, txq->size);

	return txq->slots ? 0 : -ENOMEM;
}

static void ipoib_txq_free_ring(struct ipoib_txq *txq)
{
	kvfree(txq->slots);
	txq->slots = NULL;
}

/* One for each kind of piece, as they are cut from pages in equal parts. */
static int ipoib_rx_store_open(struct ipoib_rxq *rxq,
			       struct ipoib_rx_store *store, u32 pieces)
{
	struct ib_device *ibdev = rxq->ipd->ibdev;
	unsigned int order = ipoib_rx_pool_order(store->bytes, PAGE_SIZE);
	struct page_pool_params params = {
		.order = order,
		.nid = ibdev_to_node(ibdev),
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = PAGE_SIZE << order,
		.pool_size = ipoib_rx_pool_pages(pieces, store->bytes,
						 PAGE_SIZE),
	};

	if (!ib_uses_virt_dma(ibdev)) {
		params.flags |= PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV;
		params.dev = ibdev->dma_device;
	}

	store->pool = page_pool_create(&params);
	if (IS_ERR(store->pool)) {
		int err = PTR_ERR(store->pool);

		store->pool = NULL;
		return err;
	}

	return 0;
}

static void ipoib_rx_store_close(struct ipoib_rx_store *store)
{
	if (store->pool)
		page_pool_destroy(store->pool);
	store->pool = NULL;
}

static void ipoib_rxq_free_ring(struct ipoib_rxq *rxq)
{
	if (rxq->slots)
		ipoib_rx_free(rxq);
	ipoib_rx_store_close(&rxq->frags);
	ipoib_rx_store_close(&rxq->heads);
	kvfree(rxq->slots);
	rxq->slots = NULL;
}

static int ipoib_rxq_alloc_ring(struct ipoib_rxq *rxq)
{
	int err;

	if (rxq->slots)
		return 0;

	rxq->slots = kvcalloc(rxq->depth, sizeof(*rxq->slots), GFP_KERNEL);
	if (!rxq->slots)
		return -ENOMEM;

	err = ipoib_rx_store_open(rxq, &rxq->heads, rxq->size);
	if (!err && rxq->layout.frags)
		err = ipoib_rx_store_open(rxq, &rxq->frags,
					  rxq->size * rxq->layout.frags);
	if (err)
		ipoib_rxq_free_ring(rxq);

	return err;
}

static void ipoib_ud_free_rings(struct ipoib_ud *ud)
{
	unsigned int i;

	for (i = 0; i < ud->num_txq; i++)
		ipoib_txq_free_ring(ud->txq[i]);
	ipoib_rxq_free_ring(&ud->rxq);
}

/* Those of before a RESET that was refused are there still. */
static int ipoib_ud_alloc_rings(struct ipoib_ud *ud)
{
	unsigned int i;
	int err;

	err = ipoib_rxq_alloc_ring(&ud->rxq);
	for (i = 0; !err && i < ud->num_txq; i++)
		err = ipoib_txq_alloc_ring(ud->txq[i]);
	if (err)
		ipoib_ud_free_rings(ud);

	return err;
}

/* ---- stopping ---- */

static bool ipoib_ud_is_idle(struct ipoib_dev *ipd)
{
	unsigned int i;

	for (i = 0; i < ipd->ud.num_txq; i++)
		if (!ipoib_txq_is_idle(ipd->ud.txq[i]))
			return false;

	return ipoib_rxq_is_idle(&ipd->ud.rxq);
}

/* As the NAPIs would, but nothing goes up: the stack has the device down. */
static void ipoib_ud_flush(struct ipoib_dev *ipd)
{
	unsigned int i;

	local_bh_disable();
	for (i = 0; i < ipd->ud.num_txq; i++)
		while (ipoib_tx_clean(ipd->ud.txq[i], 0))
			;
	while (ipoib_rx_clean(&ipd->ud.rxq, IPOIB_POLL_BATCH, false))
		;
	local_bh_enable();
}

/* Where it leaves off a second wait goes on: one stop takes its time once. */
static u64 ipoib_ud_patience_us(const struct ipoib_dev *ipd)
{
	long left = READ_ONCE(ipd->ud.drain_until) - jiffies;

	return left > 0 ? jiffies_to_usecs(left) : 1;
}

static bool ipoib_ud_drained(struct ipoib_dev *ipd)
{
	ipoib_ud_flush(ipd);
	return ipoib_ud_is_idle(ipd);
}

static void ipoib_ud_free_posted(struct ipoib_dev *ipd)
{
	unsigned int i;

	local_bh_disable();
	for (i = 0; i < ipd->ud.num_txq; i++)
		ipoib_tx_free_posted(ipd->ud.txq[i]);
	local_bh_enable();
}

static void ipoib_ud_set_state(struct ipoib_dev *ipd, enum ipoib_ud_state state)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	/* the NAPIs look at it without the lock */
	WRITE_ONCE(ipd->ud.state, state);
}

/**
 * ipoib_txq_set_error() - have a queue's work requests flushed
 * @txq: queue
 */
void ipoib_txq_set_error(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	int err;

	err = ipoib_qp_set_error(txq->qp);
	if (err)
		ipoib_warn(txq->ipd, "queue %u: cannot stop: %pe\n", txq->index,
			   ERR_PTR(err));
}

/* After the state: the drain must neither post receives nor wake queues. */
static void ipoib_ud_set_error(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	unsigned int i;

	if (ipd->ud.state != IPOIB_UD_OPEN)
		return;

	WRITE_ONCE(ipd->ud.drain_until,
		   jiffies + msecs_to_jiffies(IPOIB_DRAIN_MS));
	ipoib_ud_set_state(ipd, IPOIB_UD_STOPPING);
	for (i = 0; i < ipd->ud.num_txq; i++)
		ipoib_txq_set_error(ipd->ud.txq[i]);
}

/* Returns 0 when every queue pair is in RESET, where the HCA owns no buffer. */
static int ipoib_ud_reset(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	int err = 0;
	unsigned int i;

	for (i = 0; i < ipd->ud.num_txq; i++)
		err = ipoib_qp_reset(ipd->ud.txq[i]->qp) ?: err;
	if (err)
		set_bit(0, &ipd->ud.lost);

	return err;
}

/* ---- starting ---- */

/* The ring is empty: a chain that was linked and not posted is freed, too. */
static void ipoib_txq_unlink(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	txq->posted = txq->head;
	txq->rejects = 0;
	WRITE_ONCE(txq->signalled, txq->head);
}

static void ipoib_txq_begin(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	memset(&txq->heal, 0, sizeof(txq->heal));
	clear_bit(txq->index, &txq->ipd->ud.ailing);
	clear_bit(txq->index, &txq->ipd->ud.needs_reset);
	WRITE_ONCE(txq->purge, false);
	WRITE_ONCE(txq->halted, 0);
	ipoib_txq_unlink(txq);
}

/**
 * ipoib_txq_take_qkey() - give a queue pair the link's Q_Key
 * @txq: queue, whose queue pair is in RTS
 *
 * Return: 0, also when the link has none yet, or an errno.
 */
int ipoib_txq_take_qkey(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	u32 qkey = txq->ipd->ud.qkey;

	return qkey ? ipoib_qp_set_qkey(txq->qp, qkey) : 0;
}

/**
 * ipoib_txq_join_in() - take a queue pair to where the others are
 * @txq: queue, whose queue pair is in RESET and whose ring is empty
 *
 * That has the Q_Key once the link has it.
 *
 * Return: 0 or an errno.
 */
int ipoib_txq_join_in(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ipoib_dev *ipd = txq->ipd;

	ipoib_txq_unlink(txq);
	txq->pkey_index = ipd->ud.pkey_index;
	return ipoib_qp_start(txq->qp, ipd->port, txq->pkey_index,
			      ipd->ud.qkey);
}

static int ipoib_ud_start_qps(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;
	int err;

	lockdep_assert_held(&ipd->link.lock);

	for (i = 0; i < ud->num_txq; i++) {
		err = ipoib_qp_start(ud->txq[i]->qp, ipd->port, ud->pkey_index,
				     ud->qkey);
		if (err)
			goto err_reset;
		ud->txq[i]->pkey_index = ud->pkey_index;
		ipoib_txq_begin(ud->txq[i]);
	}

	ud->rxq.flushed = false;
	WRITE_ONCE(ud->rxq.fence, IPOIB_RX_FENCE_OPEN);
	ipoib_rx_refill(&ud->rxq);
	err = -ENOMEM;
	if (ud->rxq.head == ud->rxq.tail)
		goto err_reset;

	ipoib_ud_set_state(ipd, IPOIB_UD_OPEN);
	ud->next_round = jiffies + msecs_to_jiffies(IPOIB_HEAL_FIRST_MS);
	queue_delayed_work(ipd->wq, &ud->heal_work,
			   msecs_to_jiffies(IPOIB_HEAL_FIRST_MS));
	return 0;

err_reset:
	cancel_delayed_work(&ud->rxq.refill_work);
	ipoib_ud_reset(ipd);
	return err;
}

/**
 * ipoib_txq_halt() - let nobody send by a queue
 * @txq: queue
 * @why: for whom; it stands still until ipoib_txq_resume() for each
 *
 * No sender is in the middle of posting when this returns, and none begins.
 */
void ipoib_txq_halt(struct ipoib_txq *txq, enum ipoib_halt why)
{
	struct netdev_queue *queue;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	__netif_tx_lock_bh(queue);
	set_bit(why, &txq->halted);
	netif_tx_stop_queue(queue);
	ipoib_tx_ring(txq);
	__netif_tx_unlock_bh(queue);
}

/**
 * ipoib_txq_resume() - let a queue send again
 * @txq: queue
 * @why: as for ipoib_txq_halt()
 *
 * A full ring is left to its NAPI; and one that is stopping to the restart.
 */
void ipoib_txq_resume(struct ipoib_txq *txq, enum ipoib_halt why)
{
	struct netdev_queue *queue;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	__netif_tx_lock_bh(queue);
	clear_bit(why, &txq->halted);
	/* the NAPI looks at these in the other order */
	smp_mb__after_atomic();
	if (!txq->halted && ipoib_ud_is_open(txq->ipd) &&
	    ipoib_ring_unused(txq->head, READ_ONCE(txq->tail), txq->size))
		netif_tx_wake_queue(queue);
	__netif_tx_unlock_bh(queue);
}

/* RTNL. The first poll arms the completion queue. */
static void ipoib_txq_enable(struct ipoib_txq *txq)
{
	napi_enable(&txq->napi);
	netif_queue_set_napi(txq->ipd->netdev, txq->index,
			     NETDEV_QUEUE_TYPE_TX, &txq->napi);
	ipoib_napi_kick(&txq->napi);
}

static void ipoib_txq_disable(struct ipoib_txq *txq)
{
	netif_queue_set_napi(txq->ipd->netdev, txq->index,
			     NETDEV_QUEUE_TYPE_TX, NULL);
	napi_disable(&txq->napi);
}

static void ipoib_ud_enable_napi(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	napi_enable(&ud->rxq.napi);
	netif_queue_set_napi(ipd->netdev, 0, NETDEV_QUEUE_TYPE_RX,
			     &ud->rxq.napi);
	ipoib_napi_kick(&ud->rxq.napi);
	for (i = 0; i < ud->num_txq; i++)
		ipoib_txq_enable(ud->txq[i]);
}

static void ipoib_ud_disable_napi(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	for (i = 0; i < ud->num_txq; i++)
		ipoib_txq_disable(ud->txq[i]);
	netif_queue_set_napi(ipd->netdev, 0, NETDEV_QUEUE_TYPE_RX, NULL);
	napi_disable(&ud->rxq.napi);
}

/* Which processors send by a queue: where its completions are handled. */
static void ipoib_ud_spread_mask(const struct ipoib_ud *ud, unsigned int index,
				 struct cpumask *mask)
{
	unsigned int i;
	int cpu;

	cpumask_clear(mask);
	for_each_possible_cpu(cpu) {
		for (i = 0; i < ud->num_txq && ud->handled_on[i] != cpu; i++)
			;
		if (ud->handled_on[index] == cpu ||
		    (i == ud->num_txq && cpu % ud->num_txq == index))
			cpumask_set_cpu(cpu, mask);
	}
}

/*
 * Flows go by a queue whose completions are handled where they are sent, which
 * no attribute of an HCA tells; it shows when they are.
 */
static void ipoib_ud_spread(struct ipoib_dev *ipd)
{
	cpumask_var_t mask;
	unsigned int i;

	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return;

	for (i = 0; i < ipd->ud.num_txq; i++) {
		ipoib_ud_spread_mask(&ipd->ud, i, mask);
		netif_set_xps_queue(ipd->netdev, mask, i);
	}
	free_cpumask_var(mask);
}

/*
 * Notes where completions are handled, once for each queue: what the machine's
 * administrator has set since then stands. True when there is news.
 */
static bool ipoib_ud_observe(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ud *ud = &ipd->ud;
	bool news = false;
	unsigned int i;

	lockdep_assert_held(&ipd->link.lock);

	for (i = 0; i < ud->num_txq; i++) {
		if (ud->handled_on[i] >= 0)
			continue;
		ud->handled_on[i] = READ_ONCE(ud->txq[i]->cpu);
		news |= ud->handled_on[i] >= 0;
	}

	return news;
}

/**
 * ipoib_ud_learn_cpus() - spread flows by where completions are handled
 * @ipd: interface
 */
void ipoib_ud_learn_cpus(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	if (ipoib_ud_observe(ipd))
		ipoib_ud_spread(ipd);
}

/* ---- queues together ---- */

static void ipoib_ud_set_address(struct ipoib_dev *ipd)
{
	struct ipoib_hwaddr ha;

	memcpy(&ha, ipd->netdev->dev_addr, sizeof(ha));
	ipoib_hwaddr_set_qpn(&ha, ipd->ud.qpns[0]);
	dev_addr_mod(ipd->netdev, offsetof(struct ipoib_hwaddr, qpn), ha.qpn,
		     sizeof(ha.qpn));
}

static void ipoib_ud_add_txq(struct ipoib_dev *ipd, struct ipoib_txq *txq)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ud *ud = &ipd->ud;

	lockdep_assert_held(&ipd->link.lock);

	ud->qpns[txq->index] = txq->qp->qp_num;
	WRITE_ONCE(ud->txq[txq->index], txq);
	ud->num_txq++;
}

/*
 * RTNL. The last queue; its NAPI is off. It is known of as long as its queue
 * pair may send: by that address handles are kept. What the HCA does not let go
 * of is lost with the ring.
 */
static void ipoib_ud_remove_txq(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	struct ipoib_txq *txq = ud->txq[ud->num_txq - 1];
	int err;

	/* no grace period here: the queue is freed after one */
	__netif_napi_del(&txq->napi);
	mutex_lock(&ipd->link.lock);
	err = ipoib_txq_destroy_qp(txq);
	ipoib_txq_stats(txq, &ud->left[txq->index]);
	ud->origin[txq->index] = txq->tail;
	clear_bit(txq->index, &ud->lost);
	ud->num_txq--;
	/* pairs with the acquire in ipoib_ud_txq_totals() */
	smp_store_release(&ud->txq[txq->index], NULL);
	mutex_unlock(&ipd->link.lock);
	if (err)
		return;

	netdev_tx_reset_queue(netdev_get_tx_queue(ipd->netdev, txq->index));
	ipoib_txq_free(txq);
}

static void ipoib_ud_remove_txqs(struct ipoib_dev *ipd, unsigned int left)
{
	while (ipd->ud.num_txq > left)
		ipoib_ud_remove_txq(ipd);
}

/* RTNL. Those that are missing; all of them, or as many as before. */
static int ipoib_ud_create_txqs(struct ipoib_dev *ipd)
{
	unsigned int before = ipd->ud.num_txq;
	struct ipoib_txq *txq;
	unsigned int wanted;

	/* a lower driver that calls this from its own init may have more */
	wanted = min_t(unsigned int, ipd->netdev->real_num_tx_queues,
		       IPOIB_MAX_TXQ);
	while (ipd->ud.num_txq < wanted) {
		txq = ipoib_txq_create(ipd, ipd->ud.num_txq);
		if (IS_ERR(txq)) {
			ipoib_ud_remove_txqs(ipd, before);
			return PTR_ERR(txq);
		}
		mutex_lock(&ipd->link.lock);
		ipoib_ud_add_txq(ipd, txq);
		mutex_unlock(&ipd->link.lock);
	}

	return 0;
}

/* RTNL; the transport is closed. */
static int ipoib_ud_create(struct ipoib_dev *ipd)
{
	int err;

	err = ipoib_rxq_create(ipd);
	if (err)
		return err;

	err = ipoib_ud_create_txqs(ipd);
	if (err) {
		ipoib_rxq_destroy(ipd);
		return err;
	}

	WRITE_ONCE(ipd->ud.lost, 0);
	ipoib_ud_set_address(ipd);
	if (ipd->ud.rxq.usecs || ipd->ud.rxq.frames)
		ipoib_ud_set_moderation(ipd, ipd->ud.rxq.usecs,
					ipd->ud.rxq.frames);
	return 0;
}

/* Queue pairs first: they hold on to both kinds of completion queue. */
static void ipoib_ud_destroy(struct ipoib_dev *ipd)
{
	if (!ipd->ud.num_txq)
		return;

	ipoib_ud_remove_txqs(ipd, 0);
	if (!ipd->ud.kept)
		ipoib_rxq_free_ring(&ipd->ud.rxq);
	ipoib_rxq_destroy(ipd);
}

static int ipoib_txq_catch_up(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	int err = 0;

	if (txq->ipd->ud.state != IPOIB_UD_CLOSED)
		err = ipoib_txq_alloc_ring(txq);
	if (!err && txq->ipd->ud.state == IPOIB_UD_OPEN)
		err = ipoib_txq_join_in(txq);

	return err;
}

/* The new ones first: when they cannot be created, all is as it was. */
static int ipoib_txq_replace_verbs(struct ipoib_txq *txq)
	__must_hold(&txq->ipd->link.lock)
{
	struct ib_cq *cq = txq->cq;
	struct ib_qp *qp = txq->qp;
	int err;

	err = ipoib_txq_create_verbs(txq);
	if (!err) {
		err = ib_destroy_qp(qp);
		if (!err) {
			ib_destroy_cq(cq);
			return 0;
		}
		/* this one has posted nothing, and is let go of */
		ib_destroy_qp(txq->qp);
		ib_destroy_cq(txq->cq);
	}

	txq->cq = cq;
	txq->qp = qp;
	return err;
}

/*
 * RTNL. The queue is halted, its NAPI off. It keeps its ring, its counters and
 * its place; what was in the ring is dropped.
 */
static int ipoib_txq_recreate(struct ipoib_txq *txq)
{
	struct ipoib_dev *ipd = txq->ipd;
	int err;

	atomic64_inc(&ipd->ud.heals[IPOIB_HEAL_RECREATE]);
	trace_ipoib_heal(ipd->netdev, txq->index, IPOIB_HEAL_RECREATE);

	mutex_lock(&ipd->link.lock);
	err = ipoib_txq_replace_verbs(txq);
	if (err)
		goto out_unlock;

	local_bh_disable();
	ipoib_tx_free_posted(txq);
	local_bh_enable();
	ipd->ud.qpns[txq->index] = txq->qp->qp_num;
	clear_bit(txq->index, &ipd->ud.lost);
	err = ipoib_txq_catch_up(txq);
	if (!err)
		ipoib_txq_begin(txq);

out_unlock:
	mutex_unlock(&ipd->link.lock);
	return err;
}

/**
 * ipoib_ud_recreate_lost() - recreate lost transmit queues above the first
 * @ipd: interface
 *
 * Neither the link address changes, nor are groups left. Does nothing while the
 * transport is closed or being stopped: then the next open does it. All queues
 * are recreated when one of them cannot be.
 *
 * Context: RTNL.
 */
void ipoib_ud_recreate_lost(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	struct ipoib_txq *txq;
	unsigned int i;
	int err = 0;

	ASSERT_RTNL();

	for (i = 1; !err && i < ud->num_txq && ipoib_ud_is_open(ipd); i++) {
		txq = ud->txq[i];
		if (!test_bit(i, &ud->lost) ||
		    !test_bit(IPOIB_HALT_HEAL, &txq->halted))
			continue;
		ipoib_txq_disable(txq);
		err = ipoib_txq_recreate(txq);
		ipoib_txq_enable(txq);
		if (!err)
			ipoib_txq_resume(txq, IPOIB_HALT_HEAL);
	}
	if (!err)
		return;

	ipoib_warn(ipd, "failed to recreate a transmit queue: %pe\n",
		   ERR_PTR(err));
	set_bit(0, &ud->lost);
	ipoib_link_post(ipd, IPOIB_EV_BROKEN);
}

/**
 * ipoib_ud_recreate() - make all queue pairs and completion queues anew
 * @ipd: interface whose transport is closed, all groups left
 *
 * The link address changes.
 *
 * Context: RTNL.
 *
 * Return: 0 or an errno; without queues the next open tries again.
 */
int ipoib_ud_recreate(struct ipoib_dev *ipd)
{
	atomic64_inc(&ipd->ud.heals[IPOIB_HEAL_RECREATE]);
	trace_ipoib_heal(ipd->netdev, 0, IPOIB_HEAL_RECREATE);
	ipoib_ud_destroy(ipd);
	if (ipd->ud.kept)
		return -EIO;

	return ipoib_ud_create(ipd);
}

/**
 * ipoib_ud_release() - give back what the next open can make again
 * @ipd: interface whose transport is closed
 *
 * The first queue stays: its number is in the link address, which peers have in
 * their neighbour tables. One that has to be recreated goes with the others.
 *
 * Context: RTNL.
 */
void ipoib_ud_release(struct ipoib_dev *ipd)
{
	struct ipoib_txq *txq = ipd->ud.txq[0];

	/* the HCA may keep buffers of it; attached, it cannot be destroyed */
	if (txq && test_bit(0, &ipd->ud.lost) &&
	    !atomic_read(&txq->qp->usecnt))
		ipoib_ud_destroy(ipd);
	else
		ipoib_ud_remove_txqs(ipd, 1);
}

/* ---- lower table ---- */

/* A child's queues are made when it is opened: idle ones cost nothing. */
static int ipoib_ud_init(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	/* where a packet has more pieces than that, they are joined */
	if (ipd->ibdev->attrs.max_send_sge > 1)
		dev->features |= NETIF_F_SG;

	return ipd->parent ? 0 : ipoib_ud_create(ipd);
}

static void ipoib_ud_uninit(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct sk_buff *skb;

	cancel_work_sync(&ipd->ud.too_big_work);
	while ((skb = skb_dequeue(&ipd->ud.too_big)))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_TOO_BIG);
	ipoib_ud_destroy(ipd);
}

static int ipoib_ud_make_ready(struct ipoib_dev *ipd)
{
	unsigned int i;
	int err = 0;

	/* what the HCA holds on to is the one receive ring there is */
	if (ipd->ud.kept)
		return -EIO;

	if (!ipd->ud.num_txq)
		err = ipoib_ud_create(ipd);
	else if (test_bit(0, &ipd->ud.lost))
		err = ipoib_ud_recreate(ipd);
	else
		err = ipoib_ud_create_txqs(ipd);
	for (i = 1; !err && i < ipd->ud.num_txq; i++)
		if (test_bit(i, &ipd->ud.lost))
			err = ipoib_txq_recreate(ipd->ud.txq[i]);
	if (err)
		return err;

	return ipoib_ud_alloc_rings(&ipd->ud);
}

static int ipoib_ud_open(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	err = ipoib_ud_make_ready(ipd);
	if (err)
		return err;

	mutex_lock(&ipd->link.lock);
	err = ipoib_ud_start_qps(ipd);
	mutex_unlock(&ipd->link.lock);
	if (err) {
		/* a queue pair that is not in RESET keeps its buffers */
		if (!test_bit(0, &ipd->ud.lost))
			ipoib_ud_free_rings(&ipd->ud);
		return err;
	}

	if (!ipd->ud.is_spread)
		ipoib_ud_spread(ipd);
	ipd->ud.is_spread = true;
	/* outside link.lock: from 7.3 on this takes the netdev instance lock */
	ipoib_ud_enable_napi(ipd);
	return 0;
}

/*
 * Ends with every queue pair in RESET. An HCA that does not give its buffers
 * back in time loses them by that; one that refuses even the RESET keeps them
 * until the queue pairs are destroyed.
 */
static int ipoib_ud_stop(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;
	bool drained;
	int err;

	if (READ_ONCE(ud->state) == IPOIB_UD_CLOSED)
		return 0;

	ipoib_ud_disable_napi(ipd);
	mutex_lock(&ipd->link.lock);
	ipoib_ud_set_error(ipd);
	read_poll_timeout(ipoib_ud_drained, drained, drained, USEC_PER_MSEC,
			  ipoib_ud_patience_us(ipd), false, ipd);
	if (!drained)
		netdev_warn(dev, "HCA did not return its buffers in %u ms\n",
			    IPOIB_DRAIN_MS);
	err = ipoib_ud_reset(ipd);
	/* completions of before the RESET must not meet the next open's */
	ipoib_ud_flush(ipd);
	if (!err)
		ipoib_ud_free_posted(ipd);
	ipoib_ud_set_state(ipd, IPOIB_UD_CLOSED);
	mutex_unlock(&ipd->link.lock);

	cancel_delayed_work_sync(&ud->heal_work);
	cancel_delayed_work_sync(&ud->rxq.refill_work);
	cancel_delayed_work_sync(&ud->repost_work);
	/* what a ring holds on to is in the byte limit still */
	if (err)
		return err;

	for (i = 0; i < ud->num_txq; i++)
		netdev_tx_reset_queue(netdev_get_tx_queue(dev, i));
	ipoib_ud_free_rings(ud);
	return 0;
}

/*
 * The complete lower table: an accelerated HCA driver may save it and call the
 * default functions from its own.
 */
const struct net_device_ops ipoib_ud_netdev_ops = {
	.ndo_init = ipoib_ud_init,
	.ndo_uninit = ipoib_ud_uninit,
	.ndo_open = ipoib_ud_open,
	.ndo_stop = ipoib_ud_stop,
};

static void ipoib_ud_set_id(struct net_device *dev, int pkey_index)
{
	ipoib_from_netdev(dev)->ud.pkey_index = pkey_index;
}

/**
 * ipoib_ud_move_pkey() - give the queue pairs another P_Key index
 * @ipd: interface
 * @index: place of its P_Key in the port's table
 *
 * They stay in RTS where the HCA can do that; one that does not take the index
 * gets it on its way through RESET. Groups stay attached in either case.
 *
 * Return: false where there are no queue pairs of ours.
 */
bool ipoib_ud_move_pkey(struct ipoib_dev *ipd, u16 index)
{
	struct ipoib_ud *ud = &ipd->ud;
	bool failed = false;
	unsigned int i;

	lockdep_assert_held(&ipd->link.lock);

	if (!ud->num_txq)
		return false;

	/* those that are not running start with it */
	ud->pkey_index = index;
	if (ud->state != IPOIB_UD_OPEN)
		return true;

	for (i = 0; i < ud->num_txq; i++) {
		if (ipoib_qp_set_pkey_index(ud->txq[i]->qp, index)) {
			set_bit(i, &ud->ailing);
			failed = true;
		} else {
			ud->txq[i]->pkey_index = index;
		}
	}
	if (failed)
		mod_delayed_work(ipd->wq, &ud->heal_work, 0);

	return true;
}

/*
 * A queue pair that does not take it ails, and gets it when it is healed.
 * Nothing can be received before queue 0 has it: then this is an errno.
 */
static int ipoib_ud_set_qkey(struct ipoib_dev *ipd, u32 qkey)
	__must_hold(&ipd->link.lock)
{
	unsigned int i = ipd->ud.num_txq;
	int err = 0;

	lockdep_assert_held(&ipd->link.lock);

	WRITE_ONCE(ipd->ud.qkey, qkey);
	while (i--) {
		err = ipoib_txq_take_qkey(ipd->ud.txq[i]);
		if (err)
			ipoib_ud_ails(ipd, i);
	}

	return err;
}

static int ipoib_ud_attach(struct net_device *dev, struct ib_device *ibdev,
			   union ib_gid *mgid, u16 mlid, int set_qkey, u32 qkey)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	if (!ipd->link.acted.pkey || !ipd->ud.num_txq)
		return -ENXIO;
	/* in ERR they take no Q_Key, and nothing is wrong with them */
	if (ipd->ud.state != IPOIB_UD_OPEN)
		return -ENETDOWN;

	if (set_qkey) {
		err = ipoib_ud_set_qkey(ipd, qkey);
		if (err)
			return err;
	}

	return ib_attach_mcast(ipd->ud.txq[0]->qp, mgid, mlid);
}

static int ipoib_ud_detach(struct net_device *dev, struct ib_device *ibdev,
			   union ib_gid *mgid, u16 mlid)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	/* the HCA keeps the one that is attached */
	if (!ipd->ud.num_txq)
		return -ENXIO;

	return ib_detach_mcast(ipd->ud.txq[0]->qp, mgid, mlid);
}

/**
 * ipoib_ud_begin_stop() - have the HCA give back all work requests
 * @ipd: interface that is about to be stopped
 *
 * What it takes counts from here on: where several interfaces are stopped one
 * after another, an HCA that gives nothing back is waited for once, and not
 * once for each. Does nothing where nothing is posted.
 *
 * Context: process, link.lock not held.
 */
void ipoib_ud_begin_stop(struct ipoib_dev *ipd)
{
	mutex_lock(&ipd->link.lock);
	ipoib_ud_set_error(ipd);
	mutex_unlock(&ipd->link.lock);
}

/**
 * ipoib_ud_quiesce() - have the HCA give back all work requests, and wait
 * @ipd: interface; its transmit queues are stopped
 *
 * For a restart: what this takes does not have to be waited for under RTNL.
 * The NAPIs run on and take what comes back.
 *
 * Context: process, neither RTNL nor link.lock held.
 */
void ipoib_ud_quiesce(struct ipoib_dev *ipd)
{
	unsigned long until;
	bool idle = false;

	mutex_lock(&ipd->link.lock);
	ipoib_ud_set_error(ipd);
	until = ipd->ud.drain_until;
	mutex_unlock(&ipd->link.lock);

	while (!idle && time_before(jiffies, until)) {
		/* without RTNL the queues may come and go between two looks */
		mutex_lock(&ipd->link.lock);
		idle = ipd->ud.state != IPOIB_UD_STOPPING ||
		       ipoib_ud_is_idle(ipd);
		mutex_unlock(&ipd->link.lock);
		if (!idle)
			usleep_range(USEC_PER_MSEC, 2 * USEC_PER_MSEC);
	}
}

/* ---- resizing ---- */

/* RTNL. The NAPIs are on from open to stop, in error as well as in order. */
static bool ipoib_ud_napis_run(const struct ipoib_dev *ipd)
{
	ASSERT_RTNL();

	return READ_ONCE(ipd->ud.state) != IPOIB_UD_CLOSED;
}

/* The queue is halted; what is under way in it comes to its end. */
static int ipoib_txq_settle(struct ipoib_txq *txq)
{
	u32 tail;

	return read_poll_timeout(READ_ONCE, tail, tail == txq->head, 100,
				 IPOIB_RESIZE_MS * USEC_PER_MSEC, false,
				 txq->tail);
}

/*
 * RTNL. Afterwards nothing is in the ring, nobody sends by it, and its NAPI is
 * off; or -EBUSY, and all goes on. No packet is lost.
 */
static int ipoib_txq_freeze(struct ipoib_txq *txq)
{
	ipoib_txq_halt(txq, IPOIB_HALT_CHANGE);
	if (ipoib_txq_settle(txq)) {
		ipoib_txq_resume(txq, IPOIB_HALT_CHANGE);
		return -EBUSY;
	}

	ipoib_txq_disable(txq);
	return 0;
}

static void ipoib_txq_thaw(struct ipoib_txq *txq)
{
	ipoib_txq_enable(txq);
	ipoib_txq_resume(txq, IPOIB_HALT_CHANGE);
}

static int ipoib_ud_freeze(struct ipoib_ud *ud)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ud->num_txq; i++) {
		err = ipoib_txq_freeze(ud->txq[i]);
		if (err)
			break;
	}
	while (err && i--)
		ipoib_txq_thaw(ud->txq[i]);

	return err;
}

/* RTNL. All rings have the new size, or none has. */
static int ipoib_ud_swap_rings(struct ipoib_dev *ipd, u32 size)
{
	struct ipoib_tx_slot *slots[IPOIB_MAX_TXQ] = {};
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ud->num_txq; i++) {
		slots[i] = ipoib_txq_alloc_slots(ud->txq[i], size);
		if (!slots[i])
			err = -ENOMEM;
	}
	if (!err)
		err = ipoib_ud_freeze(ud);
	for (i = 0; !err && i < ud->num_txq; i++) {
		swap(ud->txq[i]->slots, slots[i]);
		ud->txq[i]->size = size;
		ipoib_txq_thaw(ud->txq[i]);
	}
	for (i = 0; i < ud->num_txq; i++)
		kvfree(slots[i]);

	return err;
}

static int ipoib_ud_resize_tx(struct ipoib_dev *ipd, u32 size)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	if (ipoib_ud_napis_run(ipd))
		return ipoib_ud_swap_rings(ipd, size);

	for (i = 0; i < ud->num_txq; i++) {
		/* the HCA did not give it back when it was stopped */
		if (ud->txq[i]->slots)
			return -EBUSY;
		ud->txq[i]->size = size;
	}

	return 0;
}

/**
 * ipoib_ud_rings_most() - how many entries the rings may grow to
 * @ipd: interface
 * @rx: gets those of the receive ring
 * @tx: gets those of each transmit ring
 *
 * What queue pairs were made for; before there are any, what is asked for.
 *
 * Context: RTNL.
 */
void ipoib_ud_rings_most(const struct ipoib_dev *ipd, u32 *rx, u32 *tx)
{
	const struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	*rx = ud->num_txq ? ud->rxq.depth :
			    ipoib_ring_depth(ipd->ibdev, ipoib_recv_queue_size);
	*tx = ipoib_ring_depth(ipd->ibdev, ipoib_send_queue_size);
	for (i = 0; i < ud->num_txq; i++)
		*tx = min(*tx, ud->txq[i]->depth);
}

/**
 * ipoib_ud_set_rings() - set how many packets the rings hold
 * @ipd: interface
 * @rx_size: receive buffers that are posted
 * @tx_size: entries of each transmit ring, a power of two
 *
 * Neither the queue pairs nor the link address change, and nothing is lost.
 *
 * Context: RTNL.
 *
 * Return: 0; -ERANGE for more than the queue pairs were made for; -EBUSY when a
 * ring does not run empty; -ENOMEM.
 */
int ipoib_ud_set_rings(struct ipoib_dev *ipd, u32 rx_size, u32 tx_size)
{
	struct ipoib_ud *ud = &ipd->ud;
	u32 rx_most, tx_most;
	int err;

	ASSERT_RTNL();

	ipoib_ud_rings_most(ipd, &rx_most, &tx_most);
	if (rx_size > rx_most || tx_size > tx_most)
		return -ERANGE;

	if (tx_size != ud->tx_size) {
		err = ipoib_ud_resize_tx(ipd, tx_size);
		if (err)
			return err;
	}

	ud->tx_size = tx_size;
	WRITE_ONCE(ud->rxq.size, rx_size);
	if (ipoib_ud_is_open(ipd))
		ipoib_napi_kick(&ud->rxq.napi);
	return 0;
}

/*
 * RTNL. A queue that is added runs at once when the others do; when they are
 * being stopped it starts with them.
 */
static int ipoib_ud_grow(struct ipoib_dev *ipd)
{
	struct ipoib_txq *txq;
	int err;

	txq = ipoib_txq_create(ipd, ipd->ud.num_txq);
	if (IS_ERR(txq))
		return PTR_ERR(txq);

	/* in one go: what changes for all queues must not miss it */
	mutex_lock(&ipd->link.lock);
	err = ipoib_txq_catch_up(txq);
	if (!err)
		ipoib_ud_add_txq(ipd, txq);
	mutex_unlock(&ipd->link.lock);
	if (err) {
		ipoib_txq_discard(txq);
		return err;
	}

	if (ipoib_ud_napis_run(ipd))
		ipoib_txq_enable(txq);
	return 0;
}

/* RTNL. The stack uses the last queue no more. */
static int ipoib_ud_shrink(struct ipoib_dev *ipd)
{
	struct ipoib_txq *txq = ipd->ud.txq[ipd->ud.num_txq - 1];
	unsigned int index = txq->index;
	int err;

	if (ipoib_ud_napis_run(ipd)) {
		err = ipoib_txq_freeze(txq);
		if (err)
			return err;
	}

	ipoib_ud_remove_txq(ipd);
	/* the watchdog looks at all that ever were, and takes it for stuck */
	netif_tx_start_queue(netdev_get_tx_queue(ipd->netdev, index));
	return 0;
}

/* RTNL. Those beyond what the stack uses; what is busy is used again. */
static int ipoib_ud_trim(struct ipoib_dev *ipd)
{
	struct net_device *dev = ipd->netdev;
	int err = 0;

	while (!err && ipd->ud.num_txq > dev->real_num_tx_queues)
		err = ipoib_ud_shrink(ipd);
	if (err)
		netif_set_real_num_tx_queues(dev, ipd->ud.num_txq);

	return err;
}

/*
 * RTNL. Does nothing wait before the queues from @count on any more? A qdisc of
 * all queues is not waited for: under traffic it is never empty.
 */
static bool ipoib_ud_is_led_away(struct net_device *dev, unsigned int count)
{
	struct netdev_queue *first = netdev_get_tx_queue(dev, 0);
	struct netdev_queue *queue;
	unsigned int i;

	for (i = count; i < dev->real_num_tx_queues; i++) {
		queue = netdev_get_tx_queue(dev, i);
		if (rcu_access_pointer(queue->qdisc_sleeping) !=
		    rcu_access_pointer(first->qdisc_sleeping) &&
		    qdisc_qlen_sum(rtnl_dereference(queue->qdisc_sleeping)))
			return false;
	}

	return true;
}

/*
 * RTNL. The stack drops what waits before a queue that is taken from it, so
 * nothing is sent there any more when that happens. Where all queues share a
 * qdisc it drops all that waits, as with any driver.
 */
static int ipoib_ud_set_real(struct ipoib_dev *ipd, unsigned int count)
{
	struct net_device *dev = ipd->netdev;
	bool empty;
	int err;

	if (count < dev->real_num_tx_queues && netif_running(dev)) {
		WRITE_ONCE(ipd->ud.led_to, count);
		synchronize_net();
		read_poll_timeout(ipoib_ud_is_led_away, empty, empty, 100,
				  IPOIB_RESIZE_MS * USEC_PER_MSEC, false, dev,
				  count);
	}
	err = netif_set_real_num_tx_queues(dev, count);
	WRITE_ONCE(ipd->ud.led_to, 0);

	return err;
}

/**
 * ipoib_ud_set_queues() - set how many transmit queues there are
 * @ipd: interface
 * @count: from 1 to what the netdev was made for
 *
 * The first queue, whose number is in the link address, stays as it is.
 *
 * Context: RTNL.
 *
 * Return: 0 or an errno; then as many queues as before, or some of the new.
 * -EBUSY when one that is to go still has packets under way.
 * -EINVAL for more than there is room for.
 */
int ipoib_ud_set_queues(struct ipoib_dev *ipd, unsigned int count)
{
	struct net_device *dev = ipd->netdev;
	int err = 0;

	ASSERT_RTNL();

	if (count > IPOIB_MAX_TXQ)
		return -EINVAL;
	/* those of a child that is down are made when it is opened */
	if (!ipd->ud.num_txq || (ipd->parent && !ipoib_ud_napis_run(ipd)))
		return netif_set_real_num_tx_queues(dev, count);

	while (!err && ipd->ud.num_txq < count)
		err = ipoib_ud_grow(ipd);
	if (!err)
		err = ipoib_ud_set_real(ipd, count);
	err = ipoib_ud_trim(ipd) ?: err;

	mutex_lock(&ipd->link.lock);
	ipoib_ud_observe(ipd);
	mutex_unlock(&ipd->link.lock);
	ipoib_ud_spread(ipd);
	/* the receive side knows its own packets by these numbers */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return err;
}

/**
 * ipoib_ud_set_moderation() - set when the HCA interrupts for what it received
 * @ipd: interface
 * @usecs: after the first packet, at the latest
 * @frames: or when so many are there
 *
 * Context: RTNL.
 *
 * Return: 0, also where the HCA cannot; or its errno, and nothing changed.
 */
int ipoib_ud_set_moderation(struct ipoib_dev *ipd, u16 usecs, u16 frames)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;
	int err = 0;

	ASSERT_RTNL();

	if (ipd->ud.num_txq)
		err = rdma_set_cq_moderation(rxq->cq, frames, usecs);
	if (err && err != -EOPNOTSUPP)
		return err;

	rxq->usecs = usecs;
	rxq->frames = frames;
	return 0;
}

/* ---- set-up ---- */

/**
 * ipoib_ud_default_queues() - how many transmit queues an HCA is worth
 * @ibdev: HCA
 *
 * Return: at least 1: no more than cores, completion vectors, or what helps.
 */
unsigned int ipoib_ud_default_queues(const struct ib_device *ibdev)
{
	unsigned int vectors = max(ibdev->num_comp_vectors, 1);

	return min3(num_online_cpus(), vectors, (unsigned int)IPOIB_MAX_TXQ);
}

/**
 * ipoib_ud_setup() - plug our transport in below a netdev
 * @dev: netdev whose lower table is ipoib_ud_netdev_ops
 * @ibdev: HCA
 * @port: from 1
 */
void ipoib_ud_setup(struct net_device *dev, struct ib_device *ibdev, u32 port)
{
	struct rdma_netdev *rn = netdev_priv(dev);

	rn->hca = ibdev;
	rn->port_num = port;
	rn->send = ipoib_ud_send;
	rn->set_id = ipoib_ud_set_id;
	rn->attach_mcast = ipoib_ud_attach;
	rn->detach_mcast = ipoib_ud_detach;
}

/**
 * ipoib_ud_init_early() - make what lives as long as the interface
 * @ipd: interface
 */
void ipoib_ud_init_early(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	for (i = 0; i < IPOIB_MAX_TXQ; i++) {
		ud->origin[i] = IPOIB_RING_ORIGIN;
		ud->handled_on[i] = -1;
	}
	/* so that ports and children do not all receive on one processor */
	ud->vector = (u32)atomic_fetch_inc(&ipd->hca->interfaces) %
		     max(ipd->ibdev->num_comp_vectors, 1);
	ud->tx_size = ipoib_ring_fit(ipd->ibdev, ipoib_send_queue_size);
	ud->rxq.ipd = ipd;
	ud->rxq.size = ipoib_ring_fit(ipd->ibdev, ipoib_recv_queue_size);
	ud->rxq.napi_grace = get_completed_synchronize_rcu();
	u64_stats_init(&ud->rxq.syncp);
	INIT_DELAYED_WORK(&ud->rxq.refill_work, ipoib_rx_refill_work);
	INIT_DELAYED_WORK(&ud->repost_work, ipoib_tx_repost_work);
	skb_queue_head_init(&ud->too_big);
	INIT_WORK(&ud->too_big_work, ipoib_too_big_work);
}

/**
 * ipoib_ud_know_self() - tell the receive side which packets are our own
 * @ipd: interface
 * @lid: LID of the port
 */
void ipoib_ud_know_self(struct ipoib_dev *ipd, u32 lid)
{
	struct ipoib_rx_self *self = &ipd->ud.rxq.self;

	lockdep_assert_held(&ipd->link.lock);

	WRITE_ONCE(self->lid, lid);
	self->gid = ipd->link.gid;
	self->broadcast = ipd->link.broadcast;
	self->qpns = ipd->ud.qpns;
	self->num_qpns = ipd->ud.num_txq;
}

/* ---- statistics ---- */

/**
 * ipoib_ud_report() - what the transport looks like, for a report of trouble
 * @ipd: interface
 */
void ipoib_ud_report(struct ipoib_dev *ipd)
{
	struct ipoib_txq *txq;
	unsigned int i;

	lockdep_assert_held(&ipd->link.lock);

	for (i = 0; i < ipd->ud.num_txq; i++) {
		txq = ipd->ud.txq[i];
		if (!test_bit(i, &ipd->ud.ailing))
			continue;
		ipoib_warn(ipd, "queue %u: sent %u, completed %u of %u, QP %u in %s\n",
			   i, READ_ONCE(txq->head), READ_ONCE(txq->tail),
			   txq->size, txq->qp->qp_num,
			   ipoib_qp_state_name(txq->qp));
	}
}

/**
 * ipoib_txq_stats() - read a transmit queue's counters
 * @txq: queue
 * @totals: where to
 */
void ipoib_txq_stats(const struct ipoib_txq *txq,
		     struct ipoib_txq_totals *totals)
{
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&txq->done.syncp);
		totals->packets = u64_stats_read(&txq->done.packets);
		totals->bytes = u64_stats_read(&txq->done.bytes);
		totals->wakes = u64_stats_read(&txq->done.wakes);
	} while (u64_stats_fetch_retry(&txq->done.syncp, start));

	do {
		start = u64_stats_fetch_begin(&txq->made.syncp);
		totals->stops = u64_stats_read(&txq->made.stops);
		totals->csum = u64_stats_read(&txq->made.csum);
		totals->lso = u64_stats_read(&txq->made.lso);
		totals->lso_packets = u64_stats_read(&txq->made.lso_packets);
	} while (u64_stats_fetch_retry(&txq->made.syncp, start));
}

static void ipoib_totals_add(struct ipoib_txq_totals *sum,
			     const struct ipoib_txq_totals *one)
{
	sum->packets += one->packets;
	sum->bytes += one->bytes;
	sum->stops += one->stops;
	sum->wakes += one->wakes;
	sum->csum += one->csum;
	sum->lso += one->lso;
	sum->lso_packets += one->lso_packets;
}

/* True when the queue is there, and its counters are its own. */
static bool ipoib_ud_txq_totals(const struct ipoib_ud *ud, unsigned int index,
				struct ipoib_txq_totals *totals)
{
	const struct ipoib_txq *txq;

	rcu_read_lock();
	/* pairs with the release in ipoib_ud_remove_txq() */
	txq = smp_load_acquire(&ud->txq[index]);
	if (txq)
		ipoib_txq_stats(txq, totals);
	else
		*totals = ud->left[index];
	rcu_read_unlock();

	return txq;
}

/**
 * ipoib_ud_gone_stats() - what transmit queues counted that are no more
 * @ipd: interface
 * @totals: where to
 */
void ipoib_ud_gone_stats(const struct ipoib_dev *ipd,
			 struct ipoib_txq_totals *totals)
{
	struct ipoib_txq_totals one;
	unsigned int i;

	memset(totals, 0, sizeof(*totals));
	for (i = 0; i < IPOIB_MAX_TXQ; i++)
		if (!ipoib_ud_txq_totals(&ipd->ud, i, &one))
			ipoib_totals_add(totals, &one);
}

/**
 * ipoib_rxq_stats() - read the receive queue's counters
 * @rxq: queue
 * @totals: where to
 */
void ipoib_rxq_stats(const struct ipoib_rxq *rxq,
		     struct ipoib_rxq_totals *totals)
{
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&rxq->syncp);
		totals->packets = u64_stats_read(&rxq->packets);
		totals->bytes = u64_stats_read(&rxq->bytes);
		totals->multicast = u64_stats_read(&rxq->multicast);
		totals->csum = u64_stats_read(&rxq->csum);
	} while (u64_stats_fetch_retry(&rxq->syncp, start));
	totals->short_of = READ_ONCE(rxq->short_of);
}

/**
 * ipoib_ud_stats() - read an interface's counters
 * @ipd: interface
 * @stats: what a lower driver counts; what this one does is added
 *
 * Context: any.
 */
void ipoib_ud_stats(struct ipoib_dev *ipd, struct rtnl_link_stats64 *stats)
{
	struct ipoib_txq_totals totals;
	struct ipoib_rxq_totals rx;
	unsigned int i;

	ipoib_rxq_stats(&ipd->ud.rxq, &rx);
	stats->rx_packets += rx.packets;
	stats->rx_bytes += rx.bytes;
	stats->multicast += rx.multicast;
	for (i = 0; i < IPOIB_MAX_TXQ; i++) {
		ipoib_ud_txq_totals(&ipd->ud, i, &totals);
		stats->tx_packets += totals.packets;
		stats->tx_bytes += totals.bytes;
	}
	ipoib_drop_stats(ipd, stats);
}

#ifndef IPOIB_LACKS_STAT_OPS
static void ipoib_get_queue_stats_rx(struct net_device *dev, int index,
				     struct netdev_queue_stats_rx *stats)
{
	struct ipoib_rxq_totals totals;

	ipoib_rxq_stats(&ipoib_from_netdev(dev)->ud.rxq, &totals);
	stats->packets = totals.packets;
	stats->bytes = totals.bytes;
	stats->csum_unnecessary = totals.csum;
	stats->alloc_fail = totals.short_of;
}

static void ipoib_put_queue_stats_tx(const struct ipoib_txq_totals *totals,
				     struct netdev_queue_stats_tx *stats)
{
	stats->packets = totals->packets;
	stats->bytes = totals->bytes;
	stats->needs_csum = totals->csum;
	stats->hw_gso_packets = totals->lso;
	stats->hw_gso_wire_packets = totals->lso_packets;
	stats->stop = totals->stops;
	stats->wake = totals->wakes;
}

static void ipoib_get_queue_stats_tx(struct net_device *dev, int index,
				     struct netdev_queue_stats_tx *stats)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_txq_totals totals;

	/* of those that are gone the base tells */
	if (!ipoib_ud_txq_totals(&ipd->ud, index, &totals))
		memset(&totals, 0, sizeof(totals));
	ipoib_put_queue_stats_tx(&totals, stats);
}

/* What queues counted that are no more. */
static void ipoib_get_base_stats(struct net_device *dev,
				 struct netdev_queue_stats_rx *rx,
				 struct netdev_queue_stats_tx *tx)
{
	struct ipoib_txq_totals totals;

	rx->packets = 0;
	rx->bytes = 0;
	rx->alloc_fail = 0;
	rx->csum_unnecessary = 0;
	ipoib_ud_gone_stats(ipoib_from_netdev(dev), &totals);
	ipoib_put_queue_stats_tx(&totals, tx);
}

static const struct netdev_stat_ops ipoib_stat_ops = {
	.get_queue_stats_rx = ipoib_get_queue_stats_rx,
	.get_queue_stats_tx = ipoib_get_queue_stats_tx,
	.get_base_stats = ipoib_get_base_stats,
};
#endif

/**
 * ipoib_ud_offer_stats() - show each queue's counters over netdev-genl
 * @dev: interface of our own transport
 */
void ipoib_ud_offer_stats(struct net_device *dev)
{
#ifndef IPOIB_LACKS_STAT_OPS
	if (ipoib_rn(ipoib_from_netdev(dev))->send == ipoib_ud_send)
		dev->stat_ops = &ipoib_stat_ops;
#endif
}
