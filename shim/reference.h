/*
 * References: which descriptors of the program keep a hold (contract H2 to H6).
 *
 * Each reference has a hidden twin, a duplicate of the locked descriptor of the
 * sidecar, so that the kernel does the counting: the lock goes when the last
 * duplicate is closed, in this process and in those that it forked. The table
 * says which twin serves which descriptor.
 *
 * The order is always: a new twin is there before the new descriptor is; the
 * old twin goes after the old descriptor is really closed. Whoever changes the
 * word of the descriptor closes the twin, so that nobody does it twice.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_REFERENCE_H
#define AUTOLOCK_REFERENCE_H

#include <stdbool.h>

#include "shim/table.h"

/* Gives `fd` the twin, which then belongs to it; -1 for none. A twin that the
 * number had before is closed: whatever it served is gone. */
void reference_set(int fd, int twin, bool close_on_exec);

/* Before the real close of fd, which has `word`: the child of a fork in between
 * has to know that it may be gone, and another thread not to take a number that comes
 * back as new for the program's locked sidecar. Returns the word that it has now. */
table_word reference_closing(int fd, table_word word);

/* After the real close of fd, which had `word` before it. */
void reference_drop(int fd, table_word word);

/* The program has unlocked fd, which had `word`, but not closed it: its hold goes, what
 * record locks it has stay. */
void reference_unlocked(int fd, table_word word);

/* A number has come back from the kernel as new: what we knew of it is void,
 * since it must have been closed behind our back. */
void reference_heal(int fd);

/* A twin more of the same hold, for a duplicate that is about to be made of fd. -1
 * when it has none (or no number is left; that is said). */
int reference_another_twin(int fd);

/* After the close-on-exec flag of fd was set: a twin that may survive exec
 * follows. */
void reference_close_on_exec(int fd, bool close_on_exec);

#endif
