/*
 * Getting the lock on disk, for each kind: what an object does when it does not
 * hold it yet.
 */
#ifndef FILELOCK_TAKE_H
#define FILELOCK_TAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cancel.h"
#include "lib/hand_over.h"
#include "lib/holds.h"

struct taking {
    struct filelock *lock;
    struct hold *hold;
    uint64_t until; /* CLOCK_MONOTONIC; 0: one try */
    bool relative;  /* it is a duration yet: who gets the lock at once asks no clock */
    unsigned cancels;
    uint64_t process; /* process_token, before the hold was begun */
    struct cancellable wait;
    /* Kind flock: once it has had to wait in vain, all signals are blocked, but in the
     * queue. */
    bool has_waited, holds_signals;
    uint64_t blocked; /* the program's mask (signals.h) */
};

/* Whether filelock_cancel was called since the acquire began. What wakes a wait may
 * also be that another thread of the process has got the lock. */
bool take_is_cancelled(const struct taking *taking);

/* Until when to wait, which is counted from the first time that it is asked. */
uint64_t take_until(struct taking *taking);

/* Both return 1 when the hold counts, an error of filelock_acquire, or 0 in the child
 * of a fork that a signal handler has made meanwhile: nothing of it is ours. */
HAND_OVER int take_flock(struct taking *taking);
int take_soft(struct taking *taking);

#endif
