// SPDX-License-Identifier: GPL-2.0
/*
 * What does a datagram queue pair put on the wire, and what does it take off?
 *
 * Sending runs in the tasklet of the sending queue pair. The payload stays in
 * the sender's memory until it is copied, once, into the receiver's.
 *
 * Order of this file: sending, checks of the receiver, delivery.
 */
#include "fab_hcafault.h"
#include "fabric.h"

/* --- Sending ------------------------------------------------------------- */

/* Behind the GRH: BTH 12, DETH 8, payload padded to 4, ICRC 4; immediate data
 * count as payload here.
 */
static u16 fab_grh_paylen(u32 length)
{
	return 12 + 8 + ALIGN(length, 4) + 4;
}

/**
 * fab_grh_build - the GRH of a packet
 * @grh: where it goes
 * @port: port it is sent from
 * @ah: what is asked for in it
 * @length: bytes of payload
 */
void fab_grh_build(struct ib_grh *grh, const struct fab_port *port,
		   const struct fab_ah *ah, u32 length)
{
	grh->version_tclass_flow =
		cpu_to_be32(FIELD_PREP(GENMASK(31, 28), FAB_GRH_VERSION) |
			    FIELD_PREP(GENMASK(27, 20), ah->traffic_class) |
			    FIELD_PREP(GENMASK(19, 0), ah->flow_label));
	grh->paylen = cpu_to_be16(fab_grh_paylen(length));
	grh->next_hdr = FAB_GRH_NEXT_IBA;
	grh->hop_limit = ah->hop_limit;
	fab_port_gid(port, ah->sgid_index, &grh->sgid);
	grh->dgid = ah->dgid;
}

static enum ib_wc_status fab_ud_send_smp(struct fab_qp *qp,
					 const struct fab_swqe *wqe)
{
	struct fab_smp smp = {
		.in_port = qp->port,
		.slid = READ_ONCE(qp->port->lid),
		.dlid = wqe->ah->dlid,
	};

	if (wqe->length != sizeof(smp.mad))
		return IB_WC_LOC_LEN_ERR;

	fab_copy_from(&smp.mad, wqe->sge, wqe->num_sge);
	if (smp.dlid == FAB_LID_PERMISSIVE)
		smp.slid = FAB_LID_PERMISSIVE;
	fab_count(qp->port, FAB_SENT);
	fab_link_send_smp(qp->port, &smp);
	return IB_WC_SUCCESS;
}

/* Path bits beyond the LMC are ignored, IBA 4.1.3. */
static u16 fab_ud_slid(const struct fab_port *port, const struct fab_ah *ah)
{
	u8 lmc = FIELD_GET(FAB_PI_LMC, READ_ONCE(port->info.mkeyprot_resv_lmc));

	return READ_ONCE(port->lid) | (ah->path_bits & (BIT(lmc) - 1));
}

static void fab_ud_packet(struct fab_packet *pkt, struct fab_qp *qp,
			  const struct fab_swqe *wqe)
{
	const struct fab_ah *ah = wqe->ah;
	struct fab_port *port = qp->port;
	u16 pkey_index = qp->type == IB_QPT_GSI ? wqe->pkey_index :
						  qp->pkey_index;

	pkt->src = port;
	pkt->src_qpn = qp->qpn;
	pkt->slid = fab_ud_slid(port, ah);
	pkt->dlid = ah->dlid;
	pkt->sl = ah->sl;
	pkt->hops = 0;
	pkt->has_grh = ah->has_grh;
	pkt->has_imm = wqe->opcode == IB_WR_SEND_WITH_IMM;
	pkt->solicited = wqe->flags & IB_SEND_SOLICITED;
	pkt->pkey = pkey_index < fab_num_pkeys(port) ?
		    READ_ONCE(port->pkeys[pkey_index]) : 0;
	pkt->dest_qpn = wqe->remote_qpn;
	pkt->qkey = wqe->qkey & FAB_QKEY_CONTROLLED ? READ_ONCE(qp->qkey) :
						      wqe->qkey;
	pkt->imm = wqe->imm;
	pkt->sge = wqe->sge;
	pkt->num_sge = wqe->num_sge;
	pkt->length = wqe->length;
	if (ah->has_grh)
		fab_grh_build(&pkt->grh, port, ah, pkt->has_imm ?
			      wqe->length + 4 : wqe->length);
}

