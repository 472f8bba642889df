/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Is what left an HCA what its work request asked for?
 *
 * The other opinion about fab_offload.h: written from the standards, over plain
 * bytes and offsets, and without a line of it. A verdict is NULL, or words that
 * say what is wrong.
 *
 * Order of this file: reading, sums, single packets, series.
 */
#ifndef FAB_CHECK_H
#define FAB_CHECK_H

#include <linux/string.h>
#include <linux/types.h>

/* Protocol numbers, by IANA */
#define FAB_CHECK_HOP		0
#define FAB_CHECK_TCP		6
#define FAB_CHECK_UDP		17
#define FAB_CHECK_ROUTING	43
#define FAB_CHECK_OPTIONS	60

/* An HCA looks no further for the end of a transport header */
#define FAB_CHECK_DEPTH		128

/* TCP flags in byte 13 of its header, RFC 9293 section 3.1 */
#define FAB_CHECK_FIN		0x01
#define FAB_CHECK_PSH		0x08
#define FAB_CHECK_CWR		0x80

/**
 * struct fab_check_view - a packet as its own bytes describe it
 * @v4: IPv4, else IPv6
 * @proto: 6 or 17, 0 when nothing has to be summed
 * @first: offset of the transport header
 * @last: offset behind what the transport sum covers
 * @field: offset of the transport sum, 0 when there is none
 */
struct fab_check_view {
	bool v4;
	u8 proto;
	u32 first;
	u32 last;
	u32 field;
};

/* --- Reading ------------------------------------------------------------- */

static inline u32 fab_check_be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static inline u32 fab_check_be32(const u8 *p)
{
	return fab_check_be16(p) << 16 | fab_check_be16(p + 2);
}

/* RFC 791 section 3.1, behind 4 bytes of encapsulation. */
static inline bool fab_check_v4(struct fab_check_view *view, const u8 *pkt,
				u32 len)
{
	u32 words = pkt[4] & 0xf;

	if (len < 24 || pkt[4] >> 4 != 4 || words < 5 ||
	    len < 4 + 4 * words)
		return false;

	view->v4 = true;
	view->field = 0;
	view->first = 4 + 4 * words;
	view->last = 4 + fab_check_be16(pkt + 6);
	/* More fragments, or not the first: flags and offset are one word. */
	view->proto = fab_check_be16(pkt + 10) & 0x3fff ? 0 : pkt[13];
	return true;
}

/* RFC 8200 sections 3 and 4. */
static inline bool fab_check_v6(struct fab_check_view *view, const u8 *pkt,
				u32 len)
{
	u32 pos = 44;
	u8 next;

	if (len < pos || pkt[4] >> 4 != 6)
		return false;

	view->v4 = false;
	view->field = 0;
	view->last = pos + fab_check_be16(pkt + 8);
	next = pkt[10];
	while ((next == FAB_CHECK_HOP || next == FAB_CHECK_OPTIONS ||
		next == FAB_CHECK_ROUTING) && pos + 8 <= len) {
		/* Stops that are left: the last one's address is elsewhere. */
		if (next == FAB_CHECK_ROUTING && pkt[pos + 3])
			break;
		next = pkt[pos];
		pos += 8 + 8 * pkt[pos + 1];
	}
	view->first = pos;
	view->proto = next;
	return true;
}

/* TCP ends where IP does; it only has to be long enough for its header. */
static inline bool fab_check_tcp(struct fab_check_view *view, const u8 *pkt)
{
	u32 room = view->last - view->first;
	u32 header;

	if (room < 20)
		return false;

	header = (pkt[view->first + 12] >> 4) * 4;
	view->field = view->first + 16;
	return header >= 20 && header <= room &&
	       view->first + header <= FAB_CHECK_DEPTH;
}

/* UDP brings its own length, RFC 768. */
static inline bool fab_check_udp(struct fab_check_view *view, const u8 *pkt)
{
	u32 room = view->last - view->first;
	u32 all;

	if (room < 8)
		return false;

	all = fab_check_be16(pkt + view->first + 4);
	view->field = view->first + 6;
	if (all < 8 || all > room || view->first + 8 > FAB_CHECK_DEPTH)
		return false;
	view->last = view->first + all;
	return true;
}

static inline void fab_check_transport(struct fab_check_view *view,
				       const u8 *pkt)
{
	bool sums = (view->proto == FAB_CHECK_TCP &&
		     fab_check_tcp(view, pkt)) ||
		    (view->proto == FAB_CHECK_UDP && fab_check_udp(view, pkt));

	if (sums)
		return;
	view->proto = 0;
	view->field = 0;
}

/**
 * fab_check_view - read a packet
 * @view: what it is
 * @pkt: all of it, encapsulation first
 * @len: its length, more than 4
 *
 * Return: false when it is no whole IP packet.
 */
