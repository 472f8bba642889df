// SPDX-License-Identifier: GPL-2.0
/*
 * What comes of one send request, given byte by byte?
 *
 *	echo "fab1 fab2 csum data=HEX" > /sys/kernel/debug/fabric_post
 *	echo "fab1 fab2 csum mss=1000 header=HEX data=HEX" > ...
 *	cat /sys/kernel/debug/fabric_post
 *
 * The write posts the request and returns when it has completed; the read
 * tells what post_send() returned, how it completed, and every packet that
 * arrived, one a line:
 *
 *	post 0
 *	send 0 8
 *	recv 8 0800...
 *
 * Numbers are status and opcode, and flags, of enum ib_wc_*; the GRH is left
 * out. Words: csum is IB_SEND_IP_CSUM; header= or mss= makes it IB_WR_LSO;
 * sges=N spreads the data over N SGEs of unlike lengths; inline sends it
 * inline; plain makes the queue pair without IB_QP_CREATE_IPOIB_UD_LSO.
 *
 * Works on any HCA with InfiniBand ports; only port 1 and P_Key index 0 are
 * used. Order of this file: HCAs, reading a line, buffers, ends, a run, the
 * file.
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>

#include "fab_compat.h"

#define POST_QKEY	0x00c0ffee
#define POST_GRH	40
#define POST_PORT	1
/* Largest payload of a packet, and packets one request may become */
#define POST_MTU	4096
#define POST_RECVS	256
#define POST_SGES	16
#define POST_INLINE	512
#define POST_DATA	SZ_128K
/* More than any HCA allows, to see that it is refused */
#define POST_HEADER	256
/* Two digits a byte, and room for the words around them */
#define POST_LINE	(2 * (POST_DATA + POST_HEADER) + 256)
/* Until a request has completed */
#define POST_WAIT	(5 * HZ)

/**
 * struct post_order - what a line asks for
 * @from: HCA that sends
 * @to: HCA that receives
 * @csum: IB_SEND_IP_CSUM
 * @inlined: IB_SEND_INLINE
 * @plain: the queue pair is not for segmentation
 * @lso: IB_WR_LSO
 * @mss: of it
 * @sges: entries of the scatter list
 * @hlen: bytes of @header
 * @header: of IB_WR_LSO
 * @bytes: bytes of @data
 * @data: payload, POST_DATA bytes of room
 */
struct post_order {
	const char *from;
	const char *to;
	bool csum;
	bool inlined;
	bool plain;
	bool lso;
	int mss;
	unsigned int sges;
	size_t hlen;
	u8 header[POST_HEADER];
	size_t bytes;
	u8 *data;
};

/**
 * struct post_packet - a receive request, then what arrived in it
 * @cqe: completion
 * @sge: its buffer, for the HCA
 * @buf: its buffer
 * @wc: how it completed; @arrived
 * @arrived: something is there
 */
struct post_packet {
	struct ib_cqe cqe;
	struct ib_sge sge;
	u8 *buf;
	struct ib_wc wc;
	bool arrived;
};

/**
 * struct post_end - one of the two HCAs of a run
 * @dev: the HCA
 * @pd: protection domain
 * @cq: completions, polled by the run
 * @qp: UD queue pair
 */
struct post_end {
	struct ib_device *dev;
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_qp *qp;
};

/**
 * struct post_run - a request on its way, and what became of it
 * @order: the request
 * @from: sender
 * @to: receiver
 * @ah: towards the receiver
 * @addr: of the payload, for the HCA
 * @sent: completion of the send
 * @wc: how it completed
 * @done: it completed
 * @err: what post_send() returned
 * @packets: POST_RECVS receive requests
 */
struct post_run {
	struct post_order order;
	struct post_end from;
	struct post_end to;
	struct ib_ah *ah;
	u64 addr;
	struct ib_cqe sent;
	struct ib_wc wc;
	bool done;
	int err;
	struct post_packet packets[POST_RECVS];
};

/* One run at a time; guards post_last and post_devices, too. */
static DEFINE_MUTEX(post_mutex);
static DEFINE_XARRAY_ALLOC(post_devices);
static struct post_run *post_last;
static struct dentry *post_file;

/* --- HCAs ---------------------------------------------------------------- */

static int post_device_add(struct ib_device *ibdev)
{
	u32 id;

	return xa_alloc(&post_devices, &id, ibdev, xa_limit_31b, GFP_KERNEL);
}

/* Waits for a run to end: it is bounded. */
static void post_device_remove(struct ib_device *ibdev, void *client_data)
{
	struct ib_device *dev;
	unsigned long id;

	mutex_lock(&post_mutex);
	xa_for_each(&post_devices, id, dev) {
		if (dev == ibdev)
			xa_erase(&post_devices, id);
	}
	mutex_unlock(&post_mutex);
}

