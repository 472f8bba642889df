/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For kernels that have all of page_pool in one header, and want to be told
 * when pages are to be handed out in parts.
 */
#ifndef IPOIB_COMPAT_PAGE_POOL_HELPERS_H
#define IPOIB_COMPAT_PAGE_POOL_HELPERS_H

#ifdef IPOIB_LACKS_PAGE_POOL_HELPERS
#include <net/page_pool.h>

static inline struct page_pool *
ipoib_page_pool_create(const struct page_pool_params *params)
{
	struct page_pool_params parts = *params;

	parts.flags |= PP_FLAG_PAGE_FRAG;
	return page_pool_create(&parts);
}

#define page_pool_create	ipoib_page_pool_create
#else
#include_next <net/page_pool/helpers.h>
#endif

#endif /* IPOIB_COMPAT_PAGE_POOL_HELPERS_H */
