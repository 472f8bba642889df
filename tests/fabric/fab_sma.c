// SPDX-License-Identifier: GPL-2.0
/*
 * What does a node answer to the subnet manager, and what does it change?
 *
 * One agent serves HCAs and switches: a table of attributes, each with a
 * reader and a writer. All of it runs under the control lock; the events that
 * a write causes are published when the lock is gone.
 *
 * Order of this file: node attributes, changes, PortInfo, tables, dispatch,
 * ib_mad.
 */
#include "fabric.h"

/**
 * struct fab_sma_call - one request while it is served
 * @node: who is asked
 * @in_port: port the request came in by
 * @mod: attribute modifier
 * @hide_mkey: who asks does not know the M_Key, and is not to learn it
 * @data: in: what a Set asks for; out: the attribute as it now is
 */
struct fab_sma_call {
	struct fab_node *node;
	struct fab_port *in_port;
	u32 mod;
	bool hide_mkey;
	void *data;
};

/* --- Node attributes ----------------------------------------------------- */

static __be16 fab_get_node_desc(struct fab_sma_call *call)
{
	memcpy(call->data, call->node->desc, IB_DEVICE_NODE_DESC_MAX);
	return 0;
}

static __be16 fab_get_node_info(struct fab_sma_call *call)
{
	struct fab_node *node = call->node;
	struct ib_node_info *info = call->data;

	info->base_version = 1;
	info->class_version = 1;
	info->node_type = node->type;
	info->num_ports = node->num_ports;
	info->sys_guid = node->guid;
	info->node_guid = node->guid;
	info->port_guid = fab_node_is_switch(node) ? node->guid :
						     call->in_port->guid;
	info->partition_cap = cpu_to_be16(node->shape.pkeys);
	info->device_id = cpu_to_be16(node->type);
	info->revision = cpu_to_be32(1);
	info->local_port_num = call->in_port->num;
	info->vendor_id[0] = 0x02;
	info->vendor_id[1] = 0xfa;
	info->vendor_id[2] = 0xb0;
	return 0;
}

static __be16 fab_get_switch_info(struct fab_sma_call *call)
{
	if (!fab_node_is_switch(call->node))
		return FAB_MAD_BAD_ATTR;

	memcpy(call->data, &call->node->sw->info,
	       sizeof(struct fab_switch_info));
	return 0;
}

static __be16 fab_set_switch_info(struct fab_sma_call *call)
{
	const struct fab_switch_info *want = call->data;
	struct fab_switch_info *info;
	u8 change;

	if (!fab_node_is_switch(call->node))
		return FAB_MAD_BAD_ATTR;
	if (be16_to_cpu(want->linear_top) > FAB_LID_UCAST_MAX)
		return FAB_MAD_BAD_VALUE;

	info = &call->node->sw->info;
	change = info->lifetime_change & FAB_SI_STATE_CHANGE;
	if (want->lifetime_change & FAB_SI_STATE_CHANGE)
		change = 0;
	WRITE_ONCE(info->linear_top, want->linear_top);
	info->default_port = want->default_port;
	info->default_mcast_primary = want->default_mcast_primary;
	info->default_mcast_secondary = want->default_mcast_secondary;
	info->lifetime_change = (want->lifetime_change & FAB_SI_LIFETIME) |
				change;
	return fab_get_switch_info(call);
}

/* --- Changes ------------------------------------------------------------- */

static void fab_port_note(struct fab_port *port, bool changed,
			  enum ib_event_type event)
{
	lockdep_assert_held(&fabric.ctl);

	if (changed && !fab_node_is_switch(port->node))
		__set_bit(event, &port->news);
}

/**
 * fab_port_set_lid - give a port another base LID
 * @port: the port
 * @lid: unicast, or 0 for none
 *
 * Context: ctl is held, as for the others of this kind. The caller publishes
 * the news when it has let go.
 */
void fab_port_set_lid(struct fab_port *port, u16 lid)
{
	fab_port_note(port, port->lid != lid, IB_EVENT_LID_CHANGE);
	WRITE_ONCE(port->lid, lid);
}

/**
 * fab_port_set_prefix - give a port another subnet prefix
 * @port: the port
 * @prefix: upper half of its GIDs
 */
void fab_port_set_prefix(struct fab_port *port, __be64 prefix)
{
	fab_port_note(port, port->prefix != prefix, IB_EVENT_GID_CHANGE);
	WRITE_ONCE(port->prefix, prefix);
}

