// SPDX-License-Identifier: GPL-2.0
/*
 * When does a fault strike?
 *
 *	off	never
 *	prob=P	each time with probability P, from 0 to 1, like 0.05
 *	nth=N	the N-th time from now, once
 *	every=N	each N-th time
 *	count=N	the next N times
 *
 * Chance is a function of the seed, of the number of rules set since the seed
 * was written, and of how many chances the rule had: the same seed, rules and
 * packets give the same faults. No lock and no state but two counts, so that
 * a rule may be asked from anywhere.
 *
 * Order of this file: setting, striking, showing, the seed.
 */
#include <linux/ctype.h>
#include <linux/jhash.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/time64.h>

#include "fab_debugfs.h"
#include "fab_rule.h"

/* A probability is kept in parts of this. */
#define FAB_RULE_ONE	NSEC_PER_SEC
/* Digits behind the point that such a number can keep */
#define FAB_RULE_DIGITS	9

static u32 fab_seed = 1;
static atomic_t fab_rows;

static const char * const fab_rule_names[] = {
	[FAB_RULE_OFF] = "off",
	[FAB_RULE_PROB] = "prob",
	[FAB_RULE_NTH] = "nth",
	[FAB_RULE_EVERY] = "every",
	[FAB_RULE_COUNT] = "count",
};

/* --- Setting ------------------------------------------------------------- */

/* "0.25" as parts of FAB_RULE_ONE. */
static int fab_rule_parse_prob(const char *text, u32 *n)
{
	const char *point = strchrnul(text, '.');
	u32 unit = FAB_RULE_ONE;
	u64 value = 0;

	if (point - text != 1 || strlen(point) > FAB_RULE_DIGITS + 1)
		return -EINVAL;

	for (; *text; text++) {
		if (text == point)
			continue;
		if (!isdigit(*text))
			return -EINVAL;
		value += (u64)(*text - '0') * unit;
		unit /= 10;
	}
	if (value > FAB_RULE_ONE)
		return -EINVAL;

	*n = value;
	return 0;
}

static int fab_rule_parse_number(enum fab_rule_kind kind, const char *text,
				 u32 *n)
{
	if (kind == FAB_RULE_OFF)
		return text ? -EINVAL : 0;
	if (!text)
		return -EINVAL;
	if (kind == FAB_RULE_PROB)
		return fab_rule_parse_prob(text, n);
	if (kstrtou32(text, 0, n) || !*n)
		return -EINVAL;

	return 0;
}

/**
 * fab_rule_parse - set a rule from one word
 * @rule: the rule; it may be in use, and starts to count anew
 * @word: see the top of this file; it is taken apart
 *
 * Context: process; callers keep two writers of one rule apart.
 * Return: 0, or -EINVAL and the rule is as it was.
 */
int fab_rule_parse(struct fab_rule *rule, char *word)
{
	char *number = word;
	char *name = strsep(&number, "=");
	u32 n = 0;
	int kind;

	kind = match_string(fab_rule_names, ARRAY_SIZE(fab_rule_names), name);
	if (kind < 0 || fab_rule_parse_number(kind, number, &n))
		return -EINVAL;

	WRITE_ONCE(rule->kind, FAB_RULE_OFF);
	WRITE_ONCE(rule->n, n);
	WRITE_ONCE(rule->seed, READ_ONCE(fab_seed));
	WRITE_ONCE(rule->row, atomic_inc_return(&fab_rows));
	atomic64_set(&rule->seen, 0);
	atomic64_set(&rule->hit, 0);
	/* Pairs with __fab_rule_strikes(): who sees the kind sees the rest. */
	smp_store_release(&rule->kind, kind);
	return 0;
}

/* --- Striking ------------------------------------------------------------ */

static bool fab_rule_chance(const struct fab_rule *rule, u64 seen, u32 n)
{
	u32 draw = jhash_3words(lower_32_bits(seen), upper_32_bits(seen),
				READ_ONCE(rule->row), READ_ONCE(rule->seed));

	return mul_u32_u32(draw, FAB_RULE_ONE) >> 32 < n;
}

static bool fab_rule_every(u64 seen, u32 n)
{
	return n && !do_div(seen, n);
}

/* The part of fab_rule_strikes() that rules which are off do without. */
bool __fab_rule_strikes(struct fab_rule *rule)
{
	/* Pairs with the release in fab_rule_parse(). */
	unsigned int kind = smp_load_acquire(&rule->kind);
	u64 seen = atomic64_inc_return(&rule->seen);
	u32 n = READ_ONCE(rule->n);
	bool strikes;

	switch (kind) {
	case FAB_RULE_PROB:
		strikes = fab_rule_chance(rule, seen, n);
		break;
	case FAB_RULE_NTH:
		strikes = seen == n;
		break;
	case FAB_RULE_EVERY:
		strikes = fab_rule_every(seen, n);
		break;
	case FAB_RULE_COUNT:
		strikes = seen <= n;
		break;
	default:
		strikes = false;
	}

	if (strikes)
		atomic64_inc(&rule->hit);
	return strikes;
}

/* --- Showing ------------------------------------------------------------- */

/**
 * fab_rule_show - the rule and what it did, without a newline
 * @m: where to
 * @rule: the rule
 *
 * Like "every=10 seen=1000 hit=100", or "off".
 */
void fab_rule_show(struct seq_file *m, const struct fab_rule *rule)
{
	unsigned int kind = READ_ONCE(rule->kind);
	u32 n = READ_ONCE(rule->n);

	seq_puts(m, fab_rule_names[kind]);
	if (kind == FAB_RULE_OFF)
		return;

	if (kind == FAB_RULE_PROB)
		seq_printf(m, "=%lu.%0*lu", n / FAB_RULE_ONE, FAB_RULE_DIGITS,
			   n % FAB_RULE_ONE);
	else
		seq_printf(m, "=%u", n);
	seq_printf(m, " seen=%lld hit=%lld", atomic64_read(&rule->seen),
		   atomic64_read(&rule->hit));
}

/* --- The seed ------------------------------------------------------------ */

static int fab_seed_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%u\n", READ_ONCE(fab_seed));
	return 0;
}

/* Rules that are set already keep their rows. */
static ssize_t fab_seed_write(struct file *file, const char __user *from,
			      size_t count, loff_t *pos)
{
	char line[24];
	u32 seed;
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	err = kstrtou32(line, 0, &seed);
	if (err)
		return err;

	WRITE_ONCE(fab_seed, seed);
	atomic_set(&fab_rows, 0);
	return count;
}

FAB_KNOB(seed, "a number, 0 to %u", U32_MAX);

/**
 * fab_rule_debugfs - create the file "seed"
 * @root: folder of the fabric
 */
void fab_rule_debugfs(struct dentry *root)
{
	debugfs_create_file("seed", 0600, root, NULL, &fab_seed_fops);
}
