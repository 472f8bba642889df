// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which interface is this, and what may be asked of it?
 *
 * Module, ib_client, netdev tables, policy of address, MTU and mode, and the
 * interface's sysfs files. In what state its link is, ipoib_link.c knows. No
 * packet comes by here, and no verb is called but what asks a port about
 * itself.
 *
 * Stages: parameters, netdev tables, mode and sysfs, interface set-up, finding
 * an interface, client, notifier, module.
 */
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/hashtable.h>
#include <linux/in6.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include <net/addrconf.h>
#include <net/net_namespace.h>
#include <net/pkt_sched.h>
#include <net/rtnetlink.h>

#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#include "ipoib.h"

#define CREATE_TRACE_POINTS
#include "ipoib_trace.h"

MODULE_DESCRIPTION("IP over InfiniBand");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_ALIAS_RTNL_LINK("ipoib");

/* a transmit queue that does not move for this long is stuck */
#define IPOIB_WATCHDOG_MS	10000

struct ib_sa_client ipoib_sa_client;

/* ---- parameters ---- */

int ipoib_recv_queue_size = 512;
module_param_named(recv_queue_size, ipoib_recv_queue_size, int, 0444);
MODULE_PARM_DESC(recv_queue_size, "Entries of the receive ring, a power of two");

int ipoib_send_queue_size = 512;
module_param_named(send_queue_size, ipoib_send_queue_size, int, 0444);
MODULE_PARM_DESC(send_queue_size,
		 "Entries of each transmit ring, a power of two");

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG)
int ipoib_debug_level;
module_param_named(debug_level, ipoib_debug_level, int, 0644);
MODULE_PARM_DESC(debug_level, "Print debugging messages when above 0");

int ipoib_mcast_debug_level;
module_param_named(mcast_debug_level, ipoib_mcast_debug_level, int, 0644);
MODULE_PARM_DESC(mcast_debug_level,
		 "Print debugging messages about multicast when above 0");
#endif

#if IS_ENABLED(CONFIG_INFINIBAND_IPOIB_DEBUG_DATA)
int ipoib_data_debug_level;
module_param_named(data_debug_level, ipoib_data_debug_level, int, 0644);
MODULE_PARM_DESC(data_debug_level,
		 "Print debugging messages about each packet when above 0");
#endif

static int ipoib_param_set(const char *text, const struct kernel_param *kp)
{
	struct ipoib_param *param = kp->arg;
	unsigned int value;

	if (kstrtouint(text, 0, &value) || value < param->min ||
	    value > param->max) {
		pr_info("%s is out of range (%u-%u)\n", kp->name, param->min,
			param->max);
		return -EINVAL;
	}

	WRITE_ONCE(param->value, value);
	return 0;
}

static int ipoib_param_get(char *text, const struct kernel_param *kp)
{
	return sysfs_emit(text, "%u\n", ipoib_param_value(kp->arg));
}

const struct kernel_param_ops ipoib_param_ops = {
	.set = ipoib_param_set,
	.get = ipoib_param_get,
};

static void ipoib_ring_param(const char *name, int *value, u32 least)
{
	u32 size = ipoib_ring_size(*value, least, IPOIB_RING_MOST);

	if (size != *value)
		pr_info("%s=%d becomes %u, a power of two from %u to %u\n",
			name, *value, size, least, IPOIB_RING_MOST);
	*value = size;
}

/* ---- netdev tables ---- */

/*
 * Where a processor cannot interrupt itself, as on PREEMPT_RT and User Mode
 * Linux, each table takes a grace period: of many interfaces that go together
 * those are waited for together, without RTNL.
 */
static struct workqueue_struct *ipoib_teardown;

/* tables are little work and much waiting */
#define IPOIB_TEARDOWN_MOST	64

/*
 * For what must not run in its caller's context: a sysfs store may not wait for
 * RTNL and references, and a process that is being killed cannot add an HCA.
 */
struct workqueue_struct *ipoib_unbound_wq;

static void ipoib_tables_work(struct work_struct *work)
{
	struct ipoib_dev *ipd = container_of(work, struct ipoib_dev,
					     tables_work);

	ipoib_mcast_destroy(ipd);
	ipoib_resolve_destroy(ipd);
}

/* The transport must be gone: address handles may be destroyed only then. */
static void ipoib_exit_tables(struct ipoib_dev *ipd)
{
	cancel_delayed_work_sync(&ipd->link.poll_work);
	if (ipd->has_tables) {
		ipoib_mcast_exit(ipd);
		ipoib_resolve_exit(ipd);
		queue_work(ipoib_teardown, &ipd->tables_work);
	}
	cancel_work_sync(&ipd->link.work);
	destroy_workqueue(ipd->wq);
}

static int ipoib_init(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int err;

	ipd->pd = ib_alloc_pd(ipd->ibdev, 0);
	if (IS_ERR(ipd->pd))
		return PTR_ERR(ipd->pd);

	/* a rescuer for each of many children would be most of their cost */
	err = -ENOMEM;
	ipd->wq = alloc_ordered_workqueue("ipoib_%s", ipd->parent ? 0 :
					  WQ_MEM_RECLAIM, dev->name);
	if (!ipd->wq)
		goto err_dealloc_pd;

	err = ipoib_identity_init(ipd);
	if (err)
		goto err_exit_tables;

	err = ipd->lower->ndo_init(dev);
	if (err)
		goto err_exit_tables;

	return 0;

err_exit_tables:
	ipoib_exit_tables(ipd);
err_dealloc_pd:
	ib_dealloc_pd(ipd->pd);
	return err;
}