/**
 * fab_port_set_guid - change an entry of a port's GUID table
 * @port: the port
 * @index: of the entry
 * @guid: lower half of its GID, 0 for none
 */
void fab_port_set_guid(struct fab_port *port, unsigned int index, __be64 guid)
{
	fab_port_note(port, port->guids[index] != guid, IB_EVENT_GID_CHANGE);
	WRITE_ONCE(port->guids[index], guid);
}

/**
 * fab_port_set_pkey - change an entry of a port's P_Key table
 * @port: the port
 * @index: of the entry
 * @pkey: with its membership bit, 0 for none
 */
void fab_port_set_pkey(struct fab_port *port, unsigned int index, u16 pkey)
{
	fab_port_note(port, port->pkeys[index] != pkey, IB_EVENT_PKEY_CHANGE);
	WRITE_ONCE(port->pkeys[index], pkey);
}

/* --- Violations ---------------------------------------------------------- */

/* Packets dropped for a wrong key since the port is there. */
static u64 fab_violations_counted(const struct fab_port *port,
				  enum fab_violation which)
{
	enum fab_counter drop = which == FAB_VIOLATION_PKEY ? FAB_DROP_PKEY :
							      FAB_DROP_QKEY;
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu_ptr(port->stats, cpu)->count[drop];
	return sum;
}

/**
 * fab_port_violations - a counter of PortInfo, IBA 14.2.5.6
 * @port: port of an HCA
 * @which: the counter
 *
 * Context: ctl is held.
 * Return: packets with such a wrong key since the counter was set to 0, as many
 * as it can hold.
 */
u16 fab_port_violations(const struct fab_port *port, enum fab_violation which)
{
	u64 sum = fab_violations_counted(port, which);

	lockdep_assert_held(&fabric.ctl);

	return min_t(u64, sum - port->violation_base[which], U16_MAX);
}

static void fab_violations_clear(struct fab_port *port,
				 enum fab_violation which)
{
	port->violation_base[which] = fab_violations_counted(port, which);
}

/* --- PortInfo ------------------------------------------------------------ */

/**
 * fab_sma_port_init - a port as it is after power on
 * @port: its @num, @guid and @node are set
 *
 * What a subnet manager configured is gone. Context: ctl is held, or nobody
 * knows the port yet.
 */
void fab_sma_port_init(struct fab_port *port)
{
	bool is_switch = fab_node_is_switch(port->node);
	struct ib_port_info *info = &port->info;
	enum ib_mtu mtu = IB_MTU_256 + port->node->shape.mtu;
	u32 caps = IB_PORT_TRAP_SUP | IB_PORT_SYS_IMAGE_GUID_SUP;

	memset(info, 0, sizeof(*info));
	memset(port->pkeys, 0, sizeof(port->pkeys));
	memset(port->guids, 0, sizeof(port->guids));
	WRITE_ONCE(port->lid, 0);
	if (!is_switch)
		caps |= IB_PORT_CAP_MASK_NOTICE_SUP | IB_PORT_CLIENT_REG_SUP;
	/* Of a switch, port 0 alone has capabilities. */
	if (!is_switch || !port->num)
		info->cap_mask = cpu_to_be32(caps);

	info->link_width_supported = FAB_WIDTH_1X_4X;
	info->link_width_enabled = FAB_WIDTH_1X_4X;
	info->link_width_active = FAB_WIDTH_4X;
	info->linkspeed_portstate = FIELD_PREP(FAB_PI_SPEED_SUP,
					       FAB_SPEED_SDR_DDR_QDR);
	info->linkspeedactive_enabled =
		FIELD_PREP(FAB_PI_SPEED_ACT, FAB_SPEED_QDR) |
		FIELD_PREP(FAB_PI_SPEED_EN, FAB_SPEED_SDR_DDR_QDR);
	info->portphysstate_linkdown = FIELD_PREP(FAB_PI_DOWN_DEFAULT,
						  FAB_PHYS_POLLING);
	info->vlcap_inittype = FIELD_PREP(FAB_PI_VLCAP, 1);
	info->inittypereply_mtucap = FIELD_PREP(FAB_PI_MTU_CAP, mtu);
	info->neighbormtu_mastersmsl = FIELD_PREP(FAB_PI_NEIGH_MTU, mtu);
	info->operationalvl_pei_peo_fpi_fpo = FIELD_PREP(FAB_PI_OPER_VL, 1);
	info->guid_cap = fab_num_gids(port);

	fab_violations_clear(port, FAB_VIOLATION_PKEY);
	fab_violations_clear(port, FAB_VIOLATION_QKEY);
	port->news = 0;
	port->mkey_leased = false;
	port->mtu_bytes = ib_mtu_enum_to_int(mtu);
	port->prefix = cpu_to_be64(0xfe80000000000000ULL);
	port->guids[0] = port->guid;
	port->pkeys[0] = FAB_PKEY_DEFAULT;
	port->phys = FAB_PHYS_POLLING;
	port->state = IB_PORT_DOWN;
	if (is_switch && !port->num) {
		port->phys = FAB_PHYS_LINKUP;
		port->state = IB_PORT_ACTIVE;
	}
}

