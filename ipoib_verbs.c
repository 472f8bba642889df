// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * How is a completion queue or queue pair made, moved through its states and
 * destroyed, and what does a port say about itself?
 *
 * No policy: every function does what its caller asks and hands the errno out.
 *
 * Stages: completion queues, queue pairs, ports.
 */
#include <linux/iopoll.h>
#include <linux/minmax.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"

/* what an HCA has begun to send has left by then */
#define IPOIB_SQD_MS	20

/* ---- completion queues ---- */

/**
 * ipoib_cq_create() - make a completion queue
 * @ibdev: HCA
 * @attr: entries and vector; that is taken modulo what the HCA has
 * @handler: called in any context when the queue is armed
 * @event: called in any context when the queue is in error
 * @context: handed to both
 *
 * Return: the queue or an ERR_PTR.
 */
struct ib_cq *ipoib_cq_create(struct ib_device *ibdev,
			      const struct ib_cq_init_attr *attr,
			      ib_comp_handler handler,
			      void (*event)(struct ib_event *, void *),
			      void *context)
{
	struct ib_cq_init_attr fit = *attr;

	fit.comp_vector = attr->comp_vector % max(ibdev->num_comp_vectors, 1);

	return ib_create_cq(ibdev, handler, event, context, &fit);
}

/**
 * ipoib_cq_arm() - ask for a call at the next completion
 * @cq: completion queue
 *
 * Return: 0; positive when completions are there already and may bring no call;
 *	or an errno, and none will.
 */
int ipoib_cq_arm(struct ib_cq *cq)
{
	return ib_req_notify_cq(cq, IB_CQ_NEXT_COMP |
				    IB_CQ_REPORT_MISSED_EVENTS);
}

/* ---- queue pairs ---- */

static u32 ipoib_qp_flags(const struct ib_device *ibdev, bool receives)
{
	u32 flags = 0;

	if (ibdev->attrs.kernel_cap_flags & IBK_UD_TSO)
		flags |= IB_QP_CREATE_IPOIB_UD_LSO;
	if (!receives)
		return flags;
	if (ibdev->attrs.kernel_cap_flags & IBK_BLOCK_MULTICAST_LOOPBACK)
		flags |= IB_QP_CREATE_BLOCK_MULTICAST_LOOPBACK;
	if (ibdev->attrs.device_cap_flags & IB_DEVICE_MANAGED_FLOW_STEERING)
		flags |= IB_QP_CREATE_NETIF_QP;
	if (ibdev->attrs.kernel_cap_flags & IBK_RDMA_NETDEV_OPA)
		flags |= IB_QP_CREATE_NETDEV_USE;

	return flags;
}

/**
 * ipoib_qp_create_ud() - make a datagram queue pair
 * @pd: protection domain
 * @init: queues, context and depths; the rest is filled in here, and the
 *	depths may come back larger
 * @receives: it is the one peers know; sends only otherwise
 *
 * Return: the queue pair in RESET, or an ERR_PTR.
 */
struct ib_qp *ipoib_qp_create_ud(struct ib_pd *pd,
				 struct ib_qp_init_attr *init, bool receives)
{
	init->qp_type = IB_QPT_UD;
	init->sq_sig_type = IB_SIGNAL_REQ_WR;
	init->create_flags = ipoib_qp_flags(pd->device, receives);

	return ib_create_qp(pd, init);
}

static int ipoib_qp_to_init(struct ib_qp *qp, u32 port, u16 pkey_index,
			    u32 qkey)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_INIT,
		.port_num = port,
		.pkey_index = pkey_index,
		.qkey = qkey,
	};

	return ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_PORT |
				       IB_QP_PKEY_INDEX | IB_QP_QKEY);
}

static int ipoib_qp_to_rts(struct ib_qp *qp)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_RTR };
	int err;

	err = ib_modify_qp(qp, &attr, IB_QP_STATE);
	if (err)
		return err;

	attr.qp_state = IB_QPS_RTS;
	attr.sq_psn = 0;
	return ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_SQ_PSN);
}

