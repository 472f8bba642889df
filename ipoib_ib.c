// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Where does this datagram go, and where did it come from?
 *
 * The way of a packet over unreliable datagrams: transmit, completion, receive.
 * Not here: which way leads to an address (ipoib_neigh.c), which groups are
 * joined (ipoib_multicast.c), who owns the queues and when they run
 * (ipoib_ud.c), how a verb is called (ipoib_verbs.c).
 *
 * Stages: faults, send, doorbell, too big, completion, transmit entry, receive
 * buffers, receive.
 */
#include <linux/icmpv6.h>
#include <linux/ipv6.h>
#include <linux/rcupdate.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/tcp.h>

#include <net/gso.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* how long to wait for memory before a dry receive ring is filled again */
#define IPOIB_REFILL_MS		100

/* how long to wait until an HCA that had no memory for a send has some */
#define IPOIB_REPOST_MS		1

/* sends rejected in a row before the queue pair itself is taken for broken */
#define IPOIB_TX_REJECTS_MAX	16

/* packets whose senders are still to be told of the MTU */
#define IPOIB_TOO_BIG_MOST	64

/* ---- faults ---- */

/*
 * Report a queue whose HCA objects do not what they should, which may come back
 * right after recovery: one report a second then, or recovery would do nothing
 * but give up.
 */
static void ipoib_ud_fault(struct ipoib_dev *ipd, unsigned int index,
			   bool needs_reset)
{
	struct ipoib_txq *txq = ipd->ud.txq[index];

	if (time_before(jiffies, READ_ONCE(txq->fault_at) +
				 IPOIB_FAULT_INTERVAL))
		return;

	WRITE_ONCE(txq->fault_at, jiffies);
	if (needs_reset)
		set_bit(index, &ipd->ud.needs_reset);
	ipoib_ud_ails(ipd, index);
}

/* The NAPI is complete: have the completion queue bring it again. */
static void ipoib_napi_arm(struct ipoib_dev *ipd, struct napi_struct *napi,
			   struct ib_cq *cq, unsigned int index)
{
	int armed = ipoib_cq_arm(cq);

	if (armed > 0) {
		napi_schedule(napi);
	} else if (unlikely(armed < 0)) {
		ipoib_warn(ipd, "queue %u: failed to arm a completion queue: %pe\n",
			   index, ERR_PTR(armed));
		ipoib_ud_fault(ipd, index, false);
	}
}

/* ---- send ---- */

static void ipoib_tx_unmap(struct ib_device *ibdev, struct ipoib_tx_slot *slot)
{
	struct ib_sge *sge = slot->sge;
	unsigned int left = slot->mapped;

	if (left && slot->head_mapped) {
		ib_dma_unmap_single(ibdev, sge->addr, sge->length,
				    DMA_TO_DEVICE);
		sge++;
		left--;
	}
	for (; left; left--, sge++)
		ib_dma_unmap_page(ibdev, sge->addr, sge->length, DMA_TO_DEVICE);
	slot->mapped = 0;
}

static int ipoib_tx_map_head(struct ib_device *ibdev,
			     struct ipoib_tx_slot *slot)
{
	unsigned int len = skb_headlen(slot->skb) - slot->hlen;
	u64 addr;

	slot->mapped = 0;
	slot->head_mapped = len;
	if (!len)
		return 0;

	addr = ib_dma_map_single(ibdev, slot->skb->data + slot->hlen, len,
				 DMA_TO_DEVICE);
	if (unlikely(ib_dma_mapping_error(ibdev, addr)))
		return -EIO;

	slot->sge[0].addr = addr;
	slot->sge[0].length = len;
	slot->mapped = 1;
	return 0;
}

/* mapped grows with each piece, so unmapping always knows how far it got */
static int ipoib_tx_map(struct ib_device *ibdev, struct ipoib_tx_slot *slot)
{
	const struct skb_shared_info *shinfo = skb_shinfo(slot->skb);
	const skb_frag_t *frag;
	struct ib_sge *sge;
	unsigned int i;
	u64 addr;
	int err;

	err = ipoib_tx_map_head(ibdev, slot);
	if (err)
		return err;

	for (i = 0; i < shinfo->nr_frags; i++) {
		frag = &shinfo->frags[i];
		addr = ib_dma_map_page(ibdev, skb_frag_page(frag),
				       skb_frag_off(frag), skb_frag_size(frag),
				       DMA_TO_DEVICE);
		if (unlikely(ib_dma_mapping_error(ibdev, addr)))
			goto err_unmap;

		sge = &slot->sge[slot->mapped++];
		sge->addr = addr;
		sge->length = skb_frag_size(frag);
	}

	slot->wr.wr.num_sge = slot->mapped;
	return 0;

err_unmap:
	ipoib_tx_unmap(ibdev, slot);
	return -EIO;
}

/* The bytes go with the request itself: nothing to map, nothing to fetch. */
static bool ipoib_tx_fits_inline(const struct ipoib_txq *txq,
				 const struct ipoib_tx_slot *slot)
{
	const struct sk_buff *skb = slot->skb;

	return skb->len <= txq->max_inline && !slot->hlen &&
	       !skb_is_nonlinear(skb);
}

static void ipoib_tx_take_inline(struct ipoib_tx_slot *slot)
{
	slot->mapped = 0;
	slot->sge[0].addr = (uintptr_t)slot->skb->data;
	slot->sge[0].length = slot->skb->len;
	slot->wr.wr.num_sge = 1;
}

/* What a large send carries in each of its packets has to be in one piece. */
static int ipoib_tx_fit_headers(struct sk_buff *skb, u32 *hlen)
{
	*hlen = 0;
	if (!skb_is_gso(skb))
		return 0;

	*hlen = skb_tcp_all_headers(skb);
	return pskb_may_pull(skb, *hlen) ? 0 : -ENOMEM;
}

static int ipoib_tx_fit_pieces(const struct ipoib_txq *txq, struct sk_buff *skb,
			       u32 hlen)
{
	unsigned int pieces = skb_shinfo(skb)->nr_frags +
			      (skb_headlen(skb) > hlen);

	if (likely(pieces <= txq->max_sge))
		return 0;

	return skb_linearize(skb);
}

static void ipoib_tx_fill_wr(struct ipoib_txq *txq, struct ipoib_tx_slot *slot,
			     struct ib_ah *address, u32 qpn)
{
	const struct sk_buff *skb = slot->skb;
	struct ib_ud_wr *wr = &slot->wr;