/**
 * fab_packet_set_length - make a packet longer or shorter than its request
 * @pkt: the packet, without immediate data
 * @length: bytes of payload
 */
void fab_packet_set_length(struct fab_packet *pkt, u32 length)
{
	pkt->length = length;
	if (pkt->has_grh)
		pkt->grh.paylen = cpu_to_be16(fab_grh_paylen(length));
}

/**
 * fab_ud_emit - send a packet off
 * @qp: its queue pair
 * @pkt: the packet
 *
 * Each packet has a number of its own, those of one request too (IBA 9.7.2).
 * Context: tasklet of @qp, RCU read section.
 */
void fab_ud_emit(struct fab_qp *qp, struct fab_packet *pkt)
{
	pkt->psn = qp->psn;
	qp->psn = (qp->psn + 1) & FAB_PSN_MASK;
	fab_count(qp->port, FAB_SENT);
	fab_link_send(qp->port, pkt);
}

/**
 * fab_ud_send - execute a send request
 * @qp: SMI, GSI or UD queue pair in RTS
 * @wqe: the request
 *
 * Context: tasklet of @qp, RCU read section.
 * Return: what the completion is to say. A packet that is lost on the way is
 * IB_WC_SUCCESS: a datagram's sender does not learn of it.
 */
enum ib_wc_status fab_ud_send(struct fab_qp *qp, const struct fab_swqe *wqe)
{
	struct ib_sge inlined = {
		.addr = (uintptr_t)wqe->sge,
		.length = wqe->length,
		.lkey = FAB_LOCAL_LKEY,
	};
	struct fab_packet pkt;

	if (!fab_sges_valid(qp->hca, wqe->sge, wqe->num_sge)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_LKEY,
			   "a send request has a key of no memory region");
		return IB_WC_LOC_PROT_ERR;
	}
	if (qp->type == IB_QPT_SMI)
		return fab_ud_send_smp(qp, wqe);
	if (wqe->longest > READ_ONCE(qp->port->mtu_bytes)) {
		fab_misuse(qp->hca, FAB_MISUSE_SEND_MTU,
			   "a datagram is longer than its port's MTU");
		return IB_WC_LOC_LEN_ERR;
	}

	fab_ud_packet(&pkt, qp, wqe);
	if (wqe->flags & IB_SEND_INLINE) {
		fab_count(qp->port, FAB_INLINE);
		pkt.sge = &inlined;
		pkt.num_sge = 1;
	}
	if (unlikely(wqe->flags & FAB_SEND_OFFLOAD))
		return fab_offload_send(qp, wqe, &pkt);

	fab_ud_emit(qp, &pkt);
	return IB_WC_SUCCESS;
}

/* --- Checks of the receiver ---------------------------------------------- */

/**
 * fab_port_find_pkey - look a packet's P_Key up in a port's table
 * @port: the port
 * @pkey: of the packet
 *
 * Return: index of the first entry that lets it in, or -ENOENT.
 */
int fab_port_find_pkey(const struct fab_port *port, u16 pkey)
{
	unsigned int i;

	for (i = 0; i < fab_num_pkeys(port); i++) {
		if (fab_pkeys_match(READ_ONCE(port->pkeys[i]), pkey))
			return i;
	}

	return -ENOENT;
}

/* The index of the packet's P_Key in the port's table, or negative. QP1 takes
 * every key of the table (IBA 10.9.8), others the one they are bound to.
 */
