/*
 * Soft holds (kind=soft, contract P3, H10): the sidecar's being there is the lock.
 *
 * A hold belongs to the process that has made the marker. Its references are hidden
 * duplicates of the marker's descriptor, as with flock, but here nothing happens by
 * itself when the last one is closed: whoever closes it removes the marker, in that
 * process alone. The description says whose it is, so that a child, whether it shares
 * our memory or has a copy of it, neither holds nor releases anything.
 *
 * Exec keeps the process and its number, and so the lock. One duplicate more, the
 * anchor, is not close-on-exec: by that the next program, if it is under the shim,
 * takes the hold over with what descriptors there are left of it (as the rule's
 * inherit= has it), or ends it.
 *
 * What ends without having removed its marker (kill, abort, a program after exec that
 * is not under the shim) leaves a stale one, which the next one breaks.
 *
 * Joining a hold, copying a reference and releasing the last one exclude one another
 * (soft_enter). Thread-, fork- and signal-safe; no malloc; errno untouched.
 */
#ifndef AUTOLOCK_SOFT_H
#define AUTOLOCK_SOFT_H

#include <stdbool.h>

#include "lib/sidecar.h"
#include "shim/gate.h"
#include "shim/table.h"
#include "shim/target.h"

/* Around what must not happen while a hold ends. May be nested. Costs nothing in a
 * process that has no soft holds. */
struct soft_section {
    bool entered;
    struct gate gate;
    signal_set before;
};
struct soft_section soft_enter(void);
void soft_leave(struct soft_section section);

/*
 * Makes the marker, or joins the hold that this process has: 0 and a hidden
 * descriptor in transit, or -1 where nobody has it and only an existing one was
 * asked for. -EEXIST: something is there that is not ours; -EAGAIN: a thread of ours
 * is just releasing it; or an error.
 */
int soft_try(struct target *target, int *ret_twin);

/* The same with waiting (soft_wait.c), for hold_take: 0 and *ret_twin, -1 also where
 * the open is to go on without; or an error, of which nothing is said yet. */
int soft_take(struct target *target, int *ret_twin);

/* A hidden descriptor is about to be closed: `fd`, claimed, which had the word
 * `before`. */
void soft_closing(int fd, table_word before);

/* The anchor that has come through exec, and is in the table, has got the references
 * that there still are, or there are none: then the hold ends. */
void soft_picked_up(int anchor, bool has_references);

/* There is a rule with kind=soft, or a hold that came through exec: from now on what
 * that needs is done. Called while starting. */
void soft_start(void);
bool soft_is_used(void);

/* Removes the marker of an anchor, as if its last reference were gone: the process is
 * about to end (soft_exit.c). */
void soft_end(int anchor);

#endif
