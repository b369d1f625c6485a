/*
 * libfilelock: the locks of py-filelock, in C.
 *
 * A lock is a file beside the data, by convention FILE.lock, on which flock(2)
 * is held. Python code with filelock.FileLock, shell code with flock(1) and
 * programs under libautolock.so that name the same file exclude one another.
 *
 *     struct filelock *lock;
 *     int r = filelock_create(&lock, "/srv/ledger.csv.lock");
 *     if (r < 0)
 *         return r;
 *     r = filelock_acquire(lock, 5 * FILELOCK_SECOND);   // -ETIMEDOUT after 5 s
 *     if (r == 0) {
 *         ...                                            // the data is ours
 *         filelock_release(lock);
 *     }
 *     filelock_destroy(lock);
 *
 * or, released by leaving the block, as by Python's "with":
 *
 *     FILELOCK_GUARD(guard, lock, FILELOCK_FOREVER);
 *     if (guard.error < 0)
 *         return guard.error;
 *
 * Errors are negative errno values; errno itself is never touched, nothing is
 * printed. Times are microseconds. The lock file is made where it is missing,
 * never written, never removed.
 *
 * Threads: an object is to be used by one thread at a time; different objects
 * are independent, also on one path (they exclude one another).
 * Fork: the child of fork(2) does not hold its parent's locks and cannot free
 * them; an object that it inherited starts afresh there.
 * Signals: no function is async-signal-safe. While a limited wait lasts, one
 * real-time signal that had its default action has a handler of ours.
 */
#ifndef FILELOCK_H
#define FILELOCK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FILELOCK_SECOND UINT64_C(1000000)
#define FILELOCK_FOREVER UINT64_MAX
#define FILELOCK_ONCE UINT64_C(0)

struct filelock;

/*
 * Makes an object, not held, for the lock file `path`, which is copied and
 * resolved at each acquire like any path. The file is not touched yet. It is
 * made with mode 0666 less the umask.
 * Returns 0 and the object, which the caller frees with filelock_destroy;
 * -EINVAL (empty path) or -ENOMEM.
 */
int filelock_create(struct filelock **ret, const char *path);

/* Frees the object, releasing the lock if it is held. NULL is allowed. */
void filelock_destroy(struct filelock *lock);

/*
 * Takes the lock, waiting up to `timeout` microseconds: FILELOCK_FOREVER, or
 * FILELOCK_ONCE for one try without waiting. Waiting is done inside the kernel,
 * in its queue; a limited wait ends within 20 ms after its time. A lock that
 * is already held by this object succeeds at once and is counted.
 * Returns 0, or
 *   -ETIMEDOUT  somebody else held it all the time
 *   -EINTR      a signal handler without SA_RESTART ran
 *   -ESTALE     the file was replaced under us again and again
 *   -ENXIO      the path is not a regular file (-EISDIR: a directory,
 *               -ELOOP: a symbolic link)
 *   -EACCES, -EROFS, -ENOENT, -EMFILE, ... as open(2) for the lock file;
 *               -ENOLCK as flock(2)
 *   -EOVERFLOW  2^32-1 acquires
 * On failure nothing changes and no descriptor stays open.
 */
int filelock_acquire(struct filelock *lock, uint64_t timeout);

/*
 * Undoes one acquire; the last one frees the lock.
 * Returns 0, or -EPERM where this process does not hold it.
 */
int filelock_release(struct filelock *lock);

/* Whether this process holds the lock through this object. */
bool filelock_is_held(const struct filelock *lock);

/* Acquires not yet released. */
unsigned filelock_count(const struct filelock *lock);

/* The path given at creation; valid until filelock_destroy. */
const char *filelock_path(const struct filelock *lock);

/* The scoped guard: see FILELOCK_GUARD above. Needs GCC's or clang's cleanup
 * attribute. `error` is what filelock_acquire returned. */
struct filelock_guard {
    struct filelock *lock;
    int error;
};
struct filelock_guard filelock_guard_enter(struct filelock *lock, uint64_t timeout);
void filelock_guard_leave(struct filelock_guard *guard);

#define FILELOCK_GUARD(name, lock, timeout)                                                        \
    __attribute__((cleanup(filelock_guard_leave))) struct filelock_guard name =                    \
        filelock_guard_enter((lock), (timeout))

#ifdef __cplusplus
}
#endif

#endif
