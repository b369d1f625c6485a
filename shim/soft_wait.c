/*
 * Waiting for somebody else's soft lock (contract P3, P5, W1, W2, W4): nobody tells
 * when a file goes, so it is looked for, after pauses of 1 to 20 ms. Signals come in
 * the pauses only.
 */
#include <errno.h>
#include <stdatomic.h>

#include "lib/backoff.h"
#include "lib/process_mark.h"
#include "lib/soft.h"
#include "lib/soft_break.h"
#include "shim/cancelling.h"
#include "shim/doing.h"
#include "shim/failure.h"
#include "shim/family.h"
#include "shim/hidden.h"
#include "shim/sibling.h"
#include "shim/soft.h"
#include "shim/telling.h"
#include "shim/wait.h"

struct soft_wait {
    struct target *target;
    bool has_begun;
    int twin;
    uint64_t until, pause;
    struct family family;
};

/* What a look at the marker leads to. */
enum { DONE = 0, WAIT = 1, AT_ONCE = 2 };

/* While a marker is broken, one of this process stands in its place for a moment
 * (soft_break.h), which another thread must not take for the program's own lock. */
static _Atomic unsigned breaks_begun, breaks_ended;

static int break_stale(const struct target *target) {
    atomic_fetch_add(&breaks_begun, 1);
    int r = soft_break(target->where.directory, target->sidecar, true);
    atomic_fetch_add(&breaks_ended, 1);
    return r == -EAGAIN ? WAIT : r < 0 ? r : AT_ONCE;
}

/* A hidden descriptor of the marker, not of our making; -1 where it may not be had. */
static int open_marker(const struct target *target) {
    struct sidecar_id id;
    int fd;
    if (sidecar_open(target->where.directory, target->sidecar, SIDECAR_NEVER, NULL, &fd, &id) < 0) {
        return -1;
    }
    int twin = hidden_make(fd, MODE_EXCLUSIVE, id);
    (void)sys_close(fd);
    return twin < 0 ? -1 : twin;
}

static bool is_still_there(const struct target *target, struct sidecar_id marker) {
    struct sys_stat stat;
    return sys_stat(target->where.directory, target->sidecar, AT_SYMLINK_NOFOLLOW, &stat) == 0 &&
           sidecar_same(sidecar_id_of(&stat), marker);
}

/* An ancestor lets us in, and others too, it may be: by turns (sibling.h). */
static int pass_with_siblings(struct soft_wait *wait) {
    const struct target *target = wait->target;
    const struct nested *holder = &wait->family.nested;
    int twin = target->wants_write ? open_marker(target) : -1;
    int r = twin < 0 ? SIBLING_PASSES : sibling_take_turn(wait->target, twin, holder, wait->until);
    if (r >= 0 && !is_still_there(target, holder->marker)) {
        r = SIBLING_AGAIN; /* it is not the ancestor's any more */
    }
    if (r == SIBLING_HAS_IT) {
        hidden_set_inherit(twin, target->rule->options->inherit);
        wait->twin = twin;
        return DONE;
    }
    if (twin >= 0) {
        hidden_close(twin);
    }
    return r == SIBLING_PASSES ? DONE : r < 0 ? r : AT_ONCE;
}

/* The program's own lock, as far as it can be told: not one that another thread has
 * just got through us, or is breaking. */
static bool is_programs(const struct target *target) {
    struct soft_owner owner;
    struct sidecar_id id;
    unsigned ended = atomic_load(&breaks_ended);
    struct soft_section section = soft_enter();
    int r = soft_judge(target->where.directory, target->sidecar, &owner, &id);
    bool is = r == 0 && hidden_find_marked(id, TABLE_ANCHOR) < 0;
    soft_leave(section);
    if (!is || atomic_load(&breaks_begun) != ended) {
        return false;
    }
    return owner.state == SOFT_ALIVE
               ? owner.pid == sys_getpid()
               : owner.state == SOFT_UNKNOWN && owner.pid == 0 && procfs_has_open(0, id);
}

