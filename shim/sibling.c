#include "shim/sibling.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/flock_wait.h"
#include "shim/cancelling.h"
#include "shim/circle.h"
#include "shim/doing.h"
#include "shim/failure.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/scratch.h"
#include "shim/telling.h"
#include "shim/wait.h"

#define FIRST_LOOK (3 * CLOCK_MILLISECOND)
#define LOOKS_APART (20 * CLOCK_MILLISECOND)
#define FIRST_MARK (CLOCK_SECOND / 2) /* before anybody looks for a circle */
#define TRIES_AT_ONCE 2               /* of one who does not wait: another may give up too */

/* Whether this process may have such locks. */
static atomic_bool any;

struct queue {
    struct target *target;
    int fd;
    int64_t pair;
    bool exclusive, of_program, only_waits;
    struct lock_key flock;
    const struct nested *holder; /* of the lock itself */
    struct nested nested;        /* about the byte that is in the way */
    int64_t byte;
    struct circle circle;
    uint64_t look, mark_at;
    bool marked;
};

static int try(struct queue *queue) {
    int64_t byte = queue->byte;
    int r = pair_take(queue->fd, queue->pair, queue->exclusive, &byte);
    if (r == -EAGAIN) {
        if (byte != queue->byte) { /* what was seen was about another lock */
            queue->byte = byte;
            queue->nested = (struct nested){.key = proclocks_range_key(&queue->flock, byte)};
        }
        return r;
    }
    if (r < 0) {
        return SIBLING_PASSES;
    }
    atomic_store_explicit(&any, true, memory_order_relaxed);
    if (queue->pair == PAIR_JOINED || queue->only_waits ||
        nested_waits_still(queue->holder, queue->exclusive)) {
        return SIBLING_HAS_IT;
    }
    pair_give_back(queue->fd);
    return SIBLING_AGAIN;
}

/* What one's own other descriptor has lets one pass, as far as nobody can be expected
 * to give it back: not where another thread of the program may, which takes turns by
 * descriptors of its own. */
static bool may_join_own(const struct queue *queue) {
    return !queue->of_program || !gate_has_threads();
}

static int look_at_family(struct queue *queue, uint64_t now) {
    int fd;
    queue->look = now + LOOKS_APART;
    switch (nested_look(&queue->nested, false, &fd)) {
    case NESTED_OURSELVES:
        return may_join_own(queue) ? SIBLING_PASSES : -EAGAIN;
    case NESTED_ANCESTOR:
        return SIBLING_PASSES;
    case NESTED_MAYBE:
        queue->look = queue->nested.look_again;
        break;
    default:
        break;
    }
    return -EAGAIN;
}

static void unmark(struct queue *queue) {
    if (queue->marked) {
        pair_unmark_waiting(queue->fd, queue->pair);
        queue->marked = false;
    }
}

static int look_for_circle(struct queue *queue) {
    struct target *target = queue->target;
    const struct lock_key wanted = pair_key(&queue->flock, queue->pair);
    struct text who = target_why(target);
    text_put(&who, "deadlock: ");
    unmark(queue);
    switch (circle_look(&queue->circle, &wanted, &who)) {
    case CIRCLE_CLOSED:
        /* An ancestor who has it waits for its children, and wakes too often to be
         * called quiet. */
        return !queue->of_program && nested_is_in_family(&queue->nested.key) ? SIBLING_PASSES
                                                                             : -EDEADLK;
    case CIRCLE_DOUBT:
        telling_doubt(target, target->why + strlen("deadlock: "));
        break;
    case CIRCLE_NONE:
        break;
    }
    target->why[0] = '\0';
    return -EAGAIN;
}

/* -EAGAIN: wait on. */
static int look(struct queue *queue) {
    uint64_t now = clock_now();
    int r = now >= queue->look ? look_at_family(queue, now) : -EAGAIN;
    if (r == -EAGAIN && now >= queue->circle.look_at) {
        r = look_for_circle(queue);
    }
    if (r == -EAGAIN && queue->target && now >= queue->target->telling.at) {
        telling_look(queue->target, &queue->nested.key);
    }
    if (r == -EAGAIN && now >= queue->mark_at && !queue->marked) {
        pair_mark_waiting(queue->fd, queue->pair);
        queue->marked = true;
    }
    return r;
}

static int stand_in_queue(struct queue *queue, uint64_t until, signal_set blocked) {
    uint64_t pause = 0;
    for (;;) {
        int r = try(queue);
        if (r == -EAGAIN) {
            r = look(queue);
        }
        if (r != -EAGAIN) {
            return r;
        }
        cancelling_test(blocked);
        r = backoff_sleep(&pause, until, blocked);
        if (r < 0) {
            return r;
        }
    }
}

static int take_turn(struct queue *queue, uint64_t until) {
    uint64_t now = clock_now();
    queue->look = now + FIRST_LOOK;
    queue->mark_at = now + FIRST_MARK;
    if (queue->target) {
        circle_begin(&queue->circle);
        telling_begin(queue->target);
    } else {
        queue->circle.look_at = CLOCK_FOREVER;
    }
    signal_set blocked = doing_hold_signals();
    int r = stand_in_queue(queue, until, blocked);
    unmark(queue);
    doing_let_signals_in(blocked);
    return r;
}

