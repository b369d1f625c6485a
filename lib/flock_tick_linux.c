#include "lib/flock_tick.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "lib/hand_over.h"
#include "lib/sys_linux.h"
#include "lib/wait_signal.h"

/* The timer repeats, since a tick may come while a handler of the program runs, which
 * goes back to sleep. */
#define REPEAT (10 * CLOCK_MILLISECOND)

HANDLER_LOCAL struct flock_tick flock_tick __attribute__((visibility("hidden"))) = {.timer = -1};

/* --- in the handler --- */

/* Whether the interrupted code runs below the frame of our wait. If not, a
 * handler of the program has jumped out of it and the timer is an orphan. On an
 * alternate signal stack addresses say nothing; then the next tick decides. */
static bool wait_is_gone(uintptr_t stack) {
    if (!flock_tick.active) {
        return true;
    }
    if (stack <= flock_tick.frame) {
        return false;
    }
    stack_t alternate;
    return sigaltstack(NULL, &alternate) == 0 && !(alternate.ss_flags & SS_ONSTACK);
}

static void (*_Atomic on_gone)(uintptr_t stack, bool innermost);

void flock_wait_on_gone(void (*function)(uintptr_t stack, bool innermost)) {
    atomic_store(&on_gone, function);
}

static void block_in(void *context, int number) {
    ucontext_t *interrupted = context;
    signal_set mask;
    memcpy(&mask, &interrupted->uc_sigmask, sizeof(mask));
    mask |= signals_only(number);
    memcpy(&interrupted->uc_sigmask, &mask, sizeof(mask));
}

/* All signals being blocked: those of ours that are on their way arrive. */
static void let_arrive(int number) {
    flock_tick.stopping = true;
    (void)signals_mask(~signals_only(number));
    (void)signals_mask(SIGNALS_ALL);
    flock_tick.stopping = false;
}

/* Linux before 6.13 leaves a tick that is pending. */
static void delete_timer(int timer, int number) {
    (void)SYS_CALL(SYS_timer_delete, timer, 0, 0, 0, 0, 0);
    if (signals_pending(0) & signals_only(number)) {
        let_arrive(number);
    }
}

/* A timer whose wait has been left. */
static void orphan(int number, int timer, uintptr_t stack) {
    bool innermost = flock_tick.active && flock_tick.timer == timer;
    if (innermost) {
        flock_tick_stop(false);
    } else {
        delete_timer(timer, number);
        wait_signal_give_back(number);
    }
    void (*function)(uintptr_t, bool) = atomic_load(&on_gone);
    if (function) {
        function(stack, innermost);
    }
}

static void tick(int number, const siginfo_t *info, void *context) {
    (void)flock_call_end(&flock_tick.call, context, -ETIMEDOUT);
    uintptr_t stack = flock_call_stack(context);
    if (!flock_tick.stopping && wait_is_gone(stack)) {
        orphan(number, info->si_timerid, stack);
    }
}

static void sent(int number, const siginfo_t *info, void *context) {
    enum flock_call_place place = flock_call_end(&flock_tick.call, context, -ETIMEDOUT);
    if (!flock_tick.active || flock_tick.stopping) {
        return;
    }
    if (wait_is_gone(flock_call_stack(context))) {
        flock_tick_stop(false);
    } else if (place == FLOCK_CALL_ABOVE) {
        /* Once more when the program's handler has ended, which returns right to
         * the system call. */
        wait_signal_repeat(number, info);
        block_in(context, number);
    }
}

static void not_ours(int number, siginfo_t *info, void *context) {
    if (flock_tick.active && flock_tick.blocked & signals_only(number)) {
        flock_tick.avoid |= signals_only(number);
        wait_signal_return(number, info);
        (void)flock_call_end(&flock_tick.call, context, -ETIMEDOUT);
        block_in(context, number);
    } else if (wait_signal_forward(number, info, context)) {
        (void)flock_call_end(&flock_tick.call, context, -EINTR);
    }
}

