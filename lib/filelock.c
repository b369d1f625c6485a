#include "lib/filelock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/fair.h"
#include "lib/flock_wait.h"
#include "lib/hand_over.h"
#include "lib/holds.h"
#include "lib/process_mark.h"
#include "lib/soft.h"
#include "lib/soft_break.h"
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

/* Gives the file back. The mutex need not be held. 0 or -ESTALE: done; another
 * error: still held. */
HAND_OVER static int give_back(const struct filelock *lock, int fd) {
    if (is_soft(lock)) {
        return soft_remove(AT_FDCWD, lock->path, fd);
    }
    /* A child that was forked meanwhile has a copy of the descriptor, so that
     * closing ours alone would not free the lock. */
    (void)sys_flock(fd, LOCK_UN);
    (void)sys_close(fd);
    return 0;
}

/* As holds_count_up; with 0, ret is a hold of ours that is about to count. */
static int begin(struct filelock *lock, bool shared, struct hold **ret) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    int r = holds_count_up(lock, shared);
    if (r == 0) {
        r = holds_begin(lock, shared, ret);
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return r;
}

HAND_OVER static int take(struct taking *taking) {
    int r = taking->lock->flags & FILELOCK_FAIR ? fair_leave_gap(taking) : 0;
    if (process_token() != taking->process) {
        return 0;
    }
    if (r < 0) {
        return r;
    }
    return is_soft(taking->lock) ? take_soft(taking) : take_flock(taking);
}

HAND_OVER static int acquire(struct filelock *lock, bool shared, uint64_t until, bool relative) {
    struct taking taking = {
        .lock = lock, .until = until, .relative = relative, .cancels = atomic_load(&lock->cancels)};
    int r;
    do {
        taking.process = process_token();
        r = begin(lock, shared, &taking.hold);
        if (r != 0) {
            break;
        }
        r = take(&taking);
        if (r <= 0) {
            (void)pthread_mutex_lock(&lock->mutex);
            holds_end(lock, taking.hold);
            (void)pthread_mutex_unlock(&lock->mutex);
        }
    } while (r == 0);
    return r < 0 ? r : 0;
}

HAND_OVER static int acquire_within(struct filelock *lock, bool shared, uint64_t timeout) {
    object_adopt(lock);
    if (timeout == FILELOCK_DEFAULT) {
        (void)pthread_mutex_lock(&lock->mutex);
        timeout = lock->timeout;
        (void)pthread_mutex_unlock(&lock->mutex);
    }
    if (timeout == FILELOCK_ONCE || timeout == FILELOCK_FOREVER) {
        return acquire(lock, shared, timeout == FILELOCK_ONCE ? 0 : CLOCK_FOREVER, false);
    }
    return acquire(lock, shared, timeout, true);
}

HAND_OVER PUBLIC int filelock_acquire(struct filelock *lock, uint64_t timeout) {
    return acquire_within(lock, false, timeout);
}

PUBLIC int filelock_acquire_until(struct filelock *lock, uint64_t until) {
    return acquire(lock, false, until, false);
}

PUBLIC int filelock_acquire_shared(struct filelock *lock, uint64_t timeout) {
    return is_soft(lock) ? -EOPNOTSUPP : acquire_within(lock, true, timeout);
}

PUBLIC void filelock_cancel(struct filelock *lock) {
    if (atomic_load(&lock->process) == process_token()) { /* else nobody of ours waits */
        atomic_fetch_add(&lock->cancels, 1);
        cancel_all(&lock->cancel);
    }
}

/* The last of the caller's acquires. The mutex is held. */
HAND_OVER static int release_file(struct filelock *lock, struct hold *hold) {
    holds_fold(lock, hold);
    int r = give_back(lock, hold->fd);
    flock_wait_tidy(); /* what the acquire had no time for: others can go on by now */
    if (r == 0 || r == -ESTALE) {
        if (lock->flags & FILELOCK_FAIR) {
            fair_note_release(lock, hold);
        }
        holds_end(lock, hold);
    }
    return r;
}

HAND_OVER static int release(struct filelock *lock, bool all) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    struct hold *hold = holds_find(lock);
    int r = hold ? 0 : -EPERM;
    if (hold && !all && holds_count(lock) > 1) {
        holds_count_down(lock, hold);
    } else if (hold) {
        r = release_file(lock, hold);
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return r;
}

HAND_OVER PUBLIC int filelock_release(struct filelock *lock) {
    return release(lock, false);
}

PUBLIC int filelock_release_all(struct filelock *lock) {
    return release(lock, true);
}

/* As give_back, for who cannot try again. */
static void abandon(const struct filelock *lock, int fd) {
    if (is_soft(lock)) {
        soft_abandon(AT_FDCWD, lock->path, fd);
    } else {
        (void)give_back(lock, fd);
    }
}

PUBLIC void filelock_destroy(struct filelock *lock) {
    if (!lock) {
        return;
    }
    object_adopt(lock);
    object_unregister(lock);
    while (lock->holds) {
        struct hold *hold = lock->holds;
        holds_end(lock, hold);
        if (hold->fd >= 0) {
            abandon(lock, hold->fd);
        }
    }
    while (lock->spare) {
        struct hold *hold = lock->spare;
        lock->spare = hold->next;
        deallocate(hold);
    }
    flock_wait_tidy();
    cancel_destroy(&lock->cancel);
    (void)pthread_mutex_destroy(&lock->mutex);
    deallocate(lock);
}

PUBLIC unsigned filelock_count(struct filelock *lock) {
    object_adopt(lock);
    (void)pthread_mutex_lock(&lock->mutex);
    unsigned count = holds_count(lock);
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
    int r = soft_judge(AT_FDCWD, lock->path, &owner, &id);
    if (r < 0) {
        return r;
    }
    *ret = (struct filelock_owner){.state = (enum filelock_state)owner.state, .pid = owner.pid};
    memcpy(ret->host, owner.host, sizeof(ret->host));
    return 0;
}

PUBLIC int filelock_break(struct filelock *lock) {
    return is_soft(lock) ? soft_break(AT_FDCWD, lock->path, false) : -EOPNOTSUPP;
}

PUBLIC struct filelock_guard filelock_guard_enter(struct filelock *lock, uint64_t timeout) {
    return (struct filelock_guard){.lock = lock, .error = filelock_acquire(lock, timeout)};
}

PUBLIC void filelock_guard_leave(struct filelock_guard *guard) {
    if (guard->error == 0) {
        (void)filelock_release(guard->lock);
    }
}
