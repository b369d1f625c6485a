/*
 * How the shim comes to life: at its constructor, or at the first open if that
 * is earlier (another library's constructor, a malloc that opens files).
 */
#ifndef AUTOLOCK_START_H
#define AUTOLOCK_START_H

#include <stdatomic.h>
#include <stdbool.h>

#include "config/load.h"

enum start_state { START_NOT_YET, START_UNDER_WAY, START_IDLE, START_ACTIVE };
extern _Atomic int start_state;

/* Rules and settings; as zeroes until they are read. */
extern struct config start_config;

void start_now(void);

/* Whether opens are to be looked at. Without rules, switched off, or in a
 * secure-execution process (ld.so(8)) the shim does nothing. */
static inline bool shim_is_active(void) {
    int state = atomic_load_explicit(&start_state, memory_order_acquire);
    if (__builtin_expect(state == START_NOT_YET, 0)) {
        start_now();
        state = atomic_load_explicit(&start_state, memory_order_acquire);
    }
    return state == START_ACTIVE;
}

#endif