static void ipoib_uninit(struct net_device *dev)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->parent)
		ipoib_child_unlist(ipd);
	ipoib_link_cancel(ipd);
	ipd->lower->ndo_uninit(dev);
	ipoib_exit_tables(ipd);
	if (!ipd->ud.kept)
		ib_dealloc_pd(ipd->pd);
}

static int ipoib_set_rx_mode(struct net_device *dev,
			     struct netdev_hw_addr_list *uc,
			     struct netdev_hw_addr_list *mc)
{
	/* the work reads the list itself, as when nothing calls here */
	ipoib_mcast_sync_later(ipoib_from_netdev(dev));
	return 0;
}

/* An accelerated driver re-creates its rings for this: no carrier meanwhile. */
static int ipoib_lower_change_mtu(struct ipoib_dev *ipd, int mtu_bytes)
{
	bool carrier = netif_carrier_ok(ipd->netdev);
	int err;

	netif_carrier_off(ipd->netdev);
	err = ipd->lower->ndo_change_mtu(ipd->netdev, mtu_bytes);
	if (carrier)
		ipoib_link_carrier_on(ipd);

	return err;
}

/*
 * What does not fit the group is taken down to it without an error: network
 * scripts set 4092 without looking.
 */
static int ipoib_change_mtu(struct net_device *dev, int new_mtu)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	int most = ipoib_ud_mtu_bytes(ipd->max_ib_mtu);
	int mtu_bytes = new_mtu;
	int err = 0;

	if (new_mtu < IPOIB_MIN_MTU_BYTES || new_mtu > most) {
		ipoib_info(ipd, "MTU %d refused: the port can carry %d to %d\n",
			   new_mtu, IPOIB_MIN_MTU_BYTES, most);
		return -EINVAL;
	}

	if (ipd->group_mtu)
		mtu_bytes = min_t(int, new_mtu, ipd->group_mtu);
	if (mtu_bytes != new_mtu)
		ipoib_info(ipd, "MTU %d is more than the broadcast group's %d\n",
			   new_mtu, mtu_bytes);

	if (ipd->lower->ndo_change_mtu)
		err = ipoib_lower_change_mtu(ipd, mtu_bytes);
	else
		WRITE_ONCE(dev->mtu, mtu_bytes);
	if (!err)
		ipd->admin_mtu = new_mtu;

	return err;
}

static void ipoib_tx_timeout(struct net_device *dev, unsigned int queue)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct rdma_netdev *rn = ipoib_rn(ipd);

	if (rn->tx_timeout) {
		rn->tx_timeout(dev, queue);
		return;
	}

	netdev_warn(dev, "transmit queue %u is stuck\n", queue);
	ipoib_ud_ails(ipd, queue);
}

/* Children that have no GUID of their own have their parent's. */
static void ipoib_set_guids(struct ipoib_dev *ipd, __be64 guid)
{
	struct ipoib_dev *child = NULL;

	ipoib_identity_set_guid(ipd, guid);
	while ((child = ipoib_child_next(ipd, child)))
		if (!child->own_guid)
			ipoib_identity_set_guid(child, guid);
}

/* Only the GUID is the user's; flags, queue pair and subnet prefix are not. */
static int ipoib_set_mac_address(struct net_device *dev, void *addr)
{
	const u8 *data = addr + offsetof(struct sockaddr, sa_data);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	struct ipoib_hwaddr ha;
	union ib_gid gid, first;

	if (ipd->ibdev->attrs.kernel_cap_flags & IBK_VIRTUAL_FUNCTION) {
		ipoib_info(ipd, "address refused: that of a virtual function is set at its physical one\n");
		return -EOPNOTSUPP;
	}
	if (!(dev->priv_flags & IFF_LIVE_ADDR_CHANGE) && netif_running(dev)) {
		ipoib_info(ipd, "address refused: it does not change while the interface is up\n");
		return -EBUSY;
	}

	/* longer than the struct says: the core has looked at addr_len */
	memcpy(&ha, data, sizeof(ha));
	gid = ipoib_hwaddr_gid(&ha);
	if (memcmp(&ha, dev->dev_addr, IPOIB_HWADDR_GUID_AT) ||
	    !gid.global.interface_id) {
		ipoib_info(ipd, "address refused: only the GUID, its last 8 bytes, may change, and not to 0\n");
		return -EINVAL;
	}

	/* the port's own is nobody's choice: it is followed when it changes */
	ipd->own_guid = ipoib_port_gid(ipd->ibdev, ipd->port, &first) ||
			first.global.interface_id != gid.global.interface_id;
	ipoib_set_guids(ipd, ipd->own_guid ? gid.global.interface_id : 0);
	return 0;
}

static int ipoib_get_iflink(const struct net_device *dev)
{
	const struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	/* the core asks while the interface is still being made */
	if (!ipd || !ipd->parent)
		return READ_ONCE(dev->ifindex);

	return READ_ONCE(ipd->parent->netdev->ifindex);
}

