// SPDX-License-Identifier: GPL-2.0
/*
 * Which verb fails, when, and with what?
 *
 *	fab<i>/faults/verbs	VERB RULE [errno=E] [qp=ud|gsi|smi|any]
 *				VERB off
 *				off
 *
 * A rule counts calls, of post_send and post_recv work requests: the k-th of a
 * chain can be refused, and those before it are posted. ENOMEM when no errno
 * is named. Verbs of queue pairs fail on datagram pairs alone when no kind is
 * named, so that the subnet manager lives.
 *
 * Order of this file: striking, writing, showing, life.
 */
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_hcafault.h"

/**
 * struct fab_fault_of_verb - a verb that fails
 * @rule: when
 * @err: with what, negative
 * @types: of which queue pairs, bits of enum ib_qp_type
 * @rcu: frees this
 */
struct fab_fault_of_verb {
	struct fab_rule rule;
	int err;
	unsigned long types;
	struct rcu_head rcu;
};

static const char * const fab_verb_names[FAB_VERBS] = {
	[FAB_VERB_QUERY_PORT] = "query_port",
	[FAB_VERB_QUERY_PKEY] = "query_pkey",
	[FAB_VERB_QUERY_GID] = "query_gid",
	[FAB_VERB_ALLOC_PD] = "alloc_pd",
	[FAB_VERB_GET_DMA_MR] = "get_dma_mr",
	[FAB_VERB_CREATE_AH] = "create_ah",
	[FAB_VERB_CREATE_CQ] = "create_cq",
	[FAB_VERB_MODIFY_CQ] = "modify_cq",
	[FAB_VERB_REQ_NOTIFY_CQ] = "req_notify_cq",
	[FAB_VERB_CREATE_QP] = "create_qp",
	[FAB_VERB_MODIFY_QP] = "modify_qp",
	[FAB_VERB_QUERY_QP] = "query_qp",
	[FAB_VERB_POST_SEND] = "post_send",
	[FAB_VERB_POST_RECV] = "post_recv",
	[FAB_VERB_ATTACH_MCAST] = "attach_mcast",
	[FAB_VERB_DETACH_MCAST] = "detach_mcast",
};

/* --- Striking ------------------------------------------------------------ */

/**
 * __fab_verb_fault - what fab_verb_fault() and the like do with faults
 * @node: the HCA's
 * @verb: the verb
 * @type: of the queue pair, IB_QPT_MAX without one
 *
 * Context: any.
 * Return: 0 or a negative errno.
 */
int __fab_verb_fault(struct fab_node *node, enum fab_verb verb,
		     enum ib_qp_type type)
{
	struct fab_fault_of_verb *fault;
	int err = 0;

	rcu_read_lock();
	fault = rcu_dereference(node->faults->verbs[verb]);
	if (fault && (type == IB_QPT_MAX || (fault->types & BIT(type))) &&
	    fab_rule_strikes(&fault->rule))
		err = fault->err;
	rcu_read_unlock();

	return err;
}

/* --- Writing ------------------------------------------------------------- */

static const struct {
	const char *name;
	int number;
} fab_errnos[] = {
	{ "EPERM", EPERM },
	{ "EIO", EIO },
	{ "EAGAIN", EAGAIN },
	{ "ENOMEM", ENOMEM },
	{ "EFAULT", EFAULT },
	{ "EBUSY", EBUSY },
	{ "ENODEV", ENODEV },
	{ "EINVAL", EINVAL },
	{ "ENOSPC", ENOSPC },
	{ "EOPNOTSUPP", EOPNOTSUPP },
	{ "ENETDOWN", ENETDOWN },
	{ "ETIMEDOUT", ETIMEDOUT },
};

static int fab_errno_parse(const char *word, int *err)
{
	unsigned int number;
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_errnos); i++) {
		if (strcmp(word, fab_errnos[i].name))
			continue;
		*err = -fab_errnos[i].number;
		return 0;
	}
	if (kstrtouint(word, 0, &number) || !number || number > MAX_ERRNO)
		return -EINVAL;

	*err = -(int)number;
	return 0;
}

static int fab_verbfault_word(struct fab_fault_of_verb *fault,
			      enum fab_verb verb, char *word)
{
	if (!strncmp(word, "errno=", 6))
		return fab_errno_parse(word + 6, &fault->err);
	if (!strncmp(word, "qp=", 3))
		return verb < FAB_VERB_FIRST_OF_QP ? -EINVAL :
		       fab_fault_get_types(word + 3, &fault->types);