static struct ib_client post_client = {
	.name = "fabric_post",
	.add = post_device_add,
	.remove = post_device_remove,
};

static struct ib_device *post_device_find(const char *name)
{
	struct ib_device *dev;
	unsigned long id;

	lockdep_assert_held(&post_mutex);

	xa_for_each(&post_devices, id, dev) {
		if (!strcmp(dev_name(&dev->dev), name))
			return dev;
	}

	return NULL;
}

/* --- Reading a line ------------------------------------------------------ */

static int post_hex(u8 *to, size_t room, const char *text, size_t *bytes)
{
	size_t digits = strlen(text);

	if (digits % 2 || digits / 2 > room || hex2bin(to, text, digits / 2))
		return -EINVAL;

	*bytes = digits / 2;
	return 0;
}

static int post_read_value(struct post_order *order, const char *name,
			   const char *value)
{
	if (!strcmp(name, "data"))
		return post_hex(order->data, POST_DATA, value, &order->bytes);
	if (!strcmp(name, "sges"))
		return kstrtouint(value, 0, &order->sges);

	order->lso = true;
	if (!strcmp(name, "header"))
		return post_hex(order->header, POST_HEADER, value,
				&order->hlen);
	if (!strcmp(name, "mss"))
		return kstrtoint(value, 0, &order->mss);
	return -EINVAL;
}

static int post_read_word(struct post_order *order, char *word)
{
	const char *name = strsep(&word, "=");

	if (word)
		return post_read_value(order, name, word);

	if (!strcmp(name, "csum"))
		order->csum = true;
	else if (!strcmp(name, "inline"))
		order->inlined = true;
	else if (!strcmp(name, "plain"))
		order->plain = true;
	else
		return -EINVAL;
	return 0;
}

static int post_read(struct post_order *order, char *line)
{
	char *word;
	int err;

	order->from = strsep(&line, " ");
	order->to = strsep(&line, " ");
	order->sges = 1;
	while ((word = strsep(&line, " "))) {
		err = post_read_word(order, word);
		if (err)
			return err;
	}

	return order->to && order->sges && order->sges <= POST_SGES ? 0 :
								      -EINVAL;
}

/* --- Buffers ------------------------------------------------------------- */

static void post_packets_free(struct post_run *run)
{
	unsigned int i;

	for (i = 0; i < POST_RECVS; i++) {
		if (run->packets[i].sge.length)
			ib_dma_unmap_single(run->to.dev,
					    run->packets[i].sge.addr,
					    POST_GRH + POST_MTU,
					    DMA_FROM_DEVICE);
		run->packets[i].sge.length = 0;
	}
}

static void post_arrived(struct ib_cq *cq, struct ib_wc *wc)
{
	struct post_packet *packet = container_of(wc->wr_cqe,
						  struct post_packet, cqe);

	packet->wc = *wc;
	packet->arrived = wc->status == IB_WC_SUCCESS;
}

static int post_packet_add(struct post_run *run, struct post_packet *packet)
{
	struct ib_recv_wr wr = {
		.wr_cqe = &packet->cqe,
		.sg_list = &packet->sge,
		.num_sge = 1,
	};
	u64 addr;

	packet->buf = kzalloc(POST_GRH + POST_MTU, GFP_KERNEL);
	if (!packet->buf)
		return -ENOMEM;
	addr = ib_dma_map_single(run->to.dev, packet->buf, POST_GRH + POST_MTU,
				 DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(run->to.dev, addr))
		return -EIO;

	packet->sge.addr = addr;
	packet->sge.length = POST_GRH + POST_MTU;
	packet->sge.lkey = run->to.pd->local_dma_lkey;
	packet->cqe.done = post_arrived;
	return ib_post_recv(run->to.qp, &wr, NULL);
}

static int post_packets_add(struct post_run *run)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < POST_RECVS && !err; i++)
		err = post_packet_add(run, &run->packets[i]);
	return err;
}

static void post_forget(struct post_run *run)
{
	unsigned int i;

	if (!run)
		return;

	for (i = 0; i < POST_RECVS; i++)
		kfree(run->packets[i].buf);
	kfree(run->order.data);
	kvfree(run);
}

/* --- Ends ---------------------------------------------------------------- */

