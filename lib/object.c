#include "lib/object.h"

#include <stdlib.h>

#include "lib/flock_wait.h"
#include "lib/process_mark.h"
#include "lib/sys_linux.h"

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct filelock *all;

static void before_fork(void) {
    (void)pthread_mutex_lock(&all_mutex);
}

static void after_fork_in_parent(void) {
    (void)pthread_mutex_unlock(&all_mutex);
}

static void after_fork_in_child(void) {
    (void)pthread_mutex_init(&all_mutex, NULL);
    flock_wait_after_fork();
}

__attribute__((constructor)) static void watch_forks(void) {
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

uint64_t object_thread(void) {
    static _Atomic uint64_t last;
    static _Thread_local uint64_t mine;
    if (mine == 0) {
        mine = atomic_fetch_add(&last, 1) + 1;
    }
    return mine;
}

void object_register(struct filelock *lock) {
    (void)pthread_mutex_lock(&all_mutex);
    lock->next = all;
    all = lock;
    (void)pthread_mutex_unlock(&all_mutex);
}

void object_unregister(struct filelock *lock) {
    (void)pthread_mutex_lock(&all_mutex);
    for (struct filelock **at = &all; *at; at = &(*at)->next) {
        if (*at == lock) {
            *at = lock->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&all_mutex);
}

/* fork copies the descriptors before the memory: another thread may have got
 * the lock between, and the number may be somebody else's here. */
static void close_if_same(int fd, struct sidecar_id id) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) == 0 && sidecar_same(sidecar_id_of(&stat), id)) {
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
        close_if_same(hold->fd, hold->id);
        hold->next = lock->spare;
        lock->spare = hold;
    }
    lock->acquiring = false;
    for (int i = 0; i < CANCEL_SLOTS; i++) {
        atomic_store(&lock->cancel.timers[i], 0); /* timers are not inherited */
    }
}

void object_adopt(struct filelock *lock) {
    pid_t me = process_mark();
    for (;;) {
        pid_t owner = atomic_load_explicit(&lock->process, memory_order_acquire);
        if (owner == me) {
            return;
        }
        /* -me: another thread of ours is at it. Any other negative number was
         * left by a thread that the fork did not take along. */
        if (owner != -me && atomic_compare_exchange_strong(&lock->process, &owner, -me)) {
            drop_inherited(lock);
            atomic_store_explicit(&lock->process, me, memory_order_release);
            return;
        }
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
}

struct hold *object_find(const struct filelock *lock) {
    uint64_t key = lock->flags & FILELOCK_PER_PROCESS ? 0 : object_thread();
    struct hold *hold = lock->holds;
    while (hold && hold->key != key) {
        hold = hold->next;
    }
    return hold;
}

static bool holds(struct filelock *lock, struct sidecar_id id, bool shared) {
    bool found = false;
    uint64_t thread = object_thread();
    (void)pthread_mutex_lock(&lock->mutex);
    for (const struct hold *hold = lock->holds; hold && !found; hold = hold->next) {
        found = hold->thread == thread && sidecar_same(hold->id, id) && !(shared && hold->shared);
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return found;
}

bool object_thread_holds(struct sidecar_id id, bool shared) {
    bool found = false;
    pid_t me = process_mark();
    (void)pthread_mutex_lock(&all_mutex);
    for (struct filelock *lock = all; lock && !found; lock = lock->next) {
        found = atomic_load(&lock->process) == me && holds(lock, id, shared);
    }
    (void)pthread_mutex_unlock(&all_mutex);
    return found;
}
