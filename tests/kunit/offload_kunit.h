/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Packets to try the fabric's offloads and their checker on.
 *
 * Addresses are the lab's: 10.44.0.1 and .2, fd44::1 and ::2. Order of this
 * file: packets, series.
 */
#ifndef OFFLOAD_KUNIT_H
#define OFFLOAD_KUNIT_H

#include <kunit/test.h>

#include "fab_check.h"
#include "fab_offload.h"

#define PACKET_MAX 2048
#define RUN_MAX 16

/**
 * struct packet - a packet to play with
 * @len: its length
 * @bytes: encapsulation first
 */
struct packet {
	u32 len;
	u8 bytes[PACKET_MAX] __aligned(4);
};

/**
 * struct run - the segments of one request
 * @count: how many
 * @seg: the segments, sums filled in
 */
struct run {
	u32 count;
	struct packet *seg[RUN_MAX];
};

/* --- Packets ------------------------------------------------------------- */

static inline void packet_put16(struct packet *p, u32 at, u16 value)
{
	p->bytes[at] = value >> 8;
	p->bytes[at + 1] = value;
}

static inline void packet_add(struct packet *p, const void *from, u32 len)
{
	memcpy(p->bytes + p->len, from, len);
	p->len += len;
}

static inline void packet_insert(struct packet *p, u32 at, const void *from,
				 u32 len)
{
	memmove(p->bytes + at + len, p->bytes + at, p->len - at);
	memcpy(p->bytes + at, from, len);
	p->len += len;
}

/* A pattern in which no two neighbours are equal. */
static inline void packet_pattern(u8 *to, u32 from, u32 len)
{
	u32 i;

	for (i = 0; i < len; i++)
		to[i] = 7 * (from + i) + 3;
}

static inline struct packet *packet_new(struct kunit *test)
{
	struct packet *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	return p;
}

static inline struct packet *packet_copy(struct kunit *test,
					 const struct packet *from)
{
	struct packet *p = packet_new(test);

	*p = *from;
	return p;
}

static inline struct packet *packet_ipv4(struct kunit *test, u8 proto, u16 len)
{
	static const u8 head[] = {
		0x08, 0x00, 0, 0,
		0x45, 0, 0, 0, 0x1c, 0x46, 0x40, 0, 64, 0, 0, 0,
		10, 44, 0, 1, 10, 44, 0, 2,
	};
	struct packet *p = packet_new(test);

	packet_add(p, head, sizeof(head));
	p->bytes[13] = proto;
	packet_put16(p, 6, 20 + len);
	return p;
}

static inline struct packet *packet_ipv6(struct kunit *test, u8 proto, u16 len)
{
	static const u8 head[] = {
		0x86, 0xdd, 0, 0,
		0x60, 0, 0, 0, 0, 0, 0, 64,
		0xfd, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0xfd, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
	};
	struct packet *p = packet_new(test);

	packet_add(p, head, sizeof(head));
	p->bytes[10] = proto;
	packet_put16(p, 8, len);
	return p;
}

/* Behind it @len bytes of data. ACK and PSH are set, there are timestamps. */
static inline struct packet *packet_tcp(struct packet *p, u32 len)
{
	static const u8 tcp[] = {
		0x9c, 0x40, 0x14, 0x51, 1, 2, 3, 4, 0xa, 0xb, 0xc, 0xd,
		0x80, 0x18, 0x01, 0xf4, 0, 0, 0, 0,
		1, 1, 8, 10, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
	};

	packet_add(p, tcp, sizeof(tcp));
	packet_pattern(p->bytes + p->len, 0, len);
	p->len += len;
	return p;
}

static inline struct packet *packet_udp(struct packet *p, u32 len)
{
	static const u8 udp[] = { 0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 0 };

	packet_add(p, udp, sizeof(udp));
	packet_put16(p, p->len - 4, 8 + len);
	packet_pattern(p->bytes + p->len, 0, len);
	p->len += len;
	return p;
}

static inline struct packet *packet_tcp4(struct kunit *test, u32 len)
{
	return packet_tcp(packet_ipv4(test, IPPROTO_TCP, 32 + len), len);
}

static inline struct packet *packet_udp4(struct kunit *test, u32 len)
{
	return packet_udp(packet_ipv4(test, IPPROTO_UDP, 8 + len), len);
}

static inline struct packet *packet_tcp6(struct kunit *test, u32 len)
{
	return packet_tcp(packet_ipv6(test, IPPROTO_TCP, 32 + len), len);
}

static inline struct packet *packet_udp6(struct kunit *test, u32 len)
{
	return packet_udp(packet_ipv6(test, IPPROTO_UDP, 8 + len), len);
}

/* --- Series -------------------------------------------------------------- */

static inline struct packet *run_segment(struct kunit *test,
					 const struct fab_series *series,
					 u32 index)
{
	u32 bytes = fab_series_bytes(series, index);
	struct packet *p = packet_new(test);
	struct fab_layout at;

	fab_series_header(series, index, p->bytes, &at);
	p->len = series->hlen + bytes;
	packet_pattern(p->bytes + series->hlen, index * series->mss, bytes);
	fab_sums_fill(p->bytes, series->hlen, &at,
		      csum_partial(p->bytes + series->hlen, bytes, 0));
	return p;
}

static inline struct fab_check_series
run_check(const struct packet *header, u32 mss, u32 payload)
{
	return (struct fab_check_series) {
		.header = header->bytes,
		.hlen = header->len,
		.mss = mss,
		.payload = payload,
		.sums = true,
	};
}

/* Cuts, and shows every segment to the checker. */
static inline struct run *run_series(struct kunit *test,
				     const struct packet *header, u32 mss,
				     u32 payload)
{
	struct fab_check_series check = run_check(header, mss, payload);
	struct run *run = kunit_kzalloc(test, sizeof(*run), GFP_KERNEL);
	struct packet *data = packet_new(test);
	struct fab_series series;
	const char *wrong;
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, run);
	KUNIT_ASSERT_TRUE(test, fab_series_init(&series, header->bytes,
						header->len, mss, payload));
	run->count = fab_series_count(&series);
	KUNIT_ASSERT_LE(test, run->count, RUN_MAX);
	for (i = 0; i < run->count; i++) {
		run->seg[i] = run_segment(test, &series, i);
		packet_pattern(data->bytes, check.done, mss);
		wrong = fab_check_segment(&check, run->seg[i]->bytes,
					  run->seg[i]->len, data->bytes);
		if (wrong)
			KUNIT_FAIL(test, "segment %u: %s", i, wrong);
	}
	KUNIT_EXPECT_NULL(test, fab_check_series_end(&check));
	return run;
}

/* CWR, ACK, PSH and FIN are set in the request. */
static inline struct run *run_tcp4(struct kunit *test, u32 mss, u32 payload)
{
	struct packet *header = packet_tcp4(test, 0);

	header->bytes[24 + 13] = 0x99;
	return run_series(test, header, mss, payload);
}

#endif /* OFFLOAD_KUNIT_H */
