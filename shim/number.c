#include "shim/number.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/record.h"

#define PLACES 16 /* at the top, for the twins of 0 to 2; fewer where all are few */

static int soft_limit(void) {
    struct rlimit limit;
    if (SYS_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit, 0, 0) < 0 ||
        limit.rlim_cur > HIDDEN_END) {
        return HIDDEN_END;
    }
    return (int)limit.rlim_cur;
}

/* What the limit was when it was last asked for; 0: never. A program that has
 * lowered it since is noticed when a number turns out to be too high. */
static _Atomic int known_limit;

static int end_of_block(int limit) {
    return limit - (limit >= 8 * PLACES ? PLACES : 4);
}

static int block_size(int limit) {
    return limit / 16 > 0 ? limit / 16 : 1;
}

/* Whether a number that has been got is to be taken, wherever it is below `end`. Giving
 * it back would cost the program its record locks on a sidecar (record.h): then it may
 * be any. */
static bool will_do(int fd, int end) {
    return fd >= 0 && (fd < end || record_any());
}

/* The lowest free number from `low` on. -EMFILE, too, where that will not do. */
static int duplicate_between(int from, int low, int end) {
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    if (fd < 0 || will_do(fd, end)) {
        return fd;
    }
    (void)sys_close(fd);
    return -EMFILE;
}

/* A number of the highest block, as nearly always; or an error. */
static int duplicate_highest(int from) {
    int limit = atomic_load_explicit(&known_limit, memory_order_relaxed);
    if (limit == 0) {
        return -EMFILE;
    }
    int end = end_of_block(limit);
    return duplicate_between(from, end - block_size(limit), end);
}

/* The lowest free number of the highest block that has one, under the places
 * for stdio; then any other number. */
int number_high(int from) {
    int quick = duplicate_highest(from);
    if (quick >= 0) {
        return quick;
    }
    int limit = soft_limit();
    atomic_store_explicit(&known_limit, limit, memory_order_relaxed);
    int end = end_of_block(limit), block = block_size(limit);
    for (int low = end - block; low > limit / 2; low -= block) {
        int fd = duplicate_between(from, low, end);
        if (fd != -EMFILE && fd != -EINVAL) {
            return fd;
        }
    }
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, limit);
    for (int low = limit / 2; fd < 0 && low > HIDDEN_STDIO; low /= 2) {
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    }
    if (fd == -EINVAL) { /* the limit is no number itself, and there is no other */
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, HIDDEN_STDIO);
    }
    return fd == -EINVAL ? -EMFILE : fd;
}

/* A duplicate at a number that says whom it serves. Never onto a number that
 * is in use: F_DUPFD gives another then. */
int number_at_place(int from, int program_fd) {
    int limit = soft_limit();
    int place = limit - 1;
    while (HIDDEN_PLACE(place) != program_fd) {
        place--;
    }
    for (; place > limit / 2; place -= 4) {
        int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, place);
        if (fd == place) {
            return fd;
        }
        if (fd >= 0) {
            (void)sys_close(fd);
        } else if (fd != -EMFILE && fd != -EINVAL) {
            return fd;
        }
    }
    return -EMFILE;
}

int number_lowest_placed(void) {
    return soft_limit() / 2 + 1;
}
