/*
 * Pauses between tries, where the kernel cannot wait for us: short at first,
 * longer each time, never longer than BACKOFF_LONGEST (contract P5).
 */
#ifndef FILELOCK_BACKOFF_H
#define FILELOCK_BACKOFF_H

#include "lib/clock.h"
#include "lib/signals.h"

#define BACKOFF_FIRST CLOCK_MILLISECOND
#define BACKOFF_LONGEST (20 * CLOCK_MILLISECOND)

/*
 * Sleeps for *pause (0 at first, updated), at most until `until`, and then lets
 * signals in that `blocked`, the program's mask, does not hold back: their
 * handlers run up to BACKOFF_LONGEST late; one without SA_RESTART ends the sleep where
 * there are other threads, which might take it. All are blocked before and after.
 * Returns 0, -ETIMEDOUT when `until` has passed already, or -EINTR when a handler
 * without SA_RESTART is about to run, as soon as the caller puts the mask back.
 */
int backoff_sleep(uint64_t *pause, uint64_t until, signal_set blocked);

/* The same with pauses of 1, 2 and 4 ms in turn: for who has to come at another moment
 * than before. */
int backoff_again(uint64_t *pause, uint64_t until, signal_set blocked);

#endif
