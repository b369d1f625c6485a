#include "lib/fair.h"

#include <errno.h>

#include "lib/backoff.h"
#include "lib/signals.h"

/* The end of the gap that is due now; 0 for none. */
static uint64_t gap_due(struct filelock *lock) {
    uint64_t now = clock_now();
    (void)pthread_mutex_lock(&lock->mutex);
    uint64_t end = lock->last_release + FAIR_GAP;
    if (now >= end) {
        lock->streak_start = now;
    }
    bool due = now < end && now - lock->streak_start >= FAIR_STREAK;
    if (due) {
        lock->streak_start = end;
    }
    (void)pthread_mutex_unlock(&lock->mutex);
    return due ? end : 0;
}

int fair_leave_gap(struct taking *taking) {
    uint64_t end = gap_due(taking->lock), pause = 0;
    if (end == 0) {
        return 0;
    }
    uint64_t until = take_until(taking);
    end = end < until ? end : until;
    if (clock_now() >= end) {
        return 0;
    }
    signal_set blocked = signals_mask(SIGNALS_ALL);
    int r = 0;
    while (r == 0) {
        r = take_is_cancelled(taking) ? -ECANCELED : backoff_sleep(&pause, end, blocked);
    }
    (void)signals_mask(blocked);
    return r == -ETIMEDOUT ? 0 : r;
}

void fair_note_release(struct filelock *lock) {
    lock->last_release = clock_now();
}
