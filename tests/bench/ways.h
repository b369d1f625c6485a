/*
 * The ways to lock that the benchmark compares, and what its parts share. Nothing here
 * comes back from an error: it is told, and the benchmark ends.
 */
#ifndef BENCH_WAYS_H
#define BENCH_WAYS_H

#include <filelock.h>
#include <stddef.h>

#define LOCK_FILE "bench.lock"

struct way {
    const char *name;
    void (*acquire)(void);
    void (*release)(void);
};

/* The first one, "bare", is what the protocol needs at least (contract P1, P2, P6):
 * open, flock, fstat, lstat, unlock, close. */
enum { WAY_BARE, WAY_LIBRARY, WAY_LIBRARY_TIMEOUT, WAYS };
extern const struct way ways[WAYS];

/* One that leaves others a turn (FILELOCK_FAIR). */
extern const struct way way_fair;

/* Makes and destroys the lock objects on LOCK_FILE in the working directory. */
void ways_begin(void);
void ways_end(void);

/* `error` as in errno. */
_Noreturn void die(const char *what, int error);

/* Lets python3-filelock do the same: the numbers that lock.py prints, one a line, at
 * most `size` of them. Returns how many. */
size_t from_python(const char *mode, int number, double *ret, size_t size);
extern const char *python_script;

/* A line of a table: each value, and its ratio to that of `base`. */
void row(const char *name, const double *values, size_t count, const double *base);

#endif
