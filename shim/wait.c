#include "shim/wait.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "shim/cancelling.h"
#include "shim/circle.h"
#include "shim/doing.h"
#include "shim/family.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/nested.h"
#include "shim/program.h"
#include "shim/telling.h"
#include "shim/turn.h"

/* At the next look behind it, and none is more than a second away. */
#define MARK_AGAIN (CLOCK_SECOND / 2)

/* The moments at which the queue is left, and what was seen. */
struct wait {
    struct target *target;
    int fd;
    struct sidecar_id id;
    int operation;
    uint64_t until;
    struct family family;
    struct circle circle;
    uint64_t began;
    uint64_t marked; /* when: readers are to let us have our turn. 0: not yet */
};

/* Ends the stays of all threads in the queue, to look whether one has it now. */
static struct cancel wakening;

void wait_wake(void) {
    if (gate_has_threads() && !table_is_foreign()) {
        cancel_all(&wakening);
    }
}

void wait_after_fork(void) {
    cancel_after_fork(&wakening);
}

static uint64_t earliest(const struct wait *wait) {
    uint64_t next = wait->until;
    next = wait->family.look < next ? wait->family.look : next;
    next = wait->circle.look_at < next ? wait->circle.look_at : next;
    return wait->target->telling.at < next ? wait->target->telling.at : next;
}

static void put_why(struct target *target, const char *why) {
    struct text text = target_why(target);
    text_put(&text, why);
}

static bool is_of_program(const struct wait *wait) {
    return table_kind(table_get(wait->fd)) != TABLE_HIDDEN;
}

/* Another thread, by another description. (Whoever upgrades has it himself.) The
 * program's own descriptor does not join what another one of the program has. */
static bool we_have_it(const struct wait *wait) {
    table_word word;
    if (table_mode(table_get(wait->fd)) == MODE_UPGRADING) {
        return false;
    }
    int own = hidden_find(wait->id, wait->fd, &word);
    if (wait->target->waits_for_upgrade) {
        return own < 0 || table_mode(word) != MODE_UPGRADING;
    }
    return own >= 0 && table_is_locked(word) &&
           !(is_of_program(wait) && program_has_it(wait->fd, wait->id));
}

/* Ourselves and our ancestors. WAITED_LOCKED stands for "wait on". */
static int look_at_family(struct wait *wait, uint64_t now, int *ret_fd) {
    if (we_have_it(wait)) {
        return WAITED_JOIN;
    }
    /* Another thread will give up what it has, or open the file and share it. */
    wait->family.waits_for_own =
        is_of_program(wait) && gate_has_threads() && wait->until == CLOCK_FOREVER;
    return family_look(&wait->family, wait->target, wait->operation == LOCK_EX, now, ret_fd);
}

static int look_for_circle(struct wait *wait) {
    struct target *target = wait->target;
    struct text who = target_why(target);
    text_put(&who, "deadlock: ");
    switch (circle_look(&wait->circle, &wait->family.nested.key, &who)) {
    case CIRCLE_CLOSED:
        /* An ancestor in it waits for its children, and wakes too often to be called
         * quiet. (Where others have the lock as well, they wait for us.) */
        if (target->rule->options->nested == NESTED_PASS &&
            nested_is_in_family(&wait->family.nested.key) &&
            nested_family_has_it_alone(&wait->family.nested.key)) {
            put_why(target, "an ancestor has it and waits for this process (nested=pass)");
            return WAITED_PASS;
        }
        return -EDEADLK;
    case CIRCLE_DOUBT:
        telling_doubt(target, target->why + strlen("deadlock: "));
        break;
    case CIRCLE_NONE:
        break;
    }
    target->why[0] = '\0';
    return WAITED_LOCKED;
}

static void mark(struct wait *wait, uint64_t now) {
    if (wait->marked == 0 || now >= wait->marked + MARK_AGAIN) {
        turn_mark(wait->fd, wait->began, wait->marked != 0);
        wait->marked = now;
    }
}

