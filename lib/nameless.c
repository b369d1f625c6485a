#include "lib/nameless.h"

#include <errno.h>
#include <stddef.h>

#include "lib/above_stdio.h"
#include "lib/sys_linux.h"

static char *put_number(char *end, unsigned number) {
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return end;
}

int nameless_link(int fd, int dirfd, const char *name) {
    static const char prefix[] = "/proc/self/fd/";
    char path[sizeof(prefix) + 10];
    char digits[11] = {0};
    char *number = put_number(digits + sizeof(digits) - 1, (unsigned)fd);
    size_t n = 0;
    for (const char *p = prefix; *p; p++) {
        path[n++] = *p;
    }
    while (*number) {
        path[n++] = *number++;
    }
    path[n] = '\0';
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
    if (cut + 2 > size) {
        return -ENAMETOOLONG;
    }
    for (size_t i = 0; i < cut; i++) {
        ret[i] = name[i];
    }
    ret[cut] = '.';
    ret[cut + 1] = '\0';
    return 0;
}

int nameless_open(int dirfd, const char *name, unsigned mode) {
    char directory[512];
    int r = directory_of(name, directory, sizeof(directory));
    if (r < 0) {
        return r;
    }
    return above_stdio(sys_openat(dirfd, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
}
