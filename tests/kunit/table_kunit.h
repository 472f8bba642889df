/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * How is a state table held against its law?
 *
 * The law is text, one line for each cell that is not "stay":
 * "STATE EVENT > NEXT", then the actions. Words are looked up in name lists, so
 * a line shares nothing with the table under test but what the words mean.
 */
#ifndef TABLE_KUNIT_H
#define TABLE_KUNIT_H

#include <kunit/test.h>
#include <linux/string.h>

struct table_cell {
	unsigned int next;
	unsigned long actions;
};

struct table_law {
	const char * const *states;
	unsigned int num_states;
	const char * const *events;
	unsigned int num_events;
	const char * const *actions;
	unsigned int num_actions;
	const char * const *lines;
	unsigned int num_lines;
	struct table_cell (*look)(unsigned int state, unsigned int event);
};

static inline unsigned int table_word(struct kunit *test, const char *word,
				      const char * const *names,
				      unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++)
		if (word && !strcmp(word, names[i]))
			return i;

	KUNIT_FAIL(test, "no such word: %s", word ?: "(end of line)");
	return 0;
}

/* Reads a line; returns whether it is about the given cell. */
static inline bool table_line(struct kunit *test, const struct table_law *law,
			      const char *line, unsigned int state,
			      unsigned int event, struct table_cell *cell)
{
	char *text = kunit_kstrdup(test, line, GFP_KERNEL);
	char *word;

	KUNIT_ASSERT_NOT_NULL(test, text);
	if (table_word(test, strsep(&text, " "), law->states,
		       law->num_states) != state)
		return false;
	if (table_word(test, strsep(&text, " "), law->events,
		       law->num_events) != event)
		return false;

	word = strsep(&text, " ");
	KUNIT_EXPECT_STREQ(test, word, ">");
	cell->next = table_word(test, strsep(&text, " "), law->states,
				law->num_states);
	cell->actions = 0;
	while ((word = strsep(&text, " ")))
		cell->actions |= BIT(table_word(test, word, law->actions,
						law->num_actions));
	return true;
}

/* How many lines are about the cell; the last one's word is the law. */
static inline unsigned int table_find(struct kunit *test,
				      const struct table_law *law,
				      unsigned int state, unsigned int event,
				      struct table_cell *cell)
{
	unsigned int found = 0;
	unsigned int i;

	cell->next = state;
	cell->actions = 0;
	for (i = 0; i < law->num_lines; i++)
		found += table_line(test, law, law->lines[i], state, event,
				    cell);

	return found;
}

/* Every cell is looked at, and every line is about exactly one of them. */
static inline void table_check(struct kunit *test, const struct table_law *law)
{
	unsigned int cells = 0, used = 0;
	struct table_cell want, have;
	unsigned int s, e, lines;

	for (s = 0; s < law->num_states; s++) {
		for (e = 0; e < law->num_events; e++) {
			lines = table_find(test, law, s, e, &want);
			KUNIT_EXPECT_LE_MSG(test, lines, 1, "%s %s said twice",
					    law->states[s], law->events[e]);
			have = law->look(s, e);
			KUNIT_EXPECT_EQ_MSG(test, have.next, want.next, "%s %s",
					    law->states[s], law->events[e]);
			KUNIT_EXPECT_EQ_MSG(test, have.actions, want.actions,
					    "%s %s", law->states[s],
					    law->events[e]);
			used += lines;
			cells++;
		}
	}
	KUNIT_EXPECT_EQ(test, used, law->num_lines);
	KUNIT_EXPECT_EQ(test, cells, law->num_states * law->num_events);
}

#endif /* TABLE_KUNIT_H */
