#include "lib/take.h"

#include <errno.h>
#include <stddef.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/flock_wait.h"
#include "lib/fork_watch.h"
#include "lib/hand_over.h"
#include "lib/process_mark.h"
#include "lib/soft.h"
#include "lib/soft_break.h"
#include "lib/sys_linux.h"

bool take_is_cancelled(const struct taking *taking) {
    return atomic_load(&taking->lock->cancels) != taking->cancels;
}

uint64_t take_until(struct taking *taking) {
    if (taking->relative) {
        taking->until = clock_after(taking->until);
        taking->relative = false;
    }
    return taking->until;
}

static void enter(const struct taking *taking) {
    (void)pthread_mutex_lock(&taking->lock->mutex);
}

static void leave(const struct taking *taking) {
    (void)pthread_mutex_unlock(&taking->lock->mutex);
}

/* The mutex is held. */
static void close_noted(const struct taking *taking) {
    if (taking->hold->fd >= 0) {
        (void)sys_close(taking->hold->fd);
        taking->hold->fd = -1;
    }
}

static void close_file(const struct taking *taking) {
    enter(taking);
    close_noted(taking);
    leave(taking);
}

#define OPEN_AGAIN HOLDS_REPLACED

/* How long a fork of another thread is waited for: until the time is up, but so many
 * pauses at least, since most are over by then, and so many at most. 0 or -ECANCELED. */
#define FORK_PAUSES_LEAST 60   /* about 10 ms */
#define FORK_PAUSES_MOST 10000 /* about 1.6 s */

static int wait_for_forks(struct taking *taking, struct fork_watch *watch) {
    for (int i = 0; i < FORK_PAUSES_MOST && !fork_watch_begin(watch); i++) {
        if (take_is_cancelled(taking)) {
            return -ECANCELED;
        }
        if (i >= FORK_PAUSES_LEAST && clock_now() >= take_until(taking)) {
            break;
        }
    }
    return 0;
}

/* One try of open_file; or OPEN_AGAIN. */
static int open_and_note(struct taking *taking, struct fork_watch *watch) {
    struct filelock *lock = taking->lock;
    int fd;
    struct sidecar_id id;
    int r = wait_for_forks(taking, watch);
    if (r == 0) {
        r = sidecar_open(AT_FDCWD, lock->path, SIDECAR_PLAIN, NULL, &fd, &id);
    }
    if (r < 0) {
        return r;
    }
    enter(taking);
    holds_opened(lock, taking->hold, fd, id);
    if (!fork_watch_passed(watch)) {
        close_noted(taking); /* before anybody shares it */
        r = OPEN_AGAIN;
    } else if (holds_find(lock)) {
        r = holds_settle(lock, taking->hold);
    }
    leave(taking);
    return r;
}

/* 0; HOLDS_COUNTS when another thread of the process has got it meanwhile; or an
 * error. */
static int open_file(struct taking *taking) {
    struct fork_watch watch = {.times = 0};
    int r;
    while ((r = open_and_note(taking, &watch)) == OPEN_AGAIN) {
    }
    fork_watch_end(&watch);
    return r;
}

/* When a wait has not brought the lock, no signal comes any more but in the queue: one
 * that has to end the acquire is not lost between two rounds. */
static void hold_signals(struct taking *taking) {
    if (!taking->holds_signals) {
        taking->blocked = signals_mask(SIGNALS_ALL);
        taking->holds_signals = true;
    }
}

HAND_OVER static int wait_in_queue(struct taking *taking, int operation) {
    uint64_t until = take_until(taking);
    if (until == 0) {
        return -ETIMEDOUT;
    }
    taking->has_waited = true;
    if (taking->holds_signals) {
        return flock_wait_blocked(taking->hold->fd, operation, until, FLOCK_WAIT_AGAIN,
                                  taking->blocked, &taking->wait);
    }
    int r = flock_wait(taking->hold->fd, operation, until, &taking->wait, &taking->blocked);
    taking->holds_signals = r != 0;
    return r;
}

HAND_OVER static int lock_file(struct taking *taking) {
    const struct hold *hold = taking->hold;
    int operation = hold->shared ? LOCK_SH : LOCK_EX;
    int r = sys_flock(hold->fd, operation | LOCK_NB);
    if (r != -EWOULDBLOCK) {
        return r;
    }
    return object_thread_holds(hold->id, hold->shared) ? -EDEADLK
                                                       : wait_in_queue(taking, operation);
}

/* What becomes of a round that has not brought the lock. */
static int without_lock(const struct taking *taking, int r) {
    if (r == -ECANCELED && !take_is_cancelled(taking)) {
        return HOLDS_AGAIN;
    }
    /* Somebody may have removed the file by hand, under a holder who stays: then it is not
     * the lock any more that we have waited for in vain. */
    if (r == -ETIMEDOUT && taking->has_waited &&
        sidecar_is_current(AT_FDCWD, taking->lock->path, taking->hold->fd, taking->hold->id) == 0) {
        return HOLDS_REPLACED;
    }
    return r;
}

