/*
 * The name of the data file to which a sidecar's descriptor belongs, for
 * messages. A sidecar that we have made goes by a number in the descriptor's
 * link (open(2), O_TMPFILE); its name is looked for in the directory then. Not for
 * anybody who is in a hurry. No malloc; errno untouched.
 */
#ifndef AUTOLOCK_FILENAME_H
#define AUTOLOCK_FILENAME_H

#include <sys/types.h>

#include "shim/text.h"

/* Puts it, or "a file", or what the link says. pid 0: this process. */
void filename_put(struct text *text, pid_t pid, int fd);

#endif