	wr->wr.next = NULL;
	wr->wr.send_flags = 0;
	wr->wr.opcode = IB_WR_SEND;
	if (slot->hlen) {
		wr->wr.opcode = IB_WR_LSO;
		wr->header = skb->data;
		wr->hlen = slot->hlen;
		wr->mss = skb_shinfo(skb)->gso_size;
	}
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		wr->wr.send_flags |= IB_SEND_IP_CSUM;
	wr->ah = address;
	wr->remote_qpn = qpn;
	wr->remote_qkey = READ_ONCE(txq->ipd->ud.qkey);
}

/* What the packet will have been on the wire, headers of all its parts too. */
static void ipoib_tx_weigh(struct ipoib_tx_slot *slot)
{
	const struct sk_buff *skb = slot->skb;

	slot->bytes = skb->len;
	slot->wire_packets = 1;
	if (slot->hlen)
		slot->wire_packets = ipoib_lso_packets(skb->len - slot->hlen,
						       slot->wr.mss);
	slot->wire_bytes = skb->len + (slot->wire_packets - 1) * slot->hlen;
}

static u32 ipoib_tx_unused(const struct ipoib_txq *txq)
{
	return ipoib_ring_unused(READ_ONCE(txq->head), READ_ONCE(txq->tail),
				 txq->size);
}

static void ipoib_tx_count(struct ipoib_txq *txq,
			   const struct ipoib_tx_slot *slot, bool stopped)
{
	struct ipoib_tx_made *made = &txq->made;

	if (likely(!stopped && !slot->hlen &&
		   slot->skb->ip_summed != CHECKSUM_PARTIAL))
		return;

	u64_stats_update_begin(&made->syncp);
	if (stopped)
		u64_stats_inc(&made->stops);
	if (slot->skb->ip_summed == CHECKSUM_PARTIAL)
		u64_stats_inc(&made->csum);
	if (slot->hlen) {
		u64_stats_inc(&made->lso);
		u64_stats_add(&made->lso_packets, slot->wire_packets);
	}
	u64_stats_update_end(&made->syncp);
}

/*
 * The ring and the byte limit know of a packet before the HCA does: its
 * completion may be handled on another processor before the posting returns.
 */
static void ipoib_tx_publish(struct ipoib_txq *txq, struct ipoib_tx_slot *slot)
{
	struct netdev_queue *queue;
	bool stopped;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	netdev_tx_sent_queue(queue, slot->bytes);
	WRITE_ONCE(txq->head, txq->head + 1);
	stopped = !netif_txq_maybe_stop(queue, ipoib_tx_unused(txq), 1,
					txq->size / 2);
	ipoib_tx_count(txq, slot, stopped);
	if (unlikely(stopped))
		trace_ipoib_queue(txq->ipd->netdev, txq->index, true);
}

static struct ipoib_tx_slot *ipoib_tx_slot(struct ipoib_txq *txq, u32 counter)
{
	return &txq->slots[ipoib_ring_slot(counter, txq->size)];
}

/*
 * A chain that is still to be rung may outlast this call. Inside a long one
 * some are signalled too, as an unsignalled request completes with a later one
 * only.
 */
static void ipoib_tx_link(struct ipoib_txq *txq, struct ipoib_tx_slot *slot)
{
	if (txq->head != txq->posted)
		ipoib_tx_slot(txq, txq->head - 1)->wr.wr.next = &slot->wr.wr;
	if (!((txq->head + 1) & (IPOIB_SIGNAL_EVERY - 1)))
		slot->wr.wr.send_flags |= IB_SEND_SIGNALED;
}

static void ipoib_tx_enqueue(struct ipoib_txq *txq, struct sk_buff *skb,
			     struct ib_ah *address, u32 qpn, u32 hlen)
{
	struct ipoib_tx_slot *slot = ipoib_tx_slot(txq, txq->head);
	bool inlined;

	slot->skb = skb;
	slot->hlen = hlen;
	inlined = ipoib_tx_fits_inline(txq, slot);
	if (inlined) {
		ipoib_tx_take_inline(slot);
	} else if (unlikely(ipoib_tx_map(txq->ipd->ibdev, slot))) {
		slot->skb = NULL;
		ipoib_drop(txq->ipd, skb, IPOIB_DROP_TX_MAP);
		return;
	}

	ipoib_tx_fill_wr(txq, slot, address, qpn);
	if (inlined)
		slot->wr.wr.send_flags |= IB_SEND_INLINE;
	ipoib_tx_weigh(slot);
	ipoib_tx_link(txq, slot);
	skb_tx_timestamp(skb);
	ipoib_tx_publish(txq, slot);
}

/* ---- doorbell ---- */

/*
 * Only the NAPI takes slots out of the ring and bytes out of the limit, so it
 * is asked to pass over this one. The packet itself can go at once.
 */
static void ipoib_tx_refused(struct ipoib_txq *txq, struct ipoib_tx_slot *slot)
{
	struct sk_buff *skb = slot->skb;

	ipoib_tx_unmap(txq->ipd->ibdev, slot);
	slot->skb = NULL;
	/* pairs with the acquire in ipoib_tx_is_refused() */
	smp_store_release(&slot->refused, true);
	ipoib_drop(txq->ipd, skb, IPOIB_DROP_TX_POST);
	if (++txq->rejects >= IPOIB_TX_REJECTS_MAX)
		ipoib_ud_fault(txq->ipd, txq->index, true);
}

/* Nothing may complete that brings the NAPI, so a timer does. */
static void ipoib_tx_repost_later(struct ipoib_txq *txq)
{
	WRITE_ONCE(txq->repost, true);
	queue_delayed_work(txq->ipd->wq, &txq->ipd->ud.repost_work,
			   msecs_to_jiffies(IPOIB_REPOST_MS));
}

/*
 * The HCA rejected @bad of a chain with @err. That packet is dropped, and those
 * behind it are posted. An HCA that is out of memory gets @bad again later.
 *
 * When the last request that the HCA took is unsignalled and nothing follows
 * it, no completion reports it: recovery does.
 */
static void ipoib_tx_post_rest(struct ipoib_txq *txq, int err,
			       const struct ib_send_wr *bad)
{
	struct ipoib_tx_slot *slot;
	bool silent = false;

	while (err && txq->posted != txq->head) {
		slot = ipoib_tx_slot(txq, txq->posted);
		if (&slot->wr.wr != bad) {
			txq->posted++;
			txq->rejects = 0;
			silent = !(slot->wr.wr.send_flags & IB_SEND_SIGNALED);
			if (!silent)
				WRITE_ONCE(txq->signalled, txq->posted);
			continue;
		}
		if (err == -ENOMEM) {
			ipoib_tx_repost_later(txq);
			return;
		}

		ipoib_tx_refused(txq, slot);
		if (++txq->posted == txq->head)
			break;
		slot = ipoib_tx_slot(txq, txq->posted);
		bad = &slot->wr.wr;
		err = ib_post_send(txq->qp, bad, &bad);
	}

	if (!err) {
		txq->posted = txq->head;
		txq->rejects = 0;
		WRITE_ONCE(txq->signalled, txq->head);
	} else if (silent) {
		ipoib_ud_ails(txq->ipd, txq->index);
	}
	napi_schedule(&txq->napi);
}

