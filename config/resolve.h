/*
 * Resolving the directories that rules begin with (contract C2): files are
 * known by their canonical path, so that /var/run/x*.pid must be read as
 * /run/x*.pid where /var/run is a link.
 */
#ifndef AUTOLOCK_RESOLVE_H
#define AUTOLOCK_RESOLVE_H

#include "config/sources.h"

/* Memory beyond rules_memory that resolving the rules of a text may take, for
 * its first 1,024 absolute patterns; and what the built-in ones may take. */
size_t resolve_memory(const char *text);
size_t resolve_memory_builtin(void);

/* Resolves what can be resolved; a missing directory by its nearest ancestor.
 * Returns 0 or -ENOMEM. */
int resolve_rules(struct rule_set *set, struct faults *faults);

#endif
