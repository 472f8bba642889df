// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does the link go where its table's law says, and does it see what changed?
 */
#include <kunit/test.h>

#include "ipoib_wire.h"
#include "table_kunit.h"

static const char * const link_states[] = {
	[IPOIB_LINK_DOWN] = "DOWN",
	[IPOIB_LINK_NO_PKEY] = "NO_PKEY",
	[IPOIB_LINK_JOINING] = "JOINING",
	[IPOIB_LINK_ACTIVE] = "ACTIVE",
	[IPOIB_LINK_DEAD] = "DEAD",
};

static_assert(ARRAY_SIZE(link_states) == IPOIB_LINK_STATES);

static const char * const link_events[] = {
	[IPOIB_EV_REMOVE] = "REMOVE",
	[IPOIB_EV_ADMIN_UP] = "ADMIN_UP",
	[IPOIB_EV_ADMIN_UP_NO_PKEY] = "ADMIN_UP_NO_PKEY",
	[IPOIB_EV_ADMIN_DOWN] = "ADMIN_DOWN",
	[IPOIB_EV_PKEY_LOST] = "PKEY_LOST",
	[IPOIB_EV_PKEY_CHANGED] = "PKEY_CHANGED",
	[IPOIB_EV_PKEY_MOVED] = "PKEY_MOVED",
	[IPOIB_EV_PORT_LOST] = "PORT_LOST",
	[IPOIB_EV_GID_CHANGED] = "GID_CHANGED",
	[IPOIB_EV_GID_LOST] = "GID_LOST",
	[IPOIB_EV_LID_CHANGED] = "LID_CHANGED",
	[IPOIB_EV_SM_CHANGED] = "SM_CHANGED",
	[IPOIB_EV_REREGISTER] = "REREGISTER",
	[IPOIB_EV_BROKEN] = "BROKEN",
	[IPOIB_EV_STUCK] = "STUCK",
	[IPOIB_EV_JOIN_LOST] = "JOIN_LOST",
	[IPOIB_EV_JOIN_CHANGED] = "JOIN_CHANGED",
	[IPOIB_EV_RESUMED] = "RESUMED",
	[IPOIB_EV_JOINED] = "JOINED",
};

static_assert(ARRAY_SIZE(link_events) == IPOIB_LINK_EVENTS);

static const char * const link_actions[] = {
	[IPOIB_ACT_CARRIER_OFF] = "off",
	[IPOIB_ACT_LEAVE] = "leave",
	[IPOIB_ACT_FORGET] = "forget",
	[IPOIB_ACT_HEAL] = "heal",
	[IPOIB_ACT_RESTART] = "restart",
	[IPOIB_ACT_REINDEX] = "reindex",
	[IPOIB_ACT_READDRESS] = "readdress",
	[IPOIB_ACT_ACCEPT] = "accept",
	[IPOIB_ACT_JOIN] = "join",
	[IPOIB_ACT_CONFIRM] = "confirm",
	[IPOIB_ACT_RENEW] = "renew",
	[IPOIB_ACT_STALE] = "stale",
	[IPOIB_ACT_REFRESH] = "refresh",
	[IPOIB_ACT_ADOPT] = "adopt",
	[IPOIB_ACT_SYNC] = "sync",
	[IPOIB_ACT_CARRIER_ON] = "on",
};

static_assert(ARRAY_SIZE(link_actions) == IPOIB_LINK_ACTIONS);

