#include "lib/soft_break.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>

#include "lib/above_stdio.h"
#include "lib/put.h"
#include "lib/soft.h"
#include "lib/sys_linux.h"

#ifndef RENAME_EXCHANGE /* renameat2(2); older headers keep them elsewhere */
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define ASIDE ".filelock-stale."

/* The marker that is being broken, and one of ours that takes its place. All names
 * are in one directory: whole paths would need kilobytes of a small stack. */
struct breaking {
    int directory;
    const char *name;
    struct sidecar_id judged, ours;
    int fd;         /* of ours */
    char aside[64]; /* its name at first */
};

/* A marker of ours beside the other, by a name that nobody has: a process with our
 * number, long ago or on another host, may have left some. */
static int make_aside(struct breaking *breaking) {
    static _Atomic unsigned serial;
    struct soft_text text;
    int r = soft_text_compose(&text);
    if (r < 0) {
        return r;
    }
    r = -EEXIST;
    for (int attempt = 0; r == -EEXIST && attempt < SIDECAR_ATTEMPTS; attempt++) {
        struct put put = put_begin(breaking->aside, sizeof(breaking->aside));
        put_string(&put, ASIDE);
        put_number(&put, (unsigned long)sys_getpid());
        put_string(&put, ".");
        put_number(&put, atomic_fetch_add(&serial, 1));
        r = soft_make(breaking->directory, breaking->aside, &text, 0, &breaking->fd,
                      &breaking->ours);
    }
    return r == -EEXIST ? -ESTALE : r;
}

static int rename_in(int directory, const char *from, const char *to, unsigned flags) {
    return (int)SYS_CALL(SYS_renameat2, directory, from, directory, to, flags, 0);
}

static int unlink_in(int directory, const char *name) {
    return (int)SYS_CALL(SYS_unlinkat, directory, name, 0, 0, 0, 0);
}

static int identity(int directory, const char *name, struct sidecar_id *ret) {
    struct sys_stat stat;
    int r = sys_stat(directory, name, AT_SYMLINK_NOFOLLOW, &stat);
    if (r == 0) {
        *ret = sidecar_id_of(&stat);
    }
    return r;
}

static bool is_file(int directory, const char *name, struct sidecar_id id) {
    struct sidecar_id now;
    return identity(directory, name, &now) == 0 && sidecar_same(now, id);
}

/* Nobody has renamed our marker: it has been unlinked. */
static bool ours_is_removed(const struct breaking *breaking) {
    struct sys_stat stat;
    return sys_fstat(breaking->fd, &stat) == 0 && stat.nlink == 0;
}

/* Its name was free when we wanted it back. False where it is no longer. */
static bool back_to_free_name(struct breaking *breaking) {
    if (ours_is_removed(breaking)) {
        /* By a release that knows files by their name (py-filelock's), or by hand:
         * what was meant is the lock. */
        (void)unlink_in(breaking->directory, breaking->aside);
        return true;
    }
    return rename_in(breaking->directory, breaking->aside, breaking->name, RENAME_NOREPLACE) !=
           -EEXIST;
}

/*
 * What lies aside is somebody's new lock, and changes places again with our marker,
 * which keeps the name for it. Peers who do not ask for our flock may have removed or
 * moved ours, and made a lock of their own there: of two, the later one stays. What
 * comes back must be what we know to have been there; else we are too late once more.
 */
static void put_back(struct breaking *breaking) {
    struct sidecar_id on_name = breaking->ours, back, got;
    for (int attempt = 0; attempt < SIDECAR_ATTEMPTS; attempt++) {
        if (identity(breaking->directory, breaking->aside, &back) < 0) {
            break; /* its holder has released it there */
        }
        int r = rename_in(breaking->directory, breaking->aside, breaking->name, RENAME_EXCHANGE);
        if (r == -ENOENT && !back_to_free_name(breaking)) {
            continue;
        }
        if (r < 0 || identity(breaking->directory, breaking->aside, &got) < 0) {
            break;
        }
        if (sidecar_same(got, on_name)) {
            if (!sidecar_same(got, breaking->ours)) {
                (void)unlink_in(breaking->directory, breaking->aside);
            }
            break;
        }
        on_name = back;
    }
    soft_abandon(breaking->directory, breaking->aside, breaking->fd);
}

/*
 * The judged marker changes places with ours, so that the name is never free: what
 * was not the one that was judged, because somebody was faster and has a new lock,
 * goes back. A holder who releases meanwhile finds his file where it is
 * (soft_remove); and a breaker who is killed leaves a marker that says so.
 */