static int fab_ud_check_pkey(const struct fab_port *port,
			     const struct fab_qp *qp, u16 pkey)
{
	if (qp->type == IB_QPT_GSI)
		return fab_port_find_pkey(port, pkey);

	return fab_pkeys_match(READ_ONCE(port->pkeys[qp->pkey_index]), pkey) ?
	       qp->pkey_index : -EACCES;
}

static bool fab_state_takes_receives(enum ib_qp_state state)
{
	return state == IB_QPS_RTR || state == IB_QPS_RTS ||
	       state == IB_QPS_SQD || state == IB_QPS_SQE;
}

/*
 * The request a packet of @length bytes goes into. What a datagram queue pair
 * cannot take it drops silently (IBA 9.8.3), and the request stays.
 */
static struct fab_rwqe *fab_rq_peek(struct fab_qp *qp, u32 length,
				    enum fab_counter *verdict)
{
	struct fab_rwqe *wqe;

	lockdep_assert_held(&qp->rq.lock);

	if (!fab_state_takes_receives(qp->state)) {
		*verdict = FAB_DROP_QP_STATE;
		return NULL;
	}
	if (qp->rq.next == qp->rq.head) {
		*verdict = FAB_DROP_NO_RECV_WQE;
		return NULL;
	}

	wqe = fab_rwqe(&qp->rq, qp->rq.next);
	if (wqe->length < FAB_GRH_LEN + length) {
		fab_misuse(qp->hca, FAB_MISUSE_RECV_SHORT,
			   "a posted receive had no room for a GRH and the packet");
		*verdict = FAB_DROP_TOO_LONG;
		return NULL;
	}

	return wqe;
}

/* What comes of a request that a packet was found good for. */
static enum ib_wc_status fab_rq_status(struct fab_qp *qp,
				       const struct fab_rwqe *wqe)
{
	if (fab_sges_valid(qp->hca, wqe->sge, wqe->num_sge))
		return fab_completion_status(qp, false);

	fab_misuse(qp->hca, FAB_MISUSE_RECV_LKEY,
		   "a receive has a key of no memory region");
	return IB_WC_LOC_PROT_ERR;
}

/* --- Delivery ------------------------------------------------------------ */

static enum fab_counter fab_rq_complete(struct fab_qp *qp,
					const struct fab_rwqe *wqe,
					struct ib_wc *wc, bool solicited)
{
	struct fab_cqe cqe = {
		.qp = qp,
		.solicited = solicited,
		.ring_next = ++qp->rq.next,
	};

	lockdep_assert_held(&qp->rq.lock);

	wc->wr_id = wqe->wr_id;
	wc->opcode = IB_WC_RECV;
	wc->qp = qp->ibqp;
	cqe.wc = *wc;
	if (!fab_cq_push(qp->recv_cq, &cqe))
		return FAB_DROP_CQ_OVERFLOW;

	return wc->status == IB_WC_SUCCESS ? FAB_DELIVERED :
					     FAB_DROP_RECV_ERROR;
}

/* Count a packet's end, and what it does to the queue pair it was for. */
static void fab_rq_settle(struct fab_port *port, struct fab_qp *qp,
			  enum fab_counter verdict)
{
	fab_count(port, verdict);
	/* A completion told of the one, none can tell of the other. */
	if (verdict == FAB_DROP_RECV_ERROR)
		fab_qp_fail(qp, IB_QPS_ERR, false);
	else if (verdict == FAB_DROP_CQ_OVERFLOW)
		fab_qp_fail(qp, IB_QPS_ERR, true);
}

/**
 * fab_ud_put - copy a packet into a receive request, and complete that
 * @port: port it arrived at
 * @pkt: the packet
 * @qp: the queue pair
 * @wc_flags: what the completion says of its checksums
 *
 * Context: softirq, receive lock of @qp held.
 * Return: what became of the packet.
 */
