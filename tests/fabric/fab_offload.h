/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What does an HCA write into the headers of an IPoIB packet: checksums, and
 * the fields that differ from segment to segment?
 *
 * Bytes and numbers alone: fab_offload.c gets them from work requests, and
 * KUnit from its cases. fab_check.h judges the outcome and shares nothing with
 * this file.
 *
 * Every pointer to headers must be aligned to 4 bytes: they are copies.
 *
 * Order of this file: reading headers, checksums, segments.
 */
#ifndef FAB_OFFLOAD_H
#define FAB_OFFLOAD_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <net/checksum.h>
#include <net/ip.h>

#include "fab_shape.h"

/* The encapsulation: type and 16 reserved bits, RFC 4391 section 6 */
#define FAB_ENCAP_LEN		4

/**
 * struct fab_layout - where things are in an IPoIB packet
 * @family: FAB_FAMILY_IPV4 or FAB_FAMILY_IPV6
 * @proto: IPPROTO_TCP or IPPROTO_UDP, 0 when there is no sum of either
 * @l4: offset of what follows the IP headers
 * @l4_len: length of the TCP or UDP header, 0 with @proto
 * @end: offset behind the last byte that the sum of @proto covers; with
 *	@proto 0, behind the IP packet
 */
struct fab_layout {
	u8 family;
	u8 proto;
	u16 l4;
	u16 l4_len;
	u32 end;
};

/* --- Reading headers ----------------------------------------------------- */

static inline struct iphdr *fab_ipv4(const u8 *head)
{
	return (struct iphdr *)(head + FAB_ENCAP_LEN);
}

static inline struct ipv6hdr *fab_ipv6(const u8 *head)
{
	return (struct ipv6hdr *)(head + FAB_ENCAP_LEN);
}

static inline bool fab_layout_ipv4(struct fab_layout *at, const u8 *head,
				   u32 have)
{
	const struct iphdr *ip = fab_ipv4(head);

	if (have < FAB_ENCAP_LEN + sizeof(*ip) || ip->version != 4 ||
	    ip->ihl * 4 < sizeof(*ip) || have < FAB_ENCAP_LEN + ip->ihl * 4)
		return false;

	at->family = FAB_FAMILY_IPV4;
	at->proto = ip_is_fragment(ip) ? 0 : ip->protocol;
	at->l4 = FAB_ENCAP_LEN + ip->ihl * 4;
	at->end = FAB_ENCAP_LEN + ntohs(ip->tot_len);
	return true;
}

/*
 * An extension header that a sum reaches across. Not a fragment header, and
 * not a routing header with stops left: the destination that counts for the
 * sum is then not the one in the IP header.
 */
static inline bool fab_ipv6_passable(u8 next, const struct ipv6_rt_hdr *ext)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS ||
	       (next == IPPROTO_ROUTING && !ext->segments_left);
}

static inline bool fab_layout_ipv6(struct fab_layout *at, const u8 *head,
				   u32 have)
{
	const struct ipv6hdr *ip = fab_ipv6(head);
	u32 l4 = FAB_ENCAP_LEN + sizeof(*ip);
	const struct ipv6_rt_hdr *ext;
	u8 next;

	if (have < l4 || ip->version != 6)
		return false;

	for (next = ip->nexthdr; l4 + 8 <= have;) {
		ext = (const void *)(head + l4);
		if (!fab_ipv6_passable(next, ext))
			break;
		next = ext->nexthdr;
		l4 += (ext->hdrlen + 1) * 8;
	}

	at->family = FAB_FAMILY_IPV6;
	at->proto = next;
	at->l4 = l4;
	at->end = FAB_ENCAP_LEN + sizeof(*ip) + ntohs(ip->payload_len);
	return true;
}

static inline bool fab_layout_ip(struct fab_layout *at, const u8 *head,
				 u32 have)
{
	__be16 type;

	if (have < FAB_ENCAP_LEN)
		return false;

	memcpy(&type, head, sizeof(type));
	if (type == htons(ETH_P_IP))
		return fab_layout_ipv4(at, head, have);
	if (type == htons(ETH_P_IPV6))
		return fab_layout_ipv6(at, head, have);
	return false;
}

static inline struct tcphdr *fab_tcp(const u8 *head,
				     const struct fab_layout *at)
{
	return (struct tcphdr *)(head + at->l4);
}

static inline struct udphdr *fab_udp(const u8 *head,
				     const struct fab_layout *at)
{
	return (struct udphdr *)(head + at->l4);
}

