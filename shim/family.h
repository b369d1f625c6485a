/*
 * While waiting: is it ourselves, or an ancestor that waits for us, who has the lock
 * (contract W2, nested.h)? Looked at soon at first, then ever more rarely.
 */
#ifndef AUTOLOCK_FAMILY_H
#define AUTOLOCK_FAMILY_H

#include "shim/nested.h"
#include "shim/target.h"

struct family {
    struct nested nested;
    uint64_t look, interval; /* CLOCK_MONOTONIC in microseconds; `look`: when it is due */
    bool waits_for_own;      /* what this process has by itself is no reason not to wait */
};

/* nested.h says which lock. */
void family_begin(struct family *family, uint64_t now);

/* Looks, and says when to look again. WAITED_OURS (*ret_fd), WAITED_PASS, -EDEADLK
 * (nested=fail), or WAITED_LOCKED for "wait on"; why, in the target. */
int family_look(struct family *family, struct target *target, bool exclusive, uint64_t now,
                int *ret_fd);

#endif
