// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does the fabric's HCA make the right checksums and segments?
 *
 * Expected sums were worked out by other means, from RFC 1071. Series of
 * segments go through the fabric's own checker as well, which is tried in
 * check_kunit.c.
 */
#include <kunit/test.h>

#include "offload_kunit.h"

/* The packet's sums, made with only its first @have bytes in sight. */
static void fill(struct kunit *test, u8 *pkt, u32 have, u32 len)
{
	struct fab_layout at;
	u32 end;

	KUNIT_ASSERT_TRUE(test, fab_layout_read(&at, pkt, have, len));
	end = max(at.end, have);
	fab_sums_fill(pkt, have, &at, csum_partial(pkt + have, end - have, 0));
}

static bool right(u8 *pkt, u32 len)
{
	struct fab_layout at;

	return fab_layout_read(&at, pkt, len, len) &&
	       fab_sums_right(pkt, len, &at, 0);
}

static u32 word(const u8 *pkt, u32 at)
{
	return (u32)pkt[at] << 8 | pkt[at + 1];
}

/* --- Checksums ----------------------------------------------------------- */

static void tcp4_sums_as_worked_out_by_hand(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 13);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 14), 0x0a17);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 16), 0x4846);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

static void udp4_sums_as_worked_out_by_hand(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0xfec8);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

static void tcp6_sum_as_worked_out_by_hand(struct kunit *test)
{
	struct packet *p = packet_tcp6(test, 13);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 44 + 16), 0x6214);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

static void udp6_sum_as_worked_out_by_hand(struct kunit *test)
{
	struct packet *p = packet_udp6(test, 13);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 44 + 6), 0x1897);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

/* the rest of a packet is summed elsewhere: wherever the cut is, one result */
static void sum_does_not_depend_on_the_cut(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 41);
	u32 have;

	fill(test, p->bytes, p->len, p->len);
	for (have = 24 + 32; have <= p->len; have++) {
		u32 want = word(p->bytes, 24 + 16);

		fill(test, p->bytes, have, p->len);
		KUNIT_EXPECT_EQ_MSG(test, word(p->bytes, 24 + 16), want,
				    "cut at %u", have);
	}
}

/* what stands in the field before, such as a pseudo header's sum, is nothing */
static void sum_does_not_depend_on_the_field(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 13);

	packet_put16(p, 14, 0xbeef);
	packet_put16(p, 24 + 16, 0xdead);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 14), 0x0a17);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 16), 0x4846);
}

/* RFC 768: a sum that comes out as zero is sent as all ones */
static void udp_sum_of_zero_is_sent_as_ones(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 2);

	packet_put16(p, 32, 0x3aee);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0xffff);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

static void tcp_sum_of_zero_stays_zero(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 2);

	packet_put16(p, 56, 0);
	fill(test, p->bytes, p->len, p->len);
	packet_put16(p, 56, word(p->bytes, 24 + 16));
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 16), 0);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

static void padding_is_not_summed(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	p->len += 3;
	memset(p->bytes + p->len - 3, 0xa5, 3);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0xfec8);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

/* UDP says how long it is; what IP has beyond that is not part of it */
static void udp_shorter_than_ip_is_summed_to_its_own_end(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 15);

	packet_put16(p, 24 + 4, 8 + 13);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0xfec8);
}

static void udp_longer_than_ip_is_left_alone(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	packet_put16(p, 24 + 4, 8 + 14);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0);
	KUNIT_EXPECT_FALSE(test, right(p->bytes, p->len));
}

/* only whoever puts the fragments together can know the transport sum */
static void fragments_get_the_header_sum_alone(struct kunit *test)
{
	static const u16 offsets[] = { 0x2000, 0x2005, 0x0005 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		struct packet *p = packet_udp4(test, 13);

		packet_put16(p, 10, offsets[i]);
		packet_put16(p, 24 + 6, 0x5aa5);
		fill(test, p->bytes, p->len, p->len);
		KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0x5aa5);
		KUNIT_EXPECT_EQ(test, fab_sum_ipv4(p->bytes), 0);
		KUNIT_EXPECT_FALSE(test, right(p->bytes, p->len));
	}
}