/* One round: open, lock, check that the path still leads there. Returns as
 * holds_settle. */
HAND_OVER static int flock_round(struct taking *taking) {
    taking->wait = cancel_begin(&taking->lock->cancel);
    if (take_is_cancelled(taking)) {
        return -ECANCELED;
    }
    int r = open_file(taking);
    if (r == 0) {
        r = lock_file(taking);
        if (r == 0) {
            enter(taking);
            r = holds_settle(taking->lock, taking->hold);
            leave(taking);
            if (r != HOLDS_COUNTS && taking->has_waited) {
                hold_signals(taking);
            }
        } else {
            r = without_lock(taking, r);
        }
    }
    if (r != HOLDS_COUNTS) {
        close_file(taking);
    }
    return r;
}

/* The file has been replaced for the `times`th time. 0: once more. */
static int after_replacement(struct taking *taking, int times, uint64_t *pause) {
    uint64_t until = take_until(taking);
    if (until == 0) {
        return times < SIDECAR_ATTEMPTS ? 0 : -ESTALE;
    }
    if (times < SIDECAR_AT_ONCE) {
        return 0;
    }
    hold_signals(taking);
    return backoff_again(pause, until, taking->blocked);
}

/* Somebody has a lease on the file (fcntl(2)), who is asked by the kernel to give it
 * back: until then an open that does not wait fails. */
static int after_refusal(struct taking *taking, uint64_t *pause) {
    uint64_t until = take_until(taking);
    hold_signals(taking);
    return backoff_sleep(pause, until, taking->blocked);
}

HAND_OVER static int flock_rounds(struct taking *taking) {
    uint64_t pause = 0, lease_pause = 0;
    int replaced = 0;
    for (;;) {
        int r = flock_round(taking);
        if (process_token() != taking->process) {
            close_file(taking); /* our parent's lock */
            return 0;
        }
        if (r == -EWOULDBLOCK) {
            r = after_refusal(taking, &lease_pause);
        } else if (r == HOLDS_REPLACED) {
            replaced += replaced < SIDECAR_ATTEMPTS;
            r = after_replacement(taking, replaced, &pause);
        }
        if (r < 0 || r == HOLDS_COUNTS) {
            return r;
        }
    }
}

int take_flock(struct taking *taking) {
    taking->has_waited = taking->holds_signals = false;
    int r = flock_rounds(taking);
    if (r < 0) {
        flock_wait_tidy();
    }
    if (taking->holds_signals) {
        (void)signals_mask(taking->blocked);
    }
    return r;
}

/* There is a marker: 0 to try again at once (it was stale, or has gone), 1 to
 * wait for it, or an error. */
static int look_at_marker(const struct taking *taking) {
    struct soft_owner owner;
    struct sidecar_id id;
    int r = soft_judge(AT_FDCWD, taking->lock->path, &owner, &id);
    if (r < 0 || owner.state == SOFT_FREE) {
        return r;
    }
    if (owner.state == SOFT_DEAD) {
        r = soft_break(AT_FDCWD, taking->lock->path, true);
        return r == -EAGAIN ? 1 : r;
    }
    return object_thread_holds(id, false) ? -EDEADLK : 1;
}

/* A look first: making what is then in the way costs more. */
static int make_marker(const struct taking *taking, const struct soft_text *text) {
    struct sys_stat stat;
    const char *path = taking->lock->path;
    return sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) == 0
               ? -EEXIST
               : soft_make(AT_FDCWD, path, text, 0, &taking->hold->fd, &taking->hold->id);
}

/* Of the threads of a process one at a time, so that none takes the marker that
 * another is about to have for a stranger's. Returns as holds_settle, or -EEXIST. */
static int try_marker(const struct taking *taking, const struct soft_text *text) {
    enter(taking);
    int r = holds_find(taking->lock) ? 0 : make_marker(taking, text);
    if (r == 0) {
        r = holds_settle(taking->lock, taking->hold);
    }
    leave(taking);
    return r;
}

int take_soft(struct taking *taking) {
    signal_set blocked = signals_mask(SIGNALS_ALL);
    uint64_t pause = 0;
    struct soft_text text;
    int r = process_token() == taking->process ? soft_text_compose(&text) : HOLDS_COUNTS;
    while (r == 0 && (r = try_marker(taking, &text)) == -EEXIST) {
        r = take_is_cancelled(taking) ? -ECANCELED : look_at_marker(taking);
        if (r > 0) {
            r = backoff_sleep(&pause, take_until(taking), blocked);
        }
        if (r < 0 || process_token() != taking->process) {
            break;
        }
    }
    (void)signals_mask(blocked);
    return process_token() == taking->process ? r : 0;
}