/*
 * The port a PortInfo is about. An HCA is asked for the port the request came
 * in by when the modifier names none.
 */
static struct fab_port *fab_sma_port(const struct fab_sma_call *call)
{
	unsigned int num = FIELD_GET(FAB_PI_MOD_PORT, call->mod);

	if (!fab_node_is_switch(call->node) && !num)
		return call->in_port;

	return num <= call->node->num_ports ? &call->node->ports[num] : NULL;
}

/* LIDs, keys and the like: a switch has them at port 0 only. */
static bool fab_port_is_endport(const struct fab_port *port)
{
	return !fab_node_is_switch(port->node) || !port->num;
}

static void fab_port_info_fill(const struct fab_port *port,
			       const struct fab_port *in_port,
			       struct ib_port_info *info)
{
	*info = port->info;
	info->gid_prefix = fab_port_is_endport(port) ? port->prefix : 0;
	info->lid = cpu_to_be16(port->lid);
	info->pkey_violations =
		cpu_to_be16(fab_port_violations(port, FAB_VIOLATION_PKEY));
	info->qkey_violations =
		cpu_to_be16(fab_port_violations(port, FAB_VIOLATION_QKEY));
	info->local_port_num = in_port->num;
	info->linkspeed_portstate |= FIELD_PREP(FAB_PI_STATE, port->state);
	info->portphysstate_linkdown |= FIELD_PREP(FAB_PI_PHYS, port->phys);
}

static __be16 fab_get_port_info(struct fab_sma_call *call)
{
	struct fab_port *port = fab_sma_port(call);

	if (!port)
		return FAB_MAD_BAD_VALUE;

	fab_port_info_fill(port, call->in_port, call->data);
	if (call->hide_mkey)
		((struct ib_port_info *)call->data)->mkey = 0;
	return 0;
}

/* Only upward and one step at a time, or down (IBA 7.2.7). */
static bool fab_port_may_enter(const struct fab_port *port, u8 want)
{
	switch (want) {
	case IB_PORT_NOP:
	case IB_PORT_DOWN:
		return true;
	case IB_PORT_ARMED:
		return port->state == IB_PORT_INIT ||
		       port->state == IB_PORT_ARMED;
	case IB_PORT_ACTIVE:
		return port->state == IB_PORT_ARMED ||
		       port->state == IB_PORT_ACTIVE;
	default:
		return false;
	}
}

static bool fab_port_states_valid(const struct fab_port *port,
				  const struct ib_port_info *want)
{
	u8 state = FIELD_GET(FAB_PI_STATE, want->linkspeed_portstate);
	u8 phys = FIELD_GET(FAB_PI_PHYS, want->portphysstate_linkdown);
	u8 def = FIELD_GET(FAB_PI_DOWN_DEFAULT, want->portphysstate_linkdown);

	if (!fab_port_may_enter(port, state) || def > FAB_PHYS_POLLING)
		return false;
	/* 0 leaves it, 1 is Sleep, which we have not. */
	if (phys && phys != FAB_PHYS_POLLING && phys != FAB_PHYS_DISABLED)
		return false;

	/* A link that is retrained is down first. */
	return !phys || state == IB_PORT_NOP || state == IB_PORT_DOWN;
}

/* 0 leaves it, the largest code means all that the port can. */
static bool fab_port_rates_valid(const struct ib_port_info *info,
				 const struct ib_port_info *want)
{
	u8 speed = FIELD_GET(FAB_PI_SPEED_EN, want->linkspeedactive_enabled);
	u8 speeds = FIELD_GET(FAB_PI_SPEED_SUP, info->linkspeed_portstate);

	if (speed != FAB_SPEED_FROM_SUP && (speed & ~speeds))
		return false;

	return want->link_width_enabled == FAB_WIDTH_FROM_SUP ||
	       !(want->link_width_enabled & ~info->link_width_supported);
}

