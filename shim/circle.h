/*
 * Do processes wait for each other's locks in a circle? (contract W3)
 *
 * Nobody in a circle can go on unless one of them gives up. It counts only where
 * that is certain: everybody who has one of the locks, through any descriptor,
 * waits with all threads, either for a lock of the circle or for children that
 * do. A holder's other thread, or its forked child, may release; then there is
 * no circle, and waiting is right.
 *
 * Whoever looks has left the queue to do so, and is not seen waiting by others
 * who look at that moment. So two that look at once find nothing, which is why
 * the moments are jittered, the more the longer a look takes: on a machine with much to
 * do that can be most of a second. And once one of them gives up the others cannot
 * find the circle any more, so that exactly one fails. It has to be found twice,
 * the queue having been entered again between.
 *
 * Reading /proc/locks stops all lockers of the machine for a moment: the first
 * look comes after a second, the next ones ever more rarely. No malloc, no
 * lock; errno untouched.
 */
#ifndef AUTOLOCK_CIRCLE_H
#define AUTOLOCK_CIRCLE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/proclocks.h"
#include "shim/text.h"

/* What was seen so far by one wait, which began now. */
struct circle {
    uint64_t look_at; /* CLOCK_MONOTONIC: the next look */
    uint64_t interval;
    uint64_t seen; /* a sum over those in the circle at the last look; 0: none */
    int hopes;     /* looks in short succession that are left */
    bool hoping;   /* there may be one later: somebody waits for us */
    bool warned;
};

enum circle_answer {
    CIRCLE_NONE,
    CIRCLE_DOUBT, /* perhaps: somebody who cannot be looked at may have a lock.
                     Answered once. */
    CIRCLE_CLOSED /* the caller must give up */
};

void circle_begin(struct circle *circle);

/* Looks, and plans the next look. `wanted` is what this thread waits for. For
 * an answer other than CIRCLE_NONE *ret_who gets its text, "pid 1 (a) waits for
 * /x, which pid 2 (b) has; ...". */
enum circle_answer circle_look(struct circle *circle, const struct lock_key *wanted,
                               struct text *ret_who);

#endif
