/*
 * A library that is preloaded in front of the shim and has the process's malloc: it
 * notes in `strict.log` which of malloc's functions are called while a call that has
 * to be async-signal-safe, as open and close, is under way. The C library calls none
 * there.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/sys_linux.h"

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void __libc_free(void *memory);

static __thread const char *under_way __attribute__((tls_model("initial-exec")));

static void note(const char *function) {
    if (!under_way) {
        return;
    }
    int fd = sys_openat(AT_FDCWD, "strict.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    (void)sys_write(fd, under_way, strlen(under_way));
    (void)sys_write(fd, " calls ", 7);
    (void)sys_write(fd, function, strlen(function));
    (void)sys_write(fd, "\n", 1);
    (void)sys_close(fd);
}

EXPORT void *malloc(size_t size) {
    note("malloc");
    return __libc_malloc(size);
}
EXPORT void *calloc(size_t count, size_t size) {
    note("calloc");
    return __libc_calloc(count, size);
}
EXPORT void *realloc(void *memory, size_t size) {
    note("realloc");
    return __libc_realloc(memory, size);
}
EXPORT void free(void *memory) {
    note("free");
    __libc_free(memory);
}

#define FUNCTIONS(X)                                                                               \
    X(open) X(openat) X(creat) X(close) X(dup) X(dup2) X(dup3) X(fcntl) X(fork) X(rename) X(unlink)

#define PLACE(name) static void *next_##name;
FUNCTIONS(PLACE)

__attribute__((constructor)) static void find(void) {
#define FIND(name) next_##name = dlsym(RTLD_NEXT, #name);
    FUNCTIONS(FIND)
}

#define EDGE(type, name, parameters, types, arguments)                                             \
    EXPORT type name parameters {                                                                  \
        if (!next_##name) {                                                                        \
            find();                                                                                \
        }                                                                                          \
        const char *before = under_way;                                                            \
        under_way = #name;                                                                         \
        type result = ((type(*) types)next_##name)arguments;                                       \
        under_way = before;                                                                        \
        return result;                                                                             \
    }

EDGE(int, close, (int fd), (int), (fd))
EDGE(int, dup, (int fd), (int), (fd))
EDGE(int, dup2, (int from, int to), (int, int), (from, to))
EDGE(int, dup3, (int from, int to, int flags), (int, int, int), (from, to, flags))
EDGE(int, creat, (const char *path, mode_t mode), (const char *, mode_t), (path, mode))
EDGE(pid_t, fork, (void), (void), ())
EDGE(int, rename, (const char *from, const char *to), (const char *, const char *), (from, to))
EDGE(int, unlink, (const char *path), (const char *), (path))

EXPORT int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (!next_open) {
        find();
    }
    const char *before = under_way;
    under_way = "open";
    int result = ((int (*)(const char *, int, ...))next_open)(path, flags, mode);
    under_way = before;
    return result;
}

EXPORT int openat(int directory, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (!next_openat) {
        find();
    }
    const char *before = under_way;
    under_way = "openat";
    int result = ((int (*)(int, const char *, int, ...))next_openat)(directory, path, flags, mode);
    under_way = before;
    return result;
}

EXPORT int fcntl(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (!next_fcntl) {
        find();
    }
    const char *before = under_way;
    under_way = "fcntl";
    int result = ((int (*)(int, int, ...))next_fcntl)(fd, command, argument);
    under_way = before;
    return result;
}