static const char * const link_law[] = {
	"DOWN ADMIN_UP > JOINING join",
	"DOWN ADMIN_UP_NO_PKEY > NO_PKEY",
	"DOWN REMOVE > DEAD",
	/* a key that is not there brings up nothing; only a key can */
	"NO_PKEY ADMIN_DOWN > DOWN",
	"NO_PKEY PKEY_CHANGED > JOINING restart",
	"NO_PKEY GID_CHANGED > NO_PKEY readdress",
	"NO_PKEY REMOVE > DEAD",
	/* hold: let go of the join in flight, RESUMED starts it again */
	"JOINING PORT_LOST > JOINING leave",
	"JOINING GID_LOST > JOINING leave",
	"JOINING GID_CHANGED > JOINING leave readdress",
	"JOINING RESUMED > JOINING join",
	/* rejoin: whatever was asked was asked in vain */
	"JOINING LID_CHANGED > JOINING leave join",
	"JOINING REREGISTER > JOINING leave join",
	"JOINING JOIN_LOST > JOINING leave join",
	"JOINING PKEY_LOST > NO_PKEY off leave forget",
	"JOINING PKEY_CHANGED > JOINING leave restart",
	"JOINING PKEY_MOVED > JOINING reindex",
	"JOINING BROKEN > JOINING leave restart",
	"JOINING STUCK > JOINING heal",
	"JOINING JOINED > ACTIVE adopt accept sync on",
	"JOINING ADMIN_DOWN > DOWN off leave forget",
	"JOINING REMOVE > DEAD off leave forget",
	/* the carrier stays: new memberships and paths before old ones go */
	"ACTIVE LID_CHANGED > ACTIVE renew refresh",
	"ACTIVE REREGISTER > ACTIVE renew stale",
	"ACTIVE SM_CHANGED > ACTIVE confirm stale",
	"ACTIVE JOIN_CHANGED > ACTIVE refresh adopt on",
	/* the queue pairs need the new index, and nothing else does */
	"ACTIVE PKEY_MOVED > ACTIVE reindex",
	/* the carrier goes, and with it all that was learnt */
	"ACTIVE PORT_LOST > JOINING off leave forget",
	"ACTIVE GID_LOST > JOINING off leave forget",
	"ACTIVE GID_CHANGED > JOINING off leave forget readdress",
	"ACTIVE JOIN_LOST > JOINING off leave forget join",
	"ACTIVE PKEY_LOST > NO_PKEY off leave forget",
	"ACTIVE PKEY_CHANGED > JOINING off leave forget restart",
	"ACTIVE BROKEN > JOINING off leave forget restart",
	/* a queue is healed while the others run */
	"ACTIVE STUCK > ACTIVE heal",
	"ACTIVE ADMIN_DOWN > DOWN off leave forget",
	"ACTIVE REMOVE > DEAD off leave forget",
};

static struct table_cell link_look(unsigned int state, unsigned int event)
{
	const struct ipoib_link_cell *cell = ipoib_link_next(state, event);

	return (struct table_cell){ cell->next, cell->actions };
}

static void table_every_cell_as_the_law_says(struct kunit *test)
{
	static const struct table_law law = {
		.states = link_states,
		.num_states = ARRAY_SIZE(link_states),
		.events = link_events,
		.num_events = ARRAY_SIZE(link_events),
		.actions = link_actions,
		.num_actions = ARRAY_SIZE(link_actions),
		.lines = link_law,
		.num_lines = ARRAY_SIZE(link_law),
		.look = link_look,
	};

	table_check(test, &law);
}

static void table_dead_is_the_end(struct kunit *test)
{
	unsigned int e;

	for (e = 0; e < IPOIB_LINK_EVENTS; e++)
		KUNIT_EXPECT_EQ(test, ipoib_link_next(IPOIB_LINK_DEAD, e)->next,
				IPOIB_LINK_DEAD);
}

/* whoever comes from ACTIVE to anywhere else has no carrier any more */
static void table_leaving_active_takes_the_carrier(struct kunit *test)
{
	const struct ipoib_link_cell *cell;
	unsigned int e;

	for (e = 0; e < IPOIB_LINK_EVENTS; e++) {
		cell = ipoib_link_next(IPOIB_LINK_ACTIVE, e);
		KUNIT_EXPECT_EQ_MSG(test, cell->next != IPOIB_LINK_ACTIVE,
				    !!(cell->actions &
				       BIT(IPOIB_ACT_CARRIER_OFF)),
				    "%s", link_events[e]);
	}
}

