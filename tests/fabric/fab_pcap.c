// SPDX-License-Identifier: GPL-2.0
/*
 * What went over the cable of a port?
 *
 * The file "pcap" of a port is a live stream that packet analysers read:
 * opening it begins a capture of what leaves the port and what arrives at it,
 * closing it ends the capture. Packets travel the fabric as numbers; here
 * alone they become the bytes that a cable would carry, checksums included.
 * A reader that is too slow loses packets, which the port counts, and never
 * holds the fabric up.
 *
 * Order of this file: checksums, bytes of a packet, the ring, capturing, the
 * file.
 */
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <rdma/ib_pack.h>

#include "fab_debugfs.h"
#include "fab_wirefault.h"

/* Bytes a reader may lag behind; a power of two, so that positions may wrap */
#define FAB_CAPTURE_ROOM	BIT(20)

/* LRH, GRH, BTH, DETH, immediate, payload with its padding, ICRC, VCRC */
#define FAB_CAPTURE_HEADERS	(8 + FAB_GRH_LEN + 12 + 8 + 4)
#define FAB_CAPTURE_PAYLOAD	4096
#define FAB_CAPTURE_TRAILER	(4 + 2)

/* Format of the file: libpcap's, with times in nanoseconds */
#define FAB_PCAP_MAGIC		0xa1b23c4d
#define FAB_PCAP_MAJOR		2
#define FAB_PCAP_MINOR		4
#define FAB_PCAP_SNAPLEN	65535
#define FAB_LINKTYPE_INFINIBAND	247

struct fab_pcap_file {
	u32 magic;
	u16 major;
	u16 minor;
	u32 zone;
	u32 accuracy;
	u32 snaplen;
	u32 linktype;
};

static_assert(sizeof(struct fab_pcap_file) == 24);

struct fab_pcap_record {
	u32 seconds;
	u32 nanoseconds;
	u32 captured;
	u32 length;
};

static_assert(sizeof(struct fab_pcap_record) == 16);

/**
 * struct fab_capture - an open capture
 * @port: whose cable
 * @lock: one packet after the other: @record, @bytes, @head
 * @record: goes before @bytes into the ring
 * @bytes: the packet being captured
 * @head: bytes ever written to @ring; @lock, the reader looks at it
 * @tail: bytes ever read; @reader, the writer looks at it
 * @reader: one reader after the other
 * @wait: readers that found nothing
 * @ring: what was not read yet
 */
struct fab_capture {
	struct fab_port *port;
	spinlock_t lock; /* record, bytes, head */
	struct fab_pcap_record record;
	u8 bytes[FAB_CAPTURE_HEADERS + FAB_CAPTURE_PAYLOAD +
		 FAB_CAPTURE_TRAILER];
	u32 head;
	u32 tail;
	struct mutex reader; /* tail */
	wait_queue_head_t wait;
	u8 ring[FAB_CAPTURE_ROOM];
};

/* --- Checksums ----------------------------------------------------------- */

/* The generators of IBA 7.8, the lowest coefficient in the highest bit: the
 * first bit on the cable is the lowest of a byte.
 */
#define FAB_ICRC_POLY		0xedb88320
#define FAB_VCRC_POLY		0xd008

static u32 fab_crc(u32 crc, u32 poly, const u8 *bytes, size_t length)
{
	int bit;

	while (length--) {
		crc ^= *bytes++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ poly : crc >> 1;
	}

	return crc;
}

/* Bits that a switch or a router may change count as ones, IBA 7.8.1. */
static u32 fab_icrc_headers(const u8 *bytes, size_t length, bool has_grh)
{
	u8 masked[FAB_CAPTURE_HEADERS];
	size_t bth = IB_LRH_BYTES;

	memcpy(masked, bytes, length);
	if (has_grh) {
		memset(masked, 0xff, IB_LRH_BYTES);
		/* traffic class, flow label; hop limit */
		masked[IB_LRH_BYTES] |= 0x0f;
		memset(masked + IB_LRH_BYTES + 1, 0xff, 3);
		masked[IB_LRH_BYTES + 7] = 0xff;
		bth += IB_GRH_BYTES;
	} else {
		/* virtual lane */
		masked[0] |= 0xf0;
	}
	/* the reserved byte before the destination QP */
	masked[bth + 4] = 0xff;

	return fab_crc(~0, FAB_ICRC_POLY, masked, length);
}

/* --- Bytes of a packet --------------------------------------------------- */

