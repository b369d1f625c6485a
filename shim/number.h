/*
 * Which numbers hidden descriptors have (hidden.h): never one that is in use. Where all
 * are, as after dup2 over everything, one just beyond the limit on open files, as far as
 * the hard limit allows.
 *
 * Thread- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_NUMBER_H
#define AUTOLOCK_NUMBER_H

/* Duplicates `from`, close-on-exec, to a number that is in nobody's way. Returns
 * it or a negative errno value. */
int number_high(int from);

/* The same to one that says whom it serves: 0 to 2. -EMFILE when none is free. Not to be
 * called for a sidecar with record locks of the program (record.h). */
int number_at_place(int from, int program_fd);

/* Where those beyond the soft limit begin; 0: nowhere. What tells whom it serves is one
 * of the first HIDDEN_BEYOND. */
int number_beyond(void);

/* The lowest number that is given by number_at_place. */
int number_lowest_placed(void);

#endif
