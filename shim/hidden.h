/*
 * Hidden descriptors: the shim's own, where the program does not look.
 *
 * They lie just under the lower of 1024 and the soft limit (contract T2), are
 * close-on-exec and known in the table (table.h). Those that serve descriptors
 * 0 to 2 have fixed places at the very top, survive exec together with the
 * descriptor that they serve, and carry a mark that the program after exec can
 * see: F_SETSIG lives in the open file description and does nothing without
 * O_ASYNC (fcntl(2)).
 *
 * Thread-, fork- and signal-safe like the table; errno untouched.
 */
#ifndef AUTOLOCK_HIDDEN_H
#define AUTOLOCK_HIDDEN_H

#include <stdbool.h>

#include "shim/table.h"

/* Duplicates `from` to a hidden number. The caller owns it until it serves a
 * program's descriptor. Returns the number or a negative errno value. */
int hidden_make(int from, enum table_mode mode, struct sidecar_id id);

/* Closes a hidden descriptor, if it is still ours. */
void hidden_close(int fd);

/* Sets what a hidden descriptor holds. */
void hidden_set_mode(int fd, enum table_mode mode);

/* Says that it serves no descriptor but `other`, TABLE_KEPT or TABLE_MAPPED; and
 * finds the one of this sidecar that does, -1 for none. */
void hidden_mark(int fd, int other);
int hidden_find_marked(struct sidecar_id id, int other);

/* Ties a hidden descriptor to the program's `fd`: places it (0 to 2) and says
 * so in the table, but not yet in the word of `fd`. Returns its number, which
 * may have changed. */
int hidden_serve(int fd, int program_fd, bool close_on_exec);

/* Makes way for the program, which wants this number for itself. */
void hidden_move_away(int fd);

/* Takes over what the program before exec left for descriptors 0 to 2. */
void hidden_pick_up(void);

/* A hidden descriptor that holds this sidecar for this process, other than
 * `except`; with the word that it had. -1 when there is none. */
int hidden_find(struct sidecar_id id, int except, table_word *ret_word);

#endif
