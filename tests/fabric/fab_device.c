// SPDX-License-Identifier: GPL-2.0
/*
 * What does ib_core see of an HCA?
 *
 * Order of this file: what can be asked, what can be set, protection domains
 * and address handles, plugging.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <rdma/ib_cache.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* --- What can be asked --------------------------------------------------- */

static int fab_query_device(struct ib_device *ibdev,
			    struct ib_device_attr *attr, struct ib_udata *udata)
{
	struct fab_node *node = to_fab_hca(ibdev)->node;

	attr->fw_ver = 1ULL << 32;
	attr->sys_image_guid = node->guid;
	attr->max_mr_size = ~0ULL;
	attr->page_size_cap = PAGE_SIZE;
	attr->vendor_id = 0x02fab0;
	attr->vendor_part_id = node->type;
	attr->hw_ver = 1;
	attr->max_qp = FAB_MAX_QP;
	attr->max_qp_wr = node->shape.max_wr;
	if (node->shape.local_lkey)
		attr->kernel_cap_flags |= IBK_LOCAL_DMA_LKEY;
	if (node->shape.mcast_loopback)
		attr->kernel_cap_flags |= IBK_BLOCK_MULTICAST_LOOPBACK;
	if (node->shape.vf)
		attr->kernel_cap_flags |= IBK_VIRTUAL_FUNCTION;
	/* Both speak of IPv4; there is no bit for IPv6: see fab_offload.c. */
	if (node->shape.csum & FAB_FAMILY_IPV4)
		attr->device_cap_flags |= IB_DEVICE_UD_IP_CSUM;
	if (node->shape.lso & FAB_FAMILY_IPV4)
		attr->kernel_cap_flags |= IBK_UD_TSO;
	attr->max_send_sge = node->shape.sg;
	attr->max_recv_sge = FAB_MAX_SGE;
	attr->max_cq = FAB_MAX_CQ;
	attr->max_cqe = FAB_MAX_CQE;
	attr->max_mr = FAB_LOCAL_LKEY - 1;
	attr->max_pd = INT_MAX;
	attr->max_ah = INT_MAX;
	attr->max_mcast_grp = INT_MAX;
	attr->max_mcast_qp_attach = INT_MAX;
	attr->max_total_mcast_qp_attach = INT_MAX;
	attr->max_pkeys = node->shape.pkeys;
	return 0;
}

static void fab_query_port_info(const struct fab_port *port,
				struct ib_port_attr *attr)
{
	const struct ib_port_info *info = &port->info;

	attr->port_cap_flags = be32_to_cpu(info->cap_mask);
	attr->subnet_prefix = be64_to_cpu(port->prefix);
	attr->sm_lid = be16_to_cpu(info->sm_lid);
	attr->lmc = FIELD_GET(FAB_PI_LMC, info->mkeyprot_resv_lmc);
	attr->sm_sl = FIELD_GET(FAB_PI_SM_SL, info->neighbormtu_mastersmsl);
	attr->max_mtu = FIELD_GET(FAB_PI_MTU_CAP, info->inittypereply_mtucap);
	attr->active_mtu = FIELD_GET(FAB_PI_NEIGH_MTU,
				     info->neighbormtu_mastersmsl);
	attr->max_vl_num = FIELD_GET(FAB_PI_VLCAP, info->vlcap_inittype);
	attr->init_type_reply = FIELD_GET(FAB_PI_INIT_REPLY,
					  info->inittypereply_mtucap);
	attr->subnet_timeout = FIELD_GET(FAB_PI_SUBNET_TO,
					 info->clientrereg_resv_subnetto);
	attr->active_width = info->link_width_active;
	attr->active_speed = FIELD_GET(FAB_PI_SPEED_ACT,
				       info->linkspeedactive_enabled);
	attr->bad_pkey_cntr = fab_port_violations(port, FAB_VIOLATION_PKEY);
	attr->qkey_viol_cntr = fab_port_violations(port, FAB_VIOLATION_QKEY);
}

static int fab_query_port(struct ib_device *ibdev, u32 port_num,
			  struct ib_port_attr *attr)
{
	struct fab_port *port = &to_fab_hca(ibdev)->node->ports[port_num];
	unsigned long flags;
	int err;

	err = fab_command_refused(to_fab_hca(ibdev), FAB_VERB_QUERY_PORT, 0);
	if (err)
		return err;

	spin_lock_irqsave(&fabric.ctl, flags);
	fab_query_port_info(port, attr);
	attr->state = port->state;
	attr->phys_state = port->phys;
	attr->lid = port->lid;
	spin_unlock_irqrestore(&fabric.ctl, flags);

