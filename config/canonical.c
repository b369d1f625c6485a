#include "config/canonical.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "config/walk.h"
#include "lib/sys_linux.h"

#define LINKS_MAX 40 /* path_resolution(7) */
#define DIRECTORY_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

/*
 * While a path is resolved, its text is in `scratch`, and `path` is room for
 * what readlink gives.
 */

/* Writes "/proc/SELF/fd/NUMBER". */
static void put_fd_path(char *ret, const char *self, int fd) {
    size_t length = strlen(self);
    char digits[12];
    size_t count = 0;
    for (unsigned number = (unsigned)fd; count == 0 || number > 0; number /= 10) {
        digits[count++] = (char)('0' + number % 10);
    }
    memcpy(ret, self, length);
    while (count > 0) {
        ret[length++] = digits[--count];
    }
    ret[length] = '\0';
}

/* Reads a link into `ret` (size bytes), terminated. Returns its length. */
static ssize_t read_link(int dirfd, const char *name, char *ret, size_t size) {
    ssize_t length = sys_readlinkat(dirfd, name, ret, size);
    if (length < 0) {
        return length;
    }
    if ((size_t)length >= size) {
        return -ENAMETOOLONG;
    }
    ret[length] = '\0';
    return length;
}

/*
 * Whether the directory was removed: then its path ends with " (deleted)". A
 * directory may really be called so; it still has links, or its name is found
 * on the file systems that do not count them.
 */
static bool was_removed(int directory, const char *path, size_t length) {
    static const char mark[] = " (deleted)";
    size_t mark_length = sizeof(mark) - 1;
    struct sys_stat stat;
    if (length < mark_length || memcmp(path + length - mark_length, mark, mark_length) != 0) {
        return false;
    }
    return (sys_fstat(directory, &stat) == 0 && stat.nlink == 0) ||
           sys_stat(AT_FDCWD, path, 0, &stat) == -ENOENT;
}

/*
 * The path of an open directory, in c->path. A thread may have descriptors of
 * its own, and /proc/self/fd is empty once the first thread has ended;
 * /proc/thread-self (Linux 3.17) knows both. Returns its length; -ENOENT where it
 * was removed or lies outside of our root.
 */
static ssize_t read_directory_path(struct canonical *c) {
    char link[48];
    put_fd_path(link, "/proc/thread-self/fd/", c->directory);
    ssize_t length = read_link(AT_FDCWD, link, c->path, sizeof(c->path));
    if (length == -ENOENT) {
        put_fd_path(link, "/proc/self/fd/", c->directory);
        length = read_link(AT_FDCWD, link, c->path, sizeof(c->path));
    }
    if (length < 0) {
        return length == -ENAMETOOLONG ? -ERANGE : -EOPNOTSUPP;
    }
    bool gone = c->path[0] != '/' || was_removed(c->directory, c->path, (size_t)length);
    return gone ? -ENOENT : length;
}

/* Opens `path` as a directory in the place of c->directory. */
static int enter(struct canonical *c, int dirfd, const char *path) {
    int fd = sys_openat(dirfd, path, DIRECTORY_FLAGS, 0);
    if (fd < 0) {
        return fd;
    }
    canonical_done(c);
    c->directory = fd;
    return 0;
}

