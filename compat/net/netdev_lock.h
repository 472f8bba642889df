/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For kernels whose netdevs have no lock of their own: RTNL is all there is.
 */
#ifndef IPOIB_COMPAT_NETDEV_LOCK_H
#define IPOIB_COMPAT_NETDEV_LOCK_H

#include <linux/netdevice.h>

static inline void netdev_lock_ops(struct net_device *dev)
{
}

static inline void netdev_unlock_ops(struct net_device *dev)
{
}

#endif /* IPOIB_COMPAT_NETDEV_LOCK_H */
