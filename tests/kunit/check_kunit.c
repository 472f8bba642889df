// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does the checker of the fabric's offloads see what is wrong?
 *
 * What is right is made by fab_offload.h, then hurt.
 */
#include <kunit/test.h>

#include "offload_kunit.h"

static const char *judge(struct kunit *test, struct fab_check_series *check,
			 const struct packet *segment)
{
	struct packet *data = packet_new(test);

	packet_pattern(data->bytes, check->done, check->mss);
	return fab_check_segment(check, segment->bytes, segment->len,
				 data->bytes);
}

/* a series of three, of which the second is judged as it stands */
static const char *judge_second(struct kunit *test, const struct packet *header,
				const struct run *run)
{
	struct fab_check_series check = run_check(header, 50, 150);

	KUNIT_EXPECT_NULL(test, judge(test, &check, run->seg[0]));
	return judge(test, &check, run->seg[1]);
}

/* no byte of a segment may differ, be it header, sum or payload */
static void every_wrong_byte_of_a_segment_is_seen(struct kunit *test)
{
	struct packet *headers[] = {
		packet_tcp4(test, 0), packet_tcp6(test, 0),
	};
	unsigned int i;
	u32 at;

	for (i = 0; i < ARRAY_SIZE(headers); i++) {
		struct run *run = run_series(test, headers[i], 50, 150);

		for (at = 0; at < run->seg[1]->len; at++) {
			run->seg[1]->bytes[at] ^= 0x10;
			if (!judge_second(test, headers[i], run))
				KUNIT_FAIL(test, "header %u, byte %u", i, at);
			run->seg[1]->bytes[at] ^= 0x10;
		}
		KUNIT_EXPECT_NULL(test, judge_second(test, headers[i], run));
	}
}

static struct packet *resummed(struct packet *p)
{
	struct fab_layout at;

	if (fab_layout_read(&at, p->bytes, p->len, p->len))
		fab_sums_fill(p->bytes, p->len, &at, 0);
	return p;
}

/* with right sums over it, each fault has to be found by its own name */
static void faults_under_right_sums_are_named(struct kunit *test)
{
	static const struct {
		u32 at;
		u8 bits;
		const char *what;
	} faults[] = {
		{ 9, 0x01, "the IPv4 identification" },
		{ 24 + 7, 0x01, "the TCP sequence number" },
		{ 24 + 13, 0x01, "the flag FIN" },
		{ 24 + 13, 0x08, "the flag PSH" },
		{ 24 + 13, 0x80, "the flag CWR" },
		{ 24 + 13, 0x20, "a TCP flag" },
		{ 24 + 11, 0x01, "a header field that all segments share" },
		{ 24 + 31, 0x01, "a header field that all segments share" },
		{ 24 + 32, 0x01, "the payload" },
		{ 12, 0x01, "a header field that all segments share" },
	};
	struct packet *header = packet_tcp4(test, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		struct run *run = run_series(test, header, 50, 150);

		run->seg[1]->bytes[faults[i].at] ^= faults[i].bits;
		resummed(run->seg[1]);
		KUNIT_EXPECT_STREQ(test, judge_second(test, header, run),
				   faults[i].what);
	}
}

static void wrong_lengths_are_named(struct kunit *test)
{
	struct packet *header = packet_tcp4(test, 0);
	struct run *run = run_series(test, header, 50, 150);

	packet_put16(run->seg[1], 6, 20 + 32 + 49);
	KUNIT_EXPECT_STREQ(test,
			   judge_second(test, header, run) ?: "right",
			   "the length in the IP header");
	packet_put16(run->seg[1], 6, 20 + 32 + 50);
	run->seg[1]->len--;
	KUNIT_EXPECT_STREQ(test,
			   judge_second(test, header, run) ?: "right",
			   "the length of a segment");
}

static void a_segment_left_out_is_seen(struct kunit *test)
{
	struct packet *header = packet_tcp4(test, 0);
	struct fab_check_series check = run_check(header, 50, 150);
	struct run *run = run_series(test, header, 50, 150);

	KUNIT_EXPECT_NULL(test, judge(test, &check, run->seg[0]));
	KUNIT_EXPECT_NOT_NULL(test, judge(test, &check, run->seg[2]));
	KUNIT_EXPECT_NOT_NULL(test, fab_check_series_end(&check));
}

static void a_segment_sent_twice_is_seen(struct kunit *test)
{
	struct packet *header = packet_tcp4(test, 0);
	struct fab_check_series check = run_check(header, 50, 150);
	struct run *run = run_series(test, header, 50, 150);

	KUNIT_EXPECT_NULL(test, judge(test, &check, run->seg[0]));
	KUNIT_EXPECT_NOT_NULL(test, judge(test, &check, run->seg[0]));
}

static void flags_of_a_middle_segment_do_not_fit_the_ends(struct kunit *test)
{
	struct packet *header = packet_tcp4(test, 0);
	struct fab_check_series check = run_check(header, 50, 150);
	struct run *run;

	header->bytes[24 + 13] = 0x99;
	run = run_series(test, header, 50, 150);
	run->seg[0]->bytes[24 + 13] = 0x10;
	KUNIT_EXPECT_STREQ(test, judge(test, &check, resummed(run->seg[0])),
			   "the flag CWR");
	KUNIT_EXPECT_NULL(test, judge(test, &check, run->seg[1]));
	run->seg[2]->bytes[24 + 13] = 0x18;
	KUNIT_EXPECT_STREQ(test, judge(test, &check, resummed(run->seg[2])),
			   "the flag FIN");
}

