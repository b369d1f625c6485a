#include "shim/table.h"

#include <stdatomic.h>
#include <stddef.h>

#include "lib/process_mark.h"
#include "lib/sys_linux.h"

#define LEAF_BITS 12
#define LEAF_SIZE (1u << LEAF_BITS)
#define TOP_SIZE (1u << (31 - LEAF_BITS))
#define OVERLAY_SIZE 48 /* at first */
#define KCMP_FILES 2    /* linux/kcmp.h */

struct slot {
    _Atomic table_word word;
    _Atomic uint64_t device, inode;
};
struct leaf {
    struct slot slots[LEAF_SIZE];
};

/* Four megabytes of addresses, of which the pages that are used cost memory.
 * "common" puts it behind the variables that every process uses, which then
 * share their pages. */
__attribute__((common, visibility("hidden"))) _Atomic(struct leaf *) table_top[TOP_SIZE];

/* Numbers that ever were TABLE_HIDDEN or TABLE_PROGRAM, or had record locks, lie in here. */
static struct {
    _Atomic int lowest, highest;
} range[4] = {{TABLE_NOBODY, -1}, {TABLE_NOBODY, -1}, {TABLE_NOBODY, -1}, {TABLE_NOBODY, -1}};

/* What a child with shared memory has changed. In thread-local memory: of all
 * that it shares with its parent, only the calling thread's is at rest. */
struct overlay_entry {
    int fd;
    table_word word;
    struct sidecar_id id;
};
static _Thread_local struct {
    pid_t pid; /* whose; 0: nobody's */
    int count;
    int room; /* in `more`, which is there for the next child too */
    struct overlay_entry *more;
    struct overlay_entry entries[OVERLAY_SIZE];
} overlay __attribute__((tls_model("initial-exec")));

/* Whether the calling thread's memory is known to be its own process's. */
static _Thread_local bool settled __attribute__((tls_model("initial-exec")));

bool table_shares_descriptors(pid_t other) {
    return SYS_CALL(SYS_kcmp, sys_getpid(), other, KCMP_FILES, 0, 0, 0) == 0;
}

bool table_is_foreign(void) {
    if (settled) {
        return false;
    }
    pid_t owner = process_mark();
    return sys_getpid() != owner && !table_shares_descriptors(owner);
}

/* Bits of `other`: 30 (TABLE_TRANSIT), the level in 26 to 29, the thread below. */
#define THREADS (1u << 26)
static _Thread_local int transit_thread __attribute__((tls_model("initial-exec")));
static _Thread_local int transit_level __attribute__((tls_model("initial-exec")));

static int own_transit(void) {
    static _Atomic unsigned threads;
    if (transit_thread == 0) {
        unsigned number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
        transit_thread = TABLE_TRANSIT + (int)(number % THREADS);
    }
    return transit_thread;
}

int table_transit(void) {
    return own_transit() + transit_level * (int)THREADS;
}

void table_set_level(int level) {
    transit_level = level < TABLE_LEVELS ? level : TABLE_LEVELS;
}

bool table_is_own_transit(table_word word) {
    return table_is_transit(word) && (unsigned)(table_other(word) - own_transit()) % THREADS == 0;
}

bool table_settle(void) {
    bool before = settled;
    settled = false;
    settled = !table_is_foreign();
    return before;
}

void table_unsettle(bool before) {
    settled = before;
}

/* The overlay, if it is the calling process's. */
static bool overlay_is_ours(void) {
    if (overlay.pid == 0) {
        return false;
    }
    if (overlay.pid == sys_getpid()) {
        return true;
    }
    overlay.pid = 0;
    return false;
}

static struct overlay_entry *overlay_entry(int i) {
    return i < OVERLAY_SIZE ? &overlay.entries[i] : &overlay.more[i - OVERLAY_SIZE];
}

