// SPDX-License-Identifier: GPL-2.0
/*
 * How often was which asynchronous event raised?
 *
 * Order of this file: counting, the file "events".
 */
#include "fab_debugfs.h"

/* --- Counting ------------------------------------------------------------ */

/**
 * fab_event_raised - count an event; the caller raises it
 * @events: of a port, or of an HCA
 * @type: enum ib_event_type
 *
 * Context: any.
 */
void fab_event_raised(struct fab_events *events, unsigned int type)
{
	atomic_inc(&events->count[type]);
}

/* --- The file "events" --------------------------------------------------- */

static const char * const fab_event_names[FAB_EVENTS] = {
	[IB_EVENT_CQ_ERR] = "CQ_ERR",
	[IB_EVENT_QP_FATAL] = "QP_FATAL",
	[IB_EVENT_SQ_DRAINED] = "SQ_DRAINED",
	[IB_EVENT_DEVICE_FATAL] = "DEVICE_FATAL",
	[IB_EVENT_PORT_ACTIVE] = "PORT_ACTIVE",
	[IB_EVENT_PORT_ERR] = "PORT_ERR",
	[IB_EVENT_LID_CHANGE] = "LID_CHANGE",
	[IB_EVENT_PKEY_CHANGE] = "PKEY_CHANGE",
	[IB_EVENT_SM_CHANGE] = "SM_CHANGE",
	[IB_EVENT_CLIENT_REREGISTER] = "CLIENT_REREGISTER",
	[IB_EVENT_GID_CHANGE] = "GID_CHANGE",
};

static int fab_events_show(struct seq_file *m, void *unused)
{
	const struct fab_events *events = m->private;
	int type;

	for (type = 0; type < FAB_EVENTS; type++) {
		if (fab_event_names[type])
			seq_printf(m, "%s %d\n", fab_event_names[type],
				   atomic_read(&events->count[type]));
	}
	return 0;
}

FAB_FILE(events, NULL);

/**
 * fab_event_debugfs - create the file "events"
 * @events: what it shows
 * @dir: where
 */
void fab_event_debugfs(struct fab_events *events, struct dentry *dir)
{
	debugfs_create_file("events", 0400, dir, events, &fab_events_fops);
}
