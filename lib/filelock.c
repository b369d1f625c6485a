#include "lib/filelock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/fair.h"
#include "lib/object.h"
#include "lib/process_mark.h"
#include "lib/soft.h"
#include "lib/sys_linux.h"
#include "lib/take.h"

#define PUBLIC __attribute__((visibility("default")))

#define KNOWN_FLAGS (unsigned)(FILELOCK_SOFT | FILELOCK_PER_PROCESS | FILELOCK_FAIR)

static bool is_soft(const struct filelock *lock) {
    return lock->flags & FILELOCK_SOFT;
}

/* malloc and free without their errno. */
static void *allocate(size_t size) {
    int saved = errno;
    void *memory = calloc(1, size);
    errno = saved;
    return memory;
}

static void deallocate(void *memory) {
    int saved = errno;
    free(memory);
    errno = saved;
}

PUBLIC int filelock_create(struct filelock **ret, const char *path, unsigned flags) {
    if (!path || !*path || flags & ~KNOWN_FLAGS) {
        return -EINVAL;
    }
    size_t size = strlen(path) + 1;
    struct filelock *lock = allocate(sizeof(*lock) + size);
    if (!lock) {
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&lock->mutex, NULL);
    atomic_init(&lock->process, process_token());
    lock->flags = flags;
    lock->timeout = FILELOCK_FOREVER;
    memcpy(lock->path, path, size);
    object_register(lock);
    *ret = lock;
    return 0;
}

PUBLIC void filelock_set_timeout(struct filelock *lock, uint64_t timeout) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    lock->timeout = timeout == FILELOCK_DEFAULT ? FILELOCK_FOREVER : timeout;
    (void)pthread_mutex_unlock(&lock->mutex);
}

/* Counts what the caller holds already. 1: done; 0: it does not hold it. The
 * mutex is held. */
static int count_up(struct filelock *lock, bool shared) {
    struct hold *hold = object_find(lock);
    if (!hold) {
        return 0;
    }
    if (hold->shared && !shared) {
        return -EDEADLK; /* both of two that upgrade would wait for ever */
    }
    if (hold->count == UINT_MAX) {
        return -EOVERFLOW;
    }
    hold->count++;
    return 1;
}

static int add_hold(struct filelock *lock, const struct taking *taking) {
    struct hold *hold = lock->spare;
    if (hold) {
        lock->spare = hold->next;
    } else if (!(hold = allocate(sizeof(*hold)))) {
        return -ENOMEM;
    }
    uint64_t thread = object_thread();
    *hold = (struct hold){.key = lock->flags & FILELOCK_PER_PROCESS ? 0 : thread,
                          .thread = thread,
                          .count = 1,
                          .shared = taking->shared,
                          .fd = taking->fd,
                          .id = taking->id,
                          .next = lock->holds};
    lock->holds = hold;
    return 0;
}

/* FILELOCK_PER_PROCESS: one thread at a time goes to the file. Returns as
 * count_up, with the mutex held; 0 means that it is our turn. */
