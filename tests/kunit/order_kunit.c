// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does the highest byte of a number come first, on whatever processor, and
 * wherever in memory it lies?
 *
 * Both sides are bytes, written out by hand from the RFCs' and the InfiniBand
 * Architecture's figures: a conversion that is missing, or there twice, would
 * be the same on both sides otherwise. Addresses lie at any offset, structs of
 * 16-bit numbers at even ones.
 */
#include <kunit/test.h>

#include "ipoib_wire.h"

/* offsets from an address that suits every type */
#define ORDER_ANY	4
#define ORDER_EVEN	2

/* what is around the bytes under test, and stays */
#define ORDER_AROUND	0xa5

struct order_room {
	u8 bytes[64] __aligned(8);
};

static void order_clear(struct order_room *room)
{
	memset(room, ORDER_AROUND, sizeof(*room));
}

/* @bytes at @at, and nothing changed around them */
static void order_expect(struct kunit *test, const struct order_room *room,
			 unsigned int at, const u8 *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < sizeof(room->bytes); i++)
		KUNIT_EXPECT_EQ_MSG(test, room->bytes[i],
				    i < at || i >= at + size ? ORDER_AROUND :
							       bytes[i - at],
				    "byte %zu of %u + %zu", i, at, size);
}

static const u8 order_port_gid[] = {
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x02, 0xc9, 0x03, 0, 0, 0x14, 0x91,
};

static const u8 order_peer_gid[] = {
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88,
};

static const u8 order_group[] = {
	0xff, 0x12, 0x40, 0x1b, 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff,
	0xff,
};

static union ib_gid order_gid(const u8 *bytes)
{
	union ib_gid gid;

	memcpy(gid.raw, bytes, sizeof(gid.raw));
	return gid;
}

/* ---- hardware address ---- */

static const u8 order_hwaddr[] = {
	0, 0x12, 0x34, 0x56, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x02, 0xc9,
	0x03, 0, 0, 0x14, 0x91,
};

static void hwaddr_is_written_anywhere(struct kunit *test)
{
	union ib_gid gid = order_gid(order_port_gid);
	struct order_room room;
	unsigned int at;

	for (at = 8; at < 8 + ORDER_ANY; at++) {
		order_clear(&room);
		ipoib_hwaddr_fill((void *)&room.bytes[at], 0x123456, &gid);
		order_expect(test, &room, at, order_hwaddr,
			     sizeof(order_hwaddr));
	}
}

static void hwaddr_is_read_anywhere(struct kunit *test)
{
	const struct ipoib_hwaddr *ha;
	struct order_room room;
	union ib_gid gid;
	unsigned int at;

	for (at = 0; at < ORDER_ANY; at++) {
		order_clear(&room);
		memcpy(&room.bytes[at], order_hwaddr, sizeof(order_hwaddr));
		ha = (const void *)&room.bytes[at];
		KUNIT_EXPECT_EQ(test, ipoib_hwaddr_qpn(ha), 0x123456);
		KUNIT_EXPECT_FALSE(test, ipoib_hwaddr_is_mcast(ha));
		gid = ipoib_hwaddr_gid(ha);
		KUNIT_EXPECT_MEMEQ(test, gid.raw, order_port_gid,
				   sizeof(order_port_gid));
	}
}

static void hwaddr_broadcast_is_written_anywhere(struct kunit *test)
{
	static const u8 want[] = {
		0, 0xff, 0xff, 0xff, 0xff, 0x15, 0x40, 0x1b, 0x92, 0x34,
		0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
	};
	struct order_room room;
	unsigned int at;

	for (at = 8; at < 8 + ORDER_ANY; at++) {
		order_clear(&room);
		ipoib_hwaddr_broadcast((void *)&room.bytes[at], 5, 0x1234);
		order_expect(test, &room, at, want, sizeof(want));
	}
}

/* ---- multicast GID, and the P_Key in it ---- */

