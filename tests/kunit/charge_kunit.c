// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Does the fabric charge for queues what real HCAs take?
 *
 * Each number was worked out by hand from the drivers' own steps.
 */
#include <kunit/test.h>

#include "fab_charge.h"

#define KIB(n) ((n) * 1024ULL)

/**
 * struct charge_case - a queue pair and what it takes
 * @qp: the queue pair
 * @mlx4: bytes on mlx4
 * @mlx5: bytes on mlx5
 */
struct charge_case {
	struct fab_charge_qp qp;
	u64 mlx4;
	u64 mlx5;
};

static void expect(struct kunit *test, const struct charge_case *cases,
		   unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		KUNIT_EXPECT_EQ_MSG(test, fab_charge_mlx4_qp(&cases[i].qp),
				    cases[i].mlx4, "mlx4, case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, fab_charge_mlx5_qp(&cases[i].qp),
				    cases[i].mlx5, "mlx5, case %u", i);
	}
}

#define SENDS(wr, sge, data)						\
	.cap = { .max_send_wr = (wr), .max_send_sge = (sge),		\
		 .max_inline_data = (data) }

/*
 * mlx4: 64 bytes of segments, 128 for headers, SGEs; up to a power of two. 2048
 * bytes and one slot are spare. At least one receive of 16 bytes.
 * mlx5: 64 bytes of segments, 32 for offloads, SGEs; up to 64 bytes.
 */
static void sends(struct kunit *test)
{
	static const struct charge_case cases[] = {
		/* 480 and 384 bytes: 512 and 5 spare are 1024 slots */
		{ { IB_QPT_UD, true, SENDS(512, 18, 0) },
		  KIB(512) + 16, KIB(256) },
		/* the largest number that fits into half of that */
		{ { IB_QPT_UD, true, SENDS(507, 18, 0) },
		  KIB(256) + 16, KIB(256) },
		{ { IB_QPT_UD, true, SENDS(508, 18, 0) },
		  KIB(512) + 16, KIB(256) },
		{ { IB_QPT_UD, true, SENDS(2048, 18, 0) },
		  KIB(2048) + 16, KIB(1024) },
		/* 80 bytes: 128, of which 17 are spare */
		{ { IB_QPT_UD, false, SENDS(111, 1, 0) },
		  KIB(16) + 16, KIB(16) },
		{ { IB_QPT_UD, false, SENDS(112, 1, 0) },
		  KIB(32) + 16, KIB(16) },
		/* 68 bytes, as mlx4 has inline data of none; 64 bytes */
		{ { IB_QPT_UD, false, SENDS(64, 0, 0) },
		  KIB(16) + 16, KIB(4) },
		/* inline data are longer than SGEs: 708 and 612 bytes */
		{ { IB_QPT_UD, true, SENDS(64, 18, 512) },
		  KIB(128) + 16, KIB(64) },
		/* headers are made by the driver of mlx4: 144 bytes */
		{ { IB_QPT_GSI, false, SENDS(128, 1, 0) },
		  KIB(64) + 16, KIB(16) },
		{ { IB_QPT_SMI, false, SENDS(119, 1, 0) },
		  KIB(32) + 16, KIB(16) },
		{ { IB_QPT_UD, false, SENDS(0, 1, 0) }, KIB(4) + 16, 0 },
	};

	expect(test, cases, ARRAY_SIZE(cases));
}

#define RECVS(wr, sge)							\
	.cap = { .max_recv_wr = (wr), .max_recv_sge = (sge) }

/* A queue pair that sends nothing has 4 KiB for sends on mlx4. */
static void receives(struct kunit *test)
{
	static const struct charge_case cases[] = {
		{ { IB_QPT_UD, false, RECVS(512, 2) }, KIB(4 + 16), KIB(16) },
		{ { IB_QPT_UD, false, RECVS(513, 2) }, KIB(4 + 32), KIB(32) },
		/* three SGEs take the place of four */
		{ { IB_QPT_UD, false, RECVS(512, 3) }, KIB(4 + 32), KIB(32) },
		{ { IB_QPT_UD, false, RECVS(1, 1) }, KIB(4) + 16, 64 },
		{ { IB_QPT_UD, false, RECVS(1, 0) }, KIB(4) + 16, 64 },
	};

	expect(test, cases, ARRAY_SIZE(cases));
}

static void completions(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, fab_charge_cq(511), KIB(32));
	KUNIT_EXPECT_EQ(test, fab_charge_cq(512), KIB(64));
	KUNIT_EXPECT_EQ(test, fab_charge_cq(1), 128);
}

static struct kunit_case charge_cases[] = {
	KUNIT_CASE(sends),
	KUNIT_CASE(receives),
	KUNIT_CASE(completions),
	{}
};

static struct kunit_suite charge_suite = {
	.name = "ib_fabric_charge",
	.test_cases = charge_cases,
};

kunit_test_suite(charge_suite);