static inline bool fab_check_view(struct fab_check_view *view, const u8 *pkt,
				  u32 len)
{
	u32 type = len > 4 ? fab_check_be16(pkt) : 0;

	if (!(type == 0x0800 && fab_check_v4(view, pkt, len)) &&
	    !(type == 0x86dd && fab_check_v6(view, pkt, len)))
		return false;
	if (view->last > len || view->first > view->last)
		return false;

	fab_check_transport(view, pkt);
	return true;
}

/* --- Sums ---------------------------------------------------------------- */

/* Ones' complement sum of 16-bit words, RFC 1071 section 1. */
static inline u32 fab_check_sum(const u8 *p, u32 len, u32 sum)
{
	u32 i;

	for (i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (u32)p[i] << 8;
		if (sum >> 16)
			sum = (sum & 0xffff) + 1;
	}

	return sum;
}

static inline u32 fab_check_l4_sum(const struct fab_check_view *view,
				   const u8 *pkt)
{
	u32 len = view->last - view->first;
	u32 sum;

	sum = view->v4 ? fab_check_sum(pkt + 16, 8, 0) :
			 fab_check_sum(pkt + 12, 32, 0);
	/* A sum can carry at each step, so each goes through the loop. */
	sum += view->proto;
	sum = (sum & 0xffff) + (sum >> 16);
	sum += len;
	sum = (sum & 0xffff) + (sum >> 16);
	return fab_check_sum(pkt + view->first, len, sum);
}

/**
 * fab_check_sums - are all sums of a packet right
 * @view: the packet, read
 * @pkt: its bytes
 *
 * Return: NULL, or which is wrong. Where a sum is right, the words add up to
 * 0xffff.
 */
static inline const char *fab_check_sums(const struct fab_check_view *view,
					 const u8 *pkt)
{
	if (view->v4 && fab_check_sum(pkt + 4, 4 * (pkt[4] & 0xf), 0) != 0xffff)
		return "the sum of the IPv4 header";
	if (!view->proto)
		return NULL;
	if (view->proto == FAB_CHECK_UDP && !fab_check_be16(pkt + view->field))
		return "a UDP sum of zero, which means none";
	if (fab_check_l4_sum(view, pkt) != 0xffff)
		return view->proto == FAB_CHECK_TCP ? "the TCP sum" :
						      "the UDP sum";
	return NULL;
}

/* --- Single packets ------------------------------------------------------ */

/* Which byte of the two is the first to differ, but for sums the HCA writes. */
static inline bool fab_check_same(const struct fab_check_view *view,
				  const u8 *a, const u8 *b, u32 from, u32 to)
{
	u32 i;

	for (i = from; i < to; i++) {
		bool sum = (view->v4 && (i == 14 || i == 15)) ||
			   (view->field && (i == view->field ||
					    i == view->field + 1));

		if (!sum && a[i] != b[i])
			return false;
	}

	return true;
}

/**
 * fab_check_packet - a packet that was sent with checksums to fill in
 * @pkt: as it left
 * @asked: as it was posted
 * @len: length of both
 * @v4: IPv4 is something the HCA does
 * @v6: IPv6 is
 *
 * Return: NULL, or what is wrong.
 */
static inline const char *fab_check_packet(const u8 *pkt, const u8 *asked,
					   u32 len, bool v4, bool v6)
{
	struct fab_check_view view;

	if (!fab_check_view(&view, asked, len) || !(view.v4 ? v4 : v6))
		return memcmp(pkt, asked, len) ?
		       "a packet was changed that is not the HCA's matter" :
		       NULL;
	if (!fab_check_same(&view, pkt, asked, 0, len))
		return "something else than a sum was changed";

	return fab_check_sums(&view, pkt);
}

/**
 * fab_check_verdict - an HCA vouched for a packet, or did not
 * @pkt: as it arrived
 * @len: its length
 * @vouched: what the HCA said
 * @v4: IPv4 is something the HCA does
 * @v6: IPv6 is
 *
 * Return: NULL, or what is wrong with that.
 */
static inline const char *fab_check_verdict(const u8 *pkt, u32 len,
					    bool vouched, bool v4, bool v6)
{
	struct fab_check_view view;
	bool right = fab_check_view(&view, pkt, len) && view.proto &&
		     (view.v4 ? v4 : v6) && !fab_check_sums(&view, pkt);

	if (right == vouched)
		return NULL;
	return vouched ? "sums were vouched for that are wrong" :
			 "right sums were not vouched for";
}

/* --- Series -------------------------------------------------------------- */

/**
 * struct fab_check_series - a request for segmentation, and what came of it
 * @header: the headers it brought
 * @hlen: their length
 * @mss: payload of a segment
 * @payload: bytes in all
 * @sums: sums are to be right
 * @done: payload seen so far
 * @segments: segments seen so far
 */
