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
#include "shim/doing.h"
#include "shim/failure.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/nested.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/scratch.h"
#include "shim/sibling.h"
#include "shim/start.h"
#include "shim/text.h"
#include "shim/wait.h"
#include "shim/wrap.h"

/* A little longer than it takes to know that an ancestor sleeps (nested.h). */
#define NESTED_PATIENCE (6 * CLOCK_SECOND)

/* Files that are not regular are nobody's sidecar. */
static bool identify(int fd, struct sidecar_id *ret) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        return false;
    }
    *ret = sidecar_id_of(&stat);
    return true;
}

/* Whether another descriptor of the program has the sidecar locked by itself. */
static bool program_has_it(int except, struct sidecar_id id) {
    for (int fd = table_previous(TABLE_PROGRAM, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (fd != except && table_is_locked(word) && table_id(fd, word, &other) &&
            sidecar_same(id, other)) {
            return true;
        }
    }
    return false;
}

enum joining { JOINED, JOINS_NOT };

/* Gives the program's descriptor a reference of the hold that we have. An enum
 * joining, or a negative errno value. */
static int join_own_hold(int fd, struct sidecar_id id, int operation) {
    table_word word;
    int own = hidden_find(id, -1, &word);
    if (own < 0 || !table_is_locked(word) || program_has_it(fd, id) ||
        (operation & LOCK_EX && table_mode(word) != MODE_EXCLUSIVE)) {
        return JOINS_NOT;
    }
    int r = sibling_keep_out(fd, operation, PAIR_JOINED);
    if (r < 0) {
        return r;
    }
    own = hidden_find(id, -1, &word); /* that may have taken its time */
    int twin =
        own < 0 || !table_is_locked(word) ? -1 : hidden_copy(own, word, table_mode(word), id);
    if (twin < 0) {
        sibling_let_in(fd);
        return JOINS_NOT;
    }
    reference_set(fd, twin, false);
    return JOINED;
}

/* The shared hold that we have, and the program not by itself; -1 for none. */
static int find_shared(struct sidecar_id id) {
    table_word word;
    int own = hidden_find(id, -1, &word);
    return own >= 0 && table_mode(word) == MODE_SHARED && !program_has_it(-1, id) ? own : -1;
}

/* For all who share it: a child may have it from its parent. */
static void end_shared(int own, struct sidecar_id id) {
    (void)sys_flock(own, LOCK_UN);
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        table_word word = table_get(hidden);
        struct sidecar_id other;
        int served = table_serves(word);
        if (served >= 0 && table_id(hidden, word, &other) && sidecar_same(id, other)) {
            reference_drop(served, table_get(served));
        }
    }
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

/* The program gives its own lock back: what we shared of it is gone too. */
static void unlocked(int fd, table_word word) {
    struct sidecar_id id, other;
    bool was_program = table_kind(word) == TABLE_PROGRAM && table_id(fd, word, &id);
    if (is_data_file(fd, word) || (was_program && !table_is_locked(word))) {
        return;
    }
    reference_drop(fd, word);
    if (!was_program) {
        return;
    }
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        table_word held = table_get(hidden);
        int served = table_serves(held);
        if (served >= 0 && table_id(hidden, held, &other) && sidecar_same(id, other)) {
            reference_drop(served, table_get(served));
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
        return r < 0 ? r : r == JOINED ? PASSED : ASK;
    default:
        return waited == -EINTR || waited == -EDEADLK ? waited : ASK; /* or past its time */
    }
}

/* As real.flock, but not for ever where that would be one's own fault. */
static int lock(int fd, int operation, struct sidecar_id id) {
    int kind = operation & ~LOCK_NB, own;
    table_word word = table_get(fd);
    int result = real.flock(fd, kind | LOCK_NB);
    /* Also where it has met none of ours: who shares our description (a child) may
     * have ended that before. */
    if (kind == LOCK_EX && (own = find_shared(id)) >= 0) {
        end_shared(own, id);
        word = table_get(fd);
        if (result < 0) {
            result = real.flock(fd, LOCK_EX | LOCK_NB);
        }
    }
    while (result < 0 && errno == EWOULDBLOCK) {
        int outcome = wait_and_see(fd, operation, id);
        if (outcome == AGAIN) {
            result = real.flock(fd, kind | LOCK_NB);
            continue;
        }
        if (outcome == PASSED) {
            return 0;
        }
        if (outcome < 0) {
            errno = -outcome;
            return -1;
        }
        result = outcome == LOCKED ? 0 : real.flock(fd, operation);
        break;
    }
    if (result == 0) {
        remember(fd, word, id, kind);
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
        int result = real.flock(fd, operation);
        if (result == 0 && table_kind(word) != TABLE_NONE) {
            unlocked(fd, word);
        }
        if (result == 0) {
            sibling_let_in(fd); /* another process may have kept them out by it */
        }
        return result;
    }
    if ((kind != LOCK_EX && kind != LOCK_SH) || !identify(fd, &id)) {
        return real.flock(fd, operation);
    }
    int saved = errno, joined = JOINS_NOT;
    if (table_kind(word) != TABLE_PROGRAM) {
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
