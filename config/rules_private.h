/*
 * What the files that make up config/rules.h share.
 */
#ifndef AUTOLOCK_RULES_PRIVATE_H
#define AUTOLOCK_RULES_PRIVATE_H

#include "config/rules.h"

/* Room that is left for text: above the rules, or in memory of its own. */
size_t rules_room(const struct rule_set *set);

/* Text goes there from now on. No rule can be added any more. */
void rules_give_text_memory(struct rule_set *set, void *memory, size_t size);

/* Takes `size` bytes of text off the room; NULL when there are not so many. */
char *rules_take_text(struct rule_set *set, size_t size);

/* Returns 0 or -ENOSPC. */
int rules_append(struct rule_set *set, const struct rule *rule);

/* After its pattern has been set. */
void rules_note_pattern(struct rule *rule);

/* Which option a word "name=value" sets, a number below 32, or a negative one
 * where there is no such option. */
int rule_option_index(const char *word, size_t length);

/* Of the options that a rule gives, a bit each: what is wrong with them together, or
 * NULL; and, once all are there, what follows for those that it does not give. */
const char *rule_options_clash(const struct rule_options *options, unsigned given);
void rule_options_complete(struct rule_options *options, unsigned given);

/* How many rules rules_add_builtin adds. */
size_t builtin_count(void);

/* The built-in exclusion for sidecars, in the set or outside. */
const struct rule *builtin_sidecar(const struct rule_set *set);

#endif
