/*
 * Reading a configuration file that may be trusted.
 *
 * Whoever can write it decides how every program of its reader behaves, so that
 * it must belong to root or to the reader and be writable by nobody else
 * (contract C7). Errno untouched; no malloc.
 */
#ifndef AUTOLOCK_TEXTFILE_H
#define AUTOLOCK_TEXTFILE_H

#include <stddef.h>

#define TEXTFILE_SIZE_MAX ((size_t)1 << 20)

struct textfile {
    const char *text; /* terminated */
    size_t length;
    size_t mapped; /* private */
};

/*
 * Maps the contents of a regular file of at most 1 MiB without a NUL byte.
 * Returns 0 and the text, which the caller gives back with textfile_done; or
 *   -EPERM   it belongs to somebody else
 *   -EPROTO  somebody else may write it
 *   -EINVAL  not a regular file (-EISDIR: a directory)
 *   -EFBIG   too large
 *   -EILSEQ  a NUL byte
 *   -ENOMEM, or what open(2) and read(2) fail with.
 */
int textfile_read(const char *path, struct textfile *ret);

void textfile_done(struct textfile *file);

/* What one of these errors means and what to do, in a few words. */
const char *textfile_error(int error);

#endif