/* What is due. WAITED_LOCKED stands for "wait on". */
static int look(struct wait *wait, int *ret_fd) {
    uint64_t now = clock_now();
    int r = WAITED_LOCKED;
    if (now >= wait->family.look) {
        r = look_at_family(wait, now, ret_fd);
    }
    if (r == WAITED_LOCKED && now >= wait->circle.look_at) {
        r = look_for_circle(wait);
    }
    if (r == WAITED_LOCKED && now >= wait->target->telling.at) {
        telling_look(wait->target, &wait->family.nested.key);
    }
    if (r == WAITED_LOCKED && wait->operation == LOCK_EX &&
        table_kind(table_get(wait->fd)) == TABLE_HIDDEN) {
        mark(wait, now);
    }
    return r;
}

/* `blocked`: the program's mask. Between two stays in the queue its signals are
 * held back, so that none that ought to end the wait gets lost. */
static int wait_blocked(struct wait *wait, int *ret_fd, signal_set blocked) {
    /* In a child that shares memory a timer and a handler would be its parent's. */
    unsigned flags = table_is_foreign() ? FLOCK_WAIT_POLL : 0;
    if (doing_may_be_cancelled()) {
        flags |= FLOCK_WAIT_CANCEL;
    }
    (void)proclocks_key(wait->fd, &wait->family.nested.key);
    wait->began = clock_now();
    family_begin(&wait->family, wait->began);
    circle_begin(&wait->circle);
    telling_begin(wait->target);
    for (;;) {
        const struct cancellable wake = cancel_begin(&wakening);
        if (we_have_it(wait)) {
            return WAITED_JOIN;
        }
        int r =
            flock_wait_blocked(wait->fd, wait->operation, earliest(wait), flags, blocked, &wake);
        flags |= FLOCK_WAIT_AGAIN;
        if (r == -ECANCELED) {
            continue;
        }
        if (r == 0) {
            return WAITED_LOCKED;
        }
        if (r != -ETIMEDOUT || clock_now() >= wait->until) {
            return r;
        }
        r = look(wait, ret_fd);
        if (r != WAITED_LOCKED) {
            return r;
        }
    }
}

int wait_for_lock(struct target *target, int fd, struct sidecar_id id, int operation,
                  uint64_t until, int *ret_fd) {
    struct wait wait = {
        .target = target, .fd = fd, .id = id, .operation = operation, .until = until};
    target->waited = true;
    target->why[0] = '\0';
    signal_set blocked = doing_hold_signals();
    uint64_t start = clock_now();
    int r;
    doing_wait(true);
    pthread_cleanup_push(cancelling_drop, &blocked);
    r = wait_blocked(&wait, ret_fd, blocked);
    pthread_cleanup_pop(0);
    doing_wait(false);
    if (wait.marked != 0) {
        turn_unmark(fd);
    }
    target->wait_time += clock_now() - start;
    doing_let_signals_in(blocked);
    return r;
}

int wait_for_turn(struct target *target, int fd, uint64_t until) {
    uint64_t turn = turn_of_writer(fd), pause = 0, start = clock_now();
    struct lock_key key;
    if (turn == 0 || until <= start || (proclocks_key(fd, &key) && nested_is_in_family(&key))) {
        return 0; /* the writer may be waiting for ourselves */
    }
    turn = turn < until ? turn : until;
    target->waited = true;
    (void)sys_flock(fd, LOCK_UN);
    signal_set blocked = doing_hold_signals();
    int r = 0;
    telling_begin(target);
    while (r == 0 && !turn_is_over(fd)) {
        cancelling_test(blocked);
        r = backoff_sleep(&pause, turn, blocked);
        if (clock_now() >= target->telling.at) {
            telling_look_turn(target);
        }
    }
    doing_let_signals_in(blocked);
    cancelling_test(blocked);
    target->wait_time += clock_now() - start;
    return r == -EINTR ? r : 1;
}
