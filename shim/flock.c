/*
 * flock, for programs that lock a sidecar themselves (contract O4): whoever
 * holds the file through us has it already, and whoever has locked the sidecar
 * may open the file.
 *
 * Threads and children share such a hold, but a lock of their own each takes to
 * keep the others out. So a descriptor that joins our hold takes a lock of its
 * description besides (pair.h), and so does one whom a sleeping ancestor lets pass; and
 * one that the program has locked without us keeps out, as ever, whatever other
 * descriptor is locked.
 *
 * Our shared hold would keep an exclusive lock of the program's out for ever. Who
 * locks for himself needs no help: the shared hold ends.
 */
#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "shim/doing.h"
#include "shim/failure.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/joined.h"
#include "shim/nested.h"
#include "shim/program.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/scratch.h"
#include "shim/sibling.h"
#include "shim/start.h"
#include "shim/telling.h"
#include "shim/text.h"
#include "shim/wait.h"
#include "shim/wrap.h"

/* A little longer than it takes to know that an ancestor sleeps (nested.h). */
#define NESTED_PATIENCE (6 * CLOCK_SECOND)

#define ATTEMPTS 1000 /* without a descriptor left to join with, say */

/* Files that are not regular are nobody's sidecar. */
static bool identify(int fd, struct sidecar_id *ret) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        return false;
    }
    *ret = sidecar_id_of(&stat);
    return true;
}

enum joining { JOINED, JOINS_NOT };

static int find_to_join(struct sidecar_id id, int operation, table_word *ret_word) {
    int own = hidden_find(id, -1, ret_word);
    enum table_mode mode = own < 0 ? MODE_NOTHING : table_mode(*ret_word);
    return mode == MODE_EXCLUSIVE || (mode == MODE_SHARED && !(operation & LOCK_EX)) ? own : -1;
}

/* Gives the program's descriptor a reference of the hold that we have. An enum
 * joining, or a negative errno value. */
static int join_own_hold(int fd, struct sidecar_id id, int operation) {
    table_word word;
    int own = find_to_join(id, operation, &word);
    if (own < 0 || program_has_it(fd, id)) {
        return JOINS_NOT;
    }
    int r = sibling_keep_out(fd, operation, PAIR_JOINED);
    if (r < 0) {
        return r;
    }
    /* That may have taken its time. The hold that is there now may be a duplicate of
     * what another thread has locked by itself, which would tell so first. */
    own = find_to_join(id, operation, &word);
    int twin = own < 0 ? -1 : hidden_copy(own, word, table_mode(word), id);
    if (twin >= 0 && program_has_it(fd, id)) {
        hold_drop(twin);
        twin = -1;
    }
    if (twin < 0) {
        sibling_let_in(fd);
        return JOINS_NOT;
    }
    reference_set(fd, twin, false);
    if (!(operation & LOCK_EX) && table_mode(word) == MODE_EXCLUSIVE) {
        joined_may_share();
        joined_settle();
    }
    return JOINED;
}

/* The shared hold that we have, and the program not by itself, nor by the same
 * description; -1 for none. */
static int find_shared(struct sidecar_id id, table_word *ret_word) {
    int own = hidden_find(id, -1, ret_word);
    bool ours = own >= 0 && table_mode(*ret_word) == MODE_SHARED && !program_has_it(-1, id);
    return ours && !hidden_is_programs(own) ? own : -1;
}

/* Unlocks it. Other threads may close what was found, get its number for another one,
 * or begin to upgrade; what they are just getting counts as unlocked, too. */
static bool unlock_shared(struct sidecar_id id) {
    table_word word;
    struct gate gate = gate_enter_alone();
    int own = find_shared(id, &word);
    int copy = own >= 0 ? hidden_copy(own, word, MODE_NOTHING, id) : -1;
    if (copy >= 0) {
        (void)sys_flock(copy, LOCK_UN);
        hidden_set_modes(id, MODE_SHARED, MODE_WAITING);
    }
    gate_leave(gate);
    hold_drop(copy);
    return copy >= 0;
}

/* Ends our shared hold for all who share it: a child may have it from its parent.
 * False when there is none. */
static bool end_shared(struct sidecar_id id) {
    table_word word;
    if (find_shared(id, &word) < 0 || !unlock_shared(id)) {
        return false;
    }
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        struct sidecar_id other;
        word = table_get(hidden);
        if (table_mode(word) != MODE_WAITING || !table_id(hidden, word, &other) ||
            !sidecar_same(id, other)) {
            continue;
        }
        int served = table_serves(word);
        if (served >= 0) {
            reference_unlocked(served, table_get(served));
        } else if (table_other(word) == TABLE_MAPPED) {
            hidden_close(hidden);
        }
    }
    return true;
}

