/*
 * Short texts, put together without stdio, which is not async-signal-safe.
 *
 *     struct put put = put_begin(path, sizeof(path));
 *     put_string(&put, "/proc/");
 *     put_number(&put, (unsigned long)pid);
 *     if (!put_fits(&put)) ...
 *
 * Always terminated; what does not fit is left out, and put_fits says so. errno
 * untouched.
 */
#ifndef FILELOCK_PUT_H
#define FILELOCK_PUT_H

#include <stdbool.h>
#include <stddef.h>

struct put {
    char *at, *last; /* where the next byte goes; the last one that is there */
    bool cut;
};

static inline struct put put_begin(char *to, size_t size) {
    *to = '\0';
    return (struct put){.at = to, .last = to + size - 1};
}

static inline bool put_fits(const struct put *put) {
    return !put->cut;
}

static inline void put_bytes(struct put *put, const char *from, size_t length) {
    for (; length > 0 && put->at < put->last; length--) {
        *put->at++ = *from++;
    }
    *put->at = '\0';
    put->cut |= length > 0;
}

static inline void put_string(struct put *put, const char *from) {
    size_t length = 0;
    while (from[length]) {
        length++;
    }
    put_bytes(put, from, length);
}

static inline void put_number(struct put *put, unsigned long number) {
    char digits[3 * sizeof(number)];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put_bytes(put, digits + at, sizeof(digits) - at);
}

#endif
