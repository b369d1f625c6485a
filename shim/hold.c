#include "shim/hold.h"

#include <errno.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/sidecar.h"
#include "shim/cancelling.h"
#include "shim/doing.h"
#include "shim/failure.h"
#include "shim/fork.h"
#include "shim/gate.h"
#include "shim/handed.h"
#include "shim/handover.h"
#include "shim/hidden.h"
#include "shim/numberless.h"
#include "shim/observe.h"
#include "shim/program.h"
#include "shim/record.h"
#include "shim/reference.h"
#include "shim/sibling.h"
#include "shim/soft.h"
#include "shim/start.h"
#include "shim/telling.h"
#include "shim/text.h"
#include "shim/trace.h"
#include "shim/turn.h"
#include "shim/upgrade.h"
#include "shim/wait.h"

/* A hold in the making. */
struct attempt {
    struct target *target;
    bool exclusive;
    bool beside; /* one of the family, who writes: what is read is not to be written back */
    uint64_t until, pause;
    int twin; /* hidden; -1 */
    struct sidecar_id id;
};

/* ROUND_LATER: again, but that does not count as an attempt. */
enum round { ROUND_AGAIN = 0, ROUND_DONE = 1, ROUND_LATER = 2 };

static int operation(const struct attempt *attempt) {
    return attempt->exclusive ? LOCK_EX : LOCK_SH;
}

/* `made`: a hidden descriptor or an error. */
static int adopt(struct attempt *attempt, int made) {
    attempt->twin = made < 0 ? -1 : made;
    return made < 0 ? made : 0;
}

static void give_up(struct attempt *attempt) {
    if (attempt->twin >= 0) {
        hidden_close(attempt->twin);
        attempt->twin = -1;
    }
}

static int pause_before_next(struct attempt *attempt) {
    signal_set blocked = doing_hold_signals();
    int r = backoff_again(&attempt->pause, attempt->until, blocked);
    doing_let_signals_in(blocked);
    cancelling_test(blocked);
    return r;
}

/* Before it is tried again for the `times`th time (sidecar.h). */
static int before_next(struct attempt *attempt, unsigned times) {
    if (times < SIDECAR_AT_ONCE) {
        return 0;
    }
    if (attempt->target->rule->options->timeout == 0) {
        return times < SIDECAR_ATTEMPTS ? 0 : -ESTALE;
    }
    return pause_before_next(attempt);
}

/*
 * Of a sidecar at most one description of ours counts as locked. Threads that
 * wait do so with one each, as strangers; who gets it second finds the first
 * here, gives his own up and shares that (settle, join). So nobody but the one
 * who upgrades ever asks something of a description that others use.
 */
enum choice { CHOICE_OWN, CHOICE_JOIN, CHOICE_LATER, CHOICE_STALE, CHOICE_NEVER };

/* By what the process has already, found as `own`; `twin` is made of that or of
 * fd, which is a new descriptor of the sidecar, or the program's own one. */
static int choose(struct attempt *attempt, int fd, bool of_program, enum choice *ret, int *ret_own,
                  table_word *ret_word) {
    struct gate gate = gate_enter_alone();
    int r = 0, own = hidden_find(attempt->id, -1, ret_word);
    enum table_mode mode = own >= 0 ? table_mode(*ret_word) : MODE_NOTHING;
    *ret_own = own;
    if (attempt->exclusive && upgrade_was_lost(attempt->id)) {
        *ret = CHOICE_STALE;
    } else if (mode == MODE_UPGRADING) {
        /* In a handler that has interrupted the upgrade, later would be never. */
        *ret = table_is_own_transit(*ret_word) ? CHOICE_NEVER : CHOICE_LATER;
        if (*ret == CHOICE_LATER && !of_program) {
            r = adopt(attempt, hidden_make(fd, MODE_WAITING, attempt->id));
        }
    } else if (mode == MODE_SHARED || mode == MODE_EXCLUSIVE) {
        *ret = CHOICE_JOIN;
        bool more = mode == MODE_SHARED && attempt->exclusive;
        enum table_mode wanted = more ? MODE_UPGRADING : mode;
        int left = record_take_left(attempt->id, true, wanted);
        r = adopt(attempt, left >= 0 ? left : hidden_copy(own, *ret_word, wanted, attempt->id));
    } else {
        *ret = CHOICE_OWN;
        int left = record_take_left(attempt->id, false, MODE_WAITING);
        r = adopt(attempt, left >= 0 ? left : hidden_make(fd, MODE_WAITING, attempt->id));
    }
    gate_leave(gate);
    return r;
}

/* Other threads wait for the end of that, whatever it is. */
static int turn_exclusive(struct attempt *attempt) {
    int r = numberless_covers(attempt->target, attempt->id, true);
    r = r < 0 ? r : upgrade(attempt->target, attempt->twin, attempt->id, attempt->until);
    if (r < 0) {
        give_up(attempt);
        wait_wake();
    }
    return r < 0 ? r : ROUND_DONE;
}

