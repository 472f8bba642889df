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
 * A verb that can be made to fail. Those that give something back are not among
 * them: ib_core takes no failure of them from anybody but user space.
 */
enum fab_verb {
	/* of the HCA */
	FAB_VERB_QUERY_PORT,
	FAB_VERB_QUERY_PKEY,
	FAB_VERB_QUERY_GID,
	FAB_VERB_ALLOC_PD,
	FAB_VERB_GET_DMA_MR,
	FAB_VERB_CREATE_AH,
	FAB_VERB_CREATE_CQ,
	FAB_VERB_MODIFY_CQ,
	FAB_VERB_REQ_NOTIFY_CQ,
	/* of a queue pair from here on */
	FAB_VERB_CREATE_QP,
	FAB_VERB_MODIFY_QP,
	FAB_VERB_QUERY_QP,
	FAB_VERB_POST_SEND,
	FAB_VERB_POST_RECV,
	FAB_VERB_ATTACH_MCAST,
	FAB_VERB_DETACH_MCAST,
	FAB_VERBS,
};

#define FAB_VERB_FIRST_OF_QP FAB_VERB_CREATE_QP

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
		     enum ib_qp_type type);
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
 *
 * Context: any.
 * Return: 0 or the errno to fail with.
 */
static inline int fab_verb_fault(struct fab_hca *hca, enum fab_verb verb)
{
	return fab_hca_has_faults() ?
	       __fab_verb_fault(hca->node, verb, IB_QPT_MAX) : 0;
}

/**
 * fab_qp_fault - the same, of a queue pair's verb
 * @qp: the queue pair
 * @verb: the verb
 *
 * Return: 0 or the errno to fail with.
 */
static inline int fab_qp_fault(const struct fab_qp *qp, enum fab_verb verb)
{
	return fab_hca_has_faults() ?
	       __fab_verb_fault(qp->hca->node, verb, qp->type) : 0;
}

/**
 * fab_verb_refused - the same, of a verb that a torn out HCA has not
 * @hca: where it was called
 * @verb: which one
 *
 * Return: 0 or the errno to fail with.
 */
static inline int fab_verb_refused(struct fab_hca *hca, enum fab_verb verb)
{
	return READ_ONCE(hca->dead) ? -EIO : fab_verb_fault(hca, verb);
}

/**
 * fab_qp_refused - the same, of a queue pair's verb
 * @qp: the queue pair
 * @verb: the verb
 *
 * Return: 0 or the errno to fail with.
 */
static inline int fab_qp_refused(const struct fab_qp *qp, enum fab_verb verb)
{
	return READ_ONCE(qp->hca->dead) ? -EIO : fab_qp_fault(qp, verb);
}

/**
 * fab_create_qp_refused - the same, of a queue pair that is not there yet
 * @hca: the HCA
 * @type: of the queue pair
 *
 * Return: 0 or the errno to fail with.
 */
static inline int fab_create_qp_refused(struct fab_hca *hca,
					enum ib_qp_type type)
{
	if (READ_ONCE(hca->dead))
		return -EIO;

	return fab_hca_has_faults() ?
	       __fab_verb_fault(hca->node, FAB_VERB_CREATE_QP, type) : 0;
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
