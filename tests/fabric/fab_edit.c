// SPDX-License-Identifier: GPL-2.0
/*
 * What would a subnet manager have written here, if it had?
 *
 *	lid	base LID; write another one
 *	prefix	subnet prefix; write another one
 *	pkeys	"INDEX 0xPKEY" of each entry in use; write one to set it
 *	guids	"INDEX 0xGUID" of each entry in use; write one to set it
 *	capmask	CapabilityMask; write a number, or "client_reregister on|off"
 *
 * An edit raises the events that the same Set by an SMP would raise. The subnet
 * manager does not know of it: OpenSM writes LID and prefix anew in its next
 * heavy sweep, P_Keys when it is started anew.
 *
 * Order of this file: applying, LID and prefix, tables, capabilities, tree.
 */
#include "fab_debugfs.h"

/* --- Applying ------------------------------------------------------------ */

/*
 * struct fab_edit - one value to set
 * @index: of a table's entry
 * @value: the value
 */
struct fab_edit {
	unsigned int index;
	u64 value;
};

static void fab_edit_apply(struct fab_port *port, const struct fab_edit *edit,
			   void (*set)(struct fab_port *port,
				       const struct fab_edit *edit))
{
	spin_lock_irq(&fabric.ctl);
	set(port, edit);
	spin_unlock_irq(&fabric.ctl);
	fab_news_publish(port);
}

/* One number, at most @most, into edit->value. */
static int fab_edit_get_value(struct fab_edit *edit, u64 most,
			      const char __user *from, size_t count)
{
	char line[32];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (!err)
		err = kstrtou64(line, 0, &edit->value);
	if (!err && edit->value > most)
		err = -ERANGE;
	return err;
}

/* "INDEX VALUE" of a table with @entries entries. */
static int fab_edit_get_entry(struct fab_edit *edit, unsigned int entries,
			      u64 most, const char __user *from, size_t count)
{
	char line[48], *value = line;
	char *index;
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	index = strsep(&value, " \t");
	if (!value || kstrtouint(index, 0, &edit->index) ||
	    kstrtou64(skip_spaces(value), 0, &edit->value))
		return -EINVAL;
	if (edit->index >= entries || edit->value > most)
		return -ERANGE;

	return 0;
}

/* --- LID and prefix ------------------------------------------------------ */

static void fab_edit_lid(struct fab_port *port, const struct fab_edit *edit)
{
	fab_port_set_lid(port, edit->value);
}

static int fab_lid_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;

	seq_printf(m, "%u\n", READ_ONCE(port->lid));
	return 0;
}

static ssize_t fab_lid_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	struct fab_edit edit;
	int err;

	err = fab_edit_get_value(&edit, FAB_LID_UCAST_MAX, from, count);
	if (err)
		return err;

	fab_edit_apply(fab_file_private(file), &edit, fab_edit_lid);
	return count;
}

FAB_KNOB(lid, "a LID, 0 to %#x", FAB_LID_UCAST_MAX);

static void fab_edit_prefix(struct fab_port *port, const struct fab_edit *edit)
{
	fab_port_set_prefix(port, cpu_to_be64(edit->value));
}

static int fab_prefix_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;

	seq_printf(m, "0x%016llx\n", be64_to_cpu(READ_ONCE(port->prefix)));
	return 0;
}

static ssize_t fab_prefix_write(struct file *file, const char __user *from,
				size_t count, loff_t *pos)
{
	struct fab_edit edit;
	int err;

	err = fab_edit_get_value(&edit, U64_MAX, from, count);
	if (err)
		return err;

	fab_edit_apply(fab_file_private(file), &edit, fab_edit_prefix);
	return count;
}

FAB_KNOB(prefix, "a number of 64 bits, 0 to %#llx", U64_MAX);

/* --- Tables -------------------------------------------------------------- */

static void fab_edit_pkey(struct fab_port *port, const struct fab_edit *edit)
{
	fab_port_set_pkey(port, edit->index, edit->value);
}

static int fab_pkeys_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;
	unsigned int i;
	u16 pkey;

	for (i = 0; i < fab_num_pkeys(port); i++) {
		pkey = READ_ONCE(port->pkeys[i]);
		if (pkey)
			seq_printf(m, "%u 0x%04x\n", i, pkey);
	}
	return 0;
}

