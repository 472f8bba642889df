/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What do the bytes, tags, counters and states mean?
 *
 * Pure functions and constant tables: integers, big-endian wire types and GIDs
 * go in, values come out. Nothing here takes a lock, allocates, or knows a
 * struct of the driver, so all of it runs in KUnit.
 *
 * Stages: P_Key, hardware address, multicast GID, records of the subnet
 * administrator, encapsulation, receive buffers, receive verdict, work request
 * tag, ring, backoff, link states, link reasons, group states.
 */
#ifndef IPOIB_WIRE_H
#define IPOIB_WIRE_H

#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/if_ether.h>
#include <linux/if_infiniband.h>
#include <linux/in6.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/log2.h>
#include <linux/string.h>
#include <linux/types.h>

#include <rdma/ib_sa.h>
#include <rdma/ib_verbs.h>

/* IBA 10.9.2: bit 15 says full member, the other 15 name the partition. */
#define IPOIB_PKEY_FULL		0x8000
#define IPOIB_PKEY_BASE		GENMASK(14, 0)

/* RFC 4755 section 3.1: flag bits of the address' first byte. */
#define IPOIB_HWADDR_RC		0x80
#define IPOIB_HWADDR_UC		0x40

/* IBA 3.5.10: a QPN is 24 bits, all ones is the multicast QPN. */
#define IPOIB_QPN_MASK		GENMASK(23, 0)
#define IPOIB_QPN_MULTICAST	IPOIB_QPN_MASK

/* RFC 4391 section 4: signatures of the two IP mappings. */
#define IPOIB_SIGNATURE_IPV4	0x401b
#define IPOIB_SIGNATURE_IPV6	0x601b

/* RFC 4391 section 4: 0001 in the flags nibble says transient group. */
#define IPOIB_MGID_TRANSIENT	0x10
#define IPOIB_MGID_SCOPE	GENMASK(3, 0)
#define IPOIB_SCOPE_LINK_LOCAL	0x2

/* RFC 4755 section 6: the largest IP datagram a connection carries. */
#define IPOIB_CM_MTU_BYTES	65520

/* RFC 791: what every IPv4 link carries at least */
#define IPOIB_MIN_MTU_BYTES	68

/* ethertypes with a meaning on this link which if_ether.h may not name */
#define IPOIB_PROTO_TIPC	0x88ca

/* Behind flags, queue pair number and subnet prefix: what a user may choose. */
#define IPOIB_HWADDR_GUID_AT	12

/* ---- P_Key --------------------------------------------------------------- */

/**
 * ipoib_pkey_valid() - does this P_Key name a partition?
 * @pkey: P_Key with or without the membership bit
 *
 * Return: false for 0x0000 and 0x8000 (IBA 10.9.1.1).
 */
static inline bool ipoib_pkey_valid(u16 pkey)
{
	return pkey & IPOIB_PKEY_BASE;
}

/**
 * ipoib_pkey_full() - the full-member form of a P_Key
 * @pkey: P_Key with or without the membership bit
 *
 * Return: the form that addresses and multicast GIDs carry.
 */
static inline u16 ipoib_pkey_full(u16 pkey)
{
	return pkey | IPOIB_PKEY_FULL;
}

/**
 * ipoib_pkey_same() - do two P_Keys name one partition?
 * @a: a P_Key
 * @b: another
 *
 * Return: true when they differ in nothing but membership.
 */
static inline bool ipoib_pkey_same(u16 a, u16 b)
{
	return !((a ^ b) & IPOIB_PKEY_BASE);
}

/* digits of a number with its prefix; more are zeros that nobody writes */
#define IPOIB_PKEY_DIGITS	32

/**
 * ipoib_pkey_parse() - read a P_Key from what a user wrote to sysfs
 * @buf: text: decimal, 0x hexadecimal or 0 octal; the rest of the line is free
 * @pkey: the P_Key as written, without the membership bit added; it may be one
 *	of the two that name no partition
 *
 * Return: 0, or -EINVAL for junk and for what does not fit 16 bits.
 */
static inline int ipoib_pkey_parse(const char *buf, u16 *pkey)
{
	char word[IPOIB_PKEY_DIGITS + 1];
	int value;
	int used;

	buf = skip_spaces(buf);
	if (sscanf(buf, "%i%n", &value, &used) != 1 || used >= sizeof(word))
		return -EINVAL;

	/* what is too large sscanf() wraps, where kstrtoint() refuses it */
	strscpy(word, buf, used + 1);
	if (kstrtoint(word, 0, &value) || value < 0 || value > U16_MAX)
		return -EINVAL;

	*pkey = value;
	return 0;
}

/* ---- hardware address ---------------------------------------------------- */

/**
 * struct ipoib_hwaddr - the 20 bytes a netdev carries as hardware address
 * @flags: IPOIB_HWADDR_RC and IPOIB_HWADDR_UC
 * @qpn: queue pair number, 24 bits, big endian
 * @gid: port GID for unicast, multicast GID when its first byte is 0xff
 *
 * Source: RFC 4391 section 9.1.1, flags from RFC 4755 section 3.1.
 */
struct ipoib_hwaddr {
	u8 flags;
	u8 qpn[3];
	u8 gid[16];
};

static_assert(sizeof(struct ipoib_hwaddr) == INFINIBAND_ALEN);
static_assert(offsetof(struct ipoib_hwaddr, gid) == 4);

/**
 * ipoib_hwaddr_qpn() - the queue pair number in an address
 * @ha: hardware address
 *
 * Return: 24 bits in host order.
 */
static inline u32 ipoib_hwaddr_qpn(const struct ipoib_hwaddr *ha)
{
	return (u32)ha->qpn[0] << 16 | (u32)ha->qpn[1] << 8 | ha->qpn[2];
}

/**
 * ipoib_hwaddr_set_qpn() - put a queue pair number into an address
 * @ha: hardware address
 * @qpn: number in host order; what is above 24 bits is dropped
 */
static inline void ipoib_hwaddr_set_qpn(struct ipoib_hwaddr *ha, u32 qpn)
{
	ha->qpn[0] = FIELD_GET(GENMASK(23, 16), qpn);
	ha->qpn[1] = FIELD_GET(GENMASK(15, 8), qpn);
	ha->qpn[2] = FIELD_GET(GENMASK(7, 0), qpn);
}

/**
 * ipoib_hwaddr_gid() - the GID in an address
 * @ha: hardware address
 *
 * Return: a copy, aligned as the GID type wants it.
 */
static inline union ib_gid ipoib_hwaddr_gid(const struct ipoib_hwaddr *ha)
{
	union ib_gid gid;

	memcpy(gid.raw, ha->gid, sizeof(gid.raw));
	return gid;
}

/**
 * ipoib_hwaddr_fill() - put an address together
 * @ha: where to
 * @qpn: queue pair number in host order
 * @gid: port or multicast GID
 *
 * The flag byte becomes 0: no connected mode is offered.
 */
static inline void ipoib_hwaddr_fill(struct ipoib_hwaddr *ha, u32 qpn,
				     const union ib_gid *gid)
{
	ha->flags = 0;
	ipoib_hwaddr_set_qpn(ha, qpn);
	memcpy(ha->gid, gid->raw, sizeof(ha->gid));
}

/**
 * ipoib_hwaddr_is_mcast() - does this address name a group?
 * @ha: hardware address
 *
 * Return: true when its GID is a multicast GID (IBA 4.1.1).
 */
static inline bool ipoib_hwaddr_is_mcast(const struct ipoib_hwaddr *ha)
{
	return ha->gid[0] == 0xff;
}

/* ---- multicast GID ------------------------------------------------------- */

/**
 * struct ipoib_mgid - how an IP group sits in a multicast GID
 * @prefix: 0xff
 * @flags_scope: IPOIB_MGID_TRANSIENT and the scope nibble
 * @signature: IPOIB_SIGNATURE_IPV4 or IPOIB_SIGNATURE_IPV6
 * @pkey: P_Key of the link, full-member form
 * @group: low bits of the IP group, at the end
 *
 * Source: RFC 4391 section 4.
 */
struct ipoib_mgid {
	u8 prefix;
	u8 flags_scope;
	__be16 signature;
	__be16 pkey;
	u8 group[10];
};

static_assert(sizeof(struct ipoib_mgid) == sizeof(union ib_gid));
static_assert(offsetof(struct ipoib_mgid, pkey) == 4);
static_assert(offsetof(struct ipoib_mgid, group) == 6);

/* the four last bytes of a group are all an IPv4 address has */
#define IPOIB_MGID_IPV4_AT	6

/* RFC 4391 section 4: the top nibble of an IPv4 group is always 0xe */
#define IPOIB_MGID_IPV4_BITS	GENMASK(27, 0)

/**
 * ipoib_mgid_start() - the part of a multicast GID that a link gives
 * @mgid: where to; the group bytes become zero
 * @signature: IPOIB_SIGNATURE_IPV4 or IPOIB_SIGNATURE_IPV6
 * @scope: scope nibble of the link
 * @pkey: P_Key of the link, either form
 */
static inline void ipoib_mgid_start(struct ipoib_mgid *mgid, u16 signature,
				    u8 scope, u16 pkey)
{
	memset(mgid, 0, sizeof(*mgid));
	mgid->prefix = 0xff;
	mgid->flags_scope = IPOIB_MGID_TRANSIENT |
			    FIELD_PREP(IPOIB_MGID_SCOPE, scope);
	mgid->signature = cpu_to_be16(signature);
	mgid->pkey = cpu_to_be16(ipoib_pkey_full(pkey));
}

