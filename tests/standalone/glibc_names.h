/* Names that the puppet calls and musl does not have: glibc_names.c makes them
 * what they would be if it had. */
#ifndef STAND_IN_GLIBC_NAMES_H
#define STAND_IN_GLIBC_NAMES_H

#include <spawn.h>

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);
int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);
int __close(int fd);
int __dup2(int from, int to);
int __fcntl(int fd, int command, ...);
int fcntl64(int fd, int command, ...);
int close_range(unsigned first, unsigned last, int flags);
void closefrom(int first);
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int first);

#endif