/**
 * ipoib_tx_ring() - hand the HCA what is linked and not yet posted
 * @txq: queue
 *
 * The last of each doorbell is signalled, so its completion is never later than
 * the HCA's own time.
 *
 * Context: netdev tx queue lock of that queue.
 */
void ipoib_tx_ring(struct ipoib_txq *txq)
{
	const struct ib_send_wr *bad = NULL;
	struct ipoib_tx_slot *first;
	int err;

	if (txq->posted == txq->head)
		return;

	first = ipoib_tx_slot(txq, txq->posted);
	ipoib_tx_slot(txq, txq->head - 1)->wr.wr.send_flags |= IB_SEND_SIGNALED;
	err = ib_post_send(txq->qp, &first->wr.wr, &bad);
	if (unlikely(err)) {
		ipoib_tx_post_rest(txq, err, bad ?: &first->wr.wr);
		return;
	}

	txq->posted = txq->head;
	txq->rejects = 0;
	WRITE_ONCE(txq->signalled, txq->head);
}

/* The NAPI; never netpoll's, which may run with the queue lock held. */
static void ipoib_tx_repost(struct ipoib_txq *txq)
{
	struct netdev_queue *queue;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	__netif_tx_lock(queue, smp_processor_id());
	WRITE_ONCE(txq->repost, false);
	/* halted for recovery: what is linked is freed with the ring */
	if (ipoib_ud_is_open(txq->ipd) &&
	    !test_bit(IPOIB_HALT_HEAL, &txq->halted))
		ipoib_tx_ring(txq);
	__netif_tx_unlock(queue);
}

/**
 * ipoib_tx_repost_work() - post again what an HCA had no memory for
 * @work: ud.repost_work of an interface; on its queue, cancelled by stop
 */
void ipoib_tx_repost_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     ud.repost_work.work);
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	mutex_lock(&ipd->link.lock);
	for (i = 0; i < ud->num_txq; i++)
		if (READ_ONCE(ud->txq[i]->repost))
			ipoib_napi_kick(&ud->txq[i]->napi);
	mutex_unlock(&ipd->link.lock);
}

/* ---- too big ---- */

static void ipoib_too_big_tell(struct sk_buff *skb, u32 mtu_bytes)
{
	switch (skb->protocol) {
	case htons(ETH_P_IP):
		memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED,
			      htonl(mtu_bytes));
		break;
	case htons(ETH_P_IPV6):
		memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
		icmpv6_ndo_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu_bytes);
		break;
	default:
		break;
	}
}

/**
 * ipoib_too_big_work() - tell senders of the MTU their packets exceeded
 * @work: ud.too_big_work of an interface; on its queue, cancelled by
 *	ipoib_ud_exit()
 *
 * Not where they were dropped: the message may leave by the very queue that is
 * locked there.
 */
void ipoib_too_big_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     ud.too_big_work);
	struct sk_buff *skb;

	while ((skb = skb_dequeue(&ipd->ud.too_big))) {
		local_bh_disable();
		ipoib_too_big_tell(skb, READ_ONCE(ipoib_rn(ipd)->mtu));
		local_bh_enable();
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_TOO_BIG);
	}
}

static void ipoib_too_big(struct ipoib_dev *ipd, struct sk_buff *skb)
{
	u32 mtu_bytes = READ_ONCE(ipoib_rn(ipd)->mtu);

	/* what is sent from here learns it at once */
	skb_dst_update_pmtu_no_confirm(skb, mtu_bytes);
	if (skb_queue_len_lockless(&ipd->ud.too_big) >= IPOIB_TOO_BIG_MOST) {
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_TOO_BIG);
		return;
	}

	skb_pull(skb, sizeof(struct ipoib_encap));
	skb->dev = ipd->netdev;
	skb_queue_tail(&ipd->ud.too_big, skb);
	queue_work(ipd->wq, &ipd->ud.too_big_work);
}

static bool ipoib_tx_is_too_big(const struct ipoib_dev *ipd,
				const struct sk_buff *skb)
{
	u32 most = READ_ONCE(ipoib_rn(ipd)->mtu);

	if (unlikely(skb_is_gso(skb)))
		return !skb_gso_validate_network_len(skb, most);

	return skb->len > most + sizeof(struct ipoib_encap);
}

/**
 * ipoib_ud_send() - the send hook of our own transport
 * @dev: interface
 * @skb: packet, from its encapsulation header on; gone afterwards
 * @address: where to
 * @qpn: queue pair there
 *
 * Context: netdev tx queue lock of the packet's queue. What is linked here is
 * rung by ipoib_start_xmit().
 *
 * Return: 0; what goes wrong is counted, not reported.
 */
int ipoib_ud_send(struct net_device *dev, struct sk_buff *skb,
		  struct ib_ah *address, u32 qpn)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_txq *txq = ipd->ud.txq[skb_get_queue_mapping(skb)];
	u32 hlen;

	if (unlikely(ipoib_tx_is_too_big(ipd, skb)))
		ipoib_too_big(ipd, skb);
	else if (unlikely(!ipoib_tx_unused(txq)))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_RING_FULL);
	else if (unlikely(ipoib_tx_fit_headers(skb, &hlen) ||
			  ipoib_tx_fit_pieces(txq, skb, hlen)))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_LINEARIZE);
	else
		ipoib_tx_enqueue(txq, skb, address, qpn, hlen);

	return 0;
}

/* What goes wrong from here on is counted, not reported. */
static void ipoib_send_rcu(struct ipoib_dev *ipd, struct sk_buff *skb,
			   const struct ipoib_ah *ah, u32 qpn)
{
	skb_pull(skb, sizeof(struct ipoib_hwaddr));
	ipoib_rn(ipd)->send(ipd->netdev, skb, ah->ah, qpn);
}

/* ---- completion ---- */

struct ipoib_tx_done {
	unsigned int packets;
	unsigned int wire_packets;
	unsigned int bytes;
	u64 wire_bytes;
};

static bool ipoib_tx_is_refused(struct ipoib_txq *txq)
{
	if (txq->tail == READ_ONCE(txq->head))
		return false;

	/* pairs with the release in ipoib_tx_refused() */
	return smp_load_acquire(&ipoib_tx_slot(txq, txq->tail)->refused);
}

