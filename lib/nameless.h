/*
 * A file that appears whole: made without a name (O_TMPFILE), filled, given its
 * mode, and only then linked to its path (open(2), NOTES). A process that is
 * killed in between leaves nothing, and nobody sees it half made.
 *
 * Not every file system can (NFS, vfat), and giving the name needs /proc: then
 * the caller has to make the file in the plain way. No allocation; errno
 * untouched; safe in threads and signal handlers.
 */
#ifndef FILELOCK_NAMELESS_H
#define FILELOCK_NAMELESS_H

/* Opens one for reading and writing in the directory where `name` (in `dirfd`,
 * as openat(2)) is to be; `mode` less the umask. Close-on-exec. Returns the
 * descriptor, the caller's, or a negative errno value. */
int nameless_open(int dirfd, const char *name, unsigned mode);

/* Gives it the name. Returns 0, -EEXIST, or another negative errno value. */
int nameless_link(int fd, int dirfd, const char *name);

#endif