static void ipoib_get_stats64(struct net_device *dev,
			      struct rtnl_link_stats64 *stats)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (ipd->lower->ndo_get_stats64)
		ipd->lower->ndo_get_stats64(dev, stats);
	else if (dev->tstats)
		dev_get_tstats64(dev, stats);

	ipoib_ud_stats(ipd, stats);
}

static int ipoib_eth_ioctl(struct net_device *dev, struct ifreq *ifr, int cmd)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);

	if (!ipd->lower->ndo_eth_ioctl)
		return -EOPNOTSUPP;

	return ipd->lower->ndo_eth_ioctl(dev, ifr, cmd);
}

static const struct net_device_ops ipoib_netdev_ops = {
	.ndo_init = ipoib_init,
	.ndo_uninit = ipoib_uninit,
	.ndo_open = ipoib_link_open,
	.ndo_stop = ipoib_link_stop,
	.ndo_start_xmit = ipoib_start_xmit,
	.ndo_select_queue = ipoib_select_queue,
	.ndo_features_check = ipoib_features_check,
	.ndo_set_rx_mode_async = ipoib_set_rx_mode,
	.ndo_change_mtu = ipoib_change_mtu,
	.ndo_set_mac_address = ipoib_set_mac_address,
	.ndo_tx_timeout = ipoib_tx_timeout,
	.ndo_get_iflink = ipoib_get_iflink,
	.ndo_get_stats64 = ipoib_get_stats64,
	.ndo_eth_ioctl = ipoib_eth_ioctl,
	/* of an HCA that has none, or is one: -EOPNOTSUPP from ib_core */
	.ndo_set_vf_link_state = ipoib_set_vf_link_state,
	.ndo_set_vf_guid = ipoib_set_vf_guid,
	.ndo_get_vf_guid = ipoib_get_vf_guid,
	.ndo_get_vf_config = ipoib_get_vf_config,
	.ndo_get_vf_stats = ipoib_get_vf_stats,
};

/**
 * ipoib_netdev_is_ours() - is there an interface of this driver behind it?
 * @dev: any netdev
 *
 * By the hardware type a bond or a tun could pass for one.
 *
 * Return: true when ipoib_from_netdev() may be asked.
 */
bool ipoib_netdev_is_ours(const struct net_device *dev)
{
	return dev->netdev_ops == &ipoib_netdev_ops;
}

/* ---- mode and sysfs ---- */

/**
 * ipoib_mode_set() - choose between datagrams and connections
 * @ipd: interface
 * @connected: connections
 * @extack: gets the reason of a refusal; may be NULL
 *
 * Return: 0, or -EINVAL: nothing here makes connections, as the address says.
 */
int ipoib_mode_set(struct ipoib_dev *ipd, bool connected,
		   struct netlink_ext_ack *extack)
{
	if (!connected)
		return 0;

	NL_SET_ERR_MSG_MOD(extack, "This interface does not offer connected mode");
	return -EINVAL;
}

/**
 * ipoib_umcast_set() - leave user space's multicast groups to it, or not
 * @ipd: interface
 * @umcast: leave them
 */
void ipoib_umcast_set(struct ipoib_dev *ipd, bool umcast)
{
	if (umcast && !ipd->umcast)
		ipoib_info(ipd, "groups that user space joined are left to it\n");
	WRITE_ONCE(ipd->umcast, umcast);
}

/**
 * ipoib_sysfs_lock() - take RTNL for what is written to a file
 * @dev: the file's interface
 *
 * A sysfs file of an interface must not wait for RTNL: unregistering holds that
 * and waits for the file.
 *
 * To the root of a container the files in it belong, so their modes do not tell
 * who may write: that is the administrator of the machine alone.
 *
 * Return: 0 with RTNL held; -EPERM, or -ERESTARTNOINTR, of which nobody hears.
 */
int ipoib_sysfs_lock(struct net_device *dev)
{
	if (!capable(CAP_NET_ADMIN)) {
		ipoib_info(ipoib_from_netdev(dev),
			   "write refused: that takes the administrator of the machine\n");
		return -EPERM;
	}
	if (!rtnl_trylock())
		return restart_syscall();
	if (dev->reg_state != NETREG_REGISTERED) {
		rtnl_unlock();
		return -EPERM;
	}

	return 0;
}

static ssize_t mode_show(struct device *d, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "datagram\n");
}

static ssize_t mode_store(struct device *d, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct net_device *dev = to_net_dev(d);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	bool connected = sysfs_streq(buf, "connected");
	int err;

	err = ipoib_sysfs_lock(dev);
	if (err)
		return err;
	err = -EINVAL;
	if (connected || sysfs_streq(buf, "datagram"))
		err = ipoib_mode_set(ipd, connected, NULL);
	if (err)
		ipoib_info(ipd, "mode refused: it is datagram, connected mode is not offered\n");
	rtnl_unlock();

	return err ?: count;
}
static DEVICE_ATTR_RW(mode);

static ssize_t pkey_show(struct device *d, struct device_attribute *attr,
			 char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));

	return sysfs_emit(buf, "0x%04x\n", ipoib_link_pkey(ipd));
}
static DEVICE_ATTR_RO(pkey);

static ssize_t umcast_show(struct device *d, struct device_attribute *attr,
			   char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));

	return sysfs_emit(buf, "%d\n", READ_ONCE(ipd->umcast));
}

