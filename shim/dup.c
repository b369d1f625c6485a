/*
 * dup, dup2, dup3 and fcntl: a copy of a locked file's descriptor is a
 * reference like the first (contract H3). The new twin is there before the copy
 * is, so that a thread that closes the original meanwhile releases nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/wrap.h"

/* A copy to whatever number is free has come back as `fd`, or -1. */
static int copied(int fd, int twin, bool close_on_exec) {
    int saved = errno;
    if (fd >= 0) {
        reference_set(fd, twin, close_on_exec);
        say_number_duplicated(fd);
    } else {
        hold_drop(twin);
    }
    errno = saved;
    return fd;
}

int wrap_dup(int fd) {
    int twin = reference_another_twin(table_get(fd));
    return copied(real.dup(fd), twin, false);
}

/* Before a copy onto the number `to`: makes way there. */
static int before_copy_onto(int from, int to) {
    if (from == to) {
        return -1;
    }
    hidden_move_away(to);
    return reference_another_twin(table_get(from));
}

/* After it: what `to` was is closed, and its reference goes. */
static int after_copy_onto(int from, int to, int twin, int result, bool close_on_exec) {
    return from == to ? result : copied(result, twin, close_on_exec);
}

int wrap_dup2(int from, int to) {
    int twin = before_copy_onto(from, to);
    return after_copy_onto(from, to, twin, real.dup2(from, to), false);
}

int wrap_dup3(int from, int to, int flags) {
    int twin = before_copy_onto(from, to);
    return after_copy_onto(from, to, twin, real.dup3(from, to, flags), flags & O_CLOEXEC);
}

#ifdef __GLIBC__
int wrap___dup2(int from, int to) {
    int twin = before_copy_onto(from, to);
    return after_copy_onto(from, to, twin, real.__dup2(from, to), false);
}
#endif

typedef int real_fcntl(int fd, int command, ...);

static int fcntl_any(int fd, int command, void *argument, real_fcntl *call) {
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
        int twin = reference_another_twin(table_get(fd));
        return copied(call(fd, command, argument), twin, command == F_DUPFD_CLOEXEC);
    }
    case F_SETFD: {
        int result = call(fd, command, argument);
        if (result == 0) {
            reference_close_on_exec(fd, (long)argument & FD_CLOEXEC);
        }
        return result;
    }
    default:
        return call(fd, command, argument);
    }
}

/* Every command takes one word or none; libc itself reads it as a pointer. */
#define ARGUMENT(last)                                                                             \
    va_list more;                                                                                  \
    va_start(more, last);                                                                          \
    void *argument = va_arg(more, void *);                                                         \
    va_end(more);

int wrap_fcntl(int fd, int command, ...) {
    ARGUMENT(command)
    return fcntl_any(fd, command, argument, real.fcntl);
}

#ifdef __GLIBC__
int wrap_fcntl64(int fd, int command, ...) {
    ARGUMENT(command)
    return fcntl_any(fd, command, argument, real.fcntl64);
}

int wrap___fcntl(int fd, int command, ...) {
    ARGUMENT(command)
    return fcntl_any(fd, command, argument, real.__fcntl);
}
#endif
