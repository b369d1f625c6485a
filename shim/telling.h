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

/* One call may have to wait several times for one target, which counts as one wait: the
 * second telling_begin does nothing. When telling_look is due: target->telling.at. */
void telling_begin(struct target *target);
void telling_look(struct target *target, const struct lock_key *key);
/* The same for a soft lock, whose marker says whose it is, or does not. */
void telling_look_soft(struct target *target, const struct soft_owner *owner);
/* A reader that stands back for a writer. */
void telling_look_turn(struct target *target);
/* It need not wait any more. */
void telling_end(struct target *target);

/* "perhaps for ever: pid ..." after the usual line's beginning. */
void telling_doubt(struct target *target, const char *who);

#endif