static void ipoib_tx_complete(struct ipoib_txq *txq, struct ipoib_tx_done *done,
			      enum ib_wc_status status, int budget)
{
	struct ipoib_tx_slot *slot = ipoib_tx_slot(txq, txq->tail);
	struct sk_buff *skb = slot->skb;

	done->packets++;
	done->bytes += slot->bytes;
	if (likely(skb && status == IB_WC_SUCCESS)) {
		done->wire_packets += slot->wire_packets;
		done->wire_bytes += slot->wire_bytes;
	}
	slot->refused = false;
	if (likely(skb))
		ipoib_tx_unmap(txq->ipd->ibdev, slot);
	slot->skb = NULL;
	/* the producer may fill the slot from here on */
	smp_store_release(&txq->tail, txq->tail + 1);
	if (unlikely(!skb))
		return;

	if (likely(status == IB_WC_SUCCESS)) {
		napi_consume_skb(skb, budget);
		return;
	}

	ipoib_drop(txq->ipd, skb, status == IB_WC_WR_FLUSH_ERR ?
				  IPOIB_DROP_TX_FLUSHED : IPOIB_DROP_TX_ERROR);
}

/* A queue pair that nobody stops and that flushes is in error as well. */
static void ipoib_tx_failed(struct ipoib_txq *txq, const struct ib_wc *wc)
{
	if (likely(wc->status == IB_WC_SUCCESS))
		return;
	if (wc->status == IB_WC_WR_FLUSH_ERR) {
		if (ipoib_ud_is_open(txq->ipd) && !READ_ONCE(txq->halted))
			ipoib_ud_ails(txq->ipd, txq->index);
		return;
	}

	ipoib_warn(txq->ipd, "queue %u: send failed: %s (vendor code %#x)\n",
		   txq->index, ib_wc_status_msg(wc->status), wc->vendor_err);
	ipoib_ud_ails(txq->ipd, txq->index);
}

/*
 * Send completions come in order: the one we see covers all slots up to its.
 * Those before it were not to be signalled, which says that they went well.
 */
static void ipoib_tx_complete_upto(struct ipoib_txq *txq,
				   struct ipoib_tx_done *done,
				   const struct ib_wc *wc, int budget)
{
	int slot = ipoib_wr_slot(wc->wr_id, IPOIB_WR_TX, txq->index, txq->size);
	u32 linked = READ_ONCE(txq->head);
	u32 count = 0;

	if (likely(slot >= 0))
		count = ipoib_ring_slot(slot - txq->tail, txq->size) + 1;
	if (unlikely(!count || count > ipoib_ring_used(linked, txq->tail))) {
		ipoib_warn(txq->ipd, "queue %u: completion %#llx was not ours\n",
			   txq->index, wc->wr_id);
		ipoib_ud_fault(txq->ipd, txq->index, true);
		return;
	}

	while (--count)
		ipoib_tx_complete(txq, done, IB_WC_SUCCESS, budget);
	ipoib_tx_complete(txq, done, wc->status, budget);
}

static bool ipoib_tx_must_rest(const struct ipoib_txq *txq)
{
	return !ipoib_ud_is_open(txq->ipd) || READ_ONCE(txq->halted);
}

static void ipoib_tx_account(struct ipoib_txq *txq,
			     const struct ipoib_tx_done *sent)
{
	struct ipoib_tx_done_stats *done = &txq->done;
	struct netdev_queue *queue;
	bool woken;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	woken = !__netif_txq_completed_wake(queue, sent->packets, sent->bytes,
					    ipoib_tx_unused(txq), txq->size / 2,
					    ipoib_tx_must_rest(txq));

	if (unlikely(woken))
		trace_ipoib_queue(txq->ipd->netdev, txq->index, false);
	u64_stats_update_begin(&done->syncp);
	u64_stats_add(&done->packets, sent->wire_packets);
	u64_stats_add(&done->bytes, sent->wire_bytes);
	if (woken)
		u64_stats_inc(&done->wakes);
	u64_stats_update_end(&done->syncp);
}

/**
 * ipoib_tx_clean() - take one batch off a send completion queue
 * @txq: queue
 * @budget: of the NAPI, 0 elsewhere
 *
 * Context: the queue's NAPI, or with that disabled.
 *
 * Return: how many completions there were.
 */
int ipoib_tx_clean(struct ipoib_txq *txq, int budget)
{
	struct ipoib_tx_done done = {};
	int num;
	int i;

	num = ib_poll_cq(txq->cq, ARRAY_SIZE(txq->wcs), txq->wcs);
	for (i = 0; i < num; i++) {
		ipoib_tx_complete_upto(txq, &done, &txq->wcs[i], budget);
		ipoib_tx_failed(txq, &txq->wcs[i]);
	}
	while (unlikely(ipoib_tx_is_refused(txq)))
		ipoib_tx_complete(txq, &done, IB_WC_SUCCESS, budget);

	if (done.packets)
		ipoib_tx_account(txq, &done);

	return max(num, 0);
}

/**
 * ipoib_tx_free_posted() - take back what the HCA does not own any more
 * @txq: queue whose queue pair is in RESET, or gone
 *
 * Context: the queue's NAPI, or with that disabled.
 */
void ipoib_tx_free_posted(struct ipoib_txq *txq)
{
	struct ipoib_tx_done done = {};

	while (txq->tail != READ_ONCE(txq->head))
		ipoib_tx_complete(txq, &done, IB_WC_WR_FLUSH_ERR, 0);
	if (done.packets)
		ipoib_tx_account(txq, &done);
}

/**
 * ipoib_tx_poll() - a transmit queue's NAPI
 * @napi: of the queue
 * @budget: 0 comes from netpoll: free what is done, but finish nothing
 *
 * Return: how much of the budget was used.
 */
int ipoib_tx_poll(struct napi_struct *napi, int budget)
{
	struct ipoib_txq *txq = container_of(napi, struct ipoib_txq, napi);
	int done = 0;
	bool purge;
	int num;

	/*
	 * Before the first poll: only then all completions of before the RESET
	 * are in the completion queue when it is polled. Pairs with the release
	 * in ipoib_heal_drained().
	 */
	purge = smp_load_acquire(&txq->purge);
	do {
		num = ipoib_tx_clean(txq, budget);
		done += num;
	} while (num == IPOIB_POLL_BATCH && done < budget);

	if (unlikely(budget && READ_ONCE(txq->repost)))
		ipoib_tx_repost(txq);
	if (num == IPOIB_POLL_BATCH)
		return budget;
	/* nothing of before the RESET is left in the completion queue */
	if (unlikely(purge)) {
		ipoib_tx_free_posted(txq);
		/* pairs with the acquire in ipoib_heal_purged() */
		smp_store_release(&txq->purge, false);
	}
	done = min(done, budget - 1);
	if (budget && napi_complete_done(napi, done))
		ipoib_napi_arm(txq->ipd, napi, txq->cq, txq->index);

	return max(done, 0);
}