struct fab_check_series {
	const u8 *header;
	u32 hlen;
	u32 mss;
	u32 payload;
	bool sums;
	u32 done;
	u32 segments;
};

static inline u32 fab_check_series_next(const struct fab_check_series *series)
{
	u32 left = series->payload - series->done;

	return left < series->mss ? left : series->mss;
}

/* The numbers that count up from one segment to the next. */
static inline const char *
fab_check_numbers(const struct fab_check_series *series,
		  const struct fab_check_view *view, const u8 *pkt)
{
	const u8 *first = series->header;
	u32 id = (fab_check_be16(first + 8) + series->segments) & 0xffff;
	u32 seq = fab_check_be32(first + view->first + 4) + series->done;

	if (view->v4 && fab_check_be16(pkt + 8) != id)
		return "the IPv4 identification";
	if (fab_check_be32(pkt + view->first + 4) != seq)
		return "the TCP sequence number";
	return NULL;
}

static inline const char *
fab_check_flags(const struct fab_check_series *series,
		const struct fab_check_view *view, const u8 *pkt, bool last)
{
	u8 asked = series->header[view->first + 13];
	u8 flags = pkt[view->first + 13];
	u8 want = asked & ~(FAB_CHECK_FIN | FAB_CHECK_PSH | FAB_CHECK_CWR);

	if (!series->segments)
		want |= asked & FAB_CHECK_CWR;
	if (last)
		want |= asked & (FAB_CHECK_FIN | FAB_CHECK_PSH);
	if (flags == want)
		return NULL;
	return (flags ^ want) & FAB_CHECK_CWR ? "the flag CWR" :
	       (flags ^ want) & FAB_CHECK_PSH ? "the flag PSH" :
	       (flags ^ want) & FAB_CHECK_FIN ? "the flag FIN" :
						"a TCP flag";
}

/*
 * What every segment has in common: the headers, but for the IP length (bytes
 * 6 and 7, or 8 and 9), the identification, sequence number and flags.
 */
static inline bool fab_check_header(const struct fab_check_series *series,
				    const struct fab_check_view *view,
				    const u8 *pkt)
{
	const u8 *first = series->header;
	u32 tcp = view->first;

	return fab_check_same(view, pkt, first, 0, 6) &&
	       (view->v4 || fab_check_same(view, pkt, first, 6, 8)) &&
	       fab_check_same(view, pkt, first, 10, tcp + 4) &&
	       fab_check_same(view, pkt, first, tcp + 8, tcp + 13) &&
	       fab_check_same(view, pkt, first, tcp + 14, series->hlen);
}

static inline const char *
fab_check_shape(const struct fab_check_series *series,
		struct fab_check_view *view, const u8 *pkt, u32 len)
{
	if (len != series->hlen + fab_check_series_next(series))
		return "the length of a segment";
	if (!fab_check_view(view, pkt, len) || view->proto != FAB_CHECK_TCP)
		return "a segment that is no TCP packet";
	if (view->last != len)
		return "the length in the IP header";
	if (view->first + (pkt[view->first + 12] >> 4) * 4 != series->hlen)
		return "the length of the headers";
	return NULL;
}

/**
 * fab_check_segment - the next segment of a series
 * @series: the series; moves on
 * @pkt: the segment as it left
 * @len: its length
 * @asked: the payload posted, from @series->done on
 *
 * Return: NULL, or what is wrong.
 */
static inline const char *fab_check_segment(struct fab_check_series *series,
					    const u8 *pkt, u32 len,
					    const u8 *asked)
{
	u32 bytes = fab_check_series_next(series);
	bool last = series->done + bytes == series->payload;
	struct fab_check_view view;
	const char *wrong;

	wrong = fab_check_shape(series, &view, pkt, len);
	if (!wrong && memcmp(pkt + series->hlen, asked, bytes))
		wrong = "the payload";
	if (!wrong)
		wrong = fab_check_numbers(series, &view, pkt);
	if (!wrong)
		wrong = fab_check_flags(series, &view, pkt, last);
	if (!wrong && !fab_check_header(series, &view, pkt))
		wrong = "a header field that all segments share";
	if (!wrong && series->sums)
		wrong = fab_check_sums(&view, pkt);

	series->done += bytes;
	series->segments++;
	return wrong;
}

/**
 * fab_check_series_end - a request for segmentation is done
 * @series: the series
 *
 * Return: NULL, or what is wrong.
 */
static inline const char *
fab_check_series_end(const struct fab_check_series *series)
{
	return series->done == series->payload && series->segments ?
	       NULL : "payload is left that was not sent";
}

#endif /* FAB_CHECK_H */