/**
 * ipoib_mgid_ipv4() - map an IPv4 group
 * @mgid: where to
 * @scope: scope nibble of the link
 * @pkey: P_Key of the link, either form
 * @group: IPv4 multicast address
 */
static inline void ipoib_mgid_ipv4(struct ipoib_mgid *mgid, u8 scope, u16 pkey,
				   __be32 group)
{
	__be32 low = group & cpu_to_be32(IPOIB_MGID_IPV4_BITS);

	ipoib_mgid_start(mgid, IPOIB_SIGNATURE_IPV4, scope, pkey);
	memcpy(&mgid->group[IPOIB_MGID_IPV4_AT], &low, sizeof(low));
}

/**
 * ipoib_mgid_ipv6() - map an IPv6 group
 * @mgid: where to
 * @scope: scope nibble of the link
 * @pkey: P_Key of the link, either form
 * @group: IPv6 multicast address
 */
static inline void ipoib_mgid_ipv6(struct ipoib_mgid *mgid, u8 scope, u16 pkey,
				   const struct in6_addr *group)
{
	const size_t skip = sizeof(*group) - sizeof(mgid->group);

	ipoib_mgid_start(mgid, IPOIB_SIGNATURE_IPV6, scope, pkey);
	memcpy(mgid->group, &group->s6_addr[skip], sizeof(mgid->group));
}

/**
 * ipoib_mgid_broadcast() - the broadcast group of a link
 * @mgid: where to
 * @scope: scope nibble of the link
 * @pkey: P_Key of the link, either form
 *
 * Source: RFC 4391 section 4.1.
 */
static inline void ipoib_mgid_broadcast(struct ipoib_mgid *mgid, u8 scope,
					u16 pkey)
{
	ipoib_mgid_start(mgid, IPOIB_SIGNATURE_IPV4, scope, pkey);
	memset(&mgid->group[IPOIB_MGID_IPV4_AT], 0xff, sizeof(__be32));
}

/**
 * ipoib_mgid_is_ip() - is this the GID of an IP group on some IPoIB link?
 * @mgid: any GID
 *
 * Return: true for the two signatures of RFC 4391, whatever P_Key and scope.
 */
static inline bool ipoib_mgid_is_ip(const struct ipoib_mgid *mgid)
{
	u16 signature = be16_to_cpu(mgid->signature);

	if (mgid->prefix != 0xff)
		return false;
	if ((mgid->flags_scope & ~IPOIB_MGID_SCOPE) != IPOIB_MGID_TRANSIENT)
		return false;

	return signature == IPOIB_SIGNATURE_IPV4 ||
	       signature == IPOIB_SIGNATURE_IPV6;
}

/**
 * ipoib_mgid_rebase() - move an IP group onto a link
 * @mgid: GID of an IP group, maybe mapped before the link's P_Key or scope
 *	changed; a GID of another kind is left alone
 * @link: GID of the link's broadcast group
 *
 * The stack maps a group once and keeps the result in neighbours and in the
 * multicast list, so an old mapping lives on after the link has moved.
 */
static inline void ipoib_mgid_rebase(struct ipoib_mgid *mgid,
				     const struct ipoib_mgid *link)
{
	if (!ipoib_mgid_is_ip(mgid))
		return;

	mgid->flags_scope = link->flags_scope;
	mgid->pkey = link->pkey;
}

/**
 * ipoib_hwaddr_mgid() - the GID of a group address, laid open
 * @ha: hardware address of a group
 *
 * Return: the address' own bytes. GIDs sit at offset 4 of addresses that are
 * 2-byte aligned at least, which is all struct ipoib_mgid asks for.
 */
static inline struct ipoib_mgid *ipoib_hwaddr_mgid(struct ipoib_hwaddr *ha)
{
	return (struct ipoib_mgid *)ha->gid;
}

/**
 * ipoib_hwaddr_broadcast() - the broadcast address of a link
 * @ha: where to
 * @scope: scope nibble of the link
 * @pkey: P_Key of the link, either form
 */
static inline void ipoib_hwaddr_broadcast(struct ipoib_hwaddr *ha, u8 scope,
					  u16 pkey)
{
	struct ipoib_mgid mgid;

	ipoib_mgid_broadcast(&mgid, scope, pkey);
	ha->flags = 0;
	ipoib_hwaddr_set_qpn(ha, IPOIB_QPN_MULTICAST);
	memcpy(ha->gid, &mgid, sizeof(ha->gid));
}

/**
 * ipoib_hwaddr_is_broadcast() - is this the broadcast address of some link?
 * @ha: any hardware address
 *
 * Return: true whatever scope and P_Key, which are all that links differ in.
 */
static inline bool ipoib_hwaddr_is_broadcast(struct ipoib_hwaddr *ha)
{
	const struct ipoib_mgid *mgid = ipoib_hwaddr_mgid(ha);
	struct ipoib_hwaddr same;

	if (!ipoib_mgid_is_ip(mgid))
		return false;

	ipoib_hwaddr_broadcast(&same, 0, 0);
	ipoib_mgid_rebase(ipoib_hwaddr_mgid(&same), mgid);
	return !memcmp(ha, &same, sizeof(same));
}

/* ---- records of the subnet administrator --------------------------------- */

/**
 * struct ipoib_sa_path - which path the subnet administrator is asked for
 * @sgid: from; zero is from nowhere in particular
 * @dgid: to
 * @port: of the HCA
 * @pkey: partition
 * @traffic_class: of the GRH
 *
 * Compared byte by byte: to be cleared before it is filled.
 */
struct ipoib_sa_path {
	union ib_gid sgid;
	union ib_gid dgid;
	u32 port;
	u16 pkey;
	u8 traffic_class;
};

/**
 * ipoib_sa_path_ask() - put the question into a path record
 * @rec: where to
 * @what: which path
 * @opa: the port is an Omni-Path one
 */
static inline void ipoib_sa_path_ask(struct sa_path_rec *rec,
				     const struct ipoib_sa_path *what, bool opa)
{
	memset(rec, 0, sizeof(*rec));
	rec->rec_type = opa ? SA_PATH_REC_TYPE_OPA : SA_PATH_REC_TYPE_IB;
	rec->dgid = what->dgid;
	rec->sgid = what->sgid;
	rec->pkey = cpu_to_be16(what->pkey);
	rec->numb_path = 1;
	rec->traffic_class = what->traffic_class;
}

/**
 * ipoib_sa_member_ask() - say in a membership record who joins what
 * @rec: where to; its other members stay as they are
 * @mgid: of the group
 * @port_gid: of the port that joins
 * @pkey: partition
 * @join: how
 */
static inline void ipoib_sa_member_ask(struct ib_sa_mcmember_rec *rec,
				       const union ib_gid *mgid,
				       const union ib_gid *port_gid, u16 pkey,
				       enum ib_sa_mc_join_states join)
{
	rec->mgid = *mgid;
	rec->port_gid = *port_gid;
	rec->pkey = cpu_to_be16(pkey);
	rec->join_state = BIT(join);
}

/* ---- encapsulation ------------------------------------------------------- */

/**
 * struct ipoib_encap - the four bytes before every datagram on the wire
 * @proto: ethertype
 * @reserved: sent 0, ignored on receipt
 *
 * Source: RFC 4391 section 6.
 */
struct ipoib_encap {
	__be16 proto;
	__be16 reserved;
};

static_assert(sizeof(struct ipoib_encap) == 4);

/**
 * struct ipoib_header - what stands before a datagram inside this host
 * @ha: destination on the way out, sender on the way in; never on the wire
 * @encap: what does go on the wire
 */
struct ipoib_header {
	struct ipoib_hwaddr ha;
	struct ipoib_encap encap;
};

static_assert(sizeof(struct ipoib_header) == 24);

/**
 * ipoib_header_at() - the header at the start of a packet
 * @data: at least 24 readable bytes
 *
 * Return: the same bytes, laid open; members need 2-byte alignment at most.
 */
static inline struct ipoib_header *ipoib_header_at(void *data)
{
	return data;
}

/**
 * ipoib_encap_at() - the encapsulation header in a receive buffer
 * @data: at least 4 readable bytes
 *
 * Return: the same bytes, laid open.
 */
static inline struct ipoib_encap *ipoib_encap_at(void *data)
{
	return data;
}

/**
 * ipoib_grh_at() - the GRH at the start of a receive buffer
 * @data: 40 readable bytes
 *
 * Return: the same bytes, laid open.
 */
static inline struct ib_grh *ipoib_grh_at(void *data)
{
	return data;
}

/**
 * ipoib_encap_fill() - write the encapsulation header
 * @encap: where to
 * @proto: ethertype in host order
 */
static inline void ipoib_encap_fill(struct ipoib_encap *encap, u16 proto)
{
	encap->proto = cpu_to_be16(proto);
	encap->reserved = 0;
}

/**
 * ipoib_proto_sendable() - may a datagram of this type leave on the link?
 * @proto: ethertype
 *
 * Return: true for the types of RFC 4391 section 6, and TIPC.
 */
static inline bool ipoib_proto_sendable(__be16 proto)
{
	switch (be16_to_cpu(proto)) {
	case ETH_P_IP:
	case ETH_P_IPV6:
	case ETH_P_ARP:
	case ETH_P_RARP:
	case IPOIB_PROTO_TIPC:
		return true;
	default:
		return false;
	}
}

/**
 * ipoib_nd_type() - is this the type of a Neighbour Discovery message?
 * @icmp6_type: type field of an ICMPv6 header
 *
 * Return: true for the five messages of RFC 4861 section 4.
 */
static inline bool ipoib_nd_type(u8 icmp6_type)
{
	return icmp6_type >= 133 && icmp6_type <= 137;
}

