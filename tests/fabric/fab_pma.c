// SPDX-License-Identifier: GPL-2.0
/*
 * What does a node answer to the performance manager?
 *
 * Every counter is a sum of what fab_count() counted at the port, less what
 * that sum was when somebody cleared it. So the packets' way knows nothing of
 * widths, of saturation or of clearing.
 *
 * Order of this file: fields, counters of a port, attributes, dispatch, the
 * agent of a switch.
 */
#include <rdma/ib_pma.h>

#include "fabric.h"

/* IBA 16.1.3 and 16.1.4, attributes that ib_pma.h does not name */
#define FAB_PMA_RCV_ERROR_DETAILS	cpu_to_be16(0x0015)
#define FAB_PMA_XMIT_DISCARD_DETAILS	cpu_to_be16(0x0016)

/* ClassPortInfo: PortXmitWait is there, IBA table 16.1 */
#define FAB_PMA_CAP_XMIT_WAIT		cpu_to_be16(0x1000)
#define FAB_PMA_ALL_PORTS		0xff
/* ClassPortInfo.RespTimeValue: 4.096 us * 2^18, about a second */
#define FAB_PMA_RESP_TIME		18

/* --- Fields -------------------------------------------------------------- */

/**
 * struct fab_pma_field - one counter of an attribute
 * @bit: where it begins, in bits from the start of the attribute
 * @width: 4, 8, 16, 32 or 64 bits
 * @select: its bit among CounterSelect and, from 16 on, CounterSelect2
 * @add: counters it is the sum of, by bit
 * @sub: counters taken off the sum, by bit
 *
 * A field without any counter stands for something that cannot happen on this
 * fabric; it can be set, as every counter can.
 */
struct fab_pma_field {
	u16 bit;
	u8 width;
	u8 select;
	u64 add;
	u64 sub;
};

static_assert(FAB_COUNTERS <= 64);

#define FAB_OF(name)		BIT_ULL(FAB_##name)
#define FAB_OF_INACTIVE		(FAB_OF(DROP_LINK_DOWN) | \
				 FAB_OF(DROP_PORT_STATE))
#define FAB_OF_DLID		(FAB_OF(DROP_NO_ROUTE) | \
				 FAB_OF(DROP_NO_MEMBER))
#define FAB_OF_LOOPING		(FAB_OF(DROP_LOOPING) | FAB_OF(DROP_HOPS))

/* IBA 16.1.3.5; CounterSelect2 is at bit 144 */
static const struct fab_pma_field fab_pma_port_counters[] = {
	/* SymbolError, LinkErrorRecovery, LinkDowned */
	{ 32, 16, 0 },
	{ 48, 8, 1 },
	{ 56, 8, 2, FAB_OF(LINK_DOWNED) },
	/* PortRcvErrors, RemotePhysicalErrors, SwitchRelayErrors */
	{ 64, 16, 3, FAB_OF(DROP_FAULT_CORRUPT) },
	{ 80, 16, 4 },
	{ 96, 16, 5, FAB_OF_DLID | FAB_OF_LOOPING },
	/* PortXmitDiscards, PortXmit- and PortRcvConstraintErrors */
	{ 112, 16, 6, FAB_OF_INACTIVE | FAB_OF(DROP_MTU) },
	{ 128, 8, 7 },
	{ 136, 8, 8 },
	/* LocalLinkIntegrity, ExcessiveBufferOverrun, VL15Dropped */
	{ 152, 4, 9 },
	{ 156, 4, 10 },
	{ 176, 16, 11, FAB_OF(DROP_VL15) },
	/* PortXmitData, RcvData, XmitPkts, RcvPkts, XmitWait */
	{ 192, 32, 12, FAB_OF(XMIT_WORDS) },
	{ 224, 32, 13, FAB_OF(RCV_WORDS) },
	{ 256, 32, 14, FAB_OF(XMIT_PACKETS) },
	{ 288, 32, 15, FAB_OF(RCV_PACKETS) },
	{ 320, 32, 16 },
};

