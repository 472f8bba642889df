/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What goes wrong in an HCA: verbs that fail, completions that are late, say
 * something else, or find no room.
 *
 * Faults belong to the node, so they outlast unplugging. Each is replaced as a
 * whole and read under RCU. While no HCA has one, the data path pays for a
 * branch that is never taken.
 */
#ifndef FAB_HCAFAULT_H
#define FAB_HCAFAULT_H

#include <linux/jump_label.h>

#include "fab_rule.h"
#include "fabric.h"

/*
 * A verb that can be made to fail, or to take its time. ib_core takes no
 * failure from anybody but user space where something is given back: those can
 * be slow, and no more.
 */
enum fab_verb {
	FAB_VERB_QUERY_PORT,
	FAB_VERB_QUERY_PKEY,
	FAB_VERB_QUERY_GID,
	FAB_VERB_ALLOC_PD,
	FAB_VERB_DEALLOC_PD,
	FAB_VERB_GET_DMA_MR,
	FAB_VERB_DEREG_MR,
	FAB_VERB_CREATE_AH,
	FAB_VERB_CREATE_CQ,
	FAB_VERB_MODIFY_CQ,
	FAB_VERB_DESTROY_CQ,
	FAB_VERB_REQ_NOTIFY_CQ,
	FAB_VERB_CREATE_QP,
	FAB_VERB_MODIFY_QP,
	FAB_VERB_QUERY_QP,
	FAB_VERB_DESTROY_QP,
	FAB_VERB_POST_SEND,
	FAB_VERB_POST_RECV,
	FAB_VERB_ATTACH_MCAST,
	FAB_VERB_DETACH_MCAST,
	FAB_VERBS,
};

/**
 * enum fab_mishap - what can happen to a completion
 * @FAB_MISHAP_HOLD: it is seen later
 * @FAB_MISHAP_STATUS: it says that the request failed
 * @FAB_MISHAP_OVERFLOW: its queue has no room for it
 * @FAB_MISHAP_LOSE_EVENT: the event it raises is lost
 * @FAB_MISHAP_WR_ID: its wr_id is not the request's
 * @FAB_MISHAPS: how many there are
 */
enum fab_mishap {
	FAB_MISHAP_HOLD,
	FAB_MISHAP_STATUS,
	FAB_MISHAP_OVERFLOW,
	FAB_MISHAP_LOSE_EVENT,
	FAB_MISHAP_WR_ID,
	FAB_MISHAPS,
};

struct fab_fault_of_verb;
struct fab_fault_of_completion;

/**
 * struct fab_hca_faults - all that is wrong with an HCA
 * @lock: writers
 * @verbs: by verb; written under @lock, read under RCU
 * @completions: by mishap; written under @lock, read under RCU
 */
struct fab_hca_faults {
	struct mutex lock; /* writers */
	struct fab_fault_of_verb __rcu *verbs[FAB_VERBS];
	struct fab_fault_of_completion __rcu *completions[FAB_MISHAPS];
};

/* True while any HCA has a fault. */
DECLARE_STATIC_KEY_FALSE(fab_hca_faults_on);

/* fab_hcafault.c */
int fab_hca_faults_create(struct fab_node *node);
void fab_hca_faults_destroy(struct fab_node *node);
void fab_hca_faults_debugfs(struct fab_node *node, struct dentry *dir);
int fab_fault_get_types(const char *word, unsigned long *types);
void fab_fault_show_types(struct seq_file *m, unsigned long types);

/* fab_verbfault.c */
int __fab_verb_fault(struct fab_node *node, enum fab_verb verb,
		     unsigned long types);
void __fab_post_delay(const struct fab_qp *qp, enum fab_verb verb);
void fab_verbfault_clear(struct fab_hca_faults *faults);
void fab_verbfault_debugfs(struct fab_node *node, struct dentry *dir);

/* fab_complfault.c */
ktime_t __fab_completion_due(const struct fab_cqe *cqe);
enum ib_wc_status __fab_completion_status(const struct fab_qp *qp,
					  bool is_send);
bool __fab_completion_overflows(const struct fab_cqe *cqe);
bool __fab_completion_loses_event(const struct fab_cqe *cqe);
u64 __fab_completion_wr_id_xor(const struct fab_cqe *cqe);
void fab_complfault_clear(struct fab_node *node);
void fab_complfault_debugfs(struct fab_node *node, struct dentry *dir);

static inline bool fab_hca_has_faults(void)
{
	return static_branch_unlikely(&fab_hca_faults_on);
}

/**
 * fab_verb_fault - is a verb to fail this time
 * @hca: where it was called
 * @verb: which one
 * @types: kinds of queue pairs it is about, bits of enum ib_qp_type; 0 when
 *	that is not known
 *
 * Context: any.
 * Return: 0 or the errno to fail with.
 */
static inline int fab_verb_fault(struct fab_hca *hca, enum fab_verb verb,
				 unsigned long types)
{
	return fab_hca_has_faults() ?
	       __fab_verb_fault(hca->node, verb, types) : 0;
}

/**
 * fab_command - the same, of a verb that is a command to the firmware
 * @hca: where it was called
 * @verb: which one
 * @types: kinds of queue pairs it is about, as for fab_verb_fault()
 *
 * A real HCA's driver sleeps until the firmware has answered. So does this
 * when a test has it do so, and callers have to be ready for it always.
 * Context: may sleep.
 * Return: 0 or the errno to fail with.
 */
static inline int fab_command(struct fab_hca *hca, enum fab_verb verb,
			      unsigned long types)
{
	might_sleep();
	return fab_verb_fault(hca, verb, types);
}

/**
 * fab_command_refused - the same, of a verb that a torn out HCA has not
 * @hca: where it was called
 * @verb: which one
 * @types: kinds of queue pairs it is about, as for fab_verb_fault()
 *
 * Context: may sleep.
 * Return: 0 or the errno to fail with.
 */
static inline int fab_command_refused(struct fab_hca *hca, enum fab_verb verb,
				      unsigned long types)
{
	might_sleep();
	return READ_ONCE(hca->dead) ? -EIO : fab_verb_fault(hca, verb, types);
}

/**
 * fab_post_delay - let some time pass before requests are taken
 * @qp: the queue pair
 * @verb: FAB_VERB_POST_SEND or FAB_VERB_POST_RECV
 *
 * Context: any, no lock of @qp held; never sleeps.
 */
static inline void fab_post_delay(const struct fab_qp *qp, enum fab_verb verb)
{
	if (fab_hca_has_faults())
		__fab_post_delay(qp, verb);
}

/**
 * fab_completion_status - is a request to fail without being executed
 * @qp: whose it is
 * @is_send: a send request
 *
 * Context: RCU read section.
 * Return: IB_WC_SUCCESS when not.
 */
static inline enum ib_wc_status
fab_completion_status(const struct fab_qp *qp, bool is_send)
{
	return fab_hca_has_faults() ? __fab_completion_status(qp, is_send) :
				      IB_WC_SUCCESS;
}

#endif /* FAB_HCAFAULT_H */
