#include "shim/gate.h"

#include <stdatomic.h>

#include "lib/clock.h"
#include "lib/sys_linux.h"
#include "shim/spin.h"
#include "shim/table.h"

#define PATIENCE_INSIDE (100 * CLOCK_MILLISECOND) /* for a fork that does not end */
#define PATIENCE_OUTSIDE CLOCK_SECOND             /* for those who do not come out */

static _Atomic unsigned inside, closed;
static atomic_flag taken = ATOMIC_FLAG_INIT; /* by the one who is in alone */
/* How often this thread is in, and has closed it: it passes itself. */
static _Thread_local unsigned depth __attribute__((tls_model("initial-exec")));
static _Thread_local unsigned closing __attribute__((tls_model("initial-exec")));
static _Thread_local bool counted __attribute__((tls_model("initial-exec")));
static _Thread_local bool alone __attribute__((tls_model("initial-exec")));

#ifdef __GLIBC__
/* glibc 2.32; an older one is taken to have threads. */
extern char __libc_single_threaded __attribute__((weak));

bool gate_has_threads(void) {
    return !&__libc_single_threaded || !__libc_single_threaded;
}
#else
bool gate_has_threads(void) {
    return true;
}
#endif

/* Waits a moment. False when it has taken too long. */
static bool pause_until(uint64_t until) {
    sys_let_others_run();
    return clock_now() < until;
}

static void wait_and_enter(void) {
    uint64_t until = 0;
    for (;;) {
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&closed) == 0 || closing > 0) {
            return;
        }
        if (!until) {
            until = clock_now() + PATIENCE_INSIDE;
        } else if (clock_now() >= until) {
            return;
        }
        atomic_fetch_sub(&inside, 1);
        (void)pause_until(until);
    }
}

struct gate gate_enter(void) {
    struct gate gate = {.entered = false};
    if (depth == 0 && (!gate_has_threads() || table_is_foreign())) {
        return gate; /* a child that shares our memory must not leave a count here */
    }
    gate.before = signals_mask(SIGNALS_ALL);
    gate.entered = true;
    if (depth++ == 0) {
        wait_and_enter();
    }
    return gate;
}

struct gate gate_enter_alone(void) {
    struct gate gate = gate_enter();
    gate.alone = gate.entered;
    for (int i = 0; gate.alone && atomic_flag_test_and_set_explicit(&taken, memory_order_acquire);
         i++) {
        spin_pause(i);
    }
    return gate;
}

void gate_leave(struct gate gate) {
    if (!gate.entered) {
        return;
    }
    if (gate.alone) {
        atomic_flag_clear_explicit(&taken, memory_order_release);
    }
    if (--depth == 0) {
        atomic_fetch_sub(&inside, 1);
    }
    (void)signals_mask(gate.before);
}

/* Signals blocked: a handler in the middle would wait for its own thread. */
static void set_closed(bool now) {
    signal_set before = signals_mask(SIGNALS_ALL);
    counted = now;
    if (now) {
        atomic_fetch_add(&closed, 1);
    } else {
        closing--;
        atomic_fetch_sub(&closed, 1);
    }
    (void)signals_mask(before);
}

void gate_close(void) {
    if (closing++ > 0) {
        return;
    }
    alone = !gate_has_threads();
    if (alone || table_is_foreign()) {
        return;
    }
    set_closed(true);
    uint64_t until = 0;
    while (atomic_load(&inside) > 0) {
        if (!until) {
            until = clock_now() + PATIENCE_OUTSIDE;
        }
        if (!pause_until(until)) {
            break;
        }
    }
}

void gate_open(void) {
    if (closing == 1 && counted) {
        set_closed(false);
    } else if (closing > 0) {
        closing--;
    }
}

bool gate_after_fork(void) {
    bool had_others = closing == 0 || !alone;
    atomic_store(&inside, 0);
    atomic_store(&closed, 0);
    atomic_flag_clear(&taken);
    depth = 0;
    closing = 0;
    counted = false;
    return had_others;
}
