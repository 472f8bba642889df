// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Are addresses, P_Keys and multicast GIDs what the RFCs say they are?
 *
 * The expected bytes are written out by hand from the RFCs' figures.
 */
#include <kunit/test.h>
#include <linux/module.h>

#include "ipoib_wire.h"

static const union ib_gid addr_port_gid = { .raw = {
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x02, 0xc9, 0x03, 0, 0, 0x14, 0x91,
} };

/* RFC 4391 section 9.1.1: one reserved byte, 24 bits of QPN, then the GID */
static void hwaddr_fill_puts_qpn_and_gid(struct kunit *test)
{
	static const u8 want[] = {
		0, 0xab, 0xcd, 0xef, 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		0x02, 0x02, 0xc9, 0x03, 0, 0, 0x14, 0x91,
	};
	struct ipoib_hwaddr ha;

	memset(&ha, 0xff, sizeof(ha));
	ipoib_hwaddr_fill(&ha, 0xabcdef, &addr_port_gid);
	KUNIT_EXPECT_MEMEQ(test, &ha, want, sizeof(want));
}

static void hwaddr_qpn_comes_back(struct kunit *test)
{
	static const u32 qpns[] = { 0, 1, 0x80, 0x1234, 0x800000, 0xffffff };
	struct ipoib_hwaddr ha = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(qpns); i++) {
		ipoib_hwaddr_set_qpn(&ha, qpns[i]);
		KUNIT_EXPECT_EQ(test, ipoib_hwaddr_qpn(&ha), qpns[i]);
	}
}

static void hwaddr_qpn_drops_what_is_above_24_bits(struct kunit *test)
{
	struct ipoib_hwaddr ha = { .flags = 0x80 };

	ipoib_hwaddr_set_qpn(&ha, 0xff000001);
	KUNIT_EXPECT_EQ(test, ipoib_hwaddr_qpn(&ha), 1);
	KUNIT_EXPECT_EQ(test, ha.flags, 0x80);
}

static void hwaddr_gid_comes_back(struct kunit *test)
{
	struct ipoib_hwaddr ha;
	union ib_gid gid;

	ipoib_hwaddr_fill(&ha, 1, &addr_port_gid);
	gid = ipoib_hwaddr_gid(&ha);
	KUNIT_EXPECT_MEMEQ(test, &gid, &addr_port_gid, sizeof(gid));
}

static void hwaddr_is_mcast_by_first_gid_byte(struct kunit *test)
{
	struct ipoib_hwaddr ha;

	ipoib_hwaddr_fill(&ha, IPOIB_QPN_MULTICAST, &addr_port_gid);
	KUNIT_EXPECT_FALSE(test, ipoib_hwaddr_is_mcast(&ha));
	ha.gid[0] = 0xff;
	KUNIT_EXPECT_TRUE(test, ipoib_hwaddr_is_mcast(&ha));
}

/* RFC 4391 section 4.1 and 9.1.1, scope 2, the default partition */
static void hwaddr_broadcast_of_default_partition(struct kunit *test)
{
	static const u8 want[] = {
		0, 0xff, 0xff, 0xff, 0xff, 0x12, 0x40, 0x1b, 0xff, 0xff,
		0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
	};
	struct ipoib_hwaddr ha;

	memset(&ha, 0xa5, sizeof(ha));
	ipoib_hwaddr_broadcast(&ha, 2, 0x7fff);
	KUNIT_EXPECT_MEMEQ(test, &ha, want, sizeof(want));
}

static void mgid_broadcast_has_pkey_and_scope(struct kunit *test)
{
	static const u8 want[] = {
		0xff, 0x15, 0x40, 0x1b, 0x80, 0x01, 0, 0, 0, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff,
	};
	struct ipoib_mgid mgid;

	/* limited-member form in, full-member form out */
	ipoib_mgid_broadcast(&mgid, 5, 0x0001);
	KUNIT_EXPECT_MEMEQ(test, &mgid, want, sizeof(want));
}

/* RFC 4391 section 4: 28 bits of the group, so 224.1.2.3 ends in 0.1.2.3 */
static void mgid_ipv4_has_low_28_bits(struct kunit *test)
{
	static const u8 want[] = {
		0xff, 0x12, 0x40, 0x1b, 0xff, 0xff, 0, 0, 0, 0, 0, 0,
		0x0f, 0xfe, 0xfd, 0xfc,
	};
	struct ipoib_mgid mgid;

	ipoib_mgid_ipv4(&mgid, 2, 0xffff, cpu_to_be32(0xeffefdfc));
	KUNIT_EXPECT_MEMEQ(test, &mgid, want, sizeof(want));
}

