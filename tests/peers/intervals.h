/*
 * When a peer held the lock, for overlap.py: pairs BEGIN END of nanoseconds of
 * CLOCK_MONOTONIC, both within the hold, in a mapped file. So a peer that is
 * killed leaves what it has noted, a hold that it died in without its END.
 */
#ifndef TESTS_INTERVALS_H
#define TESTS_INTERVALS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct interval {
    int64_t begin, end;
};

static inline int64_t intervals_now(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* Room for `count` more intervals in the file; NULL when it cannot be had. */
static inline struct interval *intervals_open(const char *path, size_t count) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    off_t old = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    size_t size = (size_t)(old < 0 ? 0 : old) + count * sizeof(struct interval);
    if (old < 0 || ftruncate(fd, (off_t)size) < 0) {
        return NULL;
    }
    char *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return all == MAP_FAILED ? NULL : (struct interval *)(void *)(all + old);
}

#endif
