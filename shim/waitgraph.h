/*
 * Who waits for whom: a picture of the machine's flocks at one moment, as far
 * as this /proc shows them. For circle.c, which knows what it means.
 *
 * The picture is taken in two steps, since the second one looks at every
 * process. It lies in mapped memory (some hundred kilobytes of addresses).
 * Errno untouched; no malloc.
 */
#ifndef AUTOLOCK_WAITGRAPH_H
#define AUTOLOCK_WAITGRAPH_H

#include <stdbool.h>

#include "shim/proclocks.h"

#define WAITGRAPH_LOCKS 2048
#define WAITGRAPH_HOLDERS 1024
#define WAITGRAPH_UNSEEN 1024

struct waitgraph_holder {
    pid_t pid;    /* has it open, as fd */
    pid_t locker; /* called flock for it */
    int fd;
    struct lock_key key;
};

struct waitgraph {
    int lock_count, holder_count, unseen_count;
    const struct lock_key *wanted; /* what we wait for: we are not in the queue now */
    bool too_many;                 /* of any of them: the picture is not whole */
    struct lock_line locks[WAITGRAPH_LOCKS];
    struct waitgraph_holder holders[WAITGRAPH_HOLDERS];
    pid_t unseen[WAITGRAPH_UNSEEN]; /* whose descriptors may not be looked at */
};

/* The first step: all locks and who waits for them. NULL without memory. */
struct waitgraph *waitgraph_read(void);
void waitgraph_free(struct waitgraph *graph);

/* Whether somebody waits for a lock that this process has. */
bool waitgraph_is_wanted(const struct waitgraph *graph, pid_t pid);

/* The second step: who has the locks that are waited for, and the one `wanted`. */
void waitgraph_find_holders(struct waitgraph *graph, const struct lock_key *wanted);

#endif
