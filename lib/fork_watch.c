#include "lib/fork_watch.h"

#include <stdatomic.h>

#include "lib/clock.h"
#include "lib/handler_local.h"
#include "lib/sys_linux.h"

/* A fork is first going on, then begun: who reads them the other way round misses
 * none. */
static _Atomic unsigned going_on, begun;
static HANDLER_LOCAL unsigned ours;

/* How many threads have tried in vain for so often that forks are asked to wait. */
static _Atomic unsigned impatient;
#define PATIENCE 8

static void pause_shortly(void) {
    const struct timespec pause = clock_timespec(CLOCK_MILLISECOND / 10);
    (void)sys_sleep(&pause);
}

bool fork_watch_begin(struct fork_watch *watch) {
    watch->begun = atomic_load(&begun);
    if (atomic_load(&going_on) <= ours) {
        return true;
    }
    pause_shortly();
    return false;
}

bool fork_watch_passed(struct fork_watch *watch) {
    bool passed = atomic_load(&begun) == watch->begun;
    if (!passed && ++watch->times == PATIENCE) { /* once */
        atomic_fetch_add(&impatient, 1);
    }
    return passed;
}

void fork_watch_end(const struct fork_watch *watch) {
    if (watch->times >= PATIENCE) {
        unsigned count = atomic_load(&impatient); /* 0 in the child of a fork meanwhile */
        while (count > 0 && !atomic_compare_exchange_weak(&impatient, &count, count - 1)) {
        }
    }
}

void fork_watch_prepare(void) {
    /* Not for ever: who is impatient may be the thread that is interrupted here. */
    for (int i = 0; i < 100 && atomic_load(&impatient) > 0; i++) {
        pause_shortly();
    }
    ours++;
    atomic_fetch_add(&going_on, 1);
    atomic_fetch_add(&begun, 1);
}

void fork_watch_in_parent(void) {
    atomic_fetch_sub(&going_on, 1);
    ours--;
}

void fork_watch_in_child(void) {
    atomic_store(&going_on, 0);
    atomic_store(&impatient, 0);
    ours = 0;
}
