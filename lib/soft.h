/*
 * Soft locks: the existence of the file is the lock (contract P3).
 *
 * For hosts that share a file system whose flock does not reach across. The
 * file says who made it ("PID\nHOST\nSTART TOKEN\n"), so that one whose maker is
 * gone can be told from one that is held. In doubt it is held.
 *
 * Paths are as in openat(2). Descriptors are close-on-exec. No allocation, no
 * stdio, little stack; safe in threads and signal handlers; errno untouched.
 */
#ifndef FILELOCK_SOFT_H
#define FILELOCK_SOFT_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/sidecar.h"
#include "lib/soft_text.h"

/* Makes the marker, whole, with mode 0666 less the umask, and `mode` in any case.
 * Returns 0 with its descriptor and identity; -EEXIST when there is one; or an
 * error, after which none of ours is left. */
int soft_make(int dirfd, const char *path, const struct soft_text *text, unsigned mode, int *ret_fd,
              struct sidecar_id *ret_id);

/* Removes the marker that was made as `fd`, also where the path no longer leads to
 * it (chdir(2)), but never another file. Returns 0, or -ESTALE when somebody else has
 * taken it away before; or an error of unlink(2), or -ENOENT: it is still there, but
 * not where we could find it. */
int soft_unlink(int dirfd, const char *path, int fd);

/* The same with fd closed where it returns 0 or -ESTALE; after an error all is as
 * before. */
int soft_remove(int dirfd, const char *path, int fd);

/* The same for who cannot try again: fd is closed in any case. */
void soft_abandon(int dirfd, const char *path, int fd);

/* Who holds it. *ret_id is set unless it is free. Whatever has the name, even a
 * link, is held; but -EISDIR for a directory. Returns 0 or an error. */
int soft_judge(int dirfd, const char *path, struct soft_owner *ret, struct sidecar_id *ret_id);

/* The marker for reading, without being caught by what else has the name; and what
 * its file says, where a descriptor below 0 is one that cannot be read. Returns 0; or
 * -EMFILE, -ENFILE, -ENOMEM, which say nothing of the marker. */
int soft_open(int dirfd, const char *path);
int soft_read(int fd, struct soft_owner *ret);

#endif
