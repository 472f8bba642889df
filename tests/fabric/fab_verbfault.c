// SPDX-License-Identifier: GPL-2.0
/*
 * Which verb fails or is slow, when, and how?
 *
 *	fab<i>/faults/verbs	VERB RULE [errno=E] [delay_ms=N] [qp=Q]
 *				post_send|post_recv RULE [delay_us=N] [qp=Q]
 *				VERB off
 *				off
 *	Q	ud|gsi|smi|any
 *
 * A rule counts calls, of post_send and post_recv work requests: the k-th of a
 * chain can be refused, and those before it are posted. ENOMEM when no errno
 * and no delay is named. Verbs of queue pairs fail on datagram pairs alone when
 * no kind is named, so that the subnet manager lives.
 *
 * A verb that is a command to the firmware sleeps for its delay, and then fails
 * or is executed; so do all of them for the time that the shape "cmd_ms" says.
 * Posting never sleeps: it keeps the processor busy for its delay, without a
 * lock of the queue pair and before it has looked at anything. There a rule
 * counts calls.
 *
 * Order of this file: verbs, striking, writing, showing, life.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_hcafault.h"

/* Longest delays: a minute where it sleeps, else a second */
#define FAB_DELAY_MAX_MS	(60 * MSEC_PER_SEC)
#define FAB_DELAY_MAX_US	USEC_PER_SEC

/**
 * struct fab_fault_of_verb - a verb that fails or is slow
 * @rule: when
 * @err: with what it fails, negative, 0 when it does not
 * @delay_us: how long it takes
 * @types: of which queue pairs, bits of enum ib_qp_type
 * @rcu: frees this
 */
struct fab_fault_of_verb {
	struct fab_rule rule;
	int err;
	u32 delay_us;
	unsigned long types;
	struct rcu_head rcu;
};

/* --- Verbs --------------------------------------------------------------- */

/* It may fail; it is a command, which sleeps; it posts; it has a kind of QP. */
#define FAB_FAILS	BIT(0)
#define FAB_SLEEPS	BIT(1)
#define FAB_POSTS	BIT(2)
#define FAB_OF_QP	BIT(3)
#define FAB_COMMAND	(FAB_FAILS | FAB_SLEEPS)

static const struct {
	const char *name;
	u8 can;
} fab_verbs[FAB_VERBS] = {
	[FAB_VERB_QUERY_PORT] = { "query_port", FAB_COMMAND },
	[FAB_VERB_QUERY_PKEY] = { "query_pkey", FAB_COMMAND },
	[FAB_VERB_QUERY_GID] = { "query_gid", FAB_COMMAND },
	[FAB_VERB_ALLOC_PD] = { "alloc_pd", FAB_COMMAND },
	[FAB_VERB_DEALLOC_PD] = { "dealloc_pd", FAB_SLEEPS },
	[FAB_VERB_GET_DMA_MR] = { "get_dma_mr", FAB_COMMAND },
	[FAB_VERB_DEREG_MR] = { "dereg_mr", FAB_SLEEPS },
	[FAB_VERB_CREATE_AH] = { "create_ah", FAB_FAILS },
	[FAB_VERB_CREATE_CQ] = { "create_cq", FAB_COMMAND },
	[FAB_VERB_MODIFY_CQ] = { "modify_cq", FAB_COMMAND | FAB_OF_QP },
	[FAB_VERB_DESTROY_CQ] = { "destroy_cq", FAB_SLEEPS | FAB_OF_QP },
	[FAB_VERB_REQ_NOTIFY_CQ] = { "req_notify_cq", FAB_FAILS | FAB_OF_QP },
	[FAB_VERB_CREATE_QP] = { "create_qp", FAB_COMMAND | FAB_OF_QP },
	[FAB_VERB_MODIFY_QP] = { "modify_qp", FAB_COMMAND | FAB_OF_QP },
	[FAB_VERB_QUERY_QP] = { "query_qp", FAB_COMMAND | FAB_OF_QP },
	[FAB_VERB_DESTROY_QP] = { "destroy_qp", FAB_SLEEPS | FAB_OF_QP },
	[FAB_VERB_POST_SEND] = { "post_send",
				 FAB_FAILS | FAB_POSTS | FAB_OF_QP },
	[FAB_VERB_POST_RECV] = { "post_recv",
				 FAB_FAILS | FAB_POSTS | FAB_OF_QP },
	[FAB_VERB_ATTACH_MCAST] = { "attach_mcast", FAB_COMMAND | FAB_OF_QP },
	[FAB_VERB_DETACH_MCAST] = { "detach_mcast", FAB_COMMAND | FAB_OF_QP },
};

