/*
 * open and its relatives: one edge for each, all to the same opening.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "shim/handed.h"
#include "shim/open.h"
#include "shim/real.h"
#include "shim/start.h"
#include "shim/wrap.h"

static int finish(int result) {
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

static int call_plain(const struct opening *opening, real_call *call) {
    int fd = call(opening);
    opening_plain(fd);
    return fd;
}

static int open_once(struct opening opening, real_call *call) {
    int fd = opening_try(&opening);
    if (fd != OPENING_LOOK) {
        return finish(fd);
    }
    switch (opening_begin(&opening)) {
    case OPENING_LOCKED:
        fd = opening_finish(&opening);
        return fd == OPENING_LOOK ? call_plain(&opening, call) : finish(fd);
    case OPENING_FAILED:
        return finish(-opening.error);
    default:
        return call_plain(&opening, call);
    }
}

int open_any(struct opening opening, real_call *call) {
    if (!shim_is_active()) {
        return call(&opening);
    }
    int saved = errno;
    int fd = open_once(opening, call);
    if (fd < 0 && errno == EEXIST && handed_over(opening.dirfd, opening.path, opening.flags)) {
        errno = saved;
        opening.flags &= ~(O_CREAT | O_EXCL);
        fd = open_once(opening, call);
    }
    return fd;
}

/* The mode is there only if the call makes a file (open(2)). */
#define MODE_ARGUMENT(flags)                                                                       \
    mode_t mode = 0;                                                                               \
    if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) {                                     \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = (mode_t)va_arg(more, unsigned);                                                     \
        va_end(more);                                                                              \
    }

static int real_open(const struct opening *o) {
    return real.open(o->path, o->flags, o->mode);
}
int wrap_open(const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(AT_FDCWD, path, flags, mode), real_open);
}

static int real_open64(const struct opening *o) {
    return real.open64(o->path, o->flags, o->mode);
}
int wrap_open64(const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(AT_FDCWD, path, flags, mode), real_open64);
}

static int real_openat(const struct opening *o) {
    return real.openat(o->dirfd, o->path, o->flags, o->mode);
}
int wrap_openat(int dirfd, const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(dirfd, path, flags, mode), real_openat);
}

static int real_openat64(const struct opening *o) {
    return real.openat64(o->dirfd, o->path, o->flags, o->mode);
}
int wrap_openat64(int dirfd, const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(dirfd, path, flags, mode), real_openat64);
}

#define CREAT_FLAGS (O_CREAT | O_WRONLY | O_TRUNC)

static int real_creat(const struct opening *o) {
    return real.creat(o->path, o->mode);
}
int wrap_creat(const char *path, mode_t mode) {
    return open_any(OPENING(AT_FDCWD, path, CREAT_FLAGS, mode), real_creat);
}

static int real_creat64(const struct opening *o) {
    return real.creat64(o->path, o->mode);
}
int wrap_creat64(const char *path, mode_t mode) {
    return open_any(OPENING(AT_FDCWD, path, CREAT_FLAGS, mode), real_creat64);
}

#ifdef __GLIBC__

static int real___open(const struct opening *o) {
    return real.__open(o->path, o->flags, o->mode);
}
int wrap___open(const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(AT_FDCWD, path, flags, mode), real___open);
}

static int real___open64(const struct opening *o) {
    return real.__open64(o->path, o->flags, o->mode);
}
int wrap___open64(const char *path, int flags, ...) {
    MODE_ARGUMENT(flags)
    return open_any(OPENING(AT_FDCWD, path, flags, mode), real___open64);
}

/* The fortified forms have no mode and end the program where one is needed;
 * that stays libc's to say. */
static bool lacks_mode(int flags) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

static int real___open_2(const struct opening *o) {
    return real.__open_2(o->path, o->flags);
}
int wrap___open_2(const char *path, int flags) {
    return lacks_mode(flags) ? real.__open_2(path, flags)
                             : open_any(OPENING(AT_FDCWD, path, flags, 0), real___open_2);
}

static int real___open64_2(const struct opening *o) {
    return real.__open64_2(o->path, o->flags);
}
int wrap___open64_2(const char *path, int flags) {
    return lacks_mode(flags) ? real.__open64_2(path, flags)
                             : open_any(OPENING(AT_FDCWD, path, flags, 0), real___open64_2);
}

static int real___openat_2(const struct opening *o) {
    return real.__openat_2(o->dirfd, o->path, o->flags);
}
int wrap___openat_2(int dirfd, const char *path, int flags) {
    return lacks_mode(flags) ? real.__openat_2(dirfd, path, flags)
                             : open_any(OPENING(dirfd, path, flags, 0), real___openat_2);
}

static int real___openat64_2(const struct opening *o) {
    return real.__openat64_2(o->dirfd, o->path, o->flags);
}
int wrap___openat64_2(int dirfd, const char *path, int flags) {
    return lacks_mode(flags) ? real.__openat64_2(dirfd, path, flags)
                             : open_any(OPENING(dirfd, path, flags, 0), real___openat64_2);
}

#endif
