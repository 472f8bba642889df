/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When are offloaded packets shown to the checker? While "offload_check" is on.
 */
#ifndef FAB_CHECK_RUN_H
#define FAB_CHECK_RUN_H

#include "fab_check.h"
#include "fabric.h"

struct dentry;

/**
 * struct fab_check_run - a request for segmentation under the checker's eyes
 * @series: what is to come
 * @payload: the sender's scatter list
 * @begun: the checker was on when it began, and still has seen all of it
 */
struct fab_check_run {
	struct fab_check_series series;
	const struct ib_sge *payload;
	bool begun;
};

extern bool fab_checking;

static inline bool fab_check_is_on(void)
{
	return unlikely(READ_ONCE(fab_checking));
}

void fab_check_sent(const struct fab_packet *pkt, const struct ib_sge *asked,
		    u32 families);
void fab_check_vouched(const struct fab_port *port,
		       const struct fab_packet *pkt, bool vouched,
		       u32 families);
void fab_check_next(struct fab_check_run *run, const struct fab_packet *pkt);
void fab_check_end(struct fab_check_run *run, const struct fab_packet *pkt);
void fab_check_debugfs(struct dentry *root);

#endif /* FAB_CHECK_RUN_H */
