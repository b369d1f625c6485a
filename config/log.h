/*
 * Where lines go and which: AUTOLOCK_LOG and AUTOLOCK_LOG_LEVEL (contract C6,
 * C7). Shared by the shim and the command, as the rules are.
 */
#ifndef AUTOLOCK_LOG_H
#define AUTOLOCK_LOG_H

#include <stdbool.h>

#include "config/rules.h"

enum log_to { LOG_TO_STDERR, LOG_TO_FILE, LOG_TO_SYSLOG };

struct log_settings {
    enum log_to to;
    bool debug;      /* AUTOLOCK_LOG_LEVEL=debug */
    char path[4096]; /* LOG_TO_FILE: absolute, since programs change directory */
};

/* Reads both from `environment` (as environ(7)). A value that is wrong, or a
 * file that cannot be written to, goes to `report` (which may be NULL) and
 * counts as not set. Makes no file. Returns the number of faults. errno
 * untouched; no malloc. */
int log_settings_read(struct log_settings *ret, char *const *environment, rules_report *report,
                      void *data);

#endif
