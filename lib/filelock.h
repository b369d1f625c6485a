/*
 * libfilelock: the locks of py-filelock, in C.
 *
 * A lock is a file beside the data, by convention FILE.lock. Python code with
 * the filelock package, shell code with flock(1) and programs under
 * libautolock.so that name the same file exclude one another.
 *
 *     struct filelock *lock;
 *     int r = filelock_create(&lock, "/srv/ledger.csv.lock", 0);
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
 * Two kinds, which must not be mixed on one path:
 *   flock (default)  flock(2) on the file, as FileLock and flock(1). The file
 *                    stays; the kernel frees the lock of whoever dies.
 *   soft             the existence of the file, as SoftFileLock: for hosts that
 *                    share a file system whose flock does not reach across. One
 *                    whose maker on this host has died is broken.
 *
 * Errors are negative errno values; errno itself is not touched, nothing is
 * printed, no descriptor stays open on failure. Times are microseconds.
 *
 * Threads: all functions may be called by any thread at any time, destroying
 * aside. By default a lock belongs to the thread that took it, others wait for
 * it like strangers; see FILELOCK_PER_PROCESS.
 * Fork: the child of fork(2) does not hold its parent's locks and cannot free
 * them; an object that it inherited starts afresh there. Not for the child of
 * vfork(2), nor for those of _Fork(3) and clone(2), of which we are not told. No program
 * inherits a lock across execve(2), but a soft one that is held stays until the process
 * ends.
 * Signals: only filelock_cancel is async-signal-safe. While a wait with a limit
 * lasts, and until what it has got is released, one real-time signal that had its
 * default action has a handler of ours, which does as that did, and the process has
 * a timer that is disarmed; so no system call is interrupted by us. (Putting both
 * back at once would take a tenth of the time of a hand-over.) No other thread may give
 * that signal an action during the wait: it would miss its limit. A wait without a limit
 * leaves all as it is until it is cancelled. A handler must not leave an acquire by
 * longjmp, nor pthread_cancel asynchronously end it.
 */
#ifndef FILELOCK_H
#define FILELOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FILELOCK_SECOND UINT64_C(1000000)
#define FILELOCK_FOREVER UINT64_MAX
#define FILELOCK_DEFAULT (UINT64_MAX - 1) /* what filelock_set_timeout says */
#define FILELOCK_ONCE UINT64_C(0)

struct filelock;

/* Flags of filelock_create, to be or-ed. */
enum filelock_flags {
    FILELOCK_SOFT = 1,
    /* The lock belongs to the process: any thread that acquires it while it is
     * held counts one up, any may release it. Threads that wait for it wait
     * together, and have it together once one of them has it. A release undoes an
     * acquire of the same thread, where there is one, else one of another. */
    FILELOCK_PER_PROCESS = 2,
    /* Leaves a gap of 60 ms about once a second when the object is acquired
     * again and again without a pause, so that those who poll (py-filelock looks
     * every 50 ms) get a turn. See filelock(3), FAIRNESS. */
    FILELOCK_FAIR = 4
};

/*
 * Makes an object, not held, for the lock file `path`, which is copied and
 * resolved at each acquire like any path. The file is not touched yet; it is
 * made with mode 0666 less the umask.
 * Returns 0 and the object, which the caller frees with filelock_destroy;
 * -EINVAL (empty path, unknown flag) or -ENOMEM.
 */
int filelock_create(struct filelock **ret, const char *path, unsigned flags);

/* Frees the object, releasing what is held through it by any thread of this
 * process. No other thread may be using it. NULL is allowed. A soft lock's file that
 * cannot be removed stays behind: whoever needs to know calls filelock_release_all
 * first. */
void filelock_destroy(struct filelock *lock);

/* The timeout that FILELOCK_DEFAULT stands for; FILELOCK_FOREVER at first. */
void filelock_set_timeout(struct filelock *lock, uint64_t timeout);

