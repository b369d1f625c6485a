/* What of signals needs no sigaction(2), which libautolock wraps: for programs that it is
 * not part of. */
#include "lib/signals.h"

#include <signal.h>
#include <time.h>

#include "lib/sys_linux.h"

signal_set signals_mask(signal_set blocked) {
    signal_set before = 0;
    (void)SYS_CALL(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, &before, sizeof(blocked), 0, 0);
    return before;
}

signal_set signals_blocked(void) {
    signal_set now = 0;
    (void)SYS_CALL(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, sizeof(now), 0, 0);
    return now;
}

signal_set signals_pending(signal_set blocked) {
    signal_set pending = 0;
    (void)SYS_CALL(SYS_rt_sigpending, &pending, sizeof(pending), 0, 0, 0, 0);
    return pending & ~blocked;
}

void signals_drain(int number) {
    signal_set one = signals_only(number);
    struct timespec now = {0};
    while (SYS_CALL(SYS_rt_sigtimedwait, &one, NULL, &now, sizeof(one), 0, 0) > 0) {
    }
}
