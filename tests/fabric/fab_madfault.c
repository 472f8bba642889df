// SPDX-License-Identifier: GPL-2.0
/*
 * Which management datagrams are lost or late?
 *
 * The file "mad" of a port's folder "faults" takes a line
 *
 *	drop|delay=MS [class=N] [attr=N] [method=N] RULE
 *
 * for each rule, and "off" to remove them all. A datagram is shown to each
 * rule in turn, until one that it fits strikes. It is any packet to QP0 or
 * QP1.
 *
 * Order of this file: what happens, reading a line, files.
 */
#include <linux/rculist.h>
#include <linux/slab.h>
#include <rdma/ib_mad.h>

#include "fab_debugfs.h"
#include "fab_wirefault.h"

/* Rules of one port: each is asked for each datagram. */
#define FAB_MAD_RULES 32

/* A field that may be anything */
#define FAB_MAD_ANY (-1)

/**
 * enum fab_mad_field - what a rule looks at
 * @FAB_MAD_CLASS: management class
 * @FAB_MAD_ATTR: attribute
 * @FAB_MAD_METHOD: method, with the bit that says response
 * @FAB_MAD_FIELDS: number of them
 */
enum fab_mad_field {
	FAB_MAD_CLASS,
	FAB_MAD_ATTR,
	FAB_MAD_METHOD,
	FAB_MAD_FIELDS,
};

static const struct {
	const char *name;
	u32 max;
} fab_mad_fields[FAB_MAD_FIELDS] = {
	[FAB_MAD_CLASS] = { "class", U8_MAX },
	[FAB_MAD_ATTR] = { "attr", U16_MAX },
	[FAB_MAD_METHOD] = { "method", U8_MAX },
};

/**
 * struct fab_mad_rule - what happens to some datagrams
 * @list: in the lane's mads
 * @wanted: value of each field, or FAB_MAD_ANY
 * @drop: it is lost; late otherwise
 * @fault: when, and how late
 * @rcu: frees this
 */
struct fab_mad_rule {
	struct list_head list;
	int wanted[FAB_MAD_FIELDS];
	bool drop;
	struct fab_fault fault;
	struct rcu_head rcu;
};

/* --- What happens -------------------------------------------------------- */

static bool fab_mad_header(const struct fab_freight *what,
			   struct ib_mad_hdr *hdr)
{
	if (what->smp) {
		memcpy(hdr, &what->smp->mad, sizeof(*hdr));
		return true;
	}
	if (what->pkt->dest_qpn != 1 || what->pkt->length < sizeof(*hdr))
		return false;

	fab_copy_head(hdr, sizeof(*hdr), what->pkt->sge);
	return true;
}

static bool fab_mad_fits(const struct fab_mad_rule *rule,
			 const struct ib_mad_hdr *hdr)
{
	const int found[FAB_MAD_FIELDS] = {
		[FAB_MAD_CLASS] = hdr->mgmt_class,
		[FAB_MAD_ATTR] = be16_to_cpu(hdr->attr_id),
		[FAB_MAD_METHOD] = hdr->method,
	};
	int i;

	for (i = 0; i < FAB_MAD_FIELDS; i++) {
		if (rule->wanted[i] != FAB_MAD_ANY &&
		    rule->wanted[i] != found[i])
			return false;
	}

	return true;
}

static void fab_mad_act(struct fab_lane *lane, const struct fab_freight *what,
			const struct fab_mad_rule *rule)
{
	if (rule->drop)
		fab_count(lane->port, FAB_DROP_FAULT_MAD);
	else
		fab_lane_park(lane, what, FAB_WAIT_MAD, &rule->fault);
}

/**
 * fab_mad_takes - does a rule for management datagrams take a packet
 * @lane: the lane of the port it leaves from
 * @what: the packet
 *
 * Context: softirq, RCU read section.
 * Return: true when one did; the packet is dealt with.
 */
bool fab_mad_takes(struct fab_lane *lane, const struct fab_freight *what)
{
	struct fab_mad_rule *rule;
	struct ib_mad_hdr hdr;

	if (list_empty(&lane->mads) || !fab_mad_header(what, &hdr))
		return false;

	list_for_each_entry_rcu(rule, &lane->mads, list) {
		if (!fab_mad_fits(rule, &hdr) ||
		    !fab_rule_strikes(&rule->fault.rule))
			continue;
		fab_mad_act(lane, what, rule);
		return true;
	}

	return false;
}

/* --- Reading a line ------------------------------------------------------ */

static int fab_mad_set_delay(struct fab_mad_rule *rule, const char *value)
{
	u32 ms;

	if (kstrtou32(value, 0, &ms) || !ms ||
	    ms > FAB_LANE_MAX_US / USEC_PER_MSEC)
		return -EINVAL;

	rule->fault.us = ms * USEC_PER_MSEC;
	return 0;
}

static int fab_mad_set_field(struct fab_mad_rule *rule, const char *name,
			     const char *value)
{
	u32 number;
	int i;

	for (i = 0; i < FAB_MAD_FIELDS; i++) {
		if (strcmp(name, fab_mad_fields[i].name))
			continue;
		if (kstrtou32(value, 0, &number) ||
		    number > fab_mad_fields[i].max)
			return -EINVAL;
		rule->wanted[i] = number;
		return 0;
	}

	return -EINVAL;
}

