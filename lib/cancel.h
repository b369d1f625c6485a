/*
 * Ending the waits of others: from another thread, or from a signal handler.
 *
 * A wait notes the generation when it begins; cancelling raises it. A waiter that
 * sleeps in the kernel leaves in a slot how it is woken: by its own timer, which
 * whoever cancels sets off (timer_settime(2) is async-signal-safe), again and again
 * until the waiter has seen it; or, where it has none, by a signal (wait_signal.h).
 *
 * There are as many slots as have ever been needed at once: some in the object, more
 * in pages from the kernel (mmap(2): no malloc, which a signal handler may have
 * interrupted). A waiter that cannot have one, for want of memory, has to poll.
 */
#ifndef FILELOCK_CANCEL_H
#define FILELOCK_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/hand_over.h"

#define CANCEL_SLOTS 16

/* 0: free; else bits: see cancel.c. One of them says that somebody is waking the
 * waiter, whose timer is not deleted (and its id reused) under his hands. */
typedef _Atomic uint64_t cancel_slot;

struct cancel_page;

struct cancel {
    _Atomic unsigned generation;
    _Atomic(struct cancel_page *) pages;
    cancel_slot slots[CANCEL_SLOTS];
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

/* Puts a timer into a slot, or a thread with what can be sent to it (senders: see
 * wait_signal.h); NULL when there is none. Then cancel_requested is to be asked. */
cancel_slot *cancel_enter_timer(const struct cancellable *wait, int timer);
cancel_slot *cancel_enter_thread(const struct cancellable *wait, pid_t thread, unsigned senders);
/* Takes it out again; then the timer may be deleted. Returns the number of the signal
 * that has been sent to the thread, 0 for none. */
HAND_OVER int cancel_leave(cancel_slot *slot);

/* In the child of a fork: nobody waits. */
void cancel_after_fork(struct cancel *cancel);

/* Nobody waits or cancels any more. */
void cancel_destroy(struct cancel *cancel);

#endif
