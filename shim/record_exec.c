/*
 * Record locks on a sidecar, and exec (record.h).
 */
#include <fcntl.h>
#include <stdatomic.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/record.h"

/* Whether anything of ours survives exec for that reason. */
static atomic_bool any;

static bool survives(struct sidecar_id id) {
    int fd = record_descriptor(id);
    int flags = fd < 0 ? -1 : sys_fcntl(fd, F_GETFD, 0);
    return flags >= 0 && !(flags & FD_CLOEXEC);
}

void record_keep_over_exec(int fd) {
    struct sidecar_id id;
    if (record_any() && !table_is_foreign() && table_id(fd, table_get(fd), &id) && survives(id)) {
        atomic_store_explicit(&any, true, memory_order_relaxed);
        hidden_keep_over_exec(fd);
    }
}

void record_end_over_exec(int fd) {
    if (atomic_load_explicit(&any, memory_order_relaxed)) {
        hidden_follow_served(fd);
    }
}

void record_close_on_exec(int fd) {
    struct sidecar_id id, other;
    if (table_is_foreign() || !table_id(fd, table_get(fd), &id)) {
        return;
    }
    bool keep = survives(id);
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        if (!table_id(hidden, table_get(hidden), &other) || !sidecar_same(id, other)) {
            continue;
        }
        if (keep) {
            record_keep_over_exec(hidden);
        } else {
            record_end_over_exec(hidden);
        }
    }
}
