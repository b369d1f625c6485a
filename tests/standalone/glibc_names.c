#include "glibc_names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int __open_2(const char *path, int flags) {
    return open(path, flags);
}
int __open64_2(const char *path, int flags) {
    return open(path, flags);
}
int __openat_2(int dirfd, const char *path, int flags) {
    return openat(dirfd, path, flags);
}
int __openat64_2(int dirfd, const char *path, int flags) {
    return openat(dirfd, path, flags);
}
int __close(int fd) {
    return close(fd);
}
int __dup2(int from, int to) {
    return dup2(from, to);
}

#define LAST_ARGUMENT(type)                                                                        \
    va_list more;                                                                                  \
    va_start(more, flags);                                                                         \
    type argument = va_arg(more, type);                                                            \
    va_end(more);

int __open(const char *path, int flags, ...) {
    LAST_ARGUMENT(unsigned)
    return open(path, flags, argument);
}
int __open64(const char *path, int flags, ...) {
    LAST_ARGUMENT(unsigned)
    return open(path, flags, argument);
}
int __fcntl(int fd, int flags, ...) {
    LAST_ARGUMENT(long)
    return fcntl(fd, flags, argument);
}
int fcntl64(int fd, int flags, ...) {
    LAST_ARGUMENT(long)
    return fcntl(fd, flags, argument);
}
int close_range(unsigned first, unsigned last, int flags) {
    return (int)syscall(SYS_close_range, first, last, flags);
}
void closefrom(int first) {
    (void)close_range((unsigned)first, ~0u, 0);
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int first) {
    (void)actions;
    (void)first;
    return ENOSYS;
}
