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
 * fd: a hidden descriptor in transit, one of those that hold the sidecar shared,
 * with MODE_UPGRADING, which keeps other threads from it. Returns 0 when it holds
 * it exclusively now (the others' words may go on to say that it is shared: asking
 * for more is harmless); else it is shared again, and the result is -EDEADLK
 * (somebody wrote to the file or replaced it, whatever else there was), -ETIMEDOUT, -EINTR
 * or an error. In a program with several threads those that have read the file before may
 * not write to it any more then, until all have closed it (MODE_LOST).
 *
 * Below ancestors that have it shared as well, and wait for this process, it goes on with
 * a turn among those that they let in (sibling.h), which lasts as long as the hold.
 *
 * After -ETIMEDOUT or -EINTR it is not waited for once more (but 20 ms, since a thread that
 * waits for the end of this may have got it for a moment). When somebody else has it
 * exclusively then, the shared hold is lost, which is said; and this process may not write
 * to the file until it has closed what it read.
 */
int upgrade(struct target *target, int fd, struct sidecar_id id, uint64_t until);

/* -EDEADLK, and why: a signal handler in the middle of one asks for the file. */
int upgrade_is_interrupted(struct target *target);

/* Whether a shared hold of this sidecar was lost, or is worth as little (MODE_LOST), and
 * its file is still open. Only after the other one is that looked for. */
bool upgrade_was_lost(struct sidecar_id id);
void upgrade_may_be_lost(void);

/* For one that does not come back (doing.h). */
void upgrade_abandon(int fd);

#endif