/* RFC 4391 section 4: the low 80 bits of the group */
static void mgid_ipv6_has_low_80_bits(struct kunit *test)
{
	static const u8 want[] = {
		0xff, 0x12, 0x60, 0x1b, 0x80, 0x02, 6, 7, 8, 9, 10, 11,
		12, 13, 14, 15,
	};
	struct in6_addr group = { .s6_addr = {
		0xff, 0x02, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	} };
	struct ipoib_mgid mgid;

	ipoib_mgid_ipv6(&mgid, 2, 0x8002, &group);
	KUNIT_EXPECT_MEMEQ(test, &mgid, want, sizeof(want));
}

static void mgid_is_ip_for_both_signatures_only(struct kunit *test)
{
	struct ipoib_mgid mgid;

	ipoib_mgid_ipv4(&mgid, 2, 0x8001, cpu_to_be32(0xe0000001));
	KUNIT_EXPECT_TRUE(test, ipoib_mgid_is_ip(&mgid));
	mgid.signature = cpu_to_be16(0x601b);
	KUNIT_EXPECT_TRUE(test, ipoib_mgid_is_ip(&mgid));
	/* rdma_cm's own groups */
	mgid.signature = cpu_to_be16(0x4001);
	KUNIT_EXPECT_FALSE(test, ipoib_mgid_is_ip(&mgid));
	mgid.signature = cpu_to_be16(0x401b);
	/* a permanent group */
	mgid.flags_scope = 0x02;
	KUNIT_EXPECT_FALSE(test, ipoib_mgid_is_ip(&mgid));
	mgid.flags_scope = 0x12;
	mgid.prefix = 0xfe;
	KUNIT_EXPECT_FALSE(test, ipoib_mgid_is_ip(&mgid));
}

/* RFC 4391 section 4.1; what links choose are scope and P_Key */
static void hwaddr_is_broadcast_for_any_scope_and_pkey(struct kunit *test)
{
	struct ipoib_hwaddr ha;
	unsigned int scope;

	for (scope = 0; scope <= 15; scope++) {
		ipoib_hwaddr_broadcast(&ha, scope, 0x8001 + scope);
		KUNIT_EXPECT_TRUE(test, ipoib_hwaddr_is_broadcast(&ha));
	}
	ipoib_hwaddr_mgid(&ha)->pkey = 0;
	KUNIT_EXPECT_TRUE(test, ipoib_hwaddr_is_broadcast(&ha));
}

static void hwaddr_is_no_broadcast_by_any_other_bit(struct kunit *test)
{
	/* bits of each byte that a link may choose */
	static const u8 free[sizeof(struct ipoib_hwaddr)] = {
		[5] = 0x0f, [8] = 0xff, [9] = 0xff,
	};
	struct ipoib_hwaddr ha;
	unsigned int bit;

	for (bit = 0; bit < 8 * sizeof(ha); bit++) {
		ipoib_hwaddr_broadcast(&ha, 2, 0xffff);
		((u8 *)&ha)[bit / 8] ^= BIT(bit % 8);
		KUNIT_EXPECT_EQ_MSG(test, ipoib_hwaddr_is_broadcast(&ha),
				    !!(free[bit / 8] & BIT(bit % 8)),
				    "bit %u", bit);
	}
}

static void mgid_rebase_moves_ip_groups(struct kunit *test)
{
	struct ipoib_mgid link, mgid, want;

	ipoib_mgid_broadcast(&link, 5, 0x8002);
	ipoib_mgid_ipv4(&mgid, 2, 0x8001, cpu_to_be32(0xe0000116));
	ipoib_mgid_ipv4(&want, 5, 0x8002, cpu_to_be32(0xe0000116));
	ipoib_mgid_rebase(&mgid, &link);
	KUNIT_EXPECT_MEMEQ(test, &mgid, &want, sizeof(want));
}

