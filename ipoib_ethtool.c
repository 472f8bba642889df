// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What does ethtool see of an interface, and what may it change?
 *
 * An accelerated HCA driver brings its own table instead.
 *
 * Stages: driver, link settings, moderation, rings and queues, statistics.
 */
#include <linux/ethtool.h>
#include <linux/netdevice.h>

#include <rdma/ib_verbs.h>

#include "ipoib.h"

/* the counters scripts have always found first, in this order */
static const char ipoib_base_names[][ETH_GSTRING_LEN] = {
	"rx_packets",
	"tx_packets",
	"rx_bytes",
	"tx_bytes",
	"tx_errors",
	"rx_dropped",
	"tx_dropped",
	"multicast",
};

/* ---- driver ---- */

static void ipoib_get_drvinfo(struct net_device *dev,
			      struct ethtool_drvinfo *info)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	ib_get_device_fw_str(ipd->ibdev, info->fw_version);
	strscpy(info->driver, IPOIB_NAME, sizeof(info->driver));
	if (ipd->ibdev->dev.parent)
		strscpy(info->bus_info, dev_name(ipd->ibdev->dev.parent),
			sizeof(info->bus_info));
}

/* ---- link settings ---- */

/*
 * ethtool_op_get_link() first synchronizes with linkwatch, which takes RTNL.
 * Other modules call this without it.
 */
static u32 ipoib_get_link(struct net_device *dev)
{
	return netif_carrier_ok(dev);
}

static int ipoib_port_mbps(struct ipoib_dev *ipd, u32 *mbps)
{
	struct ib_port_speed_info info;
	struct ib_port_attr attr;
	int err;

	err = ib_query_port(ipd->ibdev, ipd->port, &attr);
	if (err)
		return err;

	err = ib_port_attr_to_speed_info(&attr, &info);
	if (err)
		return err;

	/* from tenths of Gb/s */
	*mbps = info.rate * 100;
	return 0;
}

static int ipoib_get_link_ksettings(struct net_device *dev,
				    struct ethtool_link_ksettings *cmd)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	u32 mbps;
	int err;

	/* ports negotiate width and speed, and cannot do otherwise */
	__set_bit(ETHTOOL_LINK_MODE_Autoneg_BIT, cmd->link_modes.supported);
	__set_bit(ETHTOOL_LINK_MODE_Autoneg_BIT, cmd->link_modes.advertising);
	cmd->base.autoneg = AUTONEG_ENABLE;
	cmd->base.speed = SPEED_UNKNOWN;
	cmd->base.duplex = DUPLEX_UNKNOWN;
	if (!netif_carrier_ok(dev))
		return 0;

	err = ipoib_port_mbps(ipd, &mbps);
	if (err)
		return err;

	cmd->base.speed = mbps;
	cmd->base.duplex = DUPLEX_FULL;
	cmd->base.phy_address = 0xff;
	cmd->base.port = PORT_OTHER;
	return 0;
}

/* ---- moderation ---- */

static int ipoib_get_coalesce(struct net_device *dev,
			      struct ethtool_coalesce *coal,
			      struct kernel_ethtool_coalesce *kernel_coal,
			      struct netlink_ext_ack *extack)
{
	const struct ipoib_rxq *rxq = &ipoib_from_netdev(dev)->ud.rxq;

	coal->rx_coalesce_usecs = rxq->usecs;
	coal->rx_max_coalesced_frames = rxq->frames;
	return 0;
}

static int ipoib_set_coalesce(struct net_device *dev,
			      struct ethtool_coalesce *coal,
			      struct kernel_ethtool_coalesce *kernel_coal,
			      struct netlink_ext_ack *extack)
{
	/* what the verb takes */
	if (coal->rx_coalesce_usecs > U16_MAX ||
	    coal->rx_max_coalesced_frames > U16_MAX) {
		NL_SET_ERR_MSG_MOD(extack, "rx-usecs and rx-frames are 65535 at most");
		return -EINVAL;
	}

	return ipoib_ud_set_moderation(ipoib_from_netdev(dev),
				       coal->rx_coalesce_usecs,
				       coal->rx_max_coalesced_frames);
}

/* ---- rings and queues ---- */

static void ipoib_get_ringparam(struct net_device *dev,
				struct ethtool_ringparam *ring,
				struct kernel_ethtool_ringparam *kernel_ring,
				struct netlink_ext_ack *extack)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	ipoib_ud_rings_most(ipd, &ring->rx_max_pending, &ring->tx_max_pending);
	ring->rx_pending = ipd->ud.rxq.size;
	ring->tx_pending = ipd->ud.tx_size;
}

