// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Where does this datagram go, and where did it come from?
 *
 * The way of a packet over unreliable datagrams: transmit, completion, receive;
 * and the transport that owns the rings, plugged in below the netdev as an
 * accelerated HCA driver's would be. Not here: which way leads to an address
 * (ipoib_neigh.c), which groups are joined (ipoib_multicast.c), what state the
 * link is in (ipoib_main.c), how a verb is called (ipoib_verbs.c).
 *
 * Stages: send, completion, transmit entry, receive buffers, receive, open and
 * stop, transport set-up, statistics.
 */
#include <linux/icmpv6.h>
#include <linux/iopoll.h>
#include <linux/ipv6.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include <net/netdev_queues.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"

/* receive requests that share a doorbell */
#define IPOIB_REFILL_BATCH	16

/* how long to wait for memory before a dry receive ring is filled again */
#define IPOIB_REFILL_MS		100

/* a healthy HCA flushes a queue pair in microseconds; the rest is patience */
#define IPOIB_DRAIN_MS		5000

/* ---- send ---- */

static void ipoib_tx_unmap(struct ib_device *ibdev, struct ipoib_tx_slot *slot)
{
	struct ib_sge *sge = slot->sge;
	int left = slot->wr.wr.num_sge;

	if (left && skb_headlen(slot->skb)) {
		ib_dma_unmap_single(ibdev, sge->addr, sge->length,
				    DMA_TO_DEVICE);
		sge++;
		left--;
	}
	for (; left; left--, sge++)
		ib_dma_unmap_page(ibdev, sge->addr, sge->length, DMA_TO_DEVICE);
}

static int ipoib_tx_map_head(struct ib_device *ibdev,
			     struct ipoib_tx_slot *slot)
{
	unsigned int len = skb_headlen(slot->skb);
	u64 addr;

	if (!len)
		return 0;

	addr = ib_dma_map_single(ibdev, slot->skb->data, len, DMA_TO_DEVICE);
	if (unlikely(ib_dma_mapping_error(ibdev, addr)))
		return -EIO;

	slot->sge[0].addr = addr;
	slot->sge[0].length = len;
	slot->wr.wr.num_sge = 1;
	return 0;
}

/* num_sge grows with each piece, so unmapping always knows how far it got */
static int ipoib_tx_map(struct ib_device *ibdev, struct ipoib_tx_slot *slot)
{
	const struct skb_shared_info *shinfo = skb_shinfo(slot->skb);
	const skb_frag_t *frag;
	struct ib_sge *sge;
	unsigned int i;
	u64 addr;
	int err;

	slot->wr.wr.num_sge = 0;
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

		sge = &slot->sge[slot->wr.wr.num_sge++];
		sge->addr = addr;
		sge->length = skb_frag_size(frag);
	}

	return 0;

err_unmap:
	ipoib_tx_unmap(ibdev, slot);
	return -EIO;
}

static int ipoib_tx_fit_pieces(const struct ipoib_txq *txq, struct sk_buff *skb)
{
	unsigned int pieces = skb_shinfo(skb)->nr_frags + !!skb_headlen(skb);

	if (likely(pieces <= txq->max_sge))
		return 0;

	return skb_linearize(skb);
}

static void ipoib_tx_fill_wr(struct ipoib_txq *txq, struct ipoib_tx_slot *slot,
			     struct ib_ah *address, u32 qpn)
{
	struct ib_ud_wr *wr = &slot->wr;

	wr->wr.send_flags = IB_SEND_SIGNALED;
	if (slot->skb->ip_summed == CHECKSUM_PARTIAL)
		wr->wr.send_flags |= IB_SEND_IP_CSUM;
	wr->ah = address;
	wr->remote_qpn = qpn;
	wr->remote_qkey = READ_ONCE(txq->ipd->ud.qkey);
}

static u32 ipoib_tx_unused(const struct ipoib_txq *txq)
{
	return ipoib_ring_unused(READ_ONCE(txq->head), READ_ONCE(txq->tail),
				 txq->size);
}

/*
 * The ring and the byte limit know of a packet before the HCA does: its
 * completion may be handled on another processor before the posting returns.
 */
static void ipoib_tx_publish(struct ipoib_txq *txq, struct ipoib_tx_slot *slot)
{
	struct netdev_queue *queue;

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	slot->bytes = slot->skb->len;
	netdev_tx_sent_queue(queue, slot->bytes);
	WRITE_ONCE(txq->head, txq->head + 1);
	netif_txq_maybe_stop(queue, ipoib_tx_unused(txq), 1, txq->size / 2);
}

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
	napi_schedule(&txq->napi);
}

static void ipoib_tx_enqueue(struct ipoib_txq *txq, struct sk_buff *skb,
			     struct ib_ah *address, u32 qpn)
{
	struct ipoib_tx_slot *slot;

	slot = &txq->slots[ipoib_ring_slot(txq->head, txq->size)];
	slot->skb = skb;
	if (unlikely(ipoib_tx_map(txq->ipd->ibdev, slot))) {
		slot->skb = NULL;
		ipoib_drop(txq->ipd, skb, IPOIB_DROP_TX_MAP);
		return;
	}