/* IBA 16.1.4.11: data, packets, unicast and multicast packets */
static const struct fab_pma_field fab_pma_port_counters_ext[] = {
	{ 64, 64, 0, FAB_OF(XMIT_WORDS) },
	{ 128, 64, 1, FAB_OF(RCV_WORDS) },
	{ 192, 64, 2, FAB_OF(XMIT_PACKETS) },
	{ 256, 64, 3, FAB_OF(RCV_PACKETS) },
	{ 320, 64, 4, FAB_OF(XMIT_PACKETS), FAB_OF(XMIT_MCAST) },
	{ 384, 64, 5, FAB_OF(RCV_PACKETS), FAB_OF(RCV_MCAST) },
	{ 448, 64, 6, FAB_OF(XMIT_MCAST) },
	{ 512, 64, 7, FAB_OF(RCV_MCAST) },
};

/* IBA 16.1.4.1: local physical, malformed, overrun, DLID mapping, VL mapping,
 * looping
 */
static const struct fab_pma_field fab_pma_rcv_error_details[] = {
	{ 32, 16, 0, FAB_OF(DROP_FAULT_CORRUPT) },
	{ 48, 16, 1 },
	{ 64, 16, 2 },
	{ 80, 16, 3, FAB_OF_DLID },
	{ 96, 16, 4 },
	{ 112, 16, 5, FAB_OF_LOOPING },
};

/* IBA 16.1.4.2: inactive, neighbour MTU, switch lifetime, head-of-queue */
static const struct fab_pma_field fab_pma_xmit_discard_details[] = {
	{ 32, 16, 0, FAB_OF_INACTIVE },
	{ 48, 16, 1, FAB_OF(DROP_MTU) },
	{ 64, 16, 2 },
	{ 80, 16, 3 },
};

#define FAB_PMA_FIRST_EXT	ARRAY_SIZE(fab_pma_port_counters)
#define FAB_PMA_FIRST_RCV	(FAB_PMA_FIRST_EXT + \
				 ARRAY_SIZE(fab_pma_port_counters_ext))
#define FAB_PMA_FIRST_XMIT	(FAB_PMA_FIRST_RCV + \
				 ARRAY_SIZE(fab_pma_rcv_error_details))

static_assert(FAB_PMA_FIRST_XMIT + ARRAY_SIZE(fab_pma_xmit_discard_details) ==
	      FAB_PMA_FIELDS);

/**
 * struct fab_pma_attr - an attribute that is made of counters
 * @id: attribute ID
 * @fields: its counters
 * @num: length of @fields
 * @first: place of the first among a port's @pma_base
 * @select2: byte with CounterSelect2, 0 when there is none
 */
struct fab_pma_attr {
	__be16 id;
	const struct fab_pma_field *fields;
	unsigned int num;
	unsigned int first;
	unsigned int select2;
};

static const struct fab_pma_attr fab_pma_attrs[] = {
	{
		.id = IB_PMA_PORT_COUNTERS,
		.fields = fab_pma_port_counters,
		.num = ARRAY_SIZE(fab_pma_port_counters),
		.select2 = offsetof(struct ib_pma_portcounters, reserved1),
	}, {
		.id = IB_PMA_PORT_COUNTERS_EXT,
		.fields = fab_pma_port_counters_ext,
		.num = ARRAY_SIZE(fab_pma_port_counters_ext),
		.first = FAB_PMA_FIRST_EXT,
	}, {
		.id = FAB_PMA_RCV_ERROR_DETAILS,
		.fields = fab_pma_rcv_error_details,
		.num = ARRAY_SIZE(fab_pma_rcv_error_details),
		.first = FAB_PMA_FIRST_RCV,
	}, {
		.id = FAB_PMA_XMIT_DISCARD_DETAILS,
		.fields = fab_pma_xmit_discard_details,
		.num = ARRAY_SIZE(fab_pma_xmit_discard_details),
		.first = FAB_PMA_FIRST_XMIT,
	},
};

