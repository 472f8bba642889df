/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What can an HCA be made to look like?
 */
#ifndef FAB_SHAPE_H
#define FAB_SHAPE_H

#include <linux/bits.h>
#include <linux/types.h>

/* Bits of csum and lso: the order of their words makes the place a mask. */
#define FAB_FAMILY_IPV4		BIT(0)
#define FAB_FAMILY_IPV6		BIT(1)

/*
 * Headers an HCA looks at: encapsulation, IP, TCP with all their options (124
 * bytes of IPv4), or the usual extensions of IPv6. Also the most a request for
 * segmentation may bring, as that is copied into the ring.
 */
#define FAB_HEADERS_MAX		128

/* Largest tables that a shape may ask for. */
#define FAB_MAX_PORTS		2
#define FAB_MAX_PKEYS		1024
#define FAB_MAX_GIDS		8

/**
 * enum fab_protocol - what a port speaks, in the order of their words
 * @FAB_PROTOCOL_IB: InfiniBand
 * @FAB_PROTOCOL_ROCE: RDMA over Ethernet
 * @FAB_PROTOCOL_IWARP: RDMA over TCP
 *
 * Only ib_core and its clients are told; what is not InfiniBand goes nowhere.
 */
enum fab_protocol {
	FAB_PROTOCOL_IB,
	FAB_PROTOCOL_ROCE,
	FAB_PROTOCOL_IWARP,
};

/**
 * struct fab_shape - what one HCA can do
 * @csum: FAB_FAMILY_*, whose checksums it makes and checks
 * @lso: FAB_FAMILY_*, whose large sends it cuts
 * @sg: SGEs a send request of a UD queue pair may have
 * @max_inline: bytes a send request may carry in itself
 * @mcast_loopback: it can keep a multicast packet from its own sender
 * @vectors: completion vectors; 0 for the fabric's default
 * @max_wr: requests that a ring of a UD queue pair may hold
 * @modify_cq: it moderates completions
 * @pkeys: length of each port's P_Key table
 * @ports: ports it has
 * @mtu: MTUCap of its ports, less one: enum ib_mtu begins with 1
 * @dma: 0 when an SGE has a kernel pointer, 1 when a DMA address
 * @guids: length of each port's GUID table
 * @vfs: virtual functions
 * @vf: it says that it is one itself
 * @local_lkey: it has a key for all of local memory, without a region
 * @rxqs: receive queues of the netdev it brings along; 0 without one
 * @port1: what its first port speaks, an enum fab_protocol
 * @port2: the second one
 * @post_in_reset: a queue pair takes requests in every state, and keeps them
 *	until it gets where they are executed
 * @cq_clean: a queue pair's move to RESET removes its completions from their
 *	queues
 * @cmd_ms: time that a verb takes which is a command to the firmware
 *
 * What may be asked for stands in fab_shape.c.
 *
 * QP0 and QP1 are not bound by @sg and @max_wr: ib_mad does not ask.
 */
struct fab_shape {
	u32 csum;
	u32 lso;
	u32 sg;
	u32 max_inline;
	u32 mcast_loopback;
	u32 vectors;
	u32 max_wr;
	u32 modify_cq;
	u32 pkeys;
	u32 ports;
	u32 mtu;
	u32 dma;
	u32 guids;
	u32 vfs;
	u32 vf;
	u32 local_lkey;
	u32 rxqs;
	u32 port1;
	u32 port2;
	u32 post_in_reset;
	u32 cq_clean;
	u32 cmd_ms;
};

#endif /* FAB_SHAPE_H */