static struct overlay_entry *overlay_find(int fd) {
    for (int i = 0; i < overlay.count; i++) {
        if (overlay_entry(i)->fd == fd) {
            return overlay_entry(i);
        }
    }
    return NULL;
}

/* One entry more; NULL when there is no memory. What is mapped stays with the
 * thread, whose memory it is in. */
static struct overlay_entry *overlay_add(void) {
    if (overlay.count == OVERLAY_SIZE + overlay.room) {
        int room = overlay.room ? 2 * overlay.room : 4 * OVERLAY_SIZE;
        struct overlay_entry *more = sys_map((size_t)room * sizeof(*more));
        if (!more) {
            return NULL;
        }
        for (int i = 0; i < overlay.room; i++) {
            more[i] = overlay.more[i];
        }
        if (overlay.more) {
            sys_unmap(overlay.more, (size_t)overlay.room * sizeof(*more));
        }
        overlay.more = more;
        overlay.room = room;
    }
    return overlay_entry(overlay.count++);
}

static struct slot *slot_of(int fd) {
    if (fd < 0 || fd == TABLE_NOBODY) {
        return NULL;
    }
    struct leaf *leaf = atomic_load_explicit(&table_top[fd >> LEAF_BITS], memory_order_acquire);
    return leaf ? &leaf->slots[(unsigned)fd % LEAF_SIZE] : NULL;
}

/* An entry that says what the table says as well: that there is nothing. */
static struct overlay_entry *overlay_needless(void) {
    for (int i = 0; i < overlay.count; i++) {
        struct overlay_entry *entry = overlay_entry(i);
        const struct slot *slot = slot_of(entry->fd);
        if (table_kind(entry->word) == TABLE_NONE &&
            (!slot ||
             table_kind(atomic_load_explicit(&slot->word, memory_order_relaxed)) == TABLE_NONE)) {
            return entry;
        }
    }
    return NULL;
}

/* Without memory: what does not fit is not tracked; its hidden descriptor stays
 * until exec, so that a hold may end late, never early. */
static bool overlay_put(int fd, table_word word, struct sidecar_id id) {
    if (!overlay_is_ours()) {
        overlay.count = 0;
        overlay.pid = sys_getpid();
    }
    struct overlay_entry *entry = overlay_find(fd);
    if (!entry && overlay.count >= OVERLAY_SIZE) {
        entry = overlay_needless();
    }
    if (!entry) {
        entry = overlay_add();
    }
    if (!entry) {
        return false;
    }
    *entry = (struct overlay_entry){.fd = fd, .word = word, .id = id};
    return true;
}

static struct slot *slot_made(int fd) {
    struct slot *slot = slot_of(fd);
    if (slot || fd < 0 || fd == TABLE_NOBODY) {
        return slot;
    }
    struct leaf *leaf = sys_map(sizeof(*leaf)), *other = NULL;
    if (leaf && !atomic_compare_exchange_strong(&table_top[fd >> LEAF_BITS], &other, leaf)) {
        sys_unmap(leaf, sizeof(*leaf));
    }
    return slot_of(fd);
}

static table_word next_word(table_word before, enum table_kind kind, enum table_mode mode,
                            int other, bool records) {
    uint64_t generation = (before >> TABLE_GENERATION) + 1;
    return generation << TABLE_GENERATION | (uint64_t)records << (TABLE_GENERATION - 1) |
           (uint64_t)(unsigned)other << 5 | (uint64_t)mode << 2 | kind;
}

static void widen(enum table_kind kind, int fd) {
    int lowest = atomic_load_explicit(&range[kind].lowest, memory_order_relaxed);
    while (fd < lowest && !atomic_compare_exchange_weak(&range[kind].lowest, &lowest, fd)) {
    }
    int highest = atomic_load_explicit(&range[kind].highest, memory_order_relaxed);
    while (fd > highest && !atomic_compare_exchange_weak(&range[kind].highest, &highest, fd)) {
    }
}

