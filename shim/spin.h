/*
 * A lock for what the threads of a process have between them, held for a moment
 * only: a few words, a few system calls.
 *
 *     signal_set before = spin_lock(&spin);
 *     ...
 *     spin_unlock(&spin, before);
 *
 * All signals are blocked meanwhile, since a handler would wait for its own
 * thread. The child of a fork takes it from a thread that is not there any more. A
 * child that shares our memory (vfork) must not take it: it may be killed.
 */
#ifndef AUTOLOCK_SPIN_H
#define AUTOLOCK_SPIN_H

#include <sys/types.h>

#include "lib/signals.h"

struct spin {
    _Atomic pid_t owner; /* the process that has it; 0: nobody */
};

signal_set spin_lock(struct spin *spin);
void spin_unlock(struct spin *spin, signal_set before);

/* For a loop that looks for what another thread is just doing, in its turn number `turn`
 * (from 0): gives way, and after a while sleeps a moment each time, since the other may
 * have the lower priority. */
void spin_pause(int turn);

#endif