	ipoib_tx_fill_wr(txq, slot, address, qpn);
	skb_tx_timestamp(skb);
	ipoib_tx_publish(txq, slot);
	if (unlikely(ib_post_send(txq->qp, &slot->wr.wr, NULL)))
		ipoib_tx_refused(txq, slot);
}

/*
 * The send hook of our own transport. The packet starts with its encapsulation
 * header. Runs under the netdev tx queue lock of the packet's queue.
 */
static int ipoib_ud_send(struct net_device *dev, struct sk_buff *skb,
			 struct ib_ah *address, u32 qpn)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_txq *txq = &ipd->ud.txq[skb_get_queue_mapping(skb)];
	unsigned int most;

	most = READ_ONCE(ipoib_rn(ipd)->mtu) + sizeof(struct ipoib_encap);
	if (unlikely(skb->len > most))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_TOO_BIG);
	else if (unlikely(!ipoib_tx_unused(txq)))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_RING_FULL);
	else if (unlikely(ipoib_tx_fit_pieces(txq, skb)))
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_LINEARIZE);
	else
		ipoib_tx_enqueue(txq, skb, address, qpn);

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
	unsigned int wire_bytes;
};

static bool ipoib_tx_is_refused(const struct ipoib_txq *txq)
{
	const struct ipoib_tx_slot *slot;

	if (txq->tail == READ_ONCE(txq->head))
		return false;

	slot = &txq->slots[ipoib_ring_slot(txq->tail, txq->size)];
	/* pairs with the release in ipoib_tx_refused() */
	return smp_load_acquire(&slot->refused);
}

static void ipoib_tx_complete(struct ipoib_txq *txq, struct ipoib_tx_done *done,
			      enum ib_wc_status status, int budget)
{
	struct ipoib_tx_slot *slot;
	struct sk_buff *skb;

	slot = &txq->slots[ipoib_ring_slot(txq->tail, txq->size)];
	skb = slot->skb;
	done->packets++;
	done->bytes += slot->bytes;
	slot->refused = false;
	if (likely(skb))
		ipoib_tx_unmap(txq->ipd->ibdev, slot);
	slot->skb = NULL;
	WRITE_ONCE(txq->tail, txq->tail + 1);
	if (unlikely(!skb))
		return;

	if (likely(status == IB_WC_SUCCESS)) {
		done->wire_packets++;
		done->wire_bytes += skb->len;
		napi_consume_skb(skb, budget);
		return;
	}

	ipoib_drop(txq->ipd, skb, status == IB_WC_WR_FLUSH_ERR ?
				  IPOIB_DROP_TX_FLUSHED : IPOIB_DROP_TX_ERROR);
}

static void ipoib_tx_failed(struct ipoib_txq *txq, const struct ib_wc *wc)
{
	if (likely(wc->status == IB_WC_SUCCESS) ||
	    wc->status == IB_WC_WR_FLUSH_ERR)
		return;

	ipoib_warn(txq->ipd, "queue %u: send failed: %s (vendor code %#x)\n",
		   txq->index, ib_wc_status_msg(wc->status), wc->vendor_err);
	ipoib_link_post(txq->ipd, IPOIB_EV_STUCK);
}

/* Send completions come in order: the one we see covers all slots up to its. */
static void ipoib_tx_complete_upto(struct ipoib_txq *txq,
				   struct ipoib_tx_done *done,
				   const struct ib_wc *wc, int budget)
{
	int slot = ipoib_wr_slot(wc->wr_id, IPOIB_WR_TX, txq->index, txq->size);
	u32 posted = READ_ONCE(txq->head);
	u32 count = 0;

	if (likely(slot >= 0))
		count = ipoib_ring_slot(slot - txq->tail, txq->size) + 1;
	if (unlikely(!count || count > ipoib_ring_used(posted, txq->tail))) {
		ipoib_warn(txq->ipd, "queue %u: completion %#llx was not ours\n",
			   txq->index, wc->wr_id);
		return;
	}

	while (count--)
		ipoib_tx_complete(txq, done, wc->status, budget);
}

static bool ipoib_ud_is_open(const struct ipoib_dev *ipd)
{
	return READ_ONCE(ipd->ud.state) == IPOIB_UD_OPEN;
}

static void ipoib_tx_account(struct ipoib_txq *txq,
			     const struct ipoib_tx_done *done)
{
	struct netdev_queue *queue;

	u64_stats_update_begin(&txq->syncp);
	u64_stats_add(&txq->packets, done->wire_packets);
	u64_stats_add(&txq->bytes, done->wire_bytes);
	u64_stats_update_end(&txq->syncp);

	queue = netdev_get_tx_queue(txq->ipd->netdev, txq->index);
	__netif_txq_completed_wake(queue, done->packets, done->bytes,
				   ipoib_tx_unused(txq), txq->size / 2,
				   !ipoib_ud_is_open(txq->ipd));
}

/* One batch off the queue; returns how many completions there were. */
static int ipoib_tx_clean(struct ipoib_txq *txq, int budget)
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

/* A budget of 0 comes from netpoll: free what is done, but finish nothing. */
static int ipoib_tx_poll(struct napi_struct *napi, int budget)
{
	struct ipoib_txq *txq = container_of(napi, struct ipoib_txq, napi);
	int done = 0;
	int num;

	do {
		num = ipoib_tx_clean(txq, budget);
		done += num;
	} while (num == IPOIB_POLL_BATCH && done < budget);

	if (num == IPOIB_POLL_BATCH)
		return budget;
	done = min(done, budget - 1);
	if (budget && napi_complete_done(napi, done) && ipoib_cq_arm(txq->cq))
		napi_schedule(napi);

	return max(done, 0);
}