int sibling_take_turn(struct target *target, int fd, const struct nested *holder, uint64_t until) {
    struct queue queue = {
        .target = target, .fd = fd, .pair = PAIR_SIBLINGS, .exclusive = true, .holder = holder};
    if (flock_wait_is_remote(fd) || !proclocks_key(fd, &queue.flock)) {
        return SIBLING_PASSES;
    }
    return take_turn(&queue, until);
}

int sibling_pass(struct target *target, int fd, uint64_t until) {
    struct nested holder = {.soft = false};
    int r = SIBLING_PASSES;
    if (proclocks_key(fd, &holder.key)) {
        r = sibling_take_turn(target, fd, &holder, until);
    }
    switch (r) {
    case SIBLING_HAS_IT:
        return WAITED_LOCKED;
    case SIBLING_PASSES:
        return WAITED_PASS;
    default:
        if (r >= 0) {
            target->why[0] = '\0';
        }
        return r < 0 ? r : WAITED_JOIN;
    }
}

bool sibling_has_turn(int fd) {
    return pair_is_own(fd, PAIR_SIBLINGS);
}

void sibling_end_turn(int fd) {
    pair_leave(fd, PAIR_SIBLINGS);
}

bool sibling_writes(int fd) {
    return pair_is_taken(fd, PAIR_SIBLINGS);
}

static bool has_turn_in_family(const struct lock_key *flock) {
    const struct lock_key turn = proclocks_range_key(flock, PAIR_SIBLINGS);
    return nested_is_in_family(&turn);
}

int sibling_wait_for_writer(struct target *target, int fd, uint64_t until) {
    struct queue queue = {.target = target, .fd = fd, .pair = PAIR_SIBLINGS, .only_waits = true};
    if (flock_wait_is_remote(fd) || !proclocks_key(fd, &queue.flock)) {
        return SIBLING_PASSES;
    }
    if (nested_is_in_family(&queue.flock)) {
        return has_turn_in_family(&queue.flock) ? SIBLING_PASSES : SIBLING_BESIDE;
    }
    (void)sys_flock(fd, LOCK_UN);
    int r = take_turn(&queue, until);
    pair_give_back(fd);
    if (r == SIBLING_PASSES && sys_flock(fd, LOCK_SH | LOCK_NB) == 0) {
        return SIBLING_PASSES; /* the writer waits for us */
    }
    return r < 0 ? r : SIBLING_AGAIN;
}

static int wait_for_program(struct queue *queue) {
    struct doing doing;
    doing_begin(&doing, false);
    struct target *target = scratch_get();
    queue->target = target && target_of_sidecar(target, queue->fd) ? target : NULL;
    int r = take_turn(queue, CLOCK_FOREVER);
    if (r == -EDEADLK) {
        failure_say(target, EDEADLK, false);
    } else if (r >= 0 && queue->target) {
        telling_end(target);
    }
    scratch_put(target);
    doing_end();
    return r;
}

int sibling_keep_out(int fd, int operation, int64_t pair) {
    struct nested holder = {.soft = false};
    struct queue queue = {.fd = fd,
                          .pair = pair,
                          .exclusive = operation & LOCK_EX,
                          .of_program = true,
                          .holder = &holder};
    if (flock_wait_is_remote(fd) || !proclocks_key(fd, &queue.flock)) {
        return SIBLING_PASSES;
    }
    holder.key = queue.flock;
    uint64_t pause = 0;
    int r = try(&queue);
    for (int i = 1; r == -EAGAIN && i < TRIES_AT_ONCE; i++) {
        signal_set blocked = signals_mask(SIGNALS_ALL);
        (void)backoff_again(&pause, CLOCK_FOREVER, blocked);
        (void)signals_mask(blocked);
        r = try(&queue);
    }
    if (r != -EAGAIN) {
        return r;
    }
    return operation & LOCK_NB ? -EWOULDBLOCK : wait_for_program(&queue);
}

void sibling_let_in(int fd) {
    pair_give_back(fd);
}

void sibling_yield(int fd) {
    struct sys_stat stat;
    if (!atomic_load_explicit(&any, memory_order_relaxed) || sys_fstat(fd, &stat) < 0) {
        return;
    }
    /* All descriptors of the sidecar, ours and the program's. */
    const struct sidecar_id id = sidecar_id_of(&stat);
    for (int other = table_previous(TABLE_HIDDEN, TABLE_NOBODY); other >= 0;
         other = table_previous(TABLE_HIDDEN, other)) {
        struct sidecar_id hidden;
        if (table_id(other, table_get(other), &hidden) && sidecar_same(id, hidden)) {
            pair_give_back_all(other);
            int served = table_serves(table_get(other));
            if (served >= 0 && sys_fstat(served, &stat) == 0 &&
                sidecar_same(id, sidecar_id_of(&stat))) {
                pair_give_back_all(served);
            }
        }
    }
    pair_give_back_all(fd);
}