static bool fab_port_info_valid(const struct fab_port *port,
				const struct ib_port_info *want)
{
	u8 mtu = FIELD_GET(FAB_PI_NEIGH_MTU, want->neighbormtu_mastersmsl);
	u8 vls = FIELD_GET(FAB_PI_OPER_VL,
			   want->operationalvl_pei_peo_fpi_fpo);

	if (fab_port_is_endport(port) &&
	    (be16_to_cpu(want->lid) > FAB_LID_UCAST_MAX ||
	     be16_to_cpu(want->sm_lid) > FAB_LID_UCAST_MAX))
		return false;

	return fab_port_states_valid(port, want) &&
	       fab_port_rates_valid(&port->info, want) &&
	       mtu <= FIELD_GET(FAB_PI_MTU_CAP,
				port->info.inittypereply_mtucap) &&
	       vls <= FIELD_GET(FAB_PI_VLCAP, port->info.vlcap_inittype);
}

/* What both kinds of port take. */
static void fab_port_info_set_link(struct fab_port *port,
				   const struct ib_port_info *want)
{
	struct ib_port_info *info = &port->info;
	u8 mtu = FIELD_GET(FAB_PI_NEIGH_MTU, want->neighbormtu_mastersmsl);
	u8 speed = FIELD_GET(FAB_PI_SPEED_EN, want->linkspeedactive_enabled);
	u8 vls = FIELD_GET(FAB_PI_OPER_VL,
			   want->operationalvl_pei_peo_fpi_fpo);

	if (mtu) {
		u8p_replace_bits(&info->neighbormtu_mastersmsl, mtu,
				 FAB_PI_NEIGH_MTU);
		WRITE_ONCE(port->mtu_bytes, ib_mtu_enum_to_int(mtu));
	}
	if (vls)
		u8p_replace_bits(&info->operationalvl_pei_peo_fpi_fpo, vls,
				 FAB_PI_OPER_VL);
	if (want->link_width_enabled == FAB_WIDTH_FROM_SUP)
		info->link_width_enabled = info->link_width_supported;
	else if (want->link_width_enabled)
		info->link_width_enabled = want->link_width_enabled;
	if (speed == FAB_SPEED_FROM_SUP)
		speed = FIELD_GET(FAB_PI_SPEED_SUP, info->linkspeed_portstate);
	if (speed)
		u8p_replace_bits(&info->linkspeedactive_enabled, speed,
				 FAB_PI_SPEED_EN);
	info->vlstallcnt_hoqlife = want->vlstallcnt_hoqlife;
	info->vl_high_limit = want->vl_high_limit;
}

/* What a port with a LID takes. */
static void fab_port_info_set_end(struct fab_port *port,
				  const struct ib_port_info *want)
{
	struct ib_port_info *info = &port->info;
	u8 sm_sl = FIELD_GET(FAB_PI_SM_SL, want->neighbormtu_mastersmsl);
	u8 old_sl = FIELD_GET(FAB_PI_SM_SL, info->neighbormtu_mastersmsl);

	fab_port_set_lid(port, be16_to_cpu(want->lid));
	fab_port_set_prefix(port, want->gid_prefix);
	fab_port_note(port, (info->mkeyprot_resv_lmc ^ want->mkeyprot_resv_lmc)
		      & FAB_PI_LMC, IB_EVENT_LID_CHANGE);
	fab_port_note(port, info->sm_lid != want->sm_lid || sm_sl != old_sl,
		      IB_EVENT_SM_CHANGE);
	fab_port_note(port, want->clientrereg_resv_subnetto & FAB_PI_REREGISTER,
		      IB_EVENT_CLIENT_REREGISTER);

	info->sm_lid = want->sm_lid;
	info->mkey = want->mkey;
	info->mkey_lease_period = want->mkey_lease_period;
	/* Only 0 can be written into these counters. */
	if (!want->mkey_violations)
		info->mkey_violations = 0;
	if (!want->pkey_violations)
		fab_violations_clear(port, FAB_VIOLATION_PKEY);
	if (!want->qkey_violations)
		fab_violations_clear(port, FAB_VIOLATION_QKEY);
	WRITE_ONCE(info->mkeyprot_resv_lmc, want->mkeyprot_resv_lmc &
		   (FAB_PI_MKEY_PROT | FAB_PI_LMC));
	u8p_replace_bits(&info->neighbormtu_mastersmsl, sm_sl, FAB_PI_SM_SL);
	info->clientrereg_resv_subnetto =
		want->clientrereg_resv_subnetto & FAB_PI_SUBNET_TO;
	u8p_replace_bits(&info->inittypereply_mtucap,
			 FIELD_GET(FAB_PI_INIT_REPLY,
				   want->inittypereply_mtucap),
			 FAB_PI_INIT_REPLY);
}

