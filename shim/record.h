/*
 * Record locks of the program on a sidecar (fcntl, lockf; contract O7).
 *
 * Closing any descriptor of a file drops the process's record locks on it, so
 * that a program which has some on X.lock and opens and closes X would lose them
 * to ours. So the descriptor through which it has some is noted in the table
 * (MODE_RECORDS), and as long as it has them no descriptor of ours for that sidecar
 * is closed: it is left (TABLE_LEFT), still locked, for a later hold to take up.
 * Nor is the sidecar opened anew for a hold; the program's descriptor serves,
 * since a duplicate of it need not be closed.
 *
 * Where a program has no such locks all this costs nothing. Not seen: a record
 * lock through a descriptor on which it has called flock(2) as well; and exec,
 * which closes what is left.
 *
 * Thread-, fork- and signal-safe like the table; errno untouched.
 */
#ifndef AUTOLOCK_RECORD_H
#define AUTOLOCK_RECORD_H

#include <stdbool.h>

#include "shim/table.h"

/* After a successful F_SETLK, F_SETLKW or lockf; `unlock`: which may have been the
 * last one. */
void record_changed(int fd, bool unlock);

/* Whether this process may have record locks on any file at all: it has made some,
 * or has inherited descriptors over exec, which keeps them. No system call. */
bool record_used(void);
void record_use(void);

/* Whether this process may have record locks on any sidecar. No system call. */
bool record_any(void);

/* The program's descriptor through which it has record locks on this sidecar, with
 * the sidecar's identity; -1 for none. */
int record_find(int directory, const char *sidecar, struct sidecar_id *ret_id);

/* Instead of closing a hidden descriptor that the caller has claimed and that had
 * the word `before`: true when it is left. */
bool record_leave(int fd, table_word before);

/* Takes up again what was left of this sidecar, locked or unlocked, if anything: the
 * calling thread has it in transit then, with `mode`. -1 for none. */
int record_take_left(struct sidecar_id id, bool is_locked, enum table_mode mode);

/* Closes what was left and may be closed by now. */
void record_sweep(void);

/* A child of fork is about to share our descriptors; and it is here, with its
 * parent's descriptors but none of its record locks. */
void record_before_fork(void);
void record_after_fork(void);

#endif
