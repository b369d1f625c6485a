/*
 * A flock(2) that one particular signal can end for certain.
 *
 * EINTR alone does not tell whose handler ended the call: when a handler of the
 * program without SA_RESTART has run, the program wants to know; when our own
 * signal came, it must not. So our handler is installed with SA_RESTART, and
 * looks where it came in. Up to the system call itself (the kernel has gone back
 * there to restart it, or it has not been made yet) it steps over the call and
 * leaves -ETIMEDOUT as its result, with all signals blocked: one of the program's
 * that has come meanwhile stays pending and is seen by the next look at those
 * (signals_interrupt). A signal that comes before that leaves a mark, and the
 * call is not made. So one signal is enough, but for one case: it may come while
 * a handler of the program runs that has interrupted the call (FLOCK_CALL_ABOVE);
 * that handler returns to the system call itself.
 *
 * Source: the idea of cancellable system calls in musl (a range of addresses that
 * the handler knows).
 *
 * Architectures that are not known here have to make do with a handler without
 * SA_RESTART (FLOCK_CALL_STEPS 0): a signal that comes just before the call is
 * made is lost there, so it has to be repeated; and where a signal of the program
 * comes within some milliseconds of it, its EINTR may be taken for ours.
 */
#ifndef FILELOCK_FLOCK_CALL_H
#define FILELOCK_FLOCK_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/hand_over.h"

/* Of one thread. The assembler code knows where they are. */
struct flock_call {
    volatile unsigned char in_kernel; /* the system call has been made, or nearly so */
    volatile unsigned char ended;     /* set by the handler; cleared before a call */
};

enum flock_call_place {
    FLOCK_CALL_ENDED, /* in a flock_call, which ends with the result */
    FLOCK_CALL_ABOVE, /* in a handler that has interrupted one */
    FLOCK_CALL_NONE
};

/* For the handler: ends the flock_call that its ucontext_t shows with this result,
 * or lets the next one end that has not yet begun. */
enum flock_call_place flock_call_end(struct flock_call *call, void *context, int result);

/* The stack pointer of what the handler has interrupted (a signal's own frame
 * takes kilobytes); about that, where the architecture is not known. */
uintptr_t flock_call_stack(void *context);

/* As flock(2), or -ETIMEDOUT or what else the handler says. */
HAND_OVER int flock_call(struct flock_call *call, int fd, int operation);

#if (defined(__x86_64__) && !defined(__ILP32__)) || defined(__aarch64__)
#define FLOCK_CALL_STEPS 1
#else
#define FLOCK_CALL_STEPS 0
#endif

#endif
