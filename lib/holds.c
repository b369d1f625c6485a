#include "lib/holds.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>

#include "lib/sys_linux.h"

static bool is_per_process(const struct filelock *lock) {
    return lock->flags & FILELOCK_PER_PROCESS;
}

struct hold *holds_find(const struct filelock *lock) {
    uint64_t thread = object_thread();
    struct hold *others = NULL;
    for (struct hold *hold = lock->holds; hold; hold = hold->next) {
        if (hold->count > 0 && hold->thread == thread) {
            return hold;
        }
        if (hold->count > 0) {
            others = hold;
        }
    }
    return is_per_process(lock) ? others : NULL;
}

unsigned holds_count(const struct filelock *lock) {
    const struct hold *mine = holds_find(lock);
    if (!mine || !is_per_process(lock)) {
        return mine ? mine->count : 0;
    }
    unsigned count = 0;
    for (const struct hold *hold = lock->holds; hold; hold = hold->next) {
        count += hold->count;
    }
    return count;
}

/* calloc without its errno. */
static struct hold *allocate(void) {
    int saved = errno;
    struct hold *hold = calloc(1, sizeof(*hold));
    errno = saved;
    return hold;
}

int holds_begin(struct filelock *lock, bool shared, struct hold **ret) {
    struct hold *hold = lock->spare;
    if (hold) {
        lock->spare = hold->next;
    } else if (!(hold = allocate())) {
        return -ENOMEM;
    }
    *hold = (struct hold){.thread = object_thread(),
                          .shared = shared,
                          .gaps = lock->gaps,
                          .fd = -1,
                          .next = lock->holds};
    lock->holds = hold;
    *ret = hold;
    return 0;
}

void holds_end(struct filelock *lock, struct hold *hold) {
    struct hold **at = &lock->holds;
    while (*at && *at != hold) {
        at = &(*at)->next;
    }
    if (*at) { /* else a fork has ended it (object_adopt) */
        *at = hold->next;
        hold->next = lock->spare;
        lock->spare = hold;
    }
}

int holds_count_up(struct filelock *lock, bool shared) {
    struct hold *hold = holds_find(lock);
    if (!hold) {
        return 0;
    }
    if (hold->shared && !shared) {
        return -EDEADLK; /* both of two that upgrade would wait for ever */
    }
    if (holds_count(lock) == UINT_MAX) {
        return -EOVERFLOW;
    }
    if (hold->thread != object_thread()) {
        const struct hold *other = hold;
        int r = holds_begin(lock, other->shared, &hold);
        if (r < 0) {
            return r;
        }
        hold->id = other->id;
    }
    hold->count++;
    return 1;
}

/* Another that is at the same file, for the same. */
static struct hold *companion(const struct filelock *lock, const struct hold *hold) {
    struct hold *other = lock->holds;
    while (other && (other == hold || other->fd < 0 || other->shared != hold->shared ||
                     !sidecar_same(other->id, hold->id))) {
        other = other->next;
    }
    return other;
}

void holds_opened(struct filelock *lock, struct hold *hold, int fd, struct sidecar_id id) {
    hold->fd = fd;
    hold->id = id;
    const struct hold *other = is_per_process(lock) ? companion(lock, hold) : NULL;
    if (other) {
        (void)sys_dup3(other->fd, fd, O_CLOEXEC);
    }
}

/* Those who wait for it in another way than we did find it held only when they look. */
static void wake_others(struct filelock *lock, const struct hold *hold) {
    for (const struct hold *other = lock->holds; other; other = other->next) {
        if (other->count == 0 && other->fd >= 0 &&
            (other->shared != hold->shared || !sidecar_same(other->id, hold->id))) {
            cancel_all(&lock->cancel);
            return;
        }
    }
}

/* Another thread of the process has it already. */
static int join(struct hold *hold, const struct hold *first) {
    if (first->shared && !hold->shared) {
        return -EDEADLK;
    }
    if (hold->fd >= 0) {
        (void)sys_close(hold->fd);
    }
    hold->fd = -1;
    hold->id = first->id;
    hold->shared = first->shared;
    hold->count = 1;
    return HOLDS_COUNTS;
}

/* What has been locked for nothing: a child that was made meanwhile (posix_spawn(3)) may
 * have a copy of the descriptor, and others wait for that file. */
static void unlock(const struct filelock *lock, const struct hold *hold) {
    if (!is_per_process(lock) || !companion(lock, hold)) {
        (void)sys_flock(hold->fd, LOCK_UN);
    }
}

int holds_settle(struct filelock *lock, struct hold *hold) {
    const struct hold *first = holds_find(lock);
    if (first) {
        return join(hold, first);
    }
    if (!(lock->flags & FILELOCK_SOFT)) {
        if (is_per_process(lock)) {
            /* What we share may have been released since flock told us. */
            int r = sys_flock(hold->fd, (hold->shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
            if (r < 0) {
                return r == -EWOULDBLOCK ? HOLDS_AGAIN : r;
            }
        }
        int r = sidecar_is_current(AT_FDCWD, lock->path, hold->fd, hold->id);
        if (r <= 0) {
            unlock(lock, hold);
            return r < 0 ? r : HOLDS_REPLACED;
        }
        if (is_per_process(lock)) {
            wake_others(lock, hold);
        }
    }
    hold->count = 1;
    return HOLDS_COUNTS;
}

/* Its descriptor, to another that counts. */
static void hand_on(const struct filelock *lock, struct hold *hold) {
    struct hold *heir = lock->holds;
    while (heir && (heir == hold || heir->count == 0)) {
        heir = heir->next;
    }
    if (heir && hold->fd >= 0) {
        heir->fd = hold->fd;
    }
}

void holds_count_down(struct filelock *lock, struct hold *hold) {
    if (--hold->count == 0) {
        hand_on(lock, hold);
        holds_end(lock, hold);
    }
}

void holds_fold(struct filelock *lock, struct hold *hold) {
    hold->count = 1;
    if (!is_per_process(lock)) {
        return;
    }
    for (struct hold *other = lock->holds, *next; other; other = next) {
        next = other->next;
        if (other != hold && other->count > 0) {
            if (other->fd >= 0) {
                hold->fd = other->fd;
            }
            holds_end(lock, other);
        }
    }
}
