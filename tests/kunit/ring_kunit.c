// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Do tags, ring counters, snapshots and waits come out right, at the wrap too?
 */
#include <kunit/test.h>

#include "ipoib_wire.h"

static void wr_id_comes_back(struct kunit *test)
{
	static const u32 slots[] = { 0, 1, 127, 8191 };
	static const u16 queues[] = { 0, 1, 7, 0xffff };
	unsigned int s, q;

	for (s = 0; s < ARRAY_SIZE(slots); s++) {
		for (q = 0; q < ARRAY_SIZE(queues); q++) {
			u64 id = ipoib_wr_id(IPOIB_WR_TX, queues[q], slots[s]);

			KUNIT_EXPECT_EQ(test,
					ipoib_wr_slot(id, IPOIB_WR_TX,
						      queues[q], 8192),
					slots[s]);
		}
	}
}

static void wr_slot_refuses_another_kind(struct kunit *test)
{
	u64 id = ipoib_wr_id(IPOIB_WR_RX, 0, 3);

	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_TX, 0, 128), -EBADMSG);
	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_RX, 0, 128), 3);
}

static void wr_slot_refuses_another_queue(struct kunit *test)
{
	u64 id = ipoib_wr_id(IPOIB_WR_TX, 2, 3);

	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_TX, 1, 128), -EBADMSG);
}

static void wr_slot_refuses_what_is_outside_the_ring(struct kunit *test)
{
	u64 id = ipoib_wr_id(IPOIB_WR_TX, 0, 128);

	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_TX, 0, 128), -EBADMSG);
	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_TX, 0, 256), 128);
	id = ipoib_wr_id(IPOIB_WR_TX, 0, U32_MAX);
	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id, IPOIB_WR_TX, 0, 8192),
			-EBADMSG);
}

static void wr_slot_refuses_an_untagged_request(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(0, IPOIB_WR_RX, 0, 256), -EBADMSG);
	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(0, IPOIB_WR_TX, 0, 256), -EBADMSG);
}

static void wr_slot_refuses_stray_bits(struct kunit *test)
{
	u64 id = ipoib_wr_id(IPOIB_WR_TX, 0, 1);

	KUNIT_EXPECT_EQ(test, ipoib_wr_slot(id | BIT_ULL(50), IPOIB_WR_TX, 0,
					    256), -EBADMSG);
}

static void wr_id_differs_for_every_slot_and_kind(struct kunit *test)
{
	KUNIT_EXPECT_NE(test, ipoib_wr_id(IPOIB_WR_TX, 0, 0),
			ipoib_wr_id(IPOIB_WR_RX, 0, 0));
	KUNIT_EXPECT_NE(test, ipoib_wr_id(IPOIB_WR_TX, 0, 1),
			ipoib_wr_id(IPOIB_WR_TX, 1, 0));
}

static void ring_used_across_counter_wrap(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ring_used(5, 5), 0);
	KUNIT_EXPECT_EQ(test, ipoib_ring_used(9, 5), 4);
	KUNIT_EXPECT_EQ(test, ipoib_ring_used(2, U32_MAX - 1), 4);
	KUNIT_EXPECT_EQ(test, ipoib_ring_used(0, U32_MAX), 1);
}

static void ring_unused_across_counter_wrap(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(0, 0, 128), 128);
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(128, 0, 128), 0);
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(2, U32_MAX - 1, 128), 124);
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(127, U32_MAX, 128), 0);
}

/* a consumer may see its own step before the producer's: never "room" then */
static void ring_unused_is_zero_when_the_tail_is_ahead(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(4, 5, 128), 0);
	KUNIT_EXPECT_EQ(test, ipoib_ring_unused(129, 0, 128), 0);
}

static void ring_slot_wraps_with_the_size(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ring_slot(0, 128), 0);
	KUNIT_EXPECT_EQ(test, ipoib_ring_slot(127, 128), 127);
	KUNIT_EXPECT_EQ(test, ipoib_ring_slot(128, 128), 0);
	KUNIT_EXPECT_EQ(test, ipoib_ring_slot(U32_MAX, 128), 127);
	/* the counter's wrap is no jump in the ring */
	KUNIT_EXPECT_EQ(test, ipoib_ring_slot(U32_MAX + 1, 128), 0);
}

/* the parameters' rule: next power of two, then the limits */
static void ring_size_rounds_and_clamps(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(256, 2, 8192), 256);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(257, 2, 8192), 512);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(3, 2, 8192), 4);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(1, 2, 8192), 2);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(0, 128, 8192), 128);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(100, 128, 8192), 128);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(-1, 128, 8192), 128);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(INT_MIN, 2, 8192), 2);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(8191, 2, 8192), 8192);
	KUNIT_EXPECT_EQ(test, ipoib_ring_size(INT_MAX, 2, 8192), 8192);
}

static void snapshot_passed_at_and_after_it(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, ipoib_snapshot_passed(9, 10));
	KUNIT_EXPECT_TRUE(test, ipoib_snapshot_passed(10, 10));
	KUNIT_EXPECT_TRUE(test, ipoib_snapshot_passed(11, 10));
}

