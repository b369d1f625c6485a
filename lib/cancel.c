#include "lib/cancel.h"

#include <stddef.h>
#include <time.h>

#include "lib/signals.h"
#include "lib/sys_linux.h"

static int64_t slot_value(int timer) {
    return ((int64_t)timer + 1) * 2;
}

static void set_off(int timer) {
    /* At once, and every 5 ms: a signal that comes just before the waiter
     * falls asleep would be lost. */
    struct itimerspec now = {.it_value.tv_nsec = 1, .it_interval.tv_nsec = 5000000};
    (void)sys_timer_settime(timer, 0, &now);
}

/* Whoever waits there cannot leave meanwhile. Signals blocked: a handler in the
 * middle may wait for the very lock that he has got. */
static void set_off_slot(_Atomic int64_t *slot) {
    signal_set before = signals_mask(SIGNALS_ALL);
    int64_t value = atomic_load(slot);
    if (value && !(value & 1) && atomic_compare_exchange_strong(slot, &value, value | 1)) {
        set_off((int)(value / 2 - 1));
        atomic_store(slot, value);
    }
    (void)signals_mask(before);
}

void cancel_all(struct cancel *cancel) {
    atomic_fetch_add(&cancel->generation, 1);
    for (int i = 0; i < CANCEL_SLOTS; i++) {
        if (atomic_load(&cancel->timers[i])) {
            set_off_slot(&cancel->timers[i]);
        }
    }
}

bool cancel_enter(const struct cancellable *wait, int timer, int *ret_slot) {
    for (int i = 0; wait->cancel && i < CANCEL_SLOTS; i++) {
        int64_t empty = 0;
        if (atomic_compare_exchange_strong(&wait->cancel->timers[i], &empty, slot_value(timer))) {
            *ret_slot = i;
            return true;
        }
    }
    return false;
}

void cancel_leave(const struct cancellable *wait, int slot) {
    for (;;) {
        int64_t value = atomic_load(&wait->cancel->timers[slot]) & ~INT64_C(1);
        if (atomic_compare_exchange_strong(&wait->cancel->timers[slot], &value, 0)) {
            return;
        }
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
}
