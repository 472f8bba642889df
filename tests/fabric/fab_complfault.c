// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to completions?
 *
 *	fab<i>/faults/completions
 *		stall [WHICH]			hold them back
 *		release				let go what is held back
 *		delay_us=N [WHICH]		each is seen N us later
 *		status=NAME|NUMBER RULE [WHICH]	the request fails
 *		overflow RULE [WHICH]		the queue finds no room for it
 *		lose_event RULE [WHICH]		the event it raises is lost
 *		wr_id RULE xor=N [WHICH]	its wr_id is altered
 *		off				none of these
 *	WHICH	[qp=ud|gsi|smi|any] [dir=send|recv|any]; ud and any
 *
 * A queue holds back from the first completion on that is concerned, so what
 * comes behind it waits, too, and their order stays. A request that fails is
 * not executed. Nothing is held back in an HCA that is being unplugged.
 *
 * A rule of lose_event counts events. When it strikes, the queue is not armed
 * any more and its handler is not called, as when an interrupt is lost.
 *
 * Order of this file: striking, words, writing, showing, life.
 */
#include <linux/ktime.h>
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_hcafault.h"

/* Longest delay: a minute */
#define FAB_DELAY_MAX_US (60 * USEC_PER_SEC)

#define FAB_DIR_RECV	BIT(0)
#define FAB_DIR_SEND	BIT(1)

/**
 * struct fab_fault_of_completion - something that happens to completions
 * @rule: when; not asked by FAB_MISHAP_HOLD
 * @types: of which queue pairs, bits of enum ib_qp_type
 * @dirs: FAB_DIR_*
 * @delay_us: FAB_MISHAP_HOLD: how long, 0 until they are released
 * @status: FAB_MISHAP_STATUS: what they say
 * @xor: FAB_MISHAP_WR_ID: what is changed in their wr_id
 * @rcu: frees this
 */
struct fab_fault_of_completion {
	struct fab_rule rule;
	unsigned long types;
	unsigned int dirs;
	u32 delay_us;
	enum ib_wc_status status;
	u64 xor;
	struct rcu_head rcu;
};

/* --- Striking ------------------------------------------------------------ */

/* The fault, when it concerns completions of this kind. */
static struct fab_fault_of_completion *
fab_complfault_find_rcu(const struct fab_qp *qp, bool is_send,
			enum fab_mishap mishap)
{
	unsigned int dir = is_send ? FAB_DIR_SEND : FAB_DIR_RECV;
	struct fab_fault_of_completion *fault;

	fault = rcu_dereference(qp->hca->node->faults->completions[mishap]);
	return fault && (fault->types & BIT(qp->type)) && (fault->dirs & dir) ?
	       fault : NULL;
}

/**
 * __fab_completion_due - when is a completion to be seen
 * @cqe: the completion
 *
 * Context: any.
 * Return: 0 for now, KTIME_MAX when it is to wait for its release.
 */
ktime_t __fab_completion_due(const struct fab_cqe *cqe)
{
	struct fab_fault_of_completion *fault;
	ktime_t due = 0;

	if (!READ_ONCE(cqe->qp->hca->listening))
		return 0;

	rcu_read_lock();
	fault = fab_complfault_find_rcu(cqe->qp, cqe->is_send,
					FAB_MISHAP_HOLD);
	if (fault)
		due = fault->delay_us ? ktime_add_us(ktime_get(),
						     fault->delay_us) :
					KTIME_MAX;
	rcu_read_unlock();

	return due;
}

/**
 * __fab_completion_status - what fab_completion_status() does when there are
 *	faults
 * @qp: whose request it is
 * @is_send: a send request
 *
 * Context: any.
 * Return: IB_WC_SUCCESS when it does not fail.
 */
enum ib_wc_status __fab_completion_status(const struct fab_qp *qp, bool is_send)
{
	enum ib_wc_status status = IB_WC_SUCCESS;
	struct fab_fault_of_completion *fault;

	rcu_read_lock();
	fault = fab_complfault_find_rcu(qp, is_send, FAB_MISHAP_STATUS);
	if (fault && fab_rule_strikes(&fault->rule))
		status = fault->status;
	rcu_read_unlock();

	return status;
}

