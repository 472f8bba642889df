// SPDX-License-Identifier: GPL-2.0
/*
 * What was each HCA asked to look like?
 *
 * Only the answer is found here, from the module parameter; each of its
 * numbers takes effect where the thing it speaks of is done.
 *
 * Order of this file: the parameter, values, words, shapes.
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/string.h>

#include "fabric.h"

/* --- The parameter ------------------------------------------------------- */

/* Each HCA may be given a few words of its own. */
#define FAB_SHAPE_WORDS 1024

static char *shape[FAB_SHAPE_WORDS];
static unsigned int num_words;
module_param_array(shape, charp, &num_words, 0444);
MODULE_PARM_DESC(shape, "what HCAs can do: KEY=VALUE, or N:KEY=VALUE for HCA N; the last one counts");

/* --- Values -------------------------------------------------------------- */

/**
 * struct fab_shape_key - something that can be asked for
 * @name: what it is called
 * @offset: of its field in struct fab_shape
 * @allowed: a range, or words
 * @preset: its value when nobody asks
 */
struct fab_shape_key {
	const char *name;
	size_t offset;
	const char *allowed;
	u32 preset;
};

#define FAB_FIELD(name) offsetof(struct fab_shape, name)

/*
 * What may be asked for stands here and nowhere else: tests/vm/shapes.py reads
 * these lines for `--hca`. Allowed is a range, "low..high", which gives the
 * number, or words, which give the place in their list, from 0 on; the preset
 * is such a value, too. The upper bounds are those of fabric.h.
 */
static const struct fab_shape_key fab_shape_keys[] = {
	{ "csum", FAB_FIELD(csum), "off|ipv4|ipv6|on", 0 },
	{ "lso", FAB_FIELD(lso), "off|ipv4|ipv6|on", 0 },
	{ "sg", FAB_FIELD(sg), "1..18", 18 },
	{ "inline", FAB_FIELD(max_inline), "0..512", 512 },
	{ "mcast_loopback", FAB_FIELD(mcast_loopback), "off|on", 1 },
	{ "vectors", FAB_FIELD(vectors), "1..64", 0 },
	{ "max_wr", FAB_FIELD(max_wr), "16..16384", 16384 },
	{ "modify_cq", FAB_FIELD(modify_cq), "off|on", 1 },
	{ "pkeys", FAB_FIELD(pkeys), "1..1024", 32 },
	{ "ports", FAB_FIELD(ports), "1..2", 1 },
	{ "mtu", FAB_FIELD(mtu), "256|512|1024|2048|4096", 4 },
	{ "dma", FAB_FIELD(dma), "virtual|platform", 0 },
	{ "guids", FAB_FIELD(guids), "1..8", 8 },
	{ "vfs", FAB_FIELD(vfs), "0..64", 0 },
	{ "vf", FAB_FIELD(vf), "off|on", 0 },
	{ "local_lkey", FAB_FIELD(local_lkey), "off|on", 1 },
	{ "rxqs", FAB_FIELD(rxqs), "0..16", 0 },
	{ "port1", FAB_FIELD(port1), "ib|roce|iwarp", 0 },
	{ "port2", FAB_FIELD(port2), "ib|roce|iwarp", 0 },
	{ "post_in_reset", FAB_FIELD(post_in_reset), "off|on", 0 },
	{ "cq_clean", FAB_FIELD(cq_clean), "off|on", 1 },
	{ "cmd_ms", FAB_FIELD(cmd_ms), "0..50", 0 },
};

static u32 *fab_shape_field(struct fab_shape *to,
			    const struct fab_shape_key *key)
{
	return (void *)to + key->offset;
}

static const struct fab_shape_key *fab_shape_find(const char *name, size_t len)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_shape_keys); i++) {
		if (strlen(fab_shape_keys[i].name) == len &&
		    !strncmp(fab_shape_keys[i].name, name, len))
			return &fab_shape_keys[i];
	}

	return NULL;
}

/* The place of @word in a list of words with bars between, or -EINVAL. */
static int fab_shape_place(const char *list, const char *word)
{
	size_t len = strlen(word);
	int place;

	for (place = 0; *list; place++) {
		size_t next = strcspn(list, "|");

		if (next == len && !strncmp(list, word, len))
			return place;
		list += next + (list[next] == '|');
	}

	return -EINVAL;
}