/* The program has locked it itself. What has a twin keeps that: it is a data
 * file, of which the lock on the file is no business of ours. */
static void remember(int fd, table_word word, struct sidecar_id id, int operation) {
    enum table_mode mode = operation == LOCK_EX ? MODE_EXCLUSIVE : MODE_SHARED;
    if (table_kind(word) != TABLE_DATA) {
        (void)table_change(fd, word, TABLE_PROGRAM, mode, TABLE_NOBODY, id);
    }
}

/* Whether fd is an open data file, which keeps its hold when the program unlocks
 * it; not a sidecar that was given a reference. */
static bool is_data_file(int fd, table_word word) {
    struct sidecar_id sidecar, own;
    int twin = table_other(word);
    return table_kind(word) == TABLE_DATA && identify(fd, &own) &&
           table_id(twin, table_get(twin), &sidecar) && !sidecar_same(own, sidecar);
}

/* Other threads are not to share what goes now. */
static void about_to_unlock(int fd, table_word word) {
    struct sidecar_id id;
    if (table_is_program_lock(word) && table_id(fd, word, &id)) {
        struct gate gate = gate_enter_alone();
        hidden_set_modes(id, MODE_EXCLUSIVE, MODE_WAITING);
        hidden_set_modes(id, MODE_SHARED, MODE_WAITING);
        gate_leave(gate);
    }
}

/* The program gives its own lock back: what we shared of it is gone too. */
static void unlocked(int fd, table_word word) {
    struct sidecar_id id, other;
    bool was_program = table_kind(word) == TABLE_PROGRAM && table_id(fd, word, &id);
    if (is_data_file(fd, word) || (was_program && !table_is_locked(word))) {
        return;
    }
    reference_unlocked(fd, word);
    if (!was_program) {
        return;
    }
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        table_word held = table_get(hidden);
        int served = table_serves(held);
        if (!table_id(hidden, held, &other) || !sidecar_same(id, other)) {
            continue;
        }
        if (served >= 0) {
            reference_unlocked(served, table_get(served));
        } else if (table_other(held) == TABLE_LEFT) {
            hidden_set_mode(hidden, MODE_NOTHING);
        }
    }
}

static bool is_pair(int fd, const struct lock_line *line, void *data) {
    (void)fd;
    return pair_of_line(line, data);
}

/* Duplicates of fd, which has joined a hold and has just been unlocked: they have lost
 * what keeps others out, too. */
static void unlock_duplicates(int fd) {
    struct sidecar_id id, other;
    if (!identify(fd, &id) || flock_wait_is_remote(fd)) {
        return;
    }
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        table_word held = table_get(hidden);
        int served = table_serves(held);
        struct lock_key pair;
        if (served >= 0 && table_id(hidden, held, &other) && sidecar_same(id, other) &&
            !is_data_file(served, table_get(served)) &&
            !proclocks_descriptor_has(served, is_pair, &pair)) {
            reference_unlocked(served, table_get(served));
        }
    }
}

/* A blocking flock that met somebody else's lock: as flock(2), but an ancestor
 * that holds it and waits for us lets us pass, and a circle fails, which is
 * said. One that is not to wait (py-filelock polls so) waits only until it is
 * known whether such an ancestor has it. Returns as wait_for_lock, or -EAGAIN for "not
 * ours". */
static int wait_for_sidecar(int fd, struct sidecar_id id, int operation) {
    struct lock_key key;
    bool waits = !(operation & LOCK_NB);
    if (!waits && !(proclocks_key(fd, &key) && nested_is_in_family(&key))) {
        return -EWOULDBLOCK;
    }
    uint64_t until = waits ? CLOCK_FOREVER : clock_now() + NESTED_PATIENCE;
    struct doing doing;
    doing_begin(&doing, false);
    struct target *target = scratch_get();
    int r = -EAGAIN, ours = -1;
    if (target && target_of_sidecar(target, fd)) {
        r = wait_for_lock(target, fd, id, operation & ~LOCK_NB, until, &ours);
        if (r == -EDEADLK) {
            failure_say(target, EDEADLK, false);
        } else if (r >= 0) {
            telling_end(target);
        }
    }
    scratch_put(target);
    doing_end();
    return r;
}

