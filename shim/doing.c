#include "shim/doing.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/flock_wait.h"
#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/scratch.h"
#include "shim/upgrade.h"

#define SCRATCH 3 /* for one call: two names and a second look */

/* One place for each level; calls beyond the last are not remembered. */
static _Thread_local struct {
    volatile int depth;
    struct {
        uintptr_t frame;
        bool cancellable;
        volatile bool waits;
        bool holds_signals;
        signal_set mask; /* the program's, then */
        struct target *scratch[SCRATCH];
    } calls[TABLE_LEVELS];
} doing __attribute__((tls_model("initial-exec")));

static void set_depth(int depth) {
    atomic_signal_fence(memory_order_seq_cst);
    doing.depth = depth;
    table_set_level(depth);
    atomic_signal_fence(memory_order_seq_cst);
}

/* Addresses on an alternate signal stack say nothing about other frames. */
static bool on_alternate_stack(void) {
    stack_t now = {.ss_flags = SS_DISABLE};
    return SYS_CALL(SYS_sigaltstack, NULL, &now, 0, 0, 0, 0) == 0 && now.ss_flags & SS_ONSTACK;
}

static void drop_hidden(int level) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        if (!table_is_own_transit(word) || table_transit_level(word) < level) {
            continue;
        }
        if (table_mode(word) == MODE_UPGRADING) {
            upgrade_abandon(fd);
        }
        hidden_close_orphan(fd);
    }
}

void doing_abandon(void) {
    int depth = doing.depth;
    if (depth == 0) {
        return;
    }
    struct target *scratch[SCRATCH] = {NULL};
    if (depth <= TABLE_LEVELS) {
        if (doing.calls[depth - 1].waits) {
            flock_wait_abandon();
        }
        drop_hidden(depth);
        for (int i = 0; i < SCRATCH; i++) {
            scratch[i] = doing.calls[depth - 1].scratch[i];
        }
    }
    set_depth(depth - 1);
    for (int i = 0; i < SCRATCH; i++) {
        scratch_free(scratch[i]);
    }
}

/* Drops what is over, as seen from that place in the stack. */
static void sweep(uintptr_t frame) {
    if (doing.depth == 0 || on_alternate_stack()) {
        return;
    }
    for (;;) {
        int depth = doing.depth, known = depth < TABLE_LEVELS ? depth : TABLE_LEVELS;
        if (depth == 0 || doing.calls[known - 1].frame > frame) {
            return;
        }
        if (depth > known) {
            set_depth(known);
        }
        doing_abandon();
    }
}

void doing_begin(struct doing *call, bool cancellable) {
    sweep((uintptr_t)call);
    int depth = doing.depth;
    if (depth < TABLE_LEVELS) {
        doing.calls[depth].frame = (uintptr_t)call;
        doing.calls[depth].cancellable = cancellable;
        doing.calls[depth].waits = false;
        doing.calls[depth].holds_signals = false;
        for (int i = 0; i < SCRATCH; i++) {
            doing.calls[depth].scratch[i] = NULL;
        }
    }
    set_depth(depth + 1);
}

void doing_end(void) {
    int depth = doing.depth;
    if (depth == 0) {
        return;
    }
    bool holds = depth <= TABLE_LEVELS && doing.calls[depth - 1].holds_signals;
    signal_set mask = holds ? doing.calls[depth - 1].mask : 0;
    set_depth(depth - 1);
    if (holds) {
        (void)signals_mask(mask);
    }
}

signal_set doing_hold_signals(void) {
    int depth = doing.depth;
    if (depth == 0 || depth > TABLE_LEVELS) {
        return signals_mask(SIGNALS_ALL);
    }
    if (!doing.calls[depth - 1].holds_signals) {
        doing.calls[depth - 1].mask = signals_mask(SIGNALS_ALL);
        doing.calls[depth - 1].holds_signals = true;
    }
    return doing.calls[depth - 1].mask;
}

void doing_let_signals_in(signal_set mask) {
    int depth = doing.depth;
    if (depth == 0 || depth > TABLE_LEVELS || !doing.calls[depth - 1].holds_signals) {
        (void)signals_mask(mask);
    }
}

void doing_wait(bool waits) {
    int depth = doing.depth;
    if (depth > 0 && depth <= TABLE_LEVELS) {
        doing.calls[depth - 1].waits = waits;
    }
}

static bool some_call_waits(void) {
    int known = doing.depth < TABLE_LEVELS ? doing.depth : TABLE_LEVELS;
    while (known > 0 && !doing.calls[known - 1].waits) {
        known--;
    }
    return known > 0;
}

void doing_wait_is_gone(uintptr_t stack, bool innermost) {
    if (innermost && some_call_waits()) {
        bool was_it;
        do {
            int depth = doing.depth;
            was_it = depth <= TABLE_LEVELS && doing.calls[depth - 1].waits;
            doing_abandon();
        } while (!was_it);
    }
    sweep(stack);
}

bool doing_may_be_cancelled(void) {
    int depth = doing.depth;
    return depth > 0 && depth <= TABLE_LEVELS && doing.calls[depth - 1].cancellable &&
           gate_has_threads() && !table_is_foreign();
}

void doing_with(struct target *target) {
    int depth = doing.depth;
    for (int i = 0; depth > 0 && depth <= TABLE_LEVELS && i < SCRATCH; i++) {
        if (!doing.calls[depth - 1].scratch[i]) {
            doing.calls[depth - 1].scratch[i] = target;
            return;
        }
    }
}

void doing_without(const struct target *target) {
    int depth = doing.depth;
    for (int i = 0; depth > 0 && depth <= TABLE_LEVELS && i < SCRATCH; i++) {
        if (doing.calls[depth - 1].scratch[i] == target) {
            doing.calls[depth - 1].scratch[i] = NULL;
        }
    }
}
