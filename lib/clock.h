/*
 * Time as the whole project counts it: microseconds of CLOCK_MONOTONIC, asked of
 * the kernel itself: a preloaded library may tell the program another time
 * (faketime), and then a timeout that is counted by it never comes.
 */
#ifndef FILELOCK_CLOCK_H
#define FILELOCK_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "lib/sys_linux.h"

#define CLOCK_FOREVER UINT64_MAX
#define CLOCK_MILLISECOND UINT64_C(1000)
#define CLOCK_SECOND UINT64_C(1000000)

static inline uint64_t clock_now(void) {
    struct timespec now;
    (void)sys_clock(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * CLOCK_SECOND + (uint64_t)now.tv_nsec / 1000;
}

/* now + duration, where CLOCK_FOREVER stays for ever. */
static inline uint64_t clock_after(uint64_t duration) {
    uint64_t now = clock_now();
    return duration >= CLOCK_FOREVER - now ? CLOCK_FOREVER : now + duration;
}

static inline struct timespec clock_timespec(uint64_t usec) {
    return (struct timespec){.tv_sec = (time_t)(usec / CLOCK_SECOND),
                             .tv_nsec = (long)(usec % CLOCK_SECOND) * 1000};
}

#endif
