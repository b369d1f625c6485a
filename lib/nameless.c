#include "lib/nameless.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>

#include "lib/above_stdio.h"
#include "lib/put.h"
#include "lib/sys_linux.h"

int nameless_link(int fd, int dirfd, const char *name) {
    char path[32];
    struct put put = put_begin(path, sizeof(path));
    put_string(&put, "/proc/self/fd/");
    put_number(&put, (unsigned)fd);
    return (int)SYS_CALL(SYS_linkat, AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW, 0);
}

/* The directory part of a name, "." where there is none. */
static int directory_of(const char *name, char *ret, size_t size) {
    size_t cut = 0;
    for (size_t i = 0; name[i]; i++) {
        if (name[i] == '/') {
            cut = i + 1;
        }
    }
    struct put put = put_begin(ret, size);
    put_bytes(&put, name, cut);
    put_string(&put, ".");
    return put_fits(&put) ? 0 : -ENAMETOOLONG;
}

static int open_by(int dirfd, const char *name, unsigned mode, char *directory, size_t size) {
    int r = directory_of(name, directory, size);
    if (r < 0) {
        return r;
    }
    return above_stdio(sys_openat(dirfd, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
}

/* Not inlined: so much of a small stack is for long paths alone. */
static __attribute__((noinline)) int open_long(int dirfd, const char *name, unsigned mode) {
    char directory[PATH_MAX];
    return open_by(dirfd, name, mode, directory, sizeof(directory));
}

int nameless_open(int dirfd, const char *name, unsigned mode) {
    char directory[512];
    int r = open_by(dirfd, name, mode, directory, sizeof(directory));
    return r == -ENAMETOOLONG ? open_long(dirfd, name, mode) : r;
}
