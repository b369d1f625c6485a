#include "shim/sibling.h"

#include <errno.h>

#include "lib/backoff.h"
#include "lib/flock_wait.h"
#include "shim/cancelling.h"
#include "shim/doing.h"
#include "shim/nested.h"
#include "shim/range_lock.h"
#include "shim/telling.h"

#define FIRST_LOOK (3 * CLOCK_MILLISECOND)
#define LOOKS_APART (20 * CLOCK_MILLISECOND)

struct queue {
    struct target *target;
    int fd;
    struct lock_key flock;
    struct nested nested; /* about the record lock */
    struct telling telling;
    uint64_t look;
};

static int try(const struct queue *queue) {
    struct flock64 range;
    int r = range_lock(queue->fd, F_OFD_SETLK, F_WRLCK, RANGE_SIBLINGS, 1, &range);
    if (r == 0) {
        if (nested_waits_still(&queue->flock)) {
            return SIBLING_HAS_IT;
        }
        (void)range_lock(queue->fd, F_OFD_SETLK, F_UNLCK, RANGE_SIBLINGS, 1, &range);
        return SIBLING_AGAIN;
    }
    if (r != -EAGAIN && r != -EACCES) {
        return SIBLING_PASSES;
    }
    /* A lock of the whole file, by a program of its own: nobody to wait for. */
    r = range_lock(queue->fd, F_OFD_GETLK, F_WRLCK, RANGE_SIBLINGS, 1, &range);
    return r == 0 && range.l_type != F_UNLCK && range.l_pid != -1 ? SIBLING_PASSES : -EAGAIN;
}

/* -EAGAIN: wait on. */
static int look(struct queue *queue) {
    uint64_t now = clock_now();
    if (now >= queue->look) {
        int fd;
        switch (nested_look(&queue->nested, true, &fd)) {
        case NESTED_OURSELVES:
        case NESTED_ANCESTOR:
            return SIBLING_PASSES;
        case NESTED_MAYBE:
            queue->look = queue->nested.look_again;
            break;
        default:
            queue->look = now + LOOKS_APART;
            break;
        }
    }
    if (now >= queue->telling.at) {
        telling_look(&queue->telling, queue->target, &queue->nested.key);
    }
    return -EAGAIN;
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

int sibling_take_turn(struct target *target, int fd, uint64_t until) {
    struct queue queue = {.target = target, .fd = fd, .look = clock_now() + FIRST_LOOK};
    if (flock_wait_is_remote(fd) || !proclocks_key(fd, &queue.flock)) {
        return SIBLING_PASSES;
    }
    queue.nested.key = proclocks_range_key(&queue.flock, RANGE_SIBLINGS);
    telling_begin(&queue.telling, target->rule->options.warn_after);
    signal_set blocked = doing_hold_signals();
    int r = stand_in_queue(&queue, until, blocked);
    doing_let_signals_in(blocked);
    if (r == SIBLING_HAS_IT) {
        telling_end(&queue.telling, target);
    }
    return r;
}
