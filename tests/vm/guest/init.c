// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of a lab machine: how does the guest get a root file
 * system that shows the host's and never changes it?
 *
 *	init MODE OUT COMMAND [ARG...]
 *
 * MODE is `uml` (the root is the host's, by hostfs) or `qemu` (this runs from
 * an initramfs, and the host's root comes by 9p). A tmpfs is laid over the
 * host's root, the usual file systems are mounted in it, OUT is mounted
 * writable at its own path, and COMMAND takes over as process 1.
 *
 * Statically linked: in the initramfs there is nothing else.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WORK "/tmp"		/* there in every root; covered by a tmpfs */
#define LOWER WORK "/lower"
#define ROOT WORK "/root"
#define MODULES "/modules"	/* of the initramfs, inserted in name order */

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct mount_point {
	const char *type;
	const char *where;
	const char *data;
};

static const struct mount_point usual[] = {
	{ "proc", "/proc", NULL },
	{ "sysfs", "/sys", NULL },
	{ "devtmpfs", "/dev", NULL },
	{ "devpts", "/dev/pts", "mode=620,ptmxmode=666" },
	{ "tmpfs", "/dev/shm", NULL },
	{ "tmpfs", "/run", NULL },
	{ "debugfs", "/sys/kernel/debug", NULL },
	{ "tracefs", "/sys/kernel/tracing", NULL },
};

/* What a Debian machine's udev would add to devtmpfs. */
static const struct {
	const char *name;
	const char *to;
} links[] = {
	{ ROOT "/dev/fd", "/proc/self/fd" },
	{ ROOT "/dev/stdin", "/proc/self/fd/0" },
	{ ROOT "/dev/stdout", "/proc/self/fd/1" },
	{ ROOT "/dev/stderr", "/proc/self/fd/2" },
};

/* The console is the lab's kernel log; the lab quotes this line. */
static void fail(const char *format, ...)
{
	int err = errno;
	va_list args;

	printf("lab-init: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(": %s\n", strerror(err));
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	exit(1);
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		fail("mkdir %s", path);
}

static void mount_at(const char *type, const char *source, const char *where,
		     unsigned long flags, const char *data)
{
	if (mount(source, where, type, flags, data))
		fail("mount %s at %s", type, where);
}

static void insert_module(const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), MODULES "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("open %s", path);
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		fail("insert %s", name);
	close(fd);
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void insert_modules(void)
{
	struct dirent **names;
	int count = scandir(MODULES, &names, visible, alphasort);

	if (count < 0)
		fail("read " MODULES);
	for (int i = 0; i < count; i++)
		insert_module(names[i]->d_name);
}

/* The lower layer: what the guest sees of the host, read-only. */
static const char *find_lower(int uml)
{
	if (uml)
		return "/";
	make_dir(LOWER);
	mount_at("9p", "root", LOWER, MS_RDONLY,
		 "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	return LOWER;
}

static void lay_root(int uml)
{
	char data[256];

	make_dir(WORK);
	mount_at("tmpfs", "lab", WORK, 0, "mode=755");
	make_dir(WORK "/upper");
	make_dir(WORK "/work");
	make_dir(ROOT);
	snprintf(data, sizeof(data),
		 "lowerdir=%s,upperdir=" WORK "/upper,workdir=" WORK "/work",
		 find_lower(uml));
	mount_at("overlay", "lab", ROOT, 0, data);
}

static void mount_usual(void)
{
	char where[256];

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		snprintf(where, sizeof(where), ROOT "%s", usual[i].where);
		/* some live in a file system that was just mounted */
		mkdir(where, 0755);
		if (mount(usual[i].type, where, usual[i].type, 0,
			  usual[i].data) && errno != ENODEV)
			fail("mount %s at %s", usual[i].type, where);
	}
	chmod(ROOT "/dev/shm", 01777);
}

static void make_device_links(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		/* devtmpfs of some kernels has some of them */
		if (symlink(links[i].to, links[i].name) && errno != EEXIST)
			fail("link %s", links[i].name);
	}
}

static void mount_out(int uml, const char *out)
{
	char where[4096];

	snprintf(where, sizeof(where), ROOT "%s", out);
	if (uml)
		mount_at("hostfs", "none", where, 0, out);
	else
		mount_at("9p", "out", where, 0,
			 "trans=virtio,version=9p2000.L,msize=512000");
}

static void enter_root(void)
{
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		fail("enter the new root");
}

int main(int argc, char **argv)
{
	int uml;

	if (argc < 4) {
		errno = EINVAL;
		fail("arguments");
	}
	uml = !strcmp(argv[1], "uml");
	if (!uml)
		insert_modules();
	lay_root(uml);
	mount_usual();
	make_device_links();
	mount_out(uml, argv[2]);
	enter_root();
	execv(argv[3], argv + 3);
	fail("start %s", argv[3]);
	return 1;
}
