#include "shim/proclines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys_linux.h"

/* Most files here are shorter, and stacks may be small. */
#define CHUNK 1024

int proclines_each_by(int dirfd, const char *path, char *buffer, size_t size,
                      bool (*line)(const char *line, void *data), void *data) {
    int fd = sys_openat(dirfd, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    size_t filled = 0;
    bool stopped = false, skip = false; /* the rest of a line that was cut */
    while (!stopped) {
        ssize_t n = sys_read(fd, buffer + filled, size - 1 - filled);
        if (n <= 0) {
            break;
        }
        filled += (size_t)n;
        buffer[filled] = '\0';
        char *start = buffer, *end;
        while (!stopped && (end = strchr(start, '\n'))) {
            *end = '\0';
            stopped = !skip && line(start, data);
            skip = false;
            start = end + 1;
        }
        filled -= (size_t)(start - buffer);
        memmove(buffer, start, filled);
        if (!stopped && filled == size - 1) {
            buffer[filled] = '\0';
            stopped = !skip && line(buffer, data);
            skip = true;
            filled = 0;
        }
    }
    if (!stopped && filled > 0 && !skip) {
        buffer[filled] = '\0';
        stopped = line(buffer, data);
    }
    (void)sys_close(fd);
    return stopped;
}

int proclines_each(int dirfd, const char *path, bool (*line)(const char *line, void *data),
                   void *data) {
    char buffer[CHUNK];
    return proclines_each_by(dirfd, path, buffer, sizeof(buffer), line, data);
}

int proclines_each_number(int dirfd, const char *path,
                          bool (*entry)(int directory, unsigned number, void *data), void *data) {
    _Alignas(8) char buffer[CHUNK];
    int fd = sys_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    bool stopped = false;
    ssize_t n;
    while (!stopped && (n = sys_getdents64(fd, buffer, CHUNK)) > 0) {
        for (ssize_t at = 0; at < n && !stopped;) {
            /* struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name */
            unsigned short length;
            memcpy(&length, buffer + at + 16, sizeof(length));
            const char *name = buffer + at + 19;
            if (*name >= '0' && *name <= '9') {
                stopped = entry(fd, (unsigned)strtoul(name, NULL, 10), data);
            }
            at += length;
        }
    }
    (void)sys_close(fd);
    return stopped;
}

void proclines_path(struct text *text, pid_t pid, const char *rest) {
    text_put(text, "/proc/");
    if (pid == 0) {
        text_put(text, "self");
    } else {
        text_put_number(text, (uint64_t)pid, 10);
    }
    text_put(text, rest);
}
