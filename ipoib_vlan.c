// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Which children hang on which parent?
 *
 * A child is an interface of its own on another partition of its parent's port,
 * or on the same one. Made by the parent's file or by rtnetlink it is the same
 * thing, but for one difference: the parent's files see only those that they
 * made.
 *
 * Stages: finding, removing, making, following the parent, files.
 */
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>

#include <net/net_namespace.h>

#include "ipoib.h"
#include "ipoib_trace.h"

/* ---- finding ---- */

/*
 * The child that create_child made for a P_Key, if it is in the parent's
 * namespace still. Those made by rtnetlink, and those given to a container, are
 * not the business of who writes the parent's files.
 *
 * RTNL; the caller holds nothing of it, so only RTNL keeps it there.
 */
static struct ipoib_dev *ipoib_child_find(struct ipoib_dev *parent, u16 pkey)
{
	struct ipoib_dev *child, *found = NULL;

	ASSERT_RTNL();

	mutex_lock(&parent->children.lock);
	list_for_each_entry(child, &parent->children.list, sibling) {
		if (!child->by_file ||
		    !ipoib_pkey_same(child->home_pkey, pkey) ||
		    !net_eq(dev_net(child->netdev), dev_net(parent->netdev)))
			continue;
		found = child;
		break;
	}
	mutex_unlock(&parent->children.lock);

	return found;
}

/**
 * ipoib_child_next() - the children of a parent, one by one
 * @parent: interface
 * @child: the one before, still on the list; NULL for the first
 *
 * The list's lock may not be held while the core is told to do something with
 * a child.
 *
 * Context: RTNL, which keeps them there.
 *
 * Return: the next child, NULL behind the last.
 */
struct ipoib_dev *ipoib_child_next(struct ipoib_dev *parent,
				   struct ipoib_dev *child)
{
	struct list_head *at;

	ASSERT_RTNL();

	mutex_lock(&parent->children.lock);
	at = child ? child->sibling.next : parent->children.list.next;
	child = at == &parent->children.list ? NULL :
		list_entry(at, struct ipoib_dev, sibling);
	mutex_unlock(&parent->children.lock);

	return child;
}

/* ---- removing ---- */

/*
 * On ipoib_unbound_wq, because a store must not unregister a netdev. The end of
 * that waits without RTNL for the child's last reference. A holder may need
 * RTNL to drop it, and whoever has RTNL may be removing the parent, which waits
 * for the store.
 */
static void ipoib_child_delete_work(struct work_struct *work)
{
	struct ipoib_dev *child = container_of(work, struct ipoib_dev,
					       delete_work);
	struct net_device *dev = child->netdev;

	rtnl_lock();
	/* `ip link del` or the removal of the HCA may have been first */
	if (dev->reg_state == NETREG_REGISTERED)
		unregister_netdevice(dev);
	WRITE_ONCE(child->deleted, true);
	wake_up_all(&child->parent->children.wait);
	dev_put(dev);
	rtnl_unlock();
}

/* RTNL. The child is returned with a reference for the writer. */
static struct ipoib_dev *ipoib_child_delete(struct ipoib_dev *parent, u16 pkey)
{
	struct ipoib_dev *child = ipoib_child_find(parent, pkey);

	if (!child) {
		ipoib_info(parent, "no child made by create_child has P_Key %#06x\n",
			   pkey);
		return ERR_PTR(-ENODEV);
	}

	/* one reference for the work, one for the writer */
	dev_hold(child->netdev);
	dev_hold(child->netdev);
	if (!queue_work(ipoib_unbound_wq, &child->delete_work))
		dev_put(child->netdev);

	return child;
}

/*
 * The writer of delete_child returns when the child is out of sight, so that a
 * script may use its name and P_Key at once. It does not wait once the parent
 * is being removed: that takes the child along, and waits for the writer.
 */
static void ipoib_child_wait_deleted(struct ipoib_dev *parent,
				     struct ipoib_dev *child)
{
	wait_event_killable(parent->children.wait,
			    READ_ONCE(child->deleted) ||
			    READ_ONCE(parent->children.closing));
	dev_put(child->netdev);
}

/**
 * ipoib_children_close() - release the writers that wait for a child to go
 * @parent: interface that is DEAD
 *
 * Context: RTNL. After that delete_child fails, so nobody begins to wait.
 */
void ipoib_children_close(struct ipoib_dev *parent)
{
	ASSERT_RTNL();

	WRITE_ONCE(parent->children.closing, true);
	wake_up_all(&parent->children.wait);
}

/**
 * ipoib_children_remove() - put all children on the list of what goes
 * @parent: interface; new children are refused
 * @list: for unregister_netdevice_many()
 *
 * Context: RTNL.
 */
void ipoib_children_remove(struct ipoib_dev *parent, struct list_head *list)
{
	struct ipoib_dev *child;

	ASSERT_RTNL();

	/* only puts them on the list: nothing is called yet */
	mutex_lock(&parent->children.lock);
	list_for_each_entry(child, &parent->children.list, sibling)
		unregister_netdevice_queue(child->netdev, list);
	mutex_unlock(&parent->children.lock);
}

