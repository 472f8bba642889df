// SPDX-License-Identifier: GPL-2.0
/*
 * On which interface does the RDMA connection manager find a request?
 *
 * A listener of the connection manager and one that asks, in the network
 * namespaces of those who write to /sys/kernel/debug/fabric_cm:
 *
 *	listen PORT		hear what is asked for on a port, on any address
 *	ask ADDRESS PORT	ask there, and wait for what comes of it
 *	off			hear no more
 *
 * Requests are of datagrams (RDMA_PS_UDP), so no queue pair is needed. Each is
 * refused once it has been heard. Reading tells of the last: the number of the
 * interface it was found on, and how often one was heard.
 *
 * Stages: listening, asking, file.
 */
#include <linux/debugfs.h>
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include <net/net_namespace.h>

#include <rdma/rdma_cm.h>

MODULE_DESCRIPTION("Listener of the RDMA connection manager, for tests");
MODULE_LICENSE("GPL");

/* addresses and routes are found within so long, requests answered */
#define CM_TIMEOUT_MS	2000
#define CM_WAIT		(8 * HZ)

static struct dentry *cm_file;
static DEFINE_MUTEX(cm_lock);
static struct rdma_cm_id *cm_listener;
static atomic_t cm_heard;
static int cm_ifindex;
static int cm_asked;

/* ---- listening ---- */

static int cm_listen_event(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST)
		return 0;

	WRITE_ONCE(cm_ifindex, id->route.addr.dev_addr.bound_dev_if);
	atomic_inc(&cm_heard);
	/* anything but 0 has the connection manager refuse and forget it */
	return -ECONNREFUSED;
}

static void cm_stop(void)
{
	if (cm_listener)
		rdma_destroy_id(cm_listener);
	cm_listener = NULL;
}

static int cm_listen(u16 port)
{
	struct sockaddr_in6 any = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
	};
	struct rdma_cm_id *id;
	int err;

	cm_stop();
	atomic_set(&cm_heard, 0);
	cm_ifindex = 0;
	id = rdma_create_id(current->nsproxy->net_ns, cm_listen_event, NULL,
			    RDMA_PS_UDP, IB_QPT_UD);
	if (IS_ERR(id))
		return PTR_ERR(id);

	err = rdma_bind_addr(id, (struct sockaddr *)&any);
	if (!err)
		err = rdma_listen(id, 8);
	if (err) {
		rdma_destroy_id(id);
		return err;
	}

	cm_listener = id;
	return 0;
}

/* ---- asking ---- */

/**
 * struct cm_question - a request on its way
 * @done: what was waited for has come
 * @event: the last, an enum rdma_cm_event_type
 */
struct cm_question {
	struct completion done;
	int event;
};

static int cm_ask_event(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct cm_question *question = id->context;

	question->event = event->event;
	complete(&question->done);
	return 0;
}

static int cm_await(struct cm_question *question, int wanted)
{
	if (!wait_for_completion_timeout(&question->done, CM_WAIT))
		return -ETIMEDOUT;
	if (question->event == wanted)
		return 0;

	return question->event == RDMA_CM_EVENT_REJECTED ? -ECONNREFUSED :
							    -EHOSTUNREACH;
}

static int cm_ask_steps(struct rdma_cm_id *id, struct cm_question *question,
			struct sockaddr *to)
{
	struct rdma_conn_param param = {};
	int err;

	err = rdma_resolve_addr(id, NULL, to, CM_TIMEOUT_MS);
	if (!err)
		err = cm_await(question, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (err)
		return err;

	err = rdma_resolve_route(id, CM_TIMEOUT_MS);
	if (!err)
		err = cm_await(question, RDMA_CM_EVENT_ROUTE_RESOLVED);
	if (err)
		return err;

	err = rdma_connect(id, &param);
	return err ?: cm_await(question, RDMA_CM_EVENT_ESTABLISHED);
}

static int cm_ask(const char *address, u16 port)
{
	struct cm_question question = {};
	struct sockaddr_storage to = {};
	struct rdma_cm_id *id;
	char text[8];
	int err;

	snprintf(text, sizeof(text), "%u", port);
	err = inet_pton_with_scope(current->nsproxy->net_ns, AF_UNSPEC, address,
				   text, &to);
	if (err)
		return err;

	init_completion(&question.done);
	id = rdma_create_id(current->nsproxy->net_ns, cm_ask_event, &question,
			    RDMA_PS_UDP, IB_QPT_UD);
	if (IS_ERR(id))
		return PTR_ERR(id);

	err = cm_ask_steps(id, &question, (struct sockaddr *)&to);
	rdma_destroy_id(id);
	return err;
}

/* ---- file ---- */

static int cm_obey(char *line)
{
	char address[48];
	u16 port;

	if (!strcmp(line, "off")) {
		cm_stop();
		return 0;
	}
	if (sscanf(line, "listen %hu", &port) == 1)
		return cm_listen(port);
	if (sscanf(line, "ask %47s %hu", address, &port) == 2) {
		/* being refused is being heard */
		cm_asked = cm_ask(address, port);
		return 0;
	}

	return -EINVAL;
}

static ssize_t cm_write(struct file *file, const char __user *data,
			size_t size, loff_t *pos)
{
	char *line;
	int err;

	line = memdup_user_nul(data, min_t(size_t, size, 127));
	if (IS_ERR(line))
		return PTR_ERR(line);

	mutex_lock(&cm_lock);
	err = cm_obey(strim(line));
	mutex_unlock(&cm_lock);
	kfree(line);
	return err ?: size;
}

static int cm_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "heard %d\nifindex %d\nasked %d\n",
		   atomic_read(&cm_heard), READ_ONCE(cm_ifindex), cm_asked);
	return 0;
}

static int cm_open(struct inode *inode, struct file *file)
{
	return single_open(file, cm_show, NULL);
}

static const struct file_operations cm_fops = {
	.owner = THIS_MODULE,
	.open = cm_open,
	.read = seq_read,
	.write = cm_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init cm_init(void)
{
	cm_file = debugfs_create_file("fabric_cm", 0600, NULL, NULL, &cm_fops);
	return PTR_ERR_OR_ZERO(cm_file);
}

static void __exit cm_exit(void)
{
	debugfs_remove(cm_file);
	cm_stop();
}

module_init(cm_init);
module_exit(cm_exit);
