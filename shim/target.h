/*
 * The data file that an open leads to, once a rule says that it is locked.
 */
#ifndef AUTOLOCK_TARGET_H
#define AUTOLOCK_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/canonical.h"
#include "config/rules.h"
#include "lib/sys_linux.h"

struct target {
    struct canonical where; /* where.directory is hidden (hidden.h) */
    const struct rule *rule;
    char sidecar[264]; /* its last component */
    bool wants_read;   /* what the open asks for, besides writing */
    bool no_sidecar;   /* there was none, and it could not be made */
    bool waited;       /* somebody else had it: the path has to be looked at again */
    bool exists;
    struct sys_stat data; /* if it exists; else only data.mode, as asked for */
};

/* Looks at the file itself again: exists and data. Returns 0 or an errno value
 * other than -ENOENT. */
int target_look(struct target *target);

#endif