/* Whether the path can only be a directory's. */
static bool names_directory(const char *name) {
    return name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The whole text names a directory: c->path and c->name become its real ones,
 * c->directory its parent. */
static int step_to_directory(struct canonical *c, int dirfd) {
    int r = enter(c, dirfd, c->scratch);
    if (r < 0) {
        return r;
    }
    ssize_t length = read_directory_path(c);
    if (length < 0) {
        return (int)length;
    }
    c->length = (size_t)length;
    c->name = strrchr(c->path, '/') + 1;
    return enter(c, c->directory, "..");
}

/*
 * Takes the text in c->scratch apart: its directory becomes c->directory, its
 * last component *ret_name, NULL where all is done. Relative to `dirfd`.
 */
static int step(struct canonical *c, int dirfd, const char **ret_name) {
    char *slash = strrchr(c->scratch, '/');
    const char *name = slash ? slash + 1 : c->scratch;
    int r;

    if (names_directory(name)) {
        r = step_to_directory(c, dirfd);
        name = NULL;
    } else if (!slash) {
        r = enter(c, dirfd, ".");
    } else if (slash == c->scratch) {
        r = enter(c, dirfd, "/");
    } else {
        *slash = '\0';
        r = enter(c, dirfd, c->scratch);
    }
    if (r == 0) {
        *ret_name = name;
    }
    return r;
}

/* Puts the path of c->directory before `name`, which is in c->scratch. */
static int finish(struct canonical *c, const char *name) {
    ssize_t r = read_directory_path(c);
    if (r < 0) {
        return (int)r;
    }
    size_t length = (size_t)r;
    size_t name_size = strlen(name) + 1;
    if (length > 1) { /* not the root */
        c->path[length++] = '/';
    }
    if (length + name_size > sizeof(c->path)) {
        return -ERANGE;
    }
    memcpy(c->path + length, name, name_size);
    c->name = c->path + length;
    c->length = length + name_size - 1;
    return 0;
}

/* Whether c->directory lies below /proc; overwrites c->path. */
static bool is_below_proc(struct canonical *c) {
    return read_directory_path(c) > 0 && strncmp(c->path, "/proc", 5) == 0 &&
           (c->path[5] == '/' || c->path[5] == '\0');
}

/* Follows links until the last component is none. */
static int resolve(struct canonical *c, int dirfd, bool follow) {
    const char *name;
    int r = step(c, dirfd, &name);

    for (int links = 0; r == 0 && name; links++) {
        ssize_t length = read_link(c->directory, name, c->path, sizeof(c->path));
        if (length == -EINVAL || length == -ENOENT) { /* no link, or nothing */
            return finish(c, name);
        }
        if (length < 0) {
            return (int)length;
        }
        if (!follow) {
            c->is_link = true;
            return finish(c, name);
        }
        if (links == LINKS_MAX) {
            return -ELOOP;
        }
        memcpy(c->scratch, c->path, (size_t)length + 1);
        c->via_proc = c->via_proc || is_below_proc(c);
        r = step(c, c->directory, &name);
    }
    return r;
}

/* A link of /proc leads to the file itself, whatever its text says. */
static bool is_another_file(int dirfd, const char *path, const struct canonical *c) {
    struct sys_stat meant, named;
    if (sys_stat(dirfd, path, 0, &meant) < 0) {
        return false;
    }
    return sys_stat(c->directory, c->name, AT_SYMLINK_NOFOLLOW, &named) < 0 ||
           meant.ino != named.ino || meant.dev_major != named.dev_major ||
           meant.dev_minor != named.dev_minor;
}

int canonical_resolve(int dirfd, const char *path, bool follow, struct canonical *ret) {
    ret->directory = -1;
    ret->is_link = false;
    ret->via_proc = ret->nameless = false;

    size_t length = strnlen(path, sizeof(ret->scratch));
    if (length == sizeof(ret->scratch)) {
        return -ENAMETOOLONG;
    }
    if (length == 0) {
        return -ENOENT;
    }
    memcpy(ret->scratch, path, length + 1);
    int r = resolve(ret, dirfd, follow);
    if (r == -EOPNOTSUPP) {
        canonical_done(ret);
        r = walk_resolve(dirfd, path, follow, ret);
    }
    if (r < 0) {
        canonical_done(ret);
        return r;
    }
    ret->nameless = ret->via_proc && *ret->name && is_another_file(dirfd, path, ret);
    return 0;
}

void canonical_done(struct canonical *c) {
    if (c->directory >= 0) {
        (void)sys_close(c->directory);
        c->directory = -1;
    }
}
