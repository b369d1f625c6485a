#include "shim/mapping.h"

#include <stdatomic.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/spin.h"

#define PAGE 4096 /* the least that there is; rounding up too little is harmless */

/* Free where start == end. Changed in an order that leaves a child of fork
 * with an entry too many, never too few. */
struct entry {
    uintptr_t start, end;
    uint64_t number;
    struct sidecar_id id;
};

/* A program may have tens of thousands of mappings. So that a call need not look at each,
 * a chunk says what it has: all of it lies from lowest to highest. */
struct chunk {
    struct chunk *next;
    uintptr_t lowest, highest;
    size_t used;
    struct entry entries[(PAGE - sizeof(void *) - 2 * sizeof(uintptr_t) - sizeof(size_t)) /
                         sizeof(struct entry)];
};
#define ENTRIES (sizeof(((struct chunk *)0)->entries) / sizeof(struct entry))

static struct chunk *chunks;
static _Atomic uint64_t numbers;
/* Everything known lies in here; too much, maybe, as long as something is. */
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest;

static struct spin spin;

/* One that is in use and may touch what lies from start to end. */
static struct entry *next_entry(struct chunk **chunk, size_t *index, uintptr_t start,
                                uintptr_t end) {
    for (; *chunk; *chunk = (*chunk)->next, *index = 0) {
        if ((*chunk)->used == 0 || (*chunk)->lowest >= end || (*chunk)->highest <= start) {
            continue;
        }
        while (*index < ENTRIES) {
            struct entry *entry = &(*chunk)->entries[(*index)++];
            if (entry->start != entry->end) {
                return entry;
            }
        }
    }
    return NULL;
}

#define EACH_ENTRY(entry, start, end)                                                              \
    struct chunk *chunk_ = chunks;                                                                 \
    size_t index_ = 0;                                                                             \
    for (struct entry * entry; (entry = next_entry(&chunk_, &index_, start, end));)

/* The chunk has one that is free. NULL: no memory. */
static struct chunk *roomy_chunk(void) {
    struct chunk *chunk = chunks;
    while (chunk && chunk->used == ENTRIES) {
        chunk = chunk->next;
    }
    if (!chunk) {
        chunk = sys_map(sizeof(*chunk));
        if (chunk) {
            chunk->next = chunks;
            chunks = chunk;
        }
    }
    return chunk;
}

static void add(uintptr_t start, uintptr_t end, uint64_t number, struct sidecar_id id) {
    struct chunk *chunk = roomy_chunk();
    if (!chunk) {
        return; /* no memory: the hold lasts to the end of the process */
    }
    struct entry *entry = chunk->entries;
    while (entry->start != entry->end) {
        entry++;
    }
    chunk->lowest = chunk->used == 0 || start < chunk->lowest ? start : chunk->lowest;
    chunk->highest = chunk->used == 0 || end > chunk->highest ? end : chunk->highest;
    chunk->used++;
    entry->id = id;
    entry->number = number;
    entry->start = start;
    atomic_signal_fence(memory_order_seq_cst);
    entry->end = end;
    if (start < atomic_load_explicit(&lowest, memory_order_relaxed)) {
        atomic_store_explicit(&lowest, start, memory_order_relaxed);
    }
    if (end > atomic_load_explicit(&highest, memory_order_relaxed)) {
        atomic_store_explicit(&highest, end, memory_order_relaxed);
    }
}

static uintptr_t end_of(const void *address, size_t length) {
    uintptr_t start = (uintptr_t)address;
    uintptr_t end = start + (length + PAGE - 1) / PAGE * PAGE;
    return end < start ? UINTPTR_MAX : end;
}

bool mapping_touches(const void *address, size_t length) {
    uintptr_t first = atomic_load_explicit(&lowest, memory_order_relaxed);
    uintptr_t last = atomic_load_explicit(&highest, memory_order_relaxed);
    return (uintptr_t)address < last && end_of(address, length) > first;
}

uint64_t mapping_now(void) {
    return atomic_load_explicit(&numbers, memory_order_acquire);
}

