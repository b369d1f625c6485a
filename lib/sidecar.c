#include "lib/sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

#include "lib/above_stdio.h"
#include "lib/nameless.h"
#include "lib/sys_linux.h"

/* O_NONBLOCK: a planted FIFO must not hang us. */
#define FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)

struct sidecar_id sidecar_id_of(const struct sys_stat *stat) {
    return (struct sidecar_id){.device = (uint64_t)stat->dev_major << 32 | stat->dev_minor,
                               .inode = stat->ino};
}

static struct sidecar_id id_in(const struct sys_identity *file) {
    return (struct sidecar_id){.device = file->device, .inode = file->inode};
}

bool sidecar_is(int fd, struct sidecar_id id) {
    struct sys_identity file;
    return sys_identify(fd, NULL, &file) == 0 && sidecar_same(id_in(&file), id);
}

bool sidecar_same(struct sidecar_id a, struct sidecar_id b) {
    return a.inode == b.inode && a.device == b.device;
}

/* Reading and writing for each class that may read or write the data. */
static unsigned mode_like(unsigned data_mode) {
    unsigned mode = 0;
    for (unsigned shift = 0; shift <= 6; shift += 3) {
        if (data_mode >> shift & 06) {
            mode |= 06u << shift;
        }
    }
    return mode;
}

/* The umask, from the mode that a file made with 0777 got. */
static unsigned umask_seen(unsigned created_mode) {
    return ~created_mode & 0777;
}

/* Owner, group and mode of a new sidecar. Where the owner may not be given
 * away the group alone is tried; what cannot be set stays as it is. */
static int dress(int fd, enum sidecar_making making, const struct sys_stat *data) {
    struct sys_stat now;
    int r = sys_fstat(fd, &now);
    if (r < 0) {
        return r;
    }
    unsigned umask_now = umask_seen(now.mode);
    if (making == SIDECAR_PLAIN) {
        return (int)SYS_CALL(SYS_fchmod, fd, 0666 & ~umask_now, 0, 0, 0, 0);
    }
    unsigned mode = data->mode;
    if (making == SIDECAR_LIKE_FUTURE) {
        const long times[] = {(long)data->atime.seconds, (long)data->atime.nanoseconds, 0,
                              UTIME_OMIT};
        (void)SYS_CALL(SYS_utimensat, fd, NULL, times, 0, 0, 0);
        mode &= ~umask_now;
    } else if (now.uid != data->uid || now.gid != data->gid) {
        if (SYS_CALL(SYS_fchown, fd, data->uid, data->gid, 0, 0, 0) < 0) {
            (void)SYS_CALL(SYS_fchown, fd, -1, data->gid, 0, 0, 0);
        }
    }
    return (int)SYS_CALL(SYS_fchmod, fd, mode_like(mode), 0, 0, 0, 0);
}

/* Makes the sidecar appear at once with its right mode: a file that is there
 * before its mode is would lock others out for a moment. */
static int make_whole(int dirfd, const char *name, enum sidecar_making making,
                      const struct sys_stat *data) {
    int fd = nameless_open(dirfd, name, 0777);
    if (fd < 0) {
        return fd;
    }
    int r = dress(fd, making, data);
    if (r >= 0) {
        r = nameless_link(fd, dirfd, name);
    }
    if (r < 0) {
        (void)sys_close(fd);
        return r;
    }
    return fd;
}

/* For file systems without O_TMPFILE, or without /proc. */
static int make_plainly(int dirfd, const char *name, enum sidecar_making making,
                        const struct sys_stat *data) {
    int fd = above_stdio(sys_openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | FLAGS, 0777));
    if (fd >= 0) {
        (void)dress(fd, making, data);
    }
    return fd;
}

static int make(int dirfd, const char *name, enum sidecar_making making,
                const struct sys_stat *data) {
    int r = make_whole(dirfd, name, making, data);
    if (r >= 0 || r == -EEXIST || r == -EMFILE || r == -ENFILE) {
        return r;
    }
    return make_plainly(dirfd, name, making, data);
}

