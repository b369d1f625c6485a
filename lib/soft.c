#include "lib/soft.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>

#include "lib/nameless.h"
#include "lib/sys_linux.h"

static int same_file(const char *path, int fd) {
    struct sys_stat a, b;
    int r = sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &a);
    if (r == 0) {
        r = sys_fstat(fd, &b);
    }
    return r < 0 ? r : sidecar_same(sidecar_id_of(&a), sidecar_id_of(&b));
}

static int unlink_path(const char *path) {
    return (int)SYS_CALL(SYS_unlinkat, AT_FDCWD, path, 0, 0, 0, 0);
}

int soft_remove(const char *path, int fd) {
    int r = same_file(path, fd);
    if (r > 0) {
        r = unlink_path(path);
    } else if (r == 0 || r == -ENOENT) {
        r = -ESTALE;
    }
    (void)sys_close(fd);
    return r;
}

/* All of the text or nothing. */
static int fill(int fd, const struct soft_text *text, struct sys_stat *ret_stat) {
    ssize_t n = sys_write(fd, text->start, text->length);
    if (n < 0) {
        return (int)n;
    }
    if ((size_t)n < text->length) {
        return -ENOSPC;
    }
    int r = sys_fstat(fd, ret_stat);
    if (r == 0 && !(ret_stat->mode & S_IWUSR)) {
        /* py-filelock takes one that its owner may not write for no lock. */
        r = (int)SYS_CALL(SYS_fchmod, fd, (ret_stat->mode & 07777) | S_IWUSR, 0, 0, 0, 0);
    }
    return r;
}

/* One that is killed between making an empty marker and filling it leaves a lock
 * that is held for ever: so it appears filled. */
static int make_whole(const char *path, const struct soft_text *text, struct sys_stat *ret_stat) {
    int fd = nameless_open(AT_FDCWD, path, 0666);
    if (fd < 0) {
        return fd;
    }
    int r = fill(fd, text, ret_stat);
    if (r == 0) {
        r = nameless_link(fd, AT_FDCWD, path);
    }
    if (r < 0) {
        (void)sys_close(fd);
        return r;
    }
    return fd;
}

/* For file systems without O_TMPFILE, or without /proc. */
static int make_plainly(const char *path, const struct soft_text *text, struct sys_stat *ret_stat) {
    int fd = sys_openat(AT_FDCWD, path,
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0) {
        return fd;
    }
    int r = fill(fd, text, ret_stat);
    if (r < 0) {
        (void)soft_remove(path, fd);
        return r;
    }
    return fd;
}

int soft_make(const char *path, const struct soft_text *text, int *ret_fd,
              struct sidecar_id *ret_id) {
    struct sys_stat stat;
    int fd = make_whole(path, text, &stat);
    if (fd < 0 && fd != -EEXIST) {
        fd = make_plainly(path, text, &stat);
    }
    if (fd < 0) {
        return fd;
    }
    *ret_fd = fd;
    *ret_id = sidecar_id_of(&stat);
    return 0;
}

static int open_marker(const char *path) {
    return sys_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
}

/* fd < 0: it cannot be read. */
static struct soft_owner read_marker(int fd) {
    struct sys_stat stat;
    char text[SOFT_TEXT_SIZE];
    if (fd < 0 || sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        return (struct soft_owner){.state = SOFT_UNKNOWN};
    }
    ssize_t n = (ssize_t)SYS_CALL(SYS_pread64, fd, text, sizeof(text) - 1, 0, 0, 0);
    text[n > 0 ? n : 0] = '\0';
    return soft_text_judge(text);
}

int soft_judge(const char *path, struct soft_owner *ret, struct sidecar_id *ret_id) {
    struct sys_stat stat;
    int fd = open_marker(path);
    int r = fd < 0 ? sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) : sys_fstat(fd, &stat);
    if (r == -ENOENT) {
        *ret = (struct soft_owner){.state = SOFT_FREE};
        r = 0;
    } else if (r == 0 && S_ISDIR(stat.mode)) {
        r = -EISDIR; /* nobody's lock, and nobody would ever remove it */
    } else if (r == 0) {
        *ret = read_marker(fd);
        *ret_id = sidecar_id_of(&stat);
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return r;
}

/* The last steps, as the only breaker. */
static int move_and_unlink(const char *path, struct sidecar_id id) {
    static _Atomic unsigned serial;
    char aside[PATH_MAX];
    int n = snprintf(aside, sizeof(aside), "%s.stale.%ld.%u", path, (long)sys_getpid(),
                     atomic_fetch_add(&serial, 1));
    if (n < 0 || (size_t)n >= sizeof(aside)) {
        return -ENAMETOOLONG;
    }
    int r = (int)SYS_CALL(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, aside, 0, 0);
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    struct sys_stat stat;
    r = sys_stat(AT_FDCWD, aside, AT_SYMLINK_NOFOLLOW, &stat);
    if (r == 0 && !sidecar_same(sidecar_id_of(&stat), id)) {
        /* Somebody who does not take part in our flock was faster, and this is
         * a new lock: back with it, before anybody else comes. */
        r = (int)SYS_CALL(SYS_linkat, AT_FDCWD, aside, AT_FDCWD, path, 0, 0);
    }
    (void)unlink_path(aside);
    return r;
}

/* fd keeps the judged marker's inode from being used again meanwhile; -1 where
 * it cannot be read, and is broken by hand. */
static int break_as_only_one(const char *path, int fd, bool only_stale) {
    struct sys_stat stat, now;
    if (only_stale && read_marker(fd).state != SOFT_DEAD) {
        return 0;
    }
    int r = sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &now);
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    if (!S_ISREG(now.mode)) {
        return S_ISDIR(now.mode) ? -EISDIR : -ENXIO;
    }
    if (fd >= 0 &&
        (sys_fstat(fd, &stat) < 0 || !sidecar_same(sidecar_id_of(&stat), sidecar_id_of(&now)))) {
        return 0;
    }
    return move_and_unlink(path, sidecar_id_of(&now));
}

int soft_break(const char *path, bool only_stale) {
    int fd = open_marker(path);
    if (fd < 0 && (only_stale || fd != -EACCES)) {
        return fd == -ENOENT ? 0 : fd;
    }
    int r = fd < 0 ? 0 : sys_flock(fd, LOCK_EX | LOCK_NB);
    r = r == -EWOULDBLOCK ? -EAGAIN : break_as_only_one(path, fd, only_stale);
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return r;
}
