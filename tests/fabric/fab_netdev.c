// SPDX-License-Identifier: GPL-2.0
/*
 * Which netdev does an HCA's driver bring along for IPoIB?
 *
 * Accelerated drivers have queues and counters of their own, and send by
 * themselves. Here such a one has the queues and the counters, and then leaves
 * the sending to IPoIB: what IPoIB makes of the rest is to be seen without a
 * second way of sending.
 *
 * Order of this file: counters, the netdev.
 */
#include <linux/netdevice.h>

#include <rdma/ib_verbs.h>

#include "fabric.h"

/* --- Counters ------------------------------------------------------------ */

/* What the netdev is said to have received by itself, in packets and bytes. */
#define FAB_NETDEV_PACKETS	1000
#define FAB_NETDEV_BYTES	64000

/* Transmit queues, as many as any driver of IPoIB may want. */
#define FAB_NETDEV_TXQS		8

static void fab_netdev_get_stats64(struct net_device *dev,
				   struct rtnl_link_stats64 *stats)
{
	stats->rx_packets = FAB_NETDEV_PACKETS;
	stats->rx_bytes = FAB_NETDEV_BYTES;
	stats->multicast = FAB_NETDEV_PACKETS;
}

/* --- The netdev ---------------------------------------------------------- */

/* IPoIB's own, and the counters: the same for every netdev. */
static struct net_device_ops fab_netdev_ops;

static int fab_netdev_init(struct ib_device *ibdev, u32 port_num,
			   struct net_device *dev, void *param)
{
	if (dev->netdev_ops) {
		fab_netdev_ops = *dev->netdev_ops;
		fab_netdev_ops.ndo_get_stats64 = fab_netdev_get_stats64;
		dev->netdev_ops = &fab_netdev_ops;
	}

	return -EOPNOTSUPP;
}

static int fab_netdev_get_params(struct ib_device *ibdev, u32 port_num,
				 enum rdma_netdev_t type,
				 struct rdma_netdev_alloc_params *params)
{
	if (type != RDMA_NETDEV_IPOIB)
		return -EOPNOTSUPP;

	params->sizeof_priv = sizeof(struct rdma_netdev);
	params->txqs = FAB_NETDEV_TXQS;
	params->rxqs = to_fab_hca(ibdev)->node->shape.rxqs;
	params->initialize_rdma_netdev = fab_netdev_init;
	return 0;
}

static const struct ib_device_ops fab_netdev_verbs = {
	.rdma_netdev_get_params = fab_netdev_get_params,
};

/**
 * fab_netdev_offer - give an HCA a netdev of its own, if it has one; ib_core
 *	reads a missing operation as "not supported"
 * @hca: the HCA, not registered yet
 */
void fab_netdev_offer(struct fab_hca *hca)
{
	if (hca->node->shape.rxqs)
		ib_set_device_ops(&hca->ibdev, &fab_netdev_verbs);
}
