#include "shim/sibling.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/flock_wait.h"
#include "shim/cancelling.h"
#include "shim/doing.h"
#include "shim/hidden.h"
#include "shim/nested.h"
#include "shim/range_lock.h"
#include "shim/telling.h"

#define FIRST_LOOK (3 * CLOCK_MILLISECOND)
#define LOOKS_APART (20 * CLOCK_MILLISECOND)

/* Whether this process may have such record locks. */
static atomic_bool any;

/* Whether the program itself, or another, has it by a lock of the process: of the
 * whole file, say. There is nobody to wait for then. */
static bool is_of_another_kind(int fd, short type, int64_t byte) {
    struct flock64 range;
    return range_lock(fd, F_OFD_GETLK, type, byte, 1, &range) == 0 && range.l_type != F_UNLCK &&
           range.l_pid != -1;
}

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
    return is_of_another_kind(queue->fd, F_WRLCK, RANGE_SIBLINGS) ? SIBLING_PASSES : -EAGAIN;
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
    telling_begin(&queue.telling, target->rule->options->warn_after);
    signal_set blocked = doing_hold_signals();
    int r = stand_in_queue(&queue, until, blocked);
    doing_let_signals_in(blocked);
    if (r == SIBLING_HAS_IT) {
        atomic_store_explicit(&any, true, memory_order_relaxed);
        telling_end(&queue.telling, target);
    }
    return r;
}

int sibling_keep_out(int fd, int operation, int64_t byte) {
    struct flock64 range;
    short type = operation & LOCK_EX ? F_WRLCK : F_RDLCK;
    if (flock_wait_is_remote(fd)) {
        return 0;
    }
    atomic_store_explicit(&any, true, memory_order_relaxed);
    /* As flock(2), which gives the old lock up before it waits for the new one. */
    (void)range_lock(fd, F_OFD_SETLK, F_UNLCK, byte, 1, &range);
    int r = range_lock(fd, F_OFD_SETLK, type, byte, 1, &range);
    if ((r == -EAGAIN || r == -EACCES) && is_of_another_kind(fd, type, byte)) {
        return 0;
    }
    if ((r == -EAGAIN || r == -EACCES) && !(operation & LOCK_NB)) {
        r = range_lock(fd, F_OFD_SETLKW, type, byte, 1, &range);
    }
    return r == -EAGAIN || r == -EACCES ? -EWOULDBLOCK : r == -EINTR ? r : 0;
}

void sibling_let_in(int fd) {
    struct flock64 range;
    (void)range_lock(fd, F_OFD_SETLK, F_UNLCK, RANGE_JOINED, 2, &range);
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
            sibling_let_in(other);
            int served = table_serves(table_get(other));
            if (served >= 0 && sys_fstat(served, &stat) == 0 &&
                sidecar_same(id, sidecar_id_of(&stat))) {
                sibling_let_in(served);
            }
        }
    }
    sibling_let_in(fd);
}