static int fab_mad_set_word(struct fab_mad_rule *rule, char *word)
{
	char *value = strchr(word, '=');

	if (!strcmp(word, "drop")) {
		rule->drop = true;
		return 0;
	}
	/* Ends the word where its value begins, as do rules that are none. */
	if (!fab_rule_parse(&rule->fault.rule, word))
		return 0;
	if (!value++)
		return -EINVAL;

	if (!strcmp(word, "delay"))
		return fab_mad_set_delay(rule, value);
	return fab_mad_set_field(rule, word, value);
}

static int fab_mad_read_words(struct fab_mad_rule *rule, char *line)
{
	int err = 0;
	char *word;

	while (!err && (word = strsep(&line, " "))) {
		if (*word)
			err = fab_mad_set_word(rule, word);
	}
	if (err)
		return err;

	/* One of the two, and a rule when. */
	return fab_rule_is_on(&rule->fault.rule) &&
	       rule->drop == !rule->fault.us ? 0 : -EINVAL;
}

static struct fab_mad_rule *fab_mad_read(char *line)
{
	struct fab_mad_rule *rule = kzalloc_obj(*rule, GFP_KERNEL);
	int i, err;

	if (!rule)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < FAB_MAD_FIELDS; i++)
		rule->wanted[i] = FAB_MAD_ANY;
	rule->fault.room = FAB_LANE_ROOM;
	err = fab_mad_read_words(rule, line);
	if (err) {
		kfree(rule);
		return ERR_PTR(err);
	}

	return rule;
}

/* --- Files --------------------------------------------------------------- */

/**
 * fab_mad_clear - remove all rules of a lane
 * @lane: the lane
 *
 * Context: fab_lane_mutex is held.
 */
void fab_mad_clear(struct fab_lane *lane)
{
	struct fab_mad_rule *rule, *next;

	lockdep_assert_held(&fab_lane_mutex);

	clear_bit(FAB_FAULT_MAD, &lane->port->faults);
	list_for_each_entry_safe(rule, next, &lane->mads, list) {
		list_del_rcu(&rule->list);
		kfree_rcu(rule, rcu);
	}
	lane->num_mads = 0;
}

static int fab_mad_add(struct fab_lane *lane, char *line)
{
	struct fab_mad_rule *rule;

	lockdep_assert_held(&fab_lane_mutex);

	if (lane->num_mads >= FAB_MAD_RULES)
		return -ENOSPC;
	rule = fab_mad_read(line);
	if (IS_ERR(rule))
		return PTR_ERR(rule);

	list_add_tail_rcu(&rule->list, &lane->mads);
	lane->num_mads++;
	set_bit(FAB_FAULT_MAD, &lane->port->faults);
	return 0;
}

static void fab_mad_show_rule(struct seq_file *m,
			      const struct fab_mad_rule *rule)
{
	int i;

	if (rule->drop)
		seq_puts(m, "drop");
	else
		seq_printf(m, "delay=%lu", rule->fault.us / USEC_PER_MSEC);
	for (i = 0; i < FAB_MAD_FIELDS; i++) {
		if (rule->wanted[i] != FAB_MAD_ANY)
			seq_printf(m, " %s=%#x", fab_mad_fields[i].name,
				   rule->wanted[i]);
	}
	seq_putc(m, ' ');
	fab_rule_show(m, &rule->fault.rule);
	seq_putc(m, '\n');
}

static int fab_mad_show(struct seq_file *m, void *unused)
{
	struct fab_lane *lane = m->private;
	struct fab_mad_rule *rule;

	mutex_lock(&fab_lane_mutex);
	list_for_each_entry(rule, &lane->mads, list)
		fab_mad_show_rule(m, rule);
	if (list_empty(&lane->mads))
		seq_puts(m, "off\n");
	mutex_unlock(&fab_lane_mutex);

	return 0;
}

static ssize_t fab_mad_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	struct fab_lane *lane = fab_file_private(file);
	char line[128];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;

	mutex_lock(&fab_lane_mutex);
	if (!strcmp(line, "off"))
		fab_mad_clear(lane);
	else
		err = fab_mad_add(lane, line);
	mutex_unlock(&fab_lane_mutex);

	return err ? err : count;
}

FAB_KNOB(mad,
	 "off; drop|delay=MS [class=N] [attr=N] [method=N] RULE; "
	 "%u rules, MS 1 to %lu, class and method 0 to %u, attr 0 to %u; "
	 FAB_RULE_WORDS,
	 FAB_MAD_RULES, FAB_LANE_MAX_US / USEC_PER_MSEC, U8_MAX, U16_MAX);

/**
 * fab_mad_debugfs - create the file "mad"
 * @lane: of a port
 * @dir: the port's folder "faults"
 */
void fab_mad_debugfs(struct fab_lane *lane, struct dentry *dir)
{
	debugfs_create_file("mad", 0600, dir, lane, &fab_mad_fops);
}
