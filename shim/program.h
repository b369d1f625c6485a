/*
 * Sidecars that the program has locked itself by flock(2) (contract O4), as the table
 * knows them (TABLE_PROGRAM).
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_PROGRAM_H
#define AUTOLOCK_PROGRAM_H

#include <stdbool.h>

#include "lib/sidecar.h"

/* Whether a descriptor of the program, other than `except`, has the sidecar locked by
 * itself. */
bool program_has_it(int except, struct sidecar_id id);

/* The program's descriptor that has it exclusively, or (unless it is wanted exclusively)
 * shared; -1 for none. */
int program_find(struct sidecar_id id, bool exclusive);

/* A hidden duplicate of the program's descriptor fd, which has the sidecar exclusively,
 * since it was in our way: the same lock. -EAGAIN when that is not so any more: another
 * thread may close it, and get the number for another description. Or an error. */
int program_share(int fd, struct sidecar_id id);

/* Shared locks of the program become references of our own shared hold, which the
 * hidden descriptor `own` has: who is about to upgrade that has them all. */
void program_join_all(int own, struct sidecar_id id);

#endif