/* Any context, hard interrupt included. */
static void ipoib_tx_event(struct ib_cq *cq, void *context)
{
	struct ipoib_txq *txq = context;

	napi_schedule(&txq->napi);
}

/* ---- transmit entry ---- */

/**
 * ipoib_start_xmit() - ndo_start_xmit
 * @skb: packet with its in-host header in front
 * @dev: interface
 *
 * Return: always NETDEV_TX_OK: sent, parked or dropped.
 */
netdev_tx_t ipoib_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_hwaddr ha __aligned(4);
	struct ipoib_header *header;
	const struct ipoib_ah *ah;

	if (unlikely(!pskb_may_pull(skb, IPOIB_HARD_LEN))) {
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_SHORT);
		return NETDEV_TX_OK;
	}

	header = ipoib_header_at(skb->data);
	if (unlikely(!ipoib_proto_sendable(header->encap.proto))) {
		ipoib_drop(ipd, skb, IPOIB_DROP_TX_PROTO);
		return NETDEV_TX_OK;
	}

	ha = header->ha;
	if (ipoib_hwaddr_is_mcast(&ha))
		ipoib_hwaddr_set_qpn(&ha, IPOIB_QPN_MULTICAST);
	rcu_read_lock();
	if (ipoib_hwaddr_is_mcast(&ha))
		ah = ipoib_mcast_resolve_rcu(ipd, skb, &ha);
	else
		ah = ipoib_neigh_resolve_rcu(ipd, skb, &ha);
	if (likely(ah))
		ipoib_send_rcu(ipd, skb, ah, ipoib_hwaddr_qpn(&ha));
	rcu_read_unlock();

	return NETDEV_TX_OK;
}