static int ipoib_set_ringparam(struct net_device *dev,
			       struct ethtool_ringparam *ring,
			       struct kernel_ethtool_ringparam *kernel_ring,
			       struct netlink_ext_ack *extack)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	u32 rx_most, tx_most, rx_least, tx_least, tx_size;
	int err;

	/* a small HCA may have less than the minimum */
	ipoib_ud_rings_most(ipd, &rx_most, &tx_most);
	rx_least = min_t(u32, IPOIB_RX_RING_LEAST, rx_most);
	tx_least = min_t(u32, IPOIB_TX_RING_LEAST, tx_most);

	if (ring->rx_mini_pending || ring->rx_jumbo_pending) {
		NL_SET_ERR_MSG_MOD(extack, "There is one receive ring, for packets of all sizes");
		return -EINVAL;
	}
	if (ring->rx_pending < rx_least) {
		NL_SET_ERR_MSG_MOD(extack, "The receive ring holds 64 packets at least");
		return -EINVAL;
	}
	if (ring->tx_pending < tx_least) {
		NL_SET_ERR_MSG_MOD(extack, "A transmit ring holds 128 packets at least");
		return -EINVAL;
	}

	tx_size = ipoib_ring_size(ring->tx_pending, tx_least, tx_most);
	err = ipoib_ud_set_rings(ipd, ring->rx_pending, tx_size);
	if (err == -EBUSY)
		NL_SET_ERR_MSG_MOD(extack, "A transmit ring does not run empty: try again");

	return err;
}

static void ipoib_get_channels(struct net_device *dev,
			       struct ethtool_channels *channels)
{
	channels->max_rx = 1;
	channels->rx_count = 1;
	channels->max_tx = min_t(unsigned int, dev->num_tx_queues,
				 IPOIB_MAX_TXQ);
	channels->tx_count = dev->real_num_tx_queues;
}

static int ipoib_set_channels(struct net_device *dev,
			      struct ethtool_channels *channels)
{
	/* more than there can be has been refused by the core */
	if (channels->rx_count != 1 || !channels->tx_count)
		return -EINVAL;

	return ipoib_ud_set_queues(ipoib_from_netdev(dev), channels->tx_count);
}

/* ---- statistics ---- */

/* each queue's */
static const char * const ipoib_queue_names[] = {
	"packets",
	"bytes",
	"stops",
	"wakes",
	"csum",
	"lso",
	"lso_packets",
};

/* of queues that are no more, so that the sums are right */
static const char * const ipoib_gone_names[] = {
	"tx_gone_packets",
	"tx_gone_bytes",
};

static const char * const ipoib_heal_names[IPOIB_HEAL_STAGES] = {
	[IPOIB_HEAL_REARM] = "heal_rearm",
	[IPOIB_HEAL_SQE] = "heal_sqe",
	[IPOIB_HEAL_RESET] = "heal_reset",
	[IPOIB_HEAL_RECREATE] = "heal_recreate",
};

static const char * const ipoib_count_names[IPOIB_COUNTS] = {
	[IPOIB_N_JOIN_REQUESTS] = "join_requests",
	[IPOIB_N_JOIN_GRANTS] = "join_grants",
	[IPOIB_N_JOIN_REFUSALS] = "join_refusals",
	[IPOIB_N_JOIN_VOIDS] = "join_voids",
	[IPOIB_N_PATH_QUERIES] = "path_queries",
	[IPOIB_N_PATH_ANSWERS] = "path_answers",
	[IPOIB_N_PATH_REFUSALS] = "path_refusals",
	[IPOIB_N_PATH_SHARED] = "path_shared",
	[IPOIB_N_NEIGH_ADDS] = "neigh_adds",
	[IPOIB_N_NEIGH_REMOVES] = "neigh_removes",
	[IPOIB_N_ANNOUNCEMENTS] = "announcements",
};

/* the receive queue's: last, as scripts may count on where the others are */
static const char ipoib_rx_names[][ETH_GSTRING_LEN] = {
	"rx0_packets",
	"rx0_bytes",
	"rx0_csum",
	"rx0_alloc_fail",
};

/*
 * How many queues have lines. A child that is down has no queues, but their
 * lines: user space reads the count, the names and the values in three calls,
 * and gets nothing when the count has changed between them.
 */
static unsigned int ipoib_num_queue_stats(const struct net_device *dev)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->lower != &ipoib_ud_netdev_ops)
		return 0;

	return min_t(unsigned int, dev->real_num_tx_queues, IPOIB_MAX_TXQ);
}

static int ipoib_get_sset_count(struct net_device *dev, int set)
{
	if (set != ETH_SS_STATS)
		return -EOPNOTSUPP;

	return ARRAY_SIZE(ipoib_base_names) +
	       ARRAY_SIZE(ipoib_queue_names) * ipoib_num_queue_stats(dev) +
	       ARRAY_SIZE(ipoib_gone_names) +
	       IPOIB_DROP_REASONS + IPOIB_HEAL_STAGES + IPOIB_COUNTS +
	       ARRAY_SIZE(ipoib_rx_names);
}

