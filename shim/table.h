/*
 * What each descriptor of this process is to us.
 *
 * One word a descriptor number, changed by compare and swap only, so that open
 * and close need no lock and work in signal handlers:
 *
 *   TABLE_NONE    not ours
 *   TABLE_DATA    the program's descriptor of a data file, or of a sidecar that
 *                 was given a reference; `other` is its hidden twin, a duplicate
 *                 of the locked descriptor of the sidecar
 *   TABLE_HIDDEN  a descriptor of ours; `other` is the program's descriptor that
 *                 it serves (table_serves), or says whose it is otherwise: a
 *                 thread's that is in the middle of something (table_transit),
 *                 or nobody's (TABLE_KEPT, TABLE_MAPPED, TABLE_ANCHOR)
 *   TABLE_PROGRAM a sidecar that the program has locked itself, by flock or by
 *                 fcntl
 *
 * A sidecar on which the program has record locks (fcntl) says so besides
 * (table_has_records), whether it is TABLE_DATA or TABLE_PROGRAM.
 *
 * Who may change the word of a hidden descriptor: the thread that has it in
 * transit; afterwards whoever has changed the word of the descriptor that it
 * serves. To close or move one it is claimed first (MODE_CLOSING, in transit),
 * so that of two who would, one does. Only a lost upgrade changes those of
 * others (upgrade.h).
 *
 * Each change takes a new generation, so that a word that was read is either
 * unchanged or recognisably another (no ABA).
 *
 * The table is mapped piece by piece, without malloc, and a child of fork gets
 * its copy. A child that shares our memory (vfork, clone) must not change it:
 * its words go to a small overlay of the calling thread, which is dropped when
 * another process looks at it. One that cannot grow forgets what the kernel will
 * tell anyway: that something is closed.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_TABLE_H
#define AUTOLOCK_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/sidecar.h"

enum table_kind { TABLE_NONE, TABLE_DATA, TABLE_HIDDEN, TABLE_PROGRAM };

/* What a hidden descriptor (or the program's own) holds of its sidecar. */
enum table_mode {
    MODE_NOTHING, /* no lock: a directory in use */
    MODE_WAITING, /* a thread is about to get it */
    MODE_LOST,    /* shared, or was; but others may have written since it was read */
    MODE_SHARED,
    MODE_EXCLUSIVE,
    MODE_UPGRADING, /* a thread turns the shared lock into an exclusive one */
    MODE_CLOSING,   /* a thread is closing the descriptor */
    MODE_OPENED,    /* of TABLE_NONE: stderr's number, but opened anew (say.h) */
};

/* Values of `other` that are no descriptor: those are smaller. */
#define TABLE_NOBODY 0x7fffffff
#define TABLE_KEPT 0x7ffffffe   /* kept to the end of the process (hold=process) */
#define TABLE_MAPPED 0x7ffffffd /* serves mappings of the file (mapping.h) */
#define TABLE_LEFT 0x7ffffffc   /* not closed yet, for the record locks' sake (record.h) */
#define TABLE_ANCHOR 0x7ffffffb /* keeps a soft lock's marker through exec (soft.h) */
#define TABLE_TRANSIT 0x40000000

/* kind:2 mode:3 other:31 records:1 generation:27 */
#define TABLE_GENERATION 37
typedef uint64_t table_word;

static inline enum table_kind table_kind(table_word word) {
    return (enum table_kind)(word & 3);
}
static inline enum table_mode table_mode(table_word word) {
    return (enum table_mode)(word >> 2 & 7);
}
static inline int table_other(table_word word) {
    return (int)(word >> 5 & 0x7fffffff);
}

static inline bool table_has_records(table_word word) {
    return word >> (TABLE_GENERATION - 1) & 1;
}

/* How often a word has changed since. */
static inline uint64_t table_changes(table_word before, table_word now) {
    return ((now >> TABLE_GENERATION) - (before >> TABLE_GENERATION)) &
           ((UINT64_C(1) << (64 - TABLE_GENERATION)) - 1);
}

/* Whether what it holds is locked, and nobody is about to change that. */
static inline bool table_is_locked(table_word word) {
    return table_mode(word) == MODE_SHARED || table_mode(word) == MODE_EXCLUSIVE;
}

/* Whether it is a sidecar that the program has locked by flock. */
static inline bool table_is_program_lock(table_word word) {
    return table_kind(word) == TABLE_PROGRAM && table_is_locked(word);
}

/* The program's descriptor that a hidden one serves; -1 when none. */
static inline int table_serves(table_word word) {
    int other = table_other(word);
    return table_kind(word) == TABLE_HIDDEN && other < TABLE_TRANSIT ? other : -1;
}

/* The value of `other` for what the calling thread has in hand, at the level of
 * calls (doing.h) at which it is. The child of a fork keeps what its own thread
 * had, and drops other threads'. */
#define TABLE_LEVELS 14
int table_transit(void);
void table_set_level(int level);
bool table_is_own_transit(table_word word);
static inline int table_transit_level(table_word word) {
    return table_other(word) >> 26 & 15;
}
static inline bool table_is_transit(table_word word) {
    int other = table_other(word);
    return table_kind(word) == TABLE_HIDDEN && other >= TABLE_TRANSIT && other < TABLE_ANCHOR;
}

/* The word of a descriptor; one of kind TABLE_NONE when there is none. */
table_word table_get(int fd);

/* The sidecar of a TABLE_HIDDEN or TABLE_PROGRAM descriptor, or of one with record locks,
 * which had `word`.
 * False when the word has changed meanwhile. */
bool table_id(int fd, table_word word, struct sidecar_id *ret);

/*
 * Puts a new word in the place of `expected`; id only counts for TABLE_HIDDEN
 * and TABLE_PROGRAM. False when somebody was faster, or (for a number whose
 * part of the table cannot be mapped) when there is no memory. What the word says
 * of record locks stays, as long as it is TABLE_DATA or TABLE_PROGRAM.
 */
bool table_change(int fd, table_word expected, enum table_kind kind, enum table_mode mode,
                  int other, struct sidecar_id id);

/* The same for what it says of record locks: fd is one of the sidecar `id`. One that
 * is TABLE_NONE becomes TABLE_PROGRAM, and that again where there is no lock at all. */
bool table_change_records(int fd, table_word expected, bool has_records, struct sidecar_id id);

/* The same in the place of whatever stands there, which is returned in
 * *ret_before. False only when there is no memory. */
bool table_put(int fd, enum table_kind kind, enum table_mode mode, int other, struct sidecar_id id,
               table_word *ret_before);

/* The next descriptor of that kind below `below` (start with TABLE_NOBODY), in
 * falling order; -1 when there is none. Of TABLE_DATA only those with record locks
 * are sure to be found. */
int table_previous(enum table_kind kind, int below);

/* Whether the caller is a child that shares its parent's memory, but not its
 * descriptors (vfork, clone with CLONE_VM alone). One getpid, or none
 * between table_settle and table_unsettle. */
bool table_is_foreign(void);

/*
 * Around several changes by one call of the program: asks once. What
 * table_settle returns goes to table_unsettle. A child that a signal handler
 * makes in between asks for itself, with its own calls.
 */
bool table_settle(void);
void table_unsettle(bool before);

/* Whether our descriptors are those of that process too (clone with
 * CLONE_FILES). False where the kernel does not tell (kcmp(2)). */
bool table_shares_descriptors(pid_t other);

#endif
