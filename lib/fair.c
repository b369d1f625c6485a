#include "lib/fair.h"

#include <errno.h>

#include "lib/backoff.h"
#include "lib/signals.h"

/* The end of the gap that is going on or due now; 0 for none. */
static uint64_t gap_due(struct filelock *lock, struct hold *hold) {
    uint64_t now = clock_now();
    (void)pthread_mutex_lock(&lock->mutex);
    uint64_t end = lock->last_release + FAIR_GAP;
    if (now < lock->gap_end) {
        end = lock->gap_end;
    } else if (now >= end) {
        lock->streak_start = now;
        end = 0;
    } else if (now - lock->streak_start >= FAIR_STREAK) {
        lock->streak_start = lock->gap_end = end;
        hold->gaps = ++lock->gaps;
    } else {
        end = 0;
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return end;
}

/* Until then, or until it is made longer. Returns as backoff_sleep, which this is
 * again and again. */
static int wait_until(struct taking *taking, uint64_t end) {
    uint64_t pause = 0;
    signal_set blocked = signals_mask(SIGNALS_ALL);
    int r = 0;
    while (r == 0) {
        r = take_is_cancelled(taking) ? -ECANCELED : backoff_sleep(&pause, end, blocked);
    }
    (void)signals_mask(blocked);
    return r;
}

int fair_leave_gap(struct taking *taking) {
    uint64_t end;
    while ((end = gap_due(taking->lock, taking->hold)) != 0) {
        uint64_t until = take_until(taking);
        if (clock_now() >= until) {
            break;
        }
        int r = wait_until(taking, end < until ? end : until);
        if (r != -ETIMEDOUT) {
            return r;
        }
    }
    return 0;
}

void fair_note_release(struct filelock *lock, const struct hold *hold) {
    lock->last_release = clock_now();
    if (hold->gaps != lock->gaps && lock->last_release < lock->gap_end) {
        lock->streak_start = lock->gap_end = lock->last_release + FAIR_GAP;
    }
}
