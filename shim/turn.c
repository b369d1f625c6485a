#include "shim/turn.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "shim/range_lock.h"

/* A byte a millisecond is room for 34 years of uptime. */
#define MARKS RANGE_MARKS
#define MARKS_LENGTH (INT64_C(1) << 40)

#define FIRST_PAUSE (8 * CLOCK_MILLISECOND)
#define LONGEST_PAUSE (60 * CLOCK_SECOND)

#define RECENT 5 /* seconds; a mark is set again every second */

/* Somebody whom it keeps out is woken as it goes, and has to come to run, maybe on this
 * very processor, before it is back. */
#define GAP (2 * CLOCK_MILLISECOND)

/* A read lock, since the sidecar may be open for reading only. */
void turn_mark(int fd, uint64_t began, bool again) {
    struct flock64 range;
    int64_t at = MARKS + (int64_t)(began / CLOCK_MILLISECOND);
    if (flock_wait_is_remote(fd) || SYS_CALL(SYS_utimensat, fd, NULL, NULL, 0, 0, 0) < 0) {
        return;
    }
    if (again) {
        const struct timespec gap = clock_timespec(GAP);
        turn_unmark(fd);
        (void)sys_sleep(&gap);
    }
    (void)range_lock(fd, F_OFD_SETLK, F_RDLCK, at, 1, &range);
}

void turn_unmark(int fd) {
    struct flock64 range;
    (void)range_lock(fd, F_OFD_SETLK, F_UNLCK, MARKS, MARKS_LENGTH, &range);
}

/* Mostly the time is long past, and it is enough to know that it was so before. */
bool turn_may_be_marked(const struct sys_stat *sidecar) {
    static _Atomic int64_t passed;
    int64_t until = sidecar->mtime.seconds + RECENT;
    if (until < atomic_load_explicit(&passed, memory_order_relaxed)) {
        return false;
    }
    struct timespec now;
    (void)sys_clock(CLOCK_REALTIME_COARSE, &now); /* as the file's, whatever faketime says */
    atomic_store_explicit(&passed, now.tv_sec, memory_order_relaxed);
    return until >= now.tv_sec;
}

uint64_t turn_of_writer(int fd) {
    struct flock64 range;
    struct sys_stat sidecar;
    if (sys_fstat(fd, &sidecar) < 0 || !turn_may_be_marked(&sidecar) ||
        range_lock(fd, F_OFD_GETLK, F_WRLCK, MARKS, MARKS_LENGTH, &range) < 0 ||
        range.l_type != F_RDLCK || range.l_start < MARKS) {
        return 0;
    }
    uint64_t now = clock_now();
    uint64_t began = (uint64_t)(range.l_start - MARKS) * CLOCK_MILLISECOND;
    if (began > now) {
        return now + FIRST_PAUSE; /* a clock of another time namespace */
    }
    uint64_t moment = FIRST_PAUSE, pause = FIRST_PAUSE;
    while (began + moment <= now) {
        pause = moment < LONGEST_PAUSE ? moment : LONGEST_PAUSE;
        moment += pause;
    }
    return began + moment;
}

bool turn_is_over(int fd) {
    const struct timespec gap = clock_timespec(2 * GAP);
    if (turn_of_writer(fd) != 0) {
        return false;
    }
    (void)sys_sleep(&gap);
    return turn_of_writer(fd) == 0;
}
