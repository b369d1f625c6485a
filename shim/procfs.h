/*
 * What /proc tells about locks and the processes that have them (proc(5)).
 *
 * No malloc, no stdio; descriptors are closed before each function returns.
 * Only used when a lock is found taken. Where /proc is missing, or hides other
 * users' processes, the answers are "unknown".
 */
#ifndef AUTOLOCK_PROCFS_H
#define AUTOLOCK_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the kernel names a file in its lists of locks: " fe:00:1234 ". */
struct lock_key {
    char text[48];
};

/* The key of an open file. Its device is the one of mountinfo, which is not
 * always the one of stat(2) (overlayfs, btrfs). */
bool procfs_lock_key(int fd, struct lock_key *ret);

/* How a process has the file locked through a descriptor that it has open. */
enum procfs_lock { LOCK_NOT_OPEN, LOCK_IS_SHARED, LOCK_IS_EXCLUSIVE };

/* Looks through the descriptors of a process (0: this one) for one that has
 * the flock `key`; numbers for which `skip` says so are passed over. */
enum procfs_lock procfs_find_locked(pid_t pid, const struct lock_key *key, bool (*skip)(int fd),
                                    int *ret_fd);

/* The parent of a process; 0 when there is none or it is unknown. */
pid_t procfs_parent(pid_t pid);

/* Children of a process; -1 unknown. */
int procfs_count_children(pid_t pid);

/* Whether all threads of a process are asleep; *ret_switches is a sum over
 * them that changes whenever one of them has run meanwhile. */
bool procfs_is_asleep(pid_t pid, uint64_t *ret_switches);

/* Whom /proc/locks names as the owner of the flock; 0 when unknown. It is who
 * called flock, which may have ended since. */
pid_t procfs_lock_owner(const struct lock_key *key);

/* Name, state letter and user of a process. False when it is gone. */
bool procfs_describe(pid_t pid, char ret_name[32], char *ret_state, unsigned *ret_uid);

#endif