/* `made`: what became of the duplication of `own`. */
static int join(struct attempt *attempt, int own, table_word word, int made) {
    if (made == -EBADF) {
        /* Let go meanwhile; or closed behind our back, then the table still
         * says that we have it. */
        hidden_heal(own, word);
        return ROUND_AGAIN;
    }
    if (made < 0) {
        return made;
    }
    if (table_mode(word) == MODE_EXCLUSIVE || !attempt->exclusive) {
        return ROUND_DONE;
    }
    return turn_exclusive(attempt);
}

static int settle(struct attempt *attempt) {
    enum table_mode mode = attempt->exclusive ? MODE_EXCLUSIVE : MODE_SHARED;
    if (hold_settle(attempt->twin, attempt->id, attempt->beside ? MODE_LOST : mode)) {
        return ROUND_DONE;
    }
    give_up(attempt);
    return ROUND_AGAIN;
}

/* The program has locked the sidecar itself, as descriptor fd (O4). */
static int share_program_lock(struct attempt *attempt, int fd) {
    give_up(attempt);
    int r = adopt(attempt, program_share(fd, attempt->id));
    return r < 0 && r != -EAGAIN ? r : r < 0 ? ROUND_AGAIN : ROUND_DONE;
}

/* The program has locked it shared, and so have we by now: as one who has read the file
 * (O6). */
static int upgrade_program_lock(struct attempt *attempt) {
    struct target *target = attempt->target;
    int r =
        sidecar_is_current(target->where.directory, target->sidecar, attempt->twin, attempt->id);
    if (r <= 0 || !hold_settle(attempt->twin, attempt->id, MODE_UPGRADING)) {
        give_up(attempt);
        return r < 0 ? r : ROUND_AGAIN;
    }
    return turn_exclusive(attempt);
}

/* Our own description has the lock. */
static int settle_if_current(struct attempt *attempt) {
    struct target *target = attempt->target;
    int r =
        sidecar_is_current(target->where.directory, target->sidecar, attempt->twin, attempt->id);
    if (r <= 0) {
        give_up(attempt);
        return r;
    }
    return settle(attempt);
}

/* It has the lock shared, and so has a reader below whom a child writes. */
static int wait_for_let_in(struct attempt *attempt) {
    int r = failure_before_wait(attempt->target);
    return r < 0 ? r : sibling_wait_for_writer(attempt->target, attempt->twin, attempt->until);
}

/* Signals blocked: a handler in between that opens the same file would wait for
 * what its own thread has, and nobody can see yet. */
static int lock_at_once(struct attempt *attempt) {
    attempt->beside = false;
    signal_set before = signals_mask(SIGNALS_ALL);
    int r = sys_flock(attempt->twin, operation(attempt) | LOCK_NB);
    if (r == 0 && !attempt->exclusive && turn_of_writer(attempt->twin) != 0) {
        (void)signals_mask(before);
        r = wait_for_turn(attempt->target, attempt->twin, attempt->until);
        before = signals_mask(SIGNALS_ALL);
        r = r > 0 ? sys_flock(attempt->twin, operation(attempt) | LOCK_NB) : r;
    }
    if (r == 0 && !attempt->exclusive && sibling_writes(attempt->twin)) {
        (void)signals_mask(before);
        r = wait_for_let_in(attempt);
        if (r == SIBLING_AGAIN) {
            give_up(attempt);
            return ROUND_AGAIN;
        }
        attempt->beside = r == SIBLING_BESIDE;
        r = attempt->beside ? 0 : r;
        before = signals_mask(SIGNALS_ALL);
    }
    if (r == 0) {
        r = settle_if_current(attempt);
    }
    (void)signals_mask(before);
    return r;
}

/* Locks our own, new descriptor of the sidecar. */
static int lock(struct attempt *attempt) {
    int r = lock_at_once(attempt);
    if (r == -EWOULDBLOCK) {
        int ours = program_find(attempt->id, attempt->exclusive);
        if (ours >= 0) {
            return share_program_lock(attempt, ours);
        }
        if (program_has_it(-1, attempt->id) && sys_flock(attempt->twin, LOCK_SH | LOCK_NB) == 0) {
            return upgrade_program_lock(attempt);
        }
        r = numberless_covers(attempt->target, attempt->id, attempt->exclusive);
        if (r != 0) {
            give_up(attempt);
            return r < 0 ? r : ROUND_DONE;
        }
        r = failure_before_wait(attempt->target);
        if (r < 0) {
            return r;
        }
        r = wait_for_lock(attempt->target, attempt->twin, attempt->id, operation(attempt),
                          attempt->until, &ours);
        if (r == WAITED_OURS) {
            return share_program_lock(attempt, ours);
        }
        if (r == WAITED_PASS && attempt->exclusive) {
            r = sibling_pass(attempt->target, attempt->twin, attempt->until);
        }
        if (r == WAITED_JOIN || r == WAITED_PASS) {
            give_up(attempt);
            return r == WAITED_PASS ? ROUND_DONE : ROUND_AGAIN;
        }
        r = r < 0 ? r : settle_if_current(attempt); /* signals are held back by now */
    }
    return r;
}