static bool ipoib_tx_is_nd(const struct sk_buff *skb)
{
	struct ipv6hdr ip6_room;
	const struct ipv6hdr *ip6;
	const u8 *type;
	u8 type_room;

	ip6 = skb_header_pointer(skb, IPOIB_HARD_LEN, sizeof(ip6_room),
				 &ip6_room);
	if (!ip6 || ip6->nexthdr != IPPROTO_ICMPV6)
		return false;

	type = skb_header_pointer(skb, IPOIB_HARD_LEN + sizeof(*ip6),
				  sizeof(type_room), &type_room);
	return type && ipoib_nd_type(*type);
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

	switch (be16_to_cpu(header->encap.proto)) {
	case ETH_P_ARP:
	case ETH_P_RARP:
		return true;
	case ETH_P_IPV6:
		return ipoib_tx_is_nd(skb);
	default:
		return false;
	}
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
	if (dev->real_num_tx_queues == 1 || ipoib_tx_needs_first_queue(skb))
		return 0;

	return netdev_pick_tx(dev, skb, sb_dev);
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

/* The sender's address: our own on the way out, else what receive put there. */
static int ipoib_header_parse(const struct sk_buff *skb,
			      const struct net_device *dev,
			      unsigned char *haddr)
{
	if (skb->pkt_type == PACKET_OUTGOING)
		memcpy(haddr, dev->dev_addr, INFINIBAND_ALEN);
	else
		memcpy(haddr, skb_mac_header(skb), INFINIBAND_ALEN);

	return INFINIBAND_ALEN;
}

const struct header_ops ipoib_header_ops = {
	.create = ipoib_header_create,
	.parse = ipoib_header_parse,
};

/* ---- receive buffers ---- */

static int ipoib_rx_fill_slot(struct ipoib_rxq *rxq, struct ipoib_rx_slot *slot)
{
	struct ib_device *ibdev = rxq->ipd->ibdev;
	struct sk_buff *skb;

	/* the address in front may need more room than the GRH */
	skb = netdev_alloc_skb(rxq->ipd->netdev, rxq->buf_bytes);
	if (!skb)
		return -ENOMEM;

	slot->addr = ib_dma_map_single(ibdev, skb->data, rxq->buf_bytes,
				       DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(ibdev, slot->addr)) {
		dev_kfree_skb_any(skb);
		return -EIO;
	}

	slot->skb = skb;
	slot->sge.addr = slot->addr;
	return 0;
}

static struct sk_buff *ipoib_rx_empty_slot(struct ipoib_rxq *rxq,
					   struct ipoib_rx_slot *slot)
{
	struct sk_buff *skb = slot->skb;

	ib_dma_unmap_single(rxq->ipd->ibdev, slot->addr, rxq->buf_bytes,
			    DMA_FROM_DEVICE);
	slot->skb = NULL;
	return skb;
}

static struct ipoib_rx_slot *ipoib_rx_slot(struct ipoib_rxq *rxq, u32 counter)
{
	return &rxq->slots[ipoib_ring_slot(counter, rxq->size)];
}

/* Fills slots from the head on and chains their requests; not yet posted. */
static u32 ipoib_rx_link(struct ipoib_rxq *rxq, u32 count)
{
	struct ipoib_rx_slot *slot, *last = NULL;
	u32 linked;

	for (linked = 0; linked < count; linked++) {
		slot = ipoib_rx_slot(rxq, rxq->head + linked);
		if (ipoib_rx_fill_slot(rxq, slot))
			break;
		slot->wr.next = NULL;
		if (last)
			last->wr.next = &slot->wr;
		last = slot;
	}

	return linked;
}

/* Posts a chain of slots from the head on; what the HCA refuses is freed. */
static bool ipoib_rx_post(struct ipoib_rxq *rxq, u32 linked)
{
	struct ib_qp *qp = rxq->ipd->ud.txq[0].qp;
	const struct ib_recv_wr *bad = NULL;
	struct ipoib_rx_slot *slot;
	u32 end = rxq->head + linked;
	int err;

	err = ib_post_recv(qp, &ipoib_rx_slot(rxq, rxq->head)->wr, &bad);
	if (likely(!err)) {
		rxq->head = end;
		return true;
	}

	ipoib_warn(rxq->ipd, "posting receives failed: %pe\n", ERR_PTR(err));
	while (rxq->head != end && &ipoib_rx_slot(rxq, rxq->head)->wr != bad)
		rxq->head++;
	for (linked = rxq->head; linked != end; linked++) {
		slot = ipoib_rx_slot(rxq, linked);
		dev_kfree_skb_any(ipoib_rx_empty_slot(rxq, slot));
	}
	return false;
}

/* Any context; without the lock it may be true a moment late. */
static bool ipoib_ud_is_stopping(const struct ipoib_dev *ipd)
{
	return READ_ONCE(ipd->ud.state) == IPOIB_UD_STOPPING;
}

/*
 * Runs in the receive NAPI, or before that is enabled. When memory is short the
 * ring stays partly empty; only when it is dry will nothing come in to try
 * again, and the clock has to.
 */
static void ipoib_rx_refill(struct ipoib_rxq *rxq)
{
	u32 batch = min_t(u32, IPOIB_REFILL_BATCH, rxq->size / 2);
	u32 linked;

	if (rxq->flushed || ipoib_ud_is_stopping(rxq->ipd))
		return;

	while (ipoib_ring_unused(rxq->head, rxq->tail, rxq->size) >= batch) {
		linked = ipoib_rx_link(rxq, batch);
		if (!linked || !ipoib_rx_post(rxq, linked) || linked < batch)
			break;
	}

	if (unlikely(rxq->head == rxq->tail))
		queue_delayed_work(rxq->ipd->wq, &rxq->refill_work,
				   msecs_to_jiffies(IPOIB_REFILL_MS));
}

static void ipoib_rx_refill_work(struct work_struct *work)
{
	struct ipoib_rxq *rxq = container_of(work, struct ipoib_rxq,
					     refill_work.work);

	local_bh_disable();
	napi_schedule(&rxq->napi);
	local_bh_enable();
}

/* ---- receive ---- */

/*
 * What the stack sees in front of the datagram is the sender's address, as far
 * as it is known: packet sockets show it, and GRO compares it.
 */
static void ipoib_rx_put_sender(struct sk_buff *skb, const struct ib_wc *wc,
				const struct ipoib_rx_facts *facts)
{
	union ib_gid sgid = {};
	struct ipoib_header *header;

	if (facts->grh)
		sgid = facts->grh->sgid;

	/* overwrites the end of the GRH */
	skb_pull(skb, sizeof(struct ib_grh));
	header = ipoib_header_at(skb_push(skb, sizeof(header->ha)));
	ipoib_hwaddr_fill(&header->ha, wc->src_qp, &sgid);
	skb->protocol = header->encap.proto;
	skb_reset_mac_header(skb);
	skb_pull(skb, sizeof(*header));
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
	skb_record_rx_queue(skb, 0);

	u64_stats_update_begin(&rxq->syncp);
	u64_stats_inc(&rxq->packets);
	u64_stats_add(&rxq->bytes, skb->len + sizeof(struct ipoib_encap));
	if (pkt_type == PACKET_MULTICAST)
		u64_stats_inc(&rxq->multicast);
	u64_stats_update_end(&rxq->syncp);

	napi_gro_receive(&rxq->napi, skb);
}

static void ipoib_rx_packet(struct ipoib_rxq *rxq, struct sk_buff *skb,
			    const struct ib_wc *wc)
{
	struct ipoib_rx_facts facts = {
		.byte_len = wc->byte_len,
		.slid = wc->slid,
		.src_qpn = wc->src_qp,
		.encap = ipoib_encap_at(skb->data + sizeof(struct ib_grh)),
	};
	static const u8 pkt_types[] = {
		[IPOIB_RX_HOST] = PACKET_HOST,
		[IPOIB_RX_BROADCAST] = PACKET_BROADCAST,
		[IPOIB_RX_MULTICAST] = PACKET_MULTICAST,
	};
	enum ipoib_verdict verdict;

	if (wc->wc_flags & IB_WC_GRH)
		facts.grh = ipoib_grh_at(skb->data);

	verdict = ipoib_rx_judge(&facts, &rxq->self);
	switch (verdict) {
	case IPOIB_RX_RUNT:
		ipoib_drop(rxq->ipd, skb, IPOIB_DROP_RX_RUNT);
		return;
	case IPOIB_RX_BAD_PROTO:
		ipoib_drop(rxq->ipd, skb, IPOIB_DROP_RX_PROTO);
		return;
	case IPOIB_RX_OWN_ECHO:
		ipoib_drop(rxq->ipd, skb, IPOIB_DROP_RX_ECHO);
		return;
	default:
		break;
	}

	skb_put(skb, wc->byte_len);
	ipoib_rx_put_sender(skb, wc, &facts);
	ipoib_rx_deliver(rxq, skb, wc, pkt_types[verdict]);
}

/*
 * A queue pair that nobody is stopping is in error, and gives back at once
 * whatever is posted: posting goes on when it has been started anew.
 */
static void ipoib_rx_flushed(struct ipoib_rxq *rxq)
{
	if (rxq->flushed || ipoib_ud_is_stopping(rxq->ipd))
		return;

	rxq->flushed = true;
	ipoib_link_post(rxq->ipd, IPOIB_EV_STUCK);
}

static void ipoib_rx_failed(struct ipoib_rxq *rxq, struct sk_buff *skb,
			    const struct ib_wc *wc)
{
	/* no packet was in it */
	if (wc->status == IB_WC_WR_FLUSH_ERR) {
		dev_kfree_skb_any(skb);
		ipoib_rx_flushed(rxq);
		return;
	}

	ipoib_warn(rxq->ipd, "receive failed: %s (vendor code %#x)\n",
		   ib_wc_status_msg(wc->status), wc->vendor_err);
	ipoib_drop(rxq->ipd, skb, IPOIB_DROP_RX_ERROR);
	ipoib_link_post(rxq->ipd, IPOIB_EV_STUCK);
}

/* Receives complete in order; NULL when the tag says otherwise. */
static struct sk_buff *ipoib_rx_take(struct ipoib_rxq *rxq,
				     const struct ib_wc *wc)
{
	int slot = ipoib_wr_slot(wc->wr_id, IPOIB_WR_RX, 0, rxq->size);

	if (unlikely(slot < 0 || rxq->head == rxq->tail ||
		     slot != ipoib_ring_slot(rxq->tail, rxq->size))) {
		ipoib_warn(rxq->ipd, "receive completion %#llx was not ours\n",
			   wc->wr_id);
		return NULL;
	}

	rxq->tail++;
	return ipoib_rx_empty_slot(rxq, &rxq->slots[slot]);
}

static int ipoib_rx_clean(struct ipoib_rxq *rxq, int budget)
{
	struct ib_wc *wcs = rxq->wcs;
	struct sk_buff *skb;
	int num;
	int i;

	num = ib_poll_cq(rxq->cq, min(budget, IPOIB_POLL_BATCH), wcs);
	for (i = 0; i < num; i++) {
		skb = ipoib_rx_take(rxq, &wcs[i]);
		if (unlikely(!skb))
			continue;
		if (likely(wcs[i].status == IB_WC_SUCCESS))
			ipoib_rx_packet(rxq, skb, &wcs[i]);
		else
			ipoib_rx_failed(rxq, skb, &wcs[i]);
	}

	return max(num, 0);
}

static int ipoib_rx_poll(struct napi_struct *napi, int budget)
{
	struct ipoib_rxq *rxq = container_of(napi, struct ipoib_rxq, napi);
	int done = 0;
	int num;

	while (done < budget) {
		num = ipoib_rx_clean(rxq, budget - done);
		if (!num)
			break;
		done += num;
		ipoib_rx_refill(rxq);
	}

	if (unlikely(rxq->head == rxq->tail))
		ipoib_rx_refill(rxq);
	if (done < budget && napi_complete_done(napi, done) &&
	    ipoib_cq_arm(rxq->cq))
		napi_schedule(napi);

	return done;
}

/* Any context, hard interrupt included. */
static void ipoib_rx_event(struct ib_cq *cq, void *context)
{
	struct ipoib_rxq *rxq = context;

	napi_schedule(&rxq->napi);
}

/* ---- open and stop ---- */

static void ipoib_napi_kick(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

static void ipoib_ud_enable_napi(struct ipoib_ud *ud)
{
	unsigned int i;

	napi_enable(&ud->rxq.napi);
	ipoib_napi_kick(&ud->rxq.napi);
	for (i = 0; i < ud->num_txq; i++) {
		napi_enable(&ud->txq[i].napi);
		/* its first poll arms the completion queue */
		ipoib_napi_kick(&ud->txq[i].napi);
	}
}

static void ipoib_ud_disable_napi(struct ipoib_ud *ud)
{
	unsigned int i;

	for (i = 0; i < ud->num_txq; i++)
		napi_disable(&ud->txq[i].napi);
	napi_disable(&ud->rxq.napi);
}

static bool ipoib_ud_is_idle(struct ipoib_dev *ipd)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;

	for (i = 0; i < ud->num_txq; i++)
		if (READ_ONCE(ud->txq[i].head) != READ_ONCE(ud->txq[i].tail))
			return false;

	return READ_ONCE(ud->rxq.head) == READ_ONCE(ud->rxq.tail);
}

/* As the NAPIs would, but nothing goes up: the stack has the device down. */
static void ipoib_ud_flush(struct ipoib_dev *ipd)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;
	struct sk_buff *skb;
	struct ib_wc wc;
	unsigned int i;

	local_bh_disable();
	for (i = 0; i < ipd->ud.num_txq; i++)
		while (ipoib_tx_clean(&ipd->ud.txq[i], 0))
			;
	while (ib_poll_cq(rxq->cq, 1, &wc) > 0) {
		skb = ipoib_rx_take(rxq, &wc);
		if (skb)
			dev_kfree_skb_any(skb);
	}
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

/* The HCA owns none of these any more. */
static void ipoib_rx_free_posted(struct ipoib_rxq *rxq)
{
	struct ipoib_rx_slot *slot;

	for (; rxq->tail != rxq->head; rxq->tail++) {
		slot = ipoib_rx_slot(rxq, rxq->tail);
		dev_kfree_skb_any(ipoib_rx_empty_slot(rxq, slot));
	}
}

static void ipoib_tx_free_posted(struct ipoib_txq *txq)
{
	struct ipoib_tx_done done = {};

	while (txq->tail != txq->head)
		ipoib_tx_complete(txq, &done, IB_WC_WR_FLUSH_ERR, 0);
}

static void ipoib_ud_free_posted(struct ipoib_dev *ipd)
{
	unsigned int i;

	for (i = 0; i < ipd->ud.num_txq; i++)
		ipoib_tx_free_posted(&ipd->ud.txq[i]);
	ipoib_rx_free_posted(&ipd->ud.rxq);
}

static void ipoib_ud_set_state(struct ipoib_dev *ipd, enum ipoib_ud_state state)
	__must_hold(&ipd->link.lock)
{
	lockdep_assert_held(&ipd->link.lock);

	/* the NAPIs look at it without the lock */
	WRITE_ONCE(ipd->ud.state, state);
}

/* After the state: the drain must neither post receives nor wake queues. */
static void ipoib_ud_set_error(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	unsigned int i;
	int err;

	if (ipd->ud.state != IPOIB_UD_OPEN)
		return;

	WRITE_ONCE(ipd->ud.drain_until,
		   jiffies + msecs_to_jiffies(IPOIB_DRAIN_MS));
	ipoib_ud_set_state(ipd, IPOIB_UD_STOPPING);
	for (i = 0; i < ipd->ud.num_txq; i++) {
		err = ipoib_qp_set_error(ipd->ud.txq[i].qp);
		if (err)
			ipoib_warn(ipd, "queue %u: cannot stop: %pe\n", i,
				   ERR_PTR(err));
	}
}

/* Returns 0 when every queue pair is in RESET, where the HCA owns no buffer. */
static int ipoib_ud_reset(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	int err = 0;
	unsigned int i;

	for (i = 0; i < ipd->ud.num_txq; i++)
		err = ipoib_qp_reset(ipd->ud.txq[i].qp) ?: err;

	return err;
}

static int ipoib_ud_start_qps(struct ipoib_dev *ipd)
	__must_hold(&ipd->link.lock)
{
	struct ipoib_ud *ud = &ipd->ud;
	unsigned int i;
	int err;

	lockdep_assert_held(&ipd->link.lock);

	for (i = 0; i < ud->num_txq; i++) {
		err = ipoib_qp_start(ud->txq[i].qp, ipd->port, ud->pkey_index);
		if (err)
			goto err_reset;
	}

	ud->rxq.flushed = false;
	ipoib_rx_refill(&ud->rxq);
	err = -ENOMEM;
	if (ud->rxq.head == ud->rxq.tail)
		goto err_reset;

	ipoib_ud_set_state(ipd, IPOIB_UD_OPEN);
	return 0;

err_reset:
	cancel_delayed_work(&ud->rxq.refill_work);
	ipoib_ud_reset(ipd);
	return err;
}

static int ipoib_ud_open(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	mutex_lock(&ipd->link.lock);
	err = ipoib_ud_start_qps(ipd);
	mutex_unlock(&ipd->link.lock);
	if (err)
		return err;

	/* outside link.lock: from 7.3 on this takes the netdev instance lock */
	ipoib_ud_enable_napi(&ipd->ud);
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

	ipoib_ud_disable_napi(ud);
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

	cancel_delayed_work_sync(&ud->rxq.refill_work);
	for (i = 0; i < ud->num_txq; i++)
		netdev_tx_reset_queue(netdev_get_tx_queue(dev, i));
	return err;
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
	bool idle;

	mutex_lock(&ipd->link.lock);
	ipoib_ud_set_error(ipd);
	mutex_unlock(&ipd->link.lock);

	read_poll_timeout(ipoib_ud_is_idle, idle, idle, USEC_PER_MSEC,
			  ipoib_ud_patience_us(ipd), false, ipd);
}

/* ---- transport set-up ---- */

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

/* What the user wants, or as much as the HCA's queues hold. */
static u32 ipoib_ring_fit(const struct ib_device *ibdev, u32 wanted)
{
	return min_t(u32, wanted, rounddown_pow_of_two(ibdev->attrs.max_qp_wr));
}

static void ipoib_txq_prepare_slots(struct ipoib_txq *txq)
{
	u32 lkey = txq->ipd->pd->local_dma_lkey;
	struct ipoib_tx_slot *slot;
	unsigned int i;
	u32 n;

	for (n = 0; n < txq->size; n++) {
		slot = &txq->slots[n];
		slot->wr.wr.wr_id = ipoib_wr_id(IPOIB_WR_TX, txq->index, n);
		slot->wr.wr.sg_list = slot->sge;
		slot->wr.wr.opcode = IB_WR_SEND;
		for (i = 0; i < ARRAY_SIZE(slot->sge); i++)
			slot->sge[i].lkey = lkey;
	}
}

static struct ib_qp *ipoib_txq_create_qp(struct ipoib_txq *txq)
{
	struct ipoib_dev *ipd = txq->ipd;
	struct ib_qp_init_attr init = {
		.send_cq = txq->cq,
		/* those that only send have it too: some HCAs dereference it */
		.recv_cq = ipd->ud.rxq.cq,
		.qp_context = txq,
		.cap = {
			.max_send_wr = txq->size,
			.max_send_sge = min_t(u32, IPOIB_MAX_SGE,
					      ipd->ibdev->attrs.max_send_sge),
			.max_recv_wr = txq->index ? 1 : ipd->ud.rxq.size,
			.max_recv_sge = 1,
		},
	};
	struct ib_qp *qp;

	qp = ipoib_qp_create_ud(ipd->pd, &init, !txq->index);
	if (!IS_ERR(qp))
		txq->max_sge = min_t(u32, IPOIB_MAX_SGE, init.cap.max_send_sge);

	return qp;
}

static int ipoib_txq_create(struct ipoib_dev *ipd, unsigned int index)
{
	struct ipoib_txq *txq = &ipd->ud.txq[index];
	int err = -ENOMEM;

	txq->ipd = ipd;
	txq->index = index;
	txq->size = ipoib_ring_fit(ipd->ibdev, ipoib_send_queue_size);
	u64_stats_init(&txq->syncp);
	txq->slots = kvcalloc(txq->size, sizeof(*txq->slots), GFP_KERNEL);
	if (!txq->slots)
		return err;

	/* vector 0 is the receive side's: the first queue shares it last */
	txq->cq = ipoib_cq_create(ipd->ibdev, txq->size, index + 1,
				  ipoib_tx_event, txq);
	if (IS_ERR(txq->cq)) {
		err = PTR_ERR(txq->cq);
		goto err_free_slots;
	}

	txq->qp = ipoib_txq_create_qp(txq);
	if (IS_ERR(txq->qp)) {
		err = PTR_ERR(txq->qp);
		goto err_destroy_cq;
	}

	ipoib_txq_prepare_slots(txq);
	ipd->ud.qpns[index] = txq->qp->qp_num;
	netif_napi_add_tx(ipd->netdev, &txq->napi, ipoib_tx_poll);
	return 0;

err_destroy_cq:
	ib_destroy_cq(txq->cq);
err_free_slots:
	kvfree(txq->slots);
	return err;
}

/* After this the HCA can own nothing of the ring, whatever came before. */
static void ipoib_txq_destroy(struct ipoib_txq *txq)
{
	ib_destroy_qp(txq->qp);
	ib_destroy_cq(txq->cq);
	ipoib_tx_free_posted(txq);
	netif_napi_del(&txq->napi);
	kvfree(txq->slots);
}

static int ipoib_rxq_create(struct ipoib_dev *ipd)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;
	struct ipoib_rx_slot *slot;
	u32 n;

	rxq->ipd = ipd;
	rxq->size = ipoib_ring_fit(ipd->ibdev, ipoib_recv_queue_size);
	rxq->buf_bytes = ipoib_rx_buf_bytes(ipd->max_ib_mtu);
	u64_stats_init(&rxq->syncp);
	INIT_DELAYED_WORK(&rxq->refill_work, ipoib_rx_refill_work);
	rxq->slots = kvcalloc(rxq->size, sizeof(*rxq->slots), GFP_KERNEL);
	if (!rxq->slots)
		return -ENOMEM;

	for (n = 0; n < rxq->size; n++) {
		slot = &rxq->slots[n];
		slot->sge.length = rxq->buf_bytes;
		slot->sge.lkey = ipd->pd->local_dma_lkey;
		slot->wr.wr_id = ipoib_wr_id(IPOIB_WR_RX, 0, n);
		slot->wr.sg_list = &slot->sge;
		slot->wr.num_sge = 1;
	}

	rxq->cq = ipoib_cq_create(ipd->ibdev, rxq->size + 1, 0, ipoib_rx_event,
				  rxq);
	if (IS_ERR(rxq->cq)) {
		kvfree(rxq->slots);
		return PTR_ERR(rxq->cq);
	}

	netif_napi_add(ipd->netdev, &rxq->napi, ipoib_rx_poll);
	return 0;
}

