// SPDX-License-Identifier: GPL-2.0
/*
 * Which nodes are there, and which cable goes where?
 *
 * The HCAs' ports are counted through, the first ones of all HCAs before the
 * second ones. Port n goes to switch number n modulo the number of switches, to
 * that switch's next free port; with one switch, port 1 of HCA i is at its port
 * i + 1. Switches form a line: the ports behind those of the HCAs lead to the
 * next and the previous switch. Without a switch the two ports there are lead
 * to each other.
 *
 * Order of this file: parameters, parent devices, nodes, cables, module.
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* --- Parameters ---------------------------------------------------------- */

static unsigned int hcas = 2;
module_param(hcas, uint, 0444);
MODULE_PARM_DESC(hcas, "number of HCAs, 1 to 250 (2)");

static unsigned int ports = 1;
module_param(ports, uint, 0444);
MODULE_PARM_DESC(ports, "ports of an HCA whose shape does not say, 1 or 2 (1)");

static unsigned int switches = 1;
module_param(switches, uint, 0444);
MODULE_PARM_DESC(switches, "number of switches, 0 to 16; 0 takes exactly two ports (1)");

struct fab_fabric fabric = {
	.ctl = __SPIN_LOCK_UNLOCKED(fabric.ctl),
};

static int fab_param_check(const char *name, unsigned int value,
			   unsigned int low, unsigned int high)
{
	if (value >= low && value <= high)
		return 0;

	pr_err("ib_fabric: %s=%u is out of range, %u to %u\n", name, value,
	       low, high);
	return -EINVAL;
}

static void fab_hca_shape(struct fab_shape *shape, unsigned int index)
{
	fab_shape_preset(shape);
	shape->ports = ports;
	fab_shape_hca(shape, index, hcas);
}

static unsigned int fab_count_ports(void)
{
	struct fab_shape shape;
	unsigned int i, all = 0;

	for (i = 0; i < hcas; i++) {
		fab_hca_shape(&shape, i);
		all += shape.ports;
	}

	return all;
}

static int fab_params_check(void)
{
	unsigned int all;

	if (fab_param_check("hcas", hcas, 1, FAB_MAX_HCAS) ||
	    fab_param_check("ports", ports, 1, FAB_MAX_PORTS) ||
	    fab_param_check("switches", switches, 0, FAB_MAX_SWITCHES) ||
	    fab_shape_check(hcas))
		return -EINVAL;

	all = fab_count_ports();
	if (!switches && all != 2) {
		pr_err("ib_fabric: switches=0 takes two ports in all, not %u\n",
		       all);
		return -EINVAL;
	}
	/* Two ports of each switch may lead to its neighbours. */
	if (switches && DIV_ROUND_UP(all, switches) > FAB_PORT_MAX - 2) {
		pr_err("ib_fabric: %u ports do not fit on %u switches, each takes %u\n",
		       all, switches, FAB_PORT_MAX - 2);
		return -EINVAL;
	}

	return 0;
}

/* --- Parent devices ------------------------------------------------------ */

static int fab_bus_num_vf(struct device *dev)
{
	const struct fab_node *node = dev_get_drvdata(dev);

	return node->shape.vfs;
}

/* A bus of our own, as tools ask an HCA's parent for its virtual functions. */
static struct bus_type fab_bus = {
	.name = "ib_fabric",
	.num_vf = fab_bus_num_vf,
};

static void fab_parent_release(struct device *dev)
{
	kfree(dev);
}

/**
 * fab_parent_create - the device that an HCA's ib_device and netdevs hang on
 * @node: the HCA's node
 *
 * Return: the device, or ERR_PTR.
 */
struct device *fab_parent_create(struct fab_node *node)
{
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int err;

	if (!dev)
		return ERR_PTR(-ENOMEM);

	device_initialize(dev);
	dev->bus = &fab_bus;
	dev->release = fab_parent_release;
	dev_set_drvdata(dev, node);
	err = dev_set_name(dev, "%s", node->name);
	if (!err)
		err = device_add(dev);
	if (err) {
		put_device(dev);
		return ERR_PTR(err);
	}

