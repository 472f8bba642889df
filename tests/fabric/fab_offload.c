// SPDX-License-Identifier: GPL-2.0
/*
 * Which checksums does an HCA write and check, and how does it cut a large
 * send?
 *
 * A packet that the HCA changed is its own headers, on the stack here, before a
 * stretch of the sender's scatter list: the payload stays where it is until it
 * is copied, once, to the receiver.
 *
 * IB_SEND_IP_CSUM asks for the sums of IP, TCP and UDP. IB_DEVICE_UD_IP_CSUM
 * and IBK_UD_TSO promise them, and IB_WR_LSO, for IPv4. No bit of the verbs
 * speaks of IPv6: an HCA with csum=on or lso=on serves the same requests for
 * IPv6, too, and another leaves such packets as they are and fails such large
 * sends. A driver that wants to know has to try, on a queue pair that sends to
 * itself, which no real HCA makes different.
 *
 * Sums are written when the request asks for them, in a series as well.
 *
 * The file "rx_csum" of a port's folder "faults" takes "none RULE": the HCA
 * does not vouch for a packet it could vouch for; "bad RULE": the TCP or UDP
 * sum of a packet is damaged, so that somebody must drop it; or "off".
 *
 * Order of this file: headers, sending, segments, receiving, faults.
 */
#include "fab_check_run.h"
#include "fab_debugfs.h"
#include "fab_offload.h"

/* --- Headers ------------------------------------------------------------- */

/**
 * struct fab_front - headers of its own before somebody else's payload
 * @head: the headers
 * @have: bytes of @head
 * @at: where things are in it
 * @sge: @head, then the rest, which is what is left of a list of FAB_MAX_SGE,
 *	or of another front's, whose first entry @head replaces
 */
struct fab_front {
	u8 head[FAB_HEADERS_MAX] __aligned(8);
	u32 have;
	struct fab_layout at;
	struct ib_sge sge[FAB_MAX_SGE + 1];
};

/* Writing to @front->head changes the packet from now on. */
static void fab_front_attach(struct fab_front *front, struct fab_packet *pkt,
			     const struct ib_sge *payload, u32 offset,
			     u32 length)
{
	front->sge[0].addr = (uintptr_t)front->head;
	front->sge[0].length = front->have;
	front->sge[0].lkey = FAB_LOCAL_LKEY;
	pkt->sge = front->sge;
	pkt->num_sge = 1 + fab_sges_slice(&front->sge[1], payload, offset,
					  length);
}

/* Copies the headers; false when this is no IP packet. */
static bool fab_front_read(struct fab_front *front,
			   const struct fab_packet *pkt)
{
	front->have = min_t(u32, pkt->length, sizeof(front->head));
	fab_copy_head(front->head, front->have, pkt->sge);
	return fab_layout_read(&front->at, front->head, front->have,
			       pkt->length);
}

/* The sum of what transport covers behind the headers. */
static __wsum fab_front_rest(const struct fab_front *front,
			     const struct fab_packet *pkt)
{
	struct ib_sge rest[FAB_MAX_SGE + 1];
	u32 length;

	if (!front->at.proto || front->at.end <= front->have)
		return 0;

	length = front->at.end - front->have;
	fab_sges_slice(rest, pkt->sge, front->have, length);
	return fab_sges_sum(rest, length);
}

/* FAB_FAMILY_* whose checksums the HCA of a port writes and checks. */
static u32 fab_csum_families(const struct fab_port *port)
{
	return port->node->shape.csum;
}

/* --- Sending ------------------------------------------------------------- */

static void fab_csum_fill(struct fab_front *front, struct fab_packet *pkt)
{
	__wsum rest = fab_front_rest(front, pkt);

	fab_sums_fill(front->head, front->have, &front->at, rest);
	fab_front_attach(front, pkt, pkt->sge, front->have,
			 pkt->length - front->have);
	fab_count(pkt->src, FAB_CSUM_MADE);
}

static void fab_csum_send(struct fab_qp *qp, struct fab_packet *pkt)
{
	const struct ib_sge *asked = pkt->sge;
	struct fab_front front;

	if (!fab_csum_families(qp->port))
		fab_misuse(qp->hca, FAB_MISUSE_POST_CSUM,
			   "a send asks for checksums, which this HCA does not make");
	if (fab_front_read(&front, pkt) &&
	    (front.at.family & fab_csum_families(qp->port)))
		fab_csum_fill(&front, pkt);

	if (fab_check_is_on())
		fab_check_sent(pkt, asked, fab_csum_families(qp->port));
	fab_ud_emit(qp, pkt);
}