static const char *judge_packet(const struct packet *sent,
				const struct packet *asked)
{
	return fab_check_packet(sent->bytes, asked->bytes, asked->len, true,
				true) ?: "right";
}

static void single_packets_with_sums_are_right(struct kunit *test)
{
	struct packet *asked[] = {
		packet_tcp4(test, 13), packet_udp4(test, 13),
		packet_tcp6(test, 13), packet_udp6(test, 13),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		struct packet *sent = resummed(packet_copy(test, asked[i]));

		KUNIT_EXPECT_STREQ(test, judge_packet(sent, asked[i]), "right");
		KUNIT_EXPECT_STRNEQ(test, judge_packet(asked[i], asked[i]),
				    "right");
	}
}

static void single_packets_may_change_in_their_sums_alone(struct kunit *test)
{
	struct packet *asked = packet_tcp4(test, 13);
	struct packet *sent = resummed(packet_copy(test, asked));
	u32 at;

	for (at = 0; at < sent->len; at++) {
		sent->bytes[at] ^= 0x10;
		KUNIT_EXPECT_STRNEQ_MSG(test, judge_packet(sent, asked),
					"right", "byte %u", at);
		sent->bytes[at] ^= 0x10;
	}
}

static void sums_of_another_family_are_not_touched(struct kunit *test)
{
	struct packet *asked = packet_tcp6(test, 13);
	struct packet *sent = resummed(packet_copy(test, asked));

	KUNIT_EXPECT_NOT_NULL(test, fab_check_packet(sent->bytes, asked->bytes,
						     asked->len, true, false));
	KUNIT_EXPECT_NULL(test, fab_check_packet(asked->bytes, asked->bytes,
						 asked->len, true, false));
}

static void a_udp_sum_of_zero_is_seen(struct kunit *test)
{
	struct packet *asked = packet_udp4(test, 2);
	struct packet *sent;

	packet_put16(asked, 32, 0x3aee);
	sent = resummed(packet_copy(test, asked));
	KUNIT_EXPECT_STREQ(test, judge_packet(sent, asked), "right");
	packet_put16(sent, 24 + 6, 0);
	KUNIT_EXPECT_STREQ(test, judge_packet(sent, asked),
			   "a UDP sum of zero, which means none");
}

static void verdicts_are_held_against_the_bytes(struct kunit *test)
{
	struct packet *p = resummed(packet_tcp4(test, 13));

	KUNIT_EXPECT_NULL(test, fab_check_verdict(p->bytes, p->len, true, true,
						  true));
	KUNIT_EXPECT_NOT_NULL(test, fab_check_verdict(p->bytes, p->len, false,
						      true, true));
	/* an HCA that does not do IPv4 may not speak of it */
	KUNIT_EXPECT_NOT_NULL(test, fab_check_verdict(p->bytes, p->len, true,
						      false, true));
	p->bytes[p->len - 1] ^= 1;
	KUNIT_EXPECT_NOT_NULL(test, fab_check_verdict(p->bytes, p->len, true,
						      true, true));
	KUNIT_EXPECT_NULL(test, fab_check_verdict(p->bytes, p->len, false, true,
						  true));
}

static void truncated_packets_are_not_read_beyond_their_end(struct kunit *test)
{
	struct packet *packets[] = {
		packet_tcp4(test, 13), packet_udp6(test, 13),
	};
	struct fab_check_view view;
	unsigned int i;
	u32 len;

	for (i = 0; i < ARRAY_SIZE(packets); i++) {
		for (len = 0; len < packets[i]->len; len++) {
			u8 *cut = kunit_kmalloc(test, max(len, 1U), GFP_KERNEL);

			KUNIT_ASSERT_NOT_NULL(test, cut);
			memcpy(cut, packets[i]->bytes, len);
			KUNIT_EXPECT_FALSE(test,
					   fab_check_view(&view, cut, len));
		}
	}
}

static struct kunit_case check_cases[] = {
	KUNIT_CASE(every_wrong_byte_of_a_segment_is_seen),
	KUNIT_CASE(faults_under_right_sums_are_named),
	KUNIT_CASE(wrong_lengths_are_named),
	KUNIT_CASE(a_segment_left_out_is_seen),
	KUNIT_CASE(a_segment_sent_twice_is_seen),
	KUNIT_CASE(flags_of_a_middle_segment_do_not_fit_the_ends),
	KUNIT_CASE(single_packets_with_sums_are_right),
	KUNIT_CASE(single_packets_may_change_in_their_sums_alone),
	KUNIT_CASE(sums_of_another_family_are_not_touched),
	KUNIT_CASE(a_udp_sum_of_zero_is_seen),
	KUNIT_CASE(verdicts_are_held_against_the_bytes),
	KUNIT_CASE(truncated_packets_are_not_read_beyond_their_end),
	{}
};

static struct kunit_suite check_suite = {
	.name = "ib_fabric_check",
	.test_cases = check_cases,
};

kunit_test_suite(check_suite);