enum fab_counter fab_ud_put(struct fab_port *port, const struct fab_packet *pkt,
			    struct fab_qp *qp, int wc_flags)
{
	struct ib_wc wc = { .wc_flags = wc_flags };
	enum fab_counter verdict;
	struct fab_rwqe *wqe;
	int pkey_index;

	lockdep_assert_held(&qp->rq.lock);

	wqe = fab_rq_peek(qp, pkt->length, &verdict);
	if (!wqe)
		return verdict;
	pkey_index = fab_ud_check_pkey(port, qp, pkt->pkey);
	if (pkey_index < 0)
		return FAB_DROP_PKEY;
	if (pkt->qkey != qp->qkey)
		return FAB_DROP_QKEY;

	wc.status = fab_rq_status(qp, wqe);
	if (wc.status != IB_WC_SUCCESS)
		return fab_rq_complete(qp, wqe, &wc, pkt->solicited);

	if (pkt->has_grh)
		fab_copy_to(wqe->sge, 0, &pkt->grh, sizeof(pkt->grh));
	fab_copy(wqe->sge, FAB_GRH_LEN, pkt->sge, pkt->num_sge);

	wc.byte_len = FAB_GRH_LEN + pkt->length;
	wc.src_qp = pkt->src_qpn;
	wc.slid = pkt->slid;
	wc.sl = pkt->sl;
	wc.pkey_index = pkey_index;
	wc.port_num = port->num;
	if (!fab_lid_is_mcast(pkt->dlid))
		wc.dlid_path_bits = pkt->dlid & ~READ_ONCE(port->lid);
	if (pkt->has_grh)
		wc.wc_flags |= IB_WC_GRH;
	if (pkt->has_imm) {
		wc.wc_flags |= IB_WC_WITH_IMM;
		wc.ex.imm_data = pkt->imm;
	}

	return fab_rq_complete(qp, wqe, &wc, pkt->solicited);
}

static void fab_ud_deliver(struct fab_port *port, struct fab_packet *pkt,
			   struct fab_qp *qp)
{
	enum fab_counter verdict;
	unsigned long flags;

	flags = fab_softirqs_off();
	spin_lock(&qp->rq.lock);
	if (unlikely(READ_ONCE(port->rx_offload)))
		verdict = fab_offload_put(port, pkt, qp);
	else
		verdict = fab_ud_put(port, pkt, qp, 0);
	spin_unlock(&qp->rq.lock);
	fab_softirqs_on(flags);

	fab_rq_settle(port, qp, verdict);
}

static void fab_ud_receive_mcast(struct fab_port *port, struct fab_packet *pkt)
{
	unsigned int copies = 0;

	if (pkt->has_grh && pkt->dest_qpn == FAB_QPN_MCAST)
		copies = fab_mcast_deliver(port, pkt, fab_ud_deliver);

	if (!copies)
		fab_count(port, FAB_DROP_NO_ATTACH);
	else
		fab_count_add(port, FAB_REPLICATED, copies - 1);
}

/**
 * fab_ud_echo - give a multicast packet to members on the sender's own port
 * @port: port it leaves from
 * @pkt: the packet
 *
 * A switch never sends a packet back to where it came from, so this is the
 * HCA's own part. Context: softirq, RCU read section.
 */
void fab_ud_echo(struct fab_port *port, struct fab_packet *pkt)
{
	if (pkt->has_grh && pkt->dest_qpn == FAB_QPN_MCAST)
		fab_count_add(port, FAB_REPLICATED,
			      fab_mcast_deliver(port, pkt, fab_ud_deliver));
}

/* IBA 4.1.1: the default prefix is always valid, beside the subnet's. */
static bool fab_port_has_gid(const struct fab_port *port,
			     const union ib_gid *gid)
{
	unsigned int i;

	if (gid->global.subnet_prefix != READ_ONCE(port->prefix) &&
	    gid->global.subnet_prefix != FAB_GID_DEFAULT_PREFIX)
		return false;

	for (i = 0; i < fab_num_gids(port); i++) {
		__be64 guid = READ_ONCE(port->guids[i]);

		if (guid && guid == gid->global.interface_id)
			return true;
	}

	return false;
}

