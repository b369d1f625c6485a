/*
 * fopen, freopen, fclose: streams are opened through a descriptor that is
 * locked first, and closed (with their flush) before the hold ends. popen only
 * makes pipes; but pclose closes whatever stream it is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "shim/flushing.h"
#include "shim/opening.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/soft.h"
#include "shim/start.h"
#include "shim/wrap.h"

/* glibc reads no more than so many characters of a mode, musl all. */
#ifdef __GLIBC__
#define MODE_LENGTH 7
#else
#define MODE_LENGTH SIZE_MAX
#endif

/* The flags of open(2) for a mode of fopen(3); -1 for one that libc is to
 * refuse itself. */
static int flags_of(const char *mode) {
    int flags;
    switch (*mode) {
    case 'r':
        flags = O_RDONLY;
        break;
    case 'w':
        flags = O_WRONLY | O_CREAT | O_TRUNC;
        break;
    case 'a':
        flags = O_WRONLY | O_CREAT | O_APPEND;
        break;
    default:
        return -1;
    }
    for (size_t i = 1; i < MODE_LENGTH && mode[i]; i++) {
        if (mode[i] == '+') {
            flags = (flags & ~O_ACCMODE) | O_RDWR;
        } else if (mode[i] == 'x') {
            flags |= O_EXCL;
        } else if (mode[i] == 'e') {
            flags |= O_CLOEXEC;
        }
    }
    return flags;
}

/* The mode of fdopen(3) that makes the same stream of the open file. Not the
 * one that fopen was given: glibc's fdopen reads fewer characters of it. */
static const char *fdopen_mode(int flags) {
    bool both = (flags & O_ACCMODE) == O_RDWR;
    if (flags & O_APPEND) {
        return both ? "a+" : "a";
    }
    return both ? "r+" : (flags & O_ACCMODE) == O_WRONLY ? "w" : "r";
}

/* glibc's fdopen knows neither "m" (map the file) nor "c" (no cancellation) nor
 * ",ccs=" (a character set) as fopen does. */
static bool needs_fopen(const char *mode) {
    return strchr(mode, 'm') || strchr(mode, 'c') || strchr(mode, ',');
}

/* glibc's fopen begins at the end of a file that it only appends to, where
 * ftell says so before anything is written. Returns 0 or an errno value. */
static int seek_as_fopen(int fd, int flags) {
#ifdef __GLIBC__
    if (flags & O_APPEND && (flags & O_ACCMODE) == O_WRONLY) {
        int r = sys_seek_end(fd);
        return r == -ESPIPE ? 0 : r;
    }
#else
    (void)fd, (void)flags;
#endif
    return 0;
}

/* fileno without its error for streams that have no descriptor. */
static int number_of(FILE *stream) {
    int saved = errno;
    int fd = stream ? fileno(stream) : -1;
    errno = saved;
    return fd;
}

/* It may have to be flushed at exit. */
static FILE *opened(FILE *stream) {
    if (soft_is_used()) {
        flushing_remember(stream);
    }
    return stream;
}

static FILE *stream_of(int fd, int flags) {
    int r = seek_as_fopen(fd, flags);
    FILE *stream = r < 0 ? NULL : real.fdopen(fd, fdopen_mode(flags));
    if (!stream) {
        int saved = r < 0 ? -r : errno;
        table_word word = table_get(fd);
        (void)real.close(fd);
        reference_drop(fd, word);
        errno = saved;
    }
    return opened(stream);
}

FILE *wrap_fdopen(int fd, const char *mode) {
    return opened(REAL(fdopen)(fd, mode));
}

#ifdef __GLIBC__
FILE *wrap__IO_fdopen(int fd, const char *mode) {
    return opened(REAL(_IO_fdopen)(fd, mode));
}
#endif

typedef FILE *real_fopen(const char *path, const char *mode);

static FILE *fopen_plain(const char *path, const char *mode, real_fopen *call) {
    FILE *stream = call(path, mode);
    opening_plain(number_of(stream));
    return opened(stream);
}

static FILE *fail_with(int error) {
    errno = error;
    return NULL;
}

static FILE *fopen_locked(struct opening *opening, const char *mode, real_fopen *call) {
    if (needs_fopen(mode)) {
        TEXT(name, TARGET_NAME_SIZE);
        FILE *stream = call(opening_name(opening, &name), mode);
        int saved = errno;
        opening_bind(opening, number_of(stream));
        errno = saved;
        return opened(stream);
    }
    int fd = opening_finish(opening);
    if (fd == OPENING_LOOK) {
        return fopen_plain(opening->path, mode, call);
    }
    return fd < 0 ? fail_with(-fd) : stream_of(fd, opening->flags);
}

static FILE *fopen_any(const char *path, const char *mode, real_fopen *call) {
    int flags = shim_is_active() && path && mode ? flags_of(mode) : -1;
    if (flags < 0) {
        return call(path, mode);
    }
    struct opening opening = {.dirfd = AT_FDCWD, .path = path, .flags = flags, .mode = 0666};
    int fd = needs_fopen(mode) ? OPENING_LOOK : opening_try(&opening);
    if (fd >= 0) {
        return stream_of(fd, flags);
    }
    if (fd != OPENING_LOOK) {
        return fail_with(-fd);
    }
    switch (opening_begin(&opening)) {
    case OPENING_LOCKED:
        return fopen_locked(&opening, mode, call);
    case OPENING_FAILED:
        return fail_with(opening.error);
    default:
        return fopen_plain(path, mode, call);
    }
}

FILE *wrap_fopen(const char *path, const char *mode) {
    return fopen_any(path, mode, real.fopen);
}