/**
 * ipoib_rx_buf_bytes() - how long a receive buffer the HCA needs
 * @ib_mtu_bytes: the largest IB MTU the port may ever use
 *
 * Return: that MTU and the room each UD receive keeps for a GRH (IBA 11.4.1.2).
 */
static inline unsigned int ipoib_rx_buf_bytes(unsigned int ib_mtu_bytes)
{
	return ib_mtu_bytes + sizeof(struct ib_grh);
}

/**
 * ipoib_ud_mtu_bytes() - the IP MTU of an IB MTU
 * @ib_mtu_bytes: MTU of a port or group
 *
 * Return: what RFC 4391 section 7 leaves for the datagram.
 */
static inline unsigned int ipoib_ud_mtu_bytes(unsigned int ib_mtu_bytes)
{
	return ib_mtu_bytes - sizeof(struct ipoib_encap);
}

/* HCAs copy the headers of a large send into the request: mlx4 takes so many */
#define IPOIB_LSO_HEADER_MOST	128

/**
 * ipoib_lso_packets() - how many packets a large send becomes
 * @payload_bytes: what it carries behind its headers
 * @mss_bytes: what each packet carries at most
 *
 * Return: their number, at least 1.
 */
static inline u32 ipoib_lso_packets(u32 payload_bytes, u32 mss_bytes)
{
	return payload_bytes ? DIV_ROUND_UP(payload_bytes, mss_bytes) : 1;
}

/* ---- receive buffers ----------------------------------------------------- */

/*
 * GRH, encapsulation, and the headers of TCP over IPv4 with a time stamp: so
 * much lies in the head of a large packet, and nothing of what it carries.
 */
#define IPOIB_RX_HEAD		(40 + 4 + 20 + 32)

/* a packet of so many bytes, GRH included, is copied into its head whole */
#define IPOIB_RX_COPY		256

/* half of the smallest page: what a packet of MTU 2044 needs behind its head */
#define IPOIB_RX_FRAG		2048

/* pieces behind the head; Omni-Path's 10240 bytes want five */
#define IPOIB_RX_FRAGS		5

/**
 * struct ipoib_rx_layout - how a receive buffer is laid out over pieces
 * @head_bytes: of the first piece
 * @frag_bytes: of each other
 * @frags: how many others
 */
struct ipoib_rx_layout {
	u32 head_bytes;
	u32 frag_bytes;
	u32 frags;
};

/**
 * ipoib_rx_layout() - lay a receive buffer out
 * @buf_bytes: its length, as ipoib_rx_buf_bytes() says
 * @max_sge: pieces a receive request may have
 *
 * A packet uses as many pieces as it fills: at MTU 2044 the head and one.
 *
 * Return: the layout; without a second piece the head is all there is.
 */
static inline struct ipoib_rx_layout ipoib_rx_layout(u32 buf_bytes, u32 max_sge)
{
	struct ipoib_rx_layout layout = {
		.head_bytes = IPOIB_RX_HEAD,
		.frag_bytes = IPOIB_RX_FRAG,
	};
	u32 most = min_t(u32, max_sge - 1, IPOIB_RX_FRAGS);
	u32 rest = buf_bytes - IPOIB_RX_HEAD;

	if (max_sge < 2) {
		layout.head_bytes = buf_bytes;
		return layout;
	}

	while (DIV_ROUND_UP(rest, layout.frag_bytes) > most)
		layout.frag_bytes *= 2;
	layout.frags = DIV_ROUND_UP(rest, layout.frag_bytes);
	return layout;
}

/* what a pool keeps at hand at least: 64 of the smallest pages */
#define IPOIB_RX_POOL_BYTES	(64 * 4096)

/* and at most, in pages of whatever size */
#define IPOIB_RX_POOL_PAGES	4096

/**
 * ipoib_rx_pool_order() - what pages receive buffers are cut from
 * @piece_bytes: length of a piece, not 0
 * @page_bytes: length of a page here, a power of two
 *
 * Return: the order of the smallest that hold a piece.
 */
static inline unsigned int ipoib_rx_pool_order(u32 piece_bytes, u32 page_bytes)
{
	return order_base_2(DIV_ROUND_UP(piece_bytes, page_bytes));
}

/**
 * ipoib_rx_pool_pages() - how many of these a pool is to keep
 * @pieces: that a ring holds
 * @piece_bytes: length of a piece, not 0
 * @page_bytes: length of a page here, a power of two
 *
 * What the ring holds comes back to the pool. With large pages that is few, and
 * the least is told in bytes, lest a small ring keep megabytes.
 *
 * Return: their number.
 */
static inline u32 ipoib_rx_pool_pages(u32 pieces, u32 piece_bytes,
				      u32 page_bytes)
{
	u32 bytes = page_bytes << ipoib_rx_pool_order(piece_bytes, page_bytes);
	u32 least = DIV_ROUND_UP(IPOIB_RX_POOL_BYTES, bytes);
	u32 pages = DIV_ROUND_UP(pieces, bytes / piece_bytes);

	return clamp(pages, least, (u32)IPOIB_RX_POOL_PAGES);
}

/* ---- receive verdict ----------------------------------------------------- */

/**
 * enum ipoib_verdict - what becomes of a received datagram
 * @IPOIB_RX_HOST: for this host alone
 * @IPOIB_RX_BROADCAST: came by the broadcast group
 * @IPOIB_RX_MULTICAST: came by another group
 * @IPOIB_RX_OWN_ECHO: this interface sent it itself
 * @IPOIB_RX_RUNT: too short to hold a header
 * @IPOIB_RX_BAD_PROTO: its type is no ethertype
 */
enum ipoib_verdict {
	IPOIB_RX_HOST,
	IPOIB_RX_BROADCAST,
	IPOIB_RX_MULTICAST,
	IPOIB_RX_OWN_ECHO,
	IPOIB_RX_RUNT,
	IPOIB_RX_BAD_PROTO,
};

/**
 * struct ipoib_rx_self - by what an interface knows its own packets
 * @lid: LID of the port
 * @gid: own GID
 * @broadcast: GID of the broadcast group
 * @qpns: numbers of all own send queue pairs
 * @num_qpns: how many of them
 */
struct ipoib_rx_self {
	u32 lid;
	union ib_gid gid;
	union ib_gid broadcast;
	const u32 *qpns;
	unsigned int num_qpns;
};

/**
 * struct ipoib_rx_facts - what a completion says about a datagram
 * @byte_len: as the HCA reports it, room for the GRH included
 * @slid: source LID
 * @src_qpn: source queue pair
 * @grh: the GRH, or NULL when the packet had none
 * @encap: the encapsulation header; read only where @byte_len covers it
 */
struct ipoib_rx_facts {
	u32 byte_len;
	u32 slid;
	u32 src_qpn;
	const struct ib_grh *grh;
	const struct ipoib_encap *encap;
};

/**
 * ipoib_rx_is_echo() - did this interface send the datagram itself?
 * @facts: from the completion
 * @self: of the interface
 *
 * A virtual HCA on the same LID may have a queue pair of the same number; its
 * GID tells them apart, where there is a GRH to read it from.
 *
 * Return: true when it must not go up.
 */
static inline bool ipoib_rx_is_echo(const struct ipoib_rx_facts *facts,
				    const struct ipoib_rx_self *self)
{
	unsigned int i;

	if (facts->slid != self->lid)
		return false;
	if (facts->grh && facts->grh->sgid.global.interface_id !=
			  self->gid.global.interface_id)
		return false;

	for (i = 0; i < self->num_qpns; i++)
		if (self->qpns[i] == facts->src_qpn)
			return true;

	return false;
}

/**
 * ipoib_rx_judge() - decide about a received datagram
 * @facts: from the completion
 * @self: of the interface
 *
 * Return: the verdict; the checks run from the cheapest and most dangerous on.
 */
static inline enum ipoib_verdict
ipoib_rx_judge(const struct ipoib_rx_facts *facts,
	       const struct ipoib_rx_self *self)
{
	const size_t least = sizeof(struct ib_grh) + sizeof(struct ipoib_encap);

	if (facts->byte_len < least)
		return IPOIB_RX_RUNT;
	if (ipoib_rx_is_echo(facts, self))
		return IPOIB_RX_OWN_ECHO;
	/* below 0x600 it would be a length (IEEE 802.3 3.2.6): no such form */
	if (be16_to_cpu(facts->encap->proto) < ETH_P_802_3_MIN)
		return IPOIB_RX_BAD_PROTO;
	if (!facts->grh || facts->grh->dgid.raw[0] != 0xff)
		return IPOIB_RX_HOST;
	if (!memcmp(&facts->grh->dgid, &self->broadcast, sizeof(union ib_gid)))
		return IPOIB_RX_BROADCAST;

	return IPOIB_RX_MULTICAST;
}

/* ---- work request tag ---------------------------------------------------- */

/**
 * enum ipoib_wr_kind - which ring a work request came from
 * @IPOIB_WR_RX: receive ring of the datagram queue pair
 * @IPOIB_WR_TX: ring of a transmit queue
 * @IPOIB_WR_KINDS: how many kinds there are
 *
 * Zero is no kind, so a completion nobody tagged is recognised.
 */
enum ipoib_wr_kind {
	IPOIB_WR_RX = 1,
	IPOIB_WR_TX,
	IPOIB_WR_KINDS,
};

#define IPOIB_WR_ID_KIND	GENMASK_ULL(63, 56)
#define IPOIB_WR_ID_QUEUE	GENMASK_ULL(47, 32)
#define IPOIB_WR_ID_SLOT	GENMASK_ULL(31, 0)
#define IPOIB_WR_ID_ZERO	GENMASK_ULL(55, 48)

