/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What stands in the InfiniBand Architecture Specification, volume 1: numbers,
 * bit fields and table sizes. Nothing here knows a struct of the fabric.
 */
#ifndef FAB_WIRE_H
#define FAB_WIRE_H

#include <linux/bitfield.h>
#include <linux/types.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_smi.h>
#include <rdma/ib_verbs.h>

/* LID ranges, IBA 4.1.3 */
#define FAB_LID_UCAST_MAX	0xbfff
#define FAB_LID_MCAST_MIN	0xc000
#define FAB_LID_MCAST_MAX	0xfffe
#define FAB_LID_PERMISSIVE	0xffff

/* Forwarding tables travel in blocks of 64 bytes, IBA 14.2.5.10 and .12 */
#define FAB_LFT_BLOCK		64
#define FAB_LFT_DROP		0xff
#define FAB_MFT_BLOCK		32
#define FAB_MFT_POSITIONS	16
#define FAB_PKEY_BLOCK		32
#define FAB_GUID_BLOCK		8

/* Largest port number a switch can have: 8 bits, 255 means "none" */
#define FAB_PORT_MAX		254

/* P_Key, IBA 10.9: bit 15 says full member */
#define FAB_PKEY_FULL		0x8000
#define FAB_PKEY_BASE		0x7fff
#define FAB_PKEY_DEFAULT	0xffff

/* A Q_Key with this bit is controlled: the QP's own is sent, IBA 10.2.5 */
#define FAB_QKEY_CONTROLLED	0x80000000

/* Management packets of QP0 travel on a lane of their own, IBA 7.6.3 */
#define FAB_VL_MANAGEMENT	15

/* Subnet prefix of default GIDs, IBA 4.1.1 */
#define FAB_GID_DEFAULT_PREFIX	cpu_to_be64(0xfe80000000000000ULL)

#define FAB_QPN_MCAST		0xffffff
#define FAB_PSN_MASK		0xffffff
#define FAB_GRH_LEN		40
/* LRH, BTH, DETH and ICRC, in words of 4 bytes */
#define FAB_WORDS_UD		(2 + 3 + 2 + 1)
#define FAB_WORDS_SMP		(FAB_WORDS_UD + IB_MGMT_MAD_SIZE / 4)
#define FAB_GRH_NEXT_IBA	0x1b
#define FAB_GRH_VERSION		6

/* PortPhysicalState, IBA 14.2.5.6 */
#define FAB_PHYS_POLLING	2
#define FAB_PHYS_DISABLED	3
#define FAB_PHYS_LINKUP		5

/* Fields of struct ib_port_info that share a byte */
#define FAB_PI_STATE		GENMASK(3, 0)
#define FAB_PI_SPEED_SUP	GENMASK(7, 4)
#define FAB_PI_PHYS		GENMASK(7, 4)
#define FAB_PI_DOWN_DEFAULT	GENMASK(3, 0)
#define FAB_PI_MKEY_PROT	GENMASK(7, 6)
#define FAB_PI_LMC		GENMASK(2, 0)
#define FAB_PI_SPEED_ACT	GENMASK(7, 4)
#define FAB_PI_SPEED_EN		GENMASK(3, 0)
#define FAB_PI_NEIGH_MTU	GENMASK(7, 4)
#define FAB_PI_SM_SL		GENMASK(3, 0)
#define FAB_PI_VLCAP		GENMASK(7, 4)
#define FAB_PI_INIT_REPLY	GENMASK(7, 4)
#define FAB_PI_MTU_CAP		GENMASK(3, 0)
#define FAB_PI_OPER_VL		GENMASK(7, 4)
#define FAB_PI_REREGISTER	BIT(7)
#define FAB_PI_SUBNET_TO	GENMASK(4, 0)

/* From this M_KeyProtectBits on, reading takes the M_Key, IBA 14.2.4.1 */
#define FAB_MKEY_PROT_READ	2

/* Bits of the attribute modifier of PortInfo: the port, and extended speeds */
#define FAB_PI_MOD_PORT		GENMASK(7, 0)

/* LinkWidth and LinkSpeed codes, IBA 14.2.5.6 */
#define FAB_WIDTH_1X_4X		0x3
#define FAB_WIDTH_4X		0x2
#define FAB_SPEED_SDR_DDR_QDR	0x7
#define FAB_SPEED_QDR		0x4
#define FAB_SPEED_FROM_SUP	0xf
#define FAB_WIDTH_FROM_SUP	0xff