static size_t fab_capture_headers(u8 *bytes, const struct fab_packet *pkt,
				  u8 vl)
{
	struct ib_ud_header head;
	int length;

	ib_ud_header_init(pkt->length, 1, 0, 0, pkt->has_grh, 0, 0,
			  pkt->has_imm, &head);
	head.lrh.virtual_lane = vl;
	head.lrh.service_level = pkt->sl;
	head.lrh.destination_lid = cpu_to_be16(pkt->dlid);
	head.lrh.source_lid = cpu_to_be16(pkt->slid);
	head.lrh.packet_length = cpu_to_be16(fab_packet_words(pkt));
	head.bth.solicited_event = pkt->solicited;
	head.bth.pkey = cpu_to_be16(pkt->pkey);
	head.bth.destination_qpn = cpu_to_be32(pkt->dest_qpn);
	head.bth.psn = cpu_to_be32(pkt->psn);
	head.deth.qkey = cpu_to_be32(pkt->qkey);
	head.deth.source_qpn = cpu_to_be32(pkt->src_qpn);
	head.immediate_data = pkt->imm;

	length = ib_ud_header_pack(&head, bytes);
	if (pkt->has_grh)
		memcpy(bytes + IB_LRH_BYTES, &pkt->grh, IB_GRH_BYTES);
	return length;
}

/* Write the packet as it is on the cable; its length. */
static size_t fab_capture_bytes(u8 *bytes, const struct fab_packet *pkt, u8 vl)
{
	size_t headers = fab_capture_headers(bytes, pkt, vl);
	size_t padded = ALIGN(pkt->length, 4);
	size_t length = headers + padded;
	__le32 icrc;
	__le16 vcrc;
	u32 crc;

	fab_copy_from(bytes + headers, pkt->sge, pkt->num_sge);
	memset(bytes + headers + pkt->length, 0, padded - pkt->length);

	crc = fab_icrc_headers(bytes, headers, pkt->has_grh);
	crc = fab_crc(crc, FAB_ICRC_POLY, bytes + headers, padded);
	icrc = cpu_to_le32(~crc);
	memcpy(bytes + length, &icrc, sizeof(icrc));
	length += sizeof(icrc);

	crc = fab_crc(U16_MAX, FAB_VCRC_POLY, bytes, length);
	vcrc = cpu_to_le16(~crc);
	memcpy(bytes + length, &vcrc, sizeof(vcrc));
	return length + sizeof(vcrc);
}

/* --- The ring ------------------------------------------------------------ */

static u32 fab_ring_room(const struct fab_capture *cap)
{
	/* Pairs with the release in fab_pcap_take(): it has been read. */
	return FAB_CAPTURE_ROOM - (cap->head - smp_load_acquire(&cap->tail));
}

/* Put bytes behind @head, which the caller moves when the record is whole. */
static u32 fab_ring_put(struct fab_capture *cap, u32 at, const void *from,
			u32 length)
{
	u32 start = at % FAB_CAPTURE_ROOM;
	u32 part = min_t(u32, length, FAB_CAPTURE_ROOM - start);

	memcpy(cap->ring + start, from, part);
	memcpy(cap->ring, from + part, length - part);
	return at + length;
}

static bool fab_capture_record(struct fab_capture *cap,
			       const struct fab_packet *pkt, u8 vl)
{
	struct timespec64 now;
	u32 length, at;

	lockdep_assert_held(&cap->lock);

	length = fab_capture_bytes(cap->bytes, pkt, vl);
	if (fab_ring_room(cap) < sizeof(cap->record) + length)
		return false;

	ktime_get_real_ts64(&now);
	cap->record.seconds = now.tv_sec;
	cap->record.nanoseconds = now.tv_nsec;
	cap->record.captured = length;
	cap->record.length = length;
	at = fab_ring_put(cap, cap->head, &cap->record, sizeof(cap->record));
	at = fab_ring_put(cap, at, cap->bytes, length);
	/* The reader sees the bytes when it sees the new head. */
	smp_store_release(&cap->head, at);
	return true;
}

/* --- Capturing ----------------------------------------------------------- */

static void fab_capture_add(struct fab_port *port,
			    const struct fab_packet *pkt, u8 vl)
{
	struct fab_capture *cap = rcu_dereference(port->capture);
	unsigned long flags;
	bool kept;

	if (!cap)
		return;

	spin_lock_irqsave(&cap->lock, flags);
	kept = fab_capture_record(cap, pkt, vl);
	spin_unlock_irqrestore(&cap->lock, flags);

	fab_count(port, kept ? FAB_CAPTURED : FAB_CAPTURE_LOST);
	if (kept)
		wake_up_interruptible(&cap->wait);
}

static void fab_capture_smp(struct fab_port *port, const struct fab_smp *smp)
{
	struct ib_sge sge = {
		.addr = (uintptr_t)&smp->mad,
		.length = sizeof(smp->mad),
		.lkey = FAB_LOCAL_LKEY,
	};
	struct fab_packet pkt = {
		.slid = smp->slid,
		.dlid = smp->dlid,
		.pkey = FAB_PKEY_DEFAULT,
		.sge = &sge,
		.num_sge = 1,
		.length = sizeof(smp->mad),
	};

	fab_capture_add(port, &pkt, FAB_VL_MANAGEMENT);
}

/**
 * fab_capture - a packet leaves a port by its cable, or arrives there
 * @port: the port
 * @what: the packet
 *
 * Context: softirq, RCU read section. Nothing happens when nobody looks.
 */
