/*
 * What a lock object is inside: its holds, and all objects of the process, so that a
 * thread that would wait for itself can be told so.
 */
#ifndef FILELOCK_OBJECT_H
#define FILELOCK_OBJECT_H

#include <pthread.h>

#include "lib/cancel.h"
#include "lib/filelock.h"
#include "lib/hand_over.h"
#include "lib/sidecar.h"

struct hold {
    uint64_t thread;
    unsigned count; /* 0: it is being acquired */
    bool shared;
    unsigned gaps; /* FILELOCK_FAIR: how many there had been when it began */
    int fd;        /* -1: none yet, or another hold of the process has it */
    struct sidecar_id id;
    struct hold *next;
};

struct filelock {
    pthread_mutex_t mutex; /* around what follows; never held during a wait */
    struct hold *holds;
    struct hold *spare; /* so that acquiring again needs no memory */
    uint64_t timeout;
    uint64_t streak_start, last_release, gap_end; /* FILELOCK_FAIR */
    unsigned gaps;

    struct cancel cancel;     /* wakes those who wait; and why: */
    _Atomic unsigned cancels; /* how often filelock_cancel was called */
    unsigned flags;
    _Atomic uint64_t process;      /* to which the holds belong: process_token */
    struct filelock *_Atomic next; /* all objects */
    char path[];
};

/* A number for the calling thread that no other gets. */
HAND_OVER uint64_t object_thread(void);

void object_register(struct filelock *lock);
void object_unregister(struct filelock *lock);

/* In the child of a fork: what the parent holds is not ours. To be called
 * before anything else is done with an object. */
HAND_OVER void object_adopt(struct filelock *lock);

/* Whether the calling thread holds this file through whatever object, in a way
 * that keeps it from getting it (a shared hold does not keep from sharing). */
bool object_thread_holds(struct sidecar_id id, bool shared);

#endif