static void ipoib_rxq_destroy(struct ipoib_dev *ipd)
{
	struct ipoib_rxq *rxq = &ipd->ud.rxq;

	ib_destroy_cq(rxq->cq);
	ipoib_rx_free_posted(rxq);
	netif_napi_del(&rxq->napi);
	kvfree(rxq->slots);
}

static void ipoib_ud_destroy_txqs(struct ipoib_ud *ud)
{
	while (ud->num_txq)
		ipoib_txq_destroy(&ud->txq[--ud->num_txq]);
	kfree(ud->txq);
	ud->txq = NULL;
}

static int ipoib_ud_create_txqs(struct ipoib_dev *ipd)
{
	unsigned int wanted = ipd->netdev->real_num_tx_queues;
	struct ipoib_ud *ud = &ipd->ud;
	int err;

	/* a lower driver that calls this from its own init may have more */
	wanted = min_t(unsigned int, wanted, IPOIB_MAX_TXQ);
	ud->txq = kcalloc(wanted, sizeof(*ud->txq), GFP_KERNEL);
	if (!ud->txq)
		return -ENOMEM;

	while (ud->num_txq < wanted) {
		err = ipoib_txq_create(ipd, ud->num_txq);
		if (err)
			goto err_destroy;
		ud->num_txq++;
	}

	return 0;

err_destroy:
	ipoib_ud_destroy_txqs(ud);
	return err;
}

