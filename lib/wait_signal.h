/*
 * The signal of the timers that end waits (flock_wait.h): a real-time one whose
 * action is the default one, with a handler for as long as anybody waits. All
 * waiting threads share it.
 *
 * It may be that the program gives that very signal an action meanwhile. Where it
 * asks us (wait_signal_action), its action is kept for it: signals that are not of
 * our timers go there, and it is in force when the last wait has ended. Where it
 * does not, what it has installed stays.
 *
 * Thread- and signal-safe; errno untouched.
 */
#ifndef FILELOCK_WAIT_SIGNAL_H
#define FILELOCK_WAIT_SIGNAL_H

#include <signal.h>
#include <stdbool.h>

#include "lib/signals.h"

/* All but wait_signal_action are called with all signals blocked, so that no
 * handler of this thread finds the state half made. */

/* Returns the signal, with `tick` as its handler; 0: there is none. One that the
 * thread blocks (`blocked`, the program's mask) or that is pending is passed over:
 * the program may wait for it in another way (sigwaitinfo(2), signalfd(2)). */
int wait_signal_take(void (*tick)(int number, siginfo_t *info, void *context), signal_set blocked);
void wait_signal_give_back(void);

/* What a timer's sigev_value is, so that its signals are known. */
union sigval wait_signal_mark(void);
bool wait_signal_is_ours(const siginfo_t *info);

/* For a signal in `tick` that is not ours: does what the program wants done.
 * Returns whether a system call that it came into is to end with EINTR. */
bool wait_signal_forward(int number, siginfo_t *info, void *context);

/* sigaction(2) for that signal. False when it is no signal of ours now. */
bool wait_signal_action(int number, const struct sigaction *action, struct sigaction *ret_before);

/* In the child of a fork. */
void wait_signal_after_fork(void);

#endif