static ssize_t umcast_store(struct device *d, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct net_device *dev = to_net_dev(d);
	struct ipoib_dev *ipd = ipoib_from_netdev(dev);
	unsigned long value;
	int err;

	err = ipoib_sysfs_lock(dev);
	if (err)
		return err;
	err = kstrtoul(buf, 0, &value);
	if (err)
		ipoib_info(ipd, "umcast refused: it is a number, 0 or more\n");
	else
		ipoib_umcast_set(ipd, value);
	rtnl_unlock();

	return err ?: count;
}
static DEVICE_ATTR_RW(umcast);

static ssize_t link_reason_show(struct device *d,
				struct device_attribute *attr, char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));
	enum ipoib_link_reason reason;
	struct ipoib_link_facts facts;

	reason = ipoib_link_reason(ipd, &facts);
	switch (reason) {
	case IPOIB_WHY_PKEY_ABSENT:
		return sysfs_emit(buf, "%s pkey=0x%04x\n",
				  ipoib_link_reason_name(reason), facts.pkey);
	case IPOIB_WHY_BCAST_JOINING:
	case IPOIB_WHY_SM_UNREACHABLE:
	case IPOIB_WHY_MTU_MISMATCH:
		return sysfs_emit(buf, "%s status=%d tries=%u\n",
				  ipoib_link_reason_name(reason), facts.status,
				  facts.tries);
	default:
		return sysfs_emit(buf, "%s\n", ipoib_link_reason_name(reason));
	}
}
static DEVICE_ATTR_RO(link_reason);

static struct attribute *ipoib_port_attrs[] = {
	&dev_attr_link_reason.attr,
	&dev_attr_mode.attr,
	&dev_attr_pkey.attr,
	&dev_attr_umcast.attr,
	&ipoib_attr_create_child.attr,
	&ipoib_attr_delete_child.attr,
	NULL,
};

static struct attribute *ipoib_child_attrs[] = {
	&dev_attr_link_reason.attr,
	&dev_attr_mode.attr,
	&dev_attr_pkey.attr,
	&dev_attr_umcast.attr,
	&ipoib_attr_parent.attr,
	NULL,
};

/*
 * The core has room for one group of a driver's. One for both kinds would hide
 * attributes of the other, which 6.1 does not find when it gives the files to
 * another user namespace.
 */
static const struct attribute_group ipoib_port_attr_group = {
	.attrs = ipoib_port_attrs,
};

static const struct attribute_group ipoib_child_attr_group = {
	.attrs = ipoib_child_attrs,
};

/* ---- interface set-up ---- */

/**
 * ipoib_setup() - what every interface of ours has, whoever allocates it
 * @dev: netdev
 *
 * The lower table is a complete one: an accelerated driver replaces it, but may
 * call into it.
 */
void ipoib_setup(struct net_device *dev)
{
	struct ipoib_hwaddr broadcast;

	dev->netdev_ops = &ipoib_ud_netdev_ops;
	dev->ethtool_ops = &ipoib_ethtool_ops;
	dev->header_ops = &ipoib_header_ops;
	dev->type = ARPHRD_INFINIBAND;
	dev->addr_len = INFINIBAND_ALEN;
	dev->hard_header_len = IPOIB_HARD_LEN;
	dev->min_mtu = IPOIB_MIN_MTU_BYTES;
	dev->max_mtu = IPOIB_CM_MTU_BYTES;
	dev->tx_queue_len = DEFAULT_TX_QUEUE_LEN;
	dev->watchdog_timeo = msecs_to_jiffies(IPOIB_WATCHDOG_MS);
	dev->flags |= IFF_BROADCAST | IFF_MULTICAST;
	/* netpoll calls with interrupts off, where our locks do not reach */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
	dev->features |= NETIF_F_HIGHDMA | NETIF_F_VLAN_CHALLENGED;
	/* path MTU updates go through the dst */
	netif_keep_dst(dev);

	ipoib_hwaddr_broadcast(&broadcast, IPOIB_SCOPE_LINK_LOCAL, 0);
	memcpy(dev->broadcast, &broadcast, sizeof(broadcast));
}

/* Whoever looks for a NAPI under RCU may still see those in it. */
static void ipoib_destroy_dev(struct ipoib_dev *ipd)
{
	mutex_destroy(&ipd->link.lock);
	mutex_destroy(&ipd->children.lock);
	kfree_rcu(ipd, rcu);
}

/**
 * ipoib_dev_free() - priv_destructor, and undoing of ipoib_dev_tie()
 * @dev: netdev; may have been here before
 */
void ipoib_dev_free(struct net_device *dev)
{
	struct rdma_netdev *rn = netdev_priv(dev);
	struct ipoib_dev *ipd = rn->clnt_priv;

	/* a registration that fails may or may not have called this */
	if (!ipd)
		return;

	if (ipd->lower_destructor)
		ipd->lower_destructor(dev);
	rn->clnt_priv = NULL;
	flush_work(&ipd->tables_work);
	/* the HCA and its driver's data may go when the parent has gone */
	if (ipd->parent)
		netdev_put(ipd->parent->netdev, &ipd->parent_tracker);
	/* what an HCA has kept of it is not ours to free */
	if (ipd->ud.kept)
		return;

	ipoib_destroy_dev(ipd);
}

