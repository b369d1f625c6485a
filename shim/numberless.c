#include "shim/numberless.h"

#include <errno.h>
#include <stdatomic.h>

#include "lib/sys_linux.h"
#include "shim/say.h"

#define KEPT 64

/* `mode` is set last. */
static struct {
    _Atomic unsigned mode;
    struct sidecar_id id;
} kept[KEPT];
static _Atomic unsigned count;

/* MODE_NOTHING, MODE_SHARED or MODE_EXCLUSIVE. */
static enum table_mode kept_as(struct sidecar_id id) {
    unsigned best = MODE_NOTHING, end = atomic_load_explicit(&count, memory_order_relaxed);
    for (unsigned i = 0; i < end; i++) {
        unsigned mode = atomic_load_explicit(&kept[i].mode, memory_order_acquire);
        if ((mode == MODE_SHARED || mode == MODE_EXCLUSIVE) && mode > best &&
            sidecar_same(kept[i].id, id)) {
            best = mode;
        }
    }
    return (enum table_mode)best;
}

static void remember_kept(enum table_mode mode, struct sidecar_id id) {
    unsigned i = atomic_load(&count);
    while (i < KEPT && !atomic_compare_exchange_weak(&count, &i, i + 1)) {
    }
    if (i < KEPT) {
        kept[i].id = id;
        atomic_store_explicit(&kept[i].mode, mode, memory_order_release);
    }
}

void numberless_keep(int fd, enum table_mode mode, struct sidecar_id id) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    TEXT(line, 256);
    text_put(&line, "no descriptor is left; a lock ");
    if (table_is_foreign()) {
        text_put(&line, "does not go on after exec");
    } else {
        if (kept_as(id) != mode && sys_map_file(fd)) {
            remember_kept(mode, id);
        }
        text_put(&line, "stays until this process ends or executes another");
    }
    text_put(&line, "; raise the limit on open files (ulimit -Hn)");
    if (!atomic_flag_test_and_set(&said)) {
        say(&line);
    }
}

int numberless_covers(struct target *target, struct sidecar_id id, bool exclusive) {
    enum table_mode mode = kept_as(id);
    if (mode == MODE_SHARED && exclusive) {
        struct text why = target_why(target);
        text_put(&why, "this process has it shared to its end, since no descriptor was left");
        return -EDEADLK;
    }
    return mode != MODE_NOTHING;
}