/* FAB_VERBS when there is none of that name. */
static enum fab_verb fab_verb_find(const char *name)
{
	enum fab_verb verb;

	for (verb = 0; verb < FAB_VERBS; verb++) {
		if (!strcmp(name, fab_verbs[verb].name))
			break;
	}

	return verb;
}

static bool fab_verb_can(enum fab_verb verb, unsigned int what)
{
	return fab_verbs[verb].can & what;
}

/* --- Striking ------------------------------------------------------------ */

/* The fault, when it concerns queue pairs of this kind. */
static struct fab_fault_of_verb *
fab_verbfault_find_rcu(struct fab_node *node, enum fab_verb verb,
		       unsigned long types)
{
	struct fab_fault_of_verb *fault;

	fault = rcu_dereference(node->faults->verbs[verb]);
	return fault && (!types || (fault->types & types)) ? fault : NULL;
}

/**
 * __fab_verb_fault - what fab_verb_fault() and the like do with faults
 * @node: the HCA's
 * @verb: the verb
 * @types: of the queue pairs it is about, bits of enum ib_qp_type, or 0
 *
 * Context: may sleep where the verb is a command.
 * Return: 0 or a negative errno.
 */
int __fab_verb_fault(struct fab_node *node, enum fab_verb verb,
		     unsigned long types)
{
	struct fab_fault_of_verb *fault;
	unsigned long delay_us = 0;
	int err = 0;

	if (fab_verb_can(verb, FAB_SLEEPS))
		delay_us = node->shape.cmd_ms * USEC_PER_MSEC;

	rcu_read_lock();
	fault = fab_verbfault_find_rcu(node, verb, types);
	/* A slow post was slow before its requests are looked at. */
	if (fault && !(fab_verb_can(verb, FAB_POSTS) && fault->delay_us) &&
	    fab_rule_strikes(&fault->rule)) {
		delay_us += fault->delay_us;
		err = fault->err;
	}
	rcu_read_unlock();

	if (delay_us)
		fsleep(delay_us);
	return err;
}

/**
 * __fab_post_delay - what fab_post_delay() does when there are faults
 * @qp: the queue pair
 * @verb: FAB_VERB_POST_SEND or FAB_VERB_POST_RECV
 *
 * Context: any.
 */
