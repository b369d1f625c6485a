/*
 * Telling that an open waits, and for whom (contract W1, C6): a line after
 * warn-after, one more when somebody else has the lock or the wait has doubled,
 * ever more rarely; and that it is over, if it was told that it had begun.
 *
 * errno untouched; no malloc.
 */
#ifndef AUTOLOCK_TELLING_H
#define AUTOLOCK_TELLING_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/soft_text.h"
#include "shim/proclocks.h"
#include "shim/target.h"

struct telling {
    uint64_t start, at; /* CLOCK_MONOTONIC; `at`: when telling_look is due */
    uint64_t repeat_at, repeat, interval;
    pid_t holder; /* who was told of last */
    bool said;
};

void telling_begin(struct telling *telling, uint64_t warn_after);
void telling_look(struct telling *telling, const struct target *target, const struct lock_key *key);
/* The same for a soft lock, whose marker says whose it is, or does not. */
void telling_look_soft(struct telling *telling, const struct target *target,
                       const struct soft_owner *owner);
/* A reader that stands back for a writer does so past warn-after; `start`: since
 * when. */
void telling_turn(const struct target *target, uint64_t start);
/* It has the lock now. */
void telling_end(const struct telling *telling, const struct target *target);

/* "perhaps for ever: pid ..." after the usual line's beginning. */
void telling_doubt(struct telling *telling, const struct target *target, const char *who);

#endif