/* --- Segments ------------------------------------------------------------ */

/**
 * struct fab_cut - a request that is being cut
 * @qp: whose it is
 * @series: what is asked for
 * @payload: the sender's scatter list
 * @sums: write checksums
 * @check: what the checker keeps of it
 */
struct fab_cut {
	struct fab_qp *qp;
	struct fab_series series;
	const struct ib_sge *payload;
	bool sums;
	struct fab_check_run check;
};

static void fab_lso_segment(struct fab_cut *cut, u32 index,
			    struct fab_packet *pkt)
{
	u32 bytes = fab_series_bytes(&cut->series, index);
	struct fab_front front;

	front.have = cut->series.hlen;
	fab_series_header(&cut->series, index, front.head, &front.at);
	fab_front_attach(&front, pkt, cut->payload, index * cut->series.mss,
			 bytes);
	fab_packet_set_length(pkt, front.have + bytes);
	if (cut->sums)
		fab_sums_fill(front.head, front.have, &front.at,
			      fab_sges_sum(&front.sge[1], bytes));

	if (unlikely(cut->check.begun))
		fab_check_next(&cut->check, pkt);
	fab_count(pkt->src, FAB_LSO_SEGMENTS);
	fab_ud_emit(cut->qp, pkt);
}

static void fab_lso_cut(struct fab_cut *cut, struct fab_packet *pkt)
{
	u32 count = fab_series_count(&cut->series);
	u32 i;

	fab_count(pkt->src, FAB_LSO_REQUESTS);
	cut->check = (struct fab_check_run) {
		.series = {
			.header = cut->series.header,
			.hlen = cut->series.hlen,
			.mss = cut->series.mss,
			.payload = cut->series.payload,
			.sums = cut->sums,
		},
		.payload = cut->payload,
		.begun = fab_check_is_on(),
	};
	for (i = 0; i < count; i++)
		fab_lso_segment(cut, i, pkt);
	if (unlikely(cut->check.begun))
		fab_check_end(&cut->check, pkt);
}

static enum ib_wc_status fab_lso_send(struct fab_qp *qp,
				      const struct fab_swqe *wqe,
				      struct fab_packet *pkt)
{
	struct fab_cut cut = {
		.qp = qp,
		.payload = pkt->sge,
		.sums = wqe->flags & IB_SEND_IP_CSUM,
	};

	if (!fab_series_init(&cut.series, fab_swqe_header(&qp->sq, wqe),
			     wqe->hlen, wqe->mss, wqe->length) ||
	    !(cut.series.at.family & qp->port->node->shape.lso)) {
		fab_misuse(qp->hca, FAB_MISUSE_POST_LSO,
			   "an LSO request's headers are not of TCP over an IP that this HCA cuts");
		return IB_WC_LOC_QP_OP_ERR;
	}

	fab_lso_cut(&cut, pkt);
	return IB_WC_SUCCESS;
}

/**
 * fab_offload_send - execute a send request that asks for more than a copy
 * @qp: the queue pair
 * @wqe: the request
 * @pkt: the packet it would be without; the scatter list is the request's
 *
 * Context: tasklet of @qp, RCU read section.
 * Return: what the completion is to say.
 */
enum ib_wc_status fab_offload_send(struct fab_qp *qp,
				   const struct fab_swqe *wqe,
				   struct fab_packet *pkt)
{
	if (wqe->flags & FAB_SEND_LSO)
		return fab_lso_send(qp, wqe, pkt);

	fab_csum_send(qp, pkt);
	return IB_WC_SUCCESS;
}

/* --- Receiving ----------------------------------------------------------- */

static bool fab_csum_vouch(struct fab_port *port, const struct fab_front *front,
			   const struct fab_packet *pkt)
{
	return (front->at.family & fab_csum_families(port)) &&
	       fab_sums_right(front->head, front->have, &front->at,
			      fab_front_rest(front, pkt));
}

