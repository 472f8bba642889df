/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For kernels that have all of page_pool in one header.
 */
#ifndef IPOIB_COMPAT_PAGE_POOL_TYPES_H
#define IPOIB_COMPAT_PAGE_POOL_TYPES_H

#ifdef IPOIB_LACKS_PAGE_POOL_HELPERS
#include <net/page_pool.h>
#else
#include_next <net/page_pool/types.h>
#endif

#endif /* IPOIB_COMPAT_PAGE_POOL_TYPES_H */
