#include "shim/remembered.h"

#include <stdatomic.h>

#define PLACES 16

/* One number each, so that none can be seen half written. */
static _Atomic uint64_t places[PLACES];

void remember(uint64_t sleep) {
    if (sleep != 0) {
        atomic_store_explicit(&places[sleep % PLACES], sleep, memory_order_relaxed);
    }
}

bool remembered(uint64_t sleep) {
    return sleep != 0 &&
           atomic_load_explicit(&places[sleep % PLACES], memory_order_relaxed) == sleep;
}
