/*
 * What the sidecar of a data file is called: beside it, the same name with
 * ".lock"; in a lockdir=, its whole path and ".lock", with each '/' as '%', as
 * editors name their swap files. So that no two paths share one, a '%' in the path
 * is "=25" there, and a '=' is "=3D".
 *
 * Pure functions over strings; errno untouched; thread-, fork- and signal-safe.
 */
#ifndef AUTOLOCK_SIDECAR_PATH_H
#define AUTOLOCK_SIDECAR_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define SIDECAR_SUFFIX ".lock"

/* The longest lockdir=, and room for every name that sidecar_name makes. */
#define LOCKDIR_MAX 511
#define SIDECAR_NAME_SIZE (LOCKDIR_MAX + 1 + 255 + 1)

/*
 * The name of the sidecar of the canonical absolute path: relative to the
 * directory of the data file, or absolute where lockdir is not NULL. Cut, and
 * false, where its last component would be longer than 255 bytes (NAME_MAX).
 */
bool sidecar_name(const char *path, const char *lockdir, char ret[SIDECAR_NAME_SIZE]);

/* Whether a path of this length ends as that of a sidecar does, and in more than that. */
bool sidecar_has_suffix(const char *path, size_t length);

/*
 * The other way: makes of the absolute path of a sidecar that of its data file,
 * in place, beside it or as one in a lockdir= is called. False, and nothing
 * changed, where it is not called so.
 */
bool sidecar_owner(char *path, bool in_lockdir);

#endif