/* What all these attributes begin with. */
struct fab_pma_head {
	u8 reserved;
	u8 port_select;
	__be16 counter_select;
} __packed;

static_assert(sizeof(struct fab_pma_head) == 4);

/* Every field is aligned to its width, from the start of the MAD on. */
static u64 fab_pma_get(const u8 *data, const struct fab_pma_field *field)
{
	const void *at = data + field->bit / 8;

	switch (field->width) {
	case 4:
		return field->bit % 8 ? *(u8 *)at & 0xf : *(u8 *)at >> 4;
	case 8:
		return *(u8 *)at;
	case 16:
		return be16_to_cpup(at);
	case 32:
		return be32_to_cpup(at);
	default:
		return be64_to_cpup(at);
	}
}

/* A counter that has reached its end stays there. */
static void fab_pma_put(u8 *data, const struct fab_pma_field *field, u64 value)
{
	u64 value_max = GENMASK_ULL(field->width - 1, 0);
	void *at = data + field->bit / 8;

	value = min(value, value_max);
	switch (field->width) {
	case 4:
		*(u8 *)at |= field->bit % 8 ? value : value << 4;
		break;
	case 8:
		*(u8 *)at = value;
		break;
	case 16:
		*(__be16 *)at = cpu_to_be16(value);
		break;
	case 32:
		*(__be32 *)at = cpu_to_be32(value);
		break;
	default:
		*(__be64 *)at = cpu_to_be64(value);
	}
}

/* --- Counters of a port -------------------------------------------------- */

/**
 * fab_stats_add - add what a port has counted, on all processors
 * @sum: what to add to
 * @port: the port
 */
void fab_stats_add(struct fab_stats *sum, const struct fab_port *port)
{
	int cpu, i;

	for_each_possible_cpu(cpu) {
		const struct fab_stats *one = per_cpu_ptr(port->stats, cpu);

		for (i = 0; i < FAB_COUNTERS; i++)
			sum->count[i] += one->count[i];
	}
}

static u64 fab_pma_raw(const struct fab_stats *stats,
		       const struct fab_pma_field *field)
{
	u64 value = 0;
	int i;

	for (i = 0; i < FAB_COUNTERS; i++) {
		if (field->add & BIT_ULL(i))
			value += stats->count[i];
		if (field->sub & BIT_ULL(i))
			value -= stats->count[i];
	}

	return value;
}

static void fab_pma_add(const struct fab_port *port,
			const struct fab_pma_attr *attr, u64 *values)
{
	const u64 *base = port->pma_base + attr->first;
	struct fab_stats stats = {};
	unsigned int i;

	lockdep_assert_held(&fabric.ctl);

	fab_stats_add(&stats, port);
	for (i = 0; i < attr->num; i++)
		values[i] += fab_pma_raw(&stats, &attr->fields[i]) - base[i];
}

static bool fab_pma_selects(const struct fab_pma_attr *attr, const u8 *data,
			    const struct fab_pma_field *field)
{
	const struct fab_pma_head *head = (const void *)data;

	if (field->select < 16)
		return be16_to_cpu(head->counter_select) & BIT(field->select);

	return data[attr->select2] & BIT(field->select - 16);
}

static void fab_pma_set(struct fab_port *port, const struct fab_pma_attr *attr,
			const u8 *data)
{
	u64 *base = port->pma_base + attr->first;
	struct fab_stats stats = {};
	unsigned int i;

	lockdep_assert_held(&fabric.ctl);

	fab_stats_add(&stats, port);
	for (i = 0; i < attr->num; i++) {
		const struct fab_pma_field *field = &attr->fields[i];

		if (fab_pma_selects(attr, data, field))
			base[i] = fab_pma_raw(&stats, field) -
				  fab_pma_get(data, field);
	}
}

/* --- Attributes ---------------------------------------------------------- */

