#include "shim/hold.h"

#include <errno.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/sidecar.h"
#include "shim/belongs.h"
#include "shim/failure.h"
#include "shim/fork.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/observe.h"
#include "shim/reference.h"
#include "shim/start.h"
#include "shim/text.h"
#include "shim/trace.h"
#include "shim/upgrade.h"
#include "shim/wait.h"

/* A hold in the making. */
struct attempt {
    struct target *target;
    bool exclusive;
    uint64_t until;
    int twin; /* hidden; -1 */
    struct sidecar_id id;
};

enum round { ROUND_AGAIN = 0, ROUND_DONE = 1 };

static int operation(const struct attempt *attempt) {
    return attempt->exclusive ? LOCK_EX : LOCK_SH;
}

static int adopt(struct attempt *attempt, int from, enum table_mode mode) {
    attempt->twin = hidden_make(from, mode, attempt->id);
    return attempt->twin < 0 ? attempt->twin : 0;
}

static void give_up(struct attempt *attempt) {
    if (attempt->twin >= 0) {
        hidden_close(attempt->twin);
        attempt->twin = -1;
    }
}

/* Whether the number still is a descriptor of this sidecar: between our look
 * at the table and the duplication it may have been closed. */
static bool is_same_sidecar(int fd, struct sidecar_id id) {
    struct sys_stat stat;
    return sys_fstat(fd, &stat) == 0 && sidecar_same(sidecar_id_of(&stat), id);
}

/* Another thread is getting it shared while we want more: let it finish, since
 * its lock would take ours down. */
static int let_finish(const struct attempt *attempt) {
    struct timespec moment = {.tv_nsec = 1000000};
    if (clock_now() >= attempt->until) {
        return -ETIMEDOUT;
    }
    int r = (int)SYS_CALL(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &moment, NULL, 0, 0);
    return r < 0 ? r : ROUND_AGAIN;
}

/* Shares a hold that this process has, through its hidden descriptor. */
static int join(struct attempt *attempt, int own, table_word word) {
    enum table_mode mode = table_mode(word);
    if (mode == MODE_WAITING_SHARED && attempt->exclusive) {
        return let_finish(attempt);
    }
    int r = adopt(attempt, own, mode);
    if (r < 0 && r != -EBADF) {
        return r;
    }
    if (r == -EBADF || !is_same_sidecar(attempt->twin, attempt->id)) {
        /* Let go meanwhile; or closed behind our back, then the table still
         * says that we have it. */
        give_up(attempt);
        hidden_heal(own, word);
        return ROUND_AGAIN;
    }
    if (mode == MODE_EXCLUSIVE || (mode == MODE_SHARED && !attempt->exclusive)) {
        return ROUND_DONE;
    }
    if (mode == MODE_SHARED) {
        r = upgrade(attempt->target, attempt->twin, attempt->id, attempt->until);
        return r < 0 ? r : ROUND_DONE;
    }
    /* The same description as the waiting thread's: asking for what it asks
     * for can only help it. */
    int ours;
    int how = mode == MODE_WAITING_EXCLUSIVE ? LOCK_EX : LOCK_SH;
    r = wait_for_lock(attempt->target, attempt->twin, attempt->id, how, attempt->until, &ours);
    if (r < 0) {
        return r;
    }
    if (r != WAITED_LOCKED) {
        give_up(attempt);
        return r == WAITED_PASS ? ROUND_DONE : ROUND_AGAIN;
    }
    hidden_set_mode(attempt->twin, how == LOCK_EX ? MODE_EXCLUSIVE : MODE_SHARED);
    return ROUND_DONE;
}

/* The program has locked the sidecar itself, as descriptor fd (O4): a
 * duplicate of that is the same lock. */
static int share_program_lock(struct attempt *attempt, int fd) {
    give_up(attempt);
    if (!is_same_sidecar(fd, attempt->id)) {
        return ROUND_AGAIN;
    }
    table_word before;
    enum table_mode mode = attempt->exclusive ? MODE_EXCLUSIVE : MODE_SHARED;
    (void)table_put(fd, TABLE_PROGRAM, mode, TABLE_NOBODY, attempt->id, &before);
    int r = adopt(attempt, fd, mode);
    return r < 0 ? r : ROUND_DONE;
}

