/*
 * Taking the lock of a data file's sidecar for this process (contract H4, O4,
 * O6, P1, P2, W1, W2).
 *
 * A first hold opens the sidecar and locks it; a second one of the same file
 * duplicates the descriptor of the first, which is the same lock. Known by the
 * device and inode of the sidecar. Threads of one process that wait for the same
 * stand in the queue each for itself; when one has it, all share it.
 *
 * Thread- and signal-safe; no lock of ours is held during a wait; errno
 * untouched.
 */
#ifndef AUTOLOCK_HOLD_H
#define AUTOLOCK_HOLD_H

#include "lib/sidecar.h"
#include "shim/table.h"
#include "shim/target.h"

/*
 * Takes it, exclusively or shared. Returns 0 and a hidden descriptor that the
 * caller gives to a reference or drops; or 0 and -1 where the open is to go on
 * without a lock; or a negative errno value that the open fails with (said
 * already, where we caused it). The target may have been looked at again.
 */
int hold_take(struct target *target, bool exclusive, int *ret_twin);

/*
 * twin is a description of our own, in transit, that has just got the lock: makes
 * it the one that counts for this process, as one of that mode. False when another does already,
 * which is to be shared instead; then twin is to be dropped.
 */
bool hold_settle(int twin, struct sidecar_id id, enum table_mode mode);

/* Gives back what no reference got. -1 is allowed. */
void hold_drop(int twin);

/* Prepares to keep this hold to the end of the process (hold=process); -1 is
 * allowed. 0, or the negative errno value that the open fails with. What comes
 * back in *ret_kept (-1 where nothing more need be done) goes to hold_kept, which
 * keeps it if the call has succeeded, and else gives it back. */
int hold_keep(struct target *target, int twin, int *ret_kept);
void hold_kept(int kept, bool succeeded);

/* In the child of a fork: other threads, if there were any, and what they had in
 * hand, are not here; holds with inherit=none stay with the parent. */
void hold_after_fork(bool had_others);

#endif