FILE *wrap_fopen64(const char *path, const char *mode) {
    return fopen_any(path, mode, real.fopen64);
}

#ifdef __GLIBC__
FILE *wrap__IO_fopen(const char *path, const char *mode) {
    return fopen_any(path, mode, real._IO_fopen);
}
#endif

/* A stream like any other, for tables such as /etc/fstab; libc opens it inside itself. */
static FILE *setmntent_any(const char *path, const char *mode) {
#ifdef __GLIBC__
    char whole[16];
    size_t length = strlen(mode);
    if (length > sizeof(whole) - sizeof("ce")) {
        return REAL(setmntent)(path, mode);
    }
    memcpy(whole, mode, length);
    memcpy(whole + length, "ce", sizeof("ce"));
    return fopen_any(path, whole, real.fopen);
#else
    return fopen_any(path, mode, real.fopen);
#endif
}

FILE *wrap_setmntent(const char *path, const char *mode) {
    return setmntent_any(path, mode);
}

#ifdef __GLIBC__
FILE *wrap___setmntent(const char *path, const char *mode) {
    return setmntent_any(path, mode);
}
#endif

typedef FILE *real_freopen(const char *path, const char *mode, FILE *stream);

/* The stream's descriptor keeps its number or not; what it was is closed. A
 * stream that could not be reopened is closed all the same (freopen(3)). */
static FILE *freopen_plain(const char *path, const char *mode, FILE *stream, real_freopen *call) {
    int fd = number_of(stream);
    table_word word = table_get(fd);
    FILE *result = call(path, mode, stream);
    int saved = errno;
    if (path || !result) {
        reference_drop(fd, word);
        if (result) { /* stderr sent elsewhere on purpose is still stderr */
            reference_heal(number_of(result));
            say_number_duplicated(number_of(result));
        }
    } else if (number_of(result) != fd) {
        int twin = reference_another_twin(fd);
        reference_drop(fd, word);
        reference_set(number_of(result), twin, false);
    }
    errno = saved;
    return result;
}

static FILE *freopen_any(const char *path, const char *mode, FILE *stream, real_freopen *call) {
    int flags = shim_is_active() && mode && stream ? flags_of(mode) : -1;
    int fd = number_of(stream);
    if (flags < 0 || (!path && fd < 0)) {
        return freopen_plain(path, mode, stream, call);
    }
    /* Without a path the stream's own file is opened again in another mode,
     * which may ask for more than it holds. */
    TEXT(own, 40);
    text_put_descriptor(&own, fd);
    struct opening opening = {.dirfd = AT_FDCWD, .path = path, .flags = flags, .mode = 0666};
    if (!path) {
        opening.path = own.start;
        opening.flags = flags & ~(O_CREAT | O_EXCL);
    }
    switch (opening_begin(&opening)) {
    case OPENING_FAILED: {
        if (!path && opening.error == ENOENT) { /* it has no name any more */
            return freopen_plain(path, mode, stream, call);
        }
        /* libc would close the stream and say why it cannot be opened; a name
         * that cannot be opened either lets it do so. */
        (void)freopen_plain("", mode, stream, call);
        return fail_with(opening.error);
    }
    case OPENING_LOCKED: {
        TEXT(name, TARGET_NAME_SIZE);
        table_word word = table_get(fd);
        FILE *result = call(path ? opening_name(&opening, &name) : NULL, mode, stream);
        int saved = errno;
        int number = number_of(result);
        if (number != fd) {
            reference_drop(fd, word);
        }
        opening_bind(&opening, number);
        errno = saved;
        return result;
    }
    default:
        return freopen_plain(path, mode, stream, call);
    }
}

/* glibc flushes it as one that has just been opened. */
static FILE *reopened(FILE *stream) {
#ifdef __GLIBC__
    return opened(stream);
#else
    return stream;
#endif
}

FILE *wrap_freopen(const char *path, const char *mode, FILE *stream) {
    return reopened(freopen_any(path, mode, stream, real.freopen));
}

FILE *wrap_freopen64(const char *path, const char *mode, FILE *stream) {
    return reopened(freopen_any(path, mode, stream, real.freopen64));
}

static int fclose_any(FILE *stream, int (*call)(FILE *stream)) {
    int fd = number_of(stream);
    if (soft_is_used()) {
        flushing_forget(stream);
    }
    table_word word = fd >= 0 ? table_get(fd) : 0;
    if (table_kind(word) == TABLE_NONE) {
        return call(stream);
    }
    int result = call(stream);
    bool before = table_settle();
    reference_drop(fd, word);
    table_unsettle(before);
    return result;
}

int wrap_fclose(FILE *stream) {
    return fclose_any(stream, real.fclose);
}

static int endmntent_any(FILE *stream) {
    if (stream) {
        (void)fclose_any(stream, real.fclose);
    }
    return 1;
}

int wrap_endmntent(FILE *stream) {
    return endmntent_any(stream);
}

int wrap_pclose(FILE *stream) {
    return fclose_any(stream, REAL(pclose));
}

static FILE *pipe_to(FILE *stream) {
    opening_plain(number_of(stream));
    return stream;
}

FILE *wrap_popen(const char *command, const char *mode) {
    return pipe_to(REAL(popen)(command, mode));
}

#ifdef __GLIBC__
int wrap___endmntent(FILE *stream) {
    return endmntent_any(stream);
}

int wrap__IO_fclose(FILE *stream) {
    return fclose_any(stream, real._IO_fclose);
}

FILE *wrap__IO_popen(const char *command, const char *mode) {
    return pipe_to(REAL(_IO_popen)(command, mode));
}
#endif