/*
 * IBA 9.6.1.2. A multicast GID behind a unicast LID is let in: whoever receives
 * it is to get along with it.
 */
static bool fab_grh_is_ours(const struct fab_port *port,
			    const struct fab_packet *pkt)
{
	return !pkt->has_grh || fab_gid_is_mcast(&pkt->grh.dgid) ||
	       fab_port_has_gid(port, &pkt->grh.dgid);
}

/**
 * fab_ud_receive - a packet arrived at a port of an HCA
 * @port: the port
 * @pkt: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_ud_receive(struct fab_port *port, struct fab_packet *pkt)
{
	struct fab_qp *qp;

	if (READ_ONCE(port->state) < IB_PORT_ARMED) {
		fab_count(port, FAB_DROP_RCV_STATE);
		return;
	}
	if (fab_lid_is_mcast(pkt->dlid)) {
		fab_ud_receive_mcast(port, pkt);
		return;
	}
	if (!fab_port_has_lid(port, pkt->dlid)) {
		fab_count(port, FAB_DROP_NOT_OUR_LID);
		return;
	}
	if (!fab_grh_is_ours(port, pkt)) {
		fab_count(port, FAB_DROP_DGID);
		return;
	}

	/* QP0 talks on VL15 only, which is not this way. */
	qp = pkt->dest_qpn ? fab_qp_find_rcu(port, pkt->dest_qpn) : NULL;
	if (qp)
		fab_ud_deliver(port, pkt, qp);
	else
		fab_count(port, FAB_DROP_NO_QP);
}

/* An SMP reaches QP0 in every state of the port, and has no keys to check. */
static enum fab_counter fab_smp_put(struct fab_port *port,
				    const struct fab_smp *smp,
				    struct fab_qp *qp)
{
	struct ib_wc wc = {
		.byte_len = FAB_GRH_LEN + sizeof(smp->mad),
		.slid = smp->slid,
		.port_num = port->num,
	};
	enum fab_counter verdict;
	struct fab_rwqe *wqe;

	lockdep_assert_held(&qp->rq.lock);

	wqe = fab_rq_peek(qp, sizeof(smp->mad), &verdict);
	if (!wqe)
		return verdict;

	wc.status = fab_rq_status(qp, wqe);
	if (wc.status == IB_WC_SUCCESS)
		fab_copy_to(wqe->sge, FAB_GRH_LEN, &smp->mad, sizeof(smp->mad));
	return fab_rq_complete(qp, wqe, &wc, false);
}

/**
 * fab_ud_receive_smp - a subnet management packet arrived at an HCA
 * @port: the port
 * @smp: the packet
 *
 * Context: softirq, RCU read section.
 * Return: true when QP0 took it.
 */
bool fab_ud_receive_smp(struct fab_port *port, const struct fab_smp *smp)
{
	struct fab_qp *qp = fab_qp_find_rcu(port, 0);
	enum fab_counter verdict;
	unsigned long flags;

	if (smp->dlid != FAB_LID_PERMISSIVE &&
	    !fab_port_has_lid(port, smp->dlid)) {
		fab_count(port, FAB_DROP_NOT_OUR_LID);
		return false;
	}
	if (!qp) {
		fab_count(port, FAB_DROP_NO_QP);
		return false;
	}

	flags = fab_softirqs_off();
	spin_lock(&qp->rq.lock);
	verdict = fab_smp_put(port, smp, qp);
	spin_unlock(&qp->rq.lock);
	fab_softirqs_on(flags);

	/* VL15 has no flow control: without a buffer it is lost (IBA 7.6.4). */
	if (verdict == FAB_DROP_NO_RECV_WQE)
		verdict = FAB_DROP_VL15;
	fab_rq_settle(port, qp, verdict);
	return verdict == FAB_DELIVERED;
}
