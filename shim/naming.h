/*
 * Calls that change what a name leads to, or cut the file that it leads to:
 * rename, unlink, truncate and their kin. They take the hold for as long as
 * they last, so that nobody's open file is replaced under it (contract H9).
 *
 *     struct naming_name names[] = {{.dirfd = AT_FDCWD, .path = path, .role = ...}};
 *     int r = naming_begin(names, 1);
 *     if (r == 0) {
 *         result = real.unlinkat(naming_directory(&names[0]), naming_path(&names[0]), 0);
 *         naming_end(names, 1, result == 0);
 *     }
 *
 * Only existing regular files are locked, directories and links are not. A name
 * that goes is locked by a sidecar that is there already, and none is made for
 * it: a directory would not be empty any more. Of several names the one whose
 * canonical path comes first is locked first, by everybody.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_NAMING_H
#define AUTOLOCK_NAMING_H

#include "shim/doing.h"
#include "shim/target.h"

enum naming_role {
    NAMING_GOES,     /* unlinked, or renamed to another name */
    NAMING_REPLACED, /* another file gets this name */
    NAMING_CUT,      /* the file that it leads to (through links) is truncated */
};

struct naming_name {
    int dirfd;
    const char *path;
    enum naming_role role;
    /* Private. */
    struct target *target;
    int twin;
    int kept;
    struct doing doing;
};

/* Returns 0, whether or not something is locked: make the call, then
 * naming_end. Or the negative errno value that the call fails with. */
int naming_begin(struct naming_name *names, int count);
void naming_end(struct naming_name *names, int count, bool succeeded);

/* How to call the file in between: relative to the directory that was looked
 * at, where it is locked. */
int naming_directory(const struct naming_name *name);
const char *naming_path(const struct naming_name *name);

#endif
