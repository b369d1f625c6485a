#include "config/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/sys_linux.h"

static int check(const struct sys_stat *stat) {
    if (S_ISDIR(stat->mode)) {
        return -EISDIR;
    }
    if (!S_ISREG(stat->mode)) {
        return -EINVAL;
    }
    if (stat->uid != 0 && stat->uid != sys_geteuid()) {
        return -EPERM;
    }
    if (stat->mode & (S_IWGRP | S_IWOTH)) {
        return -EPROTO;
    }
    return stat->size > TEXTFILE_SIZE_MAX ? -EFBIG : 0;
}

/* Reads up to `size` bytes. Returns how many there were. */
static ssize_t read_all(int fd, char *ret, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t r = sys_read(fd, ret + length, size - length);
        if (r == -EINTR) {
            continue;
        }
        if (r < 0) {
            return r;
        }
        if (r == 0) {
            break;
        }
        length += (size_t)r;
    }
    return (ssize_t)length;
}

static int read_open(int fd, struct textfile *ret) {
    struct sys_stat stat;
    int r = sys_fstat(fd, &stat);
    if (r == 0) {
        r = check(&stat);
    }
    if (r < 0) {
        return r;
    }
    /* What is appended meanwhile is left out; the last byte stays 0. */
    size_t mapped = (size_t)stat.size + 1;
    char *text = sys_map(mapped);
    if (!text) {
        return -ENOMEM;
    }
    sys_populate(text, mapped);
    ssize_t length = read_all(fd, text, mapped - 1);
    if (length >= 0 && memchr(text, '\0', (size_t)length)) {
        length = -EILSEQ;
    }
    if (length < 0) {
        sys_unmap(text, mapped);
        return (int)length;
    }
    *ret = (struct textfile){text, (size_t)length, mapped};
    return 0;
}

int textfile_read(const char *path, struct textfile *ret) {
    int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0) {
        return fd;
    }
    int r = read_open(fd, ret);
    (void)sys_close(fd);
    return r;
}

void textfile_done(struct textfile *file) {
    if (file->text) {
        sys_unmap((void *)(uintptr_t)file->text, file->mapped);
        file->text = NULL;
    }
}

/* strerror(3) would speak the program's language, and may allocate. */
const char *textfile_error(int error) {
    switch (error) {
    case -EPERM:
        return "belongs to neither root nor you; chown it";
    case -EPROTO:
        return "can be written by others than root and you; chmod go-w it";
    case -EINVAL:
        return "not a regular file";
    case -EISDIR:
        return "a directory, not a file";
    case -EFBIG:
        return "larger than 1 MiB";
    case -EILSEQ:
        return "has a NUL byte in it; write text in UTF-8";
    case -ENOENT:
    case -ENOTDIR:
        return "no such file";
    case -EACCES:
        return "may not be read by you";
    case -ELOOP:
        return "too many symbolic links";
    case -ENAMETOOLONG:
        return "name too long";
    case -EMFILE:
    case -ENFILE:
        return "too many open files";
    case -ENOMEM:
        return "not enough memory";
    default:
        return "cannot be read";
    }
}