static bool fab_complfault_strikes(const struct fab_cqe *cqe,
				   enum fab_mishap mishap)
{
	struct fab_fault_of_completion *fault;
	bool strikes;

	rcu_read_lock();
	fault = fab_complfault_find_rcu(cqe->qp, cqe->is_send, mishap);
	strikes = fault && fab_rule_strikes(&fault->rule);
	rcu_read_unlock();

	return strikes;
}

/**
 * __fab_completion_overflows - is a queue to have no room for a completion
 * @cqe: the completion
 *
 * Context: any.
 * Return: true when it has none.
 */
bool __fab_completion_overflows(const struct fab_cqe *cqe)
{
	return fab_complfault_strikes(cqe, FAB_MISHAP_OVERFLOW);
}

/**
 * __fab_completion_loses_event - is the event of a completion to be lost
 * @cqe: the completion; its queue was armed and is not any more
 *
 * Context: any.
 * Return: true when the handler must not be called.
 */
bool __fab_completion_loses_event(const struct fab_cqe *cqe)
{
	return fab_complfault_strikes(cqe, FAB_MISHAP_LOSE_EVENT);
}

/**
 * __fab_completion_wr_id_xor - what is wrong with the wr_id of a completion
 * @cqe: the completion
 *
 * Context: any.
 * Return: the bits to invert, 0 for none.
 */
u64 __fab_completion_wr_id_xor(const struct fab_cqe *cqe)
{
	struct fab_fault_of_completion *fault;
	u64 xor = 0;

	rcu_read_lock();
	fault = fab_complfault_find_rcu(cqe->qp, cqe->is_send,
					FAB_MISHAP_WR_ID);
	if (fault && fab_rule_strikes(&fault->rule))
		xor = fault->xor;
	rcu_read_unlock();

	return xor;
}

/* --- Words --------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned int dirs;
} fab_dirs[] = {
	{ "send", FAB_DIR_SEND },
	{ "recv", FAB_DIR_RECV },
	{ "any", FAB_DIR_SEND | FAB_DIR_RECV },
};

static int fab_dirs_parse(const char *word, unsigned int *dirs)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_dirs); i++) {
		if (strcmp(word, fab_dirs[i].name))
			continue;
		*dirs = fab_dirs[i].dirs;
		return 0;
	}

	return -EINVAL;
}

static const char * const fab_wc_names[] = {
	[IB_WC_SUCCESS] = "SUCCESS",
	[IB_WC_LOC_LEN_ERR] = "LOC_LEN_ERR",
	[IB_WC_LOC_QP_OP_ERR] = "LOC_QP_OP_ERR",
	[IB_WC_LOC_EEC_OP_ERR] = "LOC_EEC_OP_ERR",
	[IB_WC_LOC_PROT_ERR] = "LOC_PROT_ERR",
	[IB_WC_WR_FLUSH_ERR] = "WR_FLUSH_ERR",
	[IB_WC_MW_BIND_ERR] = "MW_BIND_ERR",
	[IB_WC_BAD_RESP_ERR] = "BAD_RESP_ERR",
	[IB_WC_LOC_ACCESS_ERR] = "LOC_ACCESS_ERR",
	[IB_WC_REM_INV_REQ_ERR] = "REM_INV_REQ_ERR",
	[IB_WC_REM_ACCESS_ERR] = "REM_ACCESS_ERR",
	[IB_WC_REM_OP_ERR] = "REM_OP_ERR",
	[IB_WC_RETRY_EXC_ERR] = "RETRY_EXC_ERR",
	[IB_WC_RNR_RETRY_EXC_ERR] = "RNR_RETRY_EXC_ERR",
	[IB_WC_LOC_RDD_VIOL_ERR] = "LOC_RDD_VIOL_ERR",
	[IB_WC_REM_INV_RD_REQ_ERR] = "REM_INV_RD_REQ_ERR",
	[IB_WC_REM_ABORT_ERR] = "REM_ABORT_ERR",
	[IB_WC_INV_EECN_ERR] = "INV_EECN_ERR",
	[IB_WC_INV_EEC_STATE_ERR] = "INV_EEC_STATE_ERR",
	[IB_WC_FATAL_ERR] = "FATAL_ERR",
	[IB_WC_RESP_TIMEOUT_ERR] = "RESP_TIMEOUT_ERR",
	[IB_WC_GENERAL_ERR] = "GENERAL_ERR",
};

/* Not success: that is what they say without a fault. */
static int fab_wc_parse(const char *word, enum ib_wc_status *status)
{
	unsigned int number;
	int found = match_string(fab_wc_names, ARRAY_SIZE(fab_wc_names), word);

	if (found >= 0)
		number = found;
	else if (kstrtouint(word, 0, &number))
		return -EINVAL;
	if (!number || number >= ARRAY_SIZE(fab_wc_names))
		return -EINVAL;

	*status = number;
	return 0;
}