/**
 * ipoib_tx_event() - a send completion queue has something
 * @cq: completion queue
 * @context: its transmit queue
 *
 * Context: any, hard interrupt included.
 */
void ipoib_tx_event(struct ib_cq *cq, void *context)
{
	struct ipoib_txq *txq = context;

	/* the only writer; senders are led to that processor */
	if (READ_ONCE(txq->cpu) != raw_smp_processor_id())
		WRITE_ONCE(txq->cpu, raw_smp_processor_id());
	napi_schedule(&txq->napi);
}

/* ---- transmit entry ---- */

static void ipoib_route_rcu(struct ipoib_dev *ipd, struct sk_buff *skb,
			    struct ipoib_hwaddr *ha)
{
	const struct ipoib_ah *ah;

	if (ipoib_hwaddr_is_mcast(ha)) {
		ipoib_hwaddr_set_qpn(ha, IPOIB_QPN_MULTICAST);
		ah = ipoib_mcast_resolve_rcu(ipd, skb, ha);
	} else {
		ah = ipoib_neigh_resolve_rcu(ipd, skb, ha);
	}
	if (likely(ah))
		ipoib_send_rcu(ipd, skb, ah, ipoib_hwaddr_qpn(ha));
}

/* Sends, parks or drops the packet. */
static void ipoib_xmit_one(struct ipoib_dev *ipd, struct sk_buff *skb)
{
	struct ipoib_hwaddr ha __aligned(4);
	struct ipoib_header *header;

	if (unlikely(!pskb_may_pull(skb, IPOIB_HARD_LEN))) {
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_SHORT);
		return;
	}

	header = ipoib_header_at(skb->data);
	if (unlikely(!ipoib_proto_sendable(header->encap.proto))) {
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_PROTO);
		return;
	}

	ha = header->ha;
	ipoib_dbg_data(ipd, "send %zu bytes, type %#x, to %20phC\n",
		       skb->len - sizeof(ha),
		       be16_to_cpu(header->encap.proto), &ha);
	rcu_read_lock();
	ipoib_route_rcu(ipd, skb, &ha);
	rcu_read_unlock();
}

/**
 * ipoib_start_xmit() - ndo_start_xmit
 * @skb: packet with its in-host header in front
 * @dev: interface
 *
 * A chain is rung when the stack has nothing more at hand, or the queue has
 * been stopped: whatever became of this packet, those before it must go.
 *
 * Return: NETDEV_TX_OK: sent, parked or dropped; or NETDEV_TX_BUSY, and the
 * stack keeps it, where a queue that is halted was woken all the same.
 */
netdev_tx_t ipoib_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	u16 index = skb_get_queue_mapping(skb);
	struct ipoib_txq *txq;

	txq = index < IPOIB_MAX_TXQ ? ipd->ud.txq[index] : NULL;
	if (unlikely(txq && READ_ONCE(txq->halted))) {
		netif_tx_stop_queue(netdev_get_tx_queue(dev, index));
		return NETDEV_TX_BUSY;
	}

	ipoib_xmit_one(ipd, skb);
	if (txq && (!netdev_xmit_more() ||
		    netif_xmit_stopped(netdev_get_tx_queue(dev, index))))
		ipoib_tx_ring(txq);

	return NETDEV_TX_OK;
}

/*
 * Some receivers take the source queue pair of these for the sender's address,
 * so they leave by the one that is in it.
 */
static bool ipoib_tx_needs_first_queue(const struct sk_buff *skb)
{
	const struct ipoib_header *header;

	if (skb_headlen(skb) < IPOIB_HARD_LEN)
		return true;

	header = ipoib_header_at(skb->data);
	if (ipoib_hwaddr_is_mcast(&header->ha))
		return true;

	return ipoib_skb_is_resolution(skb);
}

/**
 * ipoib_select_queue() - ndo_select_queue
 * @dev: interface
 * @skb: packet with its in-host header in front
 * @sb_dev: subordinate device, or NULL
 *
 * Return: index of a transmit queue.
 */
u16 ipoib_select_queue(struct net_device *dev, struct sk_buff *skb,
		       struct net_device *sb_dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	unsigned int led_to = READ_ONCE(ipd->ud.led_to);
	u16 index;

	if (dev->real_num_tx_queues == 1 || ipoib_tx_needs_first_queue(skb))
		return 0;

	index = netdev_pick_tx(dev, skb, sb_dev);
	if (unlikely(led_to))
		index %= led_to;

	return index;
}

/**
 * ipoib_features_check() - ndo_features_check
 * @skb: packet with its in-host header in front
 * @dev: interface
 * @features: what the interface would do for it
 *
 * HCAs keep the headers of a large send in the request itself, where there is
 * room for so many.
 *
 * Return: @features, less the segmentation where the headers are too long.
 */
netdev_features_t ipoib_features_check(struct sk_buff *skb,
				       struct net_device *dev,
				       netdev_features_t features)
{
	u32 hlen;

	if (!skb_is_gso(skb) || !skb_transport_header_was_set(skb))
		return features;

	hlen = skb_tcp_all_headers(skb) - sizeof(struct ipoib_hwaddr);
	if (hlen > IPOIB_LSO_HEADER_MOST)
		features &= ~NETIF_F_GSO_MASK;

	return features;
}

static int ipoib_header_create(struct sk_buff *skb, struct net_device *dev,
			       unsigned short type, const void *daddr,
			       const void *saddr, unsigned int len)
{
	struct ipoib_header *header;

	/* a packet socket may send without an address: there is no default */
	if (!daddr)
		return -EDESTADDRREQ;

	header = ipoib_header_at(skb_push(skb, sizeof(*header)));
	memcpy(&header->ha, daddr, sizeof(header->ha));
	ipoib_encap_fill(&header->encap, type);

	return sizeof(*header);
}

/*
 * No .parse: it is not told the size of its buffer, and netfilter's log and
 * queue have 8 bytes on their stack. Raw packet sockets see the sender in the
 * link-layer header.
 */
const struct header_ops ipoib_header_ops = {
	.create = ipoib_header_create,
};

/* ---- receive buffers ---- */