static void mgid_rebase_leaves_other_groups(struct kunit *test)
{
	struct ipoib_mgid link, mgid, want;

	ipoib_mgid_broadcast(&link, 5, 0x8002);
	ipoib_mgid_ipv4(&mgid, 2, 0x8001, cpu_to_be32(0xe0000116));
	mgid.signature = cpu_to_be16(0x4001);
	want = mgid;
	ipoib_mgid_rebase(&mgid, &link);
	KUNIT_EXPECT_MEMEQ(test, &mgid, &want, sizeof(want));
}

static void hwaddr_mgid_is_a_view_of_the_gid(struct kunit *test)
{
	struct ipoib_hwaddr ha;

	ipoib_hwaddr_broadcast(&ha, 2, 0x8001);
	KUNIT_EXPECT_EQ(test, be16_to_cpu(ipoib_hwaddr_mgid(&ha)->pkey),
			0x8001);
	ipoib_hwaddr_mgid(&ha)->pkey = cpu_to_be16(0x8002);
	KUNIT_EXPECT_EQ(test, ha.gid[5], 2);
}

/* IBA 10.9.1.1 */
static void pkey_valid_needs_a_partition(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, ipoib_pkey_valid(0x0000));
	KUNIT_EXPECT_FALSE(test, ipoib_pkey_valid(0x8000));
	KUNIT_EXPECT_TRUE(test, ipoib_pkey_valid(0x0001));
	KUNIT_EXPECT_TRUE(test, ipoib_pkey_valid(0x8001));
	KUNIT_EXPECT_TRUE(test, ipoib_pkey_valid(0xffff));
}

static void pkey_full_sets_membership(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_pkey_full(0x0001), 0x8001);
	KUNIT_EXPECT_EQ(test, ipoib_pkey_full(0x8001), 0x8001);
	KUNIT_EXPECT_EQ(test, ipoib_pkey_full(0x7fff), 0xffff);
}

static void pkey_same_ignores_membership(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, ipoib_pkey_same(0x0001, 0x8001));
	KUNIT_EXPECT_TRUE(test, ipoib_pkey_same(0xffff, 0x7fff));
	KUNIT_EXPECT_FALSE(test, ipoib_pkey_same(0x8001, 0x8002));
}

struct pkey_text {
	const char *text;
	int err;
	u16 pkey;
};

/* decimal, 0x and 0 prefixes; the rest of the line does not count */
static void pkey_parse_takes_what_sysfs_took(struct kunit *test)
{
	static const struct pkey_text cases[] = {
		{ "1", 0, 1 },
		{ "0x8001\n", 0, 0x8001 },
		{ "010", 0, 8 },
		{ "32769", 0, 0x8001 },
		{ "0xffff", 0, 0xffff },
		{ "0x7fff trailing", 0, 0x7fff },
		{ "  0x1", 0, 1 },
		{ "12junk", 0, 12 },
		{ "0", 0, 0 },
		{ "0x8000", 0, 0x8000 },
		{ "-1", -EINVAL, 0 },
		{ "-32767", -EINVAL, 0 },
		{ "0x10000", -EINVAL, 0 },
		{ "65536", -EINVAL, 0 },
		/* 32 and 64 bits of these are a P_Key */
		{ "4294967297", -EINVAL, 0 },
		{ "-4294967295", -EINVAL, 0 },
		{ "0x100008001", -EINVAL, 0 },
		{ "18446744073709551617", -EINVAL, 0 },
		{ "0x10000000000008001", -EINVAL, 0 },
		{ "00000000000000000000000000000001", 0, 1 },
		{ "000000000000000000000000000000001", -EINVAL, 0 },
		{ "key", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "\n", -EINVAL, 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		u16 pkey = 0;

		KUNIT_EXPECT_EQ_MSG(test,
				    ipoib_pkey_parse(cases[i].text, &pkey),
				    cases[i].err, "text '%s'", cases[i].text);
		KUNIT_EXPECT_EQ_MSG(test, pkey, cases[i].pkey, "text '%s'",
				    cases[i].text);
	}
}

/* RFC 4391 section 6 */
static void encap_fill_zeroes_the_reserved_half(struct kunit *test)
{
	static const u8 want[] = { 0x86, 0xdd, 0, 0 };
	struct ipoib_encap encap;

	memset(&encap, 0xff, sizeof(encap));
	ipoib_encap_fill(&encap, 0x86dd);
	KUNIT_EXPECT_MEMEQ(test, &encap, want, sizeof(want));
}

static void header_is_address_then_encapsulation(struct kunit *test)
{
	u8 bytes[24] = { [20] = 0x08, [21] = 0x06 };
	struct ipoib_header *header = ipoib_header_at(bytes);

	KUNIT_EXPECT_EQ(test, be16_to_cpu(header->encap.proto), 0x0806);
	KUNIT_EXPECT_PTR_EQ(test, (u8 *)&header->encap, &bytes[20]);
	KUNIT_EXPECT_EQ(test, be16_to_cpu(ipoib_encap_at(&bytes[20])->proto),
			0x0806);
}

/* RFC 4391 section 6 lists the types; TIPC has always been let through */
static void proto_sendable_is_a_closed_list(struct kunit *test)
{
	static const u16 good[] = { 0x0800, 0x86dd, 0x0806, 0x8035, 0x88ca };
	unsigned int proto, sendable = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good); i++)
		if (!ipoib_proto_sendable(cpu_to_be16(good[i])))
			KUNIT_FAIL(test, "type %#x", good[i]);
	for (proto = 0; proto <= U16_MAX; proto++)
		sendable += ipoib_proto_sendable(cpu_to_be16(proto));
	KUNIT_EXPECT_EQ(test, sendable, ARRAY_SIZE(good));
}

