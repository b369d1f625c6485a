/*
 * The streams of this process, for those that are to be flushed before a soft hold
 * ends with it (contract H10). Not fflush(NULL), which waits for streams that have
 * nothing to do with it: one in which a thread waits for input, say.
 *
 * Only asked to remember where there may be soft holds. No malloc; thread-safe; as
 * much signal-safe as exit(3) is.
 */
#ifndef AUTOLOCK_FLUSHING_H
#define AUTOLOCK_FLUSHING_H

#include <stdbool.h>
#include <stdio.h>

#include "lib/sidecar.h"

/* A stream has been opened (or anew: then libc flushes it sooner); it is about to be
 * closed. NULL is allowed. */
void flushing_remember(FILE *stream);
void flushing_forget(const FILE *stream);

/* Writes out what streams have for the files of this hold, in the order in which exit(3)
 * would. False when another thread has one of them in hand: then it cannot be told. */
bool flushing_flush(struct sidecar_id id);

#endif
