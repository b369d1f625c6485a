/*
 * A flock(2) that one particular signal can end for certain.
 *
 * EINTR alone does not tell whose handler ended the call: when a handler of the
 * program without SA_RESTART has run, the program wants to know; when our timer
 * ticked, it must not. So the timer's handler is installed with SA_RESTART, and
 * looks where it came in. At the system call itself (the kernel has gone back
 * there to restart it, or it has not been made yet) it steps over the call and
 * leaves -ETIMEDOUT as its result, with all signals blocked: one of the program's
 * that has come meanwhile stays pending and is seen by the next look at those
 * (signals_interrupt). Anywhere else it changes nothing.
 *
 * Architectures that are not known here have to make do with a handler without
 * SA_RESTART (FLOCK_CALL_STEPS 0): where a signal of the program comes within
 * some milliseconds of a tick, its EINTR may then be taken for ours.
 */
#ifndef FILELOCK_FLOCK_CALL_H
#define FILELOCK_FLOCK_CALL_H

#include <stdbool.h>
#include <stdint.h>

/* For the handler's ucontext_t: ends a flock_call with this result. True when it
 * was in one. */
bool flock_call_step(void *context, int result);

/* The stack pointer of what the handler has interrupted (a signal's own frame
 * takes kilobytes); about that, where the architecture is not known. */
uintptr_t flock_call_stack(void *context);

/* As flock(2), or -ETIMEDOUT. */
int flock_call(int fd, int operation);

#if (defined(__x86_64__) && !defined(__ILP32__)) || defined(__aarch64__)
#define FLOCK_CALL_STEPS 1
#else
#define FLOCK_CALL_STEPS 0
#endif

#endif