static int fab_complfault_option(struct fab_fault_of_completion *fault,
				 enum fab_mishap mishap, char *word)
{
	if (!strncmp(word, "qp=", 3))
		return fab_fault_get_types(word + 3, &fault->types);
	if (!strncmp(word, "dir=", 4))
		return fab_dirs_parse(word + 4, &fault->dirs);
	if (mishap == FAB_MISHAP_WR_ID && !strncmp(word, "xor=", 4))
		return kstrtou64(word + 4, 0, &fault->xor);
	if (mishap == FAB_MISHAP_HOLD || !strcmp(word, "off"))
		return -EINVAL;

	return fab_rule_parse(&fault->rule, word);
}

static int fab_complfault_options(struct fab_fault_of_completion *fault,
				  enum fab_mishap mishap, char *words)
{
	char *word;
	int err;

	while ((word = strsep(&words, " \t"))) {
		if (!*word)
			continue;
		err = fab_complfault_option(fault, mishap, word);
		if (err)
			return err;
	}
	if (mishap != FAB_MISHAP_HOLD && !fab_rule_is_on(&fault->rule))
		return -EINVAL;
	if (mishap == FAB_MISHAP_WR_ID && !fault->xor)
		return -EINVAL;

	return 0;
}

/* Of those whose first word is nothing but a name */
static const char * const fab_mishap_names[FAB_MISHAPS] = {
	[FAB_MISHAP_OVERFLOW] = "overflow",
	[FAB_MISHAP_LOSE_EVENT] = "lose_event",
	[FAB_MISHAP_WR_ID] = "wr_id",
};

/* The first word: what is to happen. */
static int fab_complfault_what(struct fab_fault_of_completion *fault,
			       enum fab_mishap *mishap, const char *word)
{
	*mishap = FAB_MISHAP_HOLD;
	if (!strcmp(word, "stall"))
		return 0;
	if (!strncmp(word, "delay_us=", 9))
		return kstrtou32(word + 9, 0, &fault->delay_us) ||
		       !fault->delay_us || fault->delay_us > FAB_DELAY_MAX_US ?
		       -EINVAL : 0;

	*mishap = FAB_MISHAP_STATUS;
	if (!strncmp(word, "status=", 7))
		return fab_wc_parse(word + 7, &fault->status);

	for (*mishap = FAB_MISHAP_OVERFLOW; *mishap < FAB_MISHAPS; ++*mishap) {
		if (!strcmp(word, fab_mishap_names[*mishap]))
			return 0;
	}
	return -EINVAL;
}

/* --- Writing ------------------------------------------------------------- */

static void fab_complfault_release(struct fab_node *node)
{
	struct fab_hca *hca;

	/* What saw the old fault has been pushed. */
	synchronize_rcu();
	rcu_read_lock();
	hca = rcu_dereference(node->hca);
	if (hca)
		fab_cqs_release(hca);
	rcu_read_unlock();
}

static void fab_complfault_replace(struct fab_node *node,
				   enum fab_mishap mishap,
				   struct fab_fault_of_completion *fault)
{
	struct fab_hca_faults *faults = node->faults;
	struct fab_fault_of_completion *old;

	lockdep_assert_held(&faults->lock);

	old = rcu_replace_pointer(faults->completions[mishap], NULL,
				  lockdep_is_held(&faults->lock));
	if (old) {
		/* The queues look for what they hold while the key is on. */
		if (mishap == FAB_MISHAP_HOLD)
			fab_complfault_release(node);
		static_branch_dec(&fab_hca_faults_on);
		kfree_rcu(old, rcu);
	}
	if (!fault)
		return;

	static_branch_inc(&fab_hca_faults_on);
	rcu_assign_pointer(faults->completions[mishap], fault);
}