static void other_protocols_get_the_header_sum_alone(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	p->bytes[13] = IPPROTO_ICMP;
	packet_put16(p, 24 + 6, 0x5aa5);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 24 + 6), 0x5aa5);
	KUNIT_EXPECT_EQ(test, fab_sum_ipv4(p->bytes), 0);
}

static void ipv4_options_are_stepped_over(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	packet_insert(p, 24, "\x94\x04\x00\x00", 4); /* router alert */
	p->bytes[4] = 0x46;
	packet_put16(p, 6, word(p->bytes, 6) + 4);
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 28 + 6), 0xfec8);
	KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
}

/* --- IPv6 extension headers ---------------------------------------------- */

static struct packet *udp6_behind(struct kunit *test, u8 kind, u8 fourth)
{
	u8 ext[8] = { IPPROTO_UDP, 0, 0, fourth };
	struct packet *p = packet_udp6(test, 13);

	p->bytes[10] = kind;
	packet_insert(p, 44, ext, sizeof(ext));
	packet_put16(p, 8, word(p->bytes, 8) + sizeof(ext));
	return p;
}

static void extension_headers_are_stepped_over(struct kunit *test)
{
	static const u8 kinds[] = {
		IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct packet *p = udp6_behind(test, kinds[i], 0);

		fill(test, p->bytes, p->len, p->len);
		KUNIT_EXPECT_EQ(test, word(p->bytes, 52 + 6), 0x1897);
		KUNIT_EXPECT_TRUE(test, right(p->bytes, p->len));
	}
}

static void several_extension_headers_are_stepped_over(struct kunit *test)
{
	struct packet *p = udp6_behind(test, IPPROTO_DSTOPTS, 0);
	u8 hop[16] = { IPPROTO_DSTOPTS, 1 };

	p->bytes[10] = IPPROTO_HOPOPTS;
	packet_insert(p, 44, hop, sizeof(hop));
	packet_put16(p, 8, word(p->bytes, 8) + sizeof(hop));
	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_EQ(test, word(p->bytes, 68 + 6), 0x1897);
}

static void ipv6_fragments_are_left_alone(struct kunit *test)
{
	struct packet *p = udp6_behind(test, IPPROTO_FRAGMENT, 1);
	struct packet *before = packet_copy(test, p);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_MEMEQ(test, p->bytes, before->bytes, p->len);
	KUNIT_EXPECT_FALSE(test, right(p->bytes, p->len));
}

/* RFC 8200 8.1: the sum is over the last destination, which is elsewhere */
static void routing_header_with_stops_left_is_left_alone(struct kunit *test)
{
	struct packet *p = udp6_behind(test, IPPROTO_ROUTING, 1);
	struct packet *before = packet_copy(test, p);

	fill(test, p->bytes, p->len, p->len);
	KUNIT_EXPECT_MEMEQ(test, p->bytes, before->bytes, p->len);
}

static void headers_too_far_behind_are_left_alone(struct kunit *test)
{
	struct packet *p = udp6_behind(test, IPPROTO_DSTOPTS, 0);
	u8 hop[80] = { IPPROTO_DSTOPTS, 9 };
	struct packet *before;

	p->bytes[10] = IPPROTO_HOPOPTS;
	packet_insert(p, 44, hop, sizeof(hop));
	packet_put16(p, 8, word(p->bytes, 8) + sizeof(hop));
	before = packet_copy(test, p);
	fill(test, p->bytes, FAB_HEADERS_MAX, p->len);
	KUNIT_EXPECT_MEMEQ(test, p->bytes, before->bytes, p->len);
}

/* --- What is no packet --------------------------------------------------- */

static void truncated_packets_are_no_packets(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 13);
	struct fab_layout at;
	u32 len;

	for (len = 0; len < p->len; len++) {
		/* A copy of this length, so that KASAN sees a step too far. */
		u8 *cut = kunit_kmalloc(test, max(len, 1U), GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, cut);
		memcpy(cut, p->bytes, len);
		KUNIT_EXPECT_FALSE(test, fab_layout_read(&at, cut, len, len));
	}
}