	attr->phys_mtu = ib_mtu_enum_to_int(attr->max_mtu);
	attr->gid_tbl_len = fab_num_gids(port);
	attr->pkey_tbl_len = fab_num_pkeys(port);
	attr->max_msg_sz = BIT(31);
	return 0;
}

static enum fab_protocol fab_protocol(struct ib_device *ibdev, u32 port_num)
{
	const struct fab_shape *shape = &to_fab_hca(ibdev)->node->shape;

	return port_num == 1 ? shape->port1 : shape->port2;
}

static enum rdma_link_layer fab_get_link_layer(struct ib_device *ibdev,
					       u32 port_num)
{
	return fab_protocol(ibdev, port_num) == FAB_PROTOCOL_IB ?
		IB_LINK_LAYER_INFINIBAND : IB_LINK_LAYER_ETHERNET;
}

static int fab_get_port_immutable(struct ib_device *ibdev, u32 port_num,
				  struct ib_port_immutable *immutable)
{
	static const u32 caps[] = {
		[FAB_PROTOCOL_IB] = RDMA_CORE_PORT_IBA_IB,
		[FAB_PROTOCOL_ROCE] = RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP,
		[FAB_PROTOCOL_IWARP] = RDMA_CORE_PORT_IWARP,
	};
	const struct fab_shape *shape = &to_fab_hca(ibdev)->node->shape;

	immutable->pkey_tbl_len = shape->pkeys;
	immutable->gid_tbl_len = shape->guids;
	immutable->core_cap_flags = caps[fab_protocol(ibdev, port_num)];
	if (immutable->core_cap_flags & RDMA_CORE_CAP_IB_MAD)
		immutable->max_mad_size = IB_MGMT_MAD_SIZE;
	return 0;
}

/**
 * fab_port_gid - an entry of a port's GID table
 * @port: the port
 * @index: below fab_num_gids()
 * @gid: all zero when the entry is empty
 */
void fab_port_gid(const struct fab_port *port, unsigned int index,
		  union ib_gid *gid)
{
	__be64 guid = READ_ONCE(port->guids[index]);

	gid->global.subnet_prefix = guid ? READ_ONCE(port->prefix) : 0;
	gid->global.interface_id = guid;
}

static int fab_query_gid(struct ib_device *ibdev, u32 port_num, int index,
			 union ib_gid *gid)
{
	const struct fab_port *port = &to_fab_hca(ibdev)->node->ports[port_num];
	int err;

	err = fab_command_refused(to_fab_hca(ibdev), FAB_VERB_QUERY_GID, 0);
	if (err)
		return err;
	if (index >= fab_num_gids(port))
		return -EINVAL;

	fab_port_gid(port, index, gid);
	return 0;
}

static int fab_query_pkey(struct ib_device *ibdev, u32 port_num, u16 index,
			  u16 *pkey)
{
	const struct fab_port *port = &to_fab_hca(ibdev)->node->ports[port_num];
	int err;

	err = fab_command_refused(to_fab_hca(ibdev), FAB_VERB_QUERY_PKEY, 0);
	if (err)
		return err;
	if (index >= fab_num_pkeys(port))
		return -EINVAL;

	*pkey = READ_ONCE(port->pkeys[index]);
	return 0;
}

static void fab_get_dev_fw_str(struct ib_device *ibdev, char *str)
{
	snprintf(str, IB_FW_VERSION_NAME_MAX, "1.0.0");
}

static ssize_t hw_rev_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "1\n");
}

static ssize_t hca_type_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "fabric\n");
}

static ssize_t board_id_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "software\n");
}

static DEVICE_ATTR_RO(hw_rev);
static DEVICE_ATTR_RO(hca_type);
static DEVICE_ATTR_RO(board_id);

/* What ibstat prints of a device. */
static struct attribute *fab_device_attrs[] = {
	&dev_attr_hw_rev.attr,
	&dev_attr_hca_type.attr,
	&dev_attr_board_id.attr,
	NULL,
};

static const struct attribute_group fab_device_group = {
	.attrs = fab_device_attrs,
};

/* --- What can be set ----------------------------------------------------- */

static int fab_modify_device(struct ib_device *ibdev, int mask,
			     struct ib_device_modify *modify)
{
	struct fab_node *node = to_fab_hca(ibdev)->node;
	unsigned long flags;

	if (mask & ~IB_DEVICE_MODIFY_NODE_DESC)
		return -EOPNOTSUPP;
	if (!(mask & IB_DEVICE_MODIFY_NODE_DESC))
		return 0;

