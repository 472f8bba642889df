// SPDX-License-Identifier: GPL-2.0
/*
 * How many small datagrams a second arrive?
 *
 *	datagrams recv ADDRESS PORT
 *	datagrams send ADDRESS PORT SECONDS
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
#include <netinet/in.h>
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

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "recv"))
		return receive_all(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_all(argv[2], argv[3], atof(argv[4]));

	errx(2, "usage: datagrams recv ADDRESS PORT | send ADDRESS PORT SECONDS");
}
