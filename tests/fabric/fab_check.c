// SPDX-License-Identifier: GPL-2.0
/*
 * Has any offload of any HCA been wrong?
 *
 * The file "offload_check" takes "on", which starts the counts anew, and "off".
 * While it is on, every packet that an HCA wrote checksums into, every segment
 * it cut, and every verdict on an arriving packet is made flat and shown to
 * fab_check.h. That costs copies, so it is off unless a test wants it.
 *
 * Order of this file: counts, packets, series, the file.
 */
#include <linux/slab.h>

#include "fab_check_run.h"
#include "fab_debugfs.h"

/* A port's name, the fault and its place */
#define FAB_CHECK_LINE 128

bool fab_checking;

/* --- Counts -------------------------------------------------------------- */

static atomic64_t fab_check_seen;
static atomic64_t fab_check_wrong;
/* Not checked, as there was no memory to make them flat. */
static atomic64_t fab_check_skipped;

static DEFINE_SPINLOCK(fab_check_lock); /* fab_check_first */
static char fab_check_first[FAB_CHECK_LINE];

static void fab_check_tell(const struct fab_port *port, u32 segment,
			   const char *wrong)
{
	unsigned long flags;

	spin_lock_irqsave(&fab_check_lock, flags);
	snprintf(fab_check_first, sizeof(fab_check_first),
		 "%s/port%u segment %u: %s", port->node->name, port->num,
		 segment, wrong);
	pr_err("ib_fabric: offload went wrong: %s\n", fab_check_first);
	spin_unlock_irqrestore(&fab_check_lock, flags);
}

static void fab_check_count(const struct fab_port *port, u32 segment,
			    const char *wrong)
{
	atomic64_inc(&fab_check_seen);
	if (wrong && atomic64_inc_return(&fab_check_wrong) == 1)
		fab_check_tell(port, segment, wrong);
}

/* --- Packets ------------------------------------------------------------- */

/* The packet, flat, with room behind it; NULL is counted. */
static u8 *fab_check_flat(const struct fab_packet *pkt, u32 room)
{
	u8 *flat = kmalloc(pkt->length + room, GFP_ATOMIC | __GFP_NOWARN);

	if (!flat) {
		atomic64_inc(&fab_check_skipped);
		return NULL;
	}

	fab_copy_head(flat, pkt->length, pkt->sge);
	return flat;
}

/**
 * fab_check_sent - a packet left that was to get checksums
 * @pkt: as it leaves
 * @asked: scatter list of the request
 * @families: FAB_FAMILY_* the HCA writes sums for
 *
 * Context: softirq.
 */
void fab_check_sent(const struct fab_packet *pkt, const struct ib_sge *asked,
		    u32 families)
{
	u8 *flat = fab_check_flat(pkt, pkt->length);
	const char *wrong;

	if (!flat)
		return;

	fab_copy_head(flat + pkt->length, pkt->length, asked);
	wrong = fab_check_packet(flat, flat + pkt->length, pkt->length,
				 families & FAB_FAMILY_IPV4,
				 families & FAB_FAMILY_IPV6);
	fab_check_count(pkt->src, 0, wrong);
	kfree(flat);
}

/**
 * fab_check_vouched - an HCA made up its mind about an arriving packet
 * @port: where it arrived
 * @pkt: the packet
 * @vouched: the HCA found its sums right
 * @families: FAB_FAMILY_* the HCA checks
 *
 * Context: softirq.
 */
void fab_check_vouched(const struct fab_port *port,
		       const struct fab_packet *pkt, bool vouched,
		       u32 families)
{
	u8 *flat = fab_check_flat(pkt, 0);

	if (!flat)
		return;

	fab_check_count(port, 0,
			fab_check_verdict(flat, pkt->length, vouched,
					  families & FAB_FAMILY_IPV4,
					  families & FAB_FAMILY_IPV6));
	kfree(flat);
}

/* --- Series -------------------------------------------------------------- */

/**
 * fab_check_next - a segment leaves
 * @run: the series
 * @pkt: the segment
 *
 * Context: softirq.
 */
void fab_check_next(struct fab_check_run *run, const struct fab_packet *pkt)
{
	struct fab_check_series *series = &run->series;
	u32 segment = series->segments;
	struct ib_sge part[FAB_MAX_SGE];
	u32 bytes;
	u8 *flat;

	bytes = fab_check_series_next(series);
	flat = fab_check_flat(pkt, bytes);
	if (!flat) {
		run->begun = false;
		return;
	}

	fab_sges_slice(part, run->payload, series->done, bytes);
	fab_copy_head(flat + pkt->length, bytes, part);
	fab_check_count(pkt->src, segment,
			fab_check_segment(series, flat, pkt->length,
					  flat + pkt->length));
	kfree(flat);
}

/**
 * fab_check_end - the last segment of a series has left
 * @run: the series
 * @pkt: that segment
 *
 * Context: softirq.
 */
void fab_check_end(struct fab_check_run *run, const struct fab_packet *pkt)
{
	fab_check_count(pkt->src, run->series.segments,
			fab_check_series_end(&run->series));
}

/* --- The file ------------------------------------------------------------ */

static void fab_check_restart(void)
{
	unsigned long flags;

	atomic64_set(&fab_check_seen, 0);
	atomic64_set(&fab_check_wrong, 0);
	atomic64_set(&fab_check_skipped, 0);
	spin_lock_irqsave(&fab_check_lock, flags);
	fab_check_first[0] = '\0';
	spin_unlock_irqrestore(&fab_check_lock, flags);
}

static int fab_offload_check_show(struct seq_file *m, void *unused)
{
	unsigned long flags;

	seq_printf(m, "%s\noffload_checked %lld\noffload_wrong %lld\n",
		   fab_check_is_on() ? "on" : "off",
		   atomic64_read(&fab_check_seen),
		   atomic64_read(&fab_check_wrong));
	seq_printf(m, "offload_skipped %lld\n",
		   atomic64_read(&fab_check_skipped));
	spin_lock_irqsave(&fab_check_lock, flags);
	if (*fab_check_first)
		seq_printf(m, "first_wrong %s\n", fab_check_first);
	spin_unlock_irqrestore(&fab_check_lock, flags);
	return 0;
}

static ssize_t fab_offload_check_write(struct file *file,
				       const char __user *from, size_t count,
				       loff_t *pos)
{
	char line[8];
	int err;

	err = fab_get_line(line, sizeof(line), from, count);
	if (err)
		return err;
	if (strcmp(line, "on") && strcmp(line, "off"))
		return -EINVAL;

	if (!strcmp(line, "on"))
		fab_check_restart();
	WRITE_ONCE(fab_checking, !strcmp(line, "on"));
	return count;
}

FAB_KNOB(offload_check, "on or off");

/**
 * fab_check_debugfs - create the file "offload_check"
 * @root: folder of the fabric
 */
void fab_check_debugfs(struct dentry *root)
{
	debugfs_create_file("offload_check", 0600, root, NULL,
			    &fab_offload_check_fops);
}
