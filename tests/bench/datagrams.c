// SPDX-License-Identifier: GPL-2.0
/*
 * How many small datagrams a second arrive, or leave?
 *
 *	datagrams recv ADDRESS PORT
 *	datagrams send ADDRESS PORT SECONDS
 *	datagrams spread INTERFACE NEIGHBOURS SECONDS GID...
 *
 * spread sends to so many hardware addresses, queue pairs of these GIDs that
 * need not be there, past the stack's own tables. It walks a list that is as
 * long for one neighbour as for many, so that what differs is not its own
 * memory. When each has been sent to it prints READY and waits for a line; then
 * it prints how many it sent.
 *
 * Both move many datagrams in one system call, so that what is measured is the
 * interface and not the way into the kernel: the sender hands the kernel one
 * large buffer to cut up (UDP_SEGMENT), the receiver takes what has come in one
 * go. The receiver prints how many arrived, and in how many nanoseconds from
 * the first to the last, when a datagram of another length tells it to end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define SIZE		64
/* Segments of one buffer: the most the kernel cuts up at once */
#define SEGMENTS	64
#define BATCH		64
#define ROOM		(8 << 20)
/* The queue pair numbers of spread begin here, far from those in use */
#define FIRST_QPN	0x400000
/* Addresses that spread walks, and so the most neighbours */
#define LISTED		10000
/* The end is told so often, as any datagram may be lost. */
#define FAREWELLS	20

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct sockaddr_in to_address(const char *host, const char *port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(atoi(port)),
	};

	if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", host);
	return to;
}

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		err(1, "socket");
	return fd;
}

static void set(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		err(1, "%s", name);
}

static int send_all(const char *host, const char *port, double seconds)
{
	static char buffer[SIZE * SEGMENTS];
	struct sockaddr_in to = to_address(host, port);
	int fd = udp_socket();
	int64_t end;
	int i;

	set(fd, SOL_UDP, UDP_SEGMENT, SIZE, "UDP_SEGMENT");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		err(1, "connect");

	end = now_ns() + (int64_t)(seconds * 1e9);
	while (now_ns() < end) {
		/* a full queue of the interface is no error here */
		if (send(fd, buffer, sizeof(buffer), 0) < 0)
			poll(NULL, 0, 1);
	}
	for (i = 0; i < FAREWELLS; i++) {
		poll(NULL, 0, 10);
		send(fd, buffer, 1, 0);
	}

	return 0;
}

static int receive_all(const char *host, const char *port)
{
	static char buffers[BATCH][SIZE];
	static struct mmsghdr messages[BATCH];
	static struct iovec pieces[BATCH];
	struct sockaddr_in at = to_address(host, port);
	int64_t first = 0, last = 0;
	uint64_t arrived = 0;
	int fd = udp_socket();
	bool over = false;
	int i, got;

	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, ROOM, "SO_RCVBUFFORCE");
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)))
		err(1, "bind");
	for (i = 0; i < BATCH; i++) {
		pieces[i].iov_base = buffers[i];
		pieces[i].iov_len = SIZE;
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}

	while (!over) {
		got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (got < 0)
			err(1, "recvmmsg");
		for (i = 0; i < got; i++) {
			if (messages[i].msg_len == SIZE)
				arrived++;
			else
				over = true;
		}
		if (!first)
			first = now_ns();
		if (!over)
			last = now_ns();
	}

	printf("%llu %lld\n", (unsigned long long)arrived,
	       (long long)(last - first));
	return 0;
}

/* An address of a packet socket with as many bytes as InfiniBand's has */
struct link_address {
	unsigned short family;
	unsigned short protocol;
	int index;
	unsigned short type;
	unsigned char packet_type;
	unsigned char length;
	unsigned char bytes[20];
};

static void fill_address(struct link_address *address, int index,
			 const char *gid, unsigned int number)
{
	unsigned int qpn = htonl(FIRST_QPN + number);

	address->family = AF_PACKET;
	address->protocol = htons(0x0800);
	address->index = index;
	address->length = sizeof(address->bytes);
	memcpy(address->bytes, &qpn, sizeof(qpn));
	if (inet_pton(AF_INET6, gid, address->bytes + 4) != 1)
		errx(2, "%s is no GID", gid);
}

/* LISTED addresses, of @count neighbours */
static struct link_address *neighbours(const char *device, char **gids,
				       unsigned int num_gids,
				       unsigned int count)
{
	struct link_address *all = calloc(LISTED, sizeof(*all)), swapped;
	unsigned int i, other;

	if (!all)
		err(1, "memory");
	for (i = 0; i < LISTED; i++)
		fill_address(&all[i], if_nametoindex(device),
			     gids[i % count % num_gids], i % count);
	/* in no order that a cache could foresee */
	for (i = LISTED - 1; i; i--) {
		other = random() % (i + 1);
		swapped = all[i];
		all[i] = all[other];
		all[other] = swapped;
	}
	return all;
}

static void address_batch(struct mmsghdr *messages, struct link_address *all,
			  unsigned int first)
{
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_name = &all[(first + i) % LISTED];
		messages[i].msg_hdr.msg_namelen = sizeof(*all);
	}
}

static uint64_t spread_for(int fd, struct mmsghdr *messages,
			   struct link_address *all, int64_t end)
{
	unsigned int next = 0;
	uint64_t sent = 0;
	int got;

	while (now_ns() < end) {
		address_batch(messages, all, next);
		got = sendmmsg(fd, messages, BATCH, 0);
		if (got < 0) {
			poll(NULL, 0, 1);
			continue;
		}
		sent += got;
		next = (next + got) % LISTED;
	}
	return sent;
}

static int spread(struct link_address *all, double seconds)
{
	static struct mmsghdr messages[BATCH];
	static char payload[SIZE] = { 0x45 };
	struct iovec piece = { payload, sizeof(payload) };
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	unsigned int i;
	uint64_t sent;

	if (fd < 0)
		err(1, "socket");
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, ROOM, "SO_SNDBUFFORCE");
	for (i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &piece;
		messages[i].msg_hdr.msg_iovlen = 1;
	}

	for (i = 0; i < LISTED; i++) {
		if (sendto(fd, payload, sizeof(payload), 0, (void *)&all[i],
			   sizeof(all[i])) < 0)
			err(1, "sendto");
	}
	puts("READY");
	fflush(stdout);
	getchar();
	sent = spread_for(fd, messages, all,
			  now_ns() + (int64_t)(seconds * 1e9));
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "recv"))
		return receive_all(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_all(argv[2], argv[3], atof(argv[4]));

	if (argc > 5 && !strcmp(argv[1], "spread") && atoi(argv[3]) > 0)
		return spread(neighbours(argv[2], argv + 5, argc - 5,
					 atoi(argv[3])), atof(argv[4]));

	errx(2, "usage: datagrams recv ADDRESS PORT | send ADDRESS PORT SECONDS\n"
		"       datagrams spread INTERFACE NEIGHBOURS SECONDS GID...");
}