/* The ports that PortSelect means: from @first to @last. */
static bool fab_pma_range(const struct fab_node *node, u8 select,
			  unsigned int *first, unsigned int *last)
{
	bool is_switch = fab_node_is_switch(node);

	*first = select;
	*last = select;
	if (is_switch && select == FAB_PMA_ALL_PORTS) {
		*first = 1;
		*last = node->num_ports;
	}

	return *last <= node->num_ports && (is_switch || select);
}

static void fab_pma_fill(const struct fab_node *node, unsigned int first,
			 unsigned int last, const struct fab_pma_attr *attr,
			 u8 *data)
{
	u64 values[FAB_PMA_FIELDS] = {};
	unsigned int i;

	for (i = first; i <= last; i++)
		fab_pma_add(&node->ports[i], attr, values);
	for (i = 0; i < attr->num; i++)
		fab_pma_put(data, &attr->fields[i], values[i]);
}

static __be16 fab_pma_counters(struct fab_node *node, u8 method,
			       const struct fab_pma_attr *attr, u8 *data)
{
	struct fab_pma_head head;
	unsigned int first, last, i;
	unsigned long flags;

	memcpy(&head, data, sizeof(head));
	if (!fab_pma_range(node, head.port_select, &first, &last))
		return FAB_MAD_BAD_VALUE;

	spin_lock_irqsave(&fabric.ctl, flags);
	for (i = first; method == IB_MGMT_METHOD_SET && i <= last; i++)
		fab_pma_set(&node->ports[i], attr, data);
	memset(data, 0, sizeof_field(struct ib_pma_mad, data));
	memcpy(data, &head, sizeof(head));
	fab_pma_fill(node, first, last, attr, data);
	spin_unlock_irqrestore(&fabric.ctl, flags);
	return 0;
}

static __be16 fab_pma_class_port_info(const struct fab_node *node, u8 method,
				      u8 *data)
{
	struct ib_class_port_info *info = (void *)data;

	/* There is no trap to send and nobody to send it to. */
	if (method != IB_MGMT_METHOD_GET)
		return FAB_MAD_BAD_ATTR;

	memset(data, 0, sizeof_field(struct ib_pma_mad, data));
	info->base_version = IB_MGMT_BASE_VERSION;
	info->class_version = 1;
	info->capability_mask = IB_PMA_CLASS_CAP_EXT_WIDTH |
				FAB_PMA_CAP_XMIT_WAIT;
	if (fab_node_is_switch(node))
		info->capability_mask |= IB_PMA_CLASS_CAP_ALLPORTSELECT;
	ib_set_cpi_resp_time(info, FAB_PMA_RESP_TIME);
	return 0;
}

/* --- Dispatch ------------------------------------------------------------ */

static __be16 fab_pma_serve(struct fab_node *node, struct ib_pma_mad *mad)
{
	unsigned int i;

	if (mad->mad_hdr.base_version != IB_MGMT_BASE_VERSION ||
	    mad->mad_hdr.class_version != 1)
		return FAB_MAD_BAD_VERSION;
	if (mad->mad_hdr.method != IB_MGMT_METHOD_GET &&
	    mad->mad_hdr.method != IB_MGMT_METHOD_SET)
		return FAB_MAD_BAD_METHOD;
	if (mad->mad_hdr.attr_id == IB_PMA_CLASS_PORT_INFO)
		return fab_pma_class_port_info(node, mad->mad_hdr.method,
					       mad->data);

	if (mad->mad_hdr.attr_mod)
		return FAB_MAD_BAD_VALUE;

	for (i = 0; i < ARRAY_SIZE(fab_pma_attrs); i++) {
		if (fab_pma_attrs[i].id == mad->mad_hdr.attr_id)
			return fab_pma_counters(node, mad->mad_hdr.method,
						&fab_pma_attrs[i], mad->data);
	}

	return FAB_MAD_BAD_ATTR;
}

/**
 * fab_pma_answer - serve a packet of the performance management class
 * @port: a port of the node that is asked
 * @req: the packet
 * @resp: the answer, a GetResp
 *
 * Context: any.
 * Return: false when it asks for nothing and gets no answer.
 */