/**
 * ipoib_qp_reset() - take a queue pair back to RESET
 * @qp: queue pair in any state
 *
 * Return: 0; the HCA then owns no buffer of it any more. Otherwise an errno.
 */
int ipoib_qp_reset(struct ib_qp *qp)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_RESET };

	return ib_modify_qp(qp, &attr, IB_QP_STATE);
}

/**
 * ipoib_qp_start() - take a queue pair from RESET to RTS
 * @qp: queue pair
 * @port: port it uses
 * @pkey_index: place of its P_Key in that port's table
 * @qkey: the link's, 0 before its broadcast group was ever joined
 *
 * Return: 0, or an errno with the queue pair back in RESET.
 */
int ipoib_qp_start(struct ib_qp *qp, u32 port, u16 pkey_index, u32 qkey)
{
	int err;

	err = ipoib_qp_to_init(qp, port, pkey_index, qkey);
	if (!err)
		err = ipoib_qp_to_rts(qp);
	if (err)
		ipoib_qp_reset(qp);

	return err;
}

/**
 * ipoib_qp_set_qkey() - give a running queue pair its Q_Key
 * @qp: queue pair in RTS
 * @qkey: checked on receipt, and sent where a request's own has bit 31 set
 *
 * Return: 0 or an errno.
 */
int ipoib_qp_set_qkey(struct ib_qp *qp, u32 qkey)
{
	struct ib_qp_attr attr = { .qkey = qkey };

	return ib_modify_qp(qp, &attr, IB_QP_QKEY);
}

/* A query that fails leaves it to the next modify to find out. */
static bool ipoib_qp_is_draining(struct ib_qp *qp)
{
	struct ib_qp_init_attr init;
	struct ib_qp_attr attr;

	return !ib_query_qp(qp, &attr, IB_QP_STATE, &init) && attr.sq_draining;
}

/**
 * ipoib_qp_set_pkey_index() - give a running queue pair another P_Key index
 * @qp: queue pair in RTS
 * @pkey_index: place of its P_Key in the port's table
 *
 * By way of SQD (IBA 11.2.4.2), where sends wait and nothing is lost. Not every
 * HCA has that state: mlx5 returns -EINVAL, and stays in RTS.
 *
 * Context: process; waits up to IPOIB_SQD_MS for sends under way.
 * Return: 0; or an errno with the queue pair in RTS or SQD, and the old index.
 */
int ipoib_qp_set_pkey_index(struct ib_qp *qp, u16 pkey_index)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_SQD,
		.pkey_index = pkey_index,
	};
	bool draining;
	int err, back;

	err = ib_modify_qp(qp, &attr, IB_QP_STATE);
	if (err)
		return err;

	err = read_poll_timeout(ipoib_qp_is_draining, draining, !draining,
				USEC_PER_MSEC / 10,
				IPOIB_SQD_MS * USEC_PER_MSEC, false, qp);
	if (!err)
		err = ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_PKEY_INDEX);
	attr.qp_state = IB_QPS_RTS;
	back = ib_modify_qp(qp, &attr, IB_QP_STATE);

	return err ?: back;
}

/**
 * ipoib_qp_set_error() - make the HCA give back all work requests
 * @qp: queue pair in any state but RESET
 *
 * Return: 0 or an errno.
 */
int ipoib_qp_set_error(struct ib_qp *qp)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_ERR };

	return ib_modify_qp(qp, &attr, IB_QP_STATE);
}

/**
 * ipoib_qp_sqe_to_rts() - have a queue pair send again after a failed send
 * @qp: queue pair in SQE
 *
 * Return: 0 or an errno.
 */
int ipoib_qp_sqe_to_rts(struct ib_qp *qp)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_RTS,
		.cur_qp_state = IB_QPS_SQE,
	};

	return ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_CUR_STATE);
}

/**
 * ipoib_qp_state() - the state the HCA has a queue pair in
 * @qp: queue pair
 *
 * Return: an enum ib_qp_state, or an errno when the HCA does not say.
 */
int ipoib_qp_state(struct ib_qp *qp)
{
	struct ib_qp_init_attr init;
	struct ib_qp_attr attr;
	int err;

	err = ib_query_qp(qp, &attr, IB_QP_STATE, &init);
	return err ?: attr.qp_state;
}