static void lies_about_lengths_are_no_sums(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 13);
	struct fab_layout at;
	unsigned int doff;

	for (doff = 0; doff < 16; doff++) {
		p->bytes[24 + 12] = doff << 4;
		KUNIT_EXPECT_TRUE(test, fab_layout_read(&at, p->bytes, p->len,
							p->len));
		/* 45 bytes of TCP: headers of 20 to 44 fit */
		KUNIT_EXPECT_EQ(test, at.proto == IPPROTO_TCP,
				doff >= 5 && doff <= 11);
	}
	p->bytes[4] = 0x44;
	KUNIT_EXPECT_FALSE(test, fab_layout_read(&at, p->bytes, p->len,
						 p->len));
}

static void arp_is_no_ip_packet(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 40);
	struct fab_layout at;

	packet_put16(p, 0, ETH_P_ARP);
	KUNIT_EXPECT_FALSE(test, fab_layout_read(&at, p->bytes, p->len,
						 p->len));
}

/* --- What a receiver vouches for ----------------------------------------- */

/* every bit that a sum covers makes it wrong */
static void one_wrong_bit_is_not_vouched_for(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 13);
	u32 bit;

	fill(test, p->bytes, p->len, p->len);
	KUNIT_ASSERT_TRUE(test, right(p->bytes, p->len));
	for (bit = 32; bit < p->len * 8; bit++) {
		p->bytes[bit / 8] ^= BIT(bit % 8);
		KUNIT_EXPECT_FALSE_MSG(test, right(p->bytes, p->len),
				       "bit %u", bit);
		p->bytes[bit / 8] ^= BIT(bit % 8);
	}
}

static void udp_without_a_sum_is_not_vouched_for(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 13);

	fill(test, p->bytes, p->len, p->len);
	packet_put16(p, 24 + 6, 0);
	KUNIT_EXPECT_FALSE(test, right(p->bytes, p->len));
}

/* 0 and 0xffff are one number, and 0 is no sum: damage steps on neither */
static void damage_always_makes_a_right_sum_wrong(struct kunit *test)
{
	struct packet *p = packet_udp4(test, 2);
	struct fab_layout at;
	u32 sum;

	KUNIT_ASSERT_TRUE(test, fab_layout_read(&at, p->bytes, p->len, p->len));
	for (sum = 0; sum <= 0xffff; sum++) {
		packet_put16(p, 24 + 6, sum);
		fab_sum_damage(p->bytes, &at);
		if (word(p->bytes, 24 + 6) % 0xffff == sum % 0xffff ||
		    !word(p->bytes, 24 + 6))
			KUNIT_FAIL(test, "%#x became %#x", sum,
				   word(p->bytes, 24 + 6));
	}
}

/* --- Segments ------------------------------------------------------------ */

static u32 seq_of(const struct packet *p, u32 l4)
{
	return word(p->bytes, l4 + 4) << 16 | word(p->bytes, l4 + 6);
}

static void payload_below_mss_is_one_segment(struct kunit *test)
{
	struct run *run = run_tcp4(test, 100, 99);

	KUNIT_ASSERT_EQ(test, run->count, 1);
	KUNIT_EXPECT_EQ(test, run->seg[0]->len, 24 + 32 + 99);
	KUNIT_EXPECT_EQ(test, word(run->seg[0]->bytes, 6), 20 + 32 + 99);
	/* first and last: every flag stays */
	KUNIT_EXPECT_EQ(test, run->seg[0]->bytes[24 + 13], 0x99);
}

static void payload_of_whole_segments_has_no_short_one(struct kunit *test)
{
	struct run *run = run_tcp4(test, 100, 300);

	KUNIT_ASSERT_EQ(test, run->count, 3);
	KUNIT_EXPECT_EQ(test, run->seg[2]->len, 24 + 32 + 100);
}

static void odd_mss_and_a_short_last_segment(struct kunit *test)
{
	struct run *run = run_tcp4(test, 33, 100);

	KUNIT_ASSERT_EQ(test, run->count, 4);
	KUNIT_EXPECT_EQ(test, run->seg[0]->len, 24 + 32 + 33);
	KUNIT_EXPECT_EQ(test, run->seg[3]->len, 24 + 32 + 1);
	KUNIT_EXPECT_EQ(test, word(run->seg[3]->bytes, 6), 20 + 32 + 1);
	KUNIT_EXPECT_EQ(test, seq_of(run->seg[3], 24), 0x01020304 + 99);
}

