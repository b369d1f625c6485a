/* Duplicating, whichever function of libc is the edge: dup.c, syscall.c. */
#ifndef AUTOLOCK_DUP_H
#define AUTOLOCK_DUP_H

/* Each as the function that `call` is; errno likewise. */
int dup_any(int fd, int (*call)(int fd));
int dup2_any(int from, int to, int (*call)(int from, int to));
int dup3_any(int from, int to, int flags, int (*call)(int from, int to, int flags));
typedef int real_fcntl(int fd, int command, ...);
int fcntl_any(int fd, int command, void *argument, real_fcntl *call);

#endif
