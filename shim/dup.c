/*
 * dup, dup2, dup3, fcntl and ioctl: a copy of a locked file's descriptor is a
 * reference like the first (contract H3). The new twin is there before the copy
 * is, so that a thread that closes the original meanwhile releases nothing; and
 * both come behind the gate, so that no child of a fork has one of them alone.
 *
 * Hidden descriptors are not there for the program: what it says of their
 * flags is heard, and not done (loops that set close-on-exec everywhere would
 * end the hold of standard output at exec).
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "shim/dup.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/sibling.h"
#include "shim/wrap.h"

static bool is_data(int fd) {
    return table_kind(table_get(fd)) == TABLE_DATA;
}

/* A copy in the making. */
struct copy {
    struct gate gate;
    int twin; /* for it; -1 */
};

static struct copy copy_begin(int from) {
    struct copy copy = {.gate = {.entered = false}, .twin = -1};
    if (is_data(from)) {
        copy.gate = gate_enter();
        copy.twin = reference_another_twin(from);
    }
    return copy;
}

/* It has come back as `fd`, or -1. */
static int copy_end(struct copy copy, int fd, bool close_on_exec) {
    if (fd >= 0) {
        reference_set(fd, copy.twin, close_on_exec);
        say_number_duplicated(fd);
    } else {
        hold_drop(copy.twin);
    }
    gate_leave(copy.gate);
    return fd;
}

int dup_any(int fd, int (*call)(int fd)) {
    struct copy copy = copy_begin(fd);
    return copy_end(copy, call(fd), false);
}

int wrap_dup(int fd) {
    return dup_any(fd, real.dup);
}

/* The number for the twin may be just the one that the copy is to have. */
static int twin_elsewhere(int from, int twin, int to) {
    if (twin < 0 || twin != to) {
        return twin;
    }
    int other = reference_another_twin(from);
    hold_drop(twin);
    return other;
}

/* A copy onto the number `to`, which may be one of ours: makes way there. What
 * the number was is closed by the copy, and its reference goes after it. */
static struct copy copy_begin_onto(int from, int to) {
    struct copy copy = {.gate = {.entered = false}, .twin = -1};
    if (from != to) {
        hidden_move_away(to);
        copy = copy_begin(from);
        copy.twin = twin_elsewhere(from, copy.twin, to);
        if (!copy.gate.entered && is_data(to)) {
            copy.gate = gate_enter();
        }
    }
    return copy;
}

static int copy_end_onto(struct copy copy, int from, int to, int result, bool close_on_exec) {
    return from == to ? result : copy_end(copy, result, close_on_exec);
}

int dup2_any(int from, int to, int (*call)(int from, int to)) {
    struct copy copy = copy_begin_onto(from, to);
    return copy_end_onto(copy, from, to, call(from, to), false);
}

int wrap_dup2(int from, int to) {
    return dup2_any(from, to, real.dup2);
}

int dup3_any(int from, int to, int flags, int (*call)(int from, int to, int flags)) {
    struct copy copy = copy_begin_onto(from, to);
    return copy_end_onto(copy, from, to, call(from, to, flags), flags & O_CLOEXEC);
}

int wrap_dup3(int from, int to, int flags) {
    return dup3_any(from, to, flags, real.dup3);
}

#ifdef __GLIBC__
int wrap___dup2(int from, int to) {
    return dup2_any(from, to, real.__dup2);
}
#endif

int fcntl_any(int fd, int command, void *argument, real_fcntl *call) {
    bool hidden = hidden_is_here(fd);
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
        struct copy copy = copy_begin(fd);
        return copy_end(copy, call(fd, command, argument), command == F_DUPFD_CLOEXEC);
    }
    case F_GETFD: {
        int result = call(fd, command, argument);
        return hidden && result >= 0 ? FD_CLOEXEC : result;
    }
    case F_SETFD: {
        if (hidden) {
            return 0;
        }
        int result = call(fd, command, argument);
        if (result == 0) {
            reference_close_on_exec(fd, (long)argument & FD_CLOEXEC);
        }
        return result;
    }
#if defined F_SETLK64 && F_SETLK64 != F_SETLK
    case F_SETLK64:
    case F_SETLKW64:
#endif
    case F_SETLK:
    case F_SETLKW: {
        sibling_yield(fd);
        int result = call(fd, command, argument);
        if (result == 0) { /* the type is where all forms of the structure have it */
            record_changed(fd, ((const struct flock *)argument)->l_type == F_UNLCK);
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

/* The other way to set close-on-exec (Python's). */
int wrap_ioctl(int fd, IOCTL_REQUEST request, ...) {
    ARGUMENT(request)
    if (request != FIOCLEX && request != FIONCLEX) {
        return real.ioctl(fd, request, argument);
    }
    if (hidden_is_here(fd)) {
        return 0;
    }
    int result = real.ioctl(fd, request, argument);
    if (result == 0) {
        reference_close_on_exec(fd, request == FIOCLEX);
    }
    return result;
}
