/*
 * Hidden descriptors: the shim's own, where the program does not look.
 *
 * They lie just under the lower of 1024 and the soft limit (contract T2), are
 * close-on-exec and known in the table (table.h).
 *
 * What survives exec carries a mark that the program after exec can see:
 * F_SETSIG lives in the open file description and does nothing without O_ASYNC
 * (fcntl(2)). It also says what the rule's inherit= was, so that a hold is
 * treated alike in all processes that share it. The twins of descriptors 0 to 2
 * survive exec together with what they serve; each has a number that is 0 to 2
 * too, modulo 4, at the very top: so the program after exec sees whose it is,
 * whatever has become of the limit meanwhile (pickup.h).
 *
 * Thread-, fork- and signal-safe like the table; errno untouched.
 */
#ifndef AUTOLOCK_HIDDEN_H
#define AUTOLOCK_HIDDEN_H

#include <stdbool.h>

#include "config/rules.h"
#include "shim/table.h"

#define HIDDEN_END 1024  /* they are all below, as long as there is room */
#define HIDDEN_BEYOND 64 /* so many more, and beyond the limit, where all are taken */
#define HIDDEN_STDIO 3   /* descriptors 0 to 2 */
/* Whom a number with a mark serves: 0 to 2, or 3 for none of them. */
#define HIDDEN_PLACE(number) ((number)&3)

/* Duplicates `from` to a hidden number. The calling thread owns it (in transit)
 * until it serves a program's descriptor. Returns the number or a negative
 * errno value. */
int hidden_make(int from, enum table_mode mode, struct sidecar_id id);

/* Duplicates a hidden descriptor likewise. for_fd: to a number that tells the
 * program after exec whom it serves (as long as one is free), -1: to any. */
int hidden_another(int fd, int for_fd);

/* Duplicates `from` (a hidden descriptor, or the program's own of a sidecar), which
 * had `word` and is one of the sidecar `id`. -EBADF when that is no longer so. */
int hidden_copy(int from, table_word word, enum table_mode mode, struct sidecar_id id);

/* Whether the hold that it has is to survive exec together with a descriptor
 * `for_fd` that does. */
bool hidden_survives_exec(int fd, int for_fd);

/* Closes a hidden descriptor, if it is still ours. */
void hidden_close(int fd);

/* The same only if it serves this descriptor of the program. */
void hidden_release(int fd, int program_fd);

/* Closes what nobody is left to close: of a thread that is not in this process,
 * or of a call that the program has jumped out of. */
void hidden_close_orphan(int fd);

/* Whether it is still what the table says: somebody may have closed it with a
 * raw system call, and the number may be a file of the program's by now. */
bool hidden_is_ours(int fd, table_word word);

/* Whether the number is one of ours, and so not there for the program. (The table
 * of a vforked child also has what its parent's threads have made since, and at
 * these numbers the child may have something of its own; and it has its parent's soft
 * locks, which are nothing to it: a child that closes all before exec takes none of
 * them along.) */
bool hidden_is_here(int fd);

/* Forgets a word whose descriptor is not ours any more. */
void hidden_heal(int fd, table_word word);

/* Sets what a hidden descriptor holds; or what all those of a sidecar do that
 * have the mode `from`. */
void hidden_set_mode(int fd, enum table_mode mode);
void hidden_set_modes(struct sidecar_id id, enum table_mode from, enum table_mode to);

/* Says that it serves no descriptor but `other`, TABLE_KEPT or TABLE_MAPPED; and
 * finds the one of this sidecar that does, -1 for none. */
void hidden_mark(int fd, int other);
int hidden_find_marked(struct sidecar_id id, int other);
/* What becomes of the hold at exec and fork (rule option inherit=). Set once the
 * lock is there; read from the description itself. */
void hidden_set_inherit(int fd, enum rule_inherit inherit);
enum rule_inherit hidden_inherit(int fd);

/* The mark of what is to survive exec with descriptor 0, 1 or 2. */
void hidden_mark_stdio(int fd);

/* It is a duplicate of a descriptor of the program's own, which has called flock(2) on
 * it: after exec only a high number is one of ours. */
void hidden_mark_program(int fd);
bool hidden_is_programs(int fd);

/* It is the marker of a soft lock that this process has made: the description says
 * whose it is (F_SETOWN, as the kernel knows processes), and what the rule's inherit=
 * was. To fork and exec such a one is like inherit=none. */
void hidden_mark_soft(int fd, enum rule_inherit inherit);

/* Whether it is one, of whichever process; what for. And whether this process's. */
bool hidden_is_soft(int fd, enum rule_inherit *ret_inherit);
bool hidden_is_own_soft(int fd);

/* Whether it has the mark of one of ours: what came through exec. */
bool hidden_is_marked(int fd, enum rule_inherit *ret_inherit);

/* Ties a hidden descriptor to the program's `fd`: places it (0 to 2) and says
 * so in the table, but not yet in the word of `fd`. Returns its number, which
 * may have changed. */
int hidden_serve(int fd, int program_fd, bool close_on_exec);

/* The program's descriptor changed its close-on-exec flag. */
void hidden_follow(int fd, int program_fd, bool close_on_exec);

/* The same for whatever it serves, if anything, as that is now. */
void hidden_follow_served(int fd);

/* It survives exec, and the program after that knows it for ours. */
void hidden_keep_over_exec(int fd);

/* Makes way for the program, which wants this number for itself: afterwards it
 * is free. Flags are kept. */
void hidden_move_away(int fd);

/* A hidden descriptor that holds this sidecar for this process, other than
 * `except`; with the word that it had. -1 when there is none. */
int hidden_find(struct sidecar_id id, int except, table_word *ret_word);

#endif
