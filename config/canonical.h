/*
 * Which file a name leads to: its directory and its canonical path.
 *
 * The directory is opened with O_PATH and its path read back from
 * /proc/thread-self/fd (without /proc: walk.h), so that links, "..", bind mounts and directories
 * that may not be searched from the root are the kernel's business. A link in the last component is
 * followed by its text, at most 40 times, as in path_resolution(7).
 *
 * No allocation; errno untouched; safe in signal handlers and after fork. Uses
 * CANONICAL_SIZE bytes of the caller's memory and about 500 of stack.
 */
#ifndef AUTOLOCK_CANONICAL_H
#define AUTOLOCK_CANONICAL_H

#include <stdbool.h>
#include <stddef.h>

struct canonical {
    int directory;    /* O_PATH descriptor of the directory, close-on-exec */
    bool is_link;     /* the last component is a link that was not followed */
    bool via_proc;    /* reached through a link that lies below /proc */
    bool nameless;    /* such a link leads to another file than the path: it has been removed or
                         replaced, or never had a name */
    size_t length;    /* of path */
    const char *name; /* last component: points into path; "" for the root */
    char path[4096];
    char scratch[4096];
};

#define CANONICAL_SIZE sizeof(struct canonical)

/*
 * Resolves `path` relative to `dirfd` (AT_FDCWD as in openat(2)). With
 * `follow` a link in the last component is followed. The last component need
 * not exist. Where the path can only name a directory ("a/", ".", "a/.."), that
 * directory must exist; the result is its real name in its parent.
 *
 * On success the caller owns ret->directory. On failure ret->directory is -1
 * and nothing is open: returns what open(2) would fail with (-ENOENT, -EACCES,
 * -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EMFILE, ...), -ENOENT also where the
 * directory has been removed or has no path here; -ERANGE where the canonical path
 * is too long for us; -EOPNOTSUPP where it takes /proc, which is not mounted.
 */
int canonical_resolve(int dirfd, const char *path, bool follow, struct canonical *ret);

/* Closes the directory, if it is open; harmless when called twice. */
void canonical_done(struct canonical *c);

#endif
