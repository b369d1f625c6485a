/*
 * Memory for one open at a time: too much for a small stack, and malloc is not
 * ours to call. A few places are reserved; when all are in use, or were left by
 * a handler that jumped out, memory is mapped.
 *
 * Thread-, fork- and signal-safe.
 */
#ifndef AUTOLOCK_SCRATCH_H
#define AUTOLOCK_SCRATCH_H

#include "shim/target.h"

/* NULL when there is no memory. */
struct target *scratch_get(void);
void scratch_put(struct target *target);

/* The same for what another call had, which is over (doing.h). */
void scratch_free(struct target *target);

#endif