static void mss_of_one_byte(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, run_tcp4(test, 1, 7)->count, 7);
}

static void no_payload_is_one_segment(struct kunit *test)
{
	struct run *run = run_tcp4(test, 100, 0);

	KUNIT_ASSERT_EQ(test, run->count, 1);
	KUNIT_EXPECT_EQ(test, run->seg[0]->len, 24 + 32);
}

static void identification_wraps(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);
	struct run *run;

	packet_put16(p, 8, 0xfffe);
	run = run_series(test, p, 50, 200);
	KUNIT_ASSERT_EQ(test, run->count, 4);
	KUNIT_EXPECT_EQ(test, word(run->seg[1]->bytes, 8), 0xffff);
	KUNIT_EXPECT_EQ(test, word(run->seg[2]->bytes, 8), 0);
	KUNIT_EXPECT_EQ(test, word(run->seg[3]->bytes, 8), 1);
}

static void sequence_number_wraps(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);
	struct run *run;

	packet_put16(p, 24 + 4, 0xffff);
	packet_put16(p, 24 + 6, 0xffce);
	run = run_series(test, p, 50, 150);
	KUNIT_ASSERT_EQ(test, run->count, 3);
	KUNIT_EXPECT_EQ(test, seq_of(run->seg[1], 24), 0);
	KUNIT_EXPECT_EQ(test, seq_of(run->seg[2], 24), 50);
}

/* RFC 3168: one CWR for one reduction; FIN and PSH are about the end */
static void flags_stand_where_they_belong(struct kunit *test)
{
	struct run *run = run_tcp4(test, 50, 150);

	/* the request has CWR, ACK, PSH and FIN */
	KUNIT_ASSERT_EQ(test, run->count, 3);
	KUNIT_EXPECT_EQ(test, run->seg[0]->bytes[24 + 13], 0x90);
	KUNIT_EXPECT_EQ(test, run->seg[1]->bytes[24 + 13], 0x10);
	KUNIT_EXPECT_EQ(test, run->seg[2]->bytes[24 + 13], 0x19);
}

static void options_are_in_every_segment(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);
	struct run *run = run_series(test, p, 50, 150);
	u32 i;

	for (i = 0; i < run->count; i++)
		KUNIT_EXPECT_MEMEQ(test, run->seg[i]->bytes + 24 + 20,
				   p->bytes + 24 + 20, 12);
}

static void ipv6_has_payload_lengths_of_its_own(struct kunit *test)
{
	struct run *run = run_series(test, packet_tcp6(test, 0), 33, 100);

	KUNIT_ASSERT_EQ(test, run->count, 4);
	KUNIT_EXPECT_EQ(test, word(run->seg[0]->bytes, 8), 32 + 33);
	KUNIT_EXPECT_EQ(test, word(run->seg[3]->bytes, 8), 32 + 1);
	KUNIT_EXPECT_EQ(test, seq_of(run->seg[3], 44), 0x01020304 + 99);
}

static void ipv6_extension_headers_count_as_payload(struct kunit *test)
{
	struct packet *p = packet_tcp6(test, 0);
	u8 ext[16] = { IPPROTO_TCP, 1 };
	struct run *run;

	p->bytes[10] = IPPROTO_DSTOPTS;
	packet_insert(p, 44, ext, sizeof(ext));
	run = run_series(test, p, 33, 100);
	KUNIT_ASSERT_EQ(test, run->count, 4);
	KUNIT_EXPECT_EQ(test, word(run->seg[0]->bytes, 8), 16 + 32 + 33);
	KUNIT_EXPECT_EQ(test, seq_of(run->seg[1], 60), 0x01020304 + 33);
}

/* what the request says of the length is not looked at: it may be more than
 * the field can hold
 */
static void length_fields_of_the_request_mean_nothing(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);
	struct run *run;

	packet_put16(p, 6, 0xffff);
	run = run_series(test, p, 1000, 3000);
	KUNIT_EXPECT_EQ(test, word(run->seg[0]->bytes, 6), 52 + 1000);
	packet_put16(p, 6, 0);
	run = run_series(test, p, 1000, 3000);
	KUNIT_EXPECT_EQ(test, word(run->seg[0]->bytes, 6), 52 + 1000);
}