/* the carrier comes in no other way than by JOINED, or with new parameters */
static void table_carrier_needs_a_join(struct kunit *test)
{
	unsigned int s, e;

	for (s = 0; s < IPOIB_LINK_STATES; s++)
		for (e = 0; e < IPOIB_LINK_EVENTS; e++)
			if (ipoib_link_next(s, e)->actions &
			    BIT(IPOIB_ACT_CARRIER_ON))
				KUNIT_EXPECT_TRUE(test,
						  e == IPOIB_EV_JOINED ||
						  e == IPOIB_EV_JOIN_CHANGED);
}

/* A link that works; each test changes what it is about. */
static struct ipoib_link_view link_working(void)
{
	struct ipoib_link_view view = {
		.lid = 5,
		.sm_lid = 1,
		.pkey = 0xffff,
		.port_active = true,
		.port_serves = true,
		.gid_valid = true,
		.ready = true,
		.bcast = {
			.qkey = 0xb1b,
			.mlid = 0xc000,
			.mtu_bytes = 2048,
			.rate = 3,
			.up = true,
		},
	};

	return view;
}

static void diff_of_the_same_is_nothing(struct kunit *test)
{
	struct ipoib_link_view a = link_working();

	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &a), 0);
}

static void diff_pkey_lost_and_found(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.pkey = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), BIT(IPOIB_EV_PKEY_LOST));
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&b, &a),
			BIT(IPOIB_EV_PKEY_CHANGED));
}

/* a key that appears at index 0 is seen, though 0 is the index of none, too */
static void diff_pkey_found_at_index_0(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	a.pkey = 0;
	a.pkey_index = 0;
	b.pkey_index = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_PKEY_CHANGED));
}

static void diff_pkey_moved_and_replaced(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.pkey_index = 3;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_PKEY_MOVED));
	b.pkey = 0x8001;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_PKEY_CHANGED));
	b.pkey_index = a.pkey_index;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_PKEY_CHANGED));
}

static void diff_port_lost(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.port_serves = false;
	b.ready = false;
	b.lid = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), BIT(IPOIB_EV_PORT_LOST));
}

/* none for a while is no other one */
static void diff_sm_changed(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.sm_lid = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), 0);
	b.sm_lid = 2;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_SM_CHANGED));
	ipoib_link_ack(&a, &b, IPOIB_EV_SM_CHANGED);
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), 0);
}

/* down and up again between two looks, with another LID */
static void diff_lid_changed_while_nobody_looked(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.lid = 6;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_LID_CHANGED));
}

static void diff_gid_lost(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.gid_valid = false;
	b.ready = false;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), BIT(IPOIB_EV_GID_LOST));
}

/* whether or not the port has the GID that the interface goes by */
static void diff_gid_changed(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	a.gid_valid = false;
	b.gid_valid = false;
	b.gid_changed = true;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_GID_CHANGED));
	ipoib_link_ack(&a, &b, IPOIB_EV_GID_CHANGED);
	KUNIT_EXPECT_FALSE(test, ipoib_link_diff(&a, &b) &
				 BIT(IPOIB_EV_GID_CHANGED));
}

static void diff_resumed_when_ready_again(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	a.ready = false;
	a.port_serves = false;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), BIT(IPOIB_EV_RESUMED));
}

static void diff_join_comes_and_goes(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.bcast.up = false;
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b), BIT(IPOIB_EV_JOIN_LOST));
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&b, &a), BIT(IPOIB_EV_JOINED));
}

