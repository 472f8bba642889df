// SPDX-License-Identifier: GPL-2.0
/*
 * How does a test send bytes of its own choice?
 *
 * The file "inject" of an HCA's port takes a line
 *
 *	dlid=N qpn=N qkey=N data=HEX [pkey=N] [sqpn=N] [sl=N]
 *	[dgid=ADDRESS [sgid_index=N]] [repeat=N]
 *
 * and sends a datagram, as if a queue pair of the port had: what a queue pair
 * would be refused is sent, too, and dropped where hardware drops it. With
 * qpn=0 it is a subnet management packet. Line by line in one write() each.
 *
 * Order of this file: sending, reading a line, the file.
 */
#include <linux/inet.h>
#include <linux/slab.h>

#include "fab_debugfs.h"
#include "fab_wirefault.h"

/* Two digits a byte, and room for the words around them */
#define FAB_INJECT_LINE		(2 * FAB_MTU_MAX + 512)
/* They are sent in one go, with softirqs off. */
#define FAB_INJECT_REPEAT	10000
/* A queue pair no port has, when none is given */
#define FAB_INJECT_QPN		2

/**
 * struct fab_injection - what a line asks for
 * @ah: destination, GRH
 * @qpn: destination QP
 * @qkey: Q_Key
 * @pkey: P_Key
 * @sqpn: source QP
 * @repeat: times it is sent
 * @given: required words that were there, by bit
 * @length: bytes of @data
 * @data: payload
 */
struct fab_injection {
	struct fab_ah ah;
	u32 qpn;
	u32 qkey;
	u32 pkey;
	u32 sqpn;
	u32 repeat;
	unsigned int given;
	u32 length;
	u8 data[FAB_MTU_MAX];
};

/* --- Sending ------------------------------------------------------------- */

static void fab_inject_smp(struct fab_port *port,
			   const struct fab_injection *in)
{
	struct fab_smp smp = {
		.in_port = port,
		.slid = READ_ONCE(port->lid),
		.dlid = in->ah.dlid,
	};

	if (smp.dlid == FAB_LID_PERMISSIVE)
		smp.slid = FAB_LID_PERMISSIVE;
	memcpy(&smp.mad, in->data, sizeof(smp.mad));
	fab_count(port, FAB_SENT);
	fab_link_send_smp(port, &smp);
}

static void fab_inject_datagram(struct fab_port *port,
				const struct fab_injection *in)
{
	const struct ib_sge sge = {
		.addr = (uintptr_t)in->data,
		.length = in->length,
		.lkey = FAB_LOCAL_LKEY,
	};
	struct fab_packet pkt = {
		.src = port,
		.src_qpn = in->sqpn,
		.slid = READ_ONCE(port->lid),
		.dlid = in->ah.dlid,
		.sl = in->ah.sl,
		.has_grh = in->ah.has_grh,
		.pkey = in->pkey,
		.dest_qpn = in->qpn,
		.qkey = in->qkey,
		.sge = &sge,
		.num_sge = 1,
		.length = in->length,
	};

	if (in->ah.has_grh)
		fab_grh_build(&pkt.grh, port, &in->ah, in->length);
	fab_count(port, FAB_SENT);
	fab_link_send(port, &pkt);
}

/* Packets move in softirq; this comes as near as a process can. */
static void fab_inject(struct fab_port *port, const struct fab_injection *in)
{
	u32 i;

	local_bh_disable();
	rcu_read_lock();
	for (i = 0; i < in->repeat; i++) {
		if (in->qpn)
			fab_inject_datagram(port, in);
		else
			fab_inject_smp(port, in);
	}
	rcu_read_unlock();
	local_bh_enable();
}

/* --- Reading a line ------------------------------------------------------ */

static int fab_inject_set_data(struct fab_injection *in, const char *value)
{
	size_t digits = strlen(value);

	if (digits % 2 || digits / 2 > sizeof(in->data) ||
	    hex2bin(in->data, value, digits / 2))
		return -EINVAL;

	in->length = digits / 2;
	return 0;
}

static int fab_inject_set_dgid(struct fab_injection *in, const char *value)
{
	if (!in6_pton(value, -1, in->ah.dgid.raw, -1, NULL))
		return -EINVAL;

	in->ah.has_grh = true;
	return 0;
}

enum fab_inject_word {
	FAB_INJECT_DLID,
	FAB_INJECT_DEST_QPN,
	FAB_INJECT_QKEY,
	FAB_INJECT_DATA,
	/* first that may be left out */
	FAB_INJECT_PKEY,
	FAB_INJECT_SQPN,
	FAB_INJECT_SL,
	FAB_INJECT_DGID,
	FAB_INJECT_SGID_INDEX,
	FAB_INJECT_TIMES,
	FAB_INJECT_WORDS,
};

#define FAB_INJECT_REQUIRED GENMASK(FAB_INJECT_PKEY - 1, 0)