table_word table_get(int fd) {
    if (overlay_is_ours()) {
        struct overlay_entry *entry = overlay_find(fd);
        if (entry) {
            return entry->word;
        }
    }
    struct slot *slot = slot_of(fd);
    return slot ? atomic_load_explicit(&slot->word, memory_order_acquire) : 0;
}

bool table_id(int fd, table_word word, struct sidecar_id *ret) {
    if (overlay_is_ours()) {
        struct overlay_entry *entry = overlay_find(fd);
        if (entry) {
            *ret = entry->id;
            return entry->word == word;
        }
    }
    struct slot *slot = slot_of(fd);
    if (!slot) {
        return false;
    }
    *ret = (struct sidecar_id){.device = atomic_load_explicit(&slot->device, memory_order_relaxed),
                               .inode = atomic_load_explicit(&slot->inode, memory_order_relaxed)};
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->word, memory_order_relaxed) == word;
}

/* `id`: NULL for the one that it has, if any. */
static bool change(int fd, table_word expected, table_word word, const struct sidecar_id *id) {
    static const struct sidecar_id none;
    if (table_is_foreign()) {
        return table_get(fd) == expected && overlay_put(fd, word, id ? *id : none);
    }
    struct slot *slot = slot_made(fd);
    if (!slot) {
        return false;
    }
    if (id) {
        /* The word is the last to change: a number has one owner while it is
         * being made ours, so nobody else writes these. */
        atomic_store_explicit(&slot->device, id->device, memory_order_relaxed);
        atomic_store_explicit(&slot->inode, id->inode, memory_order_relaxed);
    }
    if (id || table_has_records(word)) {
        widen(table_kind(word), fd);
    }
    return atomic_compare_exchange_strong_explicit(&slot->word, &expected, word,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

bool table_change(int fd, table_word expected, enum table_kind kind, enum table_mode mode,
                  int other, struct sidecar_id id) {
    bool has_id = kind == TABLE_HIDDEN || kind == TABLE_PROGRAM;
    bool records = table_has_records(expected) && (kind == TABLE_DATA || kind == TABLE_PROGRAM);
    return change(fd, expected, next_word(expected, kind, mode, other, records),
                  has_id ? &id : NULL);
}

bool table_change_records(int fd, table_word expected, bool has_records, struct sidecar_id id) {
    enum table_kind kind = table_kind(expected);
    enum table_mode mode = table_mode(expected);
    int other = table_other(expected);
    if (kind == TABLE_NONE) {
        kind = TABLE_PROGRAM;
        mode = MODE_NOTHING;
        other = TABLE_NOBODY;
    }
    if (!has_records && kind == TABLE_PROGRAM && mode == MODE_NOTHING) {
        kind = TABLE_NONE;
    }
    return change(fd, expected, next_word(expected, kind, mode, other, has_records), &id);
}

bool table_put(int fd, enum table_kind kind, enum table_mode mode, int other, struct sidecar_id id,
               table_word *ret_before) {
    for (;;) {
        table_word before = table_get(fd);
        if (table_change(fd, before, kind, mode, other, id)) {
            *ret_before = before;
            return true;
        }
        if (table_get(fd) == before) { /* nobody was faster: no memory */
            return false;
        }
    }
}

int table_previous(enum table_kind kind, int below) {
    int lowest = atomic_load_explicit(&range[kind].lowest, memory_order_relaxed);
    int highest = atomic_load_explicit(&range[kind].highest, memory_order_relaxed);
    int best = -1;
    if (overlay_is_ours()) {
        for (int i = 0; i < overlay.count; i++) {
            const struct overlay_entry *entry = overlay_entry(i);
            if (table_kind(entry->word) == kind && entry->fd < below && entry->fd > best) {
                best = entry->fd;
            }
        }
    }
    for (int fd = below - 1 < highest ? below - 1 : highest; fd >= lowest && fd > best; fd--) {
        if (table_kind(table_get(fd)) == kind) {
            return fd;
        }
    }
    return best;
}
