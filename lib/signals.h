/*
 * The calling thread's signals, held back for as long as something is half
 * done, and looked at before they are let through.
 *
 * Sets are the kernel's, in one word: bit n-1 for signal n. errno untouched.
 */
#ifndef FILELOCK_SIGNALS_H
#define FILELOCK_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t signal_set;

#define SIGNALS_ALL (~(signal_set)0)

static inline signal_set signals_only(int number) {
    return (signal_set)1 << (number - 1);
}

/* sigaction(2). A library that wraps it names the real one. */
struct sigaction;
#ifndef SIGNALS_ACTION
#define SIGNALS_ACTION sigaction
#else
int SIGNALS_ACTION(int number, const struct sigaction *action, struct sigaction *ret_before);
#endif

/* Sets the mask of blocked signals; returns the one before. */
signal_set signals_mask(signal_set blocked);

/* The mask. */
signal_set signals_blocked(void);

/* Those that are pending and would come once `blocked` is the mask. */
signal_set signals_pending(signal_set blocked);

/* All being blocked, lets those in that do not end a system call with EINTR: their
 * handlers run, with the program's mask, or the process ends. Dear. */
void signals_let_in(signal_set blocked);

/*
 * Whether a signal that is pending now would end a system call with EINTR once
 * `blocked` is the mask: one with a handler without SA_RESTART (signal(7)).
 */
bool signals_interrupt(signal_set blocked);

/* The signals outside `blocked` that would do so. Dear: a call for each. */
signal_set signals_interrupting(signal_set blocked);

/* Whether there is another thread, which is given what is sent to the process while this
 * one blocks it. False where /proc does not tell. */
bool signals_may_go_elsewhere(void);

/* Sleeps (relative, of CLOCK_MONOTONIC), all being blocked. One of `wanted` ends that, is
 * given to this thread rather than another, and is pending then. */
struct timespec;
void signals_sleep(const struct timespec *rest, signal_set wanted);

/* Takes away pending signals of this number, which must be blocked. */
void signals_drain(int number);

#endif