static void fab_port_info_set_state(struct fab_port *port,
				    const struct ib_port_info *want)
{
	u8 state = FIELD_GET(FAB_PI_STATE, want->linkspeed_portstate);
	u8 phys = FIELD_GET(FAB_PI_PHYS, want->portphysstate_linkdown);
	u8 def = FIELD_GET(FAB_PI_DOWN_DEFAULT, want->portphysstate_linkdown);

	if (def)
		u8p_replace_bits(&port->info.portphysstate_linkdown, def,
				 FAB_PI_DOWN_DEFAULT);
	/* The management port of a switch has no link and no state. */
	if (!port->peer)
		return;

	if (phys == FAB_PHYS_DISABLED) {
		port->phys = FAB_PHYS_DISABLED;
		fab_link_retrain(port);
	} else if (phys == FAB_PHYS_POLLING || state == IB_PORT_DOWN) {
		if (phys && port->phys == FAB_PHYS_DISABLED)
			port->phys = FAB_PHYS_POLLING;
		fab_link_retrain(port);
	} else if (state != IB_PORT_NOP) {
		fab_port_set_state(port, state);
	}
}

static __be16 fab_set_port_info(struct fab_sma_call *call)
{
	struct fab_port *port = fab_sma_port(call);
	struct ib_port_info want;

	if (!port)
		return FAB_MAD_BAD_VALUE;

	memcpy(&want, call->data, sizeof(want));
	if (!fab_port_info_valid(port, &want)) {
		fab_port_info_fill(port, call->in_port, call->data);
		return FAB_MAD_BAD_VALUE;
	}

	fab_port_info_set_link(port, &want);
	if (fab_port_is_endport(port))
		fab_port_info_set_end(port, &want);
	fab_port_info_set_state(port, &want);
	fab_port_info_fill(port, call->in_port, call->data);
	return 0;
}

/* --- Tables -------------------------------------------------------------- */

/* The block of GUIDs, of the port asked; a switch has its own GUID alone. */
static __be16 fab_get_guid_info(struct fab_sma_call *call)
{
	struct fab_port *port = fab_node_is_switch(call->node) ?
				&call->node->ports[0] : call->in_port;

	if (call->mod)
		return FAB_MAD_BAD_VALUE;

	memcpy(call->data, port->guids, sizeof(port->guids));
	return 0;
}

static __be16 fab_set_guid_info(struct fab_sma_call *call)
{
	const __be64 *want = call->data;
	struct fab_port *port = call->in_port;
	int i;

	if (call->mod || fab_node_is_switch(call->node))
		return FAB_MAD_BAD_VALUE;

	/* Entry 0 is the hardware's. */
	for (i = 1; i < fab_num_gids(port); i++)
		fab_port_set_guid(port, i, want[i]);

	return fab_get_guid_info(call);
}

/* A switch that enforces nothing has P_Keys at its management port only. */
static struct fab_port *fab_sma_pkey_port(const struct fab_sma_call *call)
{
	struct fab_port *port = call->in_port;

	if (fab_node_is_switch(call->node))
		port = call->mod >> 16 ? NULL : &call->node->ports[0];

	return port && call->mod % BIT(16) * FAB_PKEY_BLOCK <
		       fab_num_pkeys(port) ? port : NULL;
}

/* Where the block of P_Keys is; the last one may be short. */
static u16 *fab_sma_pkey_block(const struct fab_sma_call *call,
			       struct fab_port *port, unsigned int *len)
{
	unsigned int first = call->mod % BIT(16) * FAB_PKEY_BLOCK;

	*len = min_t(unsigned int, FAB_PKEY_BLOCK,
		     fab_num_pkeys(port) - first);
	return &port->pkeys[first];
}

