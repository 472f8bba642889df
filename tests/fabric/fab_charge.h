/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How much memory would the queues take on a real HCA?
 *
 * The fabric's own rings cost what their structs do, which says nothing of
 * what a driver asks of hardware. These are the sizes of the buffers that the
 * drivers of two HCAs allocate for kernel users, as they stand in Linux 7.3.
 * What firmware and the drivers' own bookkeeping take comes on top.
 */
#ifndef FAB_CHARGE_H
#define FAB_CHARGE_H

#include <linux/align.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/types.h>
#include <rdma/ib_verbs.h>

/* Segments of a work request, the same in mlx4 and mlx5: bytes */
#define FAB_CHARGE_CTRL		16
#define FAB_CHARGE_DATAGRAM	48
#define FAB_CHARGE_DATA		16
#define FAB_CHARGE_INLINE	4

/* A completion, where cache lines have 64 bytes */
#define FAB_CHARGE_CQE		64

/* mlx4: room for the headers of a large send, MLX4_IB_LSO_HEADER_SPARE */
#define FAB_CHARGE_MLX4_LSO	128
/* mlx4: headers and ICRC of a management packet, send_wqe_overhead() */
#define FAB_CHARGE_MLX4_MAD	(16 + 96 + 16)
/* mlx4: slots that the HCA may read ahead, MLX4_IB_MAX_HEADROOM */
#define FAB_CHARGE_MLX4_AHEAD	2048

/* mlx5: padding and offload segment of a queue pair for large sends */
#define FAB_CHARGE_MLX5_LSO	(16 + 16)
/* mlx5: unit of a send queue, MLX5_SEND_WQE_BB */
#define FAB_CHARGE_MLX5_UNIT	64

/**
 * struct fab_charge_qp - what a queue pair was created with
 * @type: IB_QPT_UD, IB_QPT_GSI or IB_QPT_SMI
 * @lso: IB_QP_CREATE_IPOIB_UD_LSO
 * @cap: as asked for
 */
struct fab_charge_qp {
	enum ib_qp_type type;
	bool lso;
	struct ib_qp_cap cap;
};

/**
 * fab_charge_mlx4_qp - buffer of a queue pair, set_kernel_sq_size() of mlx4
 * @qp: the queue pair
 *
 * Slots and their number are powers of two each, and the number includes those
 * that the HCA may read ahead of the last one.
 * Return: bytes.
 */
static inline u64 fab_charge_mlx4_qp(const struct fab_charge_qp *qp)
{
	u32 before = FAB_CHARGE_CTRL + FAB_CHARGE_DATAGRAM;
	u32 data = max(qp->cap.max_send_sge * FAB_CHARGE_DATA,
		       qp->cap.max_inline_data + FAB_CHARGE_INLINE);
	u32 slot, spare, recv;

	if (qp->type != IB_QPT_UD)
		before = FAB_CHARGE_MLX4_MAD;
	else if (qp->lso)
		before += FAB_CHARGE_MLX4_LSO;

	slot = roundup_pow_of_two(before + data);
	spare = FAB_CHARGE_MLX4_AHEAD / slot + 1;
	recv = roundup_pow_of_two(max(qp->cap.max_recv_sge, 1U)) *
	       FAB_CHARGE_DATA;

	return (u64)roundup_pow_of_two(qp->cap.max_send_wr + spare) * slot +
	       (u64)roundup_pow_of_two(max(qp->cap.max_recv_wr, 1U)) * recv;
}

/**
 * fab_charge_mlx5_qp - buffer of a queue pair, calc_sq_size() of mlx5
 * @qp: the queue pair
 *
 * Slots are multiples of 64 bytes, and their sum is a power of two.
 * Return: bytes.
 */
static inline u64 fab_charge_mlx5_qp(const struct fab_charge_qp *qp)
{
	u32 before = FAB_CHARGE_CTRL + FAB_CHARGE_DATAGRAM;
	u32 data = qp->cap.max_send_sge * FAB_CHARGE_DATA;
	u64 send = 0, recv = 0;
	u32 slot;

	if (qp->cap.max_inline_data)
		data = max(data, qp->cap.max_inline_data + FAB_CHARGE_INLINE);
	if (qp->type == IB_QPT_UD && qp->lso)
		before += FAB_CHARGE_MLX5_LSO;
	slot = ALIGN(before + data, FAB_CHARGE_MLX5_UNIT);
	if (qp->cap.max_send_wr)
		send = roundup_pow_of_two((u64)qp->cap.max_send_wr * slot);

	slot = roundup_pow_of_two(max(qp->cap.max_recv_sge, 1U)) *
	       FAB_CHARGE_DATA;
	if (qp->cap.max_recv_wr)
		recv = max_t(u64, FAB_CHARGE_MLX5_UNIT, (u64)slot *
			     roundup_pow_of_two(qp->cap.max_recv_wr));

	return send + recv;
}

/**
 * fab_charge_cq - buffer of a completion queue, in mlx4 and mlx5
 * @cqe: completions asked for
 *
 * One entry always stays free, so a power of two takes twice its size.
 * Return: bytes.
 */
static inline u64 fab_charge_cq(u32 cqe)
{
	return (u64)roundup_pow_of_two(cqe + 1) * FAB_CHARGE_CQE;
}

#endif /* FAB_CHARGE_H */
