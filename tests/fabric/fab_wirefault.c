// SPDX-License-Identifier: GPL-2.0
/*
 * What goes wrong with a packet that leaves a port?
 *
 * Each file of a port's folder "faults" takes a line
 *
 *	RULE [qp=ud|gsi|smi|any] [OPTION=VALUE]...
 *
 * or "off"; README.md has the options. A packet meets the faults in the order
 * of enum fab_fault_kind, rules for management datagrams before all others.
 *
 * Order of this file: what happens, reading a line, showing one, files.
 */
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_wirefault.h"

/* A packet that nobody overtakes does not wait for ever. */
#define FAB_REORDER_US (10 * USEC_PER_MSEC)

/* --- What happens -------------------------------------------------------- */

static const struct fab_fault *fab_fault_strikes(struct fab_lane *lane,
						 enum fab_fault_kind kind,
						 const struct fab_freight *what)
{
	struct fab_fault *fault = rcu_dereference(lane->slots[kind].fault);

	if (!fault || !(fault->qps & fab_freight_qp(what)))
		return NULL;

	return fab_rule_strikes(&fault->rule) ? fault : NULL;
}

/**
 * fab_wire_depart - the last that can happen to a packet
 * @lane: the lane of the port it leaves from
 * @what: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_wire_depart(struct fab_lane *lane, const struct fab_freight *what)
{
	const struct fab_fault *fault;

	fault = fab_fault_strikes(lane, FAB_FAULT_REORDER, what);
	if (fault) {
		fab_lane_park(lane, what, FAB_WAIT_REORDER, fault);
		return;
	}

	fab_lane_carry(lane, what);
	fab_lane_overtake(lane, what);
}

static void fab_wire_delay(struct fab_lane *lane,
			   const struct fab_freight *what)
{
	const struct fab_fault *fault;

	fault = fab_fault_strikes(lane, FAB_FAULT_DELAY, what);
	if (fault)
		fab_lane_park(lane, what, FAB_WAIT_DELAY, fault);
	else
		fab_wire_depart(lane, what);
}

static void fab_wire_multiply(struct fab_lane *lane,
			      const struct fab_freight *what)
{
	if (fab_fault_strikes(lane, FAB_FAULT_DUPLICATE, what)) {
		fab_count(lane->port, FAB_REPLICATED);
		fab_wire_delay(lane, what);
	}
	fab_wire_delay(lane, what);
}

/* The sender's memory stays as it is: bits turn over in a copy. */
static void fab_wire_change(struct fab_lane *lane,
			    const struct fab_freight *what,
			    const struct fab_fault *fault)
{
	struct fab_parcel *parcel = fab_parcel_pack(lane, what);
	u32 i, length;
	u8 *bytes;

	if (!parcel)
		return;

	bytes = what->pkt ? parcel->payload : (u8 *)&parcel->smp.mad;
	length = what->pkt ? what->pkt->length : sizeof(parcel->smp.mad);
	for (i = 0; i < fault->num_xor && fault->at + i < length; i++)
		bytes[fault->at + i] ^= fault->xor[i];
	fab_wire_multiply(lane, &parcel->freight);
	kfree(parcel);
}

/**
 * fab_wire_leave - a packet leaves a port where something is wrong
 * @port: the port; its cable is plugged
 * @what: the packet
 *
 * Context: softirq, RCU read section.
 */
void fab_wire_leave(struct fab_port *port, const struct fab_freight *what)
{
	struct fab_lane *lane = port->lane;
	const struct fab_fault *fault;

	fab_capture(port, what);
	if (fab_mad_takes(lane, what))
		return;
	if (fab_fault_strikes(lane, FAB_FAULT_LOSS, what)) {
		fab_count(port, FAB_DROP_FAULT_LOSS);
		return;
	}

	fault = fab_fault_strikes(lane, FAB_FAULT_CORRUPT, what);
	if (!fault)
		fab_wire_multiply(lane, what);
	else if (fault->num_xor)
		fab_wire_change(lane, what, fault);
	else
		/* The CRC is wrong, so the next receiver drops it. */
		fab_count(port->peer, FAB_DROP_FAULT_CORRUPT);
}