/**
 * ipoib_dev_alloc() - allocate a netdev as an HCA wants it
 * @ibdev: HCA
 * @port: from 1
 * @name: of the interface, maybe with a %d
 * @assigned: NET_NAME_*, where the name comes from
 *
 * Return: a netdev for ipoib_dev_tie(), or an ERR_PTR.
 */
struct net_device *ipoib_dev_alloc(struct ib_device *ibdev, u32 port,
				   const char *name, unsigned char assigned)
{
	struct net_device *dev;

	dev = rdma_alloc_netdev(ibdev, port, RDMA_NETDEV_IPOIB, name, assigned,
				ipoib_setup);
	if (!IS_ERR(dev) || PTR_ERR(dev) != -EOPNOTSUPP)
		return dev;

	dev = alloc_netdev_mqs(sizeof(struct rdma_netdev), name, assigned,
			       ipoib_setup, IPOIB_MAX_TXQ, 1);
	return dev ?: ERR_PTR(-ENOMEM);
}

static int ipoib_plug_transport(struct net_device *dev, struct ib_device *ibdev,
				u32 port)
{
	unsigned int queues;
	int err;

	err = rdma_init_netdev(ibdev, port, RDMA_NETDEV_IPOIB, "ib%d",
			       NET_NAME_UNKNOWN, ipoib_setup, dev);
	if (err != -EOPNOTSUPP)
		return err;

	ipoib_ud_setup(dev, ibdev, port);
	/* `ip link add numtxqueues` allocates what it likes */
	queues = min(ipoib_ud_default_queues(ibdev), dev->num_tx_queues);
	return netif_set_real_num_queues(dev, queues, 1);
}

static void ipoib_set_features(struct net_device *dev,
			       const struct ib_device *ibdev)
{
	if (!(ibdev->attrs.device_cap_flags & IB_DEVICE_UD_IP_CSUM))
		return;

	dev->hw_features |= NETIF_F_IP_CSUM | NETIF_F_RXCSUM;
	if (ibdev->attrs.kernel_cap_flags & IBK_UD_TSO)
		dev->hw_features |= NETIF_F_TSO;
	dev->features |= dev->hw_features;
}

static struct ipoib_dev *ipoib_create_dev(struct ipoib_hca *hca, u32 port,
					  struct ipoib_dev *parent)
{
	struct ipoib_dev *ipd;

	ipd = kzalloc_obj(*ipd, GFP_KERNEL);
	if (!ipd)
		return NULL;

	ipd->hca = hca;
	ipd->ibdev = hca->ibdev;
	ipd->port = port;
	ipd->parent = parent;
	ipoib_link_init_early(ipd);
	INIT_WORK(&ipd->tables_work, ipoib_tables_work);
	INIT_LIST_HEAD(&ipd->sibling);
	mutex_init(&ipd->children.lock);
	INIT_LIST_HEAD(&ipd->children.list);
	init_waitqueue_head(&ipd->children.wait);
	ipoib_ud_init_early(ipd);
	ipoib_heal_init_early(ipd);
	ipoib_resolve_init_early(ipd);
	ipoib_mcast_init_early(ipd);
	return ipd;
}

/**
 * ipoib_dev_tie() - make a netdev an interface of ours
 * @dev: netdev that ipoib_setup() has set up
 * @hca: its HCA
 * @port: from 1
 * @parent: interface it is a child of, or NULL
 *
 * From here on ipoib_dev_free() has all there is to free.
 *
 * Return: the interface or an ERR_PTR.
 */
struct ipoib_dev *ipoib_dev_tie(struct net_device *dev, struct ipoib_hca *hca,
				u32 port, struct ipoib_dev *parent)
{
	struct rdma_netdev *rn = netdev_priv(dev);
	struct ipoib_dev *ipd;
	int err;

	ipd = ipoib_create_dev(hca, port, parent);
	if (!ipd)
		return ERR_PTR(-ENOMEM);

	err = ipoib_plug_transport(dev, hca->ibdev, port);
	if (err) {
		ipoib_destroy_dev(ipd);
		return ERR_PTR(err);
	}

	if (parent)
		netdev_hold(parent->netdev, &ipd->parent_tracker, GFP_KERNEL);
	ipd->netdev = dev;
	ipd->lower = dev->netdev_ops;
	ipd->lower_destructor = dev->priv_destructor;
	rn->clnt_priv = ipd;
	dev->netdev_ops = &ipoib_netdev_ops;
	dev->rtnl_link_ops = &ipoib_link_ops;
	dev->priv_destructor = ipoib_dev_free;
	dev->needs_free_netdev = true;
	dev->sysfs_groups[0] = parent ? &ipoib_child_attr_group :
					&ipoib_port_attr_group;
	ipoib_set_features(dev, hca->ibdev);
	ipoib_ud_offer_stats(dev);
	netif_carrier_off(dev);
	return ipd;
}

static int ipoib_dress_parent(struct ipoib_dev *ipd)
{
	struct net_device *dev = ipd->netdev;
	int err;

	err = ipoib_port_max_mtu(ipd->ibdev, ipd->port, &ipd->max_ib_mtu);
	if (err)
		return err;

	ipd->admin_mtu = ipoib_ud_mtu_bytes(ipd->max_ib_mtu);
	dev->mtu = ipd->admin_mtu;
	ipoib_rn(ipd)->mtu = dev->mtu;
	dev->dev_port = ipd->port - 1;
	/* the older name of the same thing; what reads it expects it to stay */
	dev->dev_id = ipd->port - 1;
	dev_net_set(dev, rdma_dev_net(ipd->ibdev));
	SET_NETDEV_DEV(dev, ipd->ibdev->dev.parent);
	return 0;
}

