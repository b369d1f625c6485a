/*
 * Paths that are canonical as they are written, should no link be on the way.
 *
 * openat2(2) can refuse to follow links, so that nothing has to be resolved to
 * know where such a path leads: it costs no system call, or one where it is
 * relative. Who uses the answer must open with RESOLVE_NO_SYMLINKS.
 *
 * No allocation; errno untouched; safe in signal handlers and after fork.
 */
#ifndef AUTOLOCK_PLAIN_PATH_H
#define AUTOLOCK_PLAIN_PATH_H

#include <stddef.h>

/*
 * The canonical path, if no link is on the way: `path` itself, or, for a
 * relative one, what was put together in `room` (size bytes). NULL where it
 * cannot be told by the text (it has "." or ".." in it, a doubled or a trailing
 * slash, or is relative to another directory than the working one).
 */
const char *plain_path(int dirfd, const char *path, char *room, size_t size);

#endif