static u64 ipoib_rx_addr(const struct ipoib_rxq *rxq,
			 const struct ipoib_rx_piece *piece, u32 skip)
{
	/* without a DMA device the HCA reads kernel addresses */
	if (ib_uses_virt_dma(rxq->ipd->ibdev))
		return (uintptr_t)page_address(piece->page) + piece->offset +
		       skip;

	return page_pool_get_dma_addr(piece->page) + piece->offset + skip;
}

static int ipoib_rx_piece_get(struct ipoib_rx_store *store,
			      struct ipoib_rx_piece *piece)
{
	if (piece->page)
		return 0;
	if (store->num_spare) {
		*piece = store->spare[--store->num_spare];
		return 0;
	}

	piece->page = page_pool_dev_alloc_frag(store->pool, &piece->offset,
					       store->bytes);
	return piece->page ? 0 : -ENOMEM;
}

static void ipoib_rx_piece_put(struct ipoib_rx_store *store,
			       struct ipoib_rx_piece *piece)
{
	if (piece->page)
		page_pool_put_full_page(store->pool, piece->page, false);
	piece->page = NULL;
}

/* What a packet did not use is kept for the next slots to be filled. */
static void ipoib_rx_piece_save(struct ipoib_rx_store *store,
				struct ipoib_rx_piece *piece)
{
	if (!piece->page)
		return;

	if (store->num_spare == IPOIB_RX_SPARE) {
		ipoib_rx_piece_put(store, piece);
		return;
	}
	store->spare[store->num_spare++] = *piece;
	piece->page = NULL;
}

/* A slot that is filled in part only keeps that for the next attempt. */
static int ipoib_rx_fill_slot(struct ipoib_rxq *rxq, struct ipoib_rx_slot *slot)
{
	unsigned int i;
	int err;

	err = ipoib_rx_piece_get(&rxq->heads, &slot->head);
	for (i = 0; !err && i < rxq->layout.frags; i++)
		err = ipoib_rx_piece_get(&rxq->frags, &slot->frags[i]);

	return err;
}

static struct ipoib_rx_slot *ipoib_rx_slot(struct ipoib_rxq *rxq, u32 counter)
{
	return &rxq->slots[ipoib_ring_slot(counter, rxq->depth)];
}

static void ipoib_rx_fill_wr(struct ipoib_rxq *rxq, struct ipoib_rx_wr *wr,
			     u32 counter)
{
	const struct ipoib_rx_slot *slot = ipoib_rx_slot(rxq, counter);
	u32 left = rxq->buf_bytes - rxq->layout.head_bytes;
	unsigned int i;

	wr->wr.wr_id = ipoib_wr_id(IPOIB_WR_RX, 0,
				   ipoib_ring_slot(counter, rxq->depth));
	wr->wr.next = NULL;
	wr->wr.num_sge = 1 + rxq->layout.frags;
	wr->sge[0].addr = ipoib_rx_addr(rxq, &slot->head, IPOIB_RX_HEADROOM);
	wr->sge[0].length = rxq->layout.head_bytes;
	for (i = 0; i < rxq->layout.frags; i++) {
		wr->sge[i + 1].addr = ipoib_rx_addr(rxq, &slot->frags[i], 0);
		wr->sge[i + 1].length = min(left, rxq->layout.frag_bytes);
		left -= wr->sge[i + 1].length;
	}
}

/* Fills slots from the head on and chains their requests; not yet posted. */
static u32 ipoib_rx_link(struct ipoib_rxq *rxq, u32 count)
{
	struct ipoib_rx_wr *wrs = rxq->room->wrs;
	u32 linked;

	for (linked = 0; linked < count; linked++) {
		if (ipoib_rx_fill_slot(rxq, ipoib_rx_slot(rxq, rxq->head +
							       linked)))
			break;
		ipoib_rx_fill_wr(rxq, &wrs[linked], rxq->head + linked);
		if (linked)
			wrs[linked - 1].wr.next = &wrs[linked].wr;
	}

	return linked;
}

/*
 * What the HCA rejects stays in its slot for the next attempt. When it does not
 * own a single buffer and takes none, nothing can be received any more.
 */
static bool ipoib_rx_post(struct ipoib_rxq *rxq, u32 linked)
{
	struct ib_qp *qp = rxq->ipd->ud.txq[0]->qp;
	const struct ipoib_rx_wr *wrs = rxq->room->wrs;
	const struct ib_recv_wr *bad = NULL;
	u32 at;
	int err;

	err = ib_post_recv(qp, &wrs[0].wr, &bad);
	if (likely(!err)) {
		WRITE_ONCE(rxq->head, rxq->head + linked);
		return true;
	}

	ipoib_warn(rxq->ipd, "posting receives failed: %pe\n", ERR_PTR(err));
	for (at = 0; bad && at < linked && &wrs[at].wr != bad; at++)
		WRITE_ONCE(rxq->head, rxq->head + 1);
	if (rxq->head == rxq->tail && err != -ENOMEM)
		ipoib_ud_fault(rxq->ipd, 0, true);
	return false;
}

/**
 * ipoib_rx_refill() - post receive buffers up to the ring's fill level
 * @rxq: receive side
 *
 * When memory is short the ring stays partly empty; only when it is dry will
 * nothing come in to try again, and the clock has to.
 *
 * Context: the receive NAPI, or before that is enabled.
 */
void ipoib_rx_refill(struct ipoib_rxq *rxq)
{
	u32 size = READ_ONCE(rxq->size);
	u32 batch = min_t(u32, IPOIB_REFILL_BATCH, max(size / 2, 1U));
	u32 linked;

	if (rxq->flushed || READ_ONCE(rxq->fence) != IPOIB_RX_FENCE_OPEN ||
	    ipoib_ud_is_stopping(rxq->ipd))
		return;

	while (ipoib_ring_unused(rxq->head, rxq->tail, size) >= batch) {
		linked = ipoib_rx_link(rxq, batch);
		if (linked < batch)
			rxq->short_of++;
		if (!linked || !ipoib_rx_post(rxq, linked) || linked < batch)
			break;
	}

	if (unlikely(rxq->head == rxq->tail))
		queue_delayed_work(rxq->ipd->wq, &rxq->refill_work,
				   msecs_to_jiffies(IPOIB_REFILL_MS));
}

/**
 * ipoib_rx_refill_work() - try again to fill a ring that is dry
 * @work: rxq->refill_work; on the interface's queue, cancelled by stop
 */
void ipoib_rx_refill_work(struct work_struct *work)
{
	struct ipoib_rxq *rxq = container_of(work, struct ipoib_rxq,
					     refill_work.work);

	local_bh_disable();
	napi_schedule(&rxq->napi);
	local_bh_enable();
}

static void ipoib_rx_store_empty(struct ipoib_rx_store *store)
{
	while (store->num_spare)
		ipoib_rx_piece_put(store, &store->spare[--store->num_spare]);
}