/* PASSED: it has it, or need not have it; ASK: only the kernel can tell; AGAIN: all
 * that was seen is past. */
enum outcome { PASSED, LOCKED, ASK, AGAIN };

/* An enum outcome, or a negative errno value. */
static int wait_and_see(int fd, int operation, struct sidecar_id id) {
    int r, waited = wait_for_sidecar(fd, id, operation);
    switch (waited) {
    case WAITED_LOCKED:
        return LOCKED;
    case WAITED_PASS: /* and others, it may be */
        r = sibling_keep_out(fd, operation, PAIR_SIBLINGS);
        return r < 0 ? r : r == SIBLING_AGAIN ? AGAIN : PASSED;
    case WAITED_OURS:
        /* What it has itself, by a descriptor that it was given, it would wait for
         * for ever, unless another thread gives that up. */
        return gate_has_threads() ? ASK : PASSED;
    case WAITED_JOIN:
        r = join_own_hold(fd, id, operation);
        return r < 0 ? r : r == JOINED ? PASSED : AGAIN;
    default:
        return waited == -EINTR || waited == -EDEADLK ? waited : ASK; /* or past its time */
    }
}

/* The kernel's answer at once, when no shared hold of ours is in the way. Also where
 * it has met none of ours: who shares our description (a child) may have ended that
 * before. */
static int lock_at_once(int fd, int kind, struct sidecar_id id, table_word *word) {
    int result = real.flock(fd, kind | LOCK_NB);
    if (kind == LOCK_EX && end_shared(id)) {
        *word = table_get(fd);
        if (result < 0) {
            result = real.flock(fd, kind | LOCK_NB);
        }
    }
    return result;
}

/* As real.flock, but not for ever where that would be one's own fault. */
static int lock(int fd, int operation, struct sidecar_id id) {
    int kind = operation & ~LOCK_NB, outcome = AGAIN, result = 0;
    table_word word = table_get(fd);
    for (int i = 0; outcome == AGAIN; i++) {
        result = lock_at_once(fd, kind, id, &word);
        if (result == 0 || errno != EWOULDBLOCK) {
            break;
        }
        outcome = i < ATTEMPTS ? wait_and_see(fd, operation, id) : ASK;
    }
    if (outcome < 0) {
        errno = -outcome;
        return -1;
    }
    if (outcome == PASSED) {
        return 0;
    }
    if (outcome == LOCKED) {
        result = lock_at_once(fd, kind, id, &word);
    } else if (outcome == ASK) {
        result = real.flock(fd, operation);
    }
    if (result == 0) {
        remember(fd, word, id, kind);
    }
    return result;
}

/* Where the hold that it shares is by its own description (record.h), that stays. */
static bool is_hold_itself(int fd, table_word word) {
    return table_has_records(word) && table_kind(word) == TABLE_DATA && !is_data_file(fd, word) &&
           hidden_is_programs(table_other(word));
}

static int unlock(int fd, table_word word, int operation) {
    struct lock_key pair;
    bool joined = table_kind(word) == TABLE_DATA && !is_data_file(fd, word) &&
                  proclocks_descriptor_has(fd, is_pair, &pair);
    about_to_unlock(fd, word);
    int result = is_hold_itself(fd, word) ? 0 : real.flock(fd, operation);
    if (result == 0 && table_kind(word) != TABLE_NONE) {
        unlocked(fd, word);
    }
    if (result == 0) {
        sibling_let_in(fd); /* another process may have kept them out by it */
        if (joined) {
            unlock_duplicates(fd);
        }
    }
    return result;
}

int wrap_flock(int fd, int operation) {
    int kind = operation & ~LOCK_NB;
    table_word word = table_get(fd);
    struct sidecar_id id;
    if (!shim_is_active() || start_config.observe || table_kind(word) == TABLE_HIDDEN) {
        return real.flock(fd, operation);
    }
    if (kind == LOCK_UN) {
        return unlock(fd, word, operation);
    }
    if ((kind != LOCK_EX && kind != LOCK_SH) || !identify(fd, &id)) {
        return real.flock(fd, operation);
    }
    int saved = errno, joined = JOINS_NOT;
    if (!table_is_program_lock(word)) {
        joined = join_own_hold(fd, id, operation);
    }
    if (joined < 0) {
        errno = -joined;
        return -1;
    }
    int result = joined == JOINED ? 0 : lock(fd, operation, id);
    if (result == 0) {
        errno = saved;
    }
    return result;
}
