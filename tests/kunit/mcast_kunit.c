// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does a multicast group go where its table's law says?
 */
#include <kunit/test.h>

#include "ipoib_wire.h"
#include "table_kunit.h"

static const char * const mcast_states[] = {
	[IPOIB_MCAST_IDLE] = "IDLE",
	[IPOIB_MCAST_JOINING] = "JOINING",
	[IPOIB_MCAST_BACKOFF] = "BACKOFF",
	[IPOIB_MCAST_JOINED] = "JOINED",
	[IPOIB_MCAST_ATTACHED] = "ATTACHED",
	[IPOIB_MCAST_RENEWING] = "RENEWING",
	[IPOIB_MCAST_STALE] = "STALE",
	[IPOIB_MCAST_LEAVING] = "LEAVING",
};

static_assert(ARRAY_SIZE(mcast_states) == IPOIB_MCAST_STATES);

static const char * const mcast_events[] = {
	[IPOIB_MC_START] = "start",
	[IPOIB_MC_ANSWER] = "answer",
	[IPOIB_MC_REFUSAL] = "refusal",
	[IPOIB_MC_ATTACHED] = "attached",
	[IPOIB_MC_ATTACH_FAILED] = "attach_failed",
	[IPOIB_MC_RETRY] = "retry",
	[IPOIB_MC_RENEW] = "renew",
	[IPOIB_MC_EXPIRED] = "expired",
	[IPOIB_MC_STOP] = "stop",
	[IPOIB_MC_UNREADY] = "unready",
};

static_assert(ARRAY_SIZE(mcast_events) == IPOIB_MCAST_EVENTS);

static const char * const mcast_actions[] = {
	[IPOIB_MCDO_DETACH] = "detach",
	[IPOIB_MCDO_LEAVE] = "leave",
	[IPOIB_MCDO_CANCEL] = "cancel",
	[IPOIB_MCDO_ADOPT] = "adopt",
	[IPOIB_MCDO_REQUEST] = "request",
	[IPOIB_MCDO_WAIT] = "wait",
};

static_assert(ARRAY_SIZE(mcast_actions) == IPOIB_MCAST_ACTIONS);

static const char * const mcast_law[] = {
	"IDLE start > JOINING request",
	"JOINING answer > JOINED adopt",
	"JOINING refusal > BACKOFF cancel wait",
	/* the new request comes before the old one goes: nothing is left */
	"JOINING renew > JOINING request",
	"JOINING unready > BACKOFF cancel wait",
	"BACKOFF retry > JOINING request",
	"BACKOFF renew > JOINING request",
	"JOINED attached > ATTACHED",
	"JOINED attach_failed > BACKOFF detach leave wait",
	/* make before break: the membership in force is left alone */
	"JOINED renew > RENEWING request",
	"ATTACHED renew > RENEWING request",
	"RENEWING answer > JOINED adopt",
	"RENEWING refusal > STALE cancel wait",
	"RENEWING renew > RENEWING request",
	/* what is granted stays so, and what was there before is used */
	"RENEWING unready > STALE adopt wait",
	"STALE retry > RENEWING request",
	"STALE renew > RENEWING request",
	"STALE expired > BACKOFF detach leave",
	/* from anywhere there is one way out, and it undoes everything */
	"IDLE stop > LEAVING detach leave cancel",
	"JOINING stop > LEAVING detach leave cancel",
	"BACKOFF stop > LEAVING detach leave cancel",
	"JOINED stop > LEAVING detach leave cancel",
	"ATTACHED stop > LEAVING detach leave cancel",
	"RENEWING stop > LEAVING detach leave cancel",
	"STALE stop > LEAVING detach leave cancel",
};

static struct table_cell mcast_look(unsigned int state, unsigned int event)
{
	const struct ipoib_mcast_cell *cell = ipoib_mcast_next(state, event);

	return (struct table_cell){ cell->next, cell->actions };
}

static void table_every_cell_as_the_law_says(struct kunit *test)
{
	static const struct table_law law = {
		.states = mcast_states,
		.num_states = ARRAY_SIZE(mcast_states),
		.events = mcast_events,
		.num_events = ARRAY_SIZE(mcast_events),
		.actions = mcast_actions,
		.num_actions = ARRAY_SIZE(mcast_actions),
		.lines = mcast_law,
		.num_lines = ARRAY_SIZE(mcast_law),
		.look = mcast_look,
	};

	table_check(test, &law);
}

/* who stops working has been detached, who works on has not */
static void table_detach_where_a_group_stops_working(struct kunit *test)
{
	const struct ipoib_mcast_cell *cell;
	unsigned int s, e;

	for (s = 0; s < IPOIB_MCAST_STATES; s++) {
		for (e = 0; e < IPOIB_MCAST_EVENTS; e++) {
			cell = ipoib_mcast_next(s, e);
			if (!ipoib_mcast_works(s))
				continue;
			KUNIT_EXPECT_EQ_MSG(test,
					    !ipoib_mcast_works(cell->next),
					    !!(cell->actions &
					       BIT(IPOIB_MCDO_DETACH)),
					    "%s %s", mcast_states[s],
					    mcast_events[e]);
		}
	}
}

static void works_from_joined_to_stale(struct kunit *test)
{
	static const bool works[] = {
		[IPOIB_MCAST_JOINED] = true,
		[IPOIB_MCAST_ATTACHED] = true,
		[IPOIB_MCAST_RENEWING] = true,
		[IPOIB_MCAST_STALE] = true,
		[IPOIB_MCAST_LEAVING] = false,
	};
	unsigned int s;

	for (s = 0; s < IPOIB_MCAST_STATES; s++)
		KUNIT_EXPECT_EQ_MSG(test, ipoib_mcast_works(s), works[s], "%s",
				    mcast_states[s]);
}

static struct kunit_case mcast_cases[] = {
	KUNIT_CASE(table_every_cell_as_the_law_says),
	KUNIT_CASE(table_detach_where_a_group_stops_working),
	KUNIT_CASE(works_from_joined_to_stale),
	{}
};

static struct kunit_suite mcast_suite = {
	.name = "ib_ipoib_mcast",
	.test_cases = mcast_cases,
};

kunit_test_suite(mcast_suite);
