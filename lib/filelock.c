#include "lib/filelock.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "lib/process_mark.h"
#include "lib/sidecar.h"
#include "lib/sys_linux.h"

#define PUBLIC __attribute__((visibility("default")))

struct filelock {
    int fd;      /* of the locked lock file; -1 when not held */
    pid_t owner; /* the process that acquired it */
    unsigned count;
    char path[];
};

__attribute__((constructor)) static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, flock_wait_after_fork);
}

static bool held_here(const struct filelock *lock) {
    return lock->count > 0 && lock->owner == process_mark();
}

/* In the child of a fork: the lock is the parent's. LOCK_UN would free it for
 * the parent too, closing our copy does not (flock(2)). */
static void forget_if_forked(struct filelock *lock) {
    if (lock->count > 0 && !held_here(lock)) {
        (void)sys_close(lock->fd);
        lock->fd = -1;
        lock->count = 0;
    }
}

PUBLIC int filelock_create(struct filelock **ret, const char *path) {
    if (!path || !*path) {
        return -EINVAL;
    }
    int saved = errno;
    size_t size = strlen(path) + 1;
    struct filelock *lock = malloc(sizeof(*lock) + size);
    errno = saved;
    if (!lock) {
        return -ENOMEM;
    }
    lock->fd = -1;
    lock->owner = 0;
    lock->count = 0;
    memcpy(lock->path, path, size);
    *ret = lock;
    return 0;
}

/* One round: open, lock, check that the path still leads there.
 * Returns 1 when locked, 0 for another round, or a negative errno value. */
static int lock_once(struct filelock *lock, uint64_t until) {
    int fd;
    struct sidecar_id id;
    int r = sidecar_open(AT_FDCWD, lock->path, SIDECAR_PLAIN, NULL, &fd, &id);
    if (r < 0) {
        return r;
    }
    r = flock_wait(fd, LOCK_EX, until, NULL);
    if (r == 0) {
        r = sidecar_is_current(AT_FDCWD, lock->path, fd, id);
    }
    if (r <= 0) {
        (void)sys_close(fd);
        return r;
    }
    lock->fd = fd;
    return 1;
}

PUBLIC int filelock_acquire(struct filelock *lock, uint64_t timeout) {
    forget_if_forked(lock);
    if (lock->count == UINT_MAX) {
        return -EOVERFLOW;
    }
    if (lock->count > 0) {
        lock->count++;
        return 0;
    }
    uint64_t until = timeout == FILELOCK_ONCE ? 0 : clock_after(timeout);
    for (int attempt = 0; attempt < SIDECAR_ATTEMPTS; attempt++) {
        int r = lock_once(lock, until);
        if (r < 0) {
            return r;
        }
        if (r > 0) {
            lock->owner = process_mark();
            lock->count = 1;
            return 0;
        }
    }
    return -ESTALE;
}

PUBLIC int filelock_release(struct filelock *lock) {
    forget_if_forked(lock);
    if (lock->count == 0) {
        return -EPERM;
    }
    if (--lock->count == 0) {
        /* A child that was forked meanwhile has a copy of the descriptor, so
         * that closing ours alone would not free the lock. */
        (void)sys_flock(lock->fd, LOCK_UN);
        (void)sys_close(lock->fd);
        lock->fd = -1;
    }
    return 0;
}

PUBLIC void filelock_destroy(struct filelock *lock) {
    if (!lock) {
        return;
    }
    forget_if_forked(lock);
    if (lock->count > 0) {
        lock->count = 1;
        (void)filelock_release(lock);
    }
    int saved = errno;
    free(lock);
    errno = saved;
}

PUBLIC bool filelock_is_held(const struct filelock *lock) {
    return held_here(lock);
}

PUBLIC unsigned filelock_count(const struct filelock *lock) {
    return held_here(lock) ? lock->count : 0;
}

PUBLIC const char *filelock_path(const struct filelock *lock) {
    return lock->path;
}

PUBLIC struct filelock_guard filelock_guard_enter(struct filelock *lock, uint64_t timeout) {
    return (struct filelock_guard){.lock = lock, .error = filelock_acquire(lock, timeout)};
}

PUBLIC void filelock_guard_leave(struct filelock_guard *guard) {
    if (guard->error == 0) {
        (void)filelock_release(guard->lock);
    }
}