/* --- Reading a line ------------------------------------------------------ */

/* An option that is a number, and which faults have it. */
struct fab_fault_option {
	const char *name;
	u32 min;
	u32 max;
	size_t offset;
	unsigned long kinds;
};

#define FAB_OPTION(_name, _min, _max, _kinds) \
	{ #_name, _min, _max, offsetof(struct fab_fault, _name), _kinds }

static const struct fab_fault_option fab_fault_options[] = {
	FAB_OPTION(us, 1, FAB_LANE_MAX_US,
		   BIT(FAB_FAULT_DELAY) | BIT(FAB_FAULT_REORDER)),
	FAB_OPTION(room, 1, FAB_LANE_ROOM,
		   BIT(FAB_FAULT_DELAY) | BIT(FAB_FAULT_REORDER)),
	FAB_OPTION(by, 1, FAB_LANE_ROOM, BIT(FAB_FAULT_REORDER)),
	FAB_OPTION(at, 0, FAB_MTU_MAX - 1, BIT(FAB_FAULT_CORRUPT)),
};

static const struct {
	const char *name;
	unsigned int qps;
} fab_fault_qps[] = {
	{ "any", FAB_QP_ANY },
	{ "ud", FAB_QP_UD },
	{ "gsi", FAB_QP_GSI },
	{ "smi", FAB_QP_SMI },
};

static u32 *fab_option_field(struct fab_fault *fault,
			     const struct fab_fault_option *option)
{
	return (void *)fault + option->offset;
}

static int fab_fault_set_qps(struct fab_fault *fault, const char *value)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fab_fault_qps); i++) {
		if (!strcmp(value, fab_fault_qps[i].name)) {
			fault->qps = fab_fault_qps[i].qps;
			return 0;
		}
	}

	return -EINVAL;
}

static int fab_fault_set_xor(struct fab_fault *fault, const char *value)
{
	size_t digits = strlen(value);

	if (!digits || digits % 2 || digits / 2 > FAB_FAULT_XOR_MAX ||
	    hex2bin(fault->xor, value, digits / 2))
		return -EINVAL;

	fault->num_xor = digits / 2;
	return 0;
}

static int fab_fault_set_number(struct fab_fault *fault,
				enum fab_fault_kind kind, const char *name,
				const char *value)
{
	const struct fab_fault_option *option = fab_fault_options;
	unsigned int i;
	u32 number;

	for (i = 0; i < ARRAY_SIZE(fab_fault_options); i++, option++) {
		if (strcmp(name, option->name) || !(option->kinds & BIT(kind)))
			continue;
		if (kstrtou32(value, 0, &number) || number < option->min ||
		    number > option->max)
			return -EINVAL;
		*fab_option_field(fault, option) = number;
		return 0;
	}

	return -EINVAL;
}

static int fab_fault_set_word(struct fab_fault *fault, enum fab_fault_kind kind,
			      char *word)
{
	char *value = strchr(word, '=');

	/* Ends the word where its value begins, as do rules that are none. */
	if (!fab_rule_parse(&fault->rule, word))
		return 0;
	if (!value++)
		return -EINVAL;

	if (!strcmp(word, "qp"))
		return fab_fault_set_qps(fault, value);
	if (!strcmp(word, "xor") && kind == FAB_FAULT_CORRUPT)
		return fab_fault_set_xor(fault, value);
	return fab_fault_set_number(fault, kind, word, value);
}

static int fab_fault_read_words(struct fab_fault *fault,
				enum fab_fault_kind kind, char *line)
{
	int err = 0;
	char *word;

	while (!err && (word = strsep(&line, " "))) {
		if (*word)
			err = fab_fault_set_word(fault, kind, word);
	}
	if (err)
		return err;

	if (!fab_rule_is_on(&fault->rule) ||
	    (kind == FAB_FAULT_DELAY && !fault->us) ||
	    (fault->at && !fault->num_xor))
		return -EINVAL;
	return 0;
}

static struct fab_fault *fab_fault_read(enum fab_fault_kind kind, char *line)
{
	struct fab_fault *fault = kzalloc_obj(*fault, GFP_KERNEL);
	int err;

	if (!fault)
		return ERR_PTR(-ENOMEM);

