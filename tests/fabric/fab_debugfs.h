/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How is a file in the fabric's debugfs folder read and written?
 *
 * It is read as text that a show function makes, and written one line at a
 * time. A line that is not understood, or a number out of range, changes
 * nothing: it is -EINVAL or -ERANGE, and a line in the log names the limits.
 */
#ifndef FAB_DEBUGFS_H
#define FAB_DEBUGFS_H

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/ratelimit.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "fabric.h"

/**
 * FAB_FILE - the file operations fab_<name>_fops
 * @__name: fab_<name>_show() makes the text
 * @__write: the write operation, or NULL
 */
#define FAB_FILE(__name, __write)					\
static int fab_##__name##_open(struct inode *inode, struct file *file)	\
{									\
	return single_open(file, fab_##__name##_show,			\
			   inode->i_private);				\
}									\
static const struct file_operations fab_##__name##_fops = {		\
	.owner = THIS_MODULE,						\
	.open = fab_##__name##_open,					\
	.read = seq_read,						\
	.write = __write,						\
	.llseek = seq_lseek,						\
	.release = single_release,					\
}

/**
 * fab_refused - say once what a file would have taken
 * @file: the file
 * @err: what its writer is told
 * @format: what it takes, with the limits, for printk()
 *
 * Only what is the writer's own mistake is named.
 */
#define fab_refused(file, err, format, ...)				\
do {									\
	static DEFINE_RATELIMIT_STATE(__refused, 5 * HZ, 100);		\
									\
	if (fab_is_mistake(err) && __ratelimit(&__refused))		\
		pr_warn("ib_fabric: %pD4 takes " format "\n", file,	\
			##__VA_ARGS__);					\
} while (0)

/* Is an error the fault of who wrote, and not of the state things are in? */
static inline bool fab_is_mistake(ssize_t err)
{
	return err == -EINVAL || err == -ERANGE || err == -ENOENT ||
	       err == -ENOSPC;
}

/**
 * FAB_KNOB - the file operations of a file that is written
 * @__name: fab_<name>_show() makes the text, fab_<name>_write() takes it
 * @...: format and arguments of what is said when a line is refused; "file"
 *	is the open file
 */
#define FAB_KNOB(__name, ...)						\
static ssize_t fab_##__name##_store(struct file *file,			\
				    const char __user *from,		\
				    size_t count, loff_t *pos)		\
{									\
	ssize_t done = fab_##__name##_write(file, from, count, pos);	\
									\
	fab_refused(file, done, __VA_ARGS__);				\
	return done;							\
}									\
FAB_FILE(__name, fab_##__name##_store)

/**
 * fab_get_line - one short line from user space, without its newline
 * @line: where it goes
 * @size: room there
 * @from: what was written
 * @count: its length
 *
 * Return: 0, -EINVAL when it is empty or too long, or -EFAULT.
 */
static inline int fab_get_line(char *line, size_t size,
			       const char __user *from, size_t count)
{
	if (!count || count >= size)
		return -EINVAL;
	if (copy_from_user(line, from, count))
		return -EFAULT;

	line[count] = '\0';
	strim(line);
	return 0;
}

/* What a file was created with. */
static inline void *fab_file_private(struct file *file)
{
	return ((struct seq_file *)file->private_data)->private;
}

#endif /* FAB_DEBUGFS_H */