static void snapshot_passed_across_counter_wrap(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, ipoib_snapshot_passed(U32_MAX, 3));
	KUNIT_EXPECT_TRUE(test, ipoib_snapshot_passed(3, 3));
	KUNIT_EXPECT_TRUE(test, ipoib_snapshot_passed(3, U32_MAX));
	KUNIT_EXPECT_FALSE(test, ipoib_snapshot_passed(U32_MAX - 5, U32_MAX));
}

static void backoff_doubles_up_to_the_most(struct kunit *test)
{
	static const u32 want[] = { 500, 1000, 2000, 4000, 8000, 16000, 16000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(want); i++)
		KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(i + 1, 500, 16000, 0),
				want[i]);
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(U32_MAX, 500, 16000, 0), 16000);
}

static void backoff_takes_off_less_than_a_quarter(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(1, 1000, 16000, U32_MAX),
			1000 - 249);
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(1, 1000, 16000, U32_MAX / 2),
			1000 - 124);
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(9, 1000, 16000, U32_MAX),
			16000 - 3999);
}

static void backoff_without_failure_is_the_first(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(0, 500, 16000, 0), 500);
	KUNIT_EXPECT_EQ(test, ipoib_backoff_ms(1, 500, 100, 0), 100);
}

/* Each after 20 ms, together a second; from then on each one is a failure. */
static void retry_soon_for_a_second_only(struct kunit *test)
{
	struct ipoib_retry retry = {};
	unsigned int i;

	for (i = 0; i < 50; i++) {
		ipoib_retry_note(&retry, -EAGAIN);
		KUNIT_EXPECT_TRUE(test, ipoib_retry_is_soon(&retry));
		KUNIT_EXPECT_EQ(test, retry.failures, 0);
		KUNIT_EXPECT_EQ(test, ipoib_retry_ms(&retry, 500, 16000, 0),
				20);
	}
	for (i = 1; i < 4; i++) {
		ipoib_retry_note(&retry, -EAGAIN);
		KUNIT_EXPECT_FALSE(test, ipoib_retry_is_soon(&retry));
		KUNIT_EXPECT_EQ(test, retry.failures, i);
		KUNIT_EXPECT_EQ(test, ipoib_retry_ms(&retry, 500, 16000, 0),
				250 << i);
	}
}

/* Whoever answers with anything else is known, and may be unknown again. */
static void retry_soon_begins_anew_after_another_errno(struct kunit *test)
{
	struct ipoib_retry retry = {};
	unsigned int i;

	for (i = 0; i < 60; i++)
		ipoib_retry_note(&retry, -EAGAIN);
	ipoib_retry_note(&retry, -ETIMEDOUT);
	KUNIT_EXPECT_FALSE(test, ipoib_retry_is_soon(&retry));
	KUNIT_EXPECT_EQ(test, retry.failures, 11);
	ipoib_retry_note(&retry, -EAGAIN);
	KUNIT_EXPECT_TRUE(test, ipoib_retry_is_soon(&retry));
	KUNIT_EXPECT_EQ(test, retry.failures, 11);
}

/* Never before the least, and less than twice as late. */
static void spread_stays_below_twice_the_least(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_spread_ms(20, 0), 20);
	KUNIT_EXPECT_EQ(test, ipoib_spread_ms(20, U32_MAX / 2 + 1), 30);
	KUNIT_EXPECT_EQ(test, ipoib_spread_ms(20, U32_MAX), 39);
	KUNIT_EXPECT_EQ(test, ipoib_spread_ms(1, U32_MAX), 1);
}

static struct kunit_case ring_cases[] = {
	KUNIT_CASE(wr_id_comes_back),
	KUNIT_CASE(wr_slot_refuses_another_kind),
	KUNIT_CASE(wr_slot_refuses_another_queue),
	KUNIT_CASE(wr_slot_refuses_what_is_outside_the_ring),
	KUNIT_CASE(wr_slot_refuses_an_untagged_request),
	KUNIT_CASE(wr_slot_refuses_stray_bits),
	KUNIT_CASE(wr_id_differs_for_every_slot_and_kind),
	KUNIT_CASE(ring_used_across_counter_wrap),
	KUNIT_CASE(ring_unused_across_counter_wrap),
	KUNIT_CASE(ring_unused_is_zero_when_the_tail_is_ahead),
	KUNIT_CASE(ring_slot_wraps_with_the_size),
	KUNIT_CASE(ring_size_rounds_and_clamps),
	KUNIT_CASE(snapshot_passed_at_and_after_it),
	KUNIT_CASE(snapshot_passed_across_counter_wrap),
	KUNIT_CASE(backoff_doubles_up_to_the_most),
	KUNIT_CASE(backoff_takes_off_less_than_a_quarter),
	KUNIT_CASE(backoff_without_failure_is_the_first),
	KUNIT_CASE(retry_soon_for_a_second_only),
	KUNIT_CASE(retry_soon_begins_anew_after_another_errno),
	KUNIT_CASE(spread_stays_below_twice_the_least),
	{}
};

static struct kunit_suite ring_suite = {
	.name = "ib_ipoib_ring",
	.test_cases = ring_cases,
};

kunit_test_suite(ring_suite);
