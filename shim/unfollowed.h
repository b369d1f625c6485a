/*
 * Opening a file in a directory, but not what a symbolic link of that name leads to,
 * where openat2 cannot do it. open's O_NOFOLLOW would show in the file's flags (F_GETFL)
 * for ever, so it is the way for those alone who asked for it; and the last resort.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_UNFOLLOWED_H
#define AUTOLOCK_UNFOLLOWED_H

#include <sys/types.h>

/* As openat(2). The descriptor (the program's next number), or a negative errno value:
 * -ELOOP for a link. */
int unfollowed_open(int directory, const char *name, int flags, mode_t mode);

#endif
