/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For kernels that declare segmentation in linux/skbuff.h and netdevice.h.
 */
#ifndef IPOIB_COMPAT_GSO_H
#define IPOIB_COMPAT_GSO_H

#ifdef IPOIB_LACKS_GSO_HEADER
#include <linux/skbuff.h>
#else
#include_next <net/gso.h>
#endif

#endif /* IPOIB_COMPAT_GSO_H */