void wait_signal_arrived(int number, siginfo_t *info, void *context) {
    if (wait_signal_is_tick(info)) {
        tick(number, info, context);
    } else if (wait_signal_is_sent(info) ||
               (wait_signal_is_bare(info) && flock_tick.slot && flock_tick.timer < 0)) {
        sent(number, info, context);
    } else {
        not_ours(number, info, context);
    }
}

/* --- in the wait --- */

int flock_tick_start(int number, uint64_t until) {
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
    if (until != CLOCK_FOREVER) {
        struct itimerspec when = {.it_interval = clock_timespec(REPEAT),
                                  .it_value = clock_timespec(until)};
        r = sys_timer_settime(timer, TIMER_ABSTIME, &when);
        if (r < 0) {
            (void)SYS_CALL(SYS_timer_delete, timer, 0, 0, 0, 0, 0);
            return r;
        }
    }
    flock_tick.timer = timer;
    return 0;
}

/* Timers that do not tick any more, to be deleted when there is time (disarming one
 * takes three quarters of the time): ids plus 1, 0 for none. */
static _Atomic unsigned idle_timers[16];
#define IDLE_TIMERS (sizeof(idle_timers) / sizeof(idle_timers[0]))

/* The mask in force lets its signal in. */
HAND_OVER static void leave_timer(int timer) {
    static const struct itimerspec never;
    (void)sys_timer_settime(timer, 0, &never);
    for (size_t i = 0; i < IDLE_TIMERS; i++) {
        unsigned none = 0;
        if (atomic_compare_exchange_strong(&idle_timers[i], &none, (unsigned)timer + 1)) {
            return;
        }
    }
    (void)SYS_CALL(SYS_timer_delete, timer, 0, 0, 0, 0, 0);
}

void flock_wait_tidy(void) {
    for (size_t i = 0; i < IDLE_TIMERS; i++) {
        unsigned timer = atomic_load_explicit(&idle_timers[i], memory_order_relaxed);
        if (timer && (timer = atomic_exchange(&idle_timers[i], 0)) != 0) {
            (void)SYS_CALL(SYS_timer_delete, timer - 1, 0, 0, 0, 0, 0);
        }
    }
    wait_signal_tidy();
}

static void stop_sent(int number, bool let_in) {
    signal_set before = let_in ? signals_mask(SIGNALS_ALL) : 0;
    let_arrive(number);
    wait_signal_give_back(number);
    if (let_in) {
        (void)signals_mask(before);
    }
}

void flock_tick_stop(bool let_in) {
    /* The slot first, through which another thread might set off the timer of
     * whoever gets its id next. */
    int was_sent = flock_tick.slot ? cancel_leave(flock_tick.slot) : 0;
    if (was_sent) {
        stop_sent(was_sent, let_in);
    }
    flock_tick.slot = NULL;
    int timer = flock_tick.timer, number = flock_tick.number;
    flock_tick.timer = -1;
    if (timer >= 0 && let_in) {
        leave_timer(timer);
    } else if (timer >= 0) {
        delete_timer(timer, number);
    }
    flock_tick.active = false;
    flock_tick.number = 0;
    if (number && let_in) {
        wait_signal_leave(number);
    } else if (number) {
        wait_signal_give_back(number);
    }
}

void flock_wait_abandon(void) {
    if (flock_tick.active) {
        signal_set before = signals_mask(SIGNALS_ALL);
        flock_tick_stop(false);
        (void)signals_mask(before);
    }
}

void flock_wait_after_fork(void) {
    /* Only the forking thread lives on. */
    wait_signal_after_fork();
    for (size_t i = 0; i < IDLE_TIMERS; i++) {
        atomic_store(&idle_timers[i], 0); /* a child has none of its parent's */
    }
    flock_tick.active = false;
    flock_tick.timer = -1;
    flock_tick.number = 0;
    flock_tick.slot = NULL;
}
