#include "shim/flushing.h"

#include <stdatomic.h>
#include <stdio_ext.h>

#include "lib/sys_linux.h"
#include "shim/table.h"

#define PATIENCE 1000 /* looks at a list that somebody else uses */
#define STREAMS 510

struct chunk {
    struct chunk *_Atomic next;
    FILE *_Atomic streams[STREAMS];
};

static struct chunk first;

/* Somebody flushes what is in the list, which must not be closed meanwhile. */
static atomic_flag busy = ATOMIC_FLAG_INIT;

static bool enter(void) {
    for (int i = 0; atomic_flag_test_and_set_explicit(&busy, memory_order_acquire); i++) {
        if (i == PATIENCE) { /* we may be in a handler, which has interrupted it */
            return false;
        }
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
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

static FILE *_Atomic *find(const FILE *stream) {
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < STREAMS; i++) {
            if (atomic_load_explicit(&chunk->streams[i], memory_order_relaxed) == stream) {
                return &chunk->streams[i];
            }
        }
    }
    return NULL;
}

void flushing_remember(FILE *stream) {
    if (!stream || find(stream)) {
        return;
    }
    for (struct chunk *chunk = &first; chunk; chunk = next_chunk(chunk)) {
        for (int i = 0; i < STREAMS; i++) {
            FILE *none = NULL;
            if (!atomic_load_explicit(&chunk->streams[i], memory_order_relaxed) &&
                atomic_compare_exchange_strong(&chunk->streams[i], &none, stream)) {
                return;
            }
        }
    }
}

void flushing_forget(const FILE *stream) {
    FILE *_Atomic *place = stream ? find(stream) : NULL;
    if (place) {
        bool entered = enter();
        atomic_store(place, NULL);
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
    if (!stream || !is_of_hold(stream, id) || __fpending(stream) == 0) {
        return true;
    }
    if (ftrylockfile(stream) != 0) {
        return false;
    }
    (void)fflush(stream);
    funlockfile(stream);
    return true;
}

bool flushing_flush(struct sidecar_id id) {
    if (!enter()) {
        return false;
    }
    bool all = flush(stdout, id);
    all &= flush(stderr, id);
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < STREAMS; i++) {
            all &= flush(atomic_load(&chunk->streams[i]), id);
        }
    }
    leave();
    return all;
}
