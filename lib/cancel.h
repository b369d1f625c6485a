/*
 * Ending the waits of others: from another thread, or from a signal handler.
 *
 * A wait notes the generation when it begins; cancelling raises it. A waiter
 * that sleeps in the kernel is woken by its own timer: it leaves the timer's id
 * in a slot, and whoever cancels sets that timer off (timer_settime(2) is
 * async-signal-safe), again and again until the waiter has seen it. A waiter
 * that finds no slot has to poll.
 */
#ifndef FILELOCK_CANCEL_H
#define FILELOCK_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CANCEL_SLOTS 64

struct cancel {
    _Atomic unsigned generation;
    /* 0: free; else (timer id + 1) * 2, plus 1 while somebody sets it off, so
     * that the timer is not deleted (and its id reused) under his hands. */
    _Atomic int64_t timers[CANCEL_SLOTS];
};

/* A wait that can be cancelled; cancel NULL: one that cannot. */
struct cancellable {
    struct cancel *cancel;
    unsigned generation;
};

static inline struct cancellable cancel_begin(struct cancel *cancel) {
    return (struct cancellable){.cancel = cancel,
                                .generation = cancel ? atomic_load(&cancel->generation) : 0};
}

static inline bool cancel_requested(const struct cancellable *wait) {
    return wait->cancel && atomic_load(&wait->cancel->generation) != wait->generation;
}

/* Ends all waits that have begun. Async-signal-safe. */
void cancel_all(struct cancel *cancel);

/* Puts a timer into a slot; false when there is none. */
bool cancel_enter(const struct cancellable *wait, int timer, int *ret_slot);
/* Takes it out again; then the timer may be deleted. */
void cancel_leave(const struct cancellable *wait, int slot);

#endif
