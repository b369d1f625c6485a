#include "lib/cancel.h"

#include <stddef.h>
#include <time.h>

#include "lib/sys_linux.h"
#include "lib/wait_signal.h"

/* A slot's word: the id (of a timer: plus 1) above these bits. */
#define WAKING UINT64_C(1) /* somebody is at it */
#define THREAD UINT64_C(2)
#define SENT_SHIFT 2 /* the number of the signal that the thread has been sent */
#define SENT_BITS (UINT64_C(127) << SENT_SHIFT)
#define SENDERS_SHIFT 9
#define SENDERS_BITS (UINT64_C(127) << SENDERS_SHIFT)
#define ID_SHIFT 16

#define PAGE 4096
#define PAGE_SLOTS (PAGE / sizeof(cancel_slot) - 1)
struct cancel_page {
    struct cancel_page *next;
    cancel_slot slots[PAGE_SLOTS];
};
_Static_assert(sizeof(struct cancel_page) <= PAGE, "it fits");

static void set_off(int timer) {
    /* At once, and every 5 ms: a signal that comes just before the waiter
     * falls asleep would be lost. */
    struct itimerspec now = {.it_value.tv_nsec = 1, .it_interval.tv_nsec = 5000000};
    (void)sys_timer_settime(timer, 0, &now);
}

static uint64_t wake(uint64_t word) {
    if (!(word & THREAD)) {
        set_off((int)(word >> ID_SHIFT) - 1);
    } else if (!(word & SENT_BITS)) {
        unsigned senders = (unsigned)((word & SENDERS_BITS) >> SENDERS_SHIFT);
        int number = wait_signal_send((pid_t)(word >> ID_SHIFT), senders);
        word |= (uint64_t)number << SENT_SHIFT;
    }
    return word;
}

/* Whoever waits there cannot leave meanwhile. Signals blocked: a handler in the
 * middle may wait for the very lock that he has got. */
static void wake_slot(cancel_slot *slot) {
    signal_set before = signals_mask(SIGNALS_ALL);
    uint64_t word = atomic_load(slot);
    while (word) {
        if (word & WAKING) {
            /* By somebody in another thread, perhaps before our cancellation. */
            sys_let_others_run();
            word = atomic_load(slot);
        } else if (atomic_compare_exchange_weak(slot, &word, word | WAKING)) {
            atomic_store(slot, wake(word));
            break;
        }
    }
    (void)signals_mask(before);
}

static void wake_slots(cancel_slot *slots, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (atomic_load(&slots[i])) {
            wake_slot(&slots[i]);
        }
    }
}

void cancel_all(struct cancel *cancel) {
    atomic_fetch_add(&cancel->generation, 1);
    wake_slots(cancel->slots, CANCEL_SLOTS);
    for (struct cancel_page *page = atomic_load(&cancel->pages); page; page = page->next) {
        wake_slots(page->slots, PAGE_SLOTS);
    }
}

static cancel_slot *take_slot(cancel_slot *slots, size_t count, uint64_t word) {
    for (size_t i = 0; i < count; i++) {
        uint64_t empty = 0;
        if (atomic_load(&slots[i]) == 0 &&
            atomic_compare_exchange_strong(&slots[i], &empty, word)) {
            return &slots[i];
        }
    }
    return NULL;
}

static cancel_slot *enter(struct cancel *cancel, uint64_t word) {
    cancel_slot *slot = take_slot(cancel->slots, CANCEL_SLOTS, word);
    struct cancel_page *page = atomic_load(&cancel->pages);
    for (; page && !slot; page = page->next) {
        slot = take_slot(page->slots, PAGE_SLOTS, word);
    }
    if (slot || !(page = sys_map(PAGE))) {
        return slot;
    }
    slot = take_slot(page->slots, PAGE_SLOTS, word);
    page->next = atomic_load(&cancel->pages);
    while (!atomic_compare_exchange_weak(&cancel->pages, &page->next, page)) {
    }
    return slot;
}

cancel_slot *cancel_enter_timer(const struct cancellable *wait, int timer) {
    return enter(wait->cancel, ((uint64_t)timer + 1) << ID_SHIFT);
}

cancel_slot *cancel_enter_thread(const struct cancellable *wait, pid_t thread, unsigned senders) {
    return enter(wait->cancel,
                 (uint64_t)thread << ID_SHIFT | (uint64_t)senders << SENDERS_SHIFT | THREAD);
}

int cancel_leave(cancel_slot *slot) {
    uint64_t word = atomic_load(slot);
    while (word & WAKING || !atomic_compare_exchange_weak(slot, &word, 0)) {
        if (word & WAKING) {
            sys_let_others_run();
            word = atomic_load(slot);
        }
    }
    return (int)((word & SENT_BITS) >> SENT_SHIFT);
}

static void clear(cancel_slot *slots, size_t count) {
    for (size_t i = 0; i < count; i++) {
        atomic_store(&slots[i], 0);
    }
}

void cancel_after_fork(struct cancel *cancel) {
    clear(cancel->slots, CANCEL_SLOTS);
    for (struct cancel_page *page = atomic_load(&cancel->pages); page; page = page->next) {
        clear(page->slots, PAGE_SLOTS);
    }
}

void cancel_destroy(struct cancel *cancel) {
    struct cancel_page *page = atomic_load(&cancel->pages);
    while (page) {
        struct cancel_page *next = page->next;
        sys_unmap(page, PAGE);
        page = next;
    }
}