/* Status of a MAD whose attribute or modifier cannot be served, IBA 13.4.7 */
#define FAB_MAD_BAD_VERSION	cpu_to_be16(1 << 2)
#define FAB_MAD_BAD_METHOD	cpu_to_be16(2 << 2)
#define FAB_MAD_BAD_ATTR	cpu_to_be16(3 << 2)
#define FAB_MAD_BAD_VALUE	cpu_to_be16(7 << 2)

/* Trap 128: the state of a port of this switch changed, IBA 14.2.5.1 */
#define FAB_TRAP_PORT_STATE	128
#define FAB_NOTICE_URGENT	BIT(0)
#define FAB_NOTICE_GENERIC	BIT(7)
#define FAB_PRODUCER_SWITCH	2

/**
 * struct fab_switch_info - attribute SwitchInfo
 * @linear_cap: LinearFDBCap, LIDs the unicast table has
 * @random_cap: RandomFDBCap, 0
 * @mcast_cap: MulticastFDBCap, multicast LIDs the table has
 * @linear_top: LinearFDBTop, highest LID that is forwarded
 * @default_port: not used with a linear table
 * @default_mcast_primary: DefaultMulticastPrimaryPort
 * @default_mcast_secondary: DefaultMulticastNotPrimaryPort
 * @lifetime_change: LifeTimeValue (5 bits), PortStateChange (write 1 to
 *	clear), two reserved bits
 * @lids_per_port: of a random table
 * @partition_enforce_cap: P_Keys each external port can enforce, 0
 * @enforce_flags: InboundEnforcementCap and following bits
 * @reserved: 0
 * @mcast_top: MulticastFDBTop
 *
 * Source: IBA 14.2.5.4.
 */
struct fab_switch_info {
	__be16 linear_cap;
	__be16 random_cap;
	__be16 mcast_cap;
	__be16 linear_top;
	u8 default_port;
	u8 default_mcast_primary;
	u8 default_mcast_secondary;
	u8 lifetime_change;
	__be16 lids_per_port;
	__be16 partition_enforce_cap;
	u8 enforce_flags;
	u8 reserved;
	__be16 mcast_top;
} __packed;

#define FAB_SI_LIFETIME		GENMASK(7, 3)
#define FAB_SI_STATE_CHANGE	BIT(2)

static_assert(sizeof(struct fab_switch_info) == 20);
static_assert(offsetof(struct fab_switch_info, lifetime_change) == 11);
static_assert(sizeof(struct ib_port_info) == IB_SMP_DATA_SIZE);
static_assert(sizeof(struct ib_smp) == IB_MGMT_MAD_SIZE);

static inline bool fab_lid_is_mcast(u16 lid)
{
	return lid >= FAB_LID_MCAST_MIN && lid <= FAB_LID_MCAST_MAX;
}

/**
 * fab_pkeys_match - may a packet with one P_Key enter a QP that holds another
 * @a: a P_Key
 * @b: the other one
 *
 * Return: true when both name the same partition, neither is invalid, and at
 * least one of the two is a full member. Source: IBA 10.9.1.
 */
static inline bool fab_pkeys_match(u16 a, u16 b)
{
	return (a & FAB_PKEY_BASE) && !((a ^ b) & FAB_PKEY_BASE) &&
	       ((a | b) & FAB_PKEY_FULL);
}

static inline bool fab_gid_is_mcast(const union ib_gid *gid)
{
	return gid->raw[0] == 0xff;
}

/**
 * fab_mad_is_request - does a management packet want an answer
 * @hdr: its header
 *
 * Return: false for answers, and for what is only told; what else there is may
 * be a method nobody knows, and is to be told so. Source: IBA 13.4.5.
 */
static inline bool fab_mad_is_request(const struct ib_mad_hdr *hdr)
{
	return !(hdr->method & IB_MGMT_METHOD_RESP) &&
	       hdr->method != IB_MGMT_METHOD_SEND &&
	       hdr->method != IB_MGMT_METHOD_TRAP &&
	       hdr->method != IB_MGMT_METHOD_REPORT &&
	       hdr->method != IB_MGMT_METHOD_TRAP_REPRESS;
}

static inline bool fab_smp_is_directed(const struct ib_smp *smp)
{
	return smp->mgmt_class == IB_MGMT_CLASS_SUBN_DIRECTED_ROUTE;
}

static inline bool fab_smp_is_smp(const struct ib_smp *smp)
{
	return fab_smp_is_directed(smp) ||
	       smp->mgmt_class == IB_MGMT_CLASS_SUBN_LID_ROUTED;
}

static inline bool fab_smp_is_returning(const struct ib_smp *smp)
{
	return !!(smp->status & IB_SMP_DIRECTION);
}

#endif /* FAB_WIRE_H */