void mapping_remember(const void *address, size_t length, int twin) {
    struct sidecar_id id;
    if (!table_id(twin, table_get(twin), &id) || table_is_foreign()) {
        return;
    }
    signal_set before = spin_lock(&spin);
    add((uintptr_t)address, end_of(address, length), atomic_fetch_add(&numbers, 1), id);
    if (hidden_find_marked(id, TABLE_MAPPED) >= 0) {
        hidden_close(twin);
    } else {
        hidden_mark(twin, TABLE_MAPPED);
    }
    spin_unlock(&spin, before);
}

void mapping_remember_more(const void *address, size_t length, struct sidecar_id id) {
    if (table_is_foreign()) {
        return;
    }
    signal_set before = spin_lock(&spin);
    add((uintptr_t)address, end_of(address, length), atomic_fetch_add(&numbers, 1), id);
    spin_unlock(&spin, before);
}

static bool is_mapped(struct sidecar_id id) {
    EACH_ENTRY(entry, 0, UINTPTR_MAX) {
        if (sidecar_same(entry->id, id)) {
            return true;
        }
    }
    return false;
}

static void narrow(void) {
    for (const struct chunk *chunk = chunks; chunk; chunk = chunk->next) {
        if (chunk->used > 0) {
            return;
        }
    }
    atomic_store_explicit(&lowest, UINTPTR_MAX, memory_order_relaxed);
    atomic_store_explicit(&highest, 0, memory_order_relaxed);
}

static void close_if_last(struct sidecar_id id) {
    if (is_mapped(id)) {
        return;
    }
    int twin = hidden_find_marked(id, TABLE_MAPPED);
    if (twin >= 0) {
        hidden_close(twin);
    }
}

/* Takes start to end out of the entry; what is left behind it becomes another. */
static void cut(struct chunk *chunk, struct entry *entry, uintptr_t start, uintptr_t end) {
    if (end < entry->end && start > entry->start) {
        add(end, entry->end, entry->number, entry->id);
        entry->end = start;
    } else if (end < entry->end) {
        entry->start = end;
    } else if (start > entry->start) {
        entry->end = start;
    } else {
        entry->end = entry->start;
        atomic_signal_fence(memory_order_seq_cst);
        chunk->used--;
        close_if_last(entry->id);
    }
}

void mapping_forget(const void *address, size_t length, uint64_t before) {
    uintptr_t start = (uintptr_t)address, end = end_of(address, length);
    if (!mapping_touches(address, length) || table_is_foreign()) {
        return;
    }
    signal_set mask = spin_lock(&spin);
    EACH_ENTRY(entry, start, end) {
        if (entry->number < before && entry->start < end && start < entry->end) {
            cut(chunk_, entry, start, end);
        }
    }
    narrow();
    spin_unlock(&spin, mask);
}

bool mapping_find(const void *address, struct sidecar_id *ret) {
    uintptr_t at = (uintptr_t)address;
    bool found = false;
    if (!mapping_touches(address, 1)) {
        return false;
    }
    signal_set before = spin_lock(&spin);
    EACH_ENTRY(entry, at, at + 1) {
        if (entry->start <= at && at < entry->end) {
            *ret = entry->id;
            found = true;
            break;
        }
    }
    spin_unlock(&spin, before);
    return found;
}

bool mapping_next(const void *address, size_t length, uint64_t before, struct mapped_part *ret) {
    uintptr_t from = (uintptr_t)address, end = end_of(address, length), best = end;
    if (!mapping_touches(address, length)) {
        return false;
    }
    signal_set mask = spin_lock(&spin);
    EACH_ENTRY(entry, from, end) {
        uintptr_t start = entry->start > from ? entry->start : from;
        uintptr_t stop = entry->end < end ? entry->end : end;
        if (entry->number < before && start < stop && start < best) {
            best = start;
            *ret = (struct mapped_part){
                .start = (const char *)start, .length = stop - start, .id = entry->id};
        }
    }
    spin_unlock(&spin, mask);
    return best < end;
}
