/*
 * Breaking soft locks: removing a marker that another has left (contract P3).
 *
 * No allocation, no stdio, little stack; safe in threads and signal handlers; errno
 * untouched.
 */
#ifndef FILELOCK_SOFT_BREAK_H
#define FILELOCK_SOFT_BREAK_H

#include <stdbool.h>

/*
 * Removes the marker (a path as in openat(2)), if it is stale (only_stale), or whatever it is. It
 * changes places with one of ours (where the file system cannot: it is renamed over it), is
 * compared with what was judged, and then unlinked. One breaker at a time has it:
 * flock on the marker itself, which reaches all breakers since they are of the
 * host that it names. What breakers who were killed have left beside it goes too.
 * Returns 0 when it is gone or another has taken its place, -EAGAIN when somebody
 * else is breaking it, -ENXIO for what is not a regular file (-EISDIR a directory),
 * or an error.
 */
int soft_break(int dirfd, const char *path, bool only_stale);

#endif
