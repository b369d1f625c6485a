#include "lib/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "lib/sys_linux.h"

static bool interrupts(int number) {
    struct sigaction action = {.sa_flags = 0};
    int saved = errno;
    bool known = SIGNALS_ACTION(number, NULL, &action) == 0;
    errno = saved;
    bool handled = action.sa_flags & SA_SIGINFO ||
                   (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
    return known && handled && !(action.sa_flags & SA_RESTART);
}

bool signals_interrupt(signal_set blocked) {
    signal_set pending = signals_pending(blocked);
    for (int number = 1; pending; number++, pending >>= 1) {
        if (pending & 1 && interrupts(number)) {
            return true;
        }
    }
    return false;
}

signal_set signals_interrupting(signal_set blocked) {
    signal_set found = 0;
    for (int number = 1; number <= SIGRTMAX; number++) {
        if (!(blocked & signals_only(number)) && interrupts(number)) {
            found |= signals_only(number);
        }
    }
    return found;
}

void signals_let_in(signal_set blocked) {
    /* A fault in a handler must find its own: who blocks it is killed. */
    const signal_set faults = signals_only(SIGSEGV) | signals_only(SIGBUS) | signals_only(SIGILL) |
                              signals_only(SIGFPE) | signals_only(SIGTRAP) | signals_only(SIGSYS);
    (void)signals_mask(blocked | (signals_interrupting(blocked) & ~faults));
    (void)signals_mask(SIGNALS_ALL);
}

bool signals_may_go_elsewhere(void) {
    struct sys_stat threads;
    /* A link for each, beside those that every directory has. */
    return sys_stat(AT_FDCWD, "/proc/self/task", 0, &threads) == 0 && threads.nlink > 2 + 1;
}

/* Who waits for a signal that he blocks counts as one who wants it. No handler runs. */
void signals_sleep(const struct timespec *rest, signal_set wanted) {
    siginfo_t info;
    long number = SYS_CALL(SYS_TIME64(SYS_rt_sigtimedwait, SYS_rt_sigtimedwait_time64), &wanted,
                           &info, rest, sizeof(wanted), 0, 0);
    if (number <= 0) {
        if (number != -EAGAIN && number != -EINTR) {
            (void)sys_sleep(rest); /* a sandbox refuses it */
        }
        return;
    }
    pid_t pid = sys_getpid(), thread = sys_gettid();
    if (SYS_CALL(SYS_rt_tgsigqueueinfo, pid, thread, number, &info, 0, 0) < 0) {
        (void)SYS_CALL(SYS_tgkill, pid, thread, number, 0, 0, 0);
    }
}