/**
 * ipoib_qp_state_name() - the state the HCA has a queue pair in, for a report
 * @qp: queue pair
 *
 * Return: a word; "unknown" when the HCA does not say.
 */
const char *ipoib_qp_state_name(struct ib_qp *qp)
{
	static const char * const names[] = {
		[IB_QPS_RESET] = "RESET",
		[IB_QPS_INIT] = "INIT",
		[IB_QPS_RTR] = "RTR",
		[IB_QPS_RTS] = "RTS",
		[IB_QPS_SQD] = "SQD",
		[IB_QPS_SQE] = "SQE",
		[IB_QPS_ERR] = "ERR",
	};
	int state = ipoib_qp_state(qp);

	if (state < 0 || state >= ARRAY_SIZE(names))
		return "unknown";

	return names[state];
}

/* ---- ports ---- */

/**
 * ipoib_port_max_mtu() - the largest IB MTU a port may ever use
 * @ibdev: HCA
 * @port: from 1
 * @mtu_bytes: the answer
 *
 * Return: 0 or an errno.
 */
int ipoib_port_max_mtu(struct ib_device *ibdev, u32 port,
		       unsigned int *mtu_bytes)
{
	struct ib_port_attr attr;
	int mtu;
	int err;

	err = ib_query_port(ibdev, port, &attr);
	if (err)
		return err;

	mtu = rdma_mtu_from_attr(ibdev, port, &attr);
	if (mtu <= 0)
		return -EINVAL;

	*mtu_bytes = mtu;
	return 0;
}

/**
 * ipoib_port_view() - read what a link is decided by from its port
 * @ibdev: HCA
 * @port: from 1
 * @view: gets both LIDs and the port's state; keeps them when the query fails
 */
void ipoib_port_view(struct ib_device *ibdev, u32 port,
		     struct ipoib_link_view *view)
{
	struct ib_port_attr attr;

	if (ib_query_port(ibdev, port, &attr))
		return;

	view->lid = attr.lid;
	view->sm_lid = attr.sm_lid;
	view->port_active = attr.state == IB_PORT_ACTIVE;
	view->port_serves = view->port_active && attr.lid;
}

/**
 * ipoib_port_gid() - read the port's first GID
 * @ibdev: HCA
 * @port: from 1
 * @gid: the answer
 *
 * Return: 0, or -ENOENT for one without interface id, or an errno.
 */
int ipoib_port_gid(struct ib_device *ibdev, u32 port, union ib_gid *gid)
{
	int err;

	err = rdma_query_gid(ibdev, port, 0, gid);
	if (err)
		return err;

	return gid->global.interface_id ? 0 : -ENOENT;
}

/**
 * ipoib_port_gid_index() - where a GID is in the port's table
 * @ibdev: HCA
 * @port: from 1
 * @gid: which
 *
 * Return: its index, or -ENOENT.
 */
int ipoib_port_gid_index(struct ib_device *ibdev, u32 port,
			 const union ib_gid *gid)
{
	const struct ib_gid_attr *attr;
	int index;

	attr = rdma_find_gid_by_port(ibdev, gid, IB_GID_TYPE_IB, port, NULL);
	if (IS_ERR(attr))
		return PTR_ERR(attr);

	index = attr->index;
	rdma_put_gid_attr(attr);
	return index;
}

/**
 * ipoib_port_pkey() - read an entry of the port's P_Key table
 * @ibdev: HCA
 * @port: from 1
 * @index: of the entry
 * @pkey: the answer in full-member form
 *
 * Return: 0, or -ENOENT for an entry that names no partition, or an errno.
 */
int ipoib_port_pkey(struct ib_device *ibdev, u32 port, u16 index, u16 *pkey)
{
	u16 raw;
	int err;

	err = ib_query_pkey(ibdev, port, index, &raw);
	if (err)
		return err;
	if (!ipoib_pkey_valid(raw))
		return -ENOENT;

	*pkey = ipoib_pkey_full(raw);
	return 0;
}
