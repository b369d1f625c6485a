/*
 * What a program has put into a posix_spawn_file_actions_t: libc keeps that to
 * itself, and performs it in the child without coming by here.
 *
 * The record hangs on the object itself, in its last bytes, which both libcs
 * leave alone; so it moves with an object that is copied, and needs no lock. It
 * lives from init to destroy, in mapped memory. Without rules there is none.
 */
#ifndef AUTOLOCK_SPAWN_ACTIONS_H
#define AUTOLOCK_SPAWN_ACTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "shim/types.h"

enum spawn_kind {
    SPAWN_OPEN,      /* fd, path, flags, mode */
    SPAWN_CLOSE,     /* fd */
    SPAWN_DUP2,      /* from, fd */
    SPAWN_CHDIR,     /* path */
    SPAWN_FCHDIR,    /* fd */
    SPAWN_CLOSEFROM, /* fd */
    SPAWN_TCSETPGRP, /* fd */
};

struct spawn_action {
    enum spawn_kind kind;
    int fd, from, flags;
    mode_t mode;
    size_t path; /* see spawn_path */
};

struct spawn_record {
    size_t size; /* bytes mapped */
    size_t text; /* of these, at the end, taken by paths */
    unsigned count;
    struct spawn_action actions[];
};

/* The path of an action; valid as long as the record is not added to. */
static inline const char *spawn_path(const struct spawn_record *record,
                                     const struct spawn_action *action) {
    return (const char *)record + record->size - action->path;
}

/* What is in the object: *ret is NULL when that is nothing. False when it was
 * filled in some way that we did not see. */
bool spawn_recorded(const posix_spawn_file_actions_t *actions, const struct spawn_record **ret);

/* Puts an action into an object that is not the program's, as it was recorded.
 * Returns 0 or an errno value. */
int spawn_add(posix_spawn_file_actions_t *actions, const struct spawn_record *record,
              const struct spawn_action *action);

#endif
