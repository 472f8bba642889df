// SPDX-License-Identifier: GPL-2.0
/*
 * What exactly arrives at a queue pair?
 *
 * One UD queue pair that only listens, on port 1 of an HCA, P_Key index 0. It
 * shows the last datagram as the HCA delivered it.
 *
 *	echo fab2 > /sys/kernel/debug/fabric_ear
 *	cat /sys/kernel/debug/fabric_ear
 *	echo "fab2 ff12:401b::1" > /sys/kernel/debug/fabric_ear
 *	echo off > /sys/kernel/debug/fabric_ear
 *
 * With a group it is attached to that, too. An HCA that refuses to detach it
 * again makes "off" fail, and all is as before.
 *
 * Order of this file: listening, groups, life, the file.
 */
#include <linux/debugfs.h>
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>

#define EAR_QKEY	0x0ea2ea2e
#define EAR_GRH		40
#define EAR_RING	64
#define EAR_BYTES	(EAR_GRH + 4096)
#define EAR_PORT	1
/* The HCA finds a group by its GID; a multicast LID has to be there. */
#define EAR_MLID	0xc000

/**
 * struct ear_slot - a receive request and its buffer
 * @cqe: completion
 * @sge: @buf as the HCA knows it
 * @buf: GRH and message
 */
struct ear_slot {
	struct ib_cqe cqe;
	struct ib_sge sge;
	u8 *buf;
};

/* The ear there is; ear_mutex guards all but what the lock does. */
static DEFINE_MUTEX(ear_mutex);
static DEFINE_XARRAY_ALLOC(ear_devices);
static struct ib_device *ear_dev;
static struct ib_pd *ear_pd;
static struct ib_cq *ear_cq;
static struct ib_qp *ear_qp;
static bool ear_attached;
static union ib_gid ear_group;
static struct ear_slot ear_slots[EAR_RING];

static DEFINE_SPINLOCK(ear_lock); /* what is below */
static u64 ear_received;
static struct ib_wc ear_wc;
static u8 ear_message[EAR_BYTES];

static struct dentry *ear_file;

/* --- Listening ----------------------------------------------------------- */

static void ear_done(struct ib_cq *cq, struct ib_wc *wc);

static int ear_post(struct ear_slot *slot)
{
	struct ib_recv_wr wr = {
		.wr_cqe = &slot->cqe,
		.sg_list = &slot->sge,
		.num_sge = 1,
	};

	slot->cqe.done = ear_done;
	return ib_post_recv(ear_qp, &wr, NULL);
}

static void ear_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct ear_slot *slot = container_of(wc->wr_cqe, struct ear_slot, cqe);

	if (wc->status != IB_WC_SUCCESS)
		return;

	spin_lock_bh(&ear_lock);
	ear_received++;
	ear_wc = *wc;
	memcpy(ear_message, slot->buf, wc->byte_len);
	spin_unlock_bh(&ear_lock);
	ear_post(slot);
}

/* --- Groups -------------------------------------------------------------- */

static int ear_attach(const char *group)
{
	int err;

	lockdep_assert_held(&ear_mutex);

	if (!in6_pton(group, -1, ear_group.raw, -1, NULL))
		return -EINVAL;

	err = ib_attach_mcast(ear_qp, &ear_group, EAR_MLID);
	ear_attached = !err;
	return err;
}

/* A queue pair that is attached cannot be destroyed. */
static int ear_detach(void)
{
	int err;

	lockdep_assert_held(&ear_mutex);

	if (!ear_attached)
		return 0;

	err = ib_detach_mcast(ear_qp, &ear_group, EAR_MLID);
	ear_attached = err;
	return err;
}

/* --- Life ---------------------------------------------------------------- */

static int ear_slot_open(struct ear_slot *slot)
{
	slot->buf = kzalloc(EAR_BYTES, GFP_KERNEL);
	if (!slot->buf)
		return -ENOMEM;

	slot->sge.addr = ib_dma_map_single(ear_dev, slot->buf, EAR_BYTES,
					   DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(ear_dev, slot->sge.addr)) {
		kfree(slot->buf);
		slot->buf = NULL;
		return -EIO;
	}

	slot->sge.length = EAR_BYTES;
	slot->sge.lkey = ear_pd->local_dma_lkey;
	return ear_post(slot);
}

static void ear_slot_close(struct ear_slot *slot)
{
	if (!slot->buf)
		return;

	ib_dma_unmap_single(ear_dev, slot->sge.addr, EAR_BYTES,
			    DMA_FROM_DEVICE);
	kfree(slot->buf);
	slot->buf = NULL;
}

static int ear_qp_up(void)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_INIT,
		.port_num = EAR_PORT,
		.qkey = EAR_QKEY,
	};
	int err;

	err = ib_modify_qp(ear_qp, &attr, IB_QP_STATE | IB_QP_PKEY_INDEX |
			   IB_QP_PORT | IB_QP_QKEY);
	if (err)
		return err;

	attr.qp_state = IB_QPS_RTR;
	return ib_modify_qp(ear_qp, &attr, IB_QP_STATE);
}

