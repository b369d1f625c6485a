/*
 * A lock object, a thread that acquires it, and which signals have a handler meanwhile.
 */
#ifndef LIB_VISIT_H
#define LIB_VISIT_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/filelock.h"

/* For a.lock, kind flock. Criterion's .init and .fini, with those of a scenario. */
extern struct filelock *lock;
void lock_begin(void);
void lock_end(void);

/* What another thread gets from one acquire, and gives back. */
struct visit {
    struct filelock *lock;
    uint64_t timeout;
    pid_t tid;
    int result;
    pthread_t thread;
};
/* The thread itself. */
void *visit(void *data);
void visit_start(struct visit *data);
/* Waits until it is over. */
int visit_result(struct visit *data);

/* The signals that have a handler, as the kernel sees it: bit n-1 for signal n. */
unsigned long long caught(void);

#endif