static void ipoib_ud_set_address(struct ipoib_dev *ipd)
{
	struct ipoib_hwaddr ha;

	memcpy(&ha, ipd->netdev->dev_addr, sizeof(ha));
	ipoib_hwaddr_set_qpn(&ha, ipd->ud.qpns[0]);
	dev_addr_mod(ipd->netdev, offsetof(struct ipoib_hwaddr, qpn), ha.qpn,
		     sizeof(ha.qpn));
}

static int ipoib_ud_init(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	err = ipoib_rxq_create(ipd);
	if (err)
		return err;

	err = ipoib_ud_create_txqs(ipd);
	if (err)
		goto err_destroy_rxq;

	if (ipd->ud.txq[0].max_sge > 1)
		dev->features |= NETIF_F_SG;
	ipoib_ud_set_address(ipd);
	return 0;

err_destroy_rxq:
	ipoib_rxq_destroy(ipd);
	return err;
}

static void ipoib_ud_uninit(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	/* queue pairs first: they hold on to both kinds of completion queue */
	ipoib_ud_destroy_txqs(&ipd->ud);
	ipoib_rxq_destroy(ipd);
}

static void ipoib_ud_set_id(struct net_device *dev, int pkey_index)
{
	ipoib_from_netdev(dev)->ud.pkey_index = pkey_index;
}

