#include "lib/wait_signal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "lib/flock_call.h"
#include "lib/hand_over.h"
#include "lib/signals.h"
#include "lib/sys_linux.h"

/* The search for a free signal begins well below SIGRTMAX and well above SIGRTMIN,
 * for programs count theirs from either end, and goes downward. Two copies of this
 * file may live in one process (libfilelock, libautolock); they start in different
 * places, so as not to pick the same signal at once. */
#ifndef FLOCK_WAIT_SIGNAL_OFFSET
#define FLOCK_WAIT_SIGNAL_OFFSET 1
#endif
#define BELOW_THE_LAST (12 + FLOCK_WAIT_SIGNAL_OFFSET)

/* Older signals for wait_signal_send, the least used first. The kernel itself sends
 * none of them to a process that has not asked for it in some way. */
static const int senders[] = {
#ifdef SIGSTKFLT
    SIGSTKFLT,
#endif
    SIGPWR, SIGURG, SIGIO, SIGWINCH};
#define SENDERS (sizeof(senders) / sizeof(senders[0]))

#define NUMBERS 64

/* A signal. `state`: FREE, CHANGING (its action is being installed or restored), LEFT
 * (nobody has taken it, but the handler is there yet), or USER for each that has taken
 * it, plus KEEPING while `before` is looked at. */
enum { FREE = 0, CHANGING = 1, LEFT = 2, KEEPING = 1, USER = 4 };
struct wait_signal {
    _Atomic unsigned state;
    struct sigaction before; /* the program's */
};
static struct wait_signal table[NUMBERS + 1];

static _Atomic signal_set in_use; /* a hint: those with users, or LEFT */
static _Atomic signal_set ever;   /* those that ever had the handler; set before */

static bool action_is_ours(const struct sigaction *action) {
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == wait_signal_arrived;
}

static bool get_action(int number, struct sigaction *ret) {
    int saved = errno;
    bool known = SIGNALS_ACTION(number, NULL, ret) == 0;
    errno = saved;
    return known;
}

static bool has_default(const struct sigaction *action) {
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL;
}

static bool install(struct wait_signal *signal, int number) {
    int saved = errno;
    struct sigaction action = {.sa_sigaction = wait_signal_arrived,
                               .sa_flags = SA_SIGINFO | (FLOCK_CALL_STEPS ? SA_RESTART : 0)};
    (void)sigfillset(&action.sa_mask);
    (void)atomic_fetch_or(&ever, signals_only(number));
    bool done = SIGNALS_ACTION(number, &action, &signal->before) == 0;
    errno = saved;
    return done;
}

static bool handler_is_ours(int number) {
    struct sigaction now;
    return get_action(number, &now) && action_is_ours(&now);
}

/* The state is CHANGING. */
static void restore(int number) {
    struct wait_signal *signal = &table[number];
    struct sigaction old;
    int saved = errno;
    (void)atomic_fetch_and(&in_use, ~signals_only(number));
    if (SIGNALS_ACTION(number, &signal->before, &old) == 0 && !action_is_ours(&old)) {
        (void)SIGNALS_ACTION(number, &old, NULL); /* the program has taken it from us */
    }
    errno = saved;
    atomic_store(&signal->state, FREE);
}

/* The same where the program has had the time to give it a handler of its own, which
 * must not be away for a moment. */
static void restore_if_ours(int number) {
    if (handler_is_ours(number)) {
        restore(number);
    } else {
        (void)atomic_fetch_and(&in_use, ~signals_only(number));
        atomic_store(&table[number].state, FREE);
    }
}

/* One user less. True when that was the last one: then the state is `last`. */
HAND_OVER static bool drop(int number, unsigned last) {
    struct wait_signal *signal = &table[number];
    unsigned state = atomic_load(&signal->state);
    while (state >= USER) { /* or it is the child of a fork in a handler */
        if (state & KEEPING) {
            sys_let_others_run();
            state = atomic_load(&signal->state);
        } else if (atomic_compare_exchange_weak(&signal->state, &state,
                                                state > USER ? state - USER : last)) {
            return state == USER;
        }
    }
    return false;
}

