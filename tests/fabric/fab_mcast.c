// SPDX-License-Identifier: GPL-2.0
/*
 * Which queue pairs of a port are attached to a multicast group?
 *
 * Order of this file: attaching, delivery.
 */
#include <linux/jhash.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* --- Attaching ----------------------------------------------------------- */

static struct hlist_head *fab_mcast_bucket(struct fab_port *port,
					   const union ib_gid *mgid)
{
	u32 hash = jhash(mgid->raw, sizeof(mgid->raw), 0);

	return &port->mcast[hash % FAB_MCAST_BUCKETS];
}

static struct fab_mcast_entry *__fab_mcast_find(struct fab_port *port,
						const union ib_gid *mgid,
						const struct fab_qp *qp)
{
	struct fab_mcast_entry *entry;

	lockdep_assert_held(&port->mcast_lock);

	hlist_for_each_entry(entry, fab_mcast_bucket(port, mgid), node) {
		if (entry->qp == qp &&
		    !memcmp(&entry->mgid, mgid, sizeof(*mgid)))
			return entry;
	}

	return NULL;
}

int fab_mcast_attach(struct ib_qp *ibqp, union ib_gid *gid, u16 lid)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	struct fab_mcast_entry *entry;
	bool known;
	int err;

	err = fab_command_refused(qp->hca, FAB_VERB_ATTACH_MCAST,
				  BIT(qp->type));
	if (err)
		return err;
	if (qp->type != IB_QPT_UD || !qp->port || !fab_gid_is_mcast(gid))
		return -EINVAL;

	entry = kzalloc_obj(*entry, GFP_KERNEL);
	if (!entry)
		return -ENOMEM;
	entry->mgid = *gid;
	entry->qp = qp;

	spin_lock_bh(&qp->port->mcast_lock);
	known = __fab_mcast_find(qp->port, gid, qp);
	if (!known)
		hlist_add_head_rcu(&entry->node,
				   fab_mcast_bucket(qp->port, gid));
	spin_unlock_bh(&qp->port->mcast_lock);

	/* Attaching twice is attaching once, IBA 11.3.1. */
	if (known)
		kfree(entry);
	return 0;
}

int fab_mcast_detach(struct ib_qp *ibqp, union ib_gid *gid, u16 lid)
{
	struct fab_qp *qp = to_fab_qp(ibqp);
	struct fab_mcast_entry *entry;
	int err;

	err = fab_command(qp->hca, FAB_VERB_DETACH_MCAST, BIT(qp->type));
	if (err)
		return err;
	if (!qp->port)
		return -EINVAL;

	spin_lock_bh(&qp->port->mcast_lock);
	entry = __fab_mcast_find(qp->port, gid, qp);
	if (entry)
		hlist_del_rcu(&entry->node);
	spin_unlock_bh(&qp->port->mcast_lock);

	if (!entry)
		return -EINVAL;
	kfree_rcu(entry, rcu);
	return 0;
}

/* --- Delivery ------------------------------------------------------------ */

/* The sender itself, which asked not to hear what it says. */
static bool fab_mcast_is_echo(const struct fab_mcast_entry *entry,
			      const struct fab_packet *pkt)
{
	const struct fab_qp *qp = entry->qp;

	return qp->no_mcast_echo && qp->qpn == pkt->src_qpn &&
	       qp->port == pkt->src;
}

/**
 * fab_mcast_deliver - hand a packet to each attached queue pair
 * @port: port it arrived at
 * @pkt: a packet with a GRH
 * @to: takes one copy
 *
 * Context: softirq, RCU read section.
 * Return: number of copies. A sender that blocks its own echo is left out.
 */
unsigned int fab_mcast_deliver(struct fab_port *port, struct fab_packet *pkt,
			       void (*to)(struct fab_port *port,
					  struct fab_packet *pkt,
					  struct fab_qp *qp))
{
	struct hlist_head *bucket = fab_mcast_bucket(port, &pkt->grh.dgid);
	struct fab_mcast_entry *entry;
	unsigned int copies = 0;

	hlist_for_each_entry_rcu(entry, bucket, node) {
		if (memcmp(&entry->mgid, &pkt->grh.dgid, sizeof(entry->mgid)))
			continue;
		if (fab_mcast_is_echo(entry, pkt))
			continue;
		to(port, pkt, entry->qp);
		copies++;
	}

	return copies;
}