static int post_qp_up(struct ib_qp *qp)
{
	static const struct {
		enum ib_qp_state state;
		int mask;
	} steps[] = {
		{ IB_QPS_INIT, IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_QKEY },
		{ IB_QPS_RTR, 0 },
		{ IB_QPS_RTS, IB_QP_SQ_PSN },
	};
	struct ib_qp_attr attr = {
		.port_num = POST_PORT,
		.qkey = POST_QKEY,
	};
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(steps) && !err; i++) {
		attr.qp_state = steps[i].state;
		err = ib_modify_qp(qp, &attr, steps[i].mask | IB_QP_STATE);
	}

	return err;
}

static void post_end_close(struct post_end *end)
{
	if (!IS_ERR_OR_NULL(end->qp))
		ib_destroy_qp(end->qp);
	if (!IS_ERR_OR_NULL(end->cq))
		ib_free_cq(end->cq);
	if (!IS_ERR_OR_NULL(end->pd))
		ib_dealloc_pd(end->pd);
}

/* What it got so far is given back by post_end_close(). */
static int post_end_open(struct post_end *end, const char *name, u32 flags,
			 const struct ib_qp_cap *cap)
{
	struct ib_qp_init_attr init = {
		.cap = *cap,
		.sq_sig_type = IB_SIGNAL_ALL_WR,
		.qp_type = IB_QPT_UD,
		.create_flags = flags,
	};

	end->dev = post_device_find(name);
	if (!end->dev)
		return -ENODEV;
	end->pd = ib_alloc_pd(end->dev, 0);
	if (IS_ERR(end->pd))
		return PTR_ERR(end->pd);
	end->cq = ib_alloc_cq(end->dev, end, POST_RECVS + 1, 0,
			      IB_POLL_DIRECT);
	if (IS_ERR(end->cq))
		return PTR_ERR(end->cq);

	init.send_cq = end->cq;
	init.recv_cq = end->cq;
	end->qp = ib_create_qp(end->pd, &init);
	if (IS_ERR(end->qp))
		return PTR_ERR(end->qp);
	return post_qp_up(end->qp);
}

static int post_point(struct post_run *run)
{
	struct rdma_ah_attr attr = { .type = RDMA_AH_ATTR_TYPE_IB };
	struct ib_port_attr port;
	int err;

	err = ib_query_port(run->to.dev, POST_PORT, &port);
	if (err)
		return err;

	rdma_ah_set_dlid(&attr, port.lid);
	rdma_ah_set_port_num(&attr, POST_PORT);
	run->ah = rdma_create_ah(run->from.pd, &attr, RDMA_CREATE_AH_SLEEPABLE);
	return PTR_ERR_OR_ZERO(run->ah);
}

/* --- A run --------------------------------------------------------------- */

static void post_sent(struct ib_cq *cq, struct ib_wc *wc)
{
	struct post_run *run = container_of(wc->wr_cqe, struct post_run, sent);

	run->wc = *wc;
	run->done = true;
}

/* Each entry but the last is longer than the one before, and odd lengths are
 * among them.
 */
static void post_spread(const struct post_run *run, struct ib_sge *sge)
{
	unsigned int n = run->order.sges;
	u32 left = run->order.bytes;
	u64 addr = run->addr;
	unsigned int i;

	for (i = 0; i < n; i++) {
		u32 part = (2 * i + 1) * run->order.bytes / (n * n);

		sge[i].addr = addr;
		sge[i].length = i + 1 < n ? part : left;
		sge[i].lkey = run->from.pd->local_dma_lkey;
		addr += part;
		left -= part;
	}
}

static void post_send(struct post_run *run)
{
	struct post_order *order = &run->order;
	struct ib_sge sge[POST_SGES];
	struct ib_ud_wr wr = {
		.wr = {
			.wr_cqe = &run->sent,
			.sg_list = sge,
			.num_sge = order->sges,
			.opcode = order->lso ? IB_WR_LSO : IB_WR_SEND,
			.send_flags = IB_SEND_SIGNALED |
				      (order->csum ? IB_SEND_IP_CSUM : 0) |
				      (order->inlined ? IB_SEND_INLINE : 0),
		},
		.ah = run->ah,
		.remote_qpn = run->to.qp->qp_num,
		.remote_qkey = POST_QKEY,
		.header = order->header,
		.hlen = order->hlen,
		.mss = order->mss,
	};

	post_spread(run, sge);
	run->sent.done = post_sent;
	run->err = ib_post_send(run->from.qp, &wr.wr, NULL);
	/* A real HCA has its own copy by now. */
	memset(order->header, 0xdd, sizeof(order->header));
}

static void post_wait(struct post_run *run)
{
	unsigned long end = jiffies + POST_WAIT;

	while (!run->err && !run->done && time_before(jiffies, end)) {
		ib_process_cq_direct(run->from.cq, -1);
		cond_resched();
	}
	/* The fabric delivers before it completes the send. */
	ib_process_cq_direct(run->to.cq, -1);
}