/**
 * ipoib_rx_free() - let go of every receive buffer
 * @rxq: receive side; the HCA owns none of them any more
 */
void ipoib_rx_free(struct ipoib_rxq *rxq)
{
	unsigned int i;
	u32 n;

	for (n = 0; n < rxq->depth; n++) {
		ipoib_rx_piece_put(&rxq->heads, &rxq->slots[n].head);
		for (i = 0; i < rxq->layout.frags; i++)
			ipoib_rx_piece_put(&rxq->frags,
					   &rxq->slots[n].frags[i]);
	}
	ipoib_rx_store_empty(&rxq->heads);
	ipoib_rx_store_empty(&rxq->frags);
	rxq->tail = rxq->head;
}

/* ---- receive ---- */

static void *ipoib_rx_data(const struct ipoib_rx_slot *slot)
{
	return page_address(slot->head.page) + slot->head.offset +
	       IPOIB_RX_HEADROOM;
}

/*
 * What the stack sees in front of the datagram is the sender's address, as far
 * as the packet tells it: packet sockets show it, and GRO compares it. It
 * overwrites the end of the GRH.
 */
static void ipoib_rx_put_sender(struct sk_buff *skb, const struct ib_wc *wc,
				const struct ipoib_rx_facts *facts)
{
	struct ipoib_header *header;
	union ib_gid sgid;

	skb_pull(skb, sizeof(struct ib_grh) - sizeof(header->ha));
	header = ipoib_header_at(skb->data);
	if (facts->grh) {
		sgid = facts->grh->sgid;
		ipoib_hwaddr_fill(&header->ha, wc->src_qp, &sgid);
	} else {
		memset(&header->ha, 0, sizeof(header->ha));
	}
	skb->protocol = header->encap.proto;
	skb_reset_mac_header(skb);
	skb_pull(skb, sizeof(*header));
}

/* Small packets are copied whole: the large buffers stay where they are. */
static void ipoib_rx_copy(struct ipoib_rxq *rxq, struct sk_buff *skb,
			  const struct ipoib_rx_slot *slot, u32 len)
{
	const struct ipoib_rx_piece *frag = &slot->frags[0];
	struct ib_device *ibdev = rxq->ipd->ibdev;
	u64 addr = ipoib_rx_addr(rxq, frag, 0);

	ib_dma_sync_single_for_cpu(ibdev, addr, len, DMA_FROM_DEVICE);
	skb_put_data(skb, page_address(frag->page) + frag->offset, len);
	ib_dma_sync_single_for_device(ibdev, addr, len, DMA_FROM_DEVICE);
}

static void ipoib_rx_add_frags(struct ipoib_rxq *rxq, struct sk_buff *skb,
			       struct ipoib_rx_slot *slot, u32 left)
{
	struct ipoib_rx_piece *frag;
	unsigned int i;
	u32 len;

	for (i = 0; left && i < rxq->layout.frags; i++, left -= len) {
		frag = &slot->frags[i];
		len = min(left, rxq->layout.frag_bytes);
		ib_dma_sync_single_for_cpu(rxq->ipd->ibdev,
					   ipoib_rx_addr(rxq, frag, 0), len,
					   DMA_FROM_DEVICE);
		skb_add_rx_frag(skb, i, frag->page, frag->offset, len,
				rxq->layout.frag_bytes);
		frag->page = NULL;
	}
}

/* Buffers that end in the packet leave the slot. */
static struct sk_buff *ipoib_rx_build(struct ipoib_rxq *rxq,
				      struct ipoib_rx_slot *slot, u32 byte_len)
{
	u32 head = min(byte_len, rxq->layout.head_bytes);
	struct sk_buff *skb;

	skb = napi_build_skb(ipoib_rx_data(slot) - IPOIB_RX_HEADROOM,
			     rxq->heads.bytes);
	if (unlikely(!skb))
		return NULL;

	slot->head.page = NULL;
	skb_mark_for_recycle(skb);
	skb_reserve(skb, IPOIB_RX_HEADROOM);
	skb_put(skb, head);
	if (byte_len == head)
		return skb;

	if (byte_len <= IPOIB_RX_COPY)
		ipoib_rx_copy(rxq, skb, slot, byte_len - head);
	else
		ipoib_rx_add_frags(rxq, skb, slot, byte_len - head);

	return skb;
}

static void ipoib_rx_deliver(struct ipoib_rxq *rxq, struct sk_buff *skb,
			     const struct ib_wc *wc, u8 pkt_type)
{
	struct net_device *dev = rxq->ipd->netdev;

	skb->dev = dev;
	skb->pkt_type = pkt_type;
	if ((dev->features & NETIF_F_RXCSUM) &&
	    (wc->wc_flags & IB_WC_IP_CSUM_OK))
		skb->ip_summed = CHECKSUM_UNNECESSARY;

	u64_stats_update_begin(&rxq->syncp);
	u64_stats_inc(&rxq->packets);
	u64_stats_add(&rxq->bytes, skb->len + sizeof(struct ipoib_encap));
	if (pkt_type == PACKET_MULTICAST)
		u64_stats_inc(&rxq->multicast);
	if (skb->ip_summed == CHECKSUM_UNNECESSARY)
		u64_stats_inc(&rxq->csum);
	u64_stats_update_end(&rxq->syncp);

	napi_gro_receive(&rxq->napi, skb);
}

static bool ipoib_rx_is_bad(struct ipoib_rxq *rxq, enum ipoib_verdict verdict)
{
	switch (verdict) {
	case IPOIB_RX_RUNT:
		ipoib_drop_count(rxq->ipd, IPOIB_DROP_RX_RUNT);
		return true;
	case IPOIB_RX_BAD_PROTO:
		ipoib_drop_count(rxq->ipd, IPOIB_DROP_RX_PROTO);
		return true;
	case IPOIB_RX_OWN_ECHO:
		ipoib_drop_count(rxq->ipd, IPOIB_DROP_RX_ECHO);
		return true;
	default:
		return false;
	}
}

