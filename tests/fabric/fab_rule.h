/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When does a fault strike? What the files that hold faults need to know.
 */
#ifndef FAB_RULE_H
#define FAB_RULE_H

#include <linux/atomic.h>
#include <linux/types.h>

struct dentry;
struct seq_file;

/* Rules, for who wrote none of them */
#define FAB_RULE_WORDS \
	"RULE prob=P, P 0 to 1 with 9 digits, or nth=N, every=N, count=N, N 1 to 4294967295"

/**
 * enum fab_rule_kind - how a rule chooses
 * @FAB_RULE_OFF: never
 * @FAB_RULE_PROB: each time with a probability
 * @FAB_RULE_NTH: once, the n-th time
 * @FAB_RULE_EVERY: each n-th time
 * @FAB_RULE_COUNT: the next n times
 */
enum fab_rule_kind {
	FAB_RULE_OFF,
	FAB_RULE_PROB,
	FAB_RULE_NTH,
	FAB_RULE_EVERY,
	FAB_RULE_COUNT,
};

/**
 * struct fab_rule - when a fault strikes; all zero is off
 * @kind: enum fab_rule_kind; written last when a rule is set
 * @n: its number; of a probability, in parts of a thousand million
 * @seed: where pseudo-random numbers begin
 * @row: which row of them it draws from
 * @seen: chances it had since it was set
 * @hit: times it struck
 */
struct fab_rule {
	unsigned int kind;
	u32 n;
	u32 seed;
	u32 row;
	atomic64_t seen;
	atomic64_t hit;
};

int fab_rule_parse(struct fab_rule *rule, char *word);
bool __fab_rule_strikes(struct fab_rule *rule);
void fab_rule_show(struct seq_file *m, const struct fab_rule *rule);
void fab_rule_debugfs(struct dentry *root);

static inline bool fab_rule_is_on(const struct fab_rule *rule)
{
	return READ_ONCE(rule->kind) != FAB_RULE_OFF;
}

/**
 * fab_rule_strikes - does the fault strike this time
 * @rule: the rule; one that is off costs a load
 *
 * Context: any; takes no lock.
 * Return: true when it does.
 */
static inline bool fab_rule_strikes(struct fab_rule *rule)
{
	return fab_rule_is_on(rule) && __fab_rule_strikes(rule);
}

#endif /* FAB_RULE_H */
