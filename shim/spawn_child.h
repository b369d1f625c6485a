/*
 * The descriptors of a child of posix_spawn, before there is one: what each
 * number will be once libc has gone through the file actions there, and which
 * locked file it will lead to. See spawn_plan.h.
 */
#ifndef AUTOLOCK_SPAWN_CHILD_H
#define AUTOLOCK_SPAWN_CHILD_H

#include "shim/spawn_actions.h"

/* What a number of the child is at some point of the actions. */
struct child_fd {
    int fd;
    enum { LIKE_PARENT, OPENED, CLOSED } what;
    int number;       /* LIKE_PARENT: the parent's number for the same thing */
    const char *path; /* OPENED, relative to: */
    int directory;
    int carrier; /* hidden descriptor, here, that has its hold; -1 */
    bool close_on_exec;
};

struct spawn_child {
    const struct spawn_record *record;
    size_t size;     /* bytes mapped */
    int directory;   /* in which the child is by then */
    int closed_from; /* numbers that no action has touched are closed from here */
    unsigned fd_count, hidden_count, hidden_room;
    int *hidden; /* that were made for it */
    struct child_fd fds[];
};

/* NULL when there is no memory. */
struct spawn_child *spawn_child_make(const struct spawn_record *record);
/* Closes all that were made for it. */
void spawn_child_done(struct spawn_child *child);

/* Goes through the actions, and locks what they open. Returns 0 or the errno
 * value that posix_spawn fails with. */
int spawn_child_go_through(struct spawn_child *child);

/* What a number is by now. */
struct child_fd spawn_child_look(struct spawn_child *child, int fd);
/* Whether an action has had to do with it. */
bool spawn_child_touched(const struct spawn_child *child, int fd);
/* Whether an action puts something on it. */
bool spawn_child_target(const struct spawn_record *record, int fd);

/*
 * Hands over a hidden descriptor (or an error) that is closed with the rest.
 * Returns it, moved to where no action gets in its way; for_fd: to a number
 * that tells the program after exec whom it serves, -1 for any. -1 when there
 * is none.
 */
int spawn_child_keep(struct spawn_child *child, int hidden, int for_fd);

#endif
