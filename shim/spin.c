#include "shim/spin.h"

#include <stdatomic.h>

#include "lib/process_mark.h"
#include "lib/sys_linux.h"

#define SPINS 100

void spin_pause(int turn) {
    if (turn < SPINS) {
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    } else {
        sys_let_others_run();
    }
}

signal_set spin_lock(struct spin *spin) {
    signal_set before = signals_mask(SIGNALS_ALL);
    pid_t self = process_mark();
    for (int turn = 0;; turn++) {
        pid_t held = 0;
        if (atomic_compare_exchange_strong(&spin->owner, &held, self)) {
            return before;
        }
        /* In the child of a fork the parent's thread will never unlock it. */
        if (held != self && atomic_compare_exchange_strong(&spin->owner, &held, self)) {
            return before;
        }
        spin_pause(turn);
    }
}

void spin_unlock(struct spin *spin, signal_set before) {
    atomic_store_explicit(&spin->owner, 0, memory_order_release);
    (void)signals_mask(before);
}
