/*
 * The holds of a lock object.
 *
 * Each thread that has the lock, or is about to get it, has a hold of its own, with a
 * descriptor of its own, and waits for the others like a stranger. With
 * FILELOCK_PER_PROCESS those that hold it together have one descriptor between them,
 * and those that wait for it wait with one open file description, which flock(2)
 * locks for all of them at once.
 *
 * All of this with the object's mutex held.
 */
#ifndef FILELOCK_HOLDS_H
#define FILELOCK_HOLDS_H

#include "lib/hand_over.h"
#include "lib/object.h"

/* A hold of the caller's that counts: this thread's, or, FILELOCK_PER_PROCESS, if it
 * has none another's. */
HAND_OVER struct hold *holds_find(const struct filelock *lock);

/* Acquires of the caller that are not yet released. */
HAND_OVER unsigned holds_count(const struct filelock *lock);

/* Counts what the caller holds already. 1: done; 0: it does not hold it; or an
 * error of filelock_acquire. */
int holds_count_up(struct filelock *lock, bool shared);

/* A hold for the caller, who is about to acquire it. -ENOMEM. */
int holds_begin(struct filelock *lock, bool shared, struct hold **ret);

/* Its file has been opened; the descriptor is the hold's from now on. */
void holds_opened(struct filelock *lock, struct hold *hold, int fd, struct sidecar_id id);

/* Its file has been locked: is it to count? One of these, or an error of
 * filelock_acquire. */
enum {
    HOLDS_AGAIN, /* another thread has released what it shared with us */
    HOLDS_COUNTS,
    HOLDS_REPLACED /* the path leads elsewhere by now */
};
HAND_OVER int holds_settle(struct filelock *lock, struct hold *hold);

/* Makes all acquires of the caller one, of this hold, with the descriptor. */
HAND_OVER void holds_fold(struct filelock *lock, struct hold *hold);

/* Undoes one acquire of several. */
void holds_count_down(struct filelock *lock, struct hold *hold);

/* Takes it out of the list. Its descriptor is the caller's business. */
void holds_end(struct filelock *lock, struct hold *hold);

#endif
