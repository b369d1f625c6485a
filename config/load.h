/*
 * Where the rules come from: the environment and the files it names
 * (contract C3, C7). The shim and the command share this, so that
 * `autolock check` can never tell another story than the shim.
 */
#ifndef AUTOLOCK_LOAD_H
#define AUTOLOCK_LOAD_H

#include "rules.h"

struct config {
    struct rule_set rules;
    bool off;     /* AUTOLOCK=off */
    bool observe; /* AUTOLOCK=observe: nothing is locked, but told */
    bool strict;  /* AUTOLOCK_STRICT=1: a fault keeps the program from starting */
    int faults;   /* faulty rules and unreadable files, each reported once */
};

/*
 * Reads AUTOLOCK, AUTOLOCK_STRICT, AUTOLOCK_PATTERNS, AUTOLOCK_CONFIG,
 * XDG_CONFIG_HOME and HOME from `environment` (as environ(7)) and the files
 * that they lead to. Rule memory is mapped and belongs to *ret (never given
 * back: it lives as long as the process). The literal directories of rules are
 * resolved. Faults go to `report`; an unreadable or unsafe file is one too,
 * with line 0. No malloc, no stdio, errno untouched. Returns 0 or -ENOMEM.
 */
int config_load(struct config *ret, char *const *environment, rules_report *report, void *data);

#endif
