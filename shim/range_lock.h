/*
 * Record locks of an open file description (fcntl(2), F_OFD_SETLK) on bytes far
 * behind the end of a file, where nobody has any of his own. The kernel keeps them
 * apart from flock(2), except on network file systems.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_RANGE_LOCK_H
#define AUTOLOCK_RANGE_LOCK_H

#include <fcntl.h>
#include <stdint.h>

#include "lib/sys_linux.h"

/* No file is that long. On a sidecar: marks of writers that wait (turn.h) from here
 * on, and before them what tells who is let in together (pair.h). */
#define RANGE_MARKS (INT64_C(1) << 61)

#ifdef SYS_fcntl64
#define SYS_RANGE_LOCK SYS_fcntl64
#else
#define SYS_RANGE_LOCK SYS_fcntl
#endif

/* command: F_OFD_SETLK or F_OFD_GETLK; type: F_RDLCK, F_WRLCK, F_UNLCK. Returns 0
 * or a negative errno value; *ret is what fcntl has made of the request. */
static inline int range_lock(int fd, int command, short type, int64_t start, int64_t length,
                             struct flock64 *ret) {
    *ret = (struct flock64){
        .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length, .l_pid = 0};
    return (int)SYS_CALL(SYS_RANGE_LOCK, fd, command, ret, 0, 0, 0);
}

#endif