static bool refused(const struct packet *p)
{
	struct fab_series series;

	return !fab_series_init(&series, p->bytes, p->len, 100, 1000);
}

static void headers_of_another_length_are_refused(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);
	u32 whole = p->len;

	KUNIT_EXPECT_FALSE(test, refused(p));
	for (p->len = 0; p->len < whole; p->len++)
		KUNIT_EXPECT_TRUE_MSG(test, refused(p), "%u bytes", p->len);
	p->len = whole + 1;
	KUNIT_EXPECT_TRUE(test, refused(p));
}

static void headers_of_anything_but_tcp_are_refused(struct kunit *test)
{
	struct packet *p = packet_tcp4(test, 0);

	KUNIT_EXPECT_TRUE(test, refused(packet_udp4(test, 0)));
	KUNIT_EXPECT_TRUE(test, refused(packet_udp6(test, 0)));
	packet_put16(p, 10, 0x2000);
	KUNIT_EXPECT_TRUE(test, refused(p));
	packet_put16(p, 10, 0x4000);
	packet_put16(p, 0, ETH_P_ARP);
	KUNIT_EXPECT_TRUE(test, refused(p));
}

static struct kunit_case offload_cases[] = {
	KUNIT_CASE(tcp4_sums_as_worked_out_by_hand),
	KUNIT_CASE(udp4_sums_as_worked_out_by_hand),
	KUNIT_CASE(tcp6_sum_as_worked_out_by_hand),
	KUNIT_CASE(udp6_sum_as_worked_out_by_hand),
	KUNIT_CASE(sum_does_not_depend_on_the_cut),
	KUNIT_CASE(sum_does_not_depend_on_the_field),
	KUNIT_CASE(udp_sum_of_zero_is_sent_as_ones),
	KUNIT_CASE(tcp_sum_of_zero_stays_zero),
	KUNIT_CASE(padding_is_not_summed),
	KUNIT_CASE(udp_shorter_than_ip_is_summed_to_its_own_end),
	KUNIT_CASE(udp_longer_than_ip_is_left_alone),
	KUNIT_CASE(fragments_get_the_header_sum_alone),
	KUNIT_CASE(other_protocols_get_the_header_sum_alone),
	KUNIT_CASE(ipv4_options_are_stepped_over),
	KUNIT_CASE(extension_headers_are_stepped_over),
	KUNIT_CASE(several_extension_headers_are_stepped_over),
	KUNIT_CASE(ipv6_fragments_are_left_alone),
	KUNIT_CASE(routing_header_with_stops_left_is_left_alone),
	KUNIT_CASE(headers_too_far_behind_are_left_alone),
	KUNIT_CASE(truncated_packets_are_no_packets),
	KUNIT_CASE(lies_about_lengths_are_no_sums),
	KUNIT_CASE(arp_is_no_ip_packet),
	KUNIT_CASE(one_wrong_bit_is_not_vouched_for),
	KUNIT_CASE(udp_without_a_sum_is_not_vouched_for),
	KUNIT_CASE(damage_always_makes_a_right_sum_wrong),
	KUNIT_CASE(payload_below_mss_is_one_segment),
	KUNIT_CASE(payload_of_whole_segments_has_no_short_one),
	KUNIT_CASE(odd_mss_and_a_short_last_segment),
	KUNIT_CASE(mss_of_one_byte),
	KUNIT_CASE(no_payload_is_one_segment),
	KUNIT_CASE(identification_wraps),
	KUNIT_CASE(sequence_number_wraps),
	KUNIT_CASE(flags_stand_where_they_belong),
	KUNIT_CASE(options_are_in_every_segment),
	KUNIT_CASE(ipv6_has_payload_lengths_of_its_own),
	KUNIT_CASE(ipv6_extension_headers_count_as_payload),
	KUNIT_CASE(length_fields_of_the_request_mean_nothing),
	KUNIT_CASE(headers_of_another_length_are_refused),
	KUNIT_CASE(headers_of_anything_but_tcp_are_refused),
	{}
};

static struct kunit_suite offload_suite = {
	.name = "ib_fabric_offload",
	.test_cases = offload_cases,
};

kunit_test_suite(offload_suite);
