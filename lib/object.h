/*
 * What a lock object is inside: its holds, one for each thread that has it, and
 * all objects of the process, so that a thread that would wait for itself can be
 * told so.
 */
#ifndef FILELOCK_OBJECT_H
#define FILELOCK_OBJECT_H

#include <pthread.h>

#include "lib/cancel.h"
#include "lib/filelock.h"
#include "lib/sidecar.h"

struct hold {
    uint64_t key;    /* the thread, or 0 for the process */
    uint64_t thread; /* which acquired it */
    unsigned count;
    bool shared;
    int fd;
    struct sidecar_id id;
    struct hold *next;
};

struct filelock {
    pthread_mutex_t mutex; /* around what follows; never held during a wait */
    struct hold *holds;    /* with a count above 0 */
    struct hold *spare;    /* so that acquiring again needs no memory */
    bool acquiring;        /* FILELOCK_PER_PROCESS: a thread is at it */
    uint64_t timeout;
    uint64_t streak_start, last_release; /* FILELOCK_FAIR */

    struct cancel cancel;
    unsigned flags;
    _Atomic uint64_t process;      /* to which the holds belong: process_token */
    struct filelock *_Atomic next; /* all objects */
    char path[];
};

/* A number for the calling thread that no other gets. */
uint64_t object_thread(void);

void object_register(struct filelock *lock);
void object_unregister(struct filelock *lock);

/* In the child of a fork: what the parent holds is not ours. To be called
 * before anything else is done with an object. */
void object_adopt(struct filelock *lock);

/* The caller's hold; the mutex is held. */
struct hold *object_find(const struct filelock *lock);

/* Whether the calling thread holds this file through whatever object, in a way
 * that keeps it from getting it (a shared hold does not keep from sharing). */
bool object_thread_holds(struct sidecar_id id, bool shared);

#endif
