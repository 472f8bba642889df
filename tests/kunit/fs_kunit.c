// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Do interfaces come, get other names and go where there is no debugfs, and are
 * paths printed right?
 *
 * ipoib_fs.c as a kernel without CONFIG_DEBUG_FS compiles it.
 */
#include <kunit/test.h>
#include <linux/string.h>

#undef CONFIG_DEBUG_FS
#ifndef CONFIG_INFINIBAND_IPOIB_DEBUG
#define CONFIG_INFINIBAND_IPOIB_DEBUG 1
#endif

#include "ipoib_fs.c"

unsigned int ipoib_mcast_list_groups(struct ipoib_dev *ipd,
				     struct ipoib_mcast_info *info,
				     unsigned int most)
{
	return 0;
}

unsigned int ipoib_resolve_list_paths(struct ipoib_dev *ipd,
				      struct ipoib_path_info *info,
				      unsigned int most)
{
	return 0;
}

static void interface_lives_without_debugfs(struct kunit *test)
{
	struct net_device *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	struct ipoib_dev *ipd = kunit_kzalloc(test, sizeof(*ipd), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dev);
	KUNIT_ASSERT_NOT_NULL(test, ipd);
	strscpy(dev->name, "ib0", sizeof(dev->name));
	ipd->netdev = dev;

	ipoib_fs_init();
	ipoib_fs_add(ipd);
	strscpy(dev->name, "ib1", sizeof(dev->name));
	ipoib_fs_rename(ipd);
	ipoib_fs_remove(ipd);
	KUNIT_EXPECT_NULL(test, ipd->fs.mcg);
	KUNIT_EXPECT_NULL(test, ipd->fs.path);
	ipoib_fs_exit();
}

static void path_rate_has_its_fraction(struct kunit *test)
{
	static const struct {
		u32 mbps;
		const char *line;
	} rates[] = {
		{ 2500, "  rate:        2.500 Gb/sec\n" },
		{ 10000, "  rate:       10.0 Gb/sec\n" },
		{ 14062, "  rate:       14.062 Gb/sec\n" },
		{ 25781, "  rate:       25.781 Gb/sec\n" },
		{ 400000, "  rate:      400.0 Gb/sec\n" },
	};
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	for (i = 0; i < ARRAY_SIZE(rates); i++) {
		struct seq_file file = { .buf = buf, .size = PAGE_SIZE };
		struct ipoib_path_info info = {
			.dlid = 0x12,
			.sl = 3,
			.mbps = rates[i].mbps,
		};

		ipoib_fs_put_path(&file, &info);
		buf[file.count] = '\0';
		KUNIT_EXPECT_NOT_NULL(test, strstr(buf, rates[i].line));
		KUNIT_EXPECT_NOT_NULL(test,
				      strstr(buf, "  DLID:     0x0012\n"));
		KUNIT_EXPECT_NOT_NULL(test,
				      strstr(buf, "  SL:            3\n"));
	}
}

static struct kunit_case fs_cases[] = {
	KUNIT_CASE(interface_lives_without_debugfs),
	KUNIT_CASE(path_rate_has_its_fraction),
	{}
};

static struct kunit_suite fs_suite = {
	.name = "ib_ipoib_fs",
	.test_cases = fs_cases,
};

kunit_test_suite(fs_suite);