static struct net_device *ipoib_make_netdev(struct ipoib_hca *hca, u32 port)
{
	struct net_device *dev;
	struct ipoib_dev *ipd;
	int err;

	dev = ipoib_dev_alloc(hca->ibdev, port, "ib%d", NET_NAME_UNKNOWN);
	if (IS_ERR(dev))
		return dev;

	ipd = ipoib_dev_tie(dev, hca, port, NULL);
	err = PTR_ERR_OR_ZERO(ipd);
	if (!err)
		err = ipoib_dress_parent(ipd);
	if (err) {
		ipoib_dev_free(dev);
		free_netdev(dev);
		return ERR_PTR(err);
	}

	return dev;
}

/* ---- finding an interface ---- */

/**
 * struct ipoib_search - which interface the RDMA connection manager asks for
 * @port: of the HCA
 * @pkey_index: place of the request's P_Key in the port's table
 * @gid: GID the request came to, or NULL
 * @addr: IP address it came to, or NULL before it matters
 * @found: the first interface that fits, held: a child may be deleted as soon
 *	as its parent's list is let go of
 * @count: how many do
 */
struct ipoib_search {
	u32 port;
	u16 pkey_index;
	const union ib_gid *gid;
	const struct sockaddr *addr;
	struct net_device *found;
	unsigned int count;
};

static bool ipoib_owns_ip(struct net_device *dev, const struct sockaddr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	struct in_device *in_dev;

	switch (addr->sa_family) {
	case AF_INET:
		in_dev = __in_dev_get_rcu(dev);
		return in_dev && inet_confirm_addr(dev_net(dev), in_dev, 0,
						   in->sin_addr.s_addr,
						   RT_SCOPE_HOST);
	case AF_INET6:
		return IS_ENABLED(CONFIG_IPV6) &&
		       ipv6_chk_addr(dev_net(dev), &in6->sin6_addr, dev, 1);
	default:
		return false;
	}
}

static int ipoib_upper_owns_ip(struct net_device *upper,
			       struct netdev_nested_priv *priv)
{
	return ipoib_owns_ip(upper, priv->data);
}

/* The interface itself, or a bond or the like on top of it. */
static bool ipoib_has_ip(struct net_device *dev, const struct sockaddr *addr)
{
	struct netdev_nested_priv priv = { .data = (void *)addr };
	bool has;

	rcu_read_lock();
	has = ipoib_owns_ip(dev, addr) ||
	      netdev_walk_all_upper_dev_rcu(dev, ipoib_upper_owns_ip, &priv);
	rcu_read_unlock();

	return has;
}

static bool ipoib_fits(struct ipoib_dev *ipd, const struct ipoib_search *search)
{
	bool fits;

	mutex_lock(&ipd->link.lock);
	fits = ipd->link.acted.pkey &&
	       ipd->link.acted.pkey_index == search->pkey_index &&
	       (!search->gid ||
		!memcmp(search->gid, &ipd->link.gid, sizeof(ipd->link.gid)));
	mutex_unlock(&ipd->link.lock);

	return fits && (!search->addr ||
			ipoib_has_ip(ipd->netdev, search->addr));
}

static void ipoib_search_one(struct ipoib_dev *ipd, struct ipoib_search *search)
{
	if (!ipoib_fits(ipd, search))
		return;
	if (!search->found) {
		search->found = ipd->netdev;
		dev_hold(search->found);
	}
	search->count++;
}

static void ipoib_search_all(struct ipoib_hca *hca, struct ipoib_search *search)
{
	struct ipoib_dev *ipd, *child;

	dev_put(search->found);
	search->found = NULL;
	search->count = 0;
	list_for_each_entry(ipd, &hca->parents, sibling) {
		if (ipd->port != search->port)
			continue;
		ipoib_search_one(ipd, search);
		mutex_lock(&ipd->children.lock);
		list_for_each_entry(child, &ipd->children.list, sibling)
			ipoib_search_one(child, search);
		mutex_unlock(&ipd->children.lock);
	}
}

/* A bond answers for its slaves; a VRF does not: it is no link. */
static struct net_device *ipoib_hold_top(struct net_device *dev)
{
	struct net_device *master;

	rcu_read_lock();
	master = netdev_master_upper_dev_get_rcu(dev);
	if (master && !netif_is_l3_master(master))
		dev = master;
	dev_hold(dev);
	rcu_read_unlock();

	return dev;
}

/* The IP address decides only where P_Key and GID leave a choice. */
static struct net_device *
ipoib_get_net_dev_by_params(struct ib_device *ibdev, u32 port, u16 pkey,
			    const union ib_gid *gid,
			    const struct sockaddr *addr, void *client_data)
{
	struct ipoib_search search = { .port = port, .gid = gid };
	struct net_device *top = NULL;

	if (!rdma_protocol_ib(ibdev, port) ||
	    ib_find_cached_pkey(ibdev, port, pkey, &search.pkey_index))
		return NULL;

	ipoib_search_all(client_data, &search);
	if (search.count > 1) {
		search.addr = addr;
		ipoib_search_all(client_data, &search);
	}
	if (search.count > 1)
		dev_warn_ratelimited(&ibdev->dev,
				     "%u interfaces of port %u have %pISc\n",
				     search.count, port, addr);

	if (search.found)
		top = ipoib_hold_top(search.found);
	dev_put(search.found);
	return top;
}

