#include "shim/flushing.h"

#include <stdatomic.h>
#include <stdio_ext.h>

#include "lib/sys_linux.h"
#include "shim/spin.h"
#include "shim/table.h"

#define PATIENCE 500 /* looks at a list that somebody else uses */
#define STREAMS 255

struct entry {
    FILE *_Atomic stream;
    _Atomic uint64_t age; /* later ones have more */
};

struct chunk {
    struct chunk *_Atomic next;
    struct entry entries[STREAMS];
};

static struct chunk first;

/* Somebody flushes what is in the list, which must not be closed meanwhile. */
static atomic_flag busy = ATOMIC_FLAG_INIT;

static bool enter(void) {
    for (int i = 0; atomic_flag_test_and_set_explicit(&busy, memory_order_acquire); i++) {
        if (i == PATIENCE) { /* we may be in a handler, which has interrupted it */
            return false;
        }
        spin_pause(i);
    }
    return true;
}

static void leave(void) {
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static struct chunk *next_chunk(struct chunk *chunk) {
    struct chunk *next = atomic_load(&chunk->next), *other = NULL;
    if (next) {
        return next;
    }
    next = sys_map(sizeof(*next));
    if (next && !atomic_compare_exchange_strong(&chunk->next, &other, next)) {
        sys_unmap(next, sizeof(*next));
        next = other;
    }
    return next;
}

static struct entry *find(const FILE *stream) {
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < STREAMS; i++) {
            if (atomic_load_explicit(&chunk->entries[i].stream, memory_order_relaxed) == stream) {
                return &chunk->entries[i];
            }
        }
    }
    return NULL;
}

static struct entry *find_place(FILE *stream) {
    for (struct chunk *chunk = &first; chunk; chunk = next_chunk(chunk)) {
        for (int i = 0; i < STREAMS; i++) {
            FILE *_Atomic *place = &chunk->entries[i].stream, *none = NULL;
            if (!atomic_load_explicit(place, memory_order_relaxed) &&
                atomic_compare_exchange_strong(place, &none, stream)) {
                return &chunk->entries[i];
            }
        }
    }
    return NULL;
}

void flushing_remember(FILE *stream) {
    static _Atomic uint64_t opened;
    if (stream) {
        struct entry *entry = find(stream);
        entry = entry ? entry : find_place(stream);
        if (entry) {
            atomic_store(&entry->age, 1 + atomic_fetch_add(&opened, 1));
        }
    }
}

void flushing_forget(const FILE *stream) {
    struct entry *entry = stream ? find(stream) : NULL;
    if (entry) {
        bool entered = enter();
        atomic_store(&entry->stream, NULL);
        if (entered) {
            leave();
        }
    }
}

static bool is_of_hold(FILE *stream, struct sidecar_id id) {
    int fd = fileno(stream);
    table_word word = table_get(fd);
    struct sidecar_id held;
    int twin = table_other(word);
    return fd >= 0 && table_kind(word) == TABLE_DATA && table_id(twin, table_get(twin), &held) &&
           sidecar_same(id, held);
}

/* One that reads is left alone: flushing would move the file's position. */
static bool flush(FILE *stream, struct sidecar_id id) {
    if (!is_of_hold(stream, id) || __fpending(stream) == 0) {
        return true;
    }
    if (ftrylockfile(stream) != 0) {
        return false;
    }
    (void)fflush(stream);
    funlockfile(stream);
    return true;
}

/* The newest stream of the hold that is older than *age, which becomes its own. */
static FILE *next_older(uint64_t *age, struct sidecar_id id) {
    FILE *newest = NULL;
    uint64_t age_of_newest = 0;
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < STREAMS; i++) {
            FILE *stream = atomic_load(&chunk->entries[i].stream);
            uint64_t its_age = atomic_load(&chunk->entries[i].age);
            if (stream && its_age > age_of_newest && its_age < *age && is_of_hold(stream, id)) {
                newest = stream;
                age_of_newest = its_age;
            }
        }
    }
    *age = age_of_newest;
    return newest;
}

/* In the order in which libc would: several may be on one file. */
bool flushing_flush(struct sidecar_id id) {
#ifdef __GLIBC__
    FILE *const standard[] = {stderr, stdout};
#else
    FILE *const standard[] = {stdout, stderr};
#endif
    uint64_t age = UINT64_MAX;
    bool all = true;
    if (!enter()) {
        return false;
    }
    for (FILE *stream; (stream = next_older(&age, id));) {
        all &= flush(stream, id);
    }
    for (size_t i = 0; i < 2; i++) {
        all &= flush(standard[i], id);
    }
    leave();
    return all;
}