/* The length of the TCP header, or 0 when there is none. */
static inline u16 fab_tcp_len(const struct fab_layout *at, const u8 *head,
			      u32 have)
{
	const struct tcphdr *tcp = fab_tcp(head, at);
	u16 len;

	if (at->proto != IPPROTO_TCP || have < at->l4 + sizeof(*tcp))
		return 0;

	len = tcp->doff * 4;
	return len >= sizeof(*tcp) && have >= at->l4 + len ? len : 0;
}

/* The length of the UDP header, or 0; @at->end becomes what UDP says. */
static inline u16 fab_udp_len(struct fab_layout *at, const u8 *head, u32 have)
{
	const struct udphdr *udp = fab_udp(head, at);
	u32 len;

	if (at->proto != IPPROTO_UDP || have < at->l4 + sizeof(*udp))
		return 0;

	len = ntohs(udp->len);
	if (len < sizeof(*udp) || at->l4 + len > at->end)
		return 0;
	at->end = at->l4 + len;
	return sizeof(*udp);
}

/**
 * fab_layout_read - find the headers of a packet
 * @at: where they are
 * @head: the first @have bytes of the packet
 * @have: at least FAB_HEADERS_MAX, or all
 * @length: bytes of the packet
 *
 * What IP says of its length counts, not @length: there may be padding.
 * Return: true when this is an IP packet, whole as far as IP can tell.
 */
static inline bool fab_layout_read(struct fab_layout *at, const u8 *head,
				   u32 have, u32 length)
{
	if (!fab_layout_ip(at, head, have) || at->end > length ||
	    at->l4 > at->end)
		return false;

	at->l4_len = fab_tcp_len(at, head, have);
	if (at->l4 + at->l4_len > at->end)
		at->l4_len = 0;
	if (!at->l4_len)
		at->l4_len = fab_udp_len(at, head, have);
	if (!at->l4_len)
		at->proto = 0;
	return true;
}

/* --- Checksums ----------------------------------------------------------- */

/* Addresses, length and protocol: RFC 9293 section 3.1, RFC 8200 section 8.1 */
static inline __wsum fab_sum_pseudo(const u8 *head, const struct fab_layout *at)
{
	u32 words = at->end - at->l4 + at->proto;
	__wsum sum = (__force __wsum)htonl(words);

	if (at->family == FAB_FAMILY_IPV4)
		return csum_partial(&fab_ipv4(head)->saddr, 8, sum);
	return csum_partial(&fab_ipv6(head)->saddr, 32, sum);
}

/* Everything from the transport header on; @rest is the sum behind @have. */
static inline __wsum fab_sum_l4(const u8 *head, u32 have,
				const struct fab_layout *at, __wsum rest)
{
	u32 len = min(have, at->end) - at->l4;
	__wsum sum = csum_partial(head + at->l4, len, fab_sum_pseudo(head, at));

	return csum_block_add(sum, rest, len);
}

static inline __sum16 *fab_sum_field(u8 *head, const struct fab_layout *at)
{
	return at->proto == IPPROTO_TCP ? &fab_tcp(head, at)->check :
					  &fab_udp(head, at)->check;
}

static inline __sum16 fab_sum_ipv4(const u8 *head)
{
	return csum_fold(csum_partial(fab_ipv4(head), fab_ipv4(head)->ihl * 4,
				      0));
}

/**
 * fab_sums_fill - write the checksums an HCA is responsible for
 * @head: the first bytes of the packet, all headers among them
 * @have: their number
 * @at: where things are
 * @rest: sum of the bytes from @have to @at->end
 *
 * A fragment gets the sum of its IP header alone, as only the last station can
 * know the rest.
 */
static inline void fab_sums_fill(u8 *head, u32 have,
				 const struct fab_layout *at, __wsum rest)
{
	__sum16 *field;

	if (at->family == FAB_FAMILY_IPV4) {
		fab_ipv4(head)->check = 0;
		fab_ipv4(head)->check = fab_sum_ipv4(head);
	}
	if (!at->proto)
		return;

	field = fab_sum_field(head, at);
	*field = 0;
	*field = csum_fold(fab_sum_l4(head, have, at, rest));
	/* A UDP sum of 0 would say that there is none, RFC 768. */
	if (at->proto == IPPROTO_UDP && !*field)
		*field = CSUM_MANGLED_0;
}

/**
 * fab_sums_right - may an HCA vouch for a packet it received
 * @head: the first bytes of the packet
 * @have: their number
 * @at: where things are
 * @rest: sum of the bytes from @have to @at->end
 *
 * Return: true when there is a TCP or UDP sum, and it is right, and so is that
 * of the IPv4 header. A datagram without a sum is nothing to vouch for.
 */