static int wait_for_turn(struct filelock *lock, struct taking *taking) {
    uint64_t pause = 0;
    int r;
    while ((r = count_up(lock, taking->shared)) == 0 && lock->acquiring) {
        (void)pthread_mutex_unlock(&lock->mutex);
        signal_set blocked = signals_mask(SIGNALS_ALL);
        r = cancel_requested(&taking->wait) ? -ECANCELED
                                            : backoff_sleep(&pause, taking->until, blocked);
        (void)signals_mask(blocked);
        (void)pthread_mutex_lock(&lock->mutex);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

static int take(struct filelock *lock, struct taking *taking) {
    int r = lock->flags & FILELOCK_FAIR ? fair_leave_gap(lock, taking) : 0;
    if (r < 0) {
        return r;
    }
    return is_soft(lock) ? take_soft(taking) : take_flock(taking);
}

/* Gives the file back. The mutex need not be held. 0 or -ESTALE: done; another
 * error: still held. */
static int give_back(const struct filelock *lock, int fd) {
    if (is_soft(lock)) {
        return soft_remove(lock->path, fd);
    }
    /* A child that was forked meanwhile has a copy of the descriptor, so that
     * closing ours alone would not free the lock. */
    (void)sys_flock(fd, LOCK_UN);
    (void)sys_close(fd);
    return 0;
}

static void abandon(const struct filelock *lock, int fd) {
    if (is_soft(lock)) {
        soft_abandon(lock->path, fd);
    } else {
        (void)give_back(lock, fd);
    }
}

static int acquire(struct filelock *lock, bool shared, uint64_t until) {
    object_adopt(lock);
    struct taking taking = {
        .path = lock->path, .shared = shared, .until = until, .wait = cancel_begin(&lock->cancel)};
    bool one_at_a_time = lock->flags & FILELOCK_PER_PROCESS;
    (void)pthread_mutex_lock(&lock->mutex);
    int r = one_at_a_time ? wait_for_turn(lock, &taking) : count_up(lock, shared);
    if (r == 0) {
        lock->acquiring = one_at_a_time;
        (void)pthread_mutex_unlock(&lock->mutex);
        r = take(lock, &taking);
        (void)pthread_mutex_lock(&lock->mutex);
        lock->acquiring = false;
        if (r == 0 && (r = add_hold(lock, &taking)) < 0) {
            abandon(lock, taking.fd);
        }
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return r < 0 ? r : 0;
}

static uint64_t deadline(struct filelock *lock, uint64_t timeout) {
    if (timeout == FILELOCK_DEFAULT) {
        (void)pthread_mutex_lock(&lock->mutex);
        timeout = lock->timeout;
        (void)pthread_mutex_unlock(&lock->mutex);
    }
    if (timeout == FILELOCK_ONCE || timeout == FILELOCK_FOREVER) {
        return timeout == FILELOCK_ONCE ? 0 : CLOCK_FOREVER;
    }
    return clock_after(timeout);
}

PUBLIC int filelock_acquire(struct filelock *lock, uint64_t timeout) {
    object_adopt(lock);
    return acquire(lock, false, deadline(lock, timeout));
}

PUBLIC int filelock_acquire_until(struct filelock *lock, uint64_t until) {
    return acquire(lock, false, until);
}

PUBLIC int filelock_acquire_shared(struct filelock *lock, uint64_t timeout) {
    object_adopt(lock);
    return is_soft(lock) ? -EOPNOTSUPP : acquire(lock, true, deadline(lock, timeout));
}

PUBLIC void filelock_cancel(struct filelock *lock) {
    if (atomic_load(&lock->process) == process_token()) { /* else nobody of ours waits */
        cancel_all(&lock->cancel);
    }
}

/* Takes a hold out of the list. The mutex is held. */
static void remove_hold(struct filelock *lock, struct hold *hold) {
    struct hold **at = &lock->holds;
    while (*at != hold) {
        at = &(*at)->next;
    }
    *at = hold->next;
    hold->next = lock->spare;
    lock->spare = hold;
    if (lock->flags & FILELOCK_FAIR) {
        fair_note_release(lock);
    }
}

static int release(struct filelock *lock, bool all) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    struct hold *hold = object_find(lock);
    int r = hold ? 0 : -EPERM;
    if (hold && hold->count > 1 && !all) {
        hold->count--;
    } else if (hold) {
        r = give_back(lock, hold->fd);
        if (r == 0 || r == -ESTALE) {
            remove_hold(lock, hold);
        } else {
            hold->count = 1;
        }
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return r;
}

PUBLIC int filelock_release(struct filelock *lock) {
    return release(lock, false);
}

PUBLIC int filelock_release_all(struct filelock *lock) {
    return release(lock, true);
}

PUBLIC void filelock_destroy(struct filelock *lock) {
    if (!lock) {
        return;
    }
    object_adopt(lock);
    object_unregister(lock);
    while (lock->holds) {
        int fd = lock->holds->fd;
        remove_hold(lock, lock->holds);
        abandon(lock, fd);
    }
    while (lock->spare) {
        struct hold *hold = lock->spare;
        lock->spare = hold->next;
        deallocate(hold);
    }
    (void)pthread_mutex_destroy(&lock->mutex);
    deallocate(lock);
}

PUBLIC unsigned filelock_count(struct filelock *lock) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    const struct hold *hold = object_find(lock);
    unsigned count = hold ? hold->count : 0;
    (void)pthread_mutex_unlock(&lock->mutex);
    return count;
}

PUBLIC bool filelock_is_held(struct filelock *lock) {
    return filelock_count(lock) > 0;
}

PUBLIC const char *filelock_path(const struct filelock *lock) {
    return lock->path;
}

PUBLIC int filelock_get_owner(struct filelock *lock, struct filelock_owner *ret) {
    struct soft_owner owner;
    struct sidecar_id id;
    if (!is_soft(lock)) {
        return -EOPNOTSUPP;
    }
    int r = soft_judge(lock->path, &owner, &id);
    if (r < 0) {
        return r;
    }
    *ret = (struct filelock_owner){.state = (enum filelock_state)owner.state, .pid = owner.pid};
    memcpy(ret->host, owner.host, sizeof(ret->host));
    return 0;
}

PUBLIC int filelock_break(struct filelock *lock) {
    return is_soft(lock) ? soft_break(lock->path, false) : -EOPNOTSUPP;
}

PUBLIC struct filelock_guard filelock_guard_enter(struct filelock *lock, uint64_t timeout) {
    return (struct filelock_guard){.lock = lock, .error = filelock_acquire(lock, timeout)};
}

PUBLIC void filelock_guard_leave(struct filelock_guard *guard) {
    if (guard->error == 0) {
        (void)filelock_release(guard->lock);
    }
}
