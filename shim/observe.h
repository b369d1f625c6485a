/*
 * AUTOLOCK=observe: locks nothing and makes no sidecar, but tells what would
 * have been locked, for how long it was open, and who had it open meanwhile
 * (contract C3).
 *
 * In the place of a hold there is a description of the register (register.h),
 * with twins like a hold's; so what keeps a hold keeps it, and what ends a hold
 * ends it. A program that is killed, or ends by _exit(2), says nothing at its
 * end, but is seen by the others as long as it has the file open.
 *
 * No malloc; errno untouched; thread-, fork- and signal-safe.
 */
#ifndef AUTOLOCK_OBSERVE_H
#define AUTOLOCK_OBSERVE_H

#include "shim/target.h"

/* In the place of hold_take; *ret_twin is -1 where it cannot be observed. */
void observe_take(const struct target *target, bool exclusive, int *ret_twin);

/* A hidden descriptor is about to be closed. */
void observe_closing(int twin);

/* Whether this is a descriptor of the register for the open file `fd`:
 * 1, 0; -1 when it is none of the register. */
int observe_belongs(int twin, int fd);

#endif