/* ---- making ---- */

static void ipoib_child_inherit(struct ipoib_dev *ipd, struct ipoib_dev *parent)
{
	struct net_device *dev = ipd->netdev;
	const struct net_device *above = parent->netdev;

	ipd->max_ib_mtu = parent->max_ib_mtu;
	ipd->admin_mtu = ipoib_ud_mtu_bytes(ipd->max_ib_mtu);
	dev->mtu = ipd->admin_mtu;
	ipoib_rn(ipd)->mtu = dev->mtu;
	dev_addr_mod(dev, 0, above->dev_addr, INFINIBAND_ALEN);
	memcpy(dev->broadcast, above->broadcast, INFINIBAND_ALEN);
}

/**
 * ipoib_child_prepare() - make a netdev a child, short of registering it
 * @parent: interface it is to hang on
 * @dev: netdev that ipoib_setup() has set up
 * @pkey: its P_Key in either form
 *
 * What differs from the parent's is the caller's to change afterwards. On an
 * error, and when it is not registered after all, ipoib_dev_free() undoes it.
 *
 * Context: RTNL.
 *
 * Return: the child or an ERR_PTR.
 */
struct ipoib_dev *ipoib_child_prepare(struct ipoib_dev *parent,
				      struct net_device *dev, u16 pkey)
{
	struct ipoib_dev *ipd;

	ASSERT_RTNL();

	ipd = ipoib_dev_tie(dev, parent->hca, parent->port, parent);
	if (IS_ERR(ipd))
		return ipd;

	INIT_WORK(&ipd->delete_work, ipoib_child_delete_work);
	ipd->home_pkey = ipoib_pkey_full(pkey);
	ipoib_child_inherit(ipd, parent);
	return ipd;
}

/**
 * ipoib_child_choose_guid() - give a child the GUID it is to have
 * @ipd: prepared child
 * @guid: its own; 0 for its parent's, whatever that becomes
 *
 * Context: RTNL.
 */
void ipoib_child_choose_guid(struct ipoib_dev *ipd, __be64 guid)
{
	__be64 inherited;

	mutex_lock(&ipd->parent->link.lock);
	inherited = ipd->parent->link.alias;
	mutex_unlock(&ipd->parent->link.lock);

	ipd->own_guid = !!guid;
	mutex_lock(&ipd->link.lock);
	ipd->link.alias = guid ?: inherited;
	mutex_unlock(&ipd->link.lock);
}

/**
 * ipoib_child_register() - bring a prepared child into the world
 * @ipd: child
 *
 * Context: RTNL.
 *
 * Return: 0 or an errno; then ipoib_dev_free() is the caller's to call.
 */
int ipoib_child_register(struct ipoib_dev *ipd)
{
	struct ipoib_dev *parent = ipd->parent;
	int err;

	ASSERT_RTNL();

	err = register_netdevice(ipd->netdev);
	if (err)
		return err;

	trace_ipoib_child(parent->netdev, ipd->netdev, ipd->home_pkey, true);
	mutex_lock(&parent->children.lock);
	list_add_tail(&ipd->sibling, &parent->children.list);
	parent->children.num++;
	mutex_unlock(&parent->children.lock);
	if (!(parent->netdev->flags & IFF_UP))
		ipoib_dbg(ipd, "parent %s is down\n", parent->netdev->name);
	/* for what happened between init and the list */
	ipoib_link_post(ipd, IPOIB_LINK_LOOK);
	return 0;
}

/**
 * ipoib_child_unlist() - take a child off its parent's list
 * @ipd: child that is being unregistered, or was never on the list
 *
 * Context: RTNL.
 */
void ipoib_child_unlist(struct ipoib_dev *ipd)
{
	struct ipoib_dev *parent = ipd->parent;

	ASSERT_RTNL();

	mutex_lock(&parent->children.lock);
	if (!list_empty(&ipd->sibling)) {
		list_del_init(&ipd->sibling);
		parent->children.num--;
		trace_ipoib_child(parent->netdev, ipd->netdev, ipd->home_pkey,
				  false);
	}
	mutex_unlock(&parent->children.lock);
}

/* RTNL. Those made by netlink may share a key, those made by file may not. */
static int ipoib_child_may_have(struct ipoib_dev *parent, u16 pkey)
{
	struct ipoib_dev *holder;

	if (!ipoib_pkey_valid(pkey)) {
		ipoib_info(parent, "no child: P_Key %#06x names no partition\n",
			   pkey);
		return -EINVAL;
	}

	holder = ipoib_child_find(parent, pkey);
	if (ipoib_pkey_same(parent->home_pkey, pkey) ||
	    ipoib_pkey_same(ipoib_link_pkey(parent), pkey))
		holder = parent;
	if (holder) {
		ipoib_info(parent, "no child: P_Key %#06x is in use by %s\n",
			   pkey, holder->netdev->name);
		return -ENOTUNIQ;
	}

	return 0;
}