/**
 * ipoib_wr_id() - tag a work request
 * @kind: its ring's kind
 * @queue: index of the queue the ring belongs to
 * @slot: index in the ring
 *
 * Return: the wr_id.
 */
static inline u64 ipoib_wr_id(enum ipoib_wr_kind kind, u16 queue, u32 slot)
{
	return FIELD_PREP(IPOIB_WR_ID_KIND, (u64)kind) |
	       FIELD_PREP(IPOIB_WR_ID_QUEUE, (u64)queue) |
	       FIELD_PREP(IPOIB_WR_ID_SLOT, (u64)slot);
}

/**
 * ipoib_wr_slot() - read a tag back, and check it
 * @wr_id: from a completion
 * @kind: the only kind the completion queue carries
 * @queue: the only queue it carries
 * @size: entries of that queue's ring
 *
 * Return: the slot, or -EBADMSG for a tag that ring never gave out.
 */
static inline int ipoib_wr_slot(u64 wr_id, enum ipoib_wr_kind kind, u16 queue,
				u32 size)
{
	u32 slot = FIELD_GET(IPOIB_WR_ID_SLOT, wr_id);

	if (FIELD_GET(IPOIB_WR_ID_KIND, wr_id) != kind ||
	    FIELD_GET(IPOIB_WR_ID_QUEUE, wr_id) != queue ||
	    FIELD_GET(IPOIB_WR_ID_ZERO, wr_id))
		return -EBADMSG;

	return slot < size ? slot : -EBADMSG;
}

/* ---- ring ---------------------------------------------------------------- */

/**
 * ipoib_ring_used() - entries between producer and consumer
 * @head: entries ever produced, modulo 2^32
 * @tail: entries ever consumed, modulo 2^32
 *
 * Return: their number, right across the wrap of either counter.
 */
static inline u32 ipoib_ring_used(u32 head, u32 tail)
{
	return head - tail;
}

/**
 * ipoib_ring_unused() - entries the producer may still fill
 * @head: entries ever produced, modulo 2^32
 * @tail: entries ever consumed, modulo 2^32
 * @size: entries of the ring
 *
 * Return: their number; 0 also when the counters do not fit the ring.
 */
static inline u32 ipoib_ring_unused(u32 head, u32 tail, u32 size)
{
	u32 used = ipoib_ring_used(head, tail);

	return used < size ? size - used : 0;
}

/**
 * ipoib_ring_slot() - where a counter stands in the ring
 * @counter: head or tail
 * @size: entries of the ring, a power of two
 *
 * Return: index of the slot.
 */
static inline u32 ipoib_ring_slot(u32 counter, u32 size)
{
	return counter & (size - 1);
}

/**
 * ipoib_ring_size() - the ring size nearest to what the user asked for
 * @wanted: any number
 * @least: smallest size, a power of two
 * @most: largest size, a power of two
 *
 * Return: the next power of two, within the limits.
 */
static inline u32 ipoib_ring_size(int wanted, u32 least, u32 most)
{
	if (wanted <= 0 || wanted <= least)
		return least;
	if (wanted >= most)
		return most;

	return roundup_pow_of_two(wanted);
}

/**
 * ipoib_snapshot_passed() - has everything up to a snapshot completed?
 * @tail: consumer's counter now
 * @snapshot: producer's counter then
 *
 * Return: true when it has; right across the wrap, as long as the two are
 * less than 2^31 apart.
 */
static inline bool ipoib_snapshot_passed(u32 tail, u32 snapshot)
{
	return (s32)(tail - snapshot) >= 0;
}

/* ---- backoff ------------------------------------------------------------- */

/**
 * ipoib_backoff_ms() - how long to wait before the next try
 * @failures: tries that have failed so far, at least 1
 * @first_ms: wait after the first failure
 * @most_ms: wait that is never exceeded
 * @random: any 32 random bits
 *
 * Doubles with each failure, then takes off up to a quarter, so that the hosts
 * of a cluster do not ask the subnet administrator in step.
 *
 * Return: milliseconds.
 */
static inline u32 ipoib_backoff_ms(u32 failures, u32 first_ms, u32 most_ms,
				   u32 random)
{
	u32 ms = first_ms;

	while (failures > 1 && ms < most_ms) {
		ms *= 2;
		failures--;
	}
	ms = min(ms, most_ms);

	return ms - (u32)((u64)random * (ms / 4) >> 32);
}

/*
 * The subnet manager's own address is not known yet: ask again at once, but for
 * a second only. Whoever finds it out may have had to give up.
 */
#define IPOIB_AGAIN_MS		20
#define IPOIB_AGAINS_MOST	50

/**
 * struct ipoib_retry - what was asked for in vain, in a row
 * @failures: times that count, for whatever reason
 * @agains: times that the subnet manager's address was not known, the last one
 *	among them
 */
struct ipoib_retry {
	u32 failures;
	u32 agains;
};

/**
 * ipoib_retry_note() - note that it was in vain
 * @retry: so far
 * @status: errno of the attempt; -EAGAIN is no failure, for a second
 */
static inline void ipoib_retry_note(struct ipoib_retry *retry, int status)
{
	retry->agains = status == -EAGAIN ? retry->agains + 1 : 0;
	if (!retry->agains || retry->agains > IPOIB_AGAINS_MOST)
		retry->failures++;
}

/**
 * ipoib_retry_is_soon() - is it to be asked for again at once?
 * @retry: the last attempt is noted
 *
 * Return: true when it is, as that was no failure.
 */
static inline bool ipoib_retry_is_soon(const struct ipoib_retry *retry)
{
	return retry->agains && retry->agains <= IPOIB_AGAINS_MOST;
}

/**
 * ipoib_retry_ms() - how long to wait before the next attempt
 * @retry: the last one is noted
 * @first_ms: wait after the first failure
 * @most_ms: wait that is never exceeded
 * @random: any 32 random bits
 *
 * Return: milliseconds.
 */
static inline u32 ipoib_retry_ms(const struct ipoib_retry *retry, u32 first_ms,
				 u32 most_ms, u32 random)
{
	if (ipoib_retry_is_soon(retry))
		return IPOIB_AGAIN_MS;

	return ipoib_backoff_ms(retry->failures, first_ms, most_ms, random);
}

/**
 * ipoib_spread_ms() - when to try again what was only too much at once
 * @least_ms: not before this
 * @random: any 32 random bits
 *
 * Those that were too many together would come together again.
 *
 * Return: milliseconds, less than twice @least_ms.
 */
static inline u32 ipoib_spread_ms(u32 least_ms, u32 random)
{
	return least_ms + (u32)((u64)random * least_ms >> 32);
}

/* ---- link states --------------------------------------------------------- */

/**
 * enum ipoib_link_state - where an interface stands on its way to carrier
 * @IPOIB_LINK_DOWN: the administrator has it down
 * @IPOIB_LINK_NO_PKEY: up, but its P_Key is not in the port's table
 * @IPOIB_LINK_JOINING: up, broadcast group not joined (yet, or any more)
 * @IPOIB_LINK_ACTIVE: broadcast group joined and attached
 * @IPOIB_LINK_DEAD: being removed
 * @IPOIB_LINK_STATES: how many states there are
 */
enum ipoib_link_state {
	IPOIB_LINK_DOWN,
	IPOIB_LINK_NO_PKEY,
	IPOIB_LINK_JOINING,
	IPOIB_LINK_ACTIVE,
	IPOIB_LINK_DEAD,
	IPOIB_LINK_STATES,
};

/**
 * enum ipoib_link_event - what can happen to a link
 * @IPOIB_EV_REMOVE: the HCA or the module goes away
 * @IPOIB_EV_ADMIN_UP: ndo_open, P_Key found
 * @IPOIB_EV_ADMIN_UP_NO_PKEY: ndo_open, P_Key not in the table
 * @IPOIB_EV_ADMIN_DOWN: ndo_stop
 * @IPOIB_EV_PKEY_LOST: P_Key left the table
 * @IPOIB_EV_PKEY_CHANGED: P_Key appeared, or another one took its place
 * @IPOIB_EV_PKEY_MOVED: P_Key is at another index of the table
 * @IPOIB_EV_PORT_LOST: port is not ACTIVE any more
 * @IPOIB_EV_GID_CHANGED: the port's GID is not what own GID was made from
 * @IPOIB_EV_GID_LOST: own GID left the table
 * @IPOIB_EV_LID_CHANGED: port is ACTIVE with another LID
 * @IPOIB_EV_SM_CHANGED: another subnet manager is the port's
 * @IPOIB_EV_REREGISTER: the subnet manager forgot our subscriptions
 * @IPOIB_EV_BROKEN: the transport has to be closed and opened
 * @IPOIB_EV_STUCK: a transmit queue does not move, or a queue pair is in error
 * @IPOIB_EV_JOIN_LOST: broadcast membership ended, or is that of another group
 * @IPOIB_EV_JOIN_CHANGED: broadcast membership has new parameters
 * @IPOIB_EV_RESUMED: what kept a joining link waiting is over
 * @IPOIB_EV_JOINED: broadcast group joined and attached
 * @IPOIB_LINK_EVENTS: how many events there are
 *
 * When several are true at once the lowest number goes first.
 */