static int fab_shape_value(const struct fab_shape_key *key, const char *word,
			   u32 *value)
{
	u32 low, high;
	int place;

	if (sscanf(key->allowed, "%u..%u", &low, &high) == 2)
		return kstrtou32(word, 10, value) ||
		       *value < low || *value > high ? -EINVAL : 0;

	place = fab_shape_place(key->allowed, word);
	if (place < 0)
		return place;
	*value = place;
	return 0;
}

/* --- Words --------------------------------------------------------------- */

/**
 * struct fab_shape_word - one word of the parameter, understood
 * @all: it is about every HCA
 * @hca: else the one it is about
 * @key: what is asked for
 * @value: the value asked for
 */
struct fab_shape_word {
	bool all;
	u32 hca;
	const struct fab_shape_key *key;
	u32 value;
};

static const char *fab_shape_read_hca(const char *text,
				      struct fab_shape_word *word)
{
	int read = 0;

	word->all = sscanf(text, "%u:%n", &word->hca, &read) != 1 || !read;
	return word->all ? text : text + read;
}

static void fab_shape_tell_keys(const char *text)
{
	char names[240] = "";
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_shape_keys); i++) {
		strlcat(names, " ", sizeof(names));
		strlcat(names, fab_shape_keys[i].name, sizeof(names));
	}
	pr_err("ib_fabric: shape=%s: the keys are%s\n", text, names);
}

/* Says itself what is wrong: one line for each mistake. */
static int fab_shape_read(const char *text, unsigned int num_hcas,
			  struct fab_shape_word *word)
{
	const char *name = fab_shape_read_hca(text, word);
	const char *equals = strchr(name, '=');

	if (!equals) {
		pr_err("ib_fabric: shape=%s is not KEY=VALUE or N:KEY=VALUE\n",
		       text);
		return -EINVAL;
	}
	if (!word->all && word->hca >= num_hcas) {
		pr_err("ib_fabric: shape=%s: HCAs are 0 to %u\n", text,
		       num_hcas - 1);
		return -EINVAL;
	}
	word->key = fab_shape_find(name, equals - name);
	if (!word->key) {
		fab_shape_tell_keys(text);
		return -EINVAL;
	}
	if (fab_shape_value(word->key, equals + 1, &word->value)) {
		pr_err("ib_fabric: shape=%s: %s takes %s\n", text,
		       word->key->name, word->key->allowed);
		return -EINVAL;
	}

	return 0;
}

/* --- Shapes -------------------------------------------------------------- */

/**
 * fab_shape_check - is the parameter well formed
 * @num_hcas: HCAs there will be
 *
 * Return: 0, or -EINVAL and a line in the log that names the limit.
 */
int fab_shape_check(unsigned int num_hcas)
{
	struct fab_shape_word word;
	unsigned int i;
	int err;

	for (i = 0; i < num_words; i++) {
		err = fab_shape_read(shape[i], num_hcas, &word);
		if (err)
			return err;
	}

	return 0;
}

/**
 * fab_shape_preset - what a node can do when nobody asks for something else
 * @to: the shape
 */
void fab_shape_preset(struct fab_shape *to)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fab_shape_keys); i++)
		*fab_shape_field(to, &fab_shape_keys[i]) =
			fab_shape_keys[i].preset;
	/* Two at least, so that consumers that spread themselves do. */
	to->vectors = max(num_online_cpus(), 2U);
}

/**
 * fab_shape_hca - what the parameter asks of an HCA
 * @to: the shape, preset; only what is asked for is changed
 * @index: number of the HCA
 * @num_hcas: HCAs there will be
 *
 * fab_shape_check() has found the parameter well formed.
 */
void fab_shape_hca(struct fab_shape *to, unsigned int index,
		   unsigned int num_hcas)
{
	struct fab_shape_word word;
	unsigned int i;

	for (i = 0; i < num_words; i++) {
		if (!fab_shape_read(shape[i], num_hcas, &word) &&
		    (word.all || word.hca == index))
			*fab_shape_field(to, word.key) = word.value;
	}
}
