/*
 * Sidecars that a program gets for its own. Who copies a directory with lock files in
 * it (cp -r) makes first b/x.csv, and with it we b/x.csv.lock, and then wants to make
 * b/x.csv.lock as well, as a new file: without help that fails with EEXIST.
 *
 * So a sidecar that we make together with a file is marked, by the time of its last
 * access. The process that made it may "make" it once, as long as nobody holds it; it
 * stays the same file. To all others it is there, so that a lock by existence
 * excludes as ever.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_HANDED_H
#define AUTOLOCK_HANDED_H

#include <stdbool.h>

#include "lib/sys_linux.h"

/* For a sidecar that is about to be made. */
struct sys_stat_time handed_mark(void);

/* Whether an open with these flags, which has failed with EEXIST, may have the file
 * that is there: then it is not marked any more. */
bool handed_over(int dirfd, const char *path, int flags);

#endif
