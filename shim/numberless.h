/*
 * Locks of this process for which no descriptor is left (contract H2): after dup2 over
 * all numbers, where the hard limit does not let us go beyond. A mapping keeps such a
 * lock without one, until the process ends or executes another program: rather too long
 * than not long enough. The process itself, and the children of its forks, which have
 * the mapping as well, would wait for it for ever (contract H4, W2).
 *
 * Thread- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_NUMBERLESS_H
#define AUTOLOCK_NUMBERLESS_H

#include "lib/sidecar.h"
#include "shim/table.h"
#include "shim/target.h"

/* fd, a descriptor of the sidecar that is about to be closed, has no successor. A
 * vforked child keeps nothing: the mapping would be in its parent's memory, for good; the
 * parent has twins of its own. */
void numberless_keep(int fd, enum table_mode mode, struct sidecar_id id);

/* For who finds it locked. 1: by such a lock of ours, which goes for the new open as
 * well; 0: not; -EDEADLK: that is shared, and not enough (why, in the target). */
int numberless_covers(struct target *target, struct sidecar_id id, bool exclusive);

#endif
