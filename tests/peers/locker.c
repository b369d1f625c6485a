/*
 * Takes a lock COUNT times through libfilelock and notes each interval.
 *
 *     locker KIND LOCK COUNT LOG [USEC]
 *
 * KIND: flock, flock-timeout (with a limit, which goes another way through the
 * code), soft. LOG gets "BEGIN END" a line, nanoseconds of CLOCK_MONOTONIC that
 * both lie within the hold. USEC: how long each hold lasts at least, and at most
 * twice that the pause after it. Says "ready" and begins when its input ends.
 */
#include <filelock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: locker KIND LOCK COUNT LOG [USEC]\n");
        return 2;
    }
    long count = atol(argv[3]);
    long long hold = argc > 5 ? atoll(argv[5]) * 1000 : 0;
    uint64_t timeout = strcmp(argv[1], "flock") == 0 ? FILELOCK_FOREVER : 60 * FILELOCK_SECOND;
    long long *times = calloc((size_t)count * 2, sizeof(*times));
    FILE *log = fopen(argv[4], "w");
    struct filelock *lock;
    if (!times || !log ||
        filelock_create(&lock, argv[2], strcmp(argv[1], "soft") == 0 ? FILELOCK_SOFT : 0) < 0) {
        return 2;
    }
    unsigned seed = (unsigned)now();
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    for (long i = 0; i < count; i++) {
        int r = filelock_acquire(lock, timeout);
        if (r < 0) {
            fprintf(stderr, "locker: acquire: %s\n", strerror(-r));
            return 1;
        }
        times[2 * i] = now();
        while (now() - times[2 * i] < hold) {
        }
        times[2 * i + 1] = now();
        r = filelock_release(lock);
        if (r < 0) {
            fprintf(stderr, "locker: release: %s\n", strerror(-r));
            return 1;
        }
        long long pause = hold ? rand_r(&seed) % (2 * hold) : 0, begin = now();
        while (now() - begin < pause) {
        }
    }
    filelock_destroy(lock);
    for (long i = 0; i < count; i++) {
        fprintf(log, "%lld %lld\n", times[2 * i], times[2 * i + 1]);
    }
    free(times);
    return fclose(log) != 0;
}