static void mgid_of_an_ipv4_group(struct kunit *test)
{
	static const u8 group_bytes[] = { 239, 1, 2, 3 };
	static const u8 want[] = {
		0xff, 0x12, 0x40, 0x1b, 0x92, 0x34, 0, 0, 0, 0, 0, 0,
		0x0f, 1, 2, 3,
	};
	struct order_room room;
	unsigned int at;
	__be32 group;

	memcpy(&group, group_bytes, sizeof(group));
	for (at = 8; at < 8 + ORDER_ANY; at += ORDER_EVEN) {
		order_clear(&room);
		ipoib_mgid_ipv4((void *)&room.bytes[at], 2, 0x1234, group);
		order_expect(test, &room, at, want, sizeof(want));
	}
}

static void mgid_of_an_ipv6_group(struct kunit *test)
{
	static const struct in6_addr group = { .s6_addr = {
		0xff, 0x02, 2, 3, 4, 5, 0, 0, 0, 1, 0xff, 0x11, 0x22, 0x33,
		0x44, 0x55,
	} };
	static const u8 want[] = {
		0xff, 0x12, 0x60, 0x1b, 0x92, 0x34, 0, 0, 0, 1, 0xff, 0x11,
		0x22, 0x33, 0x44, 0x55,
	};
	struct order_room room;
	unsigned int at;

	for (at = 8; at < 8 + ORDER_ANY; at += ORDER_EVEN) {
		order_clear(&room);
		ipoib_mgid_ipv6((void *)&room.bytes[at], 2, 0x1234, &group);
		order_expect(test, &room, at, want, sizeof(want));
	}
}

static void mgid_is_ip_by_its_bytes(struct kunit *test)
{
	struct order_room room;
	struct ipoib_mgid *mgid;
	unsigned int at;

	for (at = 0; at < ORDER_ANY; at += ORDER_EVEN) {
		memcpy(&room.bytes[at], order_group, sizeof(order_group));
		mgid = (void *)&room.bytes[at];
		KUNIT_EXPECT_TRUE(test, ipoib_mgid_is_ip(mgid));
		room.bytes[at + 2] = 0x60;
		KUNIT_EXPECT_TRUE(test, ipoib_mgid_is_ip(mgid));
		room.bytes[at + 2] = 0x1b;
		room.bytes[at + 3] = 0x40;
		KUNIT_EXPECT_FALSE(test, ipoib_mgid_is_ip(mgid));
	}
}

static void mgid_is_moved_byte_by_byte(struct kunit *test)
{
	static const u8 link[] __aligned(2) = {
		0xff, 0x15, 0x40, 0x1b, 0x92, 0x34, 0, 0, 0, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff,
	};
	static const u8 want[] = {
		0xff, 0x15, 0x60, 0x1b, 0x92, 0x34, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 1,
	};
	struct order_room room;
	unsigned int at;

	for (at = 8; at < 8 + ORDER_ANY; at += ORDER_EVEN) {
		order_clear(&room);
		memcpy(&room.bytes[at], want, sizeof(want));
		room.bytes[at + 1] = 0x12;
		room.bytes[at + 4] = 0x80;
		room.bytes[at + 5] = 0x01;
		ipoib_mgid_rebase((void *)&room.bytes[at], (const void *)link);
		order_expect(test, &room, at, want, sizeof(want));
	}
}

/* ---- headers ---- */

static void encap_is_written_in_order(struct kunit *test)
{
	static const u8 want[] = { 0x08, 0x06, 0, 0 };
	struct order_room room;
	unsigned int at;

	for (at = 8; at < 8 + ORDER_ANY; at += ORDER_EVEN) {
		order_clear(&room);
		ipoib_encap_fill(ipoib_encap_at(&room.bytes[at]), 0x0806);
		order_expect(test, &room, at, want, sizeof(want));
	}
}

