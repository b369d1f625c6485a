#include "lib/soft.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "lib/nameless.h"
#include "lib/sys_linux.h"

#ifndef RENAME_EXCHANGE /* renameat2(2); older headers keep it elsewhere */
#define RENAME_EXCHANGE 2
#endif

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

/* -ESTALE: the path does not lead to the file. */
static int unlink_if_same(const char *path, int fd) {
    int r = same_file(path, fd);
    if (r > 0) {
        return unlink_path(path);
    }
    return r == 0 || r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
}

/* The directory may have been left (chdir) or renamed, or a breaker who is about to
 * see his mistake may have moved the file aside: where is it now? */
static int unlink_where_it_is(int fd) {
    char link[32], path[PATH_MAX];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = sys_readlinkat(AT_FDCWD, link, path, sizeof(path) - 1);
    if (n <= 0 || path[0] != '/') {
        return -ESTALE;
    }
    path[n] = '\0';
    return unlink_if_same(path, fd);
}

int soft_remove(const char *path, int fd) {
    int r = unlink_if_same(path, fd);
    if (r == -ESTALE) {
        r = unlink_where_it_is(fd);
    }
    if (r == 0 || r == -ESTALE) {
        (void)sys_close(fd);
    }
    return r;
}

void soft_abandon(const char *path, int fd) {
    int r = soft_remove(path, fd);
    if (r < 0 && r != -ESTALE) {
        (void)sys_close(fd);
    }
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
        soft_abandon(path, fd);
        return r;
    }
    return fd;
}

/* One that was opened without a name would never be found again by its descriptor:
 * so another one, which was opened by name. */
static int with_name(const char *path, int fd) {
    int named = sys_openat(AT_FDCWD, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0);
    if (named < 0) {
        return fd;
    }
    struct sys_stat a, b;
    bool same = sys_fstat(fd, &a) == 0 && sys_fstat(named, &b) == 0 &&
                sidecar_same(sidecar_id_of(&a), sidecar_id_of(&b));
    (void)sys_close(same ? fd : named);
    return same ? named : fd;
}

int soft_make(const char *path, const struct soft_text *text, int *ret_fd,
              struct sidecar_id *ret_id) {
    struct sys_stat stat;
    int fd = make_whole(path, text, &stat);
    if (fd >= 0) {
        fd = with_name(path, fd);
    }
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

/* A name in the directory of the marker that nobody else uses. */
static int name_aside(const char *path, char *ret, size_t size) {
    static _Atomic unsigned serial;
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash - path) + 1 : 0;
    int n = snprintf(ret, size, "%.*s.filelock-stale.%ld.%u", directory, path, (long)sys_getpid(),
                     atomic_fetch_add(&serial, 1));
    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static bool is_file(const char *path, struct sidecar_id id) {
    struct sys_stat stat;
    return sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) == 0 &&
           sidecar_same(sidecar_id_of(&stat), id);
}

static int rename_path(const char *from, const char *to, unsigned flags) {
    return (int)SYS_CALL(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags, 0);
}

/*
 * The judged marker changes places with one of ours, so that the name is never
 * free: what was not the one that was judged, because somebody was faster and has
 * a new lock, goes back, and nobody can have come between. A holder who releases
 * meanwhile finds his file where it is (unlink_where_it_is); and a breaker who is
 * killed leaves a marker that says so. -EINVAL where the file system cannot.
 */
static int exchange_and_unlink(const char *path, struct sidecar_id id) {
    char aside[PATH_MAX];
    struct soft_text text;
    struct sidecar_id ours;
    int fd, r = name_aside(path, aside, sizeof(aside));
    if (r == 0) {
        soft_text_compose(&text);
        r = soft_make(aside, &text, &fd, &ours);
    }
    if (r < 0) {
        return r;
    }
    r = rename_path(aside, path, RENAME_EXCHANGE);
    if (r == 0 && is_file(aside, id)) {
        r = unlink_path(aside);
    } else if (r == 0) {
        (void)rename_path(aside, path, RENAME_EXCHANGE);
    }
    /* Ours, wherever it is by now. */
    soft_abandon(r == 0 ? path : aside, fd);
    return r == -ENOENT ? 0 : r;
}

/* Where names cannot change places. Only as the only breaker. */
static int move_and_unlink(const char *path, struct sidecar_id id) {
    char aside[PATH_MAX];
    int r = name_aside(path, aside, sizeof(aside));
    if (r == 0) {
        r = rename_path(path, aside, 0);
    }
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    if (!is_file(aside, id)) {
        /* Somebody who does not take part in our flock was faster, and this is
         * a new lock: back with it, before anybody else comes. */
        r = (int)SYS_CALL(SYS_linkat, AT_FDCWD, aside, AT_FDCWD, path, 0, 0);
    }
    (void)unlink_path(aside);
    return r == -EEXIST ? 0 : r;
}

/* fd keeps the judged marker's inode from being used again meanwhile; -1 where
 * it cannot be read, and is broken by hand. `locked`: what flock on it said. */
static int break_marker(const char *path, int fd, bool only_stale, int locked) {
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
    r = exchange_and_unlink(path, sidecar_id_of(&now));
    if (r == -EINVAL || r == -ENOSYS) {
        r = locked < 0 ? locked : move_and_unlink(path, sidecar_id_of(&now));
    }
    return r;
}

/* For writing where that is allowed: NFS locks only such. */
static int open_to_break(const char *path) {
    int fd = sys_openat(AT_FDCWD, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    return fd == -EACCES || fd == -EPERM || fd == -EROFS ? open_marker(path) : fd;
}

int soft_break(const char *path, bool only_stale) {
    int fd = open_to_break(path);
    if (fd < 0 && (only_stale || fd != -EACCES)) {
        return fd == -ENOENT ? 0 : fd;
    }
    int locked = fd < 0 ? 0 : sys_flock(fd, LOCK_EX | LOCK_NB);
    int r = locked == -EWOULDBLOCK ? -EAGAIN : break_marker(path, fd, only_stale, locked);
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return r;
}