static inline bool fab_sums_right(const u8 *head, u32 have,
				  const struct fab_layout *at, __wsum rest)
{
	if (!at->proto ||
	    (at->proto == IPPROTO_UDP && !fab_udp(head, at)->check))
		return false;
	if (at->family == FAB_FAMILY_IPV4 && fab_sum_ipv4(head))
		return false;

	return !csum_fold(fab_sum_l4(head, have, at, rest));
}

/**
 * fab_sum_damage - make a right TCP or UDP checksum wrong
 * @head: headers of the packet
 * @at: where they are; it has such a sum
 *
 * One bit is turned over. That is never the step from 0 to 0xffff, which are
 * the same number here, and never leaves 0, which UDP takes for no sum.
 */
static inline void fab_sum_damage(u8 *head, const struct fab_layout *at)
{
	__sum16 *field = fab_sum_field(head, at);
	u16 sum = (__force u16)*field;

	*field = (__force __sum16)(sum ^ 1 ? sum ^ 1 : sum ^ 2);
}

/* --- Segments ------------------------------------------------------------ */

/**
 * struct fab_series - a request to send a stretch of TCP in segments
 * @at: where things are in @header; @at.end is not used
 * @header: headers of the first segment, their length fields of no meaning
 * @hlen: their length, FAB_HEADERS_MAX at most
 * @mss: payload of each segment but the last
 * @payload: bytes behind the headers, all segments together
 */
struct fab_series {
	struct fab_layout at;
	const u8 *header;
	u32 hlen;
	u32 mss;
	u32 payload;
};

/**
 * fab_series_init - understand a request
 * @series: what was understood
 * @header: headers
 * @hlen: their length; they must end with the TCP header
 * @mss: payload of a segment, not 0
 * @payload: bytes in all
 *
 * Return: false when these are not the headers of TCP over IP.
 */
static inline bool fab_series_init(struct fab_series *series, const u8 *header,
				   u32 hlen, u32 mss, u32 payload)
{
	*series = (struct fab_series) {
		.header = header,
		.hlen = hlen,
		.mss = mss,
		.payload = payload,
	};

	if (!fab_layout_ip(&series->at, header, hlen))
		return false;
	series->at.l4_len = fab_tcp_len(&series->at, header, hlen);
	return series->at.l4_len &&
	       series->at.l4 + series->at.l4_len == hlen;
}

/* Headers without payload are a segment, too. */
static inline u32 fab_series_count(const struct fab_series *series)
{
	return series->payload ? DIV_ROUND_UP(series->payload, series->mss) : 1;
}

/**
 * fab_series_bytes - payload of one segment
 * @series: the request
 * @index: number of the segment, from 0
 *
 * It starts @index * @series->mss bytes into the payload.
 * Return: its length.
 */
static inline u32 fab_series_bytes(const struct fab_series *series, u32 index)
{
	return min(series->mss, series->payload - index * series->mss);
}

static inline void fab_series_tcp(const struct fab_series *series, u32 index,
				  struct tcphdr *tcp)
{
	tcp->seq = htonl(ntohl(tcp->seq) + index * series->mss);
	/* What the sender says once is said at the one end, RFC 3168 6.1.2, */
	if (index)
		tcp->cwr = 0;
	/* or at the other. */
	if (index + 1 < fab_series_count(series)) {
		tcp->fin = 0;
		tcp->psh = 0;
	}
}

/**
 * fab_series_header - headers of one segment, but for the checksums
 * @series: the request
 * @index: number of the segment, from 0
 * @head: @series->hlen bytes to write
 * @at: where things are in this segment
 */
static inline void fab_series_header(const struct fab_series *series,
				     u32 index, u8 *head, struct fab_layout *at)
{
	u32 total = series->hlen + fab_series_bytes(series, index) -
		    FAB_ENCAP_LEN;

	memcpy(head, series->header, series->hlen);
	*at = series->at;
	at->end = FAB_ENCAP_LEN + total;
	if (at->family == FAB_FAMILY_IPV4) {
		struct iphdr *ip = fab_ipv4(head);

		ip->tot_len = htons(total);
		ip->id = htons(ntohs(ip->id) + index);
	} else {
		fab_ipv6(head)->payload_len =
			htons(total - sizeof(struct ipv6hdr));
	}
	fab_series_tcp(series, index, fab_tcp(head, at));
}

#endif /* FAB_OFFLOAD_H */
