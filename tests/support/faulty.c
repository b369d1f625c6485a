/*
 * A library that is preloaded behind the shim, in which one function of libc fails
 * for files that end in .csv: FAULT="NAME ERRNO", as "openat 24". What fails is the
 * real call, once the shim has the lock.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Whether this call is to fail; errno says how. */
static bool fails(const char *function, const char *path) {
    const char *fault = getenv("FAULT");
    size_t length = strlen(function), end = strlen(path);
    if (!fault || strncmp(fault, function, length) != 0 || fault[length] != ' ' || end < 4 ||
        strcmp(path + end - 4, ".csv") != 0) {
        return false;
    }
    errno = atoi(fault + length + 1);
    return true;
}

#define NEXT(name) dlsym(RTLD_NEXT, name)

typedef int openat_function(int directory, const char *path, int flags, ...);
typedef FILE *fopen_function(const char *path, const char *mode);

static int openat_any(const char *name, int directory, const char *path, int flags, va_list more) {
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    return fails("openat", path) ? -1
                                 : ((openat_function *)NEXT(name))(directory, path, flags, mode);
}

#define OPENAT(name)                                                                               \
    EXPORT int name(int directory, const char *path, int flags, ...) {                             \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        int fd = openat_any(#name, directory, path, flags, more);                                  \
        va_end(more);                                                                              \
        return fd;                                                                                 \
    }
OPENAT(openat)
OPENAT(openat64)

/* There for the shim to see that open is not libc's. */
#define OPEN(name, at)                                                                             \
    EXPORT int name(const char *path, int flags, ...) {                                            \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        int fd = openat_any(at, AT_FDCWD, path, flags, more);                                      \
        va_end(more);                                                                              \
        return fd;                                                                                 \
    }
OPEN(open, "openat")
OPEN(open64, "openat64")

EXPORT FILE *fopen(const char *path, const char *mode) {
    return fails("fopen", path) ? NULL : ((fopen_function *)NEXT("fopen"))(path, mode);
}

/* Of every file: fdopen is told no name, and the puppet uses it for nothing else. */
EXPORT FILE *fdopen(int fd, const char *mode) {
    return fails("fdopen", ".csv") ? NULL
                                   : ((FILE * (*)(int, const char *)) NEXT("fdopen"))(fd, mode);
}

/* One that fails has closed the stream. */
EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream) {
    if (path && fails("freopen", path)) {
        int saved = errno;
        (void)((FILE * (*)(const char *, const char *, FILE *)) NEXT("freopen"))("", mode, stream);
        errno = saved;
        return NULL;
    }
    return ((FILE * (*)(const char *, const char *, FILE *)) NEXT("freopen"))(path, mode, stream);
}