void wait_signal_give_back(int number) {
    if (drop(number, CHANGING)) {
        restore(number);
    }
}

void wait_signal_leave(int number) {
    (void)drop(number, LEFT);
}

void wait_signal_tidy(void) {
    signal_set numbers = atomic_load(&in_use);
    for (int number = 1; numbers; number++, numbers >>= 1) {
        unsigned left = LEFT;
        if (numbers & 1 && atomic_compare_exchange_strong(&table[number].state, &left, CHANGING)) {
            restore_if_ours(number);
        }
    }
}

/* Joins those who have taken it already, or have left it. */
static bool join(int number) {
    struct wait_signal *signal = &table[number];
    unsigned state = atomic_load(&signal->state);
    while (state >= LEFT) {
        if (state >= USER && state & KEEPING) {
            sys_let_others_run();
            state = atomic_load(&signal->state);
        } else if (atomic_compare_exchange_weak(&signal->state, &state,
                                                state == LEFT ? USER : state + USER)) {
            if (handler_is_ours(number)) {
                return true;
            }
            if (drop(number, CHANGING)) { /* the program has taken it from us */
                restore_if_ours(number);
            }
            return false;
        }
    }
    return false;
}

/* `used_too`: whatever its action is. */
static bool begin(int number, bool used_too) {
    struct wait_signal *signal = &table[number];
    struct sigaction now;
    unsigned none = FREE;
    if (!get_action(number, &now) || !(used_too || has_default(&now)) ||
        !atomic_compare_exchange_strong(&signal->state, &none, CHANGING)) {
        return false;
    }
    signal->before = now;
    if (!install(signal, number)) {
        atomic_store(&signal->state, FREE);
        return false;
    }
    atomic_store(&signal->state, USER);
    (void)atomic_fetch_or(&in_use, signals_only(number));
    return true;
}

signal_set wait_signal_used(signal_set blocked) {
    signal_set real_time = 0;
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        real_time |= signals_only(number);
    }
    signal_set pending = signals_pending(0);
    return (blocked & real_time) == real_time ? pending : pending | blocked;
}

int wait_signal_take(signal_set used) {
    signal_set shared = atomic_load(&in_use) & ~used;
    for (int number = SIGRTMIN; shared && number <= SIGRTMAX; number++) {
        if (shared & signals_only(number) && join(number)) {
            return number;
        }
    }
    const int count = SIGRTMAX - SIGRTMIN + 1;
    for (int i = 0; i < count; i++) {
        int number = SIGRTMAX - (i + BELOW_THE_LAST) % count;
        if (!(used & signals_only(number)) && begin(number, false)) {
            return number;
        }
    }
    return 0;
}

unsigned wait_signal_senders(signal_set blocked) {
    unsigned found = 0;
    for (size_t i = 0; FLOCK_CALL_STEPS && i < SENDERS; i++) {
        found |= blocked & signals_only(senders[i]) ? 0 : 1U << i;
    }
    return found;
}

/* Where the program uses all of them, one of its own: it is handed on. */
static int take_sender(unsigned set) {
    for (int used_too = 0; used_too < 2; used_too++) {
        for (size_t i = 0; i < SENDERS; i++) {
            if (set & 1U << i && (join(senders[i]) || begin(senders[i], used_too))) {
                return senders[i];
            }
        }
    }
    return 0;
}

int wait_signal_send(pid_t thread, unsigned set) {
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    int number = take_sender(set);
    while (!number) { /* each is just being installed or restored, by other threads */
        sys_let_others_run();
        number = take_sender(set);
    }
    info.si_signo = number;
    info.si_code = SI_QUEUE;
    info.si_pid = sys_getpid();
    info.si_value = wait_signal_mark();
    if (SYS_CALL(SYS_rt_tgsigqueueinfo, info.si_pid, thread, number, &info, 0, 0) < 0) {
        wait_signal_give_back(number);
        return 0;
    }
    return number;
}