static int exchange(struct breaking *breaking) {
    int r = rename_in(breaking->directory, breaking->aside, breaking->name, RENAME_EXCHANGE);
    if (r < 0) {
        return r;
    }
    if (is_file(breaking->directory, breaking->aside, breaking->judged)) {
        (void)unlink_in(breaking->directory, breaking->aside);
        soft_abandon(breaking->directory, breaking->name, breaking->fd);
    } else {
        put_back(breaking);
    }
    return 0;
}

/* Where names cannot change places. Only as the only breaker. */
static int move(struct breaking *breaking) {
    int r = rename_in(breaking->directory, breaking->name, breaking->aside, 0);
    if (r < 0) {
        return r;
    }
    if (!is_file(breaking->directory, breaking->aside, breaking->judged)) {
        /* Somebody who does not take part in our flock was faster, and this is
         * a new lock: back with it, before anybody else comes. */
        (void)SYS_CALL(SYS_linkat, breaking->directory, breaking->aside, breaking->directory,
                       breaking->name, 0, 0);
    }
    (void)unlink_in(breaking->directory, breaking->aside);
    (void)sys_close(breaking->fd); /* the file went when the other got its name */
    return 0;
}

/* What breakers who were killed have left in the directory. Another host's stays,
 * and what they moved by mistake, whose holder lives. */
static void sweep(int directory) {
    char entries[1024] __attribute__((aligned(8)));
    int fd = above_stdio(sys_openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
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
                soft_judge(directory, entry, &owner, &id) == 0 && owner.state == SOFT_DEAD) {
                (void)unlink_in(directory, entry);
            }
        }
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
}

/* `locked`: what flock on the marker said. */
static int replace(struct breaking *breaking, int locked) {
    int r = make_aside(breaking);
    if (r < 0) {
        return r;
    }
    r = exchange(breaking);
    if (r == -EINVAL || r == -ENOSYS) {
        r = locked < 0 ? locked : move(breaking);
    }
    if (r < 0) {
        soft_abandon(breaking->directory, breaking->aside, breaking->fd);
        return r == -ENOENT ? 0 : r;
    }
    sweep(breaking->directory);
    return 0;
}

/* fd keeps the judged marker's inode from being used again meanwhile; -1 where
 * it cannot be read, and is broken by hand. */
static int break_marker(struct breaking *breaking, int fd, bool only_stale, int locked) {
    struct sys_stat stat, now;
    struct soft_owner owner;
    int r = only_stale ? soft_read(fd, &owner) : 0;
    if (r < 0 || (only_stale && owner.state != SOFT_DEAD)) {
        return r;
    }
    r = sys_stat(breaking->directory, breaking->name, AT_SYMLINK_NOFOLLOW, &now);
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
    breaking->judged = sidecar_id_of(&now);
    return replace(breaking, locked);
}

/* For writing where that is allowed: NFS locks only such. */
static int open_to_break(const struct breaking *breaking) {
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = above_stdio(sys_openat(breaking->directory, breaking->name, flags, 0));
    return fd == -EACCES || fd == -EPERM || fd == -EROFS
               ? soft_open(breaking->directory, breaking->name)
               : fd;
}

static int break_in_directory(struct breaking *breaking, bool only_stale) {
    int fd = open_to_break(breaking);
    if (fd < 0 && (only_stale || fd != -EACCES)) {
        return fd == -ENOENT ? 0 : fd;
    }
    int locked = fd < 0 ? 0 : sys_flock(fd, LOCK_EX | LOCK_NB);
    int r = locked == -EWOULDBLOCK ? -EAGAIN : break_marker(breaking, fd, only_stale, locked);
    if (fd >= 0) {
        (void)sys_flock(fd, LOCK_UN); /* a child forked meanwhile has a copy */
        (void)sys_close(fd);
    }
    return r;
}

/* The only whole path. Not inlined, so that it leaves the stack before the rest
 * begins. */
static __attribute__((noinline)) int open_directory(int dirfd, const char *path, const char *name) {
    char directory[PATH_MAX];
    size_t length = (size_t)(name - path);
    if (length + 2 > sizeof(directory)) {
        return -ENAMETOOLONG;
    }
    memcpy(directory, path, length);
    memcpy(directory + length, ".", 2);
    return above_stdio(sys_openat(dirfd, directory, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

int soft_break(int dirfd, const char *path, bool only_stale) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    struct breaking breaking = {.name = *name ? name : "."};
    breaking.directory = open_directory(dirfd, path, name);
    if (breaking.directory < 0) {
        return breaking.directory == -ENOENT ? 0 : breaking.directory;
    }
    int r = break_in_directory(&breaking, only_stale);
    (void)sys_close(breaking.directory);
    return r;
}
