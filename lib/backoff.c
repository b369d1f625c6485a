#include "lib/backoff.h"

#include <errno.h>
#include <stddef.h>

#include "lib/sys_linux.h"

int backoff_sleep(uint64_t *pause, uint64_t until, signal_set blocked) {
    uint64_t now = clock_now();
    if (now >= until) {
        return -ETIMEDOUT;
    }
    if (*pause == 0) {
        *pause = BACKOFF_FIRST;
    } else {
        *pause = *pause * 2 < BACKOFF_LONGEST ? *pause * 2 : BACKOFF_LONGEST;
    }
    struct timespec rest = clock_timespec(*pause < until - now ? *pause : until - now);
    /* Asleep with all signals held back: a sleep that a handler has interrupted
     * does not tell whether it was one with SA_RESTART (signal(7)). */
    if (signals_may_go_elsewhere()) {
        signals_sleep(&rest, signals_interrupting(blocked));
    } else {
        (void)sys_sleep(&rest);
    }
    /* One that comes behind the look and would have to end the wait stays where it
     * is, until the next look. */
    if (signals_interrupt(blocked)) {
        return -EINTR;
    }
    if (signals_pending(blocked)) {
        signals_let_in(blocked);
    }
    return 0;
}

int backoff_again(uint64_t *pause, uint64_t until, signal_set blocked) {
    if (*pause >= 4 * BACKOFF_FIRST) {
        *pause = 0;
    }
    return backoff_sleep(pause, until, blocked);
}
