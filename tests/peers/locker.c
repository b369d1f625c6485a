/*
 * Takes a lock COUNT times through libfilelock and notes each interval.
 *
 *     locker KIND LOCK COUNT LOG USEC
 *
 * KIND: flock, flock-timeout (with a limit, which goes another way through the
 * code), soft. USEC: how long each hold lasts at least, and at most twice that
 * the pause after it. Says "ready" and begins when its input ends.
 */
#include <filelock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/peers/intervals.h"

static void spend(int64_t nanoseconds) {
    int64_t begin = intervals_now();
    while (intervals_now() - begin < nanoseconds) {
    }
}

static int complain(const char *what, int error) {
    fprintf(stderr, "locker: %s: %s\n", what, strerror(-error));
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: locker KIND LOCK COUNT LOG USEC\n");
        return 2;
    }
    size_t count = (size_t)atol(argv[3]);
    int64_t hold = atoll(argv[5]) * 1000;
    uint64_t timeout = strcmp(argv[1], "flock") == 0 ? FILELOCK_FOREVER : 60 * FILELOCK_SECOND;
    struct interval *intervals = intervals_open(argv[4], count);
    struct filelock *lock;
    int r = filelock_create(&lock, argv[2], strcmp(argv[1], "soft") == 0 ? FILELOCK_SOFT : 0);
    if (!intervals || r < 0) {
        return complain("start", r);
    }
    unsigned seed = (unsigned)intervals_now();
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    for (size_t i = 0; i < count; i++) {
        if ((r = filelock_acquire(lock, timeout)) < 0) {
            return complain("acquire", r);
        }
        intervals[i].begin = intervals_now();
        spend(hold);
        intervals[i].end = intervals_now();
        if ((r = filelock_release(lock)) < 0) {
            return complain("release", r);
        }
        spend(hold ? rand_r(&seed) % (2 * hold) : 0);
    }
    filelock_destroy(lock);
    return 0;
}
