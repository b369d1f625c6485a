/*
 * Where a program has closed descriptors 0 to 2, the next file that is opened gets such
 * a number, and what the program then prints goes into it. A lock file may be
 * somebody's data (contract P1), and is not to stay there.
 *
 * No allocation; errno untouched; safe in threads and signal handlers.
 */
#ifndef FILELOCK_ABOVE_STDIO_H
#define FILELOCK_ABOVE_STDIO_H

#include "lib/sys_linux.h"

/* The same file by a number above 2, close-on-exec, and fd closed: fd itself where it
 * is such a one. A negative errno value is handed through, or -EMFILE. */
static inline int above_stdio(int fd) {
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int above = sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    (void)sys_close(fd);
    return above;
}

#endif