	spin_lock_irqsave(&fabric.ctl, flags);
	memcpy(node->desc, modify->node_desc, sizeof(node->desc));
	memcpy(ibdev->node_desc, modify->node_desc, sizeof(node->desc));
	spin_unlock_irqrestore(&fabric.ctl, flags);
	return 0;
}

/* A subnet manager that opens issmN says so in the capabilities. */
static int fab_modify_port(struct ib_device *ibdev, u32 port_num, int mask,
			   struct ib_port_modify *modify)
{
	struct fab_port *port = &to_fab_hca(ibdev)->node->ports[port_num];
	unsigned long flags;
	u32 caps;

	spin_lock_irqsave(&fabric.ctl, flags);
	caps = be32_to_cpu(port->info.cap_mask);
	caps |= modify->set_port_cap_mask;
	caps &= ~modify->clr_port_cap_mask;
	WRITE_ONCE(port->info.cap_mask, cpu_to_be32(caps));
	spin_unlock_irqrestore(&fabric.ctl, flags);
	return 0;
}

/* --- Protection domains and address handles ------------------------------ */

static int fab_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	return fab_command_refused(to_fab_hca(ibpd->device), FAB_VERB_ALLOC_PD,
				   0);
}

static int fab_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	return fab_command(to_fab_hca(ibpd->device), FAB_VERB_DEALLOC_PD, 0);
}

/* Address handles are made and destroyed in any context. */
static void fab_ah_add(struct fab_ah *ah)
{
	struct fab_hca *hca = to_fab_hca(ah->ibah.device);
	unsigned long flags;

	spin_lock_irqsave(&hca->ah_lock, flags);
	list_add_tail(&ah->entry, &hca->ahs);
	spin_unlock_irqrestore(&hca->ah_lock, flags);
}

static void fab_ah_del(struct fab_ah *ah)
{
	struct fab_hca *hca = to_fab_hca(ah->ibah.device);
	unsigned long flags;

	spin_lock_irqsave(&hca->ah_lock, flags);
	list_del(&ah->entry);
	spin_unlock_irqrestore(&hca->ah_lock, flags);
}

static int fab_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *init,
			 struct ib_udata *udata)
{
	const struct rdma_ah_attr *attr = init->ah_attr;
	const struct ib_global_route *grh = rdma_ah_read_grh(attr);
	struct fab_ah *ah = to_fab_ah(ibah);
	int err;

	if (READ_ONCE(to_fab_hca(ibah->device)->dead))
		return -EIO;
	err = fab_verb_fault(to_fab_hca(ibah->device), FAB_VERB_CREATE_AH, 0);
	if (err)
		return err;
	if (attr->type != RDMA_AH_ATTR_TYPE_IB || !rdma_ah_get_dlid(attr))
		return -EINVAL;

	ah->dlid = rdma_ah_get_dlid(attr);
	ah->sl = rdma_ah_get_sl(attr);
	ah->path_bits = rdma_ah_get_path_bits(attr);
	ah->port_num = rdma_ah_get_port_num(attr);
	ah->has_grh = rdma_ah_get_ah_flags(attr) & IB_AH_GRH;
	if (!ah->has_grh) {
		fab_ah_add(ah);
		return 0;
	}
	if (grh->sgid_index >= to_fab_hca(ibah->device)->node->shape.guids)
		return -EINVAL;

	ah->sgid_index = grh->sgid_index;
	ah->traffic_class = grh->traffic_class;
	ah->hop_limit = grh->hop_limit;
	ah->flow_label = grh->flow_label;
	ah->dgid = grh->dgid;
	fab_ah_add(ah);
	return 0;
}

static int fab_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr)
{
	struct fab_ah *ah = to_fab_ah(ibah);

	memset(attr, 0, sizeof(*attr));
	attr->type = RDMA_AH_ATTR_TYPE_IB;
	rdma_ah_set_dlid(attr, ah->dlid);
	rdma_ah_set_sl(attr, ah->sl);
	rdma_ah_set_path_bits(attr, ah->path_bits);
	rdma_ah_set_port_num(attr, ah->port_num);
	if (ah->has_grh)
		rdma_ah_set_grh(attr, &ah->dgid, ah->flow_label,
				ah->sgid_index, ah->hop_limit,
				ah->traffic_class);
	return 0;
}

/* The hardware reads an address vector when it sends, and not before. */
static int fab_destroy_ah(struct ib_ah *ibah, u32 flags)
{
	if (!atomic_read(&to_fab_ah(ibah)->in_use)) {
		fab_ah_del(to_fab_ah(ibah));
		return 0;
	}

	fab_misuse(to_fab_hca(ibah->device), FAB_MISUSE_AH_BUSY,
		   "an address handle was destroyed under a posted send");
	return -EBUSY;
}