/*
 * Takes the lock exclusively, waiting up to `timeout` microseconds:
 * FILELOCK_FOREVER, FILELOCK_DEFAULT, or FILELOCK_ONCE for one try. Kind flock
 * waits in the kernel's queue, soft looks again after 1 to 20 ms. Limited waits
 * end within 20 ms after their time. What this thread holds already through this
 * object is counted, without a system call.
 * Returns 0, or
 *   -ETIMEDOUT  somebody else held it all the time
 *   -ECANCELED  filelock_cancel
 *   -EDEADLK    this thread holds it through another object (its acquires there
 *               are not all undone), or the caller holds it shared
 *   -EINTR      a signal handler without SA_RESTART ran
 *   -ESTALE     FILELOCK_ONCE alone: the file was replaced under us again and again
 *   -ENXIO      the path is not a regular file (-EISDIR: a directory); soft
 *               waits for what is there, unless it is a directory
 *   -ELOOP      the path is a symbolic link (flock), or has too many on its way
 *   -EACCES     reading the lock file is not allowed, or making it
 *   -EBADF      this (network) file system locks only what may be written
 *   -EROFS      it is missing on a read-only file system
 *   -ENOENT, -ENOTDIR  its directory is missing, or none
 *   -EMFILE, -ENFILE  no descriptor left: the lock may be free, held or stale
 *   -ENOLCK     the kernel or the server has no lock left
 *   -ENOSPC, -EDQUOT, -EFBIG  no room to make the file, or for a soft lock's text; none
 *               is left behind (and no SIGXFSZ comes)
 *   -EPERM      a stale soft lock may not be removed: it is another user's, in a
 *               sticky directory; or the directory is immutable (chattr(1))
 *   -ENAMETOOLONG  a name or the path is too long
 *   -ENOMEM, -EOVERFLOW (2^32-1 acquires), or what else open(2) fails with
 * On failure nothing changes.
 */
int filelock_acquire(struct filelock *lock, uint64_t timeout);

/* The same until a moment of CLOCK_MONOTONIC, in microseconds. */
int filelock_acquire_until(struct filelock *lock, uint64_t deadline);

/*
 * Takes it shared: with other shared holders, but no exclusive one. Kind flock
 * only (-EOPNOTSUPP for soft). A shared acquire of what this thread holds
 * exclusively is counted and stays exclusive.
 */
int filelock_acquire_shared(struct filelock *lock, uint64_t timeout);

/*
 * Ends all acquires that are waiting on this object now, in however many threads,
 * with -ECANCELED. Async-signal-safe; what is held stays held, later acquires are not touched.
 */
void filelock_cancel(struct filelock *lock);

/*
 * Undoes one acquire; the last one frees the lock. The file of a soft lock is removed
 * wherever it has been moved to, and not another's (but see filelock(3), BUGS).
 * Returns 0, or
 *   -EPERM   the caller does not hold it
 *   -ESTALE  soft: somebody had removed our file. It is released all the same; others
 *            may have held the lock at the same time
 * or, soft, what follows; then our file is still there, the lock is still held by
 * this object, and the release can be tried again:
 *   -ENOENT  the path does not lead to it, and we cannot find it: it has been moved,
 *            and /proc does not tell where to, or only a hard link of it is left
 *   -EACCES, -EROFS, -EPERM or what else unlink(2) fails with (of the two that
 *            -EPERM may mean, filelock_is_held tells which)
 */
int filelock_release(struct filelock *lock);

/* Undoes all acquires of the caller at once. As filelock_release. */
int filelock_release_all(struct filelock *lock);

/* Whether the caller (this thread, or process) holds it through this object: has
 * acquired and not released it. The file is not looked at. What somebody else has done
 * to that of a soft lock is told by the release. */
bool filelock_is_held(struct filelock *lock);

/* Acquires of the caller that are not yet released. */
unsigned filelock_count(struct filelock *lock);

/* The path given at creation; valid until filelock_destroy. */
const char *filelock_path(const struct filelock *lock);

enum filelock_state {
    FILELOCK_FREE,
    FILELOCK_ALIVE,  /* its process is alive on this host */
    FILELOCK_DEAD,   /* it has ended, reaped or not: the next acquire breaks the lock */
    FILELOCK_UNKNOWN /* another host or time namespace, or the file does not say */
};

struct filelock_owner {
    enum filelock_state state;
    pid_t pid;      /* 0: unknown */
    char host[256]; /* "": unknown */
};

/* Who holds a soft lock, whoever it is. Returns 0; -EOPNOTSUPP for kind flock,
 * where lslocks(8) tells; -EMFILE, -ENFILE or -ENOMEM where too little is left to find
 * it out; -EISDIR, -ENOTDIR, -EACCES (a directory on the way may not be searched) or
 * what else stat(2) fails with. A file that may not be read is FILELOCK_UNKNOWN. */
int filelock_get_owner(struct filelock *lock, struct filelock_owner *ret);

/*
 * Removes a soft lock by hand, whoever holds it: for one that another host left
 * behind. Returns 0 (also when there is none), -EAGAIN when somebody else is
 * breaking it at this moment, -EOPNOTSUPP for kind flock, -ENXIO for what is not
 * a regular file (-EISDIR a directory, -ELOOP a symbolic link), -EMFILE or -ENFILE
 * (it takes up to four descriptors for a moment), or an error of open(2) or unlink(2).
 */
int filelock_break(struct filelock *lock);

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