enum ipoib_link_event {
	IPOIB_EV_REMOVE,
	IPOIB_EV_ADMIN_UP,
	IPOIB_EV_ADMIN_UP_NO_PKEY,
	IPOIB_EV_ADMIN_DOWN,
	IPOIB_EV_PKEY_LOST,
	IPOIB_EV_PKEY_CHANGED,
	IPOIB_EV_PKEY_MOVED,
	IPOIB_EV_PORT_LOST,
	IPOIB_EV_GID_CHANGED,
	IPOIB_EV_GID_LOST,
	IPOIB_EV_LID_CHANGED,
	IPOIB_EV_SM_CHANGED,
	IPOIB_EV_REREGISTER,
	IPOIB_EV_BROKEN,
	IPOIB_EV_STUCK,
	IPOIB_EV_JOIN_LOST,
	IPOIB_EV_JOIN_CHANGED,
	IPOIB_EV_RESUMED,
	IPOIB_EV_JOINED,
	IPOIB_LINK_EVENTS,
};

/**
 * enum ipoib_link_action - what a transition of the link does, lowest bit first
 * @IPOIB_ACT_CARRIER_OFF: take the carrier away
 * @IPOIB_ACT_LEAVE: leave and forget every multicast group
 * @IPOIB_ACT_FORGET: forget every path and neighbour
 * @IPOIB_ACT_HEAL: look after the queues that ail
 * @IPOIB_ACT_RESTART: close and open the transport, from the RTNL queue
 * @IPOIB_ACT_REINDEX: give the queue pairs the P_Key's new index
 * @IPOIB_ACT_READDRESS: take over the port's GID, from the RTNL queue
 * @IPOIB_ACT_JOIN: join the broadcast group, if the port is ready for it
 * @IPOIB_ACT_CONFIRM: have the subnet manager confirm each membership, in a
 *	moment
 * @IPOIB_ACT_RENEW: join every group anew before letting go of the old one
 * @IPOIB_ACT_STALE: ask for each path anew when it is next used
 * @IPOIB_ACT_REFRESH: ask for every path anew now
 * @IPOIB_ACT_ADOPT: work with the broadcast group's parameters
 * @IPOIB_ACT_ACCEPT: let packets create paths, which takes these parameters
 * @IPOIB_ACT_SYNC: bring the other groups in line with the wanted ones
 * @IPOIB_ACT_CARRIER_ON: set the MTU and the carrier, from the RTNL queue
 * @IPOIB_LINK_ACTIONS: how many actions there are
 */
enum ipoib_link_action {
	IPOIB_ACT_CARRIER_OFF,
	IPOIB_ACT_LEAVE,
	IPOIB_ACT_FORGET,
	IPOIB_ACT_HEAL,
	IPOIB_ACT_RESTART,
	IPOIB_ACT_REINDEX,
	IPOIB_ACT_READDRESS,
	IPOIB_ACT_JOIN,
	IPOIB_ACT_CONFIRM,
	IPOIB_ACT_RENEW,
	IPOIB_ACT_STALE,
	IPOIB_ACT_REFRESH,
	IPOIB_ACT_ADOPT,
	IPOIB_ACT_ACCEPT,
	IPOIB_ACT_SYNC,
	IPOIB_ACT_CARRIER_ON,
	IPOIB_LINK_ACTIONS,
};

/**
 * struct ipoib_link_cell - one transition of the link
 * @next: the state after it
 * @actions: what is done, a bit for each of enum ipoib_link_action
 */
struct ipoib_link_cell {
	u8 next;
	u16 actions;
};

static_assert(IPOIB_LINK_ACTIONS <= 16);

#define IPOIB_DO(action)	BIT(IPOIB_ACT_##action)
#define IPOIB_DO_HUSH		(IPOIB_DO(CARRIER_OFF) | IPOIB_DO(LEAVE) | \
				 IPOIB_DO(FORGET))
#define IPOIB_DO_REJOIN		(IPOIB_DO(LEAVE) | IPOIB_DO(JOIN))

