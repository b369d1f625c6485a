#include "lib/flock_wait.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statfs.h>

#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/flock_call.h"
#include "lib/signals.h"
#include "lib/sys_linux.h"
#include "lib/wait_signal.h"

/* A signal that comes between the look at the clock and the sleep in flock is
 * lost; so the timer repeats. */
#define REPEAT (10 * CLOCK_MILLISECOND)

/* What the handler of this thread needs. Not on the stack of the wait: a
 * handler of the program may jump out of it (siglongjmp) and leave us behind. */
struct waiting {
    int timer;       /* kernel timer id */
    int number;      /* of its signal */
    uintptr_t frame; /* an address in the waiting function's stack frame */
    struct cancel *cancel;
    int slot; /* of that */
    bool active;
};
static _Thread_local struct waiting waiting __attribute__((tls_model("initial-exec")));

/* Whether the interrupted code runs below the frame of our wait. If not, a
 * handler of the program has jumped out of it and the timer is an orphan. On an
 * alternate signal stack addresses say nothing; then the next tick decides. */
static bool wait_is_gone(uintptr_t stack) {
    if (!waiting.active) {
        return true;
    }
    if (stack <= waiting.frame) {
        return false;
    }
    stack_t alternate;
    return sigaltstack(NULL, &alternate) == 0 && !(alternate.ss_flags & SS_ONSTACK);
}

/* The slot first, through which another thread might set off the timer of
 * whoever gets its id next. */
static void leave_slot(void) {
    if (waiting.active && waiting.cancel) {
        const struct cancellable wait = {.cancel = waiting.cancel};
        cancel_leave(&wait, waiting.slot);
    }
}

static void (*_Atomic on_gone)(uintptr_t stack, bool innermost);

void flock_wait_on_gone(void (*function)(uintptr_t stack, bool innermost)) {
    atomic_store(&on_gone, function);
}

static void on_timer(int number, siginfo_t *info, void *context) {
    if (!wait_signal_is_ours(info)) {
        if (wait_signal_forward(number, info, context)) {
            (void)flock_call_step(context, -EINTR);
        }
        return;
    }
    (void)flock_call_step(context, -ETIMEDOUT);
    uintptr_t stack = flock_call_stack(context);
    if (!wait_is_gone(stack)) {
        return;
    }
    bool innermost = waiting.active && waiting.timer == info->si_timerid;
    if (innermost) {
        leave_slot();
        waiting.active = false;
    }
    (void)SYS_CALL(SYS_timer_delete, info->si_timerid, 0, 0, 0, 0, 0);
    signals_drain(number);
    wait_signal_give_back();
    void (*function)(uintptr_t, bool) = atomic_load(&on_gone);
    if (function) {
        function(stack, innermost);
    }
}

void flock_wait_abandon(void) {
    if (!waiting.active) {
        return;
    }
    signal_set before = signals_mask(SIGNALS_ALL);
    leave_slot();
    waiting.active = false;
    (void)SYS_CALL(SYS_timer_delete, waiting.timer, 0, 0, 0, 0, 0);
    signals_drain(waiting.number);
    wait_signal_give_back();
    (void)signals_mask(before);
}

void flock_wait_after_fork(void) {
    /* Only the forking thread lives on. */
    wait_signal_after_fork();
    waiting.active = false;
}

/* Starts the timer of this thread. Returns 0 or a negative errno value. */
static int timer_start(int number, uint64_t until) {
    struct sigevent event;
    memset(&event, 0, sizeof(event));
    event.sigev_signo = number;
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_value = wait_signal_mark();
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = sys_gettid();
#else
    event._sigev_un._tid = sys_gettid();
#endif
    int timer = -1;
    int r = (int)SYS_CALL(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer, 0, 0, 0);
    if (r < 0) {
        return r;
    }
    waiting.timer = timer;
    waiting.number = number;
    if (until == CLOCK_FOREVER) {
        return 0; /* only a cancellation sets it off */
    }
    struct itimerspec when = {.it_interval = clock_timespec(REPEAT),
                              .it_value = clock_timespec(until)};
    r = sys_timer_settime(timer, TIMER_ABSTIME, &when);
    if (r < 0) {
        (void)SYS_CALL(SYS_timer_delete, timer, 0, 0, 0, 0, 0);
        return r;
    }
    return 0;
}

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

/* In the queue, with the program's signals let through, until the time is up.
 * `held`: signals that would have to end the wait, but not for the first stay in
 * the queue (FLOCK_WAIT_AGAIN): they are looked for at each tick. */
static int flock_until(int fd, int operation, uint64_t until, signal_set blocked, signal_set held,
                       signal_set ours, unsigned flags, const struct cancellable *wait) {
    for (;;) {
        if (signals_interrupt(blocked | ours)) {
            return -EINTR;
        }
        if (cancel_requested(wait)) {
            return -ECANCELED;
        }
        int type = cancellation_let_in(flags);
        (void)signals_mask((blocked | held) & ~ours);
        int r = flock_call(fd, operation);
        (void)signals_mask(SIGNALS_ALL);
        cancellation_kept_out(type);
        if (r != -ETIMEDOUT) {
            return r;
        }
        if (!cancel_requested(wait) && clock_now() >= until) {
            return -ETIMEDOUT;
        }
        held = signals_interrupting(blocked);
    }
}

static int wait_with_timer(int fd, int operation, uint64_t until, signal_set blocked,
                           signal_set held, unsigned flags, const struct cancellable *wait) {
    int number = wait_signal_take(on_timer, blocked);
    if (!number) {
        return -ENOTSUP;
    }
    const struct waiting outer = waiting; /* of a wait that a handler interrupted */
    int slot = 0, r = timer_start(number, held ? clock_after(REPEAT) : until);
    if (r == 0 && wait->cancel && !cancel_enter(wait, waiting.timer, &slot)) {
        (void)SYS_CALL(SYS_timer_delete, waiting.timer, 0, 0, 0, 0, 0);
        r = -ENOTSUP;
    }
    if (r < 0) {
        waiting = outer;
        wait_signal_give_back();
        return -ENOTSUP;
    }
    const int timer = waiting.timer;
    waiting.frame = (uintptr_t)__builtin_frame_address(0);
    waiting.cancel = wait->cancel;
    waiting.slot = slot;
    waiting.active = true;
    r = flock_until(fd, operation, until, blocked, held, signals_only(number), flags, wait);
    if (wait->cancel) {
        cancel_leave(wait, slot);
    }
    (void)SYS_CALL(SYS_timer_delete, timer, 0, 0, 0, 0, 0);
    if (held || cancel_requested(wait) || clock_now() >= until) {
        signals_drain(number); /* it may have fired; else that is a call to spare */
    }
    waiting = outer;
    wait_signal_give_back();
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

int flock_wait_blocked(int fd, int operation, uint64_t until, unsigned flags, signal_set blocked,
                       const struct cancellable *wait) {
    static const struct cancellable never = {.cancel = NULL};
    wait = wait ? wait : &never;
    if (clock_now() >= until) {
        int r = sys_flock(fd, operation | LOCK_NB);
        return r == -EWOULDBLOCK ? -ETIMEDOUT : r;
    }
    int r = -ENOTSUP;
    if (!(flags & FLOCK_WAIT_POLL) && !flock_wait_is_remote(fd)) {
        signal_set held = flags & FLOCK_WAIT_AGAIN ? signals_interrupting(blocked) : 0;
        r = wait_with_timer(fd, operation, until, blocked, held, flags, wait);
    }
    return r == -ENOTSUP ? wait_by_polling(fd, operation, until, blocked, flags, wait) : r;
}
