/*
 * What the calling thread is in the middle of.
 *
 * A call that takes a lock may never come back to us: a signal handler of the
 * program jumps out of it (siglongjmp(3)), or the thread is cancelled in it.
 * What such a call has in hand, hidden descriptors in transit (table.h) and
 * scratch memory, is remembered here, and dropped
 *
 *   - at the next call of the same thread that takes a lock,
 *   - when the timer of the wait that was left ticks once more (flock_wait.h),
 *   - at once when the thread is cancelled.
 *
 * Signals that come after a wait has begun are handled in the wait, or when the
 * call has ended, not in between.
 *
 * Calls nest, since handlers may open files too. One is over when the stack has
 * shrunk below its frame.
 *
 *     struct doing doing;
 *     doing_begin(&doing, false);    of the frame that lasts as long as the call
 *     ...
 *     doing_end();
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_DOING_H
#define AUTOLOCK_DOING_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/signals.h"

struct target;

/* Its address tells the frame. */
struct doing {
    char here;
};

/* cancellable: whether the thread may be cancelled while the call waits. */
void doing_begin(struct doing *doing, bool cancellable);
void doing_end(void);
bool doing_may_be_cancelled(void);

/*
 * Holds all signals back until the innermost call ends, since a handler that
 * jumped out after a wait would leave what the wait has brought. Returns the
 * program's own mask, which is to be in force while it waits. What is not part of
 * a call gets the mask back by doing_let_signals_in.
 */
signal_set doing_hold_signals(void);
void doing_let_signals_in(signal_set mask);

/* The innermost call waits for a lock, or no longer does. */
void doing_wait(bool waits);

/* A wait is over (flock_wait_on_gone). */
void doing_wait_is_gone(uintptr_t stack, bool innermost);

/* Drops the innermost call, which does not come back. */
void doing_abandon(void);

/* Scratch memory that is in use, or no longer. */
void doing_with(struct target *target);
void doing_without(const struct target *target);

#endif
