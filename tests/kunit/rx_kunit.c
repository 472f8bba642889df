// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Is a received datagram taken for what it is?
 */
#include <kunit/test.h>
#include <linux/sizes.h>

#include "ipoib_wire.h"

#define RX_OWN_LID	7
#define RX_PEER_LID	9

struct rx_case {
	struct ipoib_rx_facts facts;
	struct ipoib_rx_self self;
	struct ib_grh grh;
	struct ipoib_encap encap;
	u32 qpns[3];
};

/* A datagram from a peer to our own GID; each test bends what it is about. */
static struct rx_case *rx_datagram(struct kunit *test)
{
	struct rx_case *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->self.lid = RX_OWN_LID;
	c->self.gid.global.subnet_prefix = cpu_to_be64(0xfe80000000000000ULL);
	c->self.gid.global.interface_id = cpu_to_be64(0x1111);
	ipoib_mgid_broadcast((struct ipoib_mgid *)&c->self.broadcast, 2,
			     0xffff);
	c->qpns[0] = 100;
	c->qpns[1] = 101;
	c->qpns[2] = 102;
	c->self.qpns = c->qpns;
	c->self.num_qpns = ARRAY_SIZE(c->qpns);

	c->grh.dgid = c->self.gid;
	c->grh.sgid.global.subnet_prefix = c->self.gid.global.subnet_prefix;
	c->grh.sgid.global.interface_id = cpu_to_be64(0x2222);
	ipoib_encap_fill(&c->encap, 0x0800);
	c->facts.byte_len = 40 + 4 + 84;
	c->facts.slid = RX_PEER_LID;
	c->facts.src_qpn = 200;
	c->facts.grh = &c->grh;
	c->facts.encap = &c->encap;
	return c;
}

static enum ipoib_verdict rx_verdict(const struct rx_case *c)
{
	return ipoib_rx_judge(&c->facts, &c->self);
}

static void judge_unicast_is_for_the_host(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
	c->facts.grh = NULL;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
}

static void judge_broadcast_by_its_gid(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->grh.dgid = c->self.broadcast;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BROADCAST);
}

static void judge_multicast_by_first_gid_byte(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->grh.dgid = c->self.broadcast;
	c->grh.dgid.raw[15] = 0x01;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_MULTICAST);
}

/* 40 bytes of GRH room and 4 of encapsulation are the least */
static void judge_runt_below_44_bytes(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	for (c->facts.byte_len = 0; c->facts.byte_len < 44; c->facts.byte_len++)
		KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_RUNT);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
}

static void judge_runt_before_its_header_is_read(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->facts.byte_len = 43;
	c->facts.encap = NULL;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_RUNT);
}

/* IEEE 802.3 3.2.6: 0x600 is the first ethertype */
static void judge_lengths_are_no_types(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	ipoib_encap_fill(&c->encap, 0x05ff);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BAD_PROTO);
	ipoib_encap_fill(&c->encap, 0);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BAD_PROTO);
	ipoib_encap_fill(&c->encap, 0x0600);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
}

static void judge_any_ethertype_is_received(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	ipoib_encap_fill(&c->encap, 0x88cc);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
}

static void judge_echo_knows_every_own_qpn(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);
	unsigned int i;

	c->grh.dgid = c->self.broadcast;
	c->grh.sgid = c->self.gid;
	c->facts.slid = RX_OWN_LID;
	for (i = 0; i < ARRAY_SIZE(c->qpns); i++) {
		c->facts.src_qpn = c->qpns[i];
		KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_OWN_ECHO);
	}
	c->facts.src_qpn = 103;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BROADCAST);
}

static void judge_echo_needs_own_lid(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->grh.dgid = c->self.broadcast;
	c->grh.sgid = c->self.gid;
	c->facts.src_qpn = c->qpns[0];
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BROADCAST);
}

/* a virtual HCA on our LID may have our QPN, but not our GID */
static void judge_echo_needs_own_gid_where_there_is_one(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->grh.dgid = c->self.broadcast;
	c->facts.slid = RX_OWN_LID;
	c->facts.src_qpn = c->qpns[1];
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_BROADCAST);
	c->facts.grh = NULL;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_OWN_ECHO);
}