#define IPOIB_CELL(event, state, acts)	\
	[IPOIB_EV_##event] = { .next = IPOIB_LINK_##state, .actions = (acts) }
#define IPOIB_STAY(event, state)	IPOIB_CELL(event, state, 0)

static const struct ipoib_link_cell
ipoib_link_table[IPOIB_LINK_STATES][IPOIB_LINK_EVENTS] = {
	[IPOIB_LINK_DOWN] = {
		IPOIB_CELL(REMOVE, DEAD, 0),
		IPOIB_CELL(ADMIN_UP, JOINING, IPOIB_DO(JOIN)),
		IPOIB_CELL(ADMIN_UP_NO_PKEY, NO_PKEY, 0),
		IPOIB_STAY(ADMIN_DOWN, DOWN),
		IPOIB_STAY(PKEY_LOST, DOWN),
		IPOIB_STAY(PKEY_CHANGED, DOWN),
		IPOIB_STAY(PKEY_MOVED, DOWN),
		IPOIB_STAY(PORT_LOST, DOWN),
		IPOIB_STAY(GID_CHANGED, DOWN),
		IPOIB_STAY(GID_LOST, DOWN),
		IPOIB_STAY(LID_CHANGED, DOWN),
		IPOIB_STAY(SM_CHANGED, DOWN),
		IPOIB_STAY(REREGISTER, DOWN),
		IPOIB_STAY(BROKEN, DOWN),
		IPOIB_STAY(STUCK, DOWN),
		IPOIB_STAY(JOIN_LOST, DOWN),
		IPOIB_STAY(JOIN_CHANGED, DOWN),
		IPOIB_STAY(RESUMED, DOWN),
		IPOIB_STAY(JOINED, DOWN),
	},
	[IPOIB_LINK_NO_PKEY] = {
		IPOIB_CELL(REMOVE, DEAD, 0),
		IPOIB_STAY(ADMIN_UP, NO_PKEY),
		IPOIB_STAY(ADMIN_UP_NO_PKEY, NO_PKEY),
		IPOIB_CELL(ADMIN_DOWN, DOWN, 0),
		IPOIB_STAY(PKEY_LOST, NO_PKEY),
		IPOIB_CELL(PKEY_CHANGED, JOINING, IPOIB_DO(RESTART)),
		IPOIB_STAY(PKEY_MOVED, NO_PKEY),
		IPOIB_STAY(PORT_LOST, NO_PKEY),
		IPOIB_CELL(GID_CHANGED, NO_PKEY, IPOIB_DO(READDRESS)),
		IPOIB_STAY(GID_LOST, NO_PKEY),
		IPOIB_STAY(LID_CHANGED, NO_PKEY),
		IPOIB_STAY(SM_CHANGED, NO_PKEY),
		IPOIB_STAY(REREGISTER, NO_PKEY),
		IPOIB_STAY(BROKEN, NO_PKEY),
		IPOIB_STAY(STUCK, NO_PKEY),
		IPOIB_STAY(JOIN_LOST, NO_PKEY),
		IPOIB_STAY(JOIN_CHANGED, NO_PKEY),
		IPOIB_STAY(RESUMED, NO_PKEY),
		IPOIB_STAY(JOINED, NO_PKEY),
	},
	[IPOIB_LINK_JOINING] = {
		IPOIB_CELL(REMOVE, DEAD, IPOIB_DO_HUSH),
		IPOIB_STAY(ADMIN_UP, JOINING),
		IPOIB_STAY(ADMIN_UP_NO_PKEY, JOINING),
		IPOIB_CELL(ADMIN_DOWN, DOWN, IPOIB_DO_HUSH),
		IPOIB_CELL(PKEY_LOST, NO_PKEY, IPOIB_DO_HUSH),
		IPOIB_CELL(PKEY_CHANGED, JOINING,
			   IPOIB_DO(LEAVE) | IPOIB_DO(RESTART)),
		IPOIB_CELL(PKEY_MOVED, JOINING, IPOIB_DO(REINDEX)),
		IPOIB_CELL(PORT_LOST, JOINING, IPOIB_DO(LEAVE)),
		IPOIB_CELL(GID_CHANGED, JOINING,
			   IPOIB_DO(LEAVE) | IPOIB_DO(READDRESS)),
		IPOIB_CELL(GID_LOST, JOINING, IPOIB_DO(LEAVE)),
		IPOIB_CELL(LID_CHANGED, JOINING, IPOIB_DO_REJOIN),
		IPOIB_STAY(SM_CHANGED, JOINING),
		IPOIB_CELL(REREGISTER, JOINING, IPOIB_DO_REJOIN),
		IPOIB_CELL(BROKEN, JOINING,
			   IPOIB_DO(LEAVE) | IPOIB_DO(RESTART)),
		IPOIB_CELL(STUCK, JOINING, IPOIB_DO(HEAL)),
		IPOIB_CELL(JOIN_LOST, JOINING, IPOIB_DO_REJOIN),
		IPOIB_STAY(JOIN_CHANGED, JOINING),
		IPOIB_CELL(RESUMED, JOINING, IPOIB_DO(JOIN)),
		IPOIB_CELL(JOINED, ACTIVE,
			   IPOIB_DO(ADOPT) | IPOIB_DO(ACCEPT) |
			   IPOIB_DO(SYNC) | IPOIB_DO(CARRIER_ON)),
	},
	[IPOIB_LINK_ACTIVE] = {
		IPOIB_CELL(REMOVE, DEAD, IPOIB_DO_HUSH),
		IPOIB_STAY(ADMIN_UP, ACTIVE),
		IPOIB_STAY(ADMIN_UP_NO_PKEY, ACTIVE),
		IPOIB_CELL(ADMIN_DOWN, DOWN, IPOIB_DO_HUSH),
		IPOIB_CELL(PKEY_LOST, NO_PKEY, IPOIB_DO_HUSH),
		IPOIB_CELL(PKEY_CHANGED, JOINING,
			   IPOIB_DO_HUSH | IPOIB_DO(RESTART)),
		IPOIB_CELL(PKEY_MOVED, ACTIVE, IPOIB_DO(REINDEX)),
		IPOIB_CELL(PORT_LOST, JOINING, IPOIB_DO_HUSH),
		IPOIB_CELL(GID_CHANGED, JOINING,
			   IPOIB_DO_HUSH | IPOIB_DO(READDRESS)),
		IPOIB_CELL(GID_LOST, JOINING, IPOIB_DO_HUSH),
		IPOIB_CELL(LID_CHANGED, ACTIVE,
			   IPOIB_DO(RENEW) | IPOIB_DO(REFRESH)),
		IPOIB_CELL(SM_CHANGED, ACTIVE,
			   IPOIB_DO(CONFIRM) | IPOIB_DO(STALE)),
		IPOIB_CELL(REREGISTER, ACTIVE,
			   IPOIB_DO(RENEW) | IPOIB_DO(STALE)),
		IPOIB_CELL(BROKEN, JOINING,
			   IPOIB_DO_HUSH | IPOIB_DO(RESTART)),
		IPOIB_CELL(STUCK, ACTIVE, IPOIB_DO(HEAL)),
		IPOIB_CELL(JOIN_LOST, JOINING,
			   IPOIB_DO_HUSH | IPOIB_DO_REJOIN),
		IPOIB_CELL(JOIN_CHANGED, ACTIVE,
			   IPOIB_DO(REFRESH) | IPOIB_DO(ADOPT) |
			   IPOIB_DO(CARRIER_ON)),
		IPOIB_STAY(RESUMED, ACTIVE),
		IPOIB_STAY(JOINED, ACTIVE),
	},
	[IPOIB_LINK_DEAD] = {
		IPOIB_STAY(REMOVE, DEAD),
		IPOIB_STAY(ADMIN_UP, DEAD),
		IPOIB_STAY(ADMIN_UP_NO_PKEY, DEAD),
		IPOIB_STAY(ADMIN_DOWN, DEAD),
		IPOIB_STAY(PKEY_LOST, DEAD),
		IPOIB_STAY(PKEY_CHANGED, DEAD),
		IPOIB_STAY(PKEY_MOVED, DEAD),
		IPOIB_STAY(PORT_LOST, DEAD),
		IPOIB_STAY(GID_CHANGED, DEAD),
		IPOIB_STAY(GID_LOST, DEAD),
		IPOIB_STAY(LID_CHANGED, DEAD),
		IPOIB_STAY(SM_CHANGED, DEAD),
		IPOIB_STAY(REREGISTER, DEAD),
		IPOIB_STAY(BROKEN, DEAD),
		IPOIB_STAY(STUCK, DEAD),
		IPOIB_STAY(JOIN_LOST, DEAD),
		IPOIB_STAY(JOIN_CHANGED, DEAD),
		IPOIB_STAY(RESUMED, DEAD),
		IPOIB_STAY(JOINED, DEAD),
	},
};

#undef IPOIB_STAY
#undef IPOIB_CELL

/**
 * ipoib_link_next() - look a transition up
 * @state: where the link stands
 * @event: what happened
 *
 * Return: the cell of the table.
 */
static inline const struct ipoib_link_cell *
ipoib_link_next(enum ipoib_link_state state, enum ipoib_link_event event)
{
	return &ipoib_link_table[state][event];
}

/**
 * struct ipoib_bcast - the broadcast group's parameters, as a link uses them
 * @mgid: which group
 * @qkey: Q_Key of every datagram on the link
 * @flow_label: 20 bits
 * @mlid: multicast LID
 * @mtu_bytes: IB MTU of the group
 * @rate: enum ib_rate
 * @sl: service level
 * @traffic_class: of the GRH
 * @hop_limit: of the GRH
 * @up: joined as full member, and attached
 */
struct ipoib_bcast {
	union ib_gid mgid;
	u32 qkey;
	u32 flow_label;
	u16 mlid;
	u16 mtu_bytes;
	u8 rate;
	u8 sl;
	u8 traffic_class;
	u8 hop_limit;
	bool up;
};

/**
 * ipoib_bcast_take() - read the parameters from a membership
 * @bcast: where to; its MTU in bytes and whether it is up are the caller's
 * @rec: as the subnet administrator granted it
 */
static inline void ipoib_bcast_take(struct ipoib_bcast *bcast,
				    const struct ib_sa_mcmember_rec *rec)
{
	bcast->mgid = rec->mgid;
	bcast->qkey = be32_to_cpu(rec->qkey);
	bcast->flow_label = be32_to_cpu(rec->flow_label);
	bcast->mlid = be16_to_cpu(rec->mlid);
	bcast->rate = rec->rate;
	bcast->sl = rec->sl;
	bcast->traffic_class = rec->traffic_class;
	bcast->hop_limit = rec->hop_limit;
}

/**
 * ipoib_bcast_same() - does a link have to change anything between the two?
 * @a: one set of parameters
 * @b: another
 *
 * Return: true when all that a packet or an address handle is made from agrees.
 */
static inline bool ipoib_bcast_same(const struct ipoib_bcast *a,
				    const struct ipoib_bcast *b)
{
	return !memcmp(&a->mgid, &b->mgid, sizeof(a->mgid)) &&
	       a->qkey == b->qkey && a->flow_label == b->flow_label &&
	       a->mlid == b->mlid && a->mtu_bytes == b->mtu_bytes &&
	       a->rate == b->rate && a->sl == b->sl &&
	       a->traffic_class == b->traffic_class &&
	       a->hop_limit == b->hop_limit;
}

/**
 * struct ipoib_link_view - the levels a link is decided by
 * @bcast: broadcast membership
 * @lid: LID of the port
 * @sm_lid: LID of the subnet manager, as the port knows it
 * @pkey: own P_Key in full-member form, 0 when it is not in the table
 * @pkey_index: where it is in the table
 * @port_active: the port is ACTIVE
 * @port_serves: it has a LID, too: without one it carries nothing yet
 * @gid_changed: the port's GID is not what own GID was made from, and nobody is
 *	about to change that
 * @gid_valid: own GID is in the port's table
 * @ready: it serves with that GID, and neither a restart nor another GID is on
 *	its way: a join may be sent
 */
struct ipoib_link_view {
	struct ipoib_bcast bcast;
	u32 lid;
	u32 sm_lid;
	u16 pkey;
	u16 pkey_index;
	bool port_active;
	bool port_serves;
	bool gid_changed;
	bool gid_valid;
	bool ready;
};

/**
 * ipoib_link_diff() - which events lie between two looks at a link?
 * @acted: what was last acted on
 * @now: what was just read
 *
 * Return: a bit for each of enum ipoib_link_event.
 */
static inline u32 ipoib_link_diff(const struct ipoib_link_view *acted,
				  const struct ipoib_link_view *now)
{
	u32 events = 0;

	if (acted->pkey && !now->pkey)
		events |= BIT(IPOIB_EV_PKEY_LOST);
	else if (acted->pkey != now->pkey)
		events |= BIT(IPOIB_EV_PKEY_CHANGED);
	else if (now->pkey && acted->pkey_index != now->pkey_index)
		events |= BIT(IPOIB_EV_PKEY_MOVED);
	if (acted->port_serves && !now->port_serves)
		events |= BIT(IPOIB_EV_PORT_LOST);
	if (!acted->gid_changed && now->gid_changed)
		events |= BIT(IPOIB_EV_GID_CHANGED);
	if (acted->gid_valid && !now->gid_valid)
		events |= BIT(IPOIB_EV_GID_LOST);
	/* while the port is not ACTIVE its LID says nothing */
	if (acted->port_serves && now->port_serves && acted->lid != now->lid)
		events |= BIT(IPOIB_EV_LID_CHANGED);
	if (now->sm_lid && acted->sm_lid != now->sm_lid)
		events |= BIT(IPOIB_EV_SM_CHANGED);
	if (acted->bcast.up && !now->bcast.up)
		events |= BIT(IPOIB_EV_JOIN_LOST);
	else if (acted->bcast.up &&
		 !ipoib_bcast_same(&acted->bcast, &now->bcast))
		events |= BIT(IPOIB_EV_JOIN_CHANGED);
	else if (!acted->bcast.up && now->bcast.up)
		events |= BIT(IPOIB_EV_JOINED);
	if (!acted->ready && now->ready)
		events |= BIT(IPOIB_EV_RESUMED);

	return events;
}

/**
 * ipoib_link_ack() - note that an event has been acted on
 * @acted: what was last acted on; takes over what the event was about
 * @now: the look the event came from
 * @event: which one
 */
static inline void ipoib_link_ack(struct ipoib_link_view *acted,
				  const struct ipoib_link_view *now,
				  enum ipoib_link_event event)
{
	switch (event) {
	case IPOIB_EV_PKEY_LOST:
	case IPOIB_EV_PKEY_CHANGED:
		acted->pkey = now->pkey;
		acted->pkey_index = now->pkey_index;
		break;
	case IPOIB_EV_PKEY_MOVED:
		acted->pkey_index = now->pkey_index;
		break;
	case IPOIB_EV_PORT_LOST:
		acted->port_serves = false;
		acted->ready = false;
		break;
	case IPOIB_EV_GID_CHANGED:
		acted->gid_changed = true;
		acted->ready = false;
		break;
	case IPOIB_EV_GID_LOST:
		acted->gid_valid = false;
		acted->ready = false;
		break;
	case IPOIB_EV_LID_CHANGED:
		acted->lid = now->lid;
		break;
	case IPOIB_EV_SM_CHANGED:
		acted->sm_lid = now->sm_lid;
		break;
	case IPOIB_EV_RESUMED:
		acted->port_serves = now->port_serves;
		acted->gid_valid = now->gid_valid;
		acted->ready = now->ready;
		acted->lid = now->lid;
		break;
	case IPOIB_EV_JOINED:
	case IPOIB_EV_JOIN_CHANGED:
	case IPOIB_EV_JOIN_LOST:
		acted->bcast = now->bcast;
		break;
	default:
		break;
	}
}

/* a table is rewritten entry by entry: what stays away for so long is gone */
#define IPOIB_ABSENCE_MS	100

/**
 * struct ipoib_absence - what a look did not find where it was before
 * @since: when that was first so, in jiffies
 * @noted: the last look did not find it
 */
struct ipoib_absence {
	unsigned long since;
	bool noted;
};

/**
 * ipoib_absence_is_sure() - is something gone, or just missed by a look?
 * @absence: what looks of before found
 * @absent: this one does not find it
 * @now: in jiffies
 *
 * Return: true when a look IPOIB_ABSENCE_MS ago did not find it either, and
 * none since then did.
 */
static inline bool ipoib_absence_is_sure(struct ipoib_absence *absence,
					 bool absent, unsigned long now)
{
	if (absent && !absence->noted)
		absence->since = now;
	absence->noted = absent;

	return absent && time_after_eq(now, absence->since +
					    msecs_to_jiffies(IPOIB_ABSENCE_MS));
}

/* ---- link reasons -------------------------------------------------------- */

/**
 * enum ipoib_link_reason - why there is no carrier
 * @IPOIB_WHY_UP: there is
 * @IPOIB_WHY_REMOVED: the HCA goes away
 * @IPOIB_WHY_HCA_WEDGED: the HCA keeps a queue pair it was to destroy
 * @IPOIB_WHY_ADMIN_DOWN: the administrator has the interface down
 * @IPOIB_WHY_PKEY_ABSENT: its P_Key is not in the port's table
 * @IPOIB_WHY_PORT_DOWN: the port is not ACTIVE
 * @IPOIB_WHY_LID_0: the port has no LID
 * @IPOIB_WHY_GID_ABSENT: the interface's GID is not in the port's table
 * @IPOIB_WHY_RESTARTING: the queue pairs are being started anew, or all is done
 *	but telling the stack
 * @IPOIB_WHY_MTU_MISMATCH: the broadcast group's MTU is more than the port can
 * @IPOIB_WHY_SM_UNREACHABLE: the subnet manager does not answer, is not running
 *	where the port has it, or ib_core knows no way to it
 * @IPOIB_WHY_BCAST_JOINING: the broadcast group is not joined yet
 * @IPOIB_LINK_REASONS: how many there are
 */
enum ipoib_link_reason {
	IPOIB_WHY_UP,
	IPOIB_WHY_REMOVED,
	IPOIB_WHY_HCA_WEDGED,
	IPOIB_WHY_ADMIN_DOWN,
	IPOIB_WHY_PKEY_ABSENT,
	IPOIB_WHY_PORT_DOWN,
	IPOIB_WHY_LID_0,
	IPOIB_WHY_GID_ABSENT,
	IPOIB_WHY_RESTARTING,
	IPOIB_WHY_MTU_MISMATCH,
	IPOIB_WHY_SM_UNREACHABLE,
	IPOIB_WHY_BCAST_JOINING,
	IPOIB_LINK_REASONS,
};

/**
 * struct ipoib_link_facts - what a reason is found from
 * @state: of the link
 * @kept: the HCA keeps a queue pair
 * @restarting: its transport is being closed and opened
 * @carrier: the stack has been told that there is one
 * @port_active: the port is ACTIVE
 * @gid_good: own GID is in the port's table
 * @pkey: own P_Key
 * @lid: of the port
 * @sm_lid: of the subnet manager, as the port knows it
 * @status: errno of the last attempt to join the broadcast group, or 0;
 *	-EHOSTUNREACH when no subnet administrator was there to reject it
 * @tries: attempts that failed in a row
 */
struct ipoib_link_facts {
	enum ipoib_link_state state;
	bool kept;
	bool restarting;
	bool carrier;
	bool port_active;
	bool gid_good;
	u16 pkey;
	u32 lid;
	u32 sm_lid;
	int status;
	u32 tries;
};

static inline enum ipoib_link_reason
ipoib_link_why_joining(const struct ipoib_link_facts *facts)
{
	if (!facts->port_active)
		return IPOIB_WHY_PORT_DOWN;
	if (!facts->lid)
		return IPOIB_WHY_LID_0;
	if (!facts->gid_good)
		return IPOIB_WHY_GID_ABSENT;
	if (facts->restarting)
		return IPOIB_WHY_RESTARTING;
	if (facts->status == -EMSGSIZE)
		return IPOIB_WHY_MTU_MISMATCH;
	/* -EAGAIN: ib_core could not make the address handle to it */
	if (!facts->sm_lid || facts->status == -ETIMEDOUT ||
	    facts->status == -EHOSTUNREACH || facts->status == -EAGAIN)
		return IPOIB_WHY_SM_UNREACHABLE;

	return IPOIB_WHY_BCAST_JOINING;
}

/**
 * ipoib_link_why() - why has a link no carrier?
 * @facts: what is known
 *
 * Return: the reason that has to go first.
 */
static inline enum ipoib_link_reason
ipoib_link_why(const struct ipoib_link_facts *facts)
{
	if (facts->kept && facts->state != IPOIB_LINK_DEAD)
		return IPOIB_WHY_HCA_WEDGED;

	switch (facts->state) {
	case IPOIB_LINK_ACTIVE:
		/* what switches it on may wait for RTNL a while */
		return facts->carrier ? IPOIB_WHY_UP : IPOIB_WHY_RESTARTING;
	case IPOIB_LINK_DOWN:
		return IPOIB_WHY_ADMIN_DOWN;
	case IPOIB_LINK_NO_PKEY:
		return IPOIB_WHY_PKEY_ABSENT;
	case IPOIB_LINK_JOINING:
		return ipoib_link_why_joining(facts);
	default:
		return IPOIB_WHY_REMOVED;
	}
}

/**
 * ipoib_link_reason_name() - a reason's word, as users know it
 * @reason: which
 *
 * Return: the word; users' scripts compare it, so it never changes.
 */
static inline const char *
ipoib_link_reason_name(enum ipoib_link_reason reason)
{
	static const char * const names[IPOIB_LINK_REASONS] = {
		[IPOIB_WHY_UP] = "up",
		[IPOIB_WHY_REMOVED] = "removed",
		[IPOIB_WHY_HCA_WEDGED] = "hca-wedged",
		[IPOIB_WHY_ADMIN_DOWN] = "admin-down",
		[IPOIB_WHY_PKEY_ABSENT] = "pkey-absent",
		[IPOIB_WHY_PORT_DOWN] = "port-down",
		[IPOIB_WHY_LID_0] = "lid-0",
		[IPOIB_WHY_GID_ABSENT] = "gid-absent",
		[IPOIB_WHY_RESTARTING] = "restarting",
		[IPOIB_WHY_MTU_MISMATCH] = "mtu-mismatch",
		[IPOIB_WHY_SM_UNREACHABLE] = "sm-unreachable",
		[IPOIB_WHY_BCAST_JOINING] = "bcast-joining",
	};

	return names[reason];
}

/* ---- group states -------------------------------------------------------- */

/**
 * enum ipoib_mcast_kind - why a group is joined
 * @IPOIB_MCAST_BROADCAST: the link itself; must exist, gives the parameters
 * @IPOIB_MCAST_FULL: the stack wants to receive it
 * @IPOIB_MCAST_SEND_ONLY: a packet was sent to it, nobody here receives it
 */
enum ipoib_mcast_kind {
	IPOIB_MCAST_BROADCAST,
	IPOIB_MCAST_FULL,
	IPOIB_MCAST_SEND_ONLY,
};

/**
 * enum ipoib_mcast_state - where a group stands
 * @IPOIB_MCAST_IDLE: known, nothing asked yet
 * @IPOIB_MCAST_JOINING: asked, no answer yet
 * @IPOIB_MCAST_BACKOFF: refused; asked again when the time is up
 * @IPOIB_MCAST_JOINED: member; can be sent to (send-only groups stay here)
 * @IPOIB_MCAST_ATTACHED: member, and the queue pair receives it
 * @IPOIB_MCAST_RENEWING: membership void, asked anew; works on meanwhile
 * @IPOIB_MCAST_STALE: renewal failed; what was before works on, asked again
 * @IPOIB_MCAST_LEAVING: let go, about to be freed
 * @IPOIB_MCAST_STATES: how many states there are
 */
enum ipoib_mcast_state {
	IPOIB_MCAST_IDLE,
	IPOIB_MCAST_JOINING,
	IPOIB_MCAST_BACKOFF,
	IPOIB_MCAST_JOINED,
	IPOIB_MCAST_ATTACHED,
	IPOIB_MCAST_RENEWING,
	IPOIB_MCAST_STALE,
	IPOIB_MCAST_LEAVING,
	IPOIB_MCAST_STATES,
};

/**
 * enum ipoib_mcast_event - what can happen to a group
 * @IPOIB_MC_START: it is wanted, or a packet waits for it
 * @IPOIB_MC_ANSWER: the subnet administrator granted the membership
 * @IPOIB_MC_REFUSAL: it refused, or did not answer
 * @IPOIB_MC_ATTACHED: the queue pair receives the group
 * @IPOIB_MC_ATTACH_FAILED: it does not
 * @IPOIB_MC_RETRY: the wait after a refusal is over
 * @IPOIB_MC_RENEW: the membership is void, or is to be of another kind
 * @IPOIB_MC_EXPIRED: renewals were refused too often
 * @IPOIB_MC_STOP: it is not wanted any more
 * @IPOIB_MC_UNREADY: it granted the membership, but no address handle can be
 *	made
 * @IPOIB_MCAST_EVENTS: how many events there are
 */
enum ipoib_mcast_event {
	IPOIB_MC_START,
	IPOIB_MC_ANSWER,
	IPOIB_MC_REFUSAL,
	IPOIB_MC_ATTACHED,
	IPOIB_MC_ATTACH_FAILED,
	IPOIB_MC_RETRY,
	IPOIB_MC_RENEW,
	IPOIB_MC_EXPIRED,
	IPOIB_MC_STOP,
	IPOIB_MC_UNREADY,
	IPOIB_MCAST_EVENTS,
};

/**
 * enum ipoib_mcast_action - what a transition of a group does, lowest bit first
 * @IPOIB_MCDO_DETACH: stop receiving, unpublish the address handle
 * @IPOIB_MCDO_LEAVE: let go of the membership in force
 * @IPOIB_MCDO_CANCEL: let go of the membership asked for
 * @IPOIB_MCDO_ADOPT: the membership asked for comes into force, the old goes
 * @IPOIB_MCDO_REQUEST: ask for a membership, and let go of one that was asked
 *	for before
 * @IPOIB_MCDO_WAIT: note when to ask again
 * @IPOIB_MCAST_ACTIONS: how many actions there are
 */
enum ipoib_mcast_action {
	IPOIB_MCDO_DETACH,
	IPOIB_MCDO_LEAVE,
	IPOIB_MCDO_CANCEL,
	IPOIB_MCDO_ADOPT,
	IPOIB_MCDO_REQUEST,
	IPOIB_MCDO_WAIT,
	IPOIB_MCAST_ACTIONS,
};

/**
 * struct ipoib_mcast_cell - one transition of a group
 * @next: the state after it
 * @actions: what is done, a bit for each of enum ipoib_mcast_action
 */
struct ipoib_mcast_cell {
	u8 next;
	u8 actions;
};

static_assert(IPOIB_MCAST_ACTIONS <= 8);

#define IPOIB_MCDO(action)	BIT(IPOIB_MCDO_##action)
#define IPOIB_MCDO_LATER	(IPOIB_MCDO(CANCEL) | IPOIB_MCDO(WAIT))
#define IPOIB_MCDO_END		(IPOIB_MCDO(DETACH) | IPOIB_MCDO(LEAVE) | \
				 IPOIB_MCDO(CANCEL))

