#include "shim/cancelling.h"

#include <pthread.h>
#include <stddef.h>

#include "shim/doing.h"
#include "shim/gate.h"

/* The frames that were unwound have left their marks of the sanitizer below. */
static void unmark_stack(void) {
#ifdef __SANITIZE_ADDRESS__
    extern void __asan_unpoison_memory_region(void const volatile *address, size_t size);
    const size_t size = 65536;
    __asan_unpoison_memory_region((char *)__builtin_frame_address(0) - size, size);
#endif
}

void cancelling_drop(void *mask) {
    unmark_stack();
    doing_abandon();
    (void)signals_mask(*(const signal_set *)mask);
}

void cancelling_test(signal_set mask) {
    if (doing_may_be_cancelled()) {
        pthread_cleanup_push(cancelling_drop, &mask);
        pthread_testcancel();
        pthread_cleanup_pop(0);
    }
}

void cancelling_test_idle(void) {
    if (gate_has_threads()) {
        pthread_testcancel();
    }
}

int cancelling_begin(void) {
    int before = -1;
    if (gate_has_threads()) {
        (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    }
    return before;
}

void cancelling_end(int before) {
    if (before >= 0) {
        (void)pthread_setcanceltype(before, &before);
    }
}

int cancelling_forbid(void) {
    int before = -1;
    if (gate_has_threads()) {
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    }
    return before;
}

void cancelling_allow(int before) {
    if (before >= 0) {
        (void)pthread_setcancelstate(before, &before);
    }
}