static void judge_echo_before_the_type(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->facts.grh = NULL;
	c->facts.slid = RX_OWN_LID;
	c->facts.src_qpn = c->qpns[2];
	ipoib_encap_fill(&c->encap, 0);
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_OWN_ECHO);
}

static void judge_without_queues_nothing_is_echo(struct kunit *test)
{
	struct rx_case *c = rx_datagram(test);

	c->self.num_qpns = 0;
	c->facts.slid = RX_OWN_LID;
	c->facts.src_qpn = c->qpns[0];
	c->grh.sgid = c->self.gid;
	KUNIT_EXPECT_EQ(test, rx_verdict(c), IPOIB_RX_HOST);
}

/* every byte has a place, and the last piece is not without any */
static void layout_holds_the_whole_buffer(struct kunit *test)
{
	static const u32 mtus[] = { 256, 512, 1024, 2048, 4096, 8192, 10240 };
	struct ipoib_rx_layout layout;
	u32 sge, bytes;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mtus); i++) {
		bytes = ipoib_rx_buf_bytes(mtus[i]);
		for (sge = 1; sge <= 8; sge++) {
			layout = ipoib_rx_layout(bytes, sge);
			KUNIT_EXPECT_LE(test, 1 + layout.frags, sge);
			KUNIT_EXPECT_LE(test, layout.frags, IPOIB_RX_FRAGS);
			KUNIT_EXPECT_GE(test, layout.head_bytes +
					layout.frags * layout.frag_bytes,
					bytes);
			if (layout.frags)
				KUNIT_EXPECT_LT(test, layout.head_bytes +
						(layout.frags - 1) *
						layout.frag_bytes, bytes);
		}
	}
}

/* with pages of 4 KiB and of 64 KiB alike: pieces are cut from them */
static void layout_of_the_usual_mtus(struct kunit *test)
{
	struct ipoib_rx_layout layout;

	layout = ipoib_rx_layout(ipoib_rx_buf_bytes(2048), 16);
	KUNIT_EXPECT_EQ(test, layout.frags, 1);
	KUNIT_EXPECT_EQ(test, layout.frag_bytes, 2048);
	layout = ipoib_rx_layout(ipoib_rx_buf_bytes(4096), 16);
	KUNIT_EXPECT_EQ(test, layout.frags, 2);
	KUNIT_EXPECT_EQ(test, layout.frag_bytes, 2048);
	layout = ipoib_rx_layout(ipoib_rx_buf_bytes(4096), 2);
	KUNIT_EXPECT_EQ(test, layout.frags, 1);
	KUNIT_EXPECT_EQ(test, layout.frag_bytes, 4096);
	layout = ipoib_rx_layout(ipoib_rx_buf_bytes(4096), 1);
	KUNIT_EXPECT_EQ(test, layout.frags, 0);
	KUNIT_EXPECT_EQ(test, layout.head_bytes, 4136);
}

struct pool_case {
	u32 pieces;
	u32 piece_bytes;
	u32 page_bytes;
	unsigned int order;
	u32 pages;
};

/*
 * By hand: how many pieces a page holds, and so how many pages the ring needs;
 * 256 KiB at least, 4096 pages at most.
 */
static void pool_of_small_and_large_pages(struct kunit *test)
{
	static const struct pool_case cases[] = {
		/* MTU 2044 and the default ring: what is behind the heads */
		{ 512, 2048, SZ_4K, 0, 256 },
		{ 512, 2048, SZ_16K, 0, 64 },
		{ 512, 2048, SZ_64K, 0, 16 },
		/* heads: six in a small page, 102 in a large one */
		{ 512, 640, SZ_4K, 0, 86 },
		{ 512, 640, SZ_64K, 0, 6 },
		/* the largest ring, two pieces for each buffer */
		{ 2 * 8192, 2048, SZ_4K, 0, 4096 },
		{ 2 * 8192, 2048, SZ_64K, 0, 512 },
		/* an HCA that takes two pieces, and Omni-Path's MTU */
		{ 512, 16384, SZ_4K, 2, 512 },
		{ 512, 16384, SZ_64K, 0, 128 },
		/* one that takes one: six in a large page */
		{ 512, 10752, SZ_4K, 2, 512 },
		{ 512, 10752, SZ_64K, 0, 86 },
		/* a ring of two: as many bytes whatever the page */
		{ 2, 2048, SZ_4K, 0, 64 },
		{ 2, 2048, SZ_16K, 0, 16 },
		{ 2, 2048, SZ_64K, 0, 4 },
		{ 2, 10752, SZ_4K, 2, 16 },
		/* just a page, and just more */
		{ 512, SZ_4K, SZ_4K, 0, 512 },
		{ 512, SZ_4K + 1, SZ_4K, 1, 512 },
		{ 512, SZ_64K, SZ_64K, 0, 512 },
		{ 512, SZ_64K + 1, SZ_64K, 1, 512 },
	};
	const struct pool_case *c;

	for (c = cases; c < cases + ARRAY_SIZE(cases); c++) {
		KUNIT_EXPECT_EQ_MSG(test,
				    ipoib_rx_pool_order(c->piece_bytes,
							c->page_bytes),
				    c->order, "case %zu", c - cases);
		KUNIT_EXPECT_EQ_MSG(test,
				    ipoib_rx_pool_pages(c->pieces,
							c->piece_bytes,
							c->page_bytes),
				    c->pages, "case %zu", c - cases);
	}
}

