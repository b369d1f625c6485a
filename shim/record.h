/*
 * Record locks of the program on a sidecar (fcntl, lockf; contract O7).
 *
 * Closing any descriptor of a file drops the process's record locks on it, so
 * that a program which has some on X.lock and opens and closes X would lose them
 * to ours. So the descriptor through which it has some is noted in the table
 * (table_has_records), and as long as it has them no descriptor of ours for that
 * sidecar is closed: it is left (TABLE_LEFT), still locked, for a later hold to take
 * up. Nor is the sidecar opened anew for a hold; the program's descriptor serves,
 * since a duplicate of it need not be closed.
 *
 * Exec would close ours, too: where the program's descriptor survives it, so do they
 * (record_exec.c), and the program after exec finds both. The child of a vfork has
 * them over its exec for nothing, and lets them go if it is under the shim then.
 *
 * Where a program has no such locks all this costs nothing.
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

/* Notes that it has some through fd, which has `word` and is one of the sidecar `id`;
 * and whether what was noted of fd is still so. */
void record_note(int fd, table_word word, struct sidecar_id id);
bool record_is_still(int fd);

/* The descriptor through which it has some on this sidecar; -1 for none. */
int record_descriptor(struct sidecar_id id);

/* The program's descriptor through which it has record locks on this sidecar, with
 * the sidecar's identity; -1 for none. */
int record_find(int directory, const char *sidecar, struct sidecar_id *ret_id);

/* Instead of closing a hidden descriptor that the caller has claimed and that had
 * the word `before`: true when it is left. */
bool record_leave(int fd, table_word before);

/* Takes up again what was left of this sidecar, locked or unlocked, if anything: the
 * calling thread has it in transit then, with `mode`. -1 for none. */
int record_take_left(struct sidecar_id id, bool is_locked, enum table_mode mode);

/* A hidden descriptor has been given something to serve, or its close-on-exec flag was
 * set: with record locks that survive exec it survives as well. And no longer. */
void record_keep_over_exec(int fd);
void record_end_over_exec(int fd);

/* The same for all of a sidecar, when the close-on-exec flag of the program's
 * descriptor fd, through which it has record locks, may have changed. */
void record_close_on_exec(int fd);

/* After exec: whether the program has record locks through fd, which is one of the
 * sidecar `id`. Then that is noted. And the same of a file `id` that is called like one. */
bool record_pick_up(int fd, struct sidecar_id id);
bool record_inherit(int fd, struct sidecar_id id);

/* Closes what was left and may be closed by now. */
void record_sweep(void);

/* A child of fork is about to share our descriptors; and it is here, with its
 * parent's descriptors but none of its record locks. */
void record_before_fork(void);
void record_after_fork(void);

#endif
