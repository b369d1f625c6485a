#include "lib/soft.h"

#include <errno.h>
#include <limits.h>

#include "lib/above_stdio.h"
#include "lib/nameless.h"
#include "lib/process_stat.h"
#include "lib/put.h"
#include "lib/sys_linux.h"
#include "lib/unsignalled.h"

static int same_file(int dirfd, const char *path, int fd) {
    struct sys_stat a, b;
    int r = sys_stat(dirfd, path, AT_SYMLINK_NOFOLLOW, &a);
    if (r == 0) {
        r = sys_fstat(fd, &b);
    }
    return r < 0 ? r : sidecar_same(sidecar_id_of(&a), sidecar_id_of(&b));
}

/* -ESTALE: the path does not lead to the file. */
static int unlink_if_same(int dirfd, const char *path, int fd) {
    int r = same_file(dirfd, path, fd);
    if (r > 0) {
        r = (int)SYS_CALL(SYS_unlinkat, dirfd, path, 0, 0, 0, 0);
    } else if (r == 0) {
        r = -ESTALE;
    }
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? -ESTALE : r;
}

/* The directory may have been left (chdir) or renamed, or a breaker who is about to
 * see his mistake may have moved the file aside: where is it now? */
static int unlink_where_it_is(int fd) {
    char link[32], path[PATH_MAX];
    struct put put = put_begin(link, sizeof(link));
    put_string(&put, "/proc/self/fd/");
    put_number(&put, (unsigned)fd);
    ssize_t n = sys_readlinkat(AT_FDCWD, link, path, sizeof(path) - 1);
    if (n <= 0 || path[0] != '/') {
        return -ESTALE;
    }
    path[n] = '\0';
    return unlink_if_same(AT_FDCWD, path, fd);
}

/* Whether it has lost its last name. -ESTALE is how NFS says so. */
static int has_no_name(int fd) {
    struct sys_stat stat;
    int r = sys_fstat(fd, &stat);
    return r < 0 ? r == -ESTALE : stat.nlink == 0;
}

int soft_unlink(int dirfd, const char *path, int fd) {
    int r = -ESTALE;
    /* It may change its place between two looks, and back again. */
    for (int attempt = 0; r == -ESTALE && attempt < 10; attempt++) {
        r = unlink_if_same(dirfd, path, fd);
        if (r == -ESTALE) {
            r = unlink_where_it_is(fd);
        }
        if (r == -ESTALE && has_no_name(fd)) {
            break;
        }
    }
    return r == -ESTALE && !has_no_name(fd) ? -ENOENT : r;
}

int soft_remove(int dirfd, const char *path, int fd) {
    int r = soft_unlink(dirfd, path, fd);
    if (r == 0 || r == -ESTALE) {
        (void)sys_close(fd);
    }
    return r;
}

void soft_abandon(int dirfd, const char *path, int fd) {
    int r = soft_remove(dirfd, path, fd);
    if (r < 0 && r != -ESTALE) {
        (void)sys_close(fd);
    }
}

/* All of the text or nothing. */
static int fill(int fd, const struct soft_text *text, unsigned mode, struct sys_stat *ret_stat) {
    ssize_t n = unsignalled_write(fd, text->start, text->length);
    if (n < 0) {
        return (int)n;
    }
    if ((size_t)n < text->length) {
        return -ENOSPC;
    }
    int r = sys_fstat(fd, ret_stat);
    mode |= S_IWUSR; /* py-filelock takes one that its owner may not write for no lock */
    if (r == 0 && (ret_stat->mode & mode) != mode) {
        r = (int)SYS_CALL(SYS_fchmod, fd, (ret_stat->mode & 07777) | mode, 0, 0, 0, 0);
    }
    return r;
}

/* One that is killed between making an empty marker and filling it leaves a lock
 * that is held for ever: so it appears filled. */