static __be16 fab_get_pkeys(struct fab_sma_call *call)
{
	struct fab_port *port = fab_sma_pkey_port(call);
	__be16 *out = call->data;
	unsigned int i, len;
	const u16 *block;

	if (!port)
		return FAB_MAD_BAD_VALUE;

	block = fab_sma_pkey_block(call, port, &len);
	memset(out, 0, FAB_PKEY_BLOCK * sizeof(*out));
	for (i = 0; i < len; i++)
		out[i] = cpu_to_be16(block[i]);
	return 0;
}

static __be16 fab_set_pkeys(struct fab_sma_call *call)
{
	struct fab_port *port = fab_sma_pkey_port(call);
	const __be16 *want = call->data;
	unsigned int i, len;
	u16 *block;

	if (!port)
		return FAB_MAD_BAD_VALUE;

	/* What lies behind the table's end is ignored, IBA 14.2.5.7. */
	block = fab_sma_pkey_block(call, port, &len);
	for (i = 0; i < len; i++)
		fab_port_set_pkey(port, block - port->pkeys + i,
				  be16_to_cpu(want[i]));

	return fab_get_pkeys(call);
}

static u8 *fab_sma_lft_block(const struct fab_sma_call *call)
{
	if (!fab_node_is_switch(call->node) ||
	    call->mod >= FAB_LFT_SIZE / FAB_LFT_BLOCK)
		return NULL;

	return call->node->sw->lft + call->mod * FAB_LFT_BLOCK;
}

static __be16 fab_get_lft(struct fab_sma_call *call)
{
	const u8 *block = fab_sma_lft_block(call);

	if (!fab_node_is_switch(call->node))
		return FAB_MAD_BAD_ATTR;
	if (!block)
		return FAB_MAD_BAD_VALUE;

	memcpy(call->data, block, FAB_LFT_BLOCK);
	return 0;
}

static __be16 fab_set_lft(struct fab_sma_call *call)
{
	u8 *block = fab_sma_lft_block(call);
	const u8 *want = call->data;
	int i;

	for (i = 0; block && i < FAB_LFT_BLOCK; i++)
		WRITE_ONCE(block[i], want[i]);

	return fab_get_lft(call);
}

/* Modifier: block of 32 LIDs in bits 0-8, group of 16 ports in bits 28-31. */
#define FAB_MFT_MOD_BLOCK	GENMASK(8, 0)
#define FAB_MFT_MOD_POSITION	GENMASK(31, 28)

static __be16 fab_sma_mft_check(const struct fab_sma_call *call)
{
	if (!fab_node_is_switch(call->node))
		return FAB_MAD_BAD_ATTR;
	if (FIELD_GET(FAB_MFT_MOD_BLOCK, call->mod) >=
	    FAB_MFT_SIZE / FAB_MFT_BLOCK ||
	    FIELD_GET(FAB_MFT_MOD_POSITION, call->mod) >
	    call->node->num_ports / 16)
		return FAB_MAD_BAD_VALUE;

	return 0;
}

static u16 *fab_sma_mft_entry(const struct fab_sma_call *call, int i)
{
	u32 first = FIELD_GET(FAB_MFT_MOD_BLOCK, call->mod) * FAB_MFT_BLOCK;
	u32 position = FIELD_GET(FAB_MFT_MOD_POSITION, call->mod);

	return &call->node->sw->mft[first + i][position];
}

static __be16 fab_get_mft(struct fab_sma_call *call)
{
	__be16 status = fab_sma_mft_check(call);
	__be16 *out = call->data;
	int i;

	for (i = 0; !status && i < FAB_MFT_BLOCK; i++)
		out[i] = cpu_to_be16(*fab_sma_mft_entry(call, i));
	return status;
}

static __be16 fab_set_mft(struct fab_sma_call *call)
{
	__be16 status = fab_sma_mft_check(call);
	const __be16 *want = call->data;
	int i;

	for (i = 0; !status && i < FAB_MFT_BLOCK; i++)
		WRITE_ONCE(*fab_sma_mft_entry(call, i), be16_to_cpu(want[i]));
	return status;
}

/* --- Dispatch ------------------------------------------------------------ */

/* One that takes no modifier has @max_mod 0; others look themselves. */
struct fab_sma_attr {
	__be16 id;
	u32 max_mod;
	__be16 (*get)(struct fab_sma_call *call);
	__be16 (*set)(struct fab_sma_call *call);
};

