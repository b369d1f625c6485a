/*
 * mkstemp and its relatives: temporary files whose name may match a rule, as
 * `report-XXXXXX.csv` does. The sidecar is locked before the file exists, so the
 * name is made up here and not in libc, and opened like any other: what counts
 * is the name that came out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/sys_linux.h"
#include "shim/open.h"
#include "shim/real.h"
#include "shim/start.h"
/* Last: it takes back names that headers define as macros. */
#include "shim/wrap.h"

#define ATTEMPTS 10000 /* names that may be taken already; libc's own way to give up */
#define LETTERS 6

static uint64_t random_number(void) {
    uint64_t number;
    if (SYS_CALL(SYS_getrandom, &number, sizeof(number), 1 /* GRND_NONBLOCK */, 0, 0, 0) ==
        sizeof(number)) {
        return number;
    }
    /* Unpredictable enough: O_EXCL is what keeps others out. */
    static _Atomic uint64_t last;
    uint64_t step = clock_now() * 6364136223846793005u + (uint64_t)sys_gettid();
    return atomic_fetch_add(&last, step) + step;
}

static void make_up(char *letters) {
    static const char known[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint64_t number = random_number();
    for (int i = 0; i < LETTERS; i++) {
        letters[i] = known[number % (sizeof(known) - 1)];
        number /= sizeof(known) - 1;
    }
}

/* The six X, before a suffix of that many bytes; NULL where they are not. */
static char *letters_of(char *template, int suffix) {
    size_t length = strlen(template);
    if (suffix < 0 || length < LETTERS + (size_t)suffix) {
        return NULL;
    }
    char *letters = template + length - (size_t)suffix - LETTERS;
    return memcmp(letters, "XXXXXX", LETTERS) == 0 ? letters : NULL;
}

static int make_temporary(char *template, int suffix, int flags, real_call *call) {
    char *letters = letters_of(template, suffix);
    if (!letters) {
        errno = EINVAL;
        return -1;
    }
    flags = (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL;
    int saved = errno;
    for (int i = 0; i < ATTEMPTS; i++) {
        make_up(letters);
        errno = saved;
        int fd = open_any(OPENING(AT_FDCWD, template, flags, 0600), call);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

static int real_open(const struct opening *o) {
    return real.open(o->path, o->flags, o->mode);
}

static int real_open64(const struct opening *o) {
    return real.open64(o->path, o->flags, o->mode);
}

int wrap_mkstemp(char *template) {
    return shim_is_active() ? make_temporary(template, 0, 0, real_open) : REAL(mkstemp)(template);
}

int wrap_mkstemp64(char *template) {
    return shim_is_active() ? make_temporary(template, 0, 0, real_open64)
                            : REAL(mkstemp64)(template);
}

int wrap_mkostemp(char *template, int flags) {
    return shim_is_active() ? make_temporary(template, 0, flags, real_open)
                            : REAL(mkostemp)(template, flags);
}

int wrap_mkostemp64(char *template, int flags) {
    return shim_is_active() ? make_temporary(template, 0, flags, real_open64)
                            : REAL(mkostemp64)(template, flags);
}

int wrap_mkstemps(char *template, int suffix) {
    return shim_is_active() ? make_temporary(template, suffix, 0, real_open)
                            : REAL(mkstemps)(template, suffix);
}

int wrap_mkstemps64(char *template, int suffix) {
    return shim_is_active() ? make_temporary(template, suffix, 0, real_open64)
                            : REAL(mkstemps64)(template, suffix);
}

int wrap_mkostemps(char *template, int suffix, int flags) {
    return shim_is_active() ? make_temporary(template, suffix, flags, real_open)
                            : REAL(mkostemps)(template, suffix, flags);
}

int wrap_mkostemps64(char *template, int suffix, int flags) {
    return shim_is_active() ? make_temporary(template, suffix, flags, real_open64)
                            : REAL(mkostemps64)(template, suffix, flags);
}
