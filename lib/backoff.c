#include "lib/backoff.h"

#include <errno.h>
#include <stddef.h>

#include "lib/sys_linux.h"

int backoff_sleep(uint64_t *pause, uint64_t until, signal_set blocked) {
    uint64_t now = clock_now();
    if (now >= until) {
        return -ETIMEDOUT;
    }
    if (signals_interrupt(blocked)) {
        return -EINTR;
    }
    if (*pause == 0) {
        *pause = BACKOFF_FIRST;
    } else {
        *pause = *pause * 2 < BACKOFF_LONGEST ? *pause * 2 : BACKOFF_LONGEST;
    }
    struct timespec rest = clock_timespec(*pause < until - now ? *pause : until - now);
    (void)signals_mask(blocked);
    int r = (int)SYS_CALL(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &rest, NULL, 0, 0);
    (void)signals_mask(SIGNALS_ALL);
    return r;
}
