/*
 * From a shared hold to an exclusive one (contract O6).
 *
 * flock(2) converts by giving the shared lock up before it waits, and a
 * conversion that fails does not give it back. So somebody else may write
 * between: then what this process has read is stale, and letting it write would
 * lose that update. The data file is compared before and after.
 */
#ifndef AUTOLOCK_UPGRADE_H
#define AUTOLOCK_UPGRADE_H

#include "lib/sidecar.h"
#include "shim/target.h"

/*
 * fd: a hidden descriptor that holds the sidecar shared. Returns 0 when it
 * holds it exclusively now; else it is shared again, and the result is -EDEADLK
 * (somebody wrote to the file or replaced it), -ETIMEDOUT, -EINTR or an error.
 */
int upgrade(struct target *target, int fd, struct sidecar_id id, uint64_t until);

#endif
