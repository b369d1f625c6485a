#include "shim/soft_place.h"

#include <limits.h>
#include <string.h>

#include "lib/process_mark.h"
#include "lib/sys_linux.h"
#include "shim/table.h"

#define PLACES 7

/* Free where it is another process's: of the parent before a fork. */
struct place {
    uint64_t process;
    struct sidecar_id id;
    char path[PATH_MAX];
};

struct chunk {
    struct chunk *next;
    struct place places[PLACES];
};

static struct chunk *chunks;

static struct place *find(uint64_t process, struct sidecar_id id) {
    for (struct chunk *chunk = chunks; chunk; chunk = chunk->next) {
        for (int i = 0; i < PLACES; i++) {
            struct place *place = &chunk->places[i];
            if (place->process == process && sidecar_same(place->id, id)) {
                return place;
            }
        }
    }
    return NULL;
}

static struct place *find_free(uint64_t process) {
    for (struct chunk *chunk = chunks; chunk; chunk = chunk->next) {
        for (int i = 0; i < PLACES; i++) {
            if (chunk->places[i].process != process) {
                return &chunk->places[i];
            }
        }
    }
    struct chunk *chunk = sys_map(sizeof(*chunk));
    if (!chunk) {
        return NULL;
    }
    chunk->next = chunks;
    chunks = chunk;
    return &chunk->places[0];
}

static bool compose(const struct target *target, char path[PATH_MAX]) {
    size_t directory = strlen(target->where.path) - strlen(target->where.name);
    size_t name = strlen(target->sidecar);
    if (target->sidecar[0] == '/') {
        directory = 0;
    }
    if (directory + name >= PATH_MAX) {
        return false;
    }
    memcpy(path, target->where.path, directory);
    memcpy(path + directory, target->sidecar, name + 1);
    return true;
}

void soft_place_add(struct sidecar_id id, const struct target *target) {
    if (table_is_foreign()) {
        return; /* it would be our parent's */
    }
    struct place *place = find_free(process_token());
    if (place && compose(target, place->path)) {
        place->id = id;
        place->process = process_token();
    }
}

const char *soft_place_find(struct sidecar_id id) {
    const struct place *place = table_is_foreign() ? NULL : find(process_token(), id);
    return place ? place->path : "";
}

void soft_place_drop(struct sidecar_id id) {
    struct place *place = table_is_foreign() ? NULL : find(process_token(), id);
    if (place) {
        place->process = 0;
    }
}