	return fab_rule_parse(&fault->rule, word);
}

/* The words behind the verb. */
static int fab_verbfault_words(struct fab_fault_of_verb *fault,
			       enum fab_verb verb, char *words)
{
	char *word;
	int err;

	while ((word = strsep(&words, " \t"))) {
		if (!*word)
			continue;
		err = fab_verbfault_word(fault, verb, word);
		if (err)
			return err;
	}

	return 0;
}

/* The caller counts on @fault: NULL, or its rule is on. */
static void fab_verbfault_replace(struct fab_hca_faults *faults,
				  enum fab_verb verb,
				  struct fab_fault_of_verb *fault)
{
	lockdep_assert_held(&faults->lock);

	if (fault)
		static_branch_inc(&fab_hca_faults_on);
	fault = rcu_replace_pointer(faults->verbs[verb], fault,
				    lockdep_is_held(&faults->lock));
	if (!fault)
		return;

	static_branch_dec(&fab_hca_faults_on);
	kfree_rcu(fault, rcu);
}

static int fab_verbfault_set(struct fab_hca_faults *faults, enum fab_verb verb,
			     char *words)
{
	struct fab_fault_of_verb *fault = kzalloc_obj(*fault, GFP_KERNEL);
	bool said;
	int err;

	if (!fault)
		return -ENOMEM;

	fault->err = -ENOMEM;
	fault->types = BIT(IB_QPT_UD);
	said = words && !strcmp(words, "off");
	err = fab_verbfault_words(fault, verb, words);
	if (!err && !said && !fab_rule_is_on(&fault->rule))
		err = -EINVAL;
	if (err || said) {
		kfree(fault);
		fault = NULL;
	}
	if (err)
		return err;

	mutex_lock(&faults->lock);
	fab_verbfault_replace(faults, verb, fault);
	mutex_unlock(&faults->lock);
	return 0;
}

/**
 * fab_verbfault_clear - all verbs work again
 * @faults: of an HCA
 */
void fab_verbfault_clear(struct fab_hca_faults *faults)
{
	enum fab_verb verb;

	mutex_lock(&faults->lock);
	for (verb = 0; verb < FAB_VERBS; verb++)
		fab_verbfault_replace(faults, verb, NULL);
	mutex_unlock(&faults->lock);
}

static ssize_t fab_verbs_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct fab_node *node = fab_file_private(file);
	char line[80], *words = line;
	const char *name;
	int verb, err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (!strcmp(line, "off")) {
		fab_verbfault_clear(node->faults);
		return count;
	}

	name = strsep(&words, " \t");
	verb = match_string(fab_verb_names, FAB_VERBS, name);
	if (verb < 0)
		return -EINVAL;
	err = fab_verbfault_set(node->faults, verb, words);
	return err ? err : count;
}

/* --- Showing ------------------------------------------------------------- */

static void fab_verbfault_show(struct seq_file *m, enum fab_verb verb,
			       const struct fab_fault_of_verb *fault)
{
	seq_printf(m, "%s ", fab_verb_names[verb]);
	fab_rule_show(m, &fault->rule);
	seq_printf(m, " errno=%d", -fault->err);
	if (verb >= FAB_VERB_FIRST_OF_QP)
		fab_fault_show_types(m, fault->types);
	seq_putc(m, '\n');
}

static int fab_verbs_show(struct seq_file *m, void *unused)
{
	const struct fab_node *node = m->private;
	const struct fab_fault_of_verb *fault;
	enum fab_verb verb;

	rcu_read_lock();
	for (verb = 0; verb < FAB_VERBS; verb++) {
		fault = rcu_dereference(node->faults->verbs[verb]);
		if (fault)
			fab_verbfault_show(m, verb, fault);
	}
	rcu_read_unlock();

	return 0;
}

FAB_KNOB(verbs,
	 "off; VERB off; VERB RULE [errno=NAME|NUMBER] [qp=ud|gsi|smi|any]; "
	 "a verb that README.md names, errno 1 to %u, qp where it has one; "
	 FAB_RULE_WORDS,
	 MAX_ERRNO);

/**
 * fab_verbfault_debugfs - create the file "verbs"
 * @node: node of type CA
 * @dir: its folder "faults"
 */
void fab_verbfault_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("verbs", 0600, dir, node, &fab_verbs_fops);
}
