#include "lib/wait_signal.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "lib/flock_call.h"
#include "lib/signals.h"
#include "lib/sys_linux.h"

/* The search for a free signal goes downward, since the kernel delivers the
 * lowest first, which then decides how flock ends: that should be the program's.
 * Two copies of this file may live in one process (libfilelock, libautolock);
 * they start in different places, so as not to pick the same signal at once. */
#ifndef FLOCK_WAIT_SIGNAL_OFFSET
#define FLOCK_WAIT_SIGNAL_OFFSET 1
#endif

static struct {
    atomic_flag busy;
    unsigned users;
    _Atomic int number; /* 0: none chosen */
    void (*tick)(int number, siginfo_t *info, void *context);
    struct sigaction before; /* the program's */
    _Atomic signal_set ever; /* signals that ever had the handler; set before */
} shared = {.busy = ATOMIC_FLAG_INIT};

static void enter(void) {
    while (atomic_flag_test_and_set_explicit(&shared.busy, memory_order_acquire)) {
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
}

static void leave(void) {
    atomic_flag_clear_explicit(&shared.busy, memory_order_release);
}

static bool action_is_ours(int number) {
    struct sigaction now;
    return SIGNALS_ACTION(number, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
           now.sa_sigaction == shared.tick;
}

static bool is_free(int number) {
    struct sigaction now;
    return SIGNALS_ACTION(number, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == SIG_DFL;
}

/* A thread that blocks everything uses none of them in particular. */
static signal_set used_signals(signal_set blocked) {
    signal_set pending = 0, real_time = 0;
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        real_time |= signals_only(number);
    }
    (void)SYS_CALL(SYS_rt_sigpending, &pending, sizeof(pending), 0, 0, 0, 0);
    return (blocked & real_time) == real_time ? pending : pending | blocked;
}

static int choose(signal_set used) {
    for (int i = 0; i <= SIGRTMAX - SIGRTMIN; i++) {
        int number = SIGRTMAX - (i + FLOCK_WAIT_SIGNAL_OFFSET) % (SIGRTMAX - SIGRTMIN + 1);
        if (!(used & signals_only(number)) && is_free(number)) {
            return number;
        }
    }
    return 0;
}

static void install(void (*tick)(int number, siginfo_t *info, void *context), signal_set blocked) {
    int saved = errno;
    struct sigaction action = {.sa_sigaction = tick,
                               .sa_flags = SA_SIGINFO | (FLOCK_CALL_STEPS ? SA_RESTART : 0)};
    (void)sigfillset(&action.sa_mask);
    shared.tick = tick;
    shared.number = choose(used_signals(blocked));
    if (shared.number) {
        (void)atomic_fetch_or(&shared.ever, signals_only(shared.number));
    }
    if (shared.number && SIGNALS_ACTION(shared.number, &action, &shared.before) < 0) {
        shared.number = 0;
    }
    errno = saved;
}

int wait_signal_take(void (*tick)(int number, siginfo_t *info, void *context), signal_set blocked) {
    enter();
    if (shared.users == 0) {
        install(tick, blocked);
    }
    if (shared.number) {
        shared.users++;
    }
    int number = shared.number;
    leave();
    return number;
}

void wait_signal_give_back(void) {
    enter();
    if (shared.users > 0 && --shared.users == 0) {
        if (action_is_ours(shared.number)) {
            (void)SIGNALS_ACTION(shared.number, &shared.before, NULL);
        }
        shared.number = 0;
    }
    leave();
}

union sigval wait_signal_mark(void) {
    return (union sigval){.sival_ptr = &shared};
}

bool wait_signal_is_ours(const siginfo_t *info) {
    return info->si_code == SI_TIMER && info->si_value.sival_ptr == &shared;
}

bool wait_signal_action(int number, const struct sigaction *action, struct sigaction *ret_before) {
    if (number == 0 || number != atomic_load(&shared.number)) {
        return false;
    }
    signal_set mask = signals_mask(SIGNALS_ALL);
    enter();
    bool ours = shared.users > 0 && shared.number == number && action_is_ours(number);
    if (ours) {
        struct sigaction before = shared.before;
        if (action) {
            shared.before = *action;
        }
        if (ret_before) {
            *ret_before = before;
        }
    }
    leave();
    (void)signals_mask(mask);
    return ours;
}

/* The program's action, which SA_RESETHAND takes off. */
static struct sigaction wanted(int number) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    enter();
    if (shared.users > 0 && shared.number == number) {
        action = shared.before;
        if ((unsigned)action.sa_flags & SA_RESETHAND) {
            shared.before.sa_handler = SIG_DFL;
            shared.before.sa_flags = 0;
        }
    }
    leave();
    return action;
}

/* The default action of a real-time signal ends the process. */
static void end_by(int number) {
    struct sigaction none = {.sa_handler = SIG_DFL};
    (void)SIGNALS_ACTION(number, &none, NULL);
    (void)SYS_CALL(SYS_tgkill, sys_getpid(), sys_gettid(), number, 0, 0, 0);
}

/* The mask that the handler would have. */
static void mask_for(int number, const struct sigaction *action, const ucontext_t *interrupted) {
    signal_set mask, more;
    memcpy(&mask, &interrupted->uc_sigmask, sizeof(mask));
    memcpy(&more, &action->sa_mask, sizeof(more));
    mask |= more;
    if (!(action->sa_flags & SA_NODEFER)) {
        mask |= signals_only(number);
    }
    (void)signals_mask(mask);
}

bool wait_signal_forward(int number, siginfo_t *info, void *context) {
    struct sigaction action = wanted(number);
    if (action.sa_flags & SA_SIGINFO) {
        mask_for(number, &action, context);
        action.sa_sigaction(number, info, context);
    } else if (action.sa_handler == SIG_DFL) {
        end_by(number);
    } else if (action.sa_handler != SIG_IGN) {
        mask_for(number, &action, context);
        action.sa_handler(number);
    } else {
        return false;
    }
    (void)signals_mask(SIGNALS_ALL);
    return !(action.sa_flags & SA_RESTART);
}

/* fork copies the actions of signals before it copies the memory, while other
 * threads go on: what the copy of our state says need not be so. */
static void take_off(int number) {
    struct sigaction none = {.sa_handler = SIG_DFL};
    if (action_is_ours(number)) {
        bool current = shared.users > 0 && shared.number == number;
        (void)SIGNALS_ACTION(number, current ? &shared.before : &none, NULL);
    }
}

void wait_signal_after_fork(void) {
    atomic_flag_clear(&shared.busy);
    signal_set ever = atomic_load(&shared.ever);
    for (int number = 1; ever; number++, ever >>= 1) {
        if (ever & 1) {
            take_off(number);
        }
    }
    shared.users = 0;
    shared.number = 0;
}