/* What is not delivered leaves its buffers in the slot, to be used again. */
static void ipoib_rx_packet(struct ipoib_rxq *rxq, struct ipoib_rx_slot *slot,
			    const struct ib_wc *wc)
{
	static const u8 pkt_types[] = {
		[IPOIB_RX_HOST] = PACKET_HOST,
		[IPOIB_RX_BROADCAST] = PACKET_BROADCAST,
		[IPOIB_RX_MULTICAST] = PACKET_MULTICAST,
	};
	void *data = ipoib_rx_data(slot);
	struct ipoib_rx_facts facts = {
		.byte_len = wc->byte_len,
		.slid = wc->slid,
		.src_qpn = wc->src_qp,
		.encap = ipoib_encap_at(data + sizeof(struct ib_grh)),
	};
	enum ipoib_verdict verdict;
	struct sk_buff *skb;

	ib_dma_sync_single_for_cpu(rxq->ipd->ibdev,
				   ipoib_rx_addr(rxq, &slot->head,
						 IPOIB_RX_HEADROOM),
				   rxq->layout.head_bytes, DMA_FROM_DEVICE);
	if (wc->wc_flags & IB_WC_GRH)
		facts.grh = ipoib_grh_at(data);

	verdict = ipoib_rx_judge(&facts, &rxq->self);
	ipoib_dbg_data(rxq->ipd, "received %u bytes from LID %u, QP %#x: %u\n",
		       wc->byte_len, wc->slid, wc->src_qp, verdict);
	if (unlikely(ipoib_rx_is_bad(rxq, verdict)))
		return;

	skb = ipoib_rx_build(rxq, slot, wc->byte_len);
	if (unlikely(!skb)) {
		ipoib_drop_count(rxq->ipd, IPOIB_DROP_RX_NO_MEM);
		return;
	}

	ipoib_rx_put_sender(skb, wc, &facts);
	ipoib_rx_deliver(rxq, skb, wc, pkt_types[verdict]);
}

/*
 * A queue pair that nobody is stopping is in error, and gives back at once
 * whatever is posted: posting goes on when it has been started anew.
 */
static void ipoib_rx_flushed(struct ipoib_rxq *rxq)
{
	if (rxq->flushed || ipoib_ud_is_stopping(rxq->ipd) ||
	    READ_ONCE(rxq->fence) != IPOIB_RX_FENCE_OPEN)
		return;

	rxq->flushed = true;
	ipoib_ud_ails(rxq->ipd, 0);
}

static void ipoib_rx_failed(struct ipoib_rxq *rxq, const struct ib_wc *wc)
{
	/* no packet was in it */
	if (wc->status == IB_WC_WR_FLUSH_ERR) {
		ipoib_rx_flushed(rxq);
		return;
	}

	ipoib_warn(rxq->ipd, "receive failed: %s (vendor code %#x)\n",
		   ib_wc_status_msg(wc->status), wc->vendor_err);
	ipoib_drop_count(rxq->ipd, IPOIB_DROP_RX_ERROR);
	ipoib_ud_ails(rxq->ipd, 0);
}

/* Receives complete in order; NULL when the tag says otherwise. */
static struct ipoib_rx_slot *ipoib_rx_take(struct ipoib_rxq *rxq,
					   const struct ib_wc *wc)
{
	int slot = ipoib_wr_slot(wc->wr_id, IPOIB_WR_RX, 0, rxq->depth);

	if (unlikely(slot < 0 || rxq->head == rxq->tail ||
		     slot != ipoib_ring_slot(rxq->tail, rxq->depth))) {
		ipoib_warn(rxq->ipd, "receive completion %#llx was not ours\n",
			   wc->wr_id);
		ipoib_ud_fault(rxq->ipd, 0, true);
		return NULL;
	}

	WRITE_ONCE(rxq->tail, rxq->tail + 1);
	return &rxq->slots[slot];
}

static void ipoib_rx_complete(struct ipoib_rxq *rxq, const struct ib_wc *wc,
			      bool up)
{
	struct ipoib_rx_slot *slot = ipoib_rx_take(rxq, wc);
	unsigned int i;

	if (unlikely(!slot))
		return;

	if (likely(up && wc->status == IB_WC_SUCCESS))
		ipoib_rx_packet(rxq, slot, wc);
	else if (up)
		ipoib_rx_failed(rxq, wc);
	ipoib_rx_piece_save(&rxq->heads, &slot->head);
	for (i = 0; i < rxq->layout.frags; i++)
		ipoib_rx_piece_save(&rxq->frags, &slot->frags[i]);
}

/**
 * ipoib_rx_clean() - take one batch off the receive completion queue
 * @rxq: receive side
 * @budget: completions at most
 * @up: packets go up; otherwise nothing does, as the stack has the device down
 *
 * Context: the receive NAPI, or with that disabled.
 *
 * Return: how many completions there were.
 */
int ipoib_rx_clean(struct ipoib_rxq *rxq, int budget, bool up)
{
	struct ib_wc *wcs = rxq->room->wcs;
	int num;
	int i;

	num = ib_poll_cq(rxq->cq, min(budget, IPOIB_POLL_BATCH), wcs);
	for (i = 0; i < num; i++)
		ipoib_rx_complete(rxq, &wcs[i], up);

	return max(num, 0);
}

/**
 * ipoib_rx_poll() - the receive NAPI
 * @napi: of the receive side
 * @budget: packets at most
 *
 * Return: how many there were.
 */
int ipoib_rx_poll(struct napi_struct *napi, int budget)
{
	struct ipoib_rxq *rxq = container_of(napi, struct ipoib_rxq, napi);
	enum ipoib_rx_fence fence;
	int done = 0;
	int num;

	/* before the first poll, as in ipoib_tx_poll() */
	fence = smp_load_acquire(&rxq->fence);
	if (unlikely(fence == IPOIB_RX_FENCE_HOLD))
		/* nothing is posted from here on; see ipoib_heal_drained() */
		smp_store_release(&rxq->fence, IPOIB_RX_FENCE_HELD);
	while (done < budget) {
		num = ipoib_rx_clean(rxq, budget - done, true);
		if (!num)
			break;
		done += num;
		ipoib_rx_refill(rxq);
	}

	/* nothing of before the RESET is left in the completion queue */
	if (unlikely(done < budget && fence == IPOIB_RX_FENCE_PURGE)) {
		/* in RESET: the buffers stay in their slots, to be posted */
		WRITE_ONCE(rxq->head, rxq->tail);
		rxq->flushed = false;
		/* pairs with the acquire in ipoib_heal_purged() */
		smp_store_release(&rxq->fence, IPOIB_RX_FENCE_PURGED);
	} else if (unlikely(rxq->head == rxq->tail)) {
		ipoib_rx_refill(rxq);
	}
	if (done < budget && napi_complete_done(napi, done))
		ipoib_napi_arm(rxq->ipd, napi, rxq->cq, 0);

	return done;
}

/**
 * ipoib_rx_event() - the receive completion queue has something
 * @cq: completion queue
 * @context: the receive side
 *
 * Context: any, hard interrupt included.
 */
void ipoib_rx_event(struct ib_cq *cq, void *context)
{
	struct ipoib_rxq *rxq = context;

	napi_schedule(&rxq->napi);
}