static int find_program_lock(const struct attempt *attempt) {
    for (int fd = table_previous(TABLE_PROGRAM, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id id;
        if (table_id(fd, word, &id) && sidecar_same(id, attempt->id) &&
            (table_mode(word) == MODE_EXCLUSIVE || !attempt->exclusive)) {
            return fd;
        }
    }
    return -1;
}

/* Locks our own, new descriptor of the sidecar. */
static int lock(struct attempt *attempt) {
    int r = sys_flock(attempt->twin, operation(attempt) | LOCK_NB);
    if (r == -EWOULDBLOCK) {
        int ours = find_program_lock(attempt);
        if (ours >= 0) {
            return share_program_lock(attempt, ours);
        }
        r = failure_before_wait(attempt->target, attempt->exclusive);
        if (r < 0) {
            return r;
        }
        r = wait_for_lock(attempt->target, attempt->twin, attempt->id, operation(attempt),
                          attempt->until, &ours);
        if (r == WAITED_OURS) {
            return share_program_lock(attempt, ours);
        }
        if (r == WAITED_JOIN || r == WAITED_PASS) {
            give_up(attempt);
            return r == WAITED_PASS ? ROUND_DONE : ROUND_AGAIN;
        }
    }
    if (r < 0) {
        return r;
    }
    struct target *target = attempt->target;
    r = sidecar_is_current(target->where.directory, target->sidecar, attempt->twin, attempt->id);
    if (r <= 0) {
        give_up(attempt);
        return r;
    }
    hidden_set_mode(attempt->twin, attempt->exclusive ? MODE_EXCLUSIVE : MODE_SHARED);
    return ROUND_DONE;
}

static int open_sidecar(struct attempt *attempt, int *ret_fd) {
    struct target *target = attempt->target;
    int directory = target->where.directory;
    int r = sidecar_open(directory, target->sidecar, SIDECAR_NEVER, NULL, ret_fd, &attempt->id);
    if (r != -ENOENT || target->only_existing) {
        return r;
    }
    r = failure_before_wait(target, attempt->exclusive);
    if (r < 0) {
        return r;
    }
    enum sidecar_making making = target->exists ? SIDECAR_LIKE_DATA : SIDECAR_LIKE_FUTURE;
    r = sidecar_open(directory, target->sidecar, making, &target->data, ret_fd, &attempt->id);
    target->no_sidecar = r < 0;
    return r;
}

static int one_round(struct attempt *attempt) {
    int fd;
    table_word word;
    struct gate gate = gate_enter();
    int r = open_sidecar(attempt, &fd);
    if (r < 0) {
        gate_leave(gate);
        bool nobody_has_it = r == -ENOENT && attempt->target->only_existing;
        return nobody_has_it ? ROUND_DONE : r;
    }
    int own = hidden_find(attempt->id, -1, &word);
    if (own < 0) {
        r = adopt(attempt, fd, attempt->exclusive ? MODE_WAITING_EXCLUSIVE : MODE_WAITING_SHARED);
    }
    (void)sys_close(fd);
    gate_leave(gate);
    if (own >= 0) {
        return join(attempt, own, word);
    }
    if (r < 0) {
        return r;
    }
    return lock(attempt);
}

static int take(struct target *target, bool exclusive, int *ret_twin) {
    struct attempt attempt = {.target = target,
                              .exclusive = exclusive,
                              .until = clock_after(target->rule->options.timeout),
                              .twin = -1};
    int r = ROUND_AGAIN;
    for (int i = 0; r == ROUND_AGAIN && i < SIDECAR_ATTEMPTS; i++) {
        r = one_round(&attempt);
    }
    if (r == ROUND_DONE) {
        if (attempt.twin >= 0) {
            hidden_set_inherit(attempt.twin, target->rule->options.inherit);
        }
        *ret_twin = attempt.twin;
        return 0;
    }
    give_up(&attempt);
    r = failure_decide(target, exclusive, r == ROUND_AGAIN ? -ESTALE : r);
    if (r == 0) {
        *ret_twin = -1;
        if (!target->why[0]) {
            struct text why = {.start = target->why, .size = sizeof(target->why)};
            text_put(&why, target->no_sidecar ? "it has no sidecar, and none may be made"
                                              : "the failure is one that the rule lets pass");
        }
    }
    return r;
}

int hold_take(struct target *target, bool exclusive, int *ret_twin) {
    fork_notice();
    if (start_config.observe) {
        observe_take(target, exclusive, ret_twin);
        return 0;
    }
    int twin = -1;
    int r = take(target, exclusive, &twin);
    trace_taken(target, exclusive, r, twin);
    if (r == 0) {
        *ret_twin = twin;
    }
    return r;
}

void hold_drop(int twin) {
    if (twin >= 0) {
        hidden_close(twin);
    }
}

int hold_keep(struct target *target, int twin) {
    table_word word = table_get(twin);
    struct sidecar_id id;
    if (!table_id(twin, word, &id) ||
        (hidden_find_marked(id, TABLE_KEPT) >= 0 && !start_config.observe)) {
        return 0; /* none was taken, or it is kept already */
    }
    int kept = hidden_make(twin, MODE_EXCLUSIVE, id);
    if (kept < 0) {
        return failure_decide(target, true, kept);
    }
    hidden_mark(kept, TABLE_KEPT);
    return 0;
}

/* Whether what it served is closed, or about to be: a thread that is not here
 * was closing it. */
static bool is_gone(int hidden, int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_DATA || table_other(word) != hidden) {
        return true;
    }
    return table_mode(word) == MODE_CLOSING && belongs(hidden, fd) == BELONGS_NOT;
}

/* Of other threads, or not to be had by more than one process. */
static bool is_to_be_dropped(int fd, table_word word, bool had_others) {
    int served = table_serves(word);
    if (had_others &&
        (served >= 0 ? is_gone(fd, served)
                     : table_is_transit(word) && table_other(word) != table_transit())) {
        return true;
    }
    return hidden_inherit(fd) == INHERIT_NONE;
}

void hold_after_fork(bool had_others) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        if (is_to_be_dropped(fd, word, had_others)) {
            int served = table_serves(word);
            if (served >= 0) {
                reference_drop(served, table_get(served));
            }
            hidden_close(fd);
        }
    }
}
