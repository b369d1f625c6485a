#include "shim/cancelling.h"

#include <pthread.h>

#include "shim/doing.h"
#include "shim/gate.h"

static void drop(void *mask) {
    doing_abandon();
    (void)signals_mask(*(const signal_set *)mask);
}

void cancelling_test(signal_set mask) {
    if (doing_may_be_cancelled()) {
        pthread_cleanup_push(drop, &mask);
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