	return dev;
}

void fab_parent_destroy(struct device *dev)
{
	device_unregister(dev);
}

/* --- Nodes --------------------------------------------------------------- */

static int fab_port_init(struct fab_node *node, unsigned int num)
{
	struct fab_port *port = &node->ports[num];

	port->node = node;
	port->num = num;
	port->guid = fab_node_is_switch(node) ? node->guid :
		     cpu_to_be64(be64_to_cpu(node->guid) + num);
	spin_lock_init(&port->mcast_lock);
	port->stats = alloc_percpu(struct fab_stats);
	if (!port->stats)
		return -ENOMEM;
	fab_sma_port_init(port);
	fab_offload_port_init(port);

	/* Number 0 is not wired. */
	return num ? fab_lane_create(port) : 0;
}

/* The node's shape is set. */
static int fab_node_init(struct fab_node *node, unsigned int num_ports)
{
	unsigned int num;
	int err;

	mutex_init(&node->plug);
	node->num_ports = num_ports;
	node->ports = kvcalloc(num_ports + 1, sizeof(*node->ports), GFP_KERNEL);
	if (!node->ports)
		return -ENOMEM;

	for (num = 0; num <= num_ports; num++) {
		err = fab_port_init(node, num);
		if (err)
			return err;
	}

	return 0;
}

static void fab_node_destroy(struct fab_node *node)
{
	unsigned int num;

	fab_hca_faults_destroy(node);
	fab_vfs_destroy(node);
	if (!node->ports)
		return;

	if (fab_node_is_switch(node))
		fab_switch_destroy(node);
	for (num = 0; num <= node->num_ports; num++) {
		fab_lane_destroy(&node->ports[num]);
		free_percpu(node->ports[num].stats);
	}
	kvfree(node->ports);
	node->ports = NULL;
}

/* Locally administered, and told apart from a switch's by bits 24-31. */
#define FAB_GUID_HCA	0x02fab00000000000ULL
#define FAB_GUID_SWITCH	0x02fab0000f000000ULL

static int fab_hca_node_init(unsigned int index)
{
	struct fab_node *node = &fabric.hcas[index];
	int err;

	node->type = RDMA_NODE_IB_CA;
	node->index = index;
	node->guid = cpu_to_be64(FAB_GUID_HCA | index << 8);
	snprintf(node->name, sizeof(node->name), "fab%u", index);
	snprintf(node->desc, sizeof(node->desc), "fabric HCA %u", index);
	fab_hca_shape(&node->shape, index);
	fabric.num_vectors = max(fabric.num_vectors, node->shape.vectors);
	err = fab_hca_faults_create(node);
	if (err)
		return err;
	err = fab_vfs_create(node);
	return err ? err : fab_node_init(node, node->shape.ports);
}

static int fab_switch_node_init(unsigned int index)
{
	struct fab_node *node = &fabric.switches[index];
	int err;

	node->type = RDMA_NODE_IB_SWITCH;
	node->index = index;
	node->guid = cpu_to_be64(FAB_GUID_SWITCH | index << 8);
	snprintf(node->name, sizeof(node->name), "switch%u", index);
	snprintf(node->desc, sizeof(node->desc), "fabric switch %u", index);
	fab_shape_preset(&node->shape);
	/* Its own, and no more. */
	node->shape.guids = 1;
	err = fab_node_init(node,
			    DIV_ROUND_UP(fab_count_ports(), switches) + 2);
	return err ? err : fab_switch_init(node);
}

static int fab_nodes_create(void)
{
	unsigned int i;
	int err;

	fabric.hcas = kvcalloc(hcas, sizeof(*fabric.hcas), GFP_KERNEL);
	fabric.switches = kvcalloc(max(switches, 1U), sizeof(*fabric.switches),
				   GFP_KERNEL);
	if (!fabric.hcas || !fabric.switches)
		return -ENOMEM;

	fabric.num_hcas = hcas;
	fabric.num_switches = switches;
	for (i = 0; i < hcas; i++) {
		err = fab_hca_node_init(i);
		if (err)
			return err;
	}
	for (i = 0; i < switches; i++) {
		err = fab_switch_node_init(i);
		if (err)
			return err;
	}

	return 0;
}