static int ipoib_child_create(struct ipoib_dev *parent, u16 pkey)
{
	char name[IFNAMSIZ];
	struct net_device *dev;
	struct ipoib_dev *ipd;
	int err;

	err = ipoib_child_may_have(parent, pkey);
	if (err)
		return err;

	/* as written: 1 and 0x8001 are one key, but two names */
	snprintf(name, sizeof(name), "%.10s.%04x", parent->netdev->name, pkey);
	dev = ipoib_dev_alloc(parent->ibdev, parent->port, name,
			      NET_NAME_PREDICTABLE);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	dev_net_set(dev, dev_net(parent->netdev));
	ipd = ipoib_child_prepare(parent, dev, pkey);
	err = PTR_ERR_OR_ZERO(ipd);
	if (!err) {
		ipd->by_file = true;
		ipoib_child_choose_guid(ipd, 0);
		err = ipoib_child_register(ipd);
	}
	if (err) {
		ipoib_info(parent, "no child %s: %pe\n", name, ERR_PTR(err));
		ipoib_dev_free(dev);
		free_netdev(dev);
	}

	return err;
}

/* ---- following the parent ---- */

static void ipoib_child_follow(struct ipoib_dev *child, bool up)
{
	struct net_device *dev = child->netdev;
	unsigned int flags = dev->flags;
	int err;

	if (up && (child->kept_down || flags & IFF_UP))
		return;
	if (!up && !(flags & IFF_UP))
		return;

	child->following = true;
	err = dev_change_flags(dev, up ? flags | IFF_UP : flags & ~IFF_UP,
			       NULL);
	child->following = false;
	/* who took the parent up hears of the parent alone */
	if (err)
		ipoib_warn(child, "stays down while its parent goes up: %pe\n",
			   ERR_PTR(err));
}

/**
 * ipoib_children_begin_stop() - a parent and its children are about to stop
 * @parent: interface; it goes down, or away, and they go with it
 *
 * Context: RTNL.
 */
void ipoib_children_begin_stop(struct ipoib_dev *parent)
{
	struct ipoib_dev *child = NULL;

	ipoib_ud_begin_stop(parent);
	while ((child = ipoib_child_next(parent, child)))
		ipoib_ud_begin_stop(child);
}

/**
 * ipoib_children_follow() - take the children along as the parent goes
 * @parent: interface that has just gone up, or is just going down
 * @up: which of the two
 *
 * A child that was taken down by itself stays down.
 *
 * Context: RTNL.
 */
void ipoib_children_follow(struct ipoib_dev *parent, bool up)
{
	struct ipoib_dev *child = NULL;

	/* then the core is closing them itself, all on one list */
	if (ipoib_link_is_dead(parent))
		return;

	if (!up)
		ipoib_children_begin_stop(parent);
	while ((child = ipoib_child_next(parent, child)))
		ipoib_child_follow(child, up);
}

/* ---- files ---- */

/* 0 with RTNL held; the parent whose file was written, and the P_Key. */
static int ipoib_child_store_begin(struct device *d, const char *buf,
				   struct ipoib_dev **parent, u16 *pkey)
{
	struct net_device *dev = to_net_dev(d);
	struct ipoib_dev *ipd;
	int err;

	err = ipoib_sysfs_lock(dev);
	if (err)
		return err;

	ipd = ipoib_from_netdev(dev);
	err = ipoib_pkey_parse(buf, pkey);
	if (err)
		ipoib_info(ipd, "no P_Key: that is a number of 16 bits\n");
	else if (ipoib_link_is_dead(ipd))
		err = -ENODEV;
	if (err)
		rtnl_unlock();

	*parent = ipd;
	return err;
}

static ssize_t create_child_store(struct device *d,
				  struct device_attribute *attr,
				  const char *buf, size_t count)
{
	struct ipoib_dev *parent;
	u16 pkey;
	int err;

	err = ipoib_child_store_begin(d, buf, &parent, &pkey);
	if (err)
		return err;

	err = ipoib_child_create(parent, pkey);
	rtnl_unlock();

	return err ?: count;
}

struct device_attribute ipoib_attr_create_child = __ATTR_WO(create_child);

static ssize_t delete_child_store(struct device *d,
				  struct device_attribute *attr,
				  const char *buf, size_t count)
{
	struct ipoib_dev *parent, *child;
	u16 pkey;
	int err;

	err = ipoib_child_store_begin(d, buf, &parent, &pkey);
	if (err)
		return err;

	child = ipoib_child_delete(parent, pkey);
	rtnl_unlock();
	if (IS_ERR(child))
		return PTR_ERR(child);

	ipoib_child_wait_deleted(parent, child);
	return count;
}

struct device_attribute ipoib_attr_delete_child = __ATTR_WO(delete_child);

static ssize_t parent_show(struct device *d, struct device_attribute *attr,
			   char *buf)
{
	struct ipoib_dev *ipd = ipoib_from_netdev(to_net_dev(d));

	return sysfs_emit(buf, "%s\n", ipd->parent->netdev->name);
}

struct device_attribute ipoib_attr_parent = __ATTR_RO(parent);
