/*
 * How the holds get to a child of posix_spawn (contract H6, O1).
 *
 * The child is made and led by libc, which opens, duplicates and closes there
 * without coming by here. So, before that, the file actions are gone through in
 * thought (spawn_child.h): which of the child's descriptors will lead to a locked
 * file? Files that they open are locked at once, by the parent, for as long as
 * it is in posix_spawn. Then libc gets actions of our making: those of the
 * program, in their order, and at the end some that give the child its hidden
 * twins, as exec leaves them (hidden.h). What fails in the child, exec above all,
 * leaves nothing behind: the twins go with it.
 */
#ifndef AUTOLOCK_SPAWN_PLAN_H
#define AUTOLOCK_SPAWN_PLAN_H

#include "shim/spawn_actions.h"

struct spawn_plan {
    struct spawn_child *child; /* NULL: the program's own actions will do */
    posix_spawn_file_actions_t actions;
    bool has_actions;
};

/* Locks what the actions open. Returns 0 and a plan that is to be given back;
 * or the errno value that posix_spawn fails with. */
int spawn_plan_make(const struct spawn_record *record, struct spawn_plan *ret);

/* After posix_spawn, whether it succeeded or not. */
void spawn_plan_done(struct spawn_plan *plan);

#endif
