/*
 * The signal that ends a wait of this thread in flock (flock_wait.h): a tick of its
 * timer, or one that somebody has sent to cancel it; and what has to be taken down
 * when the wait is over, or has been left by a jump out of a signal handler.
 */
#ifndef FILELOCK_FLOCK_TICK_H
#define FILELOCK_FLOCK_TICK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cancel.h"
#include "lib/flock_call.h"
#include "lib/hand_over.h"
#include "lib/handler_local.h"
#include "lib/signals.h"

/* Of the innermost wait. Not on the stack of the wait: a handler of the program may
 * jump out of it (siglongjmp) and leave us behind. */
struct flock_tick {
    struct flock_call call;
    volatile bool active;
    volatile bool stopping; /* what arrives yet is let go */
    int timer;              /* the kernel's id; -1: none */
    int number;             /* of its signal; 0: none */
    uintptr_t frame;        /* an address in the waiting function's stack frame */
    signal_set blocked;     /* the program's mask */
    signal_set avoid;       /* signals that have turned out to be the program's */
    cancel_slot *slot;      /* NULL: none */
};
extern HANDLER_LOCAL struct flock_tick flock_tick __attribute__((visibility("hidden")));

/* Makes the timer, which begins to tick then (CLOCK_FOREVER: only when it is set off).
 * Returns 0 or a negative errno value. */
int flock_tick_start(int number, uint64_t until);

/*
 * Takes the wait down: slot, timer, handler. After that none of our signals comes any
 * more: one that is on its way arrives at the latest at the end of a system call that
 * is made here with the signal let in.
 *
 * let_in: the mask in force is the program's, which lets ours in, and the caller is in a
 * hurry: of a timer and its signal's handler as much is left for flock_wait_tidy as can
 * be. Else all signals are blocked.
 */
HAND_OVER void flock_tick_stop(bool let_in);

#endif