static void ipoib_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	unsigned int i, n;

	if (set != ETH_SS_STATS)
		return;

	memcpy(data, ipoib_base_names, sizeof(ipoib_base_names));
	data += sizeof(ipoib_base_names);
	for (i = 0; i < ipoib_num_queue_stats(dev); i++)
		for (n = 0; n < ARRAY_SIZE(ipoib_queue_names); n++)
			ethtool_sprintf(&data, "tx%u_%s", i,
					ipoib_queue_names[n]);
	for (i = 0; i < ARRAY_SIZE(ipoib_gone_names); i++)
		ethtool_puts(&data, ipoib_gone_names[i]);
	for (i = 0; i < IPOIB_DROP_REASONS; i++)
		ethtool_sprintf(&data, "drop_%s", ipoib_drop_name(i));
	for (i = 0; i < IPOIB_HEAL_STAGES; i++)
		ethtool_puts(&data, ipoib_heal_names[i]);
	for (i = 0; i < IPOIB_COUNTS; i++)
		ethtool_puts(&data, ipoib_count_names[i]);
	memcpy(data, ipoib_rx_names, sizeof(ipoib_rx_names));
}

static u64 *ipoib_put_base_stats(struct net_device *dev, u64 *data)
{
	struct rtnl_link_stats64 stats;

	dev_get_stats(dev, &stats);
	*data++ = stats.rx_packets;
	*data++ = stats.tx_packets;
	*data++ = stats.rx_bytes;
	*data++ = stats.tx_bytes;
	*data++ = stats.tx_errors;
	*data++ = stats.rx_dropped;
	*data++ = stats.tx_dropped;
	*data++ = stats.multicast;
	return data;
}

/* What a queue that is not there has counted is in the gone ones' sum. */
static u64 *ipoib_put_queue_stats(const struct ipoib_txq *txq, u64 *data)
{
	struct ipoib_txq_totals totals = {};

	if (txq)
		ipoib_txq_stats(txq, &totals);
	*data++ = totals.packets;
	*data++ = totals.bytes;
	*data++ = totals.stops;
	*data++ = totals.wakes;
	*data++ = totals.csum;
	*data++ = totals.lso;
	*data++ = totals.lso_packets;
	return data;
}

static u64 *ipoib_put_gone_stats(const struct ipoib_dev *ipd, u64 *data)
{
	struct ipoib_txq_totals totals;

	ipoib_ud_gone_stats(ipd, &totals);
	*data++ = totals.packets;
	*data++ = totals.bytes;
	return data;
}

static void ipoib_put_rx_stats(const struct ipoib_rxq *rxq, u64 *data)
{
	struct ipoib_rxq_totals totals;

	ipoib_rxq_stats(rxq, &totals);
	*data++ = totals.packets;
	*data++ = totals.bytes;
	*data++ = totals.csum;
	*data++ = totals.short_of;
}

static void ipoib_get_ethtool_stats(struct net_device *dev,
				    struct ethtool_stats *estats, u64 *data)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	unsigned int i;

	data = ipoib_put_base_stats(dev, data);
	for (i = 0; i < ipoib_num_queue_stats(dev); i++)
		data = ipoib_put_queue_stats(ipd->ud.txq[i], data);
	data = ipoib_put_gone_stats(ipd, data);
	for (i = 0; i < IPOIB_DROP_REASONS; i++)
		*data++ = atomic64_read(&ipd->drops[i]);
	for (i = 0; i < IPOIB_HEAL_STAGES; i++)
		*data++ = atomic64_read(&ipd->ud.heals[i]);
	for (i = 0; i < IPOIB_COUNTS; i++)
		*data++ = atomic64_read(&ipd->counts[i]);
	ipoib_put_rx_stats(&ipd->ud.rxq, data);
}

const struct ethtool_ops ipoib_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS |
				     ETHTOOL_COALESCE_RX_MAX_FRAMES,
	.get_drvinfo = ipoib_get_drvinfo,
	.get_link = ipoib_get_link,
	.get_link_ksettings = ipoib_get_link_ksettings,
	.get_ts_info = ethtool_op_get_ts_info,
	.get_coalesce = ipoib_get_coalesce,
	.set_coalesce = ipoib_set_coalesce,
	.get_ringparam = ipoib_get_ringparam,
	.set_ringparam = ipoib_set_ringparam,
	.get_channels = ipoib_get_channels,
	.set_channels = ipoib_set_channels,
	.get_sset_count = ipoib_get_sset_count,
	.get_strings = ipoib_get_strings,
	.get_ethtool_stats = ipoib_get_ethtool_stats,
};
