/*
 * Opening by a descriptor number, whichever function of libc is the edge:
 * open.c, temporary.c, syscall.c.
 */
#ifndef AUTOLOCK_OPEN_H
#define AUTOLOCK_OPEN_H

#include "shim/opening.h"

/* The call as it was made, so that what is not ours goes to the very function
 * that was meant (another preloaded library may wrap that one alone). */
typedef int real_call(const struct opening *opening);

/* A descriptor; or -1 and errno. */
int open_any(struct opening opening, real_call *call);

#define OPENING(dirfd_, path_, flags_, mode_)                                                      \
    (struct opening) {                                                                             \
        .dirfd = (dirfd_), .path = (path_), .flags = (flags_), .mode = (mode_)                     \
    }

#endif