union sigval wait_signal_mark(void) {
    return (union sigval){.sival_ptr = table};
}

bool wait_signal_is_tick(const siginfo_t *info) {
    return info->si_code == SI_TIMER && info->si_value.sival_ptr == table;
}

bool wait_signal_is_sent(const siginfo_t *info) {
    return info->si_code == SI_QUEUE && info->si_value.sival_ptr == table;
}

bool wait_signal_is_bare(const siginfo_t *info) {
    return info->si_code == SI_USER && info->si_pid == 0;
}

void wait_signal_repeat(int number, const siginfo_t *info) {
    (void)SYS_CALL(SYS_rt_tgsigqueueinfo, sys_getpid(), sys_gettid(), number, info, 0, 0);
}

void wait_signal_return(int number, const siginfo_t *info) {
    if (info->si_code == SI_TKILL) {
        wait_signal_repeat(number, info);
        return;
    }
    pid_t pid = sys_getpid();
    siginfo_t copy = *info;
    long r = SYS_CALL(SYS_rt_sigqueueinfo, pid, number, &copy, 0, 0, 0);
    if (r == -EPERM) {
        /* Only the main thread may say that it comes from kill or the kernel. */
        copy.si_code = SI_QUEUE;
        r = SYS_CALL(SYS_rt_sigqueueinfo, pid, number, &copy, 0, 0, 0);
    }
    if (r < 0) {
        (void)SYS_CALL(SYS_kill, pid, number, 0, 0, 0, 0);
    }
}

/* Keeps `before` as it is until the state, which is returned, is put back. 0: nobody
 * has taken the signal, or its action is just changing. */
static unsigned keep(struct wait_signal *signal) {
    unsigned state = atomic_load(&signal->state);
    while (state >= USER) {
        if (!(state & KEEPING) &&
            atomic_compare_exchange_weak(&signal->state, &state, state | KEEPING)) {
            return state;
        }
        if (state & KEEPING) {
            sys_let_others_run();
            state = atomic_load(&signal->state);
        }
    }
    return 0;
}

bool wait_signal_action(int number, const struct sigaction *action, struct sigaction *ret_before) {
    if (number < 1 || number > NUMBERS || atomic_load(&table[number].state) == FREE) {
        return false;
    }
    signal_set mask = signals_mask(SIGNALS_ALL);
    struct wait_signal *signal = &table[number];
    struct sigaction now;
    unsigned state = keep(signal);
    bool ours = state && get_action(number, &now) && action_is_ours(&now);
    if (ours) {
        struct sigaction before = signal->before;
        if (action) {
            signal->before = *action;
        }
        if (ret_before) {
            *ret_before = before;
        }
    }
    if (state) {
        atomic_store(&signal->state, state);
    }
    (void)signals_mask(mask);
    return ours;
}

/* The program's action, which SA_RESETHAND takes off. */
static struct sigaction wanted(int number) {
    struct wait_signal *signal = &table[number];
    unsigned state = keep(signal);
    struct sigaction action = signal->before;
    if (state && (unsigned)action.sa_flags & SA_RESETHAND) {
        signal->before.sa_handler = SIG_DFL;
        signal->before.sa_flags = 0;
    }
    if (state) {
        atomic_store(&signal->state, state);
    }
    return action;
}

static void end_by(int number) {
    struct sigaction none = {.sa_handler = SIG_DFL};
    if (number == SIGURG || number == SIGWINCH) {
        return; /* they do nothing by default */
    }
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
    struct sigaction now;
    if (get_action(number, &now) && action_is_ours(&now)) {
        (void)SIGNALS_ACTION(number, &table[number].before, NULL);
    }
}

void wait_signal_after_fork(void) {
    signal_set numbers = atomic_load(&ever);
    for (int number = 1; numbers; number++, numbers >>= 1) {
        if (numbers & 1) {
            take_off(number);
            atomic_store(&table[number].state, FREE);
        }
    }
    atomic_store(&in_use, 0);
}