void fab_capture(struct fab_port *port, const struct fab_freight *what)
{
	if (what->pkt)
		fab_capture_add(port, what->pkt, 0);
	else
		fab_capture_smp(port, what->smp);
}

/* --- The file ------------------------------------------------------------ */

/* One capture a port at a time. */
static DEFINE_MUTEX(fab_capture_mutex);

static struct fab_capture *fab_capture_create(struct fab_port *port)
{
	struct fab_capture *cap = vzalloc(sizeof(*cap));
	const struct fab_pcap_file head = {
		.magic = FAB_PCAP_MAGIC,
		.major = FAB_PCAP_MAJOR,
		.minor = FAB_PCAP_MINOR,
		.snaplen = FAB_PCAP_SNAPLEN,
		.linktype = FAB_LINKTYPE_INFINIBAND,
	};

	if (!cap)
		return NULL;

	cap->port = port;
	spin_lock_init(&cap->lock);
	mutex_init(&cap->reader);
	init_waitqueue_head(&cap->wait);
	cap->head = fab_ring_put(cap, 0, &head, sizeof(head));
	return cap;
}

/*
 * Send packets of this cable by way of fab_wire_leave(), in both directions:
 * there alone somebody looks for captures.
 */
static void fab_pcap_divert(struct fab_port *port)
{
	struct fab_port *peer = port->peer;
	bool watched = rcu_access_pointer(port->capture) ||
		       (peer && rcu_access_pointer(peer->capture));

	lockdep_assert_held(&fab_capture_mutex);

	if (!peer)
		return;

	assign_bit(FAB_FAULT_WATCHED, &port->faults, watched);
	assign_bit(FAB_FAULT_WATCHED, &peer->faults, watched);
}

static int fab_pcap_open(struct inode *inode, struct file *file)
{
	struct fab_port *port = inode->i_private;
	struct fab_capture *cap = fab_capture_create(port);
	int err = -EBUSY;

	if (!cap)
		return -ENOMEM;

	mutex_lock(&fab_capture_mutex);
	if (!rcu_access_pointer(port->capture)) {
		rcu_assign_pointer(port->capture, cap);
		fab_pcap_divert(port);
		err = 0;
	}
	mutex_unlock(&fab_capture_mutex);
	if (err) {
		vfree(cap);
		return err;
	}

	file->private_data = cap;
	return stream_open(inode, file);
}

static int fab_pcap_release(struct inode *inode, struct file *file)
{
	struct fab_capture *cap = file->private_data;

	mutex_lock(&fab_capture_mutex);
	RCU_INIT_POINTER(cap->port->capture, NULL);
	fab_pcap_divert(cap->port);
	mutex_unlock(&fab_capture_mutex);
	/* No packet is being captured after this. */
	synchronize_rcu();
	vfree(cap);
	return 0;
}

static bool fab_pcap_ready(struct fab_capture *cap)
{
	return READ_ONCE(cap->head) != READ_ONCE(cap->tail);
}

static ssize_t fab_pcap_take(struct fab_capture *cap, char __user *to,
			     size_t count)
{
	/* Pairs with the release in fab_capture_record(). */
	u32 head = smp_load_acquire(&cap->head);
	u32 start = cap->tail % FAB_CAPTURE_ROOM;
	u32 part = min_t(size_t, count, head - cap->tail);

	lockdep_assert_held(&cap->reader);

	part = min_t(u32, part, FAB_CAPTURE_ROOM - start);
	if (copy_to_user(to, cap->ring + start, part))
		return -EFAULT;

	/* Pairs with the acquire in fab_ring_room(). */
	smp_store_release(&cap->tail, cap->tail + part);
	return part;
}

/* Waits for the next packet; never reports an end. */
static ssize_t fab_pcap_read(struct file *file, char __user *to, size_t count,
			     loff_t *pos)
{
	struct fab_capture *cap = file->private_data;
	ssize_t done = 0;
	int err;

	while (count && !done) {
		if (!fab_pcap_ready(cap) && (file->f_flags & O_NONBLOCK))
			return -EAGAIN;
		err = wait_event_interruptible(cap->wait, fab_pcap_ready(cap));
		if (err)
			return err;
		/* Another reader may have been quicker. */
		mutex_lock(&cap->reader);
		done = fab_pcap_take(cap, to, count);
		mutex_unlock(&cap->reader);
	}

	return done;
}

static __poll_t fab_pcap_poll(struct file *file, poll_table *table)
{
	struct fab_capture *cap = file->private_data;

	poll_wait(file, &cap->wait, table);
	return fab_pcap_ready(cap) ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations fab_pcap_fops = {
	.owner = THIS_MODULE,
	.open = fab_pcap_open,
	.read = fab_pcap_read,
	.poll = fab_pcap_poll,
	.release = fab_pcap_release,
};

/**
 * fab_pcap_debugfs - make the file "pcap" of a port
 * @port: the port
 * @dir: its folder
 */
void fab_pcap_debugfs(struct fab_port *port, struct dentry *dir)
{
	debugfs_create_file("pcap", 0400, dir, port, &fab_pcap_fops);
}
