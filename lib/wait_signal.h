/*
 * The signals that end waits (flock_wait.h), with a handler of ours for as long as
 * anybody needs it.
 *
 * A wait with a limit takes a real-time signal whose action is the default one, for
 * its timer; waiting threads share it where they can. A wait without one takes none:
 * whoever cancels it takes one of the rarely used older signals, which can always be
 * sent (a real-time one fails once RLIMIT_SIGPENDING is reached).
 *
 * A signal of the same number that is not of our making is the program's:
 *   - Where the thread blocks it, and only our wait has let it in, it is sent once
 *     more, so that it is pending or meets whoever waits for it (sigwaitinfo(2),
 *     signalfd(2)), and the wait goes on with another number.
 *   - Otherwise what the program wants done is done.
 * It may be that the program gives that very signal an action meanwhile. Where it
 * asks us (wait_signal_action), its action is kept for it, and it is in force when
 * the last wait has ended. Where it does not, what it has installed stays.
 *
 * Thread- and signal-safe, without a lock that an interrupted thread might hold;
 * errno untouched.
 */
#ifndef FILELOCK_WAIT_SIGNAL_H
#define FILELOCK_WAIT_SIGNAL_H

#include <signal.h>
#include <stdbool.h>

#include "lib/hand_over.h"
#include "lib/signals.h"

/* The handler, which runs with all signals blocked. Not here: in flock_wait. */
void wait_signal_arrived(int number, siginfo_t *info, void *context);

/* Takes a signal that is not in `used`: returns its number, or 0 when there is none.
 * Each is to be given back, when none of ours can arrive any more. */
int wait_signal_take(signal_set used);
void wait_signal_give_back(int number);

/* The same without the system call that puts the program's action back: for who is in a
 * hurry. Until wait_signal_tidy the handler stays, unless the program gives the signal
 * another, and does what the program's action would. */
HAND_OVER void wait_signal_leave(int number);
/* Puts back the actions of all that have been left and nobody uses. Costs nothing where
 * there are none. */
void wait_signal_tidy(void);

/* Those of a thread with that mask that the program seems to use: pending ones, and
 * blocked ones, since it may wait for them in another way. (Who blocks them all uses
 * none in particular.) */
signal_set wait_signal_used(signal_set blocked);

/* What can be sent at any time to a thread with that mask, as a set of less than 7
 * bits; 0: nothing. */
unsigned wait_signal_senders(signal_set blocked);
/* Takes one of these signals and sends it to the thread, which then has to give it
 * back. Returns its number; 0: there is no such thread. Async-signal-safe; to be
 * called with all signals blocked. */
int wait_signal_send(pid_t thread, unsigned senders);

/* What a timer's sigev_value is, so that its signals are known. */
union sigval wait_signal_mark(void);
bool wait_signal_is_tick(const siginfo_t *info);
bool wait_signal_is_sent(const siginfo_t *info);
/* The kernel had no memory to say whose it is. */
bool wait_signal_is_bare(const siginfo_t *info);

/* In the handler: sends the same to this thread once more. */
void wait_signal_repeat(int number, const siginfo_t *info);

/* In the handler, with a signal that is not ours: sends it once more, to whom it was
 * sent. To be blocked in this thread then. */
void wait_signal_return(int number, const siginfo_t *info);

/* In the handler, with a signal that is not ours: does what the program wants done.
 * Returns whether a system call that it came into is to end with EINTR. */
bool wait_signal_forward(int number, siginfo_t *info, void *context);

/* sigaction(2) for that signal. False when it is no signal of ours now. */
bool wait_signal_action(int number, const struct sigaction *action, struct sigaction *ret_before);

/* In the child of a fork. */
void wait_signal_after_fork(void);

#endif
