#include "lib/soft_break.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "lib/above_stdio.h"
#include "lib/soft.h"
#include "lib/sys_linux.h"

#ifndef RENAME_EXCHANGE /* renameat2(2); older headers keep it elsewhere */
#define RENAME_EXCHANGE 2
#endif

#define ASIDE ".filelock-stale."

/* The marker that is being broken, and one of ours that takes its place. */
struct breaking {
    const char *path;
    struct sidecar_id judged;
    int fd; /* ours */
    char aside[PATH_MAX];
};

/* Up to the last slash, which belongs to it. */
static int directory_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* A marker of ours beside the other, by a name that nobody has: a process with our
 * number, long ago or on another host, may have left some. */
static int make_aside(struct breaking *breaking) {
    static _Atomic unsigned serial;
    struct soft_text text;
    struct sidecar_id id;
    int r = -EEXIST;
    int composed = soft_text_compose(&text);
    if (composed < 0) {
        return composed;
    }
    for (int attempt = 0; r == -EEXIST && attempt < SIDECAR_ATTEMPTS; attempt++) {
        int n = snprintf(breaking->aside, sizeof(breaking->aside), "%.*s" ASIDE "%ld.%u",
                         directory_length(breaking->path), breaking->path, (long)sys_getpid(),
                         atomic_fetch_add(&serial, 1));
        r = n < 0 || (size_t)n >= sizeof(breaking->aside)
                ? -ENAMETOOLONG
                : soft_make(breaking->aside, &text, &breaking->fd, &id);
    }
    return r == -EEXIST ? -ESTALE : r;
}

static int rename_path(const char *from, const char *to, unsigned flags) {
    return (int)SYS_CALL(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags, 0);
}

static int unlink_path(const char *path) {
    return (int)SYS_CALL(SYS_unlinkat, AT_FDCWD, path, 0, 0, 0, 0);
}

static bool is_file(const char *path, struct sidecar_id id) {
    struct sys_stat stat;
    return sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) == 0 &&
           sidecar_same(sidecar_id_of(&stat), id);
}

/*
 * The judged marker changes places with ours, so that the name is never free: what
 * was not the one that was judged, because somebody was faster and has a new lock,
 * goes back, and nobody can have come between. A holder who releases meanwhile finds
 * his file where it is (soft_remove); and a breaker who is killed leaves a marker
 * that says so.
 */
static int exchange(struct breaking *breaking) {
    int r = rename_path(breaking->aside, breaking->path, RENAME_EXCHANGE);
    if (r < 0) {
        return r;
    }
    if (is_file(breaking->aside, breaking->judged)) {
        (void)unlink_path(breaking->aside);
        soft_abandon(breaking->path, breaking->fd);
        return 0;
    }
    (void)rename_path(breaking->aside, breaking->path, RENAME_EXCHANGE);
    soft_abandon(breaking->aside, breaking->fd);
    return 0;
}

/* Where names cannot change places. Only as the only breaker. */
static int move(struct breaking *breaking) {
    int r = rename_path(breaking->path, breaking->aside, 0);
    if (r < 0) {
        return r;
    }
    if (!is_file(breaking->aside, breaking->judged)) {
        /* Somebody who does not take part in our flock was faster, and this is
         * a new lock: back with it, before anybody else comes. */
        (void)SYS_CALL(SYS_linkat, AT_FDCWD, breaking->aside, AT_FDCWD, breaking->path, 0, 0);
    }
    (void)unlink_path(breaking->aside);
    (void)sys_close(breaking->fd); /* the file went when the other got its name */
    return 0;
}

/* What breakers who were killed have left in the directory. Another host's stays,
 * and what they moved by mistake, whose holder lives. */
static void sweep(const char *path) {
    char entries[2048] __attribute__((aligned(8)));
    char name[PATH_MAX];
    int length = directory_length(path);
    if (snprintf(name, sizeof(name), "%.*s.", length, path) >= (int)sizeof(name)) {
        return;
    }
    int fd = sys_openat(AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ssize_t n;
    while (fd >= 0 && (n = sys_getdents64(fd, entries, sizeof(entries))) > 0) {
        for (ssize_t at = 0; at < n;) {
            /* struct linux_dirent64: the record's length at 16, the name at 19. */
            unsigned short size;
            struct soft_owner owner = {.state = SOFT_FREE};
            struct sidecar_id id;
            const char *entry = entries + at + 19;
            memcpy(&size, entries + at + 16, sizeof(size));
            at += size;
            if (strncmp(entry, ASIDE, sizeof(ASIDE) - 1) == 0 &&
                snprintf(name + length, sizeof(name) - (size_t)length, "%s", entry) <
                    (int)sizeof(name) - length &&
                soft_judge(name, &owner, &id) == 0 && owner.state == SOFT_DEAD) {
                (void)unlink_path(name);
            }
        }
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
}

/* `locked`: what flock on the marker said. */
static int replace(const char *path, struct sidecar_id judged, int locked) {
    struct breaking breaking = {.path = path, .judged = judged};
    int r = make_aside(&breaking);
    if (r < 0) {
        return r;
    }
    r = exchange(&breaking);
    if (r == -EINVAL || r == -ENOSYS) {
        r = locked < 0 ? locked : move(&breaking);
    }
    if (r < 0) {
        soft_abandon(breaking.aside, breaking.fd);
        return r == -ENOENT ? 0 : r;
    }
    sweep(path);
    return 0;
}

/* fd keeps the judged marker's inode from being used again meanwhile; -1 where
 * it cannot be read, and is broken by hand. */
static int break_marker(const char *path, int fd, bool only_stale, int locked) {
    struct sys_stat stat, now;
    struct soft_owner owner;
    int r = only_stale ? soft_read(fd, &owner) : 0;
    if (r < 0 || (only_stale && owner.state != SOFT_DEAD)) {
        return r;
    }
    r = sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &now);
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
    return replace(path, sidecar_id_of(&now), locked);
}

/* For writing where that is allowed: NFS locks only such. */
static int open_to_break(const char *path) {
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = above_stdio(sys_openat(AT_FDCWD, path, flags, 0));
    return fd == -EACCES || fd == -EPERM || fd == -EROFS ? soft_open(path) : fd;
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
