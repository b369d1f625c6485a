#include "shim/joined.h"

#include <stdatomic.h>
#include <sys/file.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/pair.h"
#include "shim/proclocks.h"
#include "shim/program.h"

static atomic_bool any;

void joined_may_share(void) {
    atomic_store_explicit(&any, true, memory_order_relaxed);
}

struct own_locks {
    bool shared, exclusive;
};

static bool add_lock(int fd, const struct lock_line *line, void *data) {
    struct own_locks *locks = data;
    struct lock_key pair;
    (void)fd;
    if (pair_of_line(line, &pair)) {
        *(pair_is_exclusive(line) ? &locks->exclusive : &locks->shared) = true;
    }
    return false;
}

/* Whether a hidden descriptor serves one of the sidecar; and whether that is locked
 * shared. */
static bool serves_sidecar(table_word word, struct sidecar_id id) {
    int fd = table_serves(word);
    return fd >= 0 && sidecar_is(fd, id);
}

static bool serves_shared(table_word word, struct sidecar_id id) {
    struct own_locks locks = {.shared = false};
    if (!serves_sidecar(word, id)) {
        return false;
    }
    (void)proclocks_descriptor_has(table_serves(word), add_lock, &locks);
    return locks.shared && !locks.exclusive;
}

/* The next hidden descriptor that has a sidecar exclusively. */
static int next(int below, table_word *ret_word, struct sidecar_id *ret_id) {
    int fd = below;
    do {
        fd = table_previous(TABLE_HIDDEN, fd);
        *ret_word = table_get(fd);
    } while (fd >= 0 &&
             (table_mode(*ret_word) != MODE_EXCLUSIVE || !table_id(fd, *ret_word, ret_id)));
    return fd;
}

/* Whether all that have this sidecar are such. */
static bool all_serve_shared(struct sidecar_id id) {
    table_word word;
    struct sidecar_id other;
    for (int fd = next(TABLE_NOBODY, &word, &other); fd >= 0; fd = next(fd, &word, &other)) {
        if (sidecar_same(id, other) && !serves_shared(word, id)) {
            return false;
        }
    }
    return program_find(id, true) < 0;
}

void joined_settle(void) {
    if (!atomic_load_explicit(&any, memory_order_relaxed) || table_is_foreign()) {
        return;
    }
    table_word word;
    struct sidecar_id id;
    bool left = false;
    struct gate gate = gate_enter_alone();
    for (int fd = next(TABLE_NOBODY, &word, &id); fd >= 0; fd = next(fd, &word, &id)) {
        struct lock_key key;
        left |= serves_sidecar(word, id); /* a child may change how that is locked */
        if (all_serve_shared(id) && proclocks_key(fd, &key) && !proclocks_is_elsewhere(&key) &&
            sys_flock(fd, LOCK_SH | LOCK_NB) == 0) {
            hidden_set_modes(id, MODE_EXCLUSIVE, MODE_SHARED);
        }
    }
    gate_leave(gate);
    if (!left) {
        atomic_store_explicit(&any, false, memory_order_relaxed);
    }
}