static void fab_nodes_destroy(void)
{
	unsigned int i;

	fab_lanes_stop();
	for (i = 0; i < fabric.num_switches; i++)
		fab_node_destroy(&fabric.switches[i]);
	for (i = 0; i < fabric.num_hcas; i++)
		fab_node_destroy(&fabric.hcas[i]);
	kvfree(fabric.switches);
	kvfree(fabric.hcas);
}

/* --- Cables -------------------------------------------------------------- */

static void fab_cable(struct fab_port *a, struct fab_port *b)
{
	a->peer = b;
	b->peer = a;
}

/* The port that comes after @port when they are counted through, or NULL. */
static struct fab_port *fab_next_hca_port(const struct fab_port *port)
{
	unsigned int num = port ? port->num : 1;
	unsigned int i = port ? port->node->index + 1 : 0;

	for (; num <= FAB_MAX_PORTS; num++, i = 0) {
		for (; i < hcas; i++) {
			if (num <= fabric.hcas[i].num_ports)
				return &fabric.hcas[i].ports[num];
		}
	}

	return NULL;
}

static void fab_cables_lay(void)
{
	struct fab_port *port = fab_next_hca_port(NULL);
	unsigned int n, last;

	if (!switches) {
		fab_cable(port, fab_next_hca_port(port));
		return;
	}

	for (n = 0; port; n++, port = fab_next_hca_port(port))
		fab_cable(port, &fabric.switches[n % switches]
						.ports[n / switches + 1]);
	for (n = 0; n + 1 < switches; n++) {
		last = fabric.switches[n].num_ports;
		fab_cable(&fabric.switches[n].ports[last],
			  &fabric.switches[n + 1].ports[last - 1]);
	}
}

/* Between switches the cables are always plugged. */
static void fab_trunks_up(void)
{
	unsigned int n, num;

	spin_lock_irq(&fabric.ctl);
	for (n = 0; n < switches; n++) {
		for (num = 1; num <= fabric.switches[n].num_ports; num++)
			fab_link_update(&fabric.switches[n].ports[num]);
	}
	spin_unlock_irq(&fabric.ctl);
}

/* --- Module -------------------------------------------------------------- */

static void fab_hcas_unplug(void)
{
	unsigned int i;

	/* The first HCA last: the subnet manager sits behind it. */
	for (i = fabric.num_hcas; i-- > 0;)
		fab_unplug(&fabric.hcas[i]);
}

static int fab_hcas_plug(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < fabric.num_hcas; i++) {
		err = fab_plug(&fabric.hcas[i]);
		if (err) {
			pr_err("ib_fabric: fab%u could not be registered: %pe\n",
			       i, ERR_PTR(err));
			return err;
		}
	}

	return 0;
}

static int __init fab_init(void)
{
	int err;

	err = fab_params_check();
	if (err)
		return err;

	err = bus_register(&fab_bus);
	if (err)
		return err;
	err = fab_nodes_create();
	if (err)
		goto err_nodes;
	err = fab_vectors_create(fabric.num_vectors);
	if (err)
		goto err_nodes;

	fab_cables_lay();
	fab_trunks_up();
	err = fab_hcas_plug();
	if (err)
		goto err_unplug;

	fab_debugfs_create();
	return 0;

err_unplug:
	fab_hcas_unplug();
	fab_vectors_destroy();
err_nodes:
	fab_nodes_destroy();
	bus_unregister(&fab_bus);
	return err;
}

static void __exit fab_exit(void)
{
	fab_debugfs_destroy();
	fab_hcas_unplug();
	fab_nodes_destroy();
	fab_vectors_destroy();
	/* What call_rcu() still holds is this module's code. */
	rcu_barrier();
	bus_unregister(&fab_bus);
}

module_init(fab_init);
module_exit(fab_exit);

MODULE_DESCRIPTION("Software InfiniBand fabric");
MODULE_LICENSE("GPL");
