#include "shim/filename.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "config/sidecar_path.h"
#include "lib/sys_linux.h"
#include "shim/proclines.h"

static bool cut_end(char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    if (length <= tail || strcmp(path + length - tail, end) != 0) {
        return false;
    }
    path[length - tail] = '\0';
    return true;
}

/* The entry of this inode number; "" for none. */
static void find_name(int directory, uint64_t inode, char *ret, size_t size) {
    _Alignas(8) char buffer[2048];
    ssize_t n;
    ret[0] = '\0';
    while ((n = sys_getdents64(directory, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < n;) {
            /* struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name */
            uint64_t number;
            unsigned short length;
            memcpy(&number, buffer + at, sizeof(number));
            memcpy(&length, buffer + at + 16, sizeof(length));
            const char *name = buffer + at + 19;
            if (number == inode && strlen(name) < size) {
                memcpy(ret, name, strlen(name) + 1);
                return;
            }
            at += length;
        }
    }
}

/* "/srv/#1234" becomes "/srv/a.csv.lock". */
static void give_name(char *path, size_t size, const char *link) {
    struct sys_stat stat;
    char *slash = strrchr(path, '/');
    if (!slash || slash[1] != '#' || sys_stat(AT_FDCWD, link, 0, &stat) < 0) {
        return;
    }
    char first = slash == path ? '/' : '\0', before = slash[0];
    slash[0] = first;
    int directory =
        sys_openat(AT_FDCWD, slash == path ? "/" : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    slash[0] = before;
    if (directory >= 0) {
        char name[256];
        find_name(directory, stat.ino, name, sizeof(name));
        size_t room = size - (size_t)(slash + 1 - path);
        if (name[0] && strlen(name) < room) {
            memcpy(slash + 1, name, strlen(name) + 1);
        }
        (void)sys_close(directory);
    }
}

/* Of a sidecar's path its data file's. Where there is no such file beside it, it
 * may be one in a lockdir=. */
static void to_owner(char *path) {
    struct sys_stat stat;
    char *end = path + strlen(path);
    if (!sidecar_owner(path, false) ||
        sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) != -ENOENT) {
        return;
    }
    memcpy(end - strlen(SIDECAR_SUFFIX), SIDECAR_SUFFIX, sizeof(SIDECAR_SUFFIX));
    if (!sidecar_owner(path, true)) {
        (void)sidecar_owner(path, false);
    }
}

void filename_put(struct text *text, pid_t pid, int fd) {
    TEXT(link, 64);
    char path[1024];
    proclines_path(&link, pid, "/fd/");
    text_put_number(&link, (uint64_t)(unsigned)fd, 10);
    ssize_t n = sys_readlinkat(AT_FDCWD, link.start, path, sizeof(path) - 1);
    if (n <= 0) {
        text_put(text, "a file");
        return;
    }
    path[n] = '\0';
    if (cut_end(path, " (deleted)")) {
        give_name(path, sizeof(path), link.start);
    }
    to_owner(path);
    text_put_visible(text, path);
}
