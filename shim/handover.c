#include "shim/handover.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include "config/sidecar_path.h"
#include "shim/hidden.h"
#include "shim/joined.h"
#include "shim/pair.h"
#include "shim/proclocks.h"
#include "shim/reference.h"

/* Whether the program may have a sidecar open; and the one that was given a hold last. */
static atomic_bool any;
static atomic_int heir = -1;

void handover_notice(const char *path) {
    if (sidecar_has_suffix(path, strlen(path)) &&
        !atomic_load_explicit(&any, memory_order_relaxed)) {
        atomic_store_explicit(&any, true, memory_order_relaxed);
    }
}

void handover_notice_inherited(void) {
    atomic_store_explicit(&any, true, memory_order_relaxed);
}

/* Whether another description has a pair of this file. */
static bool is_wanted(int hidden) {
    struct flock64 range;
    return range_lock(hidden, F_OFD_GETLK, F_WRLCK, PAIR_JOINED, RANGE_MARKS - PAIR_JOINED,
                      &range) == 0 &&
           range.l_type != F_UNLCK;
}

struct search {
    struct lock_key siblings, joined;
    int except, found;
};

static bool has_pair(int fd, const struct lock_line *line, void *data) {
    struct search *search = data;
    struct lock_key key;
    enum table_kind kind = table_kind(table_get(fd));
    if (fd == search->except || kind == TABLE_HIDDEN || kind == TABLE_DATA ||
        !pair_of_line(line, &key) ||
        !(lock_key_same(&key, &search->siblings) || lock_key_same(&key, &search->joined))) {
        return false;
    }
    search->found = fd;
    return true;
}

void handover_before_release(int twin, int fd) {
    table_word word = table_get(twin), other;
    struct sidecar_id id;
    struct lock_key file;
    if (!atomic_load_explicit(&any, memory_order_relaxed) || !table_is_locked(word) ||
        !table_id(twin, word, &id) ||
        (hidden_find(id, twin, &other) >= 0 && table_is_locked(other)) || !is_wanted(twin) ||
        !proclocks_key(twin, &file)) {
        return;
    }
    struct search search = {.siblings = pair_key(&file, PAIR_SIBLINGS),
                            .joined = pair_key(&file, PAIR_JOINED),
                            .except = fd,
                            .found = -1};
    (void)proclocks_of_process(0, has_pair, &search);
    int copy = search.found < 0 ? -1 : hidden_copy(twin, word, table_mode(word), id);
    if (copy >= 0) {
        int flags = sys_fcntl(search.found, F_GETFD, 0);
        reference_set(search.found, copy, flags & FD_CLOEXEC);
        joined_may_share();
        atomic_store_explicit(&heir, search.found, memory_order_relaxed);
    }
}

void handover_check(void) {
    int fd = atomic_load_explicit(&heir, memory_order_relaxed);
    if (fd < 0 || table_is_foreign()) {
        return;
    }
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_DATA) {
        atomic_store_explicit(&heir, -1, memory_order_relaxed);
    } else if (!is_wanted(table_other(word))) {
        atomic_store_explicit(&heir, -1, memory_order_relaxed);
        reference_unlocked(fd, word);
    } else {
        joined_settle();
    }
}
