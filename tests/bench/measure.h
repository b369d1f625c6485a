/*
 * For the benchmarks: time, and what many samples say. Figures of one run are
 * compared with one another only, as ratios.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline double measure_now(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static inline int measure_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The sample below which `part` (0 to 1) of them lie; sorts them. */
static inline double measure_quantile(double *samples, size_t count, double part) {
    qsort(samples, count, sizeof(*samples), measure_compare);
    size_t at = (size_t)(part * (double)count);
    return count == 0 ? 0 : samples[at < count ? at : count - 1];
}

static inline double measure_median(double *samples, size_t count) {
    return measure_quantile(samples, count, 0.5);
}

#endif
