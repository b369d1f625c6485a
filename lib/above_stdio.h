/*
 * Where a program has closed descriptors 0 to 2, the next file that is opened gets such
 * a number, and what the program then prints goes into it. A lock file may be
 * somebody's data (contract P1), and is not to stay there.
 *
 * No allocation; errno untouched; safe in threads and signal handlers.
 */
#ifndef FILELOCK_ABOVE_STDIO_H
#define FILELOCK_ABOVE_STDIO_H

#include <errno.h>

#include "lib/sys_linux.h"

/* The same file by a number above 2, close-on-exec: fd itself where it is such a one; or
 * -EMFILE. fd stays open. */
static inline int above_stdio_too(int fd) {
    if (fd > 2) {
        return fd;
    }
    int above = sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return above == -EINVAL ? -EMFILE : above; /* the limit is 3, or less */
}

/* The same, and fd closed where it is not such a one. A negative errno value is handed
 * through. */
static inline int above_stdio(int fd) {
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int above = above_stdio_too(fd);
    (void)sys_close(fd);
    return above;
}

#endif