	fault->qps = FAB_QP_ANY;
	fault->room = FAB_LANE_ROOM;
	fault->by = 1;
	if (kind == FAB_FAULT_REORDER)
		fault->us = FAB_REORDER_US;
	err = fab_fault_read_words(fault, kind, line);
	if (err) {
		kfree(fault);
		return ERR_PTR(err);
	}

	return fault;
}

/* --- Showing one --------------------------------------------------------- */

static void fab_fault_show_options(struct seq_file *m, struct fab_fault *fault,
				   enum fab_fault_kind kind)
{
	const struct fab_fault_option *option = fab_fault_options;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fab_fault_qps); i++) {
		if (fault->qps == fab_fault_qps[i].qps)
			seq_printf(m, " qp=%s", fab_fault_qps[i].name);
	}
	for (i = 0; i < ARRAY_SIZE(fab_fault_options); i++, option++) {
		if ((option->kinds & BIT(kind)) &&
		    (kind != FAB_FAULT_CORRUPT || fault->num_xor))
			seq_printf(m, " %s=%u", option->name,
				   *fab_option_field(fault, option));
	}
	if (fault->num_xor)
		seq_printf(m, " xor=%*phN", fault->num_xor, fault->xor);
}

static int fab_fault_show(struct seq_file *m, void *unused)
{
	struct fab_fault_slot *slot = m->private;
	struct fab_fault *fault;

	mutex_lock(&fab_lane_mutex);
	fault = rcu_dereference_protected(slot->fault,
					  lockdep_is_held(&fab_lane_mutex));
	if (fault) {
		fab_rule_show(m, &fault->rule);
		fab_fault_show_options(m, fault, slot->kind);
		seq_putc(m, '\n');
	} else {
		seq_puts(m, "off\n");
	}
	mutex_unlock(&fab_lane_mutex);

	return 0;
}

/* --- Files --------------------------------------------------------------- */

static void fab_fault_replace(struct fab_fault_slot *slot,
			      struct fab_fault *fault)
{
	struct fab_port *port = slot->lane->port;

	mutex_lock(&fab_lane_mutex);
	fault = rcu_replace_pointer(slot->fault, fault,
				    lockdep_is_held(&fab_lane_mutex));
	if (rcu_access_pointer(slot->fault))
		set_bit(slot->kind, &port->faults);
	else
		clear_bit(slot->kind, &port->faults);
	mutex_unlock(&fab_lane_mutex);

	if (fault)
		kfree_rcu(fault, rcu);
}

static ssize_t fab_fault_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct fab_fault_slot *slot = fab_file_private(file);
	struct fab_fault *fault = NULL;
	char line[128];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (strcmp(line, "off")) {
		fault = fab_fault_read(slot->kind, line);
		if (IS_ERR(fault))
			return PTR_ERR(fault);
	}

	fab_fault_replace(slot, fault);
	return count;
}

FAB_KNOB(fault,
	 "off; RULE [qp=ud|gsi|smi|any] and, where it applies; "
	 "us 1 to %lu, room and by 1 to %u, at 0 to %u, xor 1 to %u bytes; "
	 FAB_RULE_WORDS,
	 FAB_LANE_MAX_US, FAB_LANE_ROOM, FAB_MTU_MAX - 1, FAB_FAULT_XOR_MAX);

/**
 * fab_wire_debugfs - create the files for faults of a cable
 * @port: the port
 * @dir: its folder "faults"
 */
void fab_wire_debugfs(struct fab_port *port, struct dentry *dir)
{
	static const char * const names[FAB_FAULT_SLOTS] = {
		[FAB_FAULT_LOSS] = "loss",
		[FAB_FAULT_CORRUPT] = "corrupt",
		[FAB_FAULT_DUPLICATE] = "duplicate",
		[FAB_FAULT_DELAY] = "delay",
		[FAB_FAULT_REORDER] = "reorder",
	};
	int i;

	for (i = 0; i < FAB_FAULT_SLOTS; i++)
		debugfs_create_file(names[i], 0600, dir, &port->lane->slots[i],
				    &fab_fault_fops);
	fab_mad_debugfs(port->lane, dir);
}