static int fab_csum_flags(struct fab_port *port, const struct fab_front *front,
			  const struct fab_packet *pkt)
{
	bool right = fab_csum_vouch(port, front, pkt);

	if (fab_check_is_on())
		fab_check_vouched(port, pkt, right, fab_csum_families(port));
	if (!right || fab_rule_strikes(&port->rx_fault[FAB_RX_NONE]))
		return 0;

	fab_count(port, FAB_CSUM_VOUCHED);
	return IB_WC_IP_CSUM_OK;
}

/**
 * fab_offload_put - fab_ud_put() for a port that looks at checksums
 * @port: port the packet arrived at
 * @pkt: the packet
 * @qp: the queue pair
 *
 * Context: softirq, receive lock of @qp held.
 * Return: what became of the packet.
 */
enum fab_counter fab_offload_put(struct fab_port *port,
				 const struct fab_packet *pkt,
				 struct fab_qp *qp)
{
	struct fab_packet mine = *pkt;
	struct fab_front front;

	/* IPoIB is spoken between UD queue pairs only. */
	if (qp->type != IB_QPT_UD || !fab_front_read(&front, pkt))
		return fab_ud_put(port, pkt, qp, 0);

	if (front.at.proto && fab_rule_strikes(&port->rx_fault[FAB_RX_BAD])) {
		fab_sum_damage(front.head, &front.at);
		fab_front_attach(&front, &mine, pkt->sge, front.have,
				 pkt->length - front.have);
	}

	return fab_ud_put(port, &mine, qp,
			  fab_csum_flags(port, &front, &mine));
}

/* --- Faults -------------------------------------------------------------- */

static const char * const fab_rx_fault_names[FAB_RX_FAULTS] = {
	[FAB_RX_NONE] = "none",
	[FAB_RX_BAD] = "bad",
};

/* Writers of any port's rules; changes are rare. */
static DEFINE_MUTEX(fab_rx_fault_mutex);

static void fab_rx_update(struct fab_port *port)
{
	u8 looked_at = fab_csum_families(port);
	int i;

	lockdep_assert_held(&fab_rx_fault_mutex);

	for (i = 0; i < FAB_RX_FAULTS; i++) {
		if (fab_rule_is_on(&port->rx_fault[i]))
			looked_at |= FAB_RX_FAULTY;
	}
	WRITE_ONCE(port->rx_offload, looked_at);
}

/* One line: "off", or a fault and its rule. */
static int fab_rx_fault_set(struct fab_port *port, char *line)
{
	char *name = strsep(&line, " ");
	char off[] = "off";
	int which;

	if (!line && !strcmp(name, "off")) {
		for (which = 0; which < FAB_RX_FAULTS; which++)
			fab_rule_parse(&port->rx_fault[which], off);
		return 0;
	}

	which = match_string(fab_rx_fault_names, FAB_RX_FAULTS, name);
	if (which < 0 || !line)
		return -EINVAL;

	return fab_rule_parse(&port->rx_fault[which], line);
}

static ssize_t fab_rx_csum_write(struct file *file, const char __user *from,
				 size_t count, loff_t *pos)
{
	struct fab_port *port = fab_file_private(file);
	char line[48];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;

	mutex_lock(&fab_rx_fault_mutex);
	err = fab_rx_fault_set(port, line);
	fab_rx_update(port);
	mutex_unlock(&fab_rx_fault_mutex);
	return err ? err : count;
}

static int fab_rx_csum_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;
	int i;

	for (i = 0; i < FAB_RX_FAULTS; i++) {
		seq_printf(m, "%s ", fab_rx_fault_names[i]);
		fab_rule_show(m, &port->rx_fault[i]);
		seq_putc(m, '\n');
	}
	return 0;
}

FAB_KNOB(rx_csum, "off, or a name that reading shows, and RULE; " FAB_RULE_WORDS);

/**
 * fab_offload_debugfs - create the file "rx_csum"
 * @port: port of an HCA
 * @faults: its folder "faults"
 */
void fab_offload_debugfs(struct fab_port *port, struct dentry *faults)
{
	debugfs_create_file("rx_csum", 0600, faults, port, &fab_rx_csum_fops);
}

/**
 * fab_offload_port_init - before a port sees packets
 * @port: a port; its node's shape is set
 */
void fab_offload_port_init(struct fab_port *port)
{
	mutex_lock(&fab_rx_fault_mutex);
	fab_rx_update(port);
	mutex_unlock(&fab_rx_fault_mutex);
}