bool fab_pma_answer(struct fab_port *port, const struct ib_mad *req,
		    struct ib_mad *resp)
{
	if (!fab_mad_is_request(&req->mad_hdr))
		return false;

	*resp = *req;
	resp->mad_hdr.status = fab_pma_serve(port->node,
					     (struct ib_pma_mad *)resp);
	resp->mad_hdr.method = IB_MGMT_METHOD_GET_RESP;
	return true;
}

/* --- The agent of a switch ----------------------------------------------- */

/* What QP1 of port 0 does with a packet, and its own P_Key that lets it in. */
static enum fab_counter fab_gmp_verdict(const struct fab_port *port0,
					const struct fab_packet *pkt, u16 *pkey)
{
	int index = fab_port_find_pkey(port0, pkt->pkey);

	if (!fab_port_has_lid(port0, pkt->dlid))
		return FAB_DROP_NOT_OUR_LID;
	if (pkt->dest_qpn != 1)
		return FAB_DROP_NO_QP;
	if (index < 0)
		return FAB_DROP_PKEY;
	if (pkt->qkey != IB_QP1_QKEY)
		return FAB_DROP_QKEY;

	*pkey = READ_ONCE(port0->pkeys[index]);
	return pkt->length == sizeof(struct ib_mad) ? FAB_DELIVERED :
						      FAB_DROP_SWITCH_GMP;
}

static bool fab_gmp_answer(struct fab_port *port0, const struct ib_mad *req,
			   struct ib_mad *resp)
{
	if (req->mad_hdr.mgmt_class == IB_MGMT_CLASS_PERF_MGMT)
		return fab_pma_answer(port0, req, resp);
	if (!fab_mad_is_request(&req->mad_hdr))
		return false;

	/* A class that nobody here serves, IBA 13.4.7. */
	*resp = *req;
	resp->mad_hdr.status = FAB_MAD_BAD_VERSION;
	resp->mad_hdr.method = IB_MGMT_METHOD_GET_RESP;
	return true;
}

static void fab_gmp_send(struct fab_port *port0, const struct fab_packet *to,
			 u16 pkey, const struct ib_mad *mad)
{
	struct ib_sge sge = {
		.addr = (uintptr_t)mad,
		.length = sizeof(*mad),
		.lkey = FAB_LOCAL_LKEY,
	};
	struct fab_packet pkt = {
		.src = port0,
		.src_qpn = 1,
		.slid = to->dlid,
		.dlid = to->slid,
		.sl = to->sl,
		.has_grh = to->has_grh,
		.pkey = pkey,
		.dest_qpn = to->src_qpn,
		.qkey = IB_QP1_QKEY,
		.grh = to->grh,
		.sge = &sge,
		.num_sge = 1,
		.length = sizeof(*mad),
	};

	pkt.grh.sgid = to->grh.dgid;
	pkt.grh.dgid = to->grh.sgid;
	fab_count(port0, FAB_SENT);
	fab_switch_unicast(port0, &pkt);
}

/**
 * fab_pma_switch_gmp - a packet for the switch itself
 * @in: port it arrived at
 * @pkt: the packet
 *
 * Port 0 has one queue pair beside QP0, and behind it the performance agent
 * alone. Context: softirq, RCU read section.
 */
void fab_pma_switch_gmp(struct fab_port *in, struct fab_packet *pkt)
{
	struct fab_port *port0 = &in->node->ports[0];
	struct ib_mad req, resp;
	enum fab_counter verdict;
	u16 pkey;

	verdict = fab_gmp_verdict(port0, pkt, &pkey);
	if (verdict == FAB_DELIVERED) {
		fab_copy_from(&req, pkt->sge, pkt->num_sge);
		if (!fab_gmp_answer(port0, &req, &resp))
			verdict = FAB_DROP_SWITCH_GMP;
	}

	fab_count(in, verdict);
	if (verdict == FAB_DELIVERED)
		fab_gmp_send(port0, pkt, pkey, &resp);
}
