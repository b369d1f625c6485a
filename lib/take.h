/*
 * Getting the lock on disk, for each kind: what an object does when it does not
 * hold it yet.
 */
#ifndef FILELOCK_TAKE_H
#define FILELOCK_TAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cancel.h"
#include "lib/sidecar.h"

struct taking {
    const char *path;
    bool shared;
    uint64_t until; /* CLOCK_MONOTONIC; 0: one try */
    struct cancellable wait;
    /* Results. */
    int fd;
    struct sidecar_id id;
};

/* Both return 0 with fd and id, or the errors of filelock_acquire. */
int take_flock(struct taking *taking);
int take_soft(struct taking *taking);

#endif
