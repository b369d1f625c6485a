/*
 * A line for syslog(3), over /dev/log, by a few system calls: libc's own function
 * allocates, takes locks and keeps a descriptor.
 */
#ifndef AUTOLOCK_SYSLOG_H
#define AUTOLOCK_SYSLOG_H

#include <stdbool.h>

#include "shim/text.h"

/* As in syslog(3). */
enum syslog_severity { SYSLOG_WARNING = 4, SYSLOG_INFO = 6, SYSLOG_DEBUG = 7 };

/* Sends the line as program "autolock" with our process id. Does not wait: false
 * where nobody listens, or not fast enough. errno untouched. */
bool syslog_send(enum syslog_severity severity, const struct text *line);

#endif
