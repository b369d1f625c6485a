/*
 * open is a cancellation point (pthreads(7)). Its wrapper makes system calls of
 * its own, so it has to be one itself.
 *
 *   - A thread that has been cancelled already ends where the wrapper begins.
 *   - A raw call that may wait (for the other end of a FIFO) is made as libc
 *     makes it, with cancellation let in at any moment of it.
 *   - A wait for a lock can be cancelled in the kernel's queue (flock_wait.h).
 *     What the open had in hand is dropped (doing.h).
 *
 * Costs nothing in a process without threads.
 */
#ifndef AUTOLOCK_CANCELLING_H
#define AUTOLOCK_CANCELLING_H

#include "lib/signals.h"

/* The handler for pthread_cleanup_push around what may be cancelled in such a
 * call. mask: the program's signal_set, to be put back. */
void cancelling_drop(void *mask);

/* Ends the thread if it has been cancelled, with what the call that it is in
 * (doing.h) had in hand, where that one may be cancelled. mask: the program's. */
void cancelling_test(signal_set mask);

/* The same for a thread that has nothing in hand. */
void cancelling_test_idle(void);

/* Around a raw call. */
int cancelling_begin(void);
void cancelling_end(int before);

/* From the lock to the word in the table: libc's own open is made there, of a
 * regular file, which need not be waited for. */
int cancelling_forbid(void);
void cancelling_allow(int before);

#endif
