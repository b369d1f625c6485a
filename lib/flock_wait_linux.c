#include "lib/flock_wait.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/statfs.h>

#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/flock_call.h"
#include "lib/flock_tick.h"
#include "lib/hand_over.h"
#include "lib/signals.h"
#include "lib/sys_linux.h"
#include "lib/wait_signal.h"

/* How often signals are looked for that are held back in the queue. */
#define LOOK (10 * CLOCK_MILLISECOND)

/* The signal has turned out to be the program's. */
#define OTHER_SIGNAL (-ERANGE)

/* As libc does around a system call that is a cancellation point. */
static int cancellation_let_in(unsigned flags) {
    int before = -1;
    if (flags & FLOCK_WAIT_CANCEL) {
        (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    }
    return before;
}

static void cancellation_kept_out(int before) {
    if (before >= 0) {
        (void)pthread_setcanceltype(before, &before);
    }
}

/* What a wait is about. */
struct waiting {
    int fd, operation;
    uint64_t until;
    unsigned flags;
    const struct cancellable *wait;
    /* Signals that would have to end the wait, but not for the first stay in the
     * queue (FLOCK_WAIT_AGAIN): they are looked for at each tick. */
    signal_set held;
    /* When it has got the lock, the program's mask may stay. */
    bool may_let_in;
};

/* Where there are other threads, what is held back in this one is given to them, and
 * never ends the wait. Then it is better to lose one that comes in the last moment. */
static signal_set to_be_held(signal_set blocked) {
    return signals_may_go_elsewhere() ? 0 : signals_interrupting(blocked);
}

/* In the queue, with the program's signals let through, until the time is up.
 * *ret_let_in: they still are. */
HAND_OVER static int flock_until(struct waiting *waiting, bool *ret_let_in) {
    const signal_set blocked = flock_tick.blocked, ours = signals_only(flock_tick.number);
    for (;;) {
        signal_set mask = (blocked | waiting->held) & ~ours;
        if (signals_interrupt(blocked | ours)) {
            return -EINTR;
        }
        if (flock_tick.avoid & ours) {
            return OTHER_SIGNAL;
        }
        flock_tick.call.ended = 0;
        if (cancel_requested(waiting->wait)) {
            return -ECANCELED;
        }
        int type = cancellation_let_in(waiting->flags);
        (void)signals_mask(mask);
        int r = flock_call(&flock_tick.call, waiting->fd, waiting->operation);
        if (r == 0 && waiting->may_let_in && mask == blocked) {
            *ret_let_in = true;
            return 0;
        }
        (void)signals_mask(SIGNALS_ALL);
        cancellation_kept_out(type);
        if (r != -ETIMEDOUT) {
            return r;
        }
        if (!cancel_requested(waiting->wait) && clock_now() >= waiting->until) {
            return -ETIMEDOUT;
        }
        waiting->held = to_be_held(blocked);
    }
}

HAND_OVER static int wait_with_signal(struct waiting *waiting, signal_set used, bool *ret_let_in) {
    const struct cancellable *wait = waiting->wait;
    int number = wait_signal_take(used);
    if (!number) {
        return -ENOTSUP;
    }
    flock_tick.number = number;
    int r = flock_tick_start(number, waiting->held ? clock_after(LOOK) : waiting->until);
    if (r == 0) {
        flock_tick.active = true;
        flock_tick.slot = wait->cancel ? cancel_enter_timer(wait, flock_tick.timer) : NULL;
        r = wait->cancel && !flock_tick.slot ? -ENOTSUP : flock_until(waiting, ret_let_in);
    } else {
        r = -ENOTSUP;
    }
    flock_tick_stop(*ret_let_in);
    return r;
}

/* All signals are blocked, and are so again, unless *ret_let_in. */
HAND_OVER static int wait_with_timer(struct waiting *waiting, signal_set blocked,
                                     bool *ret_let_in) {
    const struct flock_tick outer = flock_tick; /* a handler has interrupted it */
    flock_tick = (struct flock_tick){
        .timer = -1, .frame = (uintptr_t)__builtin_frame_address(0), .blocked = blocked};
    signal_set used = wait_signal_used(blocked);
    int r = wait_with_signal(waiting, used, ret_let_in);
    while (r == OTHER_SIGNAL) {
        used |= flock_tick.avoid;
        r = wait_with_signal(waiting, used, ret_let_in);
    }
    flock_tick = outer;
    return r;
}

static int wait_by_polling(int fd, int operation, uint64_t until, signal_set blocked,
                           unsigned flags, const struct cancellable *wait) {
    uint64_t pause = 0;
    for (;;) {
        if (cancel_requested(wait)) {
            return -ECANCELED;
        }
        if (flags & FLOCK_WAIT_CANCEL) {
            pthread_testcancel();
        }
        int r = backoff_sleep(&pause, until, blocked);
        if (r < 0) {
            return r;
        }
        r = sys_flock(fd, operation | LOCK_NB);
        if (r != -EWOULDBLOCK) {
            return r;
        }
    }
}

/* File systems on which a lock that is freed elsewhere does not wake us: the
 * magic numbers are those of statfs(2). */
bool flock_wait_is_remote(int fd) {
    static const uint32_t remote[] = {
        0x6969,     /* NFS */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB2 */
        0x517b,     /* SMB */
        0x65735546, /* FUSE: sshfs and others */
        0x01021997, /* 9P */
        0x00c36400, /* Ceph */
        0x5346414f, /* AFS */
        0x6b414653, /* kAFS */
        0x0bd00bd0, /* Lustre */
        0x01161970, /* GFS2 */
        0x7461636f, /* OCFS2 */
    };
    struct statfs stat;
    if (SYS_CALL(SYS_fstatfs, fd, &stat, 0, 0, 0, 0) < 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++) {
        if ((uint32_t)stat.f_type == remote[i]) {
            return true;
        }
    }
    return false;
}

/* All signals are blocked, and are so again, unless *ret_let_in. */
HAND_OVER static int wait_blocked(struct waiting *waiting, signal_set blocked, bool *ret_let_in) {
    const int fd = waiting->fd, operation = waiting->operation;
    if (waiting->until != CLOCK_FOREVER && clock_now() >= waiting->until) {
        int r = sys_flock(fd, operation | LOCK_NB);
        return r == -EWOULDBLOCK ? -ETIMEDOUT : r;
    }
    int r = -ENOTSUP;
    if (!(waiting->flags & FLOCK_WAIT_POLL) && !flock_wait_is_remote(fd)) {
        waiting->held = waiting->flags & FLOCK_WAIT_AGAIN ? to_be_held(blocked) : 0;
        r = wait_with_timer(waiting, blocked, ret_let_in);
    }
    return r == -ENOTSUP ? wait_by_polling(fd, operation, waiting->until, blocked, waiting->flags,
                                           waiting->wait)
                         : r;
}

int flock_wait_blocked(int fd, int operation, uint64_t until, unsigned flags, signal_set blocked,
                       const struct cancellable *wait) {
    static const struct cancellable never = {.cancel = NULL};
    struct waiting waiting = {.fd = fd,
                              .operation = operation,
                              .until = until,
                              .flags = flags,
                              .wait = wait ? wait : &never};
    bool let_in = false;
    return wait_blocked(&waiting, blocked, &let_in);
}

/* Just flock(2), until somebody sends us a signal. -ENOTSUP: he could not. The
 * program's mask is in force, but afterwards only with 0. */
HAND_OVER static int wait_for_ever(int fd, int operation, const struct cancellable *wait,
                                   signal_set blocked) {
    const unsigned senders = wait_signal_senders(blocked);
    if (!senders || flock_wait_is_remote(fd)) {
        return -ENOTSUP;
    }
    const struct flock_tick outer = flock_tick;
    const pid_t thread = sys_gettid();
    flock_tick = (struct flock_tick){.active = true,
                                     .timer = -1,
                                     .frame = (uintptr_t)__builtin_frame_address(0),
                                     .blocked = blocked};
    int r;
    for (;;) {
        flock_tick.call.ended = 0;
        flock_tick.slot = cancel_enter_thread(wait, thread, senders);
        if (!flock_tick.slot) {
            r = -ENOTSUP;
        } else if (cancel_requested(wait)) {
            r = -ECANCELED;
        } else {
            r = flock_call(&flock_tick.call, fd, operation);
        }
        if (r != 0) {
            (void)signals_mask(SIGNALS_ALL);
        }
        flock_tick_stop(r == 0);
        if (r != -ETIMEDOUT) {
            break;
        }
        if (signals_interrupt(blocked)) {
            r = -EINTR;
            break;
        }
        (void)signals_mask(blocked);
        flock_tick.active = true;
    }
    flock_tick = outer;
    return r;
}

int flock_wait(int fd, int operation, uint64_t until, const struct cancellable *wait,
               signal_set *ret_blocked) {
    signal_set blocked;
    if (until == CLOCK_FOREVER) {
        blocked = signals_blocked();
        int r = wait_for_ever(fd, operation, wait, blocked);
        if (r != -ENOTSUP) {
            *ret_blocked = blocked;
            return r;
        }
        (void)signals_mask(SIGNALS_ALL);
    } else {
        blocked = signals_mask(SIGNALS_ALL);
    }
    struct waiting waiting = {
        .fd = fd, .operation = operation, .until = until, .wait = wait, .may_let_in = true};
    bool let_in = false;
    int r = wait_blocked(&waiting, blocked, &let_in);
    if (r == 0 && !let_in) {
        (void)signals_mask(blocked);
    }
    *ret_blocked = blocked;
    return r;
}
