/*
 * Waiting for a flock(2) inside the kernel, for a limited time.
 *
 * flock has no timeout of its own. A POSIX timer that signals this thread
 * (timer_create(2), SIGEV_THREAD_ID) interrupts it; the waiter stands in the
 * kernel's queue meanwhile, is woken at once and is seen by lslocks(8). The
 * signal is a real-time one whose action is the default one; its handler is
 * there only as long as somebody waits, and the thread's mask and the action
 * are put back. Without a limit there is neither, and whoever cancels the wait sends
 * it a signal (wait_signal.h). Where no timer is to be had (RLIMIT_SIGPENDING), or on
 * a network file system (where the kernel's queue is not everybody's), the lock is
 * tried again and again with growing pauses.
 *
 * Somebody else's release is felt as soon as flock_wait returns. So as little as
 * possible is done between the wake-up and that: no system call, or, with a limit, one
 * (the timer is disarmed). The timer and the handler are left for the time being.
 *
 * Thread-safe; usable in a signal handler that interrupted another wait.
 */
#ifndef FILELOCK_FLOCK_WAIT_H
#define FILELOCK_FLOCK_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cancel.h"
#include "lib/hand_over.h"
#include "lib/signals.h"

enum flock_wait_flags {
    FLOCK_WAIT_POLL = 1, /* no timer and no handler is used */
    /* The caller has left the queue in between. A signal whose handler runs just
     * before it is entered again would not end the wait: so those that would have
     * to are held back in there, and looked for every 10 ms. (For the first time
     * it is as if the signal had come before the call, as with flock(2) itself.) Not
     * in a process with other threads, which would be given them. */
    FLOCK_WAIT_AGAIN = 2,
    /* The thread may be cancelled (pthread_cancel(3)) in the queue. The caller has
     * pushed a handler that calls flock_wait_abandon. */
    FLOCK_WAIT_CANCEL = 4,
};

/*
 * operation: LOCK_EX or LOCK_SH, which has just met -EWOULDBLOCK on fd. until:
 * CLOCK_MONOTONIC in microseconds (lib/clock.h), CLOCK_FOREVER for no limit; a time
 * gone by means one try. The caller has blocked all signals, so that none that ought
 * to end the waiting is lost between two waits: `blocked` is the program's own mask,
 * in force only inside the queue. All are blocked again afterwards.
 * Returns 0, -ETIMEDOUT, -ECANCELED (cancel.h), -EINTR when a handler of the program
 * without SA_RESTART has run or does so, at the latest, when the caller puts the mask
 * back; or what flock(2) fails with.
 */
int flock_wait_blocked(int fd, int operation, uint64_t until, unsigned flags, signal_set blocked,
                       const struct cancellable *wait);

/*
 * The same for a wait without flags and with the program's mask, which is in force as
 * long as it lasts, and afterwards where the result is 0; otherwise all signals are
 * blocked, and *ret_blocked is the program's mask. wait is not NULL.
 *
 * With 0, and a limit, a timer that is disarmed and the handler of its signal may still
 * be there: the caller calls flock_wait_tidy as soon as time does not matter any more.
 */
HAND_OVER int flock_wait(int fd, int operation, uint64_t until, const struct cancellable *wait,
                         signal_set *ret_blocked);

/* Takes down what the waits of all threads that are over have left. Costs nothing where
 * that is nothing. */
void flock_wait_tidy(void);

/* Takes down what the innermost wait of this thread has set up, which does not
 * come back. */
void flock_wait_abandon(void);

/*
 * Called, in a signal handler with all signals blocked, when the timer has found
 * that a handler of the program has jumped out of a wait of this thread
 * (siglongjmp(3)): what belonged to that wait can be let go of. `stack`: the
 * stack pointer of what the timer has interrupted; `innermost`: the wait that was
 * entered last is gone, whatever that says. One function for the process.
 */
void flock_wait_on_gone(void (*function)(uintptr_t stack, bool innermost));

/* Whether fd is on a file system of which a lock that is freed elsewhere does not
 * wake us (NFS and its kin, FUSE). */
bool flock_wait_is_remote(int fd);

/* To be called in the child of a fork, where the waiting threads are gone. */
void flock_wait_after_fork(void);

#endif
