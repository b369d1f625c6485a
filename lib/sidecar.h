/*
 * The lock file on disk: opening, making and checking it (contract P1, P2).
 *
 * The protocol is the one of py-filelock's FileLock and of flock(1): flock(2)
 * on a regular file that is never written. Somebody may replace or unlink it
 * (py-filelock 3.20.4 to 3.29.4 unlink it at each release), so that whoever
 * has locked it must see that the path still leads to what was locked.
 *
 * No allocation; errno untouched; safe in threads and signal handlers.
 */
#ifndef FILELOCK_SIDECAR_H
#define FILELOCK_SIDECAR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/hand_over.h"

struct sys_stat;

/* Which file it is, as long as somebody has it open. */
struct sidecar_id {
    uint64_t device; /* major << 32 | minor */
    uint64_t inode;
};

struct sidecar_id sidecar_id_of(const struct sys_stat *stat);
/* Whether fd is a descriptor of that one. */
bool sidecar_is(int fd, struct sidecar_id id);
bool sidecar_same(struct sidecar_id a, struct sidecar_id b);

/* How a sidecar is made where it is missing. */
enum sidecar_making {
    SIDECAR_NEVER,      /* it is not: -ENOENT */
    SIDECAR_PLAIN,      /* mode 0666 less the umask, as any file */
    SIDECAR_LIKE_DATA,  /* for those who may read or write *data, and its owner */
    SIDECAR_LIKE_FUTURE /* for those who could read or write a file that was
                           made now with data->mode (the umask still to come);
                           last accessed at data->atime */
};

/*
 * Opens `name` in `dirfd` (as openat(2)) for flock: close-on-exec, no link
 * followed, never truncated. Read-only where it cannot be opened for writing,
 * which is enough on a local file system. Made as `making` says; `data` is what
 * it is made like, or NULL.
 * Returns 0, the descriptor (the caller's) and the identity; or -ENXIO for what
 * is not a regular file (-EISDIR a directory, -ELOOP a link), or what open(2)
 * fails with.
 */
int sidecar_open(int dirfd, const char *name, enum sidecar_making making,
                 const struct sys_stat *data, int *ret_fd, struct sidecar_id *ret_id);

/*
 * The data file has been given to somebody, or to more, since the sidecar was made
 * (chown, chmod): without that owner and mode the sidecar would keep them out for
 * ever. Called at each open. What root's is, or the data file's owner's, root sets
 * right; anybody else what is his own, as far as he may.
 * Only where the sidecar is a lock file beyond doubt: empty, with one name. One that
 * lets in more than need be is left so. fd is a descriptor of it (a regular file),
 * locked or not.
 */
void sidecar_follow(int fd, const struct sys_stat *sidecar, const struct sys_stat *data);

/* The same after such a call of this process, or a rename: where the sidecar has a mode
 * of our making, and the file is not for all of those any more, they cannot lock it
 * either. What they have open stays so. */
void sidecar_follow_change(int fd, const struct sys_stat *sidecar, const struct sys_stat *data);

/*
 * Whether the path still leads to what was opened as `fd` and is `id`: to be
 * asked once it is locked. Returns 1, or 0 for "start again", or a negative
 * errno value.
 */
HAND_OVER int sidecar_is_current(int dirfd, const char *name, int fd, struct sidecar_id id);

/*
 * How often to start again at once when somebody has replaced it. Whoever is woken by
 * one who unlinks it at each release, and takes it again, comes too late each time: so
 * there is a pause before each further attempt, after which he comes at another moment,
 * for as long as the caller waits.
 */
#define SIDECAR_AT_ONCE 50

/* How often in all, where the caller does not wait: then -ESTALE. */
#define SIDECAR_ATTEMPTS 1000

#endif