void __fab_post_delay(const struct fab_qp *qp, enum fab_verb verb)
{
	struct fab_fault_of_verb *fault;
	u32 delay_us = 0;
	ktime_t end;

	rcu_read_lock();
	fault = fab_verbfault_find_rcu(qp->hca->node, verb, BIT(qp->type));
	if (fault && fault->delay_us && fab_rule_strikes(&fault->rule))
		delay_us = fault->delay_us;
	rcu_read_unlock();
	if (!delay_us)
		return;

	end = ktime_add_us(ktime_get(), delay_us);
	while (ktime_before(ktime_get(), end))
		cpu_relax();
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

/* @unit_us: of the number */
static int fab_delay_parse(const char *word, u32 unit_us, u32 most,
			   u32 *delay_us)
{
	u32 number;

	if (kstrtou32(word, 0, &number) || !number || number > most)
		return -EINVAL;

	*delay_us = number * unit_us;
	return 0;
}

static int fab_verbfault_word(struct fab_fault_of_verb *fault,
			      enum fab_verb verb, char *word)
{
	if (!strncmp(word, "errno=", 6))
		return !fab_verb_can(verb, FAB_FAILS) ? -EINVAL :
		       fab_errno_parse(word + 6, &fault->err);
	if (!strncmp(word, "qp=", 3))
		return !fab_verb_can(verb, FAB_OF_QP) ? -EINVAL :
		       fab_fault_get_types(word + 3, &fault->types);
	if (!strncmp(word, "delay_ms=", 9))
		return !fab_verb_can(verb, FAB_SLEEPS) ? -EINVAL :
		       fab_delay_parse(word + 9, USEC_PER_MSEC,
				       FAB_DELAY_MAX_MS, &fault->delay_us);
	if (!strncmp(word, "delay_us=", 9))
		return !fab_verb_can(verb, FAB_POSTS) ? -EINVAL :
		       fab_delay_parse(word + 9, 1, FAB_DELAY_MAX_US,
				       &fault->delay_us);

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

	/* What it does when nobody says. */
	if (!fault->err && !fault->delay_us)
		fault->err = fab_verb_can(verb, FAB_FAILS) ? -ENOMEM : 0;
	/* A slow post counts calls, one that fails requests. */
	if (fab_verb_can(verb, FAB_POSTS) && fault->err && fault->delay_us)
		return -EINVAL;

	return fault->err || fault->delay_us ? 0 : -EINVAL;
}

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
	struct fab_fault_of_verb *fault = NULL;
	int err;

	if (!words || strcmp(words, "off")) {
		fault = kzalloc_obj(*fault, GFP_KERNEL);
		if (!fault)
			return -ENOMEM;
		fault->types = BIT(IB_QPT_UD);
		err = fab_verbfault_words(fault, verb, words);
		if (!err && !fab_rule_is_on(&fault->rule))
			err = -EINVAL;
		if (err) {
			kfree(fault);
			return err;
		}
	}

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
	enum fab_verb verb;
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (!strcmp(line, "off")) {
		fab_verbfault_clear(node->faults);
		return count;
	}

	verb = fab_verb_find(strsep(&words, " \t"));
	if (verb == FAB_VERBS)
		return -EINVAL;
	err = fab_verbfault_set(node->faults, verb, words);
	return err ? err : count;
}

/* --- Showing ------------------------------------------------------------- */

static void fab_verbfault_show(struct seq_file *m, enum fab_verb verb,
			       const struct fab_fault_of_verb *fault)
{
	seq_printf(m, "%s ", fab_verbs[verb].name);
	fab_rule_show(m, &fault->rule);
	if (fault->err)
		seq_printf(m, " errno=%d", -fault->err);
	if (fault->delay_us && fab_verb_can(verb, FAB_POSTS))
		seq_printf(m, " delay_us=%u", fault->delay_us);
	else if (fault->delay_us)
		seq_printf(m, " delay_ms=%lu",
			   fault->delay_us / USEC_PER_MSEC);
	if (fab_verb_can(verb, FAB_OF_QP))
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
	 "off; VERB off; VERB RULE [errno=NAME|NUMBER] [delay_ms=N] [qp=ud|gsi|smi|any]; "
	 "post_send|post_recv RULE [delay_us=N] [qp=ud|gsi|smi|any]; "
	 "a verb that README.md names, errno 1 to %u, delay_ms 1 to %lu; "
	 "delay_us 1 to %lu, each where it has one; " FAB_RULE_WORDS,
	 MAX_ERRNO, FAB_DELAY_MAX_MS, FAB_DELAY_MAX_US);

/**
 * fab_verbfault_debugfs - create the file "verbs"
 * @node: node of type CA
 * @dir: its folder "faults"
 */
void fab_verbfault_debugfs(struct fab_node *node, struct dentry *dir)
{
	debugfs_create_file("verbs", 0600, dir, node, &fab_verbs_fops);
}