static int ipoib_ud_set_qkey(struct ipoib_dev *ipd, u32 qkey)
	__must_hold(&ipd->link.lock)
{
	unsigned int i;
	int err;

	lockdep_assert_held(&ipd->link.lock);

	for (i = 0; i < ipd->ud.num_txq; i++) {
		err = ipoib_qp_set_qkey(ipd->ud.txq[i].qp, qkey);
		if (err)
			return err;
	}

	WRITE_ONCE(ipd->ud.qkey, qkey);
	return 0;
}

static int ipoib_ud_attach(struct net_device *dev, struct ib_device *ibdev,
			   union ib_gid *mgid, u16 mlid, int set_qkey, u32 qkey)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	if (!ipd->link.acted.pkey)
		return -ENXIO;

	if (set_qkey) {
		err = ipoib_ud_set_qkey(ipd, qkey);
		if (err)
			return err;
	}

	return ib_attach_mcast(ipd->ud.txq[0].qp, mgid, mlid);
}

static int ipoib_ud_detach(struct net_device *dev, struct ib_device *ibdev,
			   union ib_gid *mgid, u16 mlid)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	return ib_detach_mcast(ipd->ud.txq[0].qp, mgid, mlid);
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
 *
 * Context: process.
 */
void ipoib_ud_report(struct ipoib_dev *ipd)
{
	struct ipoib_txq *txq;
	unsigned int i;

	for (i = 0; i < ipd->ud.num_txq; i++) {
		txq = &ipd->ud.txq[i];
		ipoib_warn(ipd, "queue %u: sent %u, completed %u of %u, QP %u in %s\n",
			   i, READ_ONCE(txq->head), READ_ONCE(txq->tail),
			   txq->size, txq->qp->qp_num,
			   ipoib_qp_state_name(txq->qp));
	}
}