static int look_at_family(struct soft_wait *wait, const struct soft_owner *owner,
                          struct sidecar_id marker) {
    struct nested *nested = &wait->family.nested;
    uint64_t now = clock_now();
    int ignored;
    pid_t pid = owner->pid;
    if (owner->state == SOFT_UNKNOWN && pid > 0) {
        return WAIT; /* another host's is nobody's here */
    }
    if (nested->owner != pid || !sidecar_same(nested->marker, marker)) {
        *nested = (struct nested){.soft = true, .owner = pid, .marker = marker};
        wait->family.look = now < wait->family.look ? now : wait->family.look;
    }
    if (pid > 0 && pid == process_mark() && table_is_foreign()) {
        return DONE; /* our parent, in vfork */
    }
    if (now < wait->family.look) {
        return WAIT;
    }
    switch (family_look(&wait->family, wait->target, true, now, &ignored)) {
    case WAITED_OURS:
        wait->family.look = now;
        return is_programs(wait->target) ? DONE : WAIT;
    case WAITED_PASS:
        return pass_with_siblings(wait);
    case -EDEADLK:
        return -EDEADLK;
    default:
        return WAIT;
    }
}

/* Somebody else's marker is in the way. */
static int look(struct soft_wait *wait) {
    const struct target *target = wait->target;
    struct soft_owner owner;
    struct sidecar_id id = {0};
    int r = soft_judge(target->where.directory, target->sidecar, &owner, &id);
    if (r < 0) {
        return r;
    }
    if (owner.state == SOFT_FREE) {
        return AT_ONCE;
    }
    if (owner.state == SOFT_DEAD) {
        return break_stale(target);
    }
    r = look_at_family(wait, &owner, id);
    if (r == WAIT && clock_now() >= wait->target->telling.at) {
        telling_look_soft(wait->target, &owner);
    }
    return r;
}

static void begin(struct soft_wait *wait) {
    uint64_t now = clock_now();
    wait->has_begun = true;
    wait->target->waited = true;
    wait->target->why[0] = '\0';
    family_begin(&wait->family, now);
    telling_begin(wait->target);
}

/* One round; *ret_at_once: there is a reason to begin another without a pause. */
static int one_round(struct soft_wait *wait, bool *ret_at_once) {
    *ret_at_once = false;
    int r = soft_try(wait->target, &wait->twin);
    if (r == -EAGAIN) {
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
        *ret_at_once = true;
        return WAIT;
    }
    if (r != -EEXIST) {
        return r;
    }
    if (!wait->has_begun) {
        r = failure_before_wait(wait->target);
        if (r < 0) {
            return r;
        }
        begin(wait);
    }
    r = look(wait);
    *ret_at_once = r == AT_ONCE;
    return r == AT_ONCE ? WAIT : r;
}

static int wait_blocked(struct soft_wait *wait, signal_set blocked) {
    bool was_at_once = false, at_once;
    for (;;) {
        int r = one_round(wait, &at_once);
        if (r != WAIT) {
            return r;
        }
        if (!at_once || was_at_once) {
            cancelling_test(blocked);
            r = backoff_sleep(&wait->pause, wait->until, blocked);
            at_once = false;
        }
        was_at_once = at_once;
        if (r < 0) {
            return r;
        }
    }
}

int soft_take(struct target *target, int *ret_twin) {
    struct soft_wait wait = {.target = target, .twin = -1, .until = target_until(target)};
    int r = soft_try(target, &wait.twin);
    if (r == -EEXIST || r == -EAGAIN) {
        uint64_t start = clock_now();
        signal_set blocked = doing_hold_signals();
        r = wait_blocked(&wait, blocked);
        doing_let_signals_in(blocked);
        target->wait_time += clock_now() - start;
    }
    *ret_twin = r == 0 ? wait.twin : -1;
    return r;
}