/*
 * Another thread turns our shared lock into an exclusive one, and what we asked of that
 * description now would take that down. So this one stands in the queue by itself, like
 * anybody who wants to write, until that has come to an end: for others to see, and to
 * find out whether there is any sense in it.
 */
static int wait_for_upgrade(struct attempt *attempt) {
    int ours, r = failure_before_wait(attempt->target);
    if (r < 0) {
        return r;
    }
    if (attempt->twin >= 0) {
        r = sys_flock(attempt->twin, LOCK_EX | LOCK_NB);
        if (r == -EWOULDBLOCK) {
            attempt->target->waits_for_upgrade = true;
            r = wait_for_lock(attempt->target, attempt->twin, attempt->id, LOCK_EX, attempt->until,
                              &ours);
            attempt->target->waits_for_upgrade = false;
        }
        give_up(attempt);
    }
    r = r < 0 ? r : pause_before_next(attempt);
    return r < 0 ? r : ROUND_LATER;
}

static int open_sidecar(struct attempt *attempt, int *ret_fd) {
    struct target *target = attempt->target;
    int directory = target->where.directory;
    struct sys_stat stat;
    int r = sidecar_open(directory, target->sidecar, SIDECAR_NEVER, NULL, ret_fd, &attempt->id);
    if (r == 0 && target->exists && sys_fstat(*ret_fd, &stat) == 0) {
        sidecar_follow(*ret_fd, &stat, &target->data);
    }
    if (r != -ENOENT || target->only_existing) {
        return r;
    }
    r = failure_before_wait(target);
    if (r < 0) {
        return r;
    }
    enum sidecar_making making = target->exists ? SIDECAR_LIKE_DATA : SIDECAR_LIKE_FUTURE;
    if (!target->exists) {
        target->data.atime = handed_mark();
    }
    r = sidecar_open(directory, target->sidecar, making, &target->data, ret_fd, &attempt->id);
    target->no_sidecar = r < 0;
    return r;
}

static int one_round(struct attempt *attempt) {
    int fd, own;
    table_word word;
    struct gate gate = gate_enter();
    const struct target *target = attempt->target;
    int program = record_find(target->where.directory, target->sidecar, &attempt->id);
    int r = program < 0 ? open_sidecar(attempt, &fd) : 0;
    if (r < 0) {
        gate_leave(gate);
        bool nobody_has_it = r == -ENOENT && target->only_existing;
        return nobody_has_it ? ROUND_DONE : r;
    }
    enum choice choice;
    r = choose(attempt, program < 0 ? fd : program, program >= 0, &choice, &own, &word);
    if (program < 0) {
        (void)sys_close(fd);
    } else if (r == 0 && choice == CHOICE_OWN) {
        hidden_mark_program(attempt->twin);
    }
    gate_leave(gate);
    switch (choice) {
    case CHOICE_JOIN:
        return join(attempt, own, word, r);
    case CHOICE_LATER:
        return r < 0 ? r : wait_for_upgrade(attempt);
    case CHOICE_STALE:
        return -EDEADLK;
    case CHOICE_NEVER:
        return upgrade_is_interrupted(attempt->target);
    default:
        return r < 0 ? r : lock(attempt);
    }
}

/* 0 and *ret_twin, or an error that has not been decided about. */
static int take_flock(struct target *target, bool exclusive, int *ret_twin) {
    struct attempt attempt = {
        .target = target, .exclusive = exclusive, .until = target_until(target), .twin = -1};
    int r;
    unsigned times = 0;
    while ((r = one_round(&attempt)) == ROUND_AGAIN || r == ROUND_LATER) {
        if (r == ROUND_AGAIN && (r = before_next(&attempt, ++times)) < 0) {
            break;
        }
    }
    if (r != ROUND_DONE) {
        give_up(&attempt);
        return r;
    }
    if (attempt.twin >= 0) {
        hidden_set_inherit(attempt.twin, target->rule->options->inherit);
    }
    *ret_twin = attempt.twin;
    return 0;
}

static int take(struct target *target, bool exclusive, int *ret_twin) {
    target->why[0] = '\0';
    int r = target->rule->options->kind == KIND_SOFT ? soft_take(target, ret_twin)
                                                     : take_flock(target, exclusive, ret_twin);
    if (r == 0) {
        telling_end(target);
        return 0;
    }
    r = failure_decide(target, r);
    if (r == 0) {
        *ret_twin = -1;
        if (!target->why[0]) {
            struct text why = target_why(target);
            text_put(&why, target->no_sidecar ? "it has no sidecar, and none may be made"
                                              : "the failure is one that the rule lets pass");
        }
    }
    return r;
}

int hold_take(struct target *target, bool exclusive, int *ret_twin) {
    fork_notice();
    handover_check();
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
