/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For kernels whose waking macros leave byte queue limits to the driver.
 */
#ifndef IPOIB_COMPAT_NETDEV_QUEUES_H
#define IPOIB_COMPAT_NETDEV_QUEUES_H

#include_next <net/netdev_queues.h>

#define __netif_txq_completed_wake(txq, pkts, bytes,			\
				   get_desc, start_thrs, down_cond)	\
	({								\
		netdev_tx_completed_queue(txq, pkts, bytes);		\
		__netif_txq_maybe_wake(txq, get_desc, start_thrs,	\
				       down_cond);			\
	})

#endif /* IPOIB_COMPAT_NETDEV_QUEUES_H */
