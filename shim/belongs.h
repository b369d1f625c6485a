/*
 * Is this descriptor the data file of that sidecar? Told by the names that
 * /proc/self/fd has for both, for those who find a twin without knowing what
 * for: after exec, or after a fork in the middle of a close.
 *
 * No malloc; thread- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_BELONGS_H
#define AUTOLOCK_BELONGS_H

enum belongs {
    BELONGS_NOT,   /* closed, not a regular file, or another one */
    BELONGS_MAYBE, /* it cannot be told (no /proc) */
    BELONGS,
};

enum belongs belongs(int sidecar, int fd);

#endif
