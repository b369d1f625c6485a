#include "lib/process_stat.h"

#include <errno.h>
#include <string.h>

#include "lib/put.h"
#include "lib/sys_linux.h"

bool process_stat_is_lack(int error) {
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

ssize_t process_stat_file(const char *path, char *ret, size_t size) {
    int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    ssize_t n = sys_read(fd, ret, size - 1);
    (void)sys_close(fd);
    ret[n > 0 ? n : 0] = '\0';
    return n;
}

static uint64_t number_at(const char *text) {
    uint64_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        number = number * 10 + (uint64_t)(*text - '0');
    }
    return number;
}

static const char *path_of(char ret[64], pid_t pid, const char *file) {
    struct put put = put_begin(ret, 64);
    put_string(&put, "/proc/");
    if (pid == 0) {
        put_string(&put, "self");
    } else {
        put_number(&put, (unsigned long)pid);
    }
    put_string(&put, "/");
    put_string(&put, file);
    return ret;
}

int process_stat_read(pid_t pid, struct process_stat *ret) {
    char path[64], text[512]; /* 23 fields, the name of 64 bytes at most */
    ssize_t n = process_stat_file(path_of(path, pid, "stat"), text, sizeof(text));
    if (n < 0) {
        return n == -ENOENT ? -ESRCH : (int)n;
    }
    /* The name, field 2, is in parentheses and may hold anything. */
    const char *at = strrchr(text, ')');
    for (int field = 3; field <= 23; field++) {
        at = at ? strchr(at + 1, ' ') : NULL;
        if (!at) {
            return -EINVAL;
        }
        if (field == 3) {
            ret->state = at[1];
        } else if (field == 20) {
            ret->threads = number_at(at + 1);
        } else if (field == 22) {
            ret->start = number_at(at + 1);
        } else if (field == 23 && number_at(at + 1) == 0 && pid == sys_getpid()) {
            return -ENOTSUP; /* we do have memory: it is an emulator that says so */
        }
    }
    return 0;
}

bool process_stat_is_over(const struct process_stat *stat) {
    return (stat->state == 'Z' || stat->state == 'X') && stat->threads <= 1;
}

static ssize_t namespace_of(pid_t pid, char ret[64]) {
    char path[64];
    ssize_t n = sys_readlinkat(AT_FDCWD, path_of(path, pid, "ns/time"), ret, 63);
    ret[n > 0 ? n : 0] = '\0';
    return n;
}

/* Its children's, to be exact; it differs only between an unshare(2) and a fork. */
static ssize_t offsets_of(pid_t pid, char ret[256]) {
    char path[64];
    return process_stat_file(path_of(path, pid, "timens_offsets"), ret, 256);
}

int process_stat_shares_time(pid_t pid) {
    char ours[256], its[256];
    if (namespace_of(0, ours) == -ENOENT) {
        return 1; /* the kernel has none */
    }
    if (*ours && namespace_of(pid, its) > 0) {
        return strcmp(ours, its) == 0;
    }
    /* Another user's processes keep their namespaces to themselves, but tell by how
     * much they are off. */
    ssize_t a = offsets_of(0, ours), b = a < 0 ? a : offsets_of(pid, its);
    if (b < 0) {
        return process_stat_is_lack((int)b) ? (int)b : 0;
    }
    return strcmp(ours, its) == 0;
}