/**
 * ipoib_txq_stats() - read a transmit queue's counters
 * @txq: queue
 * @packets: sent
 * @bytes: sent, encapsulation header included
 */
void ipoib_txq_stats(const struct ipoib_txq *txq, u64 *packets, u64 *bytes)
{
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&txq->syncp);
		*packets = u64_stats_read(&txq->packets);
		*bytes = u64_stats_read(&txq->bytes);
	} while (u64_stats_fetch_retry(&txq->syncp, start));
}

static void ipoib_rxq_stats(const struct ipoib_rxq *rxq,
			    struct rtnl_link_stats64 *stats)
{
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&rxq->syncp);
		stats->rx_packets = u64_stats_read(&rxq->packets);
		stats->rx_bytes = u64_stats_read(&rxq->bytes);
		stats->multicast = u64_stats_read(&rxq->multicast);
	} while (u64_stats_fetch_retry(&rxq->syncp, start));
}

/**
 * ipoib_ud_stats() - read an interface's counters
 * @ipd: interface
 * @stats: all zero; gets what this driver counts
 */
void ipoib_ud_stats(struct ipoib_dev *ipd, struct rtnl_link_stats64 *stats)
{
	unsigned int i;
	u64 packets;
	u64 bytes;

	ipoib_rxq_stats(&ipd->ud.rxq, stats);
	for (i = 0; i < ipd->ud.num_txq; i++) {
		ipoib_txq_stats(&ipd->ud.txq[i], &packets, &bytes);
		stats->tx_packets += packets;
		stats->tx_bytes += bytes;
	}
	ipoib_drop_stats(ipd, stats);
}
