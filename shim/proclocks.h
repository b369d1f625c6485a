/*
 * What /proc tells about locks (proc(5), /proc/locks and /proc/PID/fdinfo).
 *
 * The pid in these lists is that of whoever called flock(2), who may have ended
 * since. Who has the lock is told by the descriptors that lead to it: a lock
 * shows in the fdinfo of each.
 *
 * /proc/locks names only locks of processes that this /proc shows (a pid
 * namespace has its own). Reading it stops all lockers of the machine for a
 * moment: only when a lock was found taken, and then rarely. Thread-, fork- and
 * signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_PROCLOCKS_H
#define AUTOLOCK_PROCLOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the kernel names a file in its lists of locks, "fe:00:1234"; or a record lock of
 * an open file description on it, by the first byte: "fe:00:1234 4096". */
struct lock_key {
    char text[56];
};

bool lock_key_same(const struct lock_key *a, const struct lock_key *b);

/* The key of an open file. Its device is the one of mountinfo, which is not
 * always the one of stat(2) (overlayfs, btrfs). */
bool proclocks_key(int fd, struct lock_key *ret);

/* Of a file's key that of such a record lock. */
struct lock_key proclocks_range_key(const struct lock_key *file, int64_t start);

/* One flock, or record lock of an open file description. */
struct lock_line {
    bool waits; /* for it, in the queue */
    bool exclusive;
    bool range;
    int64_t start; /* the first byte of a record lock */
    pid_t pid;     /* who called flock; -1 for a record lock */
    struct lock_key key;
};
typedef bool lock_visitor(const struct lock_line *line, void *data);

/* All such locks of the machine and those who wait, until visit() returns true. Where they
 * fill more than a page, some that are there all the time can be missed: the kernel goes on
 * where it stopped by counting, and others before that may have ended meanwhile.
 * Returns as proclines_each. */
int proclocks_each(lock_visitor *visit, void *data);

/* The locks that a process has through its descriptors (pid 0: this one), until
 * visit() returns true. -EACCES where they may not be seen. */
typedef bool descriptor_visitor(int fd, const struct lock_line *line, void *data);
int proclocks_of_process(pid_t pid, descriptor_visitor *visit, void *data);

/* How a process has the file locked through a descriptor that it has open. */
enum lock_how { LOCK_NOT_OPEN, LOCK_IS_SHARED, LOCK_IS_EXCLUSIVE };

/* Whether visit() says so of one of the locks that this process has through fd. */
bool proclocks_descriptor_has(int fd, descriptor_visitor *visit, void *data);

/* How this descriptor of ours is locked by flock. */
enum lock_how proclocks_of_descriptor(int fd);

/* The same for one file; numbers for which `skip` says so are passed over. */
enum lock_how proclocks_find(pid_t pid, const struct lock_key *key, bool (*skip)(int fd),
                             int *ret_fd);

/* Whom /proc/locks names for this file; 0 when it names nobody. */
pid_t proclocks_owner(const struct lock_key *key);

/* Whether another process has the file locked by flock, through a description of ours
 * perhaps. True where it cannot be told. Looks through all that may be looked at. */
bool proclocks_is_elsewhere(const struct lock_key *key);

/* A process that has the file locked, found by looking through all that may be
 * looked at (some milliseconds); 0 for none. */
pid_t proclocks_holder(const struct lock_key *key);

#endif