static const struct fab_sma_attr fab_sma_attrs[] = {
	{ IB_SMP_ATTR_NODE_DESC, 0, fab_get_node_desc, NULL },
	{ IB_SMP_ATTR_NODE_INFO, 0, fab_get_node_info, NULL },
	{ IB_SMP_ATTR_SWITCH_INFO, 0, fab_get_switch_info,
	  fab_set_switch_info },
	{ IB_SMP_ATTR_GUID_INFO, U32_MAX, fab_get_guid_info,
	  fab_set_guid_info },
	{ IB_SMP_ATTR_PORT_INFO, U32_MAX, fab_get_port_info,
	  fab_set_port_info },
	{ IB_SMP_ATTR_PKEY_TABLE, U32_MAX, fab_get_pkeys, fab_set_pkeys },
	{ IB_SMP_ATTR_LINEAR_FORWARD_TABLE, U32_MAX, fab_get_lft,
	  fab_set_lft },
	{ IB_SMP_ATTR_MCAST_FORWARD_TABLE, U32_MAX, fab_get_mft,
	  fab_set_mft },
};

static const struct fab_sma_attr *fab_sma_find(__be16 id)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_sma_attrs); i++) {
		if (fab_sma_attrs[i].id == id)
			return &fab_sma_attrs[i];
	}

	return NULL;
}

static __be16 fab_sma_serve(struct fab_sma_call *call, const struct ib_smp *req)
{
	const struct fab_sma_attr *attr = fab_sma_find(req->attr_id);

	lockdep_assert_held(&fabric.ctl);

	if (req->base_version != IB_MGMT_BASE_VERSION ||
	    req->class_version != 1)
		return FAB_MAD_BAD_VERSION;
	if (req->method != IB_MGMT_METHOD_GET &&
	    req->method != IB_MGMT_METHOD_SET)
		return FAB_MAD_BAD_METHOD;
	if (!attr)
		return FAB_MAD_BAD_ATTR;
	if (req->method == IB_MGMT_METHOD_SET && !attr->set)
		return FAB_MAD_BAD_ATTR;
	if (call->mod > attr->max_mod)
		return FAB_MAD_BAD_VALUE;
	if (req->method == IB_MGMT_METHOD_SET)
		return attr->set(call);

	memset(call->data, 0, IB_SMP_DATA_SIZE);
	return attr->get(call);
}

static bool fab_mkey_known(const struct fab_port *end, const struct ib_smp *req)
{
	return !end->info.mkey || req->mkey == end->info.mkey;
}

/* When a lease is over anybody may read the M_Key, to take over. */
static void fab_mkey_expire(struct fab_port *end)
{
	if (!end->mkey_leased || time_before(jiffies, end->mkey_expires))
		return;

	end->mkey_leased = false;
	u8p_replace_bits(&end->info.mkeyprot_resv_lmc, 0, FAB_PI_MKEY_PROT);
}

/* A violation begins the lease, a period of 0 has no end. */
static void fab_mkey_violate(struct fab_port *end)
{
	struct ib_port_info *info = &end->info;
	u16 seconds = be16_to_cpu(info->mkey_lease_period);

	if (info->mkey_violations != cpu_to_be16(U16_MAX))
		be16_add_cpu(&info->mkey_violations, 1);
	if (end->mkey_leased || !seconds)
		return;

	end->mkey_leased = true;
	end->mkey_expires = jiffies + seconds * HZ;
}

/* IBA 14.2.4: who may read or write a port that has an M_Key. */
static bool fab_mkey_allows(struct fab_port *end, const struct ib_smp *req)
{
	fab_mkey_expire(end);
	if (fab_mkey_known(end, req)) {
		end->mkey_leased = false;
		return true;
	}
	if (req->method == IB_MGMT_METHOD_GET &&
	    FIELD_GET(FAB_PI_MKEY_PROT, end->info.mkeyprot_resv_lmc) <
	    FAB_MKEY_PROT_READ)
		return true;

	fab_mkey_violate(end);
	return false;
}

static void fab_sma_publish(struct fab_node *node)
{
	unsigned int num;

	for (num = 0; num <= node->num_ports; num++) {
		struct fab_port *port = &node->ports[num];

		fab_news_publish(port);
		if (port->peer)
			fab_news_publish(port->peer);
	}
}

/**
 * fab_sma_answer - serve a Get or Set of the subnet management classes
 * @in_port: port it came in by; port 0 of a switch for one from inside
 * @req: the request
 * @resp: the answer, a GetResp
 * @trusted: do not ask for the M_Key
 *
 * Context: any.
 * Return: false when there is to be no answer, as the M_Key is wrong.
 */