static bool unwritable(int error) {
    return error == -EACCES || error == -EPERM || error == -EROFS ||
           error == -ETXTBSY; /* a program that runs: flock(1) can lock it */
}

static int open_existing(int dirfd, const char *name) {
    int fd = above_stdio(sys_openat(dirfd, name, O_RDWR | FLAGS, 0));
    return unwritable(fd) ? above_stdio(sys_openat(dirfd, name, O_RDONLY | FLAGS, 0)) : fd;
}

static int open_or_make(int dirfd, const char *name, enum sidecar_making making,
                        const struct sys_stat *data) {
    int fd = -ENOENT;
    for (int attempt = 0; attempt < SIDECAR_ATTEMPTS; attempt++) {
        fd = open_existing(dirfd, name);
        if (fd != -ENOENT || making == SIDECAR_NEVER) {
            return fd;
        }
        fd = make(dirfd, name, making, data);
        if (fd != -EEXIST) {
            return fd;
        }
    }
    return -ESTALE;
}

int sidecar_open(int dirfd, const char *name, enum sidecar_making making,
                 const struct sys_stat *data, int *ret_fd, struct sidecar_id *ret_id) {
    int fd = open_or_make(dirfd, name, making, data);
    if (fd < 0) {
        return fd;
    }
    struct sys_identity file;
    int r = sys_identify(fd, NULL, &file);
    if (r == 0 && !S_ISREG(file.mode)) {
        r = -ENXIO;
    }
    if (r < 0) {
        (void)sys_close(fd);
        return r;
    }
    *ret_fd = fd;
    *ret_id = id_in(&file);
    return 0;
}

void sidecar_follow(int fd, const struct sys_stat *sidecar, const struct sys_stat *data) {
    unsigned mode = mode_like(data->mode);
    bool wide = (sidecar->mode & mode) == mode;
    bool same_owner = sidecar->uid == data->uid;
    if ((wide && same_owner && sidecar->gid == data->gid) ||
        (wide && !same_owner && sidecar->uid != 0) || /* nobody could do more */
        sidecar->size != 0 || sidecar->nlink != 1) {
        return;
    }
    unsigned self = (unsigned)SYS_CALL(SYS_geteuid, 0, 0, 0, 0, 0, 0);
    if (self == 0 ? sidecar->uid == 0 || same_owner : sidecar->uid == self) {
        (void)dress(fd, SIDECAR_LIKE_DATA, data);
    }
}

/* Let in by the sidecar of our making, but not by the file any more: others. */
static bool lets_in_too_many(const struct sys_stat *sidecar, const struct sys_stat *data) {
    unsigned mode = mode_like(data->mode), now = sidecar->mode & 07777;
    return (now & mode) == mode && now & 0066 & ~mode && now == mode_like(now) &&
           sidecar->uid == data->uid && sidecar->gid == data->gid && sidecar->size == 0 &&
           sidecar->nlink == 1;
}

void sidecar_follow_change(int fd, const struct sys_stat *sidecar, const struct sys_stat *data) {
    if (!lets_in_too_many(sidecar, data)) {
        sidecar_follow(fd, sidecar, data);
        return;
    }
    unsigned mode = mode_like(data->mode) | 0600; /* or the owner could not open it any more */
    (void)SYS_CALL(SYS_fchmod, fd, mode, 0, 0, 0, 0);
}

int sidecar_is_current(int dirfd, const char *name, int fd, struct sidecar_id id) {
    struct sys_identity path, descriptor;
    int r = sys_identify(dirfd, name, &path);
    if (r == -ENOENT) {
        return 0;
    }
    if (r < 0) {
        return r;
    }
    if (sidecar_same(id_in(&path), id)) {
        return 1;
    }
    /* overlayfs gives a file another identity once it has been copied up; only
     * what the descriptor says now counts. */
    r = sys_identify(fd, NULL, &descriptor);
    if (r < 0) {
        return r;
    }
    return sidecar_same(id_in(&path), id_in(&descriptor)) ? 1 : 0;
}
