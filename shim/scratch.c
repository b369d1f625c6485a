#include "shim/scratch.h"

#include <stdatomic.h>

#include "shim/doing.h"

#define PLACES 4

/* Behind what every process uses (see table_top). */
__attribute__((common, visibility("hidden"))) struct target scratch_places[PLACES];
static atomic_flag taken[PLACES] = {ATOMIC_FLAG_INIT, ATOMIC_FLAG_INIT, ATOMIC_FLAG_INIT,
                                    ATOMIC_FLAG_INIT};

static struct target *find(void) {
    for (int i = 0; i < PLACES; i++) {
        if (!atomic_flag_test_and_set_explicit(&taken[i], memory_order_acquire)) {
            return &scratch_places[i];
        }
    }
    return sys_map(sizeof(struct target));
}

struct target *scratch_get(void) {
    struct target *target = find();
    doing_with(target);
    return target;
}

void scratch_put(struct target *target) {
    doing_without(target);
    scratch_free(target);
}

void scratch_free(struct target *target) {
    if (target >= scratch_places && target < scratch_places + PLACES) {
        atomic_flag_clear_explicit(&taken[target - scratch_places], memory_order_release);
    } else if (target) {
        sys_unmap(target, sizeof(*target));
    }
}