#define LINK_CHANGED(test, field, value)				\
do {									\
	struct ipoib_link_view a = link_working();			\
	struct ipoib_link_view b = a;					\
									\
	b.bcast.field = (value);					\
	KUNIT_EXPECT_EQ_MSG(test, ipoib_link_diff(&a, &b),		\
			    BIT(IPOIB_EV_JOIN_CHANGED), #field);	\
} while (0)

static void diff_each_parameter_of_the_group(struct kunit *test)
{
	LINK_CHANGED(test, mgid.raw[5], 7);
	LINK_CHANGED(test, qkey, 0x80000001);
	LINK_CHANGED(test, flow_label, 1);
	LINK_CHANGED(test, mlid, 0xc001);
	LINK_CHANGED(test, mtu_bytes, 4096);
	LINK_CHANGED(test, rate, 6);
	LINK_CHANGED(test, sl, 1);
	LINK_CHANGED(test, traffic_class, 1);
	LINK_CHANGED(test, hop_limit, 1);
}

/* acting on all events of a difference, one by one, leaves none */
static void ack_settles_every_difference(struct kunit *test)
{
	struct ipoib_link_view now = link_working();
	struct ipoib_link_view acted;
	unsigned int turns = 0;
	u32 events;

	memset(&acted, 0, sizeof(acted));
	while ((events = ipoib_link_diff(&acted, &now))) {
		ipoib_link_ack(&acted, &now, __ffs(events));
		turns++;
		KUNIT_ASSERT_LE(test, turns, 8);
	}
	KUNIT_EXPECT_EQ(test, turns, 4);

	memset(&now, 0, sizeof(now));
	turns = 0;
	while ((events = ipoib_link_diff(&acted, &now))) {
		ipoib_link_ack(&acted, &now, __ffs(events));
		turns++;
		KUNIT_ASSERT_LE(test, turns, 8);
	}
	KUNIT_EXPECT_EQ(test, turns, 4);
}

/* what one event is about must not hide another */
static void ack_of_one_event_keeps_the_others(struct kunit *test)
{
	struct ipoib_link_view a = link_working();
	struct ipoib_link_view b = a;

	b.pkey_index = 2;
	b.lid = 9;
	b.bcast.qkey = 1;
	ipoib_link_ack(&a, &b, IPOIB_EV_LID_CHANGED);
	KUNIT_EXPECT_EQ(test, ipoib_link_diff(&a, &b),
			BIT(IPOIB_EV_PKEY_MOVED) |
			BIT(IPOIB_EV_JOIN_CHANGED));
}

/* what is missed once is not gone; missed for long enough, it is */
static void absence_takes_two_looks(struct kunit *test)
{
	const unsigned long wait = msecs_to_jiffies(IPOIB_ABSENCE_MS);
	const unsigned long t = -10UL;
	struct ipoib_absence absence = {};

	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, true, t));
	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, true, t));
	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, true,
						       t + wait - 1));
	KUNIT_EXPECT_TRUE(test, ipoib_absence_is_sure(&absence, true,
						      t + wait));
	KUNIT_EXPECT_TRUE(test, ipoib_absence_is_sure(&absence, true,
						      t + 2 * wait));
}

/* found between two looks, its absence begins again */
static void absence_ends_when_found(struct kunit *test)
{
	const unsigned long wait = msecs_to_jiffies(IPOIB_ABSENCE_MS);
	struct ipoib_absence absence = {};

	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, true, 0));
	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, false, wait));
	KUNIT_EXPECT_FALSE(test, ipoib_absence_is_sure(&absence, true,
						       2 * wait));
	KUNIT_EXPECT_TRUE(test, ipoib_absence_is_sure(&absence, true,
						      3 * wait));
}

/* A link that waits for its broadcast group; each test adds its trouble. */
static struct ipoib_link_facts link_joining(void)
{
	return (struct ipoib_link_facts){
		.state = IPOIB_LINK_JOINING,
		.port_active = true,
		.gid_good = true,
		.lid = 5,
		.sm_lid = 1,
	};
}

static void why_of_each_state(struct kunit *test)
{
	static const enum ipoib_link_reason want[] = {
		[IPOIB_LINK_DOWN] = IPOIB_WHY_ADMIN_DOWN,
		[IPOIB_LINK_NO_PKEY] = IPOIB_WHY_PKEY_ABSENT,
		[IPOIB_LINK_JOINING] = IPOIB_WHY_BCAST_JOINING,
		[IPOIB_LINK_ACTIVE] = IPOIB_WHY_UP,
		[IPOIB_LINK_DEAD] = IPOIB_WHY_REMOVED,
	};
	struct ipoib_link_facts facts = link_joining();
	unsigned int s;

	facts.carrier = true;
	for (s = 0; s < IPOIB_LINK_STATES; s++) {
		facts.state = s;
		KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), want[s]);
	}
}