static void fab_complfault_set(struct fab_node *node, enum fab_mishap mishap,
			       struct fab_fault_of_completion *fault)
{
	mutex_lock(&node->faults->lock);
	fab_complfault_replace(node, mishap, fault);
	mutex_unlock(&node->faults->lock);
}

/**
 * fab_complfault_clear - completions are as they should be
 * @node: node of type CA
 */
void fab_complfault_clear(struct fab_node *node)
{
	enum fab_mishap mishap;

	for (mishap = 0; mishap < FAB_MISHAPS; mishap++)
		fab_complfault_set(node, mishap, NULL);
}

static int fab_complfault_apply(struct fab_node *node, char *words)
{
	struct fab_fault_of_completion *fault;
	enum fab_mishap mishap;
	int err;

	fault = kzalloc_obj(*fault, GFP_KERNEL);
	if (!fault)
		return -ENOMEM;

	fault->types = BIT(IB_QPT_UD);
	fault->dirs = FAB_DIR_SEND | FAB_DIR_RECV;
	err = fab_complfault_what(fault, &mishap, strsep(&words, " \t"));
	if (!err)
		err = fab_complfault_options(fault, mishap, words);
	if (err) {
		kfree(fault);
		return err;
	}

	fab_complfault_set(node, mishap, fault);
	return 0;
}

static ssize_t fab_completions_write(struct file *file, const char __user *from,
				     size_t count, loff_t *pos)
{
	struct fab_node *node = fab_file_private(file);
	char line[80];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;

	if (!strcmp(line, "off"))
		fab_complfault_clear(node);
	else if (!strcmp(line, "release"))
		fab_complfault_set(node, FAB_MISHAP_HOLD, NULL);
	else
		err = fab_complfault_apply(node, line);
	return err ? err : count;
}

/* --- Showing ------------------------------------------------------------- */

static void fab_complfault_show(struct seq_file *m, enum fab_mishap mishap,
				const struct fab_fault_of_completion *fault)
{
	int i;

	if (mishap == FAB_MISHAP_STATUS)
		seq_printf(m, "status=%s ", fab_wc_names[fault->status]);
	else if (mishap != FAB_MISHAP_HOLD)
		seq_printf(m, "%s ", fab_mishap_names[mishap]);
	else if (fault->delay_us)
		seq_printf(m, "delay_us=%u", fault->delay_us);
	else
		seq_puts(m, "stall");
	if (mishap != FAB_MISHAP_HOLD)
		fab_rule_show(m, &fault->rule);
	if (mishap == FAB_MISHAP_WR_ID)
		seq_printf(m, " xor=%#llx", fault->xor);

	fab_fault_show_types(m, fault->types);
	for (i = 0; i < ARRAY_SIZE(fab_dirs); i++) {
		if (fault->dirs == fab_dirs[i].dirs)
			seq_printf(m, " dir=%s\n", fab_dirs[i].name);
	}
}

static int fab_completions_show(struct seq_file *m, void *unused)
{
	const struct fab_node *node = m->private;
	const struct fab_fault_of_completion *fault;
	enum fab_mishap mishap;

	rcu_read_lock();
	for (mishap = 0; mishap < FAB_MISHAPS; mishap++) {
		fault = rcu_dereference(node->faults->completions[mishap]);
		if (fault)
			fab_complfault_show(m, mishap, fault);
	}
	rcu_read_unlock();

	return 0;
}

FAB_KNOB(completions,
	 "off; release; stall [WHICH]; delay_us=N [WHICH]; "
	 "status=NAME|NUMBER RULE [WHICH]; overflow RULE [WHICH]; "
	 "lose_event RULE [WHICH]; wr_id RULE xor=BITS [WHICH]; "
	 "WHICH is qp=ud|gsi|smi|any or dir=send|recv|any; BITS not 0; "
	 "N 1 to %lu, NUMBER 1 to %zu; " FAB_RULE_WORDS,
	 FAB_DELAY_MAX_US, ARRAY_SIZE(fab_wc_names) - 1);

/**
 * fab_complfault_debugfs - create the file "completions"
 * @node: node of type CA
 * @dir: its folder "faults"
 */
void fab_complfault_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("completions", 0600, dir, node,
			    &fab_completions_fops);
}
