/*
 * A library that is preloaded behind the shim, and so sees the real calls by which a
 * descriptor of ONLOOKER_FILE goes: whether its sidecar was still locked before and
 * after the call. A line each in `onlooker.log`: the call's name, and for either
 * moment `held` or `free`.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sys_linux.h"

#define EXPORT __attribute__((visibility("default")))

static bool is_it(int fd) {
    int saved = errno;
    struct stat one, other;
    const char *file = getenv("ONLOOKER_FILE");
    bool same = fd >= 0 && file && stat(file, &one) == 0 && fstat(fd, &other) == 0 &&
                one.st_dev == other.st_dev && one.st_ino == other.st_ino;
    errno = saved;
    return same;
}

/* By raw calls: the shim takes a flock(2) of its own process for a reference. */
static const char *state(void) {
    char sidecar[256];
    (void)snprintf(sidecar, sizeof(sidecar), "%s.lock", getenv("ONLOOKER_FILE"));
    int fd = sys_openat(AT_FDCWD, sidecar, O_RDWR | O_CLOEXEC, 0);
    bool is_held = fd >= 0 && sys_flock(fd, LOCK_EX | LOCK_NB) == -EWOULDBLOCK;
    (void)sys_close(fd);
    return is_held ? "held" : "free";
}

static void tell(const char *call, const char *before) {
    char line[64];
    int length = snprintf(line, sizeof(line), "%s %s %s\n", call, before, state());
    int fd = sys_openat(AT_FDCWD, "onlooker.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (SYS_CALL(SYS_write, fd, line, length, 0, 0, 0) != length) {
        _exit(35);
    }
    (void)sys_close(fd);
}

#define EDGE(type, name, parameters, arguments, number)                                            \
    EXPORT type name parameters;                                                                   \
    EXPORT type name parameters {                                                                  \
        type(*next) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                      \
        if (!is_it(number)) {                                                                      \
            return next arguments;                                                                 \
        }                                                                                          \
        const char *before = state();                                                              \
        type result = next arguments;                                                              \
        int saved = errno;                                                                         \
        tell(#name, before);                                                                       \
        errno = saved;                                                                             \
        return result;                                                                             \
    }

EDGE(int, close, (int fd), (fd), fd)
EDGE(int, __close, (int fd), (fd), fd)
EDGE(int, dup2, (int from, int to), (from, to), to)
EDGE(int, __dup2, (int from, int to), (from, to), to)
EDGE(int, dup3, (int from, int to, int flags), (from, to, flags), to)
EDGE(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags), (int)first)
EDGE(int, fclose, (FILE * stream), (stream), fileno(stream))
EDGE(FILE *, freopen, (const char *path, const char *mode, FILE *stream), (path, mode, stream),
     fileno(stream))
