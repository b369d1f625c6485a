/*
 * What canonical_resolve (canonical.h) does where /proc is not mounted, as in
 * many chroots: the path is followed component by component, and put together
 * on the way. Slower, and bind mounts are not seen through; but the rules keep
 * their meaning.
 *
 * No allocation; errno untouched; safe in signal handlers and after fork.
 */
#ifndef AUTOLOCK_WALK_H
#define AUTOLOCK_WALK_H

#include "config/canonical.h"

/* As canonical_resolve, which has to have checked that `path` is neither empty
 * nor too long. -EOPNOTSUPP where the path is relative to another directory than
 * the working directory, whose own path nobody tells then. */
int walk_resolve(int dirfd, const char *path, bool follow, struct canonical *ret);

#endif