#define IPOIB_CELL(event, state, acts)	\
	[IPOIB_MC_##event] = { .next = IPOIB_MCAST_##state, .actions = (acts) }
#define IPOIB_STAY(event, state)	IPOIB_CELL(event, state, 0)

static const struct ipoib_mcast_cell
ipoib_mcast_table[IPOIB_MCAST_STATES][IPOIB_MCAST_EVENTS] = {
	[IPOIB_MCAST_IDLE] = {
		IPOIB_CELL(START, JOINING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(ANSWER, IDLE),
		IPOIB_STAY(REFUSAL, IDLE),
		IPOIB_STAY(ATTACHED, IDLE),
		IPOIB_STAY(ATTACH_FAILED, IDLE),
		IPOIB_STAY(RETRY, IDLE),
		IPOIB_STAY(RENEW, IDLE),
		IPOIB_STAY(EXPIRED, IDLE),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_STAY(UNREADY, IDLE),
	},
	[IPOIB_MCAST_JOINING] = {
		IPOIB_STAY(START, JOINING),
		IPOIB_CELL(ANSWER, JOINED, IPOIB_MCDO(ADOPT)),
		IPOIB_CELL(REFUSAL, BACKOFF, IPOIB_MCDO_LATER),
		IPOIB_STAY(ATTACHED, JOINING),
		IPOIB_STAY(ATTACH_FAILED, JOINING),
		IPOIB_STAY(RETRY, JOINING),
		IPOIB_CELL(RENEW, JOINING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(EXPIRED, JOINING),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_CELL(UNREADY, BACKOFF, IPOIB_MCDO_LATER),
	},
	[IPOIB_MCAST_BACKOFF] = {
		IPOIB_STAY(START, BACKOFF),
		IPOIB_STAY(ANSWER, BACKOFF),
		IPOIB_STAY(REFUSAL, BACKOFF),
		IPOIB_STAY(ATTACHED, BACKOFF),
		IPOIB_STAY(ATTACH_FAILED, BACKOFF),
		IPOIB_CELL(RETRY, JOINING, IPOIB_MCDO(REQUEST)),
		IPOIB_CELL(RENEW, JOINING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(EXPIRED, BACKOFF),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_STAY(UNREADY, BACKOFF),
	},
	[IPOIB_MCAST_JOINED] = {
		IPOIB_STAY(START, JOINED),
		IPOIB_STAY(ANSWER, JOINED),
		IPOIB_STAY(REFUSAL, JOINED),
		IPOIB_CELL(ATTACHED, ATTACHED, 0),
		IPOIB_CELL(ATTACH_FAILED, BACKOFF,
			   IPOIB_MCDO(DETACH) | IPOIB_MCDO(LEAVE) |
			   IPOIB_MCDO(WAIT)),
		IPOIB_STAY(RETRY, JOINED),
		IPOIB_CELL(RENEW, RENEWING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(EXPIRED, JOINED),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_STAY(UNREADY, JOINED),
	},
	[IPOIB_MCAST_ATTACHED] = {
		IPOIB_STAY(START, ATTACHED),
		IPOIB_STAY(ANSWER, ATTACHED),
		IPOIB_STAY(REFUSAL, ATTACHED),
		IPOIB_STAY(ATTACHED, ATTACHED),
		IPOIB_STAY(ATTACH_FAILED, ATTACHED),
		IPOIB_STAY(RETRY, ATTACHED),
		IPOIB_CELL(RENEW, RENEWING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(EXPIRED, ATTACHED),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_STAY(UNREADY, ATTACHED),
	},
	[IPOIB_MCAST_RENEWING] = {
		IPOIB_STAY(START, RENEWING),
		IPOIB_CELL(ANSWER, JOINED, IPOIB_MCDO(ADOPT)),
		IPOIB_CELL(REFUSAL, STALE, IPOIB_MCDO_LATER),
		IPOIB_STAY(ATTACHED, RENEWING),
		IPOIB_STAY(ATTACH_FAILED, RENEWING),
		IPOIB_STAY(RETRY, RENEWING),
		IPOIB_CELL(RENEW, RENEWING, IPOIB_MCDO(REQUEST)),
		IPOIB_STAY(EXPIRED, RENEWING),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_CELL(UNREADY, STALE,
			   IPOIB_MCDO(ADOPT) | IPOIB_MCDO(WAIT)),
	},
	[IPOIB_MCAST_STALE] = {
		IPOIB_STAY(START, STALE),
		IPOIB_STAY(ANSWER, STALE),
		IPOIB_STAY(REFUSAL, STALE),
		IPOIB_STAY(ATTACHED, STALE),
		IPOIB_STAY(ATTACH_FAILED, STALE),
		IPOIB_CELL(RETRY, RENEWING, IPOIB_MCDO(REQUEST)),
		IPOIB_CELL(RENEW, RENEWING, IPOIB_MCDO(REQUEST)),
		IPOIB_CELL(EXPIRED, BACKOFF,
			   IPOIB_MCDO(DETACH) | IPOIB_MCDO(LEAVE)),
		IPOIB_CELL(STOP, LEAVING, IPOIB_MCDO_END),
		IPOIB_STAY(UNREADY, STALE),
	},
	[IPOIB_MCAST_LEAVING] = {
		IPOIB_STAY(START, LEAVING),
		IPOIB_STAY(ANSWER, LEAVING),
		IPOIB_STAY(REFUSAL, LEAVING),
		IPOIB_STAY(ATTACHED, LEAVING),
		IPOIB_STAY(ATTACH_FAILED, LEAVING),
		IPOIB_STAY(RETRY, LEAVING),
		IPOIB_STAY(RENEW, LEAVING),
		IPOIB_STAY(EXPIRED, LEAVING),
		IPOIB_STAY(STOP, LEAVING),
		IPOIB_STAY(UNREADY, LEAVING),
	},
};

#undef IPOIB_STAY
#undef IPOIB_CELL

/**
 * ipoib_mcast_next() - look a transition of a group up
 * @state: where the group stands
 * @event: what happened
 *
 * Return: the cell of the table.
 */
static inline const struct ipoib_mcast_cell *
ipoib_mcast_next(enum ipoib_mcast_state state, enum ipoib_mcast_event event)
{
	return &ipoib_mcast_table[state][event];
}

/**
 * ipoib_mcast_is_asking() - does a group in this state wait for an answer?
 * @state: of the group
 *
 * Return: true when it does.
 */
static inline bool ipoib_mcast_is_asking(enum ipoib_mcast_state state)
{
	return state == IPOIB_MCAST_JOINING || state == IPOIB_MCAST_RENEWING;
}

/**
 * ipoib_mcast_works() - can a group in this state be sent to?
 * @state: of the group
 *
 * Return: true when its address handle is published.
 */
static inline bool ipoib_mcast_works(enum ipoib_mcast_state state)
{
	return state == IPOIB_MCAST_JOINED || state == IPOIB_MCAST_ATTACHED ||
	       state == IPOIB_MCAST_RENEWING || state == IPOIB_MCAST_STALE;
}

#endif /* IPOIB_WIRE_H */