static void header_is_read_in_order(struct kunit *test)
{
	static const u8 types[][2] = {
		{ 0x08, 0x00 }, { 0x86, 0xdd }, { 0x08, 0x06 }, { 0x80, 0x35 },
		{ 0x88, 0xca },
	};
	struct ipoib_header *header;
	struct order_room room;
	const __be16 *proto;
	unsigned int at, i;

	for (at = 0; at < ORDER_ANY; at += ORDER_EVEN) {
		memcpy(&room.bytes[at], order_hwaddr, sizeof(order_hwaddr));
		header = ipoib_header_at(&room.bytes[at]);
		proto = &header->encap.proto;
		KUNIT_EXPECT_EQ(test, ipoib_hwaddr_qpn(&header->ha), 0x123456);
		for (i = 0; i < ARRAY_SIZE(types); i++) {
			memcpy(&room.bytes[at + 20], types[i], 2);
			KUNIT_EXPECT_TRUE(test, ipoib_proto_sendable(*proto));
			swap(room.bytes[at + 20], room.bytes[at + 21]);
			KUNIT_EXPECT_FALSE(test, ipoib_proto_sendable(*proto));
		}
	}
}

/* 0x0600 is the first type, 0x0006 is none */
static void judge_reads_the_type_in_order(struct kunit *test)
{
	struct ipoib_rx_self self = {};
	struct ipoib_rx_facts facts = { .byte_len = 84 };
	struct order_room room;
	unsigned int at;

	for (at = 0; at < ORDER_ANY; at += ORDER_EVEN) {
		order_clear(&room);
		facts.encap = ipoib_encap_at(&room.bytes[at]);
		room.bytes[at] = 0x06;
		room.bytes[at + 1] = 0x00;
		KUNIT_EXPECT_EQ(test, ipoib_rx_judge(&facts, &self),
				IPOIB_RX_HOST);
		room.bytes[at] = 0x00;
		room.bytes[at + 1] = 0x06;
		KUNIT_EXPECT_EQ(test, ipoib_rx_judge(&facts, &self),
				IPOIB_RX_BAD_PROTO);
	}
}

/* ---- records of the subnet administrator ---- */

/* IBA 15.2.5.16, as ib_sa puts it into a MAD */
static void path_question_on_the_wire(struct kunit *test)
{
	static const u8 want[64] = {
		[8] = 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
		[24] = 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		0x02, 0x02, 0xc9, 0x03, 0, 0, 0x14, 0x91,
		/* class, number of paths, P_Key */
		[48] = 0xb8, 0x01, 0x92, 0x34,
	};
	struct ipoib_sa_path what = {
		.sgid = order_gid(order_port_gid),
		.dgid = order_gid(order_peer_gid),
		.port = 1,
		.pkey = 0x9234,
		.traffic_class = 0xb8,
	};
	u8 wire[64] __aligned(8) = {};
	struct sa_path_rec rec;

	memset(&rec, ORDER_AROUND, sizeof(rec));
	ipoib_sa_path_ask(&rec, &what, false);
	KUNIT_EXPECT_EQ(test, rec.rec_type, SA_PATH_REC_TYPE_IB);
	ib_sa_pack_path(&rec, wire);
	KUNIT_EXPECT_MEMEQ(test, wire, want, sizeof(want));
}

static void path_question_of_an_opa_port(struct kunit *test)
{
	static const u8 pkey[] = { 0x92, 0x34 };
	struct ipoib_sa_path what = { .pkey = 0x9234 };
	struct sa_path_rec rec;

	ipoib_sa_path_ask(&rec, &what, true);
	KUNIT_EXPECT_EQ(test, rec.rec_type, SA_PATH_REC_TYPE_OPA);
	KUNIT_EXPECT_MEMEQ(test, &rec.pkey, pkey, sizeof(pkey));
}

