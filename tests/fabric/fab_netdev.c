// SPDX-License-Identifier: GPL-2.0
/*
 * Which netdev does an HCA's driver bring along for IPoIB?
 *
 * Accelerated drivers have queues and counters of their own, and send by
 * themselves. Here such a one has the queues, the counters and a word in the
 * MTU, and then leaves the sending to IPoIB: what IPoIB makes of the rest is to
 * be seen without a second way of sending.
 *
 * Order of this file: counters, the netdev.
 */
#include <linux/netdevice.h>

#include <rdma/ib_verbs.h>

#include "fabric.h"

/* --- Counters ------------------------------------------------------------ */

/* What the netdev is said to have received by itself. */
#define FAB_NETDEV_PACKETS	1000
#define FAB_NETDEV_LENGTH	64

/* An MTU is so many bytes, or a multiple. */
#define FAB_NETDEV_WORD		4

/* Transmit queues, as many as any driver of IPoIB may want. */
#define FAB_NETDEV_TXQS		8

static struct pcpu_sw_netstats __percpu *fab_netdev_count(void)
{
	struct pcpu_sw_netstats __percpu *counters;
	struct pcpu_sw_netstats *one;

	counters = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	if (!counters)
		return NULL;

	one = raw_cpu_ptr(counters);
	u64_stats_set(&one->rx_packets, FAB_NETDEV_PACKETS);
	u64_stats_set(&one->rx_bytes, FAB_NETDEV_PACKETS * FAB_NETDEV_LENGTH);
	return counters;
}

/* --- The netdev ---------------------------------------------------------- */

/* As if rings were made anew: words of them, and no packets meanwhile. */
static int fab_netdev_change_mtu(struct net_device *dev, int new_mtu)
{
	if (netif_carrier_ok(dev))
		return -EBUSY;
	if (new_mtu % FAB_NETDEV_WORD)
		return -ERANGE;

	WRITE_ONCE(dev->mtu, new_mtu);
	return 0;
}

/*
 * Counters and operations are the HCA's, which outlives its netdevs. IPoIB has
 * put its own operations there, the same for all of them.
 */
static int fab_netdev_init(struct ib_device *ibdev, u32 port_num,
			   struct net_device *dev, void *param)
{
	struct fab_hca *hca = to_fab_hca(ibdev);

	dev->tstats = hca->tstats;
	hca->netdev_ops = *dev->netdev_ops;
	hca->netdev_ops.ndo_change_mtu = fab_netdev_change_mtu;
	dev->netdev_ops = &hca->netdev_ops;
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
	if (!hca->node->shape.rxqs)
		return;

	hca->tstats = fab_netdev_count();
	if (hca->tstats)
		ib_set_device_ops(&hca->ibdev, &fab_netdev_verbs);
}

/**
 * fab_netdev_withdraw - undo fab_netdev_offer()
 * @hca: the HCA, not registered any more
 */
void fab_netdev_withdraw(struct fab_hca *hca)
{
	free_percpu(hca->tstats);
}