static int post_send_mapped(struct post_run *run)
{
	int err = post_packets_add(run);

	if (err)
		return err;

	run->addr = ib_dma_map_single(run->from.dev, run->order.data, POST_DATA,
				      DMA_TO_DEVICE);
	if (ib_dma_mapping_error(run->from.dev, run->addr))
		return -EIO;
	post_send(run);
	post_wait(run);
	ib_dma_unmap_single(run->from.dev, run->addr, POST_DATA,
			    DMA_TO_DEVICE);
	return 0;
}

static int post_do(struct post_run *run)
{
	const struct post_order *order = &run->order;
	const struct ib_qp_cap send = {
		.max_send_wr = 1,
		.max_send_sge = order->sges,
		.max_inline_data = order->inlined ? POST_INLINE : 0,
	};
	const struct ib_qp_cap recv = {
		.max_recv_wr = POST_RECVS,
		.max_recv_sge = 1,
	};
	int err;

	err = post_end_open(&run->from, order->from, order->lso &&
			    !order->plain ? IB_QP_CREATE_IPOIB_UD_LSO : 0,
			    &send);
	if (!err)
		err = post_end_open(&run->to, order->to, 0, &recv);
	if (!err)
		err = post_point(run);
	if (!err)
		err = post_send_mapped(run);
	if (!IS_ERR_OR_NULL(run->ah))
		rdma_destroy_ah(run->ah, RDMA_DESTROY_AH_SLEEPABLE);
	post_end_close(&run->from);
	/* Its buffers are the HCA's until the queue pair is gone. */
	if (!IS_ERR_OR_NULL(run->to.qp))
		ib_destroy_qp(run->to.qp);
	run->to.qp = NULL;
	post_packets_free(run);
	post_end_close(&run->to);
	return err;
}

static int post_line(char *line)
{
	struct post_run *run = kvzalloc(sizeof(*run), GFP_KERNEL);
	int err = -ENOMEM;

	if (!run)
		return err;

	run->order.data = kzalloc(POST_DATA, GFP_KERNEL);
	if (run->order.data)
		err = post_read(&run->order, line);
	if (!err)
		err = post_do(run);
	if (err) {
		post_forget(run);
		return err;
	}

	post_forget(post_last);
	post_last = run;
	return 0;
}

/* --- The file ------------------------------------------------------------ */

static void post_show_packet(struct seq_file *m,
			     const struct post_packet *packet)
{
	u32 i;

	if (!packet->arrived)
		return;

	seq_printf(m, "recv %d ", packet->wc.wc_flags);
	for (i = POST_GRH; i < packet->wc.byte_len; i++)
		seq_printf(m, "%02x", packet->buf[i]);
	seq_putc(m, '\n');
}

static int post_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	mutex_lock(&post_mutex);
	if (post_last) {
		seq_printf(m, "post %d\n", post_last->err);
		if (post_last->done)
			seq_printf(m, "send %d %d\n", post_last->wc.status,
				   post_last->wc.opcode);
		for (i = 0; i < POST_RECVS; i++)
			post_show_packet(m, &post_last->packets[i]);
	}
	mutex_unlock(&post_mutex);

	return 0;
}

static int post_open(struct inode *inode, struct file *file)
{
	return single_open(file, post_show, NULL);
}

static ssize_t post_write(struct file *file, const char __user *user,
			  size_t count, loff_t *pos)
{
	char *line;
	int err;

	if (count > POST_LINE)
		return -EINVAL;
	line = kvzalloc(count + 1, GFP_KERNEL);
	if (!line)
		return -ENOMEM;
	if (copy_from_user(line, user, count)) {
		kvfree(line);
		return -EFAULT;
	}

	mutex_lock(&post_mutex);
	err = post_line(strim(line));
	mutex_unlock(&post_mutex);
	kvfree(line);
	return err ? err : count;
}

static const struct file_operations post_fops = {
	.owner = THIS_MODULE,
	.open = post_open,
	.read = seq_read,
	.write = post_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init post_init(void)
{
	int err = ib_register_client(&post_client);

	if (err)
		return err;

	post_file = debugfs_create_file("fabric_post", 0600, NULL, NULL,
					&post_fops);
	return 0;
}

static void __exit post_exit(void)
{
	debugfs_remove(post_file);
	ib_unregister_client(&post_client);
	post_forget(post_last);
}

module_init(post_init);
module_exit(post_exit);

MODULE_DESCRIPTION("One send request, byte by byte, and what comes of it");
MODULE_LICENSE("GPL");
