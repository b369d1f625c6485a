/*
 * Fork waits until nobody is in the middle of something.
 *
 * A child of fork has all descriptors of ours that exist at that moment. One
 * that a thread had just got from the kernel, but not yet put in the table, the
 * child would never know of: the lock would stay taken as long as it lives. So
 * the few system calls from a new descriptor to its word in the table are
 * done behind this gate:
 *
 *     struct gate gate = gate_enter();
 *     ...
 *     gate_leave(gate);
 *
 * with all signals blocked, and fork waits until the last one has left. Nothing
 * that may take long is done there. Whoever is kept from entering goes in after
 * a while all the same, and so does fork: a handler of pthread_atfork that waits
 * for a lock of a thread that waits at the gate must not hang for ever.
 *
 * May be nested. In a process that has one thread it costs nothing.
 */
#ifndef AUTOLOCK_GATE_H
#define AUTOLOCK_GATE_H

#include <stdbool.h>

#include "lib/signals.h"

struct gate {
    bool entered, alone;
    signal_set before;
};

struct gate gate_enter(void);
/* The same, and one thread at a time. Not to be nested in itself. */
struct gate gate_enter_alone(void);
void gate_leave(struct gate gate);

/* Around a fork, or whatever else nobody may be in the middle of. */
void gate_close(void);
void gate_open(void);
/* In the child, which is alone. Returns whether its parent may have had other
 * threads. */
bool gate_after_fork(void);

/* Whether this process has had a second thread. False is sure. */
bool gate_has_threads(void);

#endif
