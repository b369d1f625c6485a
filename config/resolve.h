/*
 * Resolving the directories that rules begin with (contract C2): files are
 * known by their canonical path, so that /var/run/x*.pid must be read as
 * /run/x*.pid where /var/run is a link.
 */
#ifndef AUTOLOCK_RESOLVE_H
#define AUTOLOCK_RESOLVE_H

#include "config/sources.h"

/* Memory beyond rules_memory in which the built-in rules can be resolved as a
 * rule, so that no more has to be mapped. */
#define RESOLVE_ROOM 256

/*
 * Resolves what can be resolved; a missing directory by its nearest ancestor.
 * What there is no room for gets memory that is mapped, enough for the built-in
 * rules and 1,024 others; beyond, a fault says so. Nothing can be added to the
 * set afterwards. Returns 0 or -ENOMEM.
 */
int resolve_rules(struct rule_set *set, struct faults *faults);

#endif