/* IBA 15.2.5.17: bit 0 joins as a full member, bit 3 to send only */
static void member_question_in_order(struct kunit *test)
{
	static const u8 pkey[] = { 0x92, 0x34 };
	union ib_gid port_gid = order_gid(order_port_gid);
	union ib_gid mgid = order_gid(order_group);
	struct ib_sa_mcmember_rec rec, other;

	memset(&rec, ORDER_AROUND, sizeof(rec));
	memset(&other, ORDER_AROUND, sizeof(other));
	ipoib_sa_member_ask(&rec, &mgid, &port_gid, 0x9234, FULLMEMBER_JOIN);
	KUNIT_EXPECT_MEMEQ(test, rec.mgid.raw, order_group,
			   sizeof(order_group));
	KUNIT_EXPECT_MEMEQ(test, rec.port_gid.raw, order_port_gid,
			   sizeof(order_port_gid));
	KUNIT_EXPECT_MEMEQ(test, &rec.pkey, pkey, sizeof(pkey));
	KUNIT_EXPECT_EQ(test, rec.join_state, 0x01);
	/* the rest is the link's */
	KUNIT_EXPECT_EQ(test, rec.qkey, other.qkey);
	KUNIT_EXPECT_EQ(test, rec.hop_limit, other.hop_limit);

	ipoib_sa_member_ask(&rec, &mgid, &port_gid, 0x9234,
			    SENDONLY_FULLMEMBER_JOIN);
	KUNIT_EXPECT_EQ(test, rec.join_state, 0x08);
}

static void membership_is_read_in_order(struct kunit *test)
{
	static const u8 qkey[] = { 0x80, 0x01, 0x0b, 0x1b };
	static const u8 flow_label[] = { 0x00, 0x0a, 0xbc, 0xde };
	static const u8 mlid[] = { 0xc0, 0x12 };
	struct ib_sa_mcmember_rec rec = {
		.mgid = order_gid(order_group),
		.rate = 7,
		.sl = 3,
		.traffic_class = 0xb8,
		.hop_limit = 64,
	};
	struct ipoib_bcast bcast = {};

	memcpy(&rec.qkey, qkey, sizeof(qkey));
	memcpy(&rec.flow_label, flow_label, sizeof(flow_label));
	memcpy(&rec.mlid, mlid, sizeof(mlid));
	ipoib_bcast_take(&bcast, &rec);
	KUNIT_EXPECT_MEMEQ(test, bcast.mgid.raw, order_group,
			   sizeof(order_group));
	KUNIT_EXPECT_EQ(test, bcast.qkey, 0x80010b1b);
	KUNIT_EXPECT_EQ(test, bcast.flow_label, 0x000abcde);
	KUNIT_EXPECT_EQ(test, bcast.mlid, 0xc012);
	KUNIT_EXPECT_EQ(test, bcast.rate, 7);
	KUNIT_EXPECT_EQ(test, bcast.sl, 3);
	KUNIT_EXPECT_EQ(test, bcast.traffic_class, 0xb8);
	KUNIT_EXPECT_EQ(test, bcast.hop_limit, 64);
}

static struct kunit_case order_cases[] = {
	KUNIT_CASE(hwaddr_is_written_anywhere),
	KUNIT_CASE(hwaddr_is_read_anywhere),
	KUNIT_CASE(hwaddr_broadcast_is_written_anywhere),
	KUNIT_CASE(mgid_of_an_ipv4_group),
	KUNIT_CASE(mgid_of_an_ipv6_group),
	KUNIT_CASE(mgid_is_ip_by_its_bytes),
	KUNIT_CASE(mgid_is_moved_byte_by_byte),
	KUNIT_CASE(encap_is_written_in_order),
	KUNIT_CASE(header_is_read_in_order),
	KUNIT_CASE(judge_reads_the_type_in_order),
	KUNIT_CASE(path_question_on_the_wire),
	KUNIT_CASE(path_question_of_an_opa_port),
	KUNIT_CASE(member_question_in_order),
	KUNIT_CASE(membership_is_read_in_order),
	{}
};

static struct kunit_suite order_suite = {
	.name = "ib_ipoib_order",
	.test_cases = order_cases,
};

kunit_test_suite(order_suite);
