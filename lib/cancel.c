#include "lib/cancel.h"

#include <stddef.h>
#include <time.h>

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

void cancel_all(struct cancel *cancel) {
    atomic_fetch_add(&cancel->generation, 1);
    for (int i = 0; i < CANCEL_SLOTS; i++) {
        int64_t value = atomic_load(&cancel->timers[i]);
        if (value && !(value & 1) &&
            atomic_compare_exchange_strong(&cancel->timers[i], &value, value | 1)) {
            set_off((int)(value / 2 - 1));
            atomic_store(&cancel->timers[i], value);
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