/* RFC 4861 section 4: router solicitation to redirect */
static void nd_type_is_133_to_137(struct kunit *test)
{
	unsigned int type;

	for (type = 0; type <= U8_MAX; type++)
		KUNIT_EXPECT_EQ_MSG(test, ipoib_nd_type(type),
				    type > 132 && type < 138, "type %u", type);
}

/* a port of 2048 or 4096: 40 bytes of GRH room on top, the same for any page */
static void buf_bytes_make_room_for_a_grh(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_rx_buf_bytes(2048), 2088);
	KUNIT_EXPECT_EQ(test, ipoib_rx_buf_bytes(4096), 4136);
	KUNIT_EXPECT_EQ(test, ipoib_rx_buf_bytes(10240), 10280);
}

/* RFC 4391 section 7 */
static void mtu_leaves_four_bytes(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ipoib_ud_mtu_bytes(2048), 2044);
	KUNIT_EXPECT_EQ(test, ipoib_ud_mtu_bytes(4096), 4092);
}

static struct kunit_case addr_cases[] = {
	KUNIT_CASE(hwaddr_fill_puts_qpn_and_gid),
	KUNIT_CASE(hwaddr_qpn_comes_back),
	KUNIT_CASE(hwaddr_qpn_drops_what_is_above_24_bits),
	KUNIT_CASE(hwaddr_gid_comes_back),
	KUNIT_CASE(hwaddr_is_mcast_by_first_gid_byte),
	KUNIT_CASE(hwaddr_broadcast_of_default_partition),
	KUNIT_CASE(mgid_broadcast_has_pkey_and_scope),
	KUNIT_CASE(mgid_ipv4_has_low_28_bits),
	KUNIT_CASE(mgid_ipv6_has_low_80_bits),
	KUNIT_CASE(mgid_is_ip_for_both_signatures_only),
	KUNIT_CASE(hwaddr_is_broadcast_for_any_scope_and_pkey),
	KUNIT_CASE(hwaddr_is_no_broadcast_by_any_other_bit),
	KUNIT_CASE(mgid_rebase_moves_ip_groups),
	KUNIT_CASE(mgid_rebase_leaves_other_groups),
	KUNIT_CASE(hwaddr_mgid_is_a_view_of_the_gid),
	KUNIT_CASE(pkey_valid_needs_a_partition),
	KUNIT_CASE(pkey_full_sets_membership),
	KUNIT_CASE(pkey_same_ignores_membership),
	KUNIT_CASE(pkey_parse_takes_what_sysfs_took),
	KUNIT_CASE(encap_fill_zeroes_the_reserved_half),
	KUNIT_CASE(header_is_address_then_encapsulation),
	KUNIT_CASE(proto_sendable_is_a_closed_list),
	KUNIT_CASE(nd_type_is_133_to_137),
	KUNIT_CASE(buf_bytes_make_room_for_a_grh),
	KUNIT_CASE(mtu_leaves_four_bytes),
	{}
};

static struct kunit_suite addr_suite = {
	.name = "ib_ipoib_addr",
	.test_cases = addr_cases,
};

kunit_test_suite(addr_suite);

MODULE_DESCRIPTION("KUnit suites of ib_ipoib");
MODULE_LICENSE("Dual BSD/GPL");