bool fab_sma_answer(struct fab_port *in_port, const struct ib_smp *req,
		    struct ib_smp *resp, bool trusted)
{
	struct fab_node *node = in_port->node;
	struct fab_port *end = fab_node_is_switch(node) ? &node->ports[0] :
							  in_port;
	struct fab_sma_call call = {
		.node = node,
		.in_port = in_port,
		.mod = be32_to_cpu(req->attr_mod),
		.data = resp->data,
	};
	unsigned long flags;
	bool allowed;

	*resp = *req;
	spin_lock_irqsave(&fabric.ctl, flags);
	allowed = trusted || fab_mkey_allows(end, req);
	call.hide_mkey = !trusted && !fab_mkey_known(end, req) &&
			 FIELD_GET(FAB_PI_MKEY_PROT,
				   end->info.mkeyprot_resv_lmc);
	if (allowed)
		resp->status = fab_sma_serve(&call, req);
	spin_unlock_irqrestore(&fabric.ctl, flags);
	if (!allowed)
		return false;

	resp->base_version = IB_MGMT_BASE_VERSION;
	resp->method = IB_MGMT_METHOD_GET_RESP;
	if (fab_smp_is_directed(req))
		resp->status |= IB_SMP_DIRECTION;
	if (req->method == IB_MGMT_METHOD_SET)
		fab_sma_publish(node);
	return true;
}

/* --- ib_mad -------------------------------------------------------------- */

/* SMInfo belongs to the subnet manager, if one runs behind this port. */
static bool fab_sma_is_sminfo(const struct ib_mad *in)
{
	return in->mad_hdr.attr_id == IB_SMP_ATTR_SM_INFO;
}

static bool fab_port_has_sm(const struct fab_port *port)
{
	return READ_ONCE(port->info.cap_mask) & cpu_to_be32(IB_PORT_SM);
}

static int fab_sma_request(struct fab_port *port, int flags,
			   const struct ib_mad *in, struct ib_mad *out)
{
	if (fab_sma_is_sminfo(in) && fab_port_has_sm(port))
		return IB_MAD_RESULT_SUCCESS;
	if (!fab_sma_answer(port, (const struct ib_smp *)in,
			    (struct ib_smp *)out, flags & IB_MAD_IGNORE_MKEY))
		return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_CONSUMED;

	return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_REPLY;
}

/**
 * fab_sma_process_mad - ib_mad asks whether the HCA itself answers a MAD
 * @ibdev: the HCA
 * @flags: IB_MAD_IGNORE_MKEY or 0
 * @port_num: port the MAD came in by
 * @in_wc: its completion, NULL when ib_core itself asks
 * @in_grh: its GRH, or NULL
 * @in: the MAD
 * @out: the answer
 * @out_size: bytes of the answer, 256 already
 * @out_pkey_index: P_Key of the answer
 *
 * Context: any; ib_mad calls it with local packets from inside a send.
 * Return: IB_MAD_RESULT_*. What we do not answer goes up: to OpenSM, or to
 * ib_mad, which says "unsupported".
 */
int fab_sma_process_mad(struct ib_device *ibdev, int flags, u32 port_num,
			const struct ib_wc *in_wc, const struct ib_grh *in_grh,
			const struct ib_mad *in, struct ib_mad *out,
			size_t *out_size, u16 *out_pkey_index)
{
	struct fab_node *node = to_fab_hca(ibdev)->node;

	if (in->mad_hdr.mgmt_class == IB_MGMT_CLASS_PERF_MGMT)
		return fab_pma_answer(&node->ports[port_num], in, out) ?
		       IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_REPLY :
		       IB_MAD_RESULT_SUCCESS;
	if (in->mad_hdr.mgmt_class != IB_MGMT_CLASS_SUBN_LID_ROUTED &&
	    in->mad_hdr.mgmt_class != IB_MGMT_CLASS_SUBN_DIRECTED_ROUTE)
		return IB_MAD_RESULT_SUCCESS;

	/* Our HCAs send no traps: nobody waits for it. */
	if (in->mad_hdr.method == IB_MGMT_METHOD_TRAP_REPRESS)
		return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_CONSUMED;
	if (!fab_mad_is_request(&in->mad_hdr))
		return IB_MAD_RESULT_SUCCESS;

	return fab_sma_request(&node->ports[port_num], flags, in, out);
}
