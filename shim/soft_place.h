/*
 * Where the markers of this process's soft holds are, by the name that they were made
 * with: the kernel tells where an open file is only by way of /proc.
 *
 * Within soft_enter. No malloc; errno untouched.
 */
#ifndef AUTOLOCK_SOFT_PLACE_H
#define AUTOLOCK_SOFT_PLACE_H

#include "lib/sidecar.h"
#include "shim/target.h"

/* Remembers the marker `id` of that target; not where there is no memory. */
void soft_place_add(struct sidecar_id id, const struct target *target);

/* Its path; "" where it is not known. */
const char *soft_place_find(struct sidecar_id id);
void soft_place_drop(struct sidecar_id id);

#endif
