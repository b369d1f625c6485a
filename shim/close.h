/* Closing, whichever function of libc is the edge: close.c, syscall.c. */
#ifndef AUTOLOCK_CLOSE_H
#define AUTOLOCK_CLOSE_H

/* Each as the function that `call` is; errno likewise. */
int close_any(int fd, int (*call)(int fd));
int close_range_any(unsigned first, unsigned last, int flags,
                    int (*call)(unsigned first, unsigned last, int flags));

#endif