/* ---- client ---- */

static int ipoib_add_port(struct ipoib_hca *hca, u32 port)
{
	struct net_device *dev;
	struct ipoib_dev *ipd;
	int err;

	ipoib_link_make_room(hca->ibdev, port);
	dev = ipoib_make_netdev(hca, port);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	ipd = ipoib_from_netdev(dev);
	err = register_netdev(dev);
	if (err) {
		ipoib_dev_free(dev);
		free_netdev(dev);
		return err;
	}

	INIT_IB_EVENT_HANDLER(&ipd->event_handler, hca->ibdev,
			      ipoib_link_hear);
	ib_register_event_handler(&ipd->event_handler);
	list_add_tail(&ipd->sibling, &hca->parents);
	/* for what happened between init and the handler */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return 0;
}

/*
 * Children are made and deleted under RTNL. Once the parent is DEAD none is
 * made any more; those that are there go with it. Nobody is halfway through an
 * open then, so what is posted is all there will be.
 */
static void ipoib_condemn_children(struct ipoib_dev *parent)
{
	struct ipoib_dev *child = NULL;

	rtnl_lock();
	while ((child = ipoib_child_next(parent, child)))
		ipoib_link_condemn(child);
	ipoib_children_begin_stop(parent);
	ipoib_children_close(parent);
	rtnl_unlock();
}

static void ipoib_quit_parent(struct ipoib_dev *ipd)
{
	ib_unregister_event_handler(&ipd->event_handler);
	ipoib_link_condemn(ipd);
	ipoib_condemn_children(ipd);
}

static struct ipoib_hca *ipoib_create_hca(struct ib_device *ibdev)
{
	struct ipoib_hca *hca;

	hca = kzalloc_obj(*hca, GFP_KERNEL);
	if (!hca)
		return NULL;

	hca->ibdev = ibdev;
	INIT_LIST_HEAD(&hca->parents);
	spin_lock_init(&hca->members_lock);
	hash_init(hca->members);
	if (ipoib_sa_init(&hca->sa, ibdev))
		goto err_free;

	hca->rtnl_wq = alloc_ordered_workqueue("ipoib_rtnl_%s", 0,
					       dev_name(&ibdev->dev));
	if (!hca->rtnl_wq)
		goto err_exit_sa;

	return hca;

err_exit_sa:
	ipoib_sa_exit(&hca->sa);
err_free:
	kfree(hca);
	return NULL;
}

static void ipoib_destroy_hca(struct ipoib_hca *hca)
{
	destroy_workqueue(hca->rtnl_wq);
	ipoib_sa_exit(&hca->sa);
	kfree(hca);
}

static void ipoib_add_ports(struct ipoib_hca *hca)
{
	struct ib_device *ibdev = hca->ibdev;
	unsigned int port;
	int err;

	rdma_for_each_port(ibdev, port) {
		if (!rdma_protocol_ib(ibdev, port)) {
			dev_info(&ibdev->dev,
				 "port %u has no InfiniBand link: no IPoIB interface\n",
				 port);
			continue;
		}
		err = ipoib_add_port(hca, port);
		if (err)
			dev_warn(&ibdev->dev,
				 "no IPoIB interface for port %u: %pe\n", port,
				 ERR_PTR(err));
	}
}

static struct ib_client ipoib_client;

static int ipoib_add_hca(struct ib_device *ibdev)
{
	struct ipoib_hca *hca;

	hca = ipoib_create_hca(ibdev);
	if (!hca)
		return -ENOMEM;

	ipoib_add_ports(hca);
	if (list_empty(&hca->parents)) {
		ipoib_destroy_hca(hca);
		return -EOPNOTSUPP;
	}

	ib_set_client_data(ibdev, &ipoib_client, hca);
	return 0;
}

/**
 * struct ipoib_add_request - an HCA that ib_core adds
 * @work: adds it
 * @ibdev: the HCA
 * @err: result
 */
struct ipoib_add_request {
	struct work_struct work;
	struct ib_device *ibdev;
	int err;
};

static void ipoib_add_work(struct work_struct *work)
{
	struct ipoib_add_request *request =
		container_of(work, struct ipoib_add_request, work);

	request->err = ipoib_add_hca(request->ibdev);
}

/*
 * In a worker, which gets no signal. Kernel threads cannot be created and RTNL
 * is not waited for in a process that is being killed, as is a modprobe of udev
 * that took too long. ib_core ignores the error and does not try again, so the
 * ports would be without their interfaces until the module is loaded again.
 */
static int ipoib_add_one(struct ib_device *ibdev)
{
	struct ipoib_add_request request = { .ibdev = ibdev };

	INIT_WORK_ONSTACK(&request.work, ipoib_add_work);
	queue_work(ipoib_unbound_wq, &request.work);
	flush_work(&request.work);
	destroy_work_on_stack(&request.work);

	return request.err;
}