/* --- Plugging ------------------------------------------------------------ */

/*
 * User programs map nothing of the HCA, so there is nothing to take away from
 * them. ib_core moves a device to another network namespace only if it has
 * this.
 */
static void fab_disassociate_ucontext(struct ib_ucontext *ucontext)
{
}

static const struct ib_device_ops fab_device_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.device_group = &fab_device_group,
	.alloc_pd = fab_alloc_pd,
	.attach_mcast = fab_mcast_attach,
	.create_ah = fab_create_ah,
	.create_cq = fab_cq_create,
	.create_qp = fab_qp_create,
	.dealloc_pd = fab_dealloc_pd,
	.dereg_mr = fab_mr_dereg,
	.destroy_ah = fab_destroy_ah,
	.destroy_cq = fab_cq_destroy,
	.destroy_qp = fab_qp_destroy,
	.detach_mcast = fab_mcast_detach,
	.disassociate_ucontext = fab_disassociate_ucontext,
	.get_dev_fw_str = fab_get_dev_fw_str,
	.get_dma_mr = fab_mr_get_dma,
	.get_link_layer = fab_get_link_layer,
	.get_port_immutable = fab_get_port_immutable,
	.modify_cq = fab_cq_modify,
	.modify_device = fab_modify_device,
	.modify_port = fab_modify_port,
	.modify_qp = fab_qp_modify,
	.poll_cq = fab_cq_poll,
	.post_recv = fab_qp_post_recv,
	.post_send = fab_qp_post_send,
	.process_mad = fab_sma_process_mad,
	.query_ah = fab_query_ah,
	.query_device = fab_query_device,
	.query_gid = fab_query_gid,
	.query_pkey = fab_query_pkey,
	.query_port = fab_query_port,
	.query_qp = fab_qp_query,
	.reg_user_mr = fab_mr_reg_user,
	.req_notify_cq = fab_cq_arm,
	INIT_RDMA_OBJ_SIZE(ib_ah, fab_ah, ibah),
	INIT_RDMA_OBJ_SIZE(ib_cq, fab_cq, ibcq),
	INIT_RDMA_OBJ_SIZE(ib_pd, fab_pd, ibpd),
	INIT_RDMA_OBJ_SIZE(ib_qp, fab_qp_handle, ibqp),
};

static void fab_links_update(struct fab_node *node)
{
	unsigned long flags;
	unsigned int num;

	for (num = 1; num <= node->num_ports; num++) {
		struct fab_port *port = &node->ports[num];

		spin_lock_irqsave(&fabric.ctl, flags);
		fab_link_update(port);
		spin_unlock_irqrestore(&fabric.ctl, flags);
		fab_news_publish(port);
		if (port->peer)
			fab_news_publish(port->peer);
	}
}

static struct fab_hca *fab_hca_alloc(struct fab_node *node)
{
	struct fab_hca *hca = ib_alloc_device(fab_hca, ibdev);

	if (!hca)
		return NULL;

	hca->node = node;
	xa_init_flags(&hca->qps, XA_FLAGS_ALLOC);
	xa_init_flags(&hca->cqs, XA_FLAGS_ALLOC);
	xa_init_flags(&hca->mrs, XA_FLAGS_ALLOC);
	spin_lock_init(&hca->ah_lock);
	INIT_LIST_HEAD(&hca->ahs);
	hca->ibdev.node_type = RDMA_NODE_IB_CA;
	hca->ibdev.node_guid = node->guid;
	memcpy(hca->ibdev.node_desc, node->desc, sizeof(node->desc));
	hca->ibdev.phys_port_cnt = node->num_ports;
	hca->ibdev.num_comp_vectors = node->shape.vectors;
	if (node->shape.local_lkey)
		hca->ibdev.local_dma_lkey = FAB_LOCAL_LKEY;
	ib_set_device_ops(&hca->ibdev, &fab_device_ops);
	/* ib_core reads a missing operation as "not supported". */
	if (!node->shape.modify_cq)
		hca->ibdev.ops.modify_cq = NULL;
	fab_vfs_offer(hca);
	fab_netdev_offer(hca);
	return hca;
}

static void fab_hca_free(struct fab_hca *hca)
{
	xa_destroy(&hca->qps);
	xa_destroy(&hca->cqs);
	xa_destroy(&hca->mrs);
	fab_netdev_withdraw(hca);
	ib_dealloc_device(&hca->ibdev);
}

