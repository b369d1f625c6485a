#include "lib/object.h"

#include <stdlib.h>

#include "lib/flock_wait.h"
#include "lib/fork_watch.h"
#include "lib/handler_local.h"
#include "lib/process_mark.h"
#include "lib/signals.h"
#include "lib/sys_linux.h"

/* All objects. A list that is whole at every moment, so that the child of a fork
 * in the middle of a change can go through its copy. The mutex is for those who
 * change it, with all signals blocked: a handler may fork. */
static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct filelock *_Atomic all;

static signal_set all_lock(void) {
    signal_set before = signals_mask(SIGNALS_ALL);
    (void)pthread_mutex_lock(&all_mutex);
    return before;
}

static void all_unlock(signal_set before) {
    (void)pthread_mutex_unlock(&all_mutex);
    (void)signals_mask(before);
}

/* What the parent holds must not outlive it because of us, who never ask. */
static void after_fork_in_child(void) {
    process_mark_after_fork();
    (void)pthread_mutex_init(&all_mutex, NULL);
    flock_wait_after_fork();
    fork_watch_in_child();
    for (struct filelock *lock = all; lock; lock = lock->next) {
        object_adopt(lock);
    }
}

/* Early, so that the handlers of those who use us run when ours are not at it. */
__attribute__((constructor(101))) static void watch_forks(void) {
    (void)pthread_atfork(fork_watch_prepare, fork_watch_in_parent, after_fork_in_child);
}

/* By dlclose(3), while something is held. */
__attribute__((destructor)) static void leave_no_handler(void) {
    flock_wait_tidy();
}

uint64_t object_thread(void) {
    static _Atomic uint64_t last;
    static HANDLER_LOCAL uint64_t mine;
    if (mine == 0) {
        mine = atomic_fetch_add(&last, 1) + 1;
    }
    return mine;
}

void object_register(struct filelock *lock) {
    signal_set before = all_lock();
    lock->next = all;
    all = lock;
    all_unlock(before);
}

void object_unregister(struct filelock *lock) {
    signal_set before = all_lock();
    struct filelock *_Atomic *at = &all;
    while (*at && *at != lock) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = lock->next;
    }
    all_unlock(before);
}

/* fork copies the descriptors before the memory: another thread may have got
 * the lock between, and the number may be somebody else's here. */
static void close_if_same(int fd, struct sidecar_id id) {
    if (sidecar_is(fd, id)) {
        (void)sys_close(fd);
    }
}

/* The lock is the parent's: LOCK_UN would free it for the parent too, closing
 * our copy of the descriptor does not (flock(2)). A soft lock's file stays. */
static void drop_inherited(struct filelock *lock) {
    (void)pthread_mutex_init(&lock->mutex, NULL);
    while (lock->holds) {
        struct hold *hold = lock->holds;
        lock->holds = hold->next;
        if (hold->fd >= 0) {
            close_if_same(hold->fd, hold->id);
            hold->fd = -1; /* an acquire that a handler's child goes back into knows it */
        }
        hold->next = lock->spare;
        lock->spare = hold;
    }
    cancel_after_fork(&lock->cancel);
}

#define ADOPTING (UINT64_C(1) << 63)

void object_adopt(struct filelock *lock) {
    uint64_t me = process_token();
    for (;;) {
        uint64_t owner = atomic_load_explicit(&lock->process, memory_order_acquire);
        if (owner == me) {
            return;
        }
        /* Another thread of ours may be at it; one that the fork did not take along
         * has left its parent's token. */
        if (owner != (me | ADOPTING) &&
            atomic_compare_exchange_strong(&lock->process, &owner, me | ADOPTING)) {
            drop_inherited(lock);
            atomic_store_explicit(&lock->process, me, memory_order_release);
            return;
        }
        sys_let_others_run();
    }
}

static bool holds(struct filelock *lock, struct sidecar_id id, bool shared) {
    bool found = false;
    uint64_t thread = object_thread();
    (void)pthread_mutex_lock(&lock->mutex);
    for (const struct hold *hold = lock->holds; hold && !found; hold = hold->next) {
        found = hold->count > 0 && hold->thread == thread && sidecar_same(hold->id, id) &&
                !(shared && hold->shared);
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return found;
}

bool object_thread_holds(struct sidecar_id id, bool shared) {
    bool found = false;
    uint64_t me = process_token();
    signal_set before = all_lock();
    for (struct filelock *lock = all; lock && !found; lock = lock->next) {
        found = atomic_load(&lock->process) == me && holds(lock, id, shared);
    }
    all_unlock(before);
    return found;
}