static int make_whole(int dirfd, const char *path, const struct soft_text *text, unsigned mode,
                      struct sys_stat *ret_stat) {
    int fd = nameless_open(dirfd, path, 0666);
    if (fd < 0) {
        return fd;
    }
    int r = fill(fd, text, mode, ret_stat);
    if (r == 0) {
        r = nameless_link(fd, dirfd, path);
    }
    if (r < 0) {
        (void)sys_close(fd);
        return r;
    }
    return fd;
}

/* For file systems without O_TMPFILE, or without /proc. */
static int make_plainly(int dirfd, const char *path, const struct soft_text *text, unsigned mode,
                        struct sys_stat *ret_stat) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int made = sys_openat(dirfd, path, flags, 0666);
    if (made < 0) {
        return made;
    }
    int fd = above_stdio_too(made);
    int r = fd < 0 ? fd : fill(fd, text, mode, ret_stat);
    if (r < 0) {
        (void)soft_unlink(dirfd, path, made);
    }
    if (fd != made) {
        (void)sys_close(made);
    }
    if (r < 0 && fd >= 0) {
        (void)sys_close(fd);
    }
    return r < 0 ? r : fd;
}

/* What says nothing of files without a name: in the plain way it would fail as well, but
 * there would be an empty marker for a moment, and for ever if we are killed in it. */
static bool is_no_matter_of_way(int error) {
    return error == -EEXIST || error == -ENOSPC || error == -EDQUOT || error == -EFBIG ||
           process_stat_is_lack(error);
}

/* One that was opened without a name would never be found again by its descriptor:
 * so another one, which was opened by name. O_NONBLOCK: a FIFO that somebody has put in
 * its place must not hang us. */
static int with_name(int dirfd, const char *path, int fd) {
    const int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int named = above_stdio(sys_openat(dirfd, path, flags, 0));
    if (named < 0) {
        return fd;
    }
    struct sys_stat a, b;
    bool same = sys_fstat(fd, &a) == 0 && sys_fstat(named, &b) == 0 &&
                sidecar_same(sidecar_id_of(&a), sidecar_id_of(&b));
    (void)sys_close(same ? fd : named);
    return same ? named : fd;
}

int soft_make(int dirfd, const char *path, const struct soft_text *text, unsigned mode, int *ret_fd,
              struct sidecar_id *ret_id) {
    struct sys_stat stat;
    int fd = make_whole(dirfd, path, text, mode, &stat);
    if (fd >= 0) {
        fd = with_name(dirfd, path, fd);
    }
    if (fd < 0 && !is_no_matter_of_way(fd)) {
        fd = make_plainly(dirfd, path, text, mode, &stat);
    }
    if (fd < 0) {
        return fd;
    }
    *ret_fd = fd;
    *ret_id = sidecar_id_of(&stat);
    return 0;
}

int soft_open(int dirfd, const char *path) {
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return above_stdio(sys_openat(dirfd, path, flags, 0));
}

int soft_read(int fd, struct soft_owner *ret) {
    struct sys_stat stat;
    char text[SOFT_TEXT_SIZE];
    if (process_stat_is_lack(fd)) {
        return fd;
    }
    if (fd < 0 || sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        *ret = (struct soft_owner){.state = SOFT_UNKNOWN};
        return 0;
    }
    ssize_t n = (ssize_t)SYS_CALL(SYS_pread64, fd, text, sizeof(text) - 1, 0, 0, 0);
    text[n > 0 ? n : 0] = '\0';
    return soft_text_judge(text, ret);
}

int soft_judge(int dirfd, const char *path, struct soft_owner *ret, struct sidecar_id *ret_id) {
    struct sys_stat stat;
    int fd = soft_open(dirfd, path);
    int r = fd < 0 ? sys_stat(dirfd, path, AT_SYMLINK_NOFOLLOW, &stat) : sys_fstat(fd, &stat);
    if (r == -ENOENT) {
        *ret = (struct soft_owner){.state = SOFT_FREE};
        r = 0;
    } else if (r == 0 && S_ISDIR(stat.mode)) {
        r = -EISDIR; /* nobody's lock, and nobody would ever remove it */
    } else if (r == 0) {
        r = soft_read(fd, ret);
        *ret_id = sidecar_id_of(&stat);
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return r;
}
