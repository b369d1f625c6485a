/*
 * flock, for programs that lock a sidecar themselves (contract O4): whoever
 * holds the file through us has it already, and whoever has locked the sidecar
 * may open the file.
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
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/scratch.h"
#include "shim/start.h"
#include "shim/text.h"
#include "shim/wait.h"
#include "shim/wrap.h"

/* Files that are not regular are nobody's sidecar. */
static bool identify(int fd, struct sidecar_id *ret) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        return false;
    }
    *ret = sidecar_id_of(&stat);
    return true;
}

/* Gives the program's descriptor a reference of the hold that we have. */
static bool join_own_hold(int fd, struct sidecar_id id, int operation) {
    table_word word;
    int own = hidden_find(id, -1, &word);
    if (own < 0 || !table_is_locked(word) ||
        (operation == LOCK_EX && table_mode(word) != MODE_EXCLUSIVE)) {
        return false;
    }
    int twin = hidden_copy(own, word, table_mode(word), id);
    if (twin < 0) {
        return false;
    }
    reference_set(fd, twin, false);
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
 * said. Returns as wait_for_lock, or -EAGAIN for "not ours". */
static int wait_for_sidecar(int fd, struct sidecar_id id, int operation) {
    struct doing doing;
    doing_begin(&doing, false);
    struct target *target = scratch_get();
    int r = -EAGAIN, ours = -1;
    if (target && target_of_sidecar(target, fd)) {
        r = wait_for_lock(target, fd, id, operation, CLOCK_FOREVER, &ours);
        if (r == -EDEADLK) {
            failure_say(target, EDEADLK, false);
        }
    }
    scratch_put(target);
    doing_end();
    return r;
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
        return result;
    }
    if ((kind != LOCK_EX && kind != LOCK_SH) || !identify(fd, &id)) {
        return real.flock(fd, operation);
    }
    if (table_kind(word) != TABLE_PROGRAM && join_own_hold(fd, id, kind)) {
        return 0;
    }
    int saved = errno;
    int result = real.flock(fd, kind | LOCK_NB);
    if (result < 0 && errno == EWOULDBLOCK && !(operation & LOCK_NB)) {
        int waited = wait_for_sidecar(fd, id, kind);
        /* What it has itself, by a descriptor that it was given, it would wait for
         * for ever, unless another thread gives that up. */
        if (waited == WAITED_PASS || (waited == WAITED_OURS && !gate_has_threads())) {
            errno = saved;
            return 0;
        }
        errno = saved;
        if (waited == WAITED_JOIN && join_own_hold(fd, id, kind)) {
            return 0;
        }
        if (waited == -EINTR || waited == -EDEADLK) {
            errno = -waited;
            return -1;
        }
        result = waited == WAITED_LOCKED ? 0 : real.flock(fd, operation);
    }
    if (result == 0) {
        remember(fd, word, id, kind);
        errno = saved;
    }
    return result;
}
