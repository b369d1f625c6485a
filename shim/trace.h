/*
 * AUTOLOCK_LOG_LEVEL=debug: what became of each open, and of each hold. Costs a
 * look at a variable where it is not asked for. errno untouched; no malloc.
 */
#ifndef AUTOLOCK_TRACE_H
#define AUTOLOCK_TRACE_H

#include "shim/table.h"
#include "shim/target.h"

/* A rule matches, but the file is not locked: why. */
void trace_passed_over(const struct target *target, const char *why);

/* How hold_take ended: its result and twin. */
void trace_taken(const struct target *target, bool exclusive, int result, int twin);

/* A hidden descriptor that had `mode`, which may be the last of a hold, is about
 * to be closed. */
void trace_closing(int twin, enum table_mode mode);

#endif