/* whatever the port's MTU and the HCA's pieces are, and the page */
static void pool_has_room_for_every_layout(struct kunit *test)
{
	static const u32 mtus[] = { 256, 512, 1024, 2048, 4096, 8192, 10240 };
	static const u32 pages[] = { SZ_4K, SZ_16K, SZ_64K };
	struct ipoib_rx_layout layout;
	u32 sge, bytes, room;
	unsigned int i, p;

	for (i = 0; i < ARRAY_SIZE(mtus) * ARRAY_SIZE(pages) * 8; i++) {
		p = i % ARRAY_SIZE(pages);
		sge = 1 + i / ARRAY_SIZE(pages) % 8;
		bytes = ipoib_rx_buf_bytes(mtus[i / ARRAY_SIZE(pages) / 8]);
		layout = ipoib_rx_layout(bytes, sge);
		bytes = layout.frags ? layout.frag_bytes : layout.head_bytes;
		room = pages[p] << ipoib_rx_pool_order(bytes, pages[p]);
		KUNIT_EXPECT_LE(test, bytes, room);
		/* none half as large would do */
		if (room > pages[p])
			KUNIT_EXPECT_GT(test, bytes, room / 2);
		KUNIT_EXPECT_GE(test, room / bytes *
				ipoib_rx_pool_pages(512, bytes, pages[p]), 512);
	}
}

static void lso_packets_count_the_last_one(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_lso_packets(0, 1000), 1);
	KUNIT_EXPECT_EQ(test, ipoib_lso_packets(1, 1000), 1);
	KUNIT_EXPECT_EQ(test, ipoib_lso_packets(1000, 1000), 1);
	KUNIT_EXPECT_EQ(test, ipoib_lso_packets(1001, 1000), 2);
	KUNIT_EXPECT_EQ(test, ipoib_lso_packets(65000, 1000), 65);
}

static struct kunit_case rx_cases[] = {
	KUNIT_CASE(judge_unicast_is_for_the_host),
	KUNIT_CASE(judge_broadcast_by_its_gid),
	KUNIT_CASE(judge_multicast_by_first_gid_byte),
	KUNIT_CASE(judge_runt_below_44_bytes),
	KUNIT_CASE(judge_runt_before_its_header_is_read),
	KUNIT_CASE(judge_lengths_are_no_types),
	KUNIT_CASE(judge_any_ethertype_is_received),
	KUNIT_CASE(judge_echo_knows_every_own_qpn),
	KUNIT_CASE(judge_echo_needs_own_lid),
	KUNIT_CASE(judge_echo_needs_own_gid_where_there_is_one),
	KUNIT_CASE(judge_echo_before_the_type),
	KUNIT_CASE(judge_without_queues_nothing_is_echo),
	KUNIT_CASE(layout_holds_the_whole_buffer),
	KUNIT_CASE(layout_of_the_usual_mtus),
	KUNIT_CASE(pool_of_small_and_large_pages),
	KUNIT_CASE(pool_has_room_for_every_layout),
	KUNIT_CASE(lso_packets_count_the_last_one),
	{}
};

static struct kunit_suite rx_suite = {
	.name = "ib_ipoib_rx",
	.test_cases = rx_cases,
};

kunit_test_suite(rx_suite);
