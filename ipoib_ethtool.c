// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What does ethtool see of an interface?
 *
 * Reads only. An accelerated HCA driver brings its own table instead.
 *
 * Stages: driver, link settings, statistics.
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

/* Mb/s of a lane; 0 for a speed this kernel's headers do not know. */
static u32 ipoib_lane_mbps(u16 speed)
{
	switch (speed) {
	case IB_SPEED_SDR:
		return 2500;
	case IB_SPEED_DDR:
		return 5000;
	case IB_SPEED_QDR:
	case IB_SPEED_FDR10:
		return 10000;
	case IB_SPEED_FDR:
		return 14000;
	case IB_SPEED_EDR:
		return 25000;
	case IB_SPEED_HDR:
		return 50000;
	case IB_SPEED_NDR:
		return 100000;
	case IB_SPEED_XDR:
		return 200000;
	default:
		return 0;
	}
}

static int ipoib_port_mbps(struct ipoib_dev *ipd, u32 *mbps)
{
	struct ib_port_attr attr;
	int lanes;
	int err;

	err = ib_query_port(ipd->ibdev, ipd->port, &attr);
	if (err)
		return err;

	lanes = ib_width_enum_to_int(attr.active_width);
	*mbps = ipoib_lane_mbps(attr.active_speed);
	if (lanes <= 0 || !*mbps)
		return -EINVAL;

	*mbps *= lanes;
	return 0;
}

static int ipoib_get_link_ksettings(struct net_device *dev,
				    struct ethtool_link_ksettings *cmd)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	u32 mbps;
	int err;

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
	cmd->base.autoneg = AUTONEG_ENABLE;
	cmd->base.port = PORT_OTHER;
	return 0;
}

/* ---- statistics ---- */

static int ipoib_get_sset_count(struct net_device *dev, int set)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (set != ETH_SS_STATS)
		return -EOPNOTSUPP;

	return ARRAY_SIZE(ipoib_base_names) + 2 * ipd->ud.num_txq +
	       IPOIB_DROP_REASONS;
}

static void ipoib_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	unsigned int i;

	if (set != ETH_SS_STATS)
		return;

	memcpy(data, ipoib_base_names, sizeof(ipoib_base_names));
	data += sizeof(ipoib_base_names);
	for (i = 0; i < ipd->ud.num_txq; i++) {
		ethtool_sprintf(&data, "tx%u_packets", i);
		ethtool_sprintf(&data, "tx%u_bytes", i);
	}
	for (i = 0; i < IPOIB_DROP_REASONS; i++)
		ethtool_sprintf(&data, "drop_%s", ipoib_drop_name(i));
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

static void ipoib_get_ethtool_stats(struct net_device *dev,
				    struct ethtool_stats *estats, u64 *data)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_txq_totals totals;
	unsigned int i;

	data = ipoib_put_base_stats(dev, data);
	for (i = 0; i < ipd->ud.num_txq; i++) {
		ipoib_txq_stats(ipd->ud.txq[i], &totals);
		*data++ = totals.packets;
		*data++ = totals.bytes;
	}
	for (i = 0; i < IPOIB_DROP_REASONS; i++)
		*data++ = atomic64_read(&ipd->drops[i]);
}

const struct ethtool_ops ipoib_ethtool_ops = {
	.get_drvinfo = ipoib_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = ipoib_get_link_ksettings,
	.get_sset_count = ipoib_get_sset_count,
	.get_strings = ipoib_get_strings,
	.get_ethtool_stats = ipoib_get_ethtool_stats,
};