/* the link is there before the stack knows: only then it is up */
static void why_active_without_carrier(struct kunit *test)
{
	struct ipoib_link_facts facts = link_joining();

	facts.state = IPOIB_LINK_ACTIVE;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_RESTARTING);
	facts.carrier = true;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_UP);
}

/* what has to be mended first is said first */
static void why_joining_in_the_order_of_mending(struct kunit *test)
{
	struct ipoib_link_facts facts = link_joining();

	facts.status = -ETIMEDOUT;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_SM_UNREACHABLE);
	facts.status = -EMSGSIZE;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_MTU_MISMATCH);
	facts.restarting = true;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_RESTARTING);
	facts.gid_good = false;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_GID_ABSENT);
	facts.lid = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_LID_0);
	facts.port_active = false;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_PORT_DOWN);
	facts.kept = true;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_HCA_WEDGED);
	facts.state = IPOIB_LINK_DOWN;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_HCA_WEDGED);
	facts.state = IPOIB_LINK_DEAD;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_REMOVED);
}

static void why_without_a_subnet_manager(struct kunit *test)
{
	struct ipoib_link_facts facts = link_joining();

	facts.status = -EAGAIN;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_SM_UNREACHABLE);
	facts.status = -EHOSTUNREACH;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_SM_UNREACHABLE);
	facts.status = -EINVAL;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_BCAST_JOINING);
	facts.status = 0;
	facts.sm_lid = 0;
	KUNIT_EXPECT_EQ(test, ipoib_link_why(&facts), IPOIB_WHY_SM_UNREACHABLE);
}

static void why_has_a_word_for_each(struct kunit *test)
{
	unsigned int r;

	for (r = 0; r < IPOIB_LINK_REASONS; r++)
		KUNIT_EXPECT_NOT_NULL(test, ipoib_link_reason_name(r));
}

static struct kunit_case link_cases[] = {
	KUNIT_CASE(table_every_cell_as_the_law_says),
	KUNIT_CASE(table_dead_is_the_end),
	KUNIT_CASE(table_leaving_active_takes_the_carrier),
	KUNIT_CASE(table_carrier_needs_a_join),
	KUNIT_CASE(diff_of_the_same_is_nothing),
	KUNIT_CASE(diff_pkey_lost_and_found),
	KUNIT_CASE(diff_pkey_found_at_index_0),
	KUNIT_CASE(diff_pkey_moved_and_replaced),
	KUNIT_CASE(diff_port_lost),
	KUNIT_CASE(diff_sm_changed),
	KUNIT_CASE(diff_lid_changed_while_nobody_looked),
	KUNIT_CASE(diff_gid_lost),
	KUNIT_CASE(diff_gid_changed),
	KUNIT_CASE(diff_resumed_when_ready_again),
	KUNIT_CASE(diff_join_comes_and_goes),
	KUNIT_CASE(diff_each_parameter_of_the_group),
	KUNIT_CASE(ack_settles_every_difference),
	KUNIT_CASE(ack_of_one_event_keeps_the_others),
	KUNIT_CASE(absence_takes_two_looks),
	KUNIT_CASE(absence_ends_when_found),
	KUNIT_CASE(why_of_each_state),
	KUNIT_CASE(why_active_without_carrier),
	KUNIT_CASE(why_joining_in_the_order_of_mending),
	KUNIT_CASE(why_without_a_subnet_manager),
	KUNIT_CASE(why_has_a_word_for_each),
	{}
};

static struct kunit_suite link_suite = {
	.name = "ib_ipoib_link",
	.test_cases = link_cases,
};

kunit_test_suite(link_suite);