static const struct {
	const char *name;
	u32 min;
	u32 max;
} fab_inject_words[FAB_INJECT_WORDS] = {
	[FAB_INJECT_DLID] = { "dlid", 1, U16_MAX },
	[FAB_INJECT_DEST_QPN] = { "qpn", 0, FAB_QPN_MCAST },
	[FAB_INJECT_QKEY] = { "qkey", 0, U32_MAX },
	[FAB_INJECT_DATA] = { "data" },
	[FAB_INJECT_PKEY] = { "pkey", 0, U16_MAX },
	[FAB_INJECT_SQPN] = { "sqpn", 0, FAB_QPN_MCAST },
	[FAB_INJECT_SL] = { "sl", 0, 15 },
	[FAB_INJECT_DGID] = { "dgid" },
	[FAB_INJECT_SGID_INDEX] = { "sgid_index", 0, FAB_MAX_GIDS - 1 },
	[FAB_INJECT_TIMES] = { "repeat", 1, FAB_INJECT_REPEAT },
};

static void fab_inject_set_number(struct fab_injection *in,
				  enum fab_inject_word which, u32 number)
{
	switch (which) {
	case FAB_INJECT_DLID:
		in->ah.dlid = number;
		break;
	case FAB_INJECT_DEST_QPN:
		in->qpn = number;
		break;
	case FAB_INJECT_QKEY:
		in->qkey = number;
		break;
	case FAB_INJECT_PKEY:
		in->pkey = number;
		break;
	case FAB_INJECT_SQPN:
		in->sqpn = number;
		break;
	case FAB_INJECT_SL:
		in->ah.sl = number;
		break;
	case FAB_INJECT_SGID_INDEX:
		in->ah.sgid_index = number;
		break;
	default:
		in->repeat = number;
	}
}

static int fab_inject_set_value(struct fab_injection *in,
				enum fab_inject_word which, const char *value)
{
	u32 number;

	if (which == FAB_INJECT_DATA)
		return fab_inject_set_data(in, value);
	if (which == FAB_INJECT_DGID)
		return fab_inject_set_dgid(in, value);
	if (kstrtou32(value, 0, &number) ||
	    number < fab_inject_words[which].min ||
	    number > fab_inject_words[which].max)
		return -EINVAL;

	fab_inject_set_number(in, which, number);
	return 0;
}

static int fab_inject_set_word(struct fab_injection *in, char *word)
{
	const char *name = strsep(&word, "=");
	int which;

	for (which = 0; which < FAB_INJECT_WORDS; which++) {
		if (strcmp(name, fab_inject_words[which].name))
			continue;
		in->given |= BIT(which);
		return word ? fab_inject_set_value(in, which, word) : -EINVAL;
	}

	return -EINVAL;
}

static bool fab_injection_valid(const struct fab_injection *in,
				const struct fab_port *port)
{
	if ((in->given & FAB_INJECT_REQUIRED) != FAB_INJECT_REQUIRED)
		return false;
	if ((in->given & BIT(FAB_INJECT_SGID_INDEX)) && !in->ah.has_grh)
		return false;
	if (in->ah.sgid_index >= fab_num_gids(port))
		return false;

	return in->qpn ? in->length <= READ_ONCE(port->mtu_bytes) :
			 in->length == sizeof(struct ib_smp);
}

static int fab_inject_read(struct fab_injection *in,
			   const struct fab_port *port, char *line)
{
	char *word;
	int err;

	in->repeat = 1;
	in->sqpn = FAB_INJECT_QPN;
	in->pkey = READ_ONCE(port->pkeys[0]);
	while ((word = strsep(&line, " "))) {
		if (!*word)
			continue;
		err = fab_inject_set_word(in, word);
		if (err)
			return err;
	}

	return fab_injection_valid(in, port) ? 0 : -EINVAL;
}

/* What the log says of a line that is refused */
#define FAB_INJECT_TAKES						\
	"dlid qpn qkey data [pkey] [sqpn] [sl] [dgid [sgid_index]] [repeat] as NAME=NUMBER: "	\
	"data up to %u bytes in hex and the port's MTU, %zu to qpn 0; "	\
	"dlid 1 to %u, pkey as dlid or 0, qkey of 32 bits, qpn and sqpn 0 to %#x, sl 0 to 15, "	\
	"sgid_index 0 to %u and the table's end, repeat 1 to %u"

/* --- The file ------------------------------------------------------------ */

static int fab_inject_line(struct fab_port *port, char *line)
{
	struct fab_injection *in = kzalloc_obj(*in, GFP_KERNEL);
	int err;

	if (!in)
		return -ENOMEM;

	err = fab_inject_read(in, port, line);
	if (!err)
		fab_inject(port, in);
	kfree(in);
	return err;
}

static ssize_t fab_inject_write(struct file *file, const char __user *from,
				size_t count, loff_t *pos)
{
	char *line = kmalloc(FAB_INJECT_LINE, GFP_KERNEL);
	int err;

	if (!line)
		return -ENOMEM;

	err = fab_get_line(line, FAB_INJECT_LINE, from, count);
	if (!err)
		err = fab_inject_line(file->private_data, line);
	kfree(line);
	fab_refused(file, err, FAB_INJECT_TAKES, FAB_MTU_MAX,
		    sizeof(struct ib_smp), U16_MAX, FAB_QPN_MCAST,
		    FAB_MAX_GIDS - 1, FAB_INJECT_REPEAT);
	return err ? err : count;
}

static const struct file_operations fab_inject_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = fab_inject_write,
};

/**
 * fab_inject_debugfs - create the file "inject"
 * @port: port of an HCA
 * @dir: folder of the port
 */
void fab_inject_debugfs(struct fab_port *port, struct dentry *dir)
{
	debugfs_create_file("inject", 0200, dir, port, &fab_inject_fops);
}