static int ear_qp_create(void)
{
	struct ib_qp_init_attr init = {
		.send_cq = ear_cq,
		.recv_cq = ear_cq,
		.cap = {
			.max_send_wr = 1,
			/* one more to find the end with */
			.max_recv_wr = EAR_RING + 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_ALL_WR,
		.qp_type = IB_QPT_UD,
	};
	struct ib_qp *qp = ib_create_qp(ear_pd, &init);

	if (IS_ERR(qp))
		return PTR_ERR(qp);

	ear_qp = qp;
	return ear_qp_up();
}

/* Whatever there is of it, or nothing when it cannot be detached. */
static int ear_close(void)
{
	int i, err;

	lockdep_assert_held(&ear_mutex);

	err = ear_detach();
	if (err)
		return err;

	if (ear_qp) {
		ib_drain_rq(ear_qp);
		ib_destroy_qp(ear_qp);
	}
	if (!IS_ERR_OR_NULL(ear_cq))
		ib_free_cq(ear_cq);
	for (i = 0; i < EAR_RING; i++)
		ear_slot_close(&ear_slots[i]);
	if (!IS_ERR_OR_NULL(ear_pd))
		ib_dealloc_pd(ear_pd);
	ear_qp = NULL;
	ear_cq = NULL;
	ear_pd = NULL;
	ear_dev = NULL;
	return 0;
}

static int ear_build(void)
{
	int i, err;

	ear_pd = ib_alloc_pd(ear_dev, 0);
	if (IS_ERR(ear_pd))
		return PTR_ERR(ear_pd);
	ear_cq = ib_alloc_cq(ear_dev, NULL, EAR_RING + 2, 0, IB_POLL_SOFTIRQ);
	if (IS_ERR(ear_cq))
		return PTR_ERR(ear_cq);

	err = ear_qp_create();
	for (i = 0; !err && i < EAR_RING; i++)
		err = ear_slot_open(&ear_slots[i]);
	return err;
}

static struct ib_device *ear_device_find(const char *name)
{
	struct ib_device *ibdev;
	unsigned long id;

	lockdep_assert_held(&ear_mutex);

	xa_for_each(&ear_devices, id, ibdev) {
		if (!strcmp(dev_name(&ibdev->dev), name))
			return ibdev;
	}

	return NULL;
}

static int ear_open(const char *name, const char *group)
{
	int err;

	lockdep_assert_held(&ear_mutex);

	err = ear_close();
	if (err)
		return err;

	ear_dev = ear_device_find(name);
	if (!ear_dev)
		return -ENODEV;

	ear_received = 0;
	memset(&ear_wc, 0, sizeof(ear_wc));
	err = ear_build();
	if (!err && group)
		err = ear_attach(group);
	if (err)
		ear_close();
	return err;
}

static int ear_device_add(struct ib_device *ibdev)
{
	u32 id;

	return xa_alloc(&ear_devices, &id, ibdev, xa_limit_32b, GFP_KERNEL);
}

/* The mutex keeps an HCA that was found from being removed. */
static void ear_device_remove(struct ib_device *ibdev, void *client_data)
{
	struct ib_device *known;
	unsigned long id;

	mutex_lock(&ear_mutex);
	if (ear_dev == ibdev)
		WARN_ON(ear_close());
	xa_for_each(&ear_devices, id, known) {
		if (known == ibdev)
			xa_erase(&ear_devices, id);
	}
	mutex_unlock(&ear_mutex);
}

static struct ib_client ear_client = {
	.name = "fabric_ear",
	.add = ear_device_add,
	.remove = ear_device_remove,
};

/* --- The file ------------------------------------------------------------ */

static void ear_show_message(struct seq_file *m)
{
	u32 i;

	lockdep_assert_held(&ear_lock);

	seq_printf(m, "src_qpn %u\nslid %u\nsl %u\npkey_index %u\n",
		   ear_wc.src_qp, ear_wc.slid, ear_wc.sl, ear_wc.pkey_index);
	if (ear_wc.wc_flags & IB_WC_GRH)
		seq_printf(m, "grh %*phN\n", EAR_GRH, ear_message);
	seq_puts(m, "data ");
	for (i = EAR_GRH; i < ear_wc.byte_len; i++)
		seq_printf(m, "%02x", ear_message[i]);
	seq_putc(m, '\n');
}

static int ear_show(struct seq_file *m, void *unused)
{
	mutex_lock(&ear_mutex);
	if (ear_qp) {
		seq_printf(m, "qpn %u\nqkey %u\n", ear_qp->qp_num, EAR_QKEY);
		spin_lock_bh(&ear_lock);
		seq_printf(m, "received %llu\n", ear_received);
		if (ear_received)
			ear_show_message(m);
		spin_unlock_bh(&ear_lock);
	}
	mutex_unlock(&ear_mutex);

	return 0;
}

static int ear_file_open(struct inode *inode, struct file *file)
{
	return single_open_size(file, ear_show, NULL, 4 * EAR_BYTES);
}

static ssize_t ear_write(struct file *file, const char __user *user,
			 size_t count, loff_t *pos)
{
	char line[IB_DEVICE_NAME_MAX + INET6_ADDRSTRLEN];
	char *group = line, *name;
	int err;

	if (!count || count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, user, count))
		return -EFAULT;
	line[count] = '\0';
	strim(line);
	name = strsep(&group, " ");

	mutex_lock(&ear_mutex);
	err = strcmp(name, "off") ? ear_open(name, group) : ear_close();
	mutex_unlock(&ear_mutex);
	return err ? err : count;
}

static const struct file_operations ear_fops = {
	.owner = THIS_MODULE,
	.open = ear_file_open,
	.read = seq_read,
	.write = ear_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init ear_init(void)
{
	int err = ib_register_client(&ear_client);

	if (err)
		return err;

	ear_file = debugfs_create_file("fabric_ear", 0600, NULL, NULL,
				       &ear_fops);
	return 0;
}

static void __exit ear_exit(void)
{
	debugfs_remove(ear_file);
	mutex_lock(&ear_mutex);
	WARN_ON(ear_close());
	mutex_unlock(&ear_mutex);
	ib_unregister_client(&ear_client);
	xa_destroy(&ear_devices);
}

module_init(ear_init);
module_exit(ear_exit);

MODULE_DESCRIPTION("A queue pair that shows what it hears");
MODULE_LICENSE("GPL");