static void ipoib_remove_one(struct ib_device *ibdev, void *client_data)
{
	struct ipoib_hca *hca = client_data;
	struct ipoib_dev *ipd, *next;
	LIST_HEAD(list);

	/* all of them, before the first is waited for */
	list_for_each_entry(ipd, &hca->parents, sibling)
		ipoib_quit_parent(ipd);
	list_for_each_entry(ipd, &hca->parents, sibling)
		ipoib_link_cancel_sync(ipd);

	rtnl_lock();
	list_for_each_entry_safe(ipd, next, &hca->parents, sibling) {
		list_del_init(&ipd->sibling);
		ipoib_children_remove(ipd, &list);
		unregister_netdevice_queue(ipd->netdev, &list);
	}
	unregister_netdevice_many(&list);
	rtnl_unlock();
	ipoib_destroy_hca(hca);
}

static struct ib_client ipoib_client = {
	.name = "ipoib",
	.add = ipoib_add_one,
	.remove = ipoib_remove_one,
	.get_net_dev_by_params = ipoib_get_net_dev_by_params,
};

/* ---- notifier ---- */

static int ipoib_netdev_event(struct notifier_block *nb, unsigned long event,
			      void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);

	if (!ipoib_netdev_is_ours(dev))
		return NOTIFY_DONE;

	switch (event) {
	case NETDEV_CHANGEADDR:
		/* `ip link set broadcast` reaches a driver in no other way */
		ipoib_identity_follow_broadcast(ipoib_from_netdev(dev));
		break;
	case NETDEV_CHANGE:
		/* nothing else says that the queueing discipline is active */
		ipoib_link_activated(ipoib_from_netdev(dev));
		break;
	case NETDEV_UP:
		ipoib_children_follow(ipoib_from_netdev(dev), true);
		break;
	case NETDEV_GOING_DOWN:
		ipoib_children_follow(ipoib_from_netdev(dev), false);
		break;
	case NETDEV_REGISTER:
		ipoib_fs_add(ipoib_from_netdev(dev));
		break;
	case NETDEV_CHANGENAME:
		ipoib_fs_rename(ipoib_from_netdev(dev));
		break;
	case NETDEV_UNREGISTER:
		ipoib_fs_remove(ipoib_from_netdev(dev));
		break;
	default:
		break;
	}

	return NOTIFY_DONE;
}

static struct notifier_block ipoib_netdev_notifier = {
	.notifier_call = ipoib_netdev_event,
};

/* ---- module ---- */

static int __init ipoib_module_init(void)
{
	int err;

	ipoib_fs_init();
	ipoib_ring_param("recv_queue_size", &ipoib_recv_queue_size,
			 IPOIB_RX_RING_LEAST);
	ipoib_ring_param("send_queue_size", &ipoib_send_queue_size,
			 IPOIB_TX_RING_LEAST);

	/* no rescuer: creating one fails in a process that is being killed */
	ipoib_teardown = alloc_workqueue("ipoib_teardown", WQ_UNBOUND,
					 IPOIB_TEARDOWN_MOST);
	if (!ipoib_teardown) {
		err = -ENOMEM;
		goto err_exit_fs;
	}

	ipoib_unbound_wq = alloc_workqueue("ipoib_unbound", WQ_UNBOUND, 0);
	if (!ipoib_unbound_wq) {
		err = -ENOMEM;
		goto err_destroy_teardown;
	}

	ib_sa_register_client(&ipoib_sa_client);
	err = rtnl_link_register(&ipoib_link_ops);
	if (err)
		goto err_unregister_sa;

	err = register_netdevice_notifier(&ipoib_netdev_notifier);
	if (err)
		goto err_unregister_link;

	err = ib_register_client(&ipoib_client);
	if (err)
		goto err_unregister_notifier;

	return 0;

err_unregister_notifier:
	unregister_netdevice_notifier(&ipoib_netdev_notifier);
err_unregister_link:
	rtnl_link_unregister(&ipoib_link_ops);
err_unregister_sa:
	ib_sa_unregister_client(&ipoib_sa_client);
	destroy_workqueue(ipoib_unbound_wq);
err_destroy_teardown:
	destroy_workqueue(ipoib_teardown);
err_exit_fs:
	ipoib_fs_exit();
	return err;
}

/*
 * A reference to the module that is taken while it goes holds nothing up; not
 * to return does. Nothing but a reset of the machine helps that HCA anyway.
 */
static void ipoib_stay_for_kept(void)
{
	if (!READ_ONCE(ipoib_ud_keeps))
		return;

	pr_err("an HCA has kept a queue pair, and may call: the module stays, and rmmod does not return\n");
	for (;;)
		schedule_timeout_idle(MAX_SCHEDULE_TIMEOUT);
}

static void __exit ipoib_module_exit(void)
{
	ib_unregister_client(&ipoib_client);
	unregister_netdevice_notifier(&ipoib_netdev_notifier);
	rtnl_link_unregister(&ipoib_link_ops);
	/* waits for the last query's callback to return */
	ib_sa_unregister_client(&ipoib_sa_client);
	destroy_workqueue(ipoib_unbound_wq);
	destroy_workqueue(ipoib_teardown);
	ipoib_fs_exit();
	rcu_barrier();
	ipoib_stay_for_kept();
}

module_init(ipoib_module_init);
module_exit(ipoib_module_exit);