/* ib_core wants to know the netdev of such a port; none is there for it. */
static int fab_netdevs_name(struct fab_hca *hca)
{
	u32 num;
	int err;

	for (num = 1; num <= hca->node->num_ports; num++) {
		if (fab_protocol(&hca->ibdev, num) != FAB_PROTOCOL_IWARP)
			continue;
		err = ib_device_set_netdev(&hca->ibdev, init_net.loopback_dev,
					   num);
		if (err)
			return err;
	}

	return 0;
}

/**
 * fab_hca_plug - make the ib_device of a node and bring its links up
 * @node: node of type CA without a device
 *
 * Context: may sleep; the node's plug mutex is held.
 * Return: 0 or what ib_core says.
 */
int fab_hca_plug(struct fab_node *node)
{
	struct fab_hca *hca;
	int err;

	lockdep_assert_held(&node->plug);

	hca = fab_hca_alloc(node);
	if (!hca)
		return -ENOMEM;

	hca->parent = fab_parent_create(node);
	if (IS_ERR(hca->parent)) {
		err = PTR_ERR(hca->parent);
		goto err_free;
	}
	hca->ibdev.dev.parent = hca->parent;
	err = fab_dma_create(hca);
	if (err)
		goto err_parent;

	err = fab_netdevs_name(hca);
	if (err)
		goto err_dma;

	/* ib_mad makes and uses QP0 and QP1 during registration. */
	rcu_assign_pointer(node->hca, hca);
	err = ib_register_device(&hca->ibdev, node->name,
				 hca->dma ? &hca->dma->dev : NULL);
	if (err)
		goto err_withdraw;

	WRITE_ONCE(hca->listening, true);
	fab_links_update(node);
	return 0;

err_withdraw:
	RCU_INIT_POINTER(node->hca, NULL);
	synchronize_rcu();
err_dma:
	fab_dma_destroy(hca);
err_parent:
	fab_parent_destroy(hca->parent);
err_free:
	fab_hca_free(hca);
	return err;
}

/**
 * fab_hca_die - an HCA is torn out: what is left of it until it is unplugged
 * @hca: the HCA
 *
 * Its links drop first, then every posted request comes back flushed and the
 * clients hear IB_EVENT_DEVICE_FATAL. From then on nothing can be made on it,
 * what is there can only be stopped and destroyed. That is how the drivers of
 * real HCAs present one that does not answer any more.
 * Context: may sleep; the node's plug mutex is held.
 */
void fab_hca_die(struct fab_hca *hca)
{
	struct ib_event event = {
		.device = &hca->ibdev,
		.event = IB_EVENT_DEVICE_FATAL,
	};

	lockdep_assert_held(&hca->node->plug);

	spin_lock_irq(&fabric.ctl);
	WRITE_ONCE(hca->dead, true);
	spin_unlock_irq(&fabric.ctl);
	fab_links_update(hca->node);
	fab_qps_flush(hca);
	fab_event_raised(&hca->node->events, event.event);
	ib_dispatch_event(&event);
}

/* Its next start is that of a card nobody has configured. */
static void fab_ports_power_off(struct fab_node *node)
{
	unsigned int num;

	spin_lock_irq(&fabric.ctl);
	for (num = 1; num <= node->num_ports; num++)
		fab_sma_port_init(&node->ports[num]);
	spin_unlock_irq(&fabric.ctl);
}

/**
 * fab_hca_unplug - take the ib_device of a node away, then its links
 * @node: node of type CA
 *
 * The links stay up until the last client has gone, so that it can take its
 * leave of the subnet manager, as with a driver that is unloaded.
 * Context: may sleep; the node's plug mutex is held.
 */
void fab_hca_unplug(struct fab_node *node)
{
	struct fab_hca *hca = rcu_dereference_protected(node->hca,
					lockdep_is_held(&node->plug));

	if (!hca)
		return;

	WRITE_ONCE(hca->listening, false);
	/*
	 * No event is being dispatched after this, and no completion held back:
	 * clients that wait for one are to go.
	 */
	synchronize_rcu();
	rcu_read_lock();
	fab_cqs_release(hca);
	rcu_read_unlock();
	ib_unregister_device(&hca->ibdev);
	RCU_INIT_POINTER(node->hca, NULL);
	fab_links_update(node);
	fab_ports_power_off(node);
	fab_vfs_power_off(node);
	/* No packet is looking for a queue pair after this. */
	synchronize_rcu();
	fab_dma_destroy(hca);
	fab_parent_destroy(hca->parent);
	fab_hca_free(hca);
}