static ssize_t fab_pkeys_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct fab_port *port = fab_file_private(file);
	struct fab_edit edit;
	int err;

	err = fab_edit_get_entry(&edit, fab_num_pkeys(port), U16_MAX, from,
				 count);
	if (err)
		return err;

	fab_edit_apply(port, &edit, fab_edit_pkey);
	return count;
}

FAB_KNOB(pkeys, "INDEX P_KEY: INDEX 0 to %u, P_KEY 0 to %#x",
	 fab_num_pkeys(fab_file_private(file)) - 1, U16_MAX);

static void fab_edit_guid(struct fab_port *port, const struct fab_edit *edit)
{
	fab_port_set_guid(port, edit->index, cpu_to_be64(edit->value));
}

static int fab_guids_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;
	unsigned int i;
	u64 guid;

	for (i = 0; i < fab_num_gids(port); i++) {
		guid = be64_to_cpu(READ_ONCE(port->guids[i]));
		if (guid)
			seq_printf(m, "%u 0x%016llx\n", i, guid);
	}
	return 0;
}

static ssize_t fab_guids_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct fab_port *port = fab_file_private(file);
	struct fab_edit edit;
	int err;

	err = fab_edit_get_entry(&edit, fab_num_gids(port), U64_MAX, from,
				 count);
	if (err)
		return err;

	fab_edit_apply(port, &edit, fab_edit_guid);
	return count;
}

FAB_KNOB(guids, "INDEX GUID: INDEX 0 to %u, GUID 0 to %#llx",
	 fab_num_gids(fab_file_private(file)) - 1, U64_MAX);

/* --- Capabilities -------------------------------------------------------- */

static void fab_edit_caps(struct fab_port *port, const struct fab_edit *edit)
{
	WRITE_ONCE(port->info.cap_mask, cpu_to_be32(edit->value));
}

static void fab_edit_reregister(struct fab_port *port,
				const struct fab_edit *edit)
{
	u32 caps = be32_to_cpu(port->info.cap_mask);

	caps &= ~IB_PORT_CLIENT_REG_SUP;
	if (edit->value)
		caps |= IB_PORT_CLIENT_REG_SUP;
	WRITE_ONCE(port->info.cap_mask, cpu_to_be32(caps));
}

static int fab_capmask_show(struct seq_file *m, void *unused)
{
	const struct fab_port *port = m->private;
	u32 caps = be32_to_cpu(READ_ONCE(port->info.cap_mask));

	seq_printf(m, "0x%08x\nclient_reregister %s\n", caps,
		   caps & IB_PORT_CLIENT_REG_SUP ? "on" : "off");
	return 0;
}

static ssize_t fab_capmask_write(struct file *file, const char __user *from,
				 size_t count, loff_t *pos)
{
	struct fab_port *port = fab_file_private(file);
	struct fab_edit edit = {};
	char line[32];
	u32 caps;
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;

	if (!strncmp(line, "client_reregister ", 18)) {
		edit.value = !strcmp(line + 18, "on");
		if (!edit.value && strcmp(line + 18, "off"))
			return -EINVAL;
		fab_edit_apply(port, &edit, fab_edit_reregister);
		return count;
	}

	err = kstrtou32(line, 0, &caps);
	if (err)
		return err;
	edit.value = caps;
	fab_edit_apply(port, &edit, fab_edit_caps);
	return count;
}

FAB_KNOB(capmask, "a number, 0 to %#x, or client_reregister on|off", U32_MAX);

/* --- Tree ---------------------------------------------------------------- */

/**
 * fab_edit_debugfs - create the files at the top of this one
 * @port: port of an HCA
 * @dir: its folder
 */
void fab_edit_debugfs(struct fab_port *port, struct dentry *dir)
{
	debugfs_create_file("lid", 0600, dir, port, &fab_lid_fops);
	debugfs_create_file("prefix", 0600, dir, port, &fab_prefix_fops);
	debugfs_create_file("pkeys", 0600, dir, port, &fab_pkeys_fops);
	debugfs_create_file("guids", 0600, dir, port, &fab_guids_fops);
	debugfs_create_file("capmask", 0600, dir, port, &fab_capmask_fops);
}
