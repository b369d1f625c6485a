#include "shim/spawn_child.h"

#include <errno.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/opening.h"
#include "shim/reference.h"

static const struct sidecar_id NO_ID;

static unsigned count_hidden(void) {
    unsigned count = 0;
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        count++;
    }
    return count;
}

struct spawn_child *spawn_child_make(const struct spawn_record *record) {
    /* A number an action, and the copies of it that come to lie in the way of
     * some; room for what other threads open meanwhile. */
    size_t fds = record->count, hidden = 4 * record->count + 2 * count_hidden() + 64;
    size_t size = sizeof(struct spawn_child) + fds * sizeof(struct child_fd) + hidden * sizeof(int);
    struct spawn_child *child = sys_map(size);
    if (child) {
        child->record = record;
        child->size = size;
        child->directory = AT_FDCWD;
        child->closed_from = TABLE_NOBODY;
        child->hidden = (int *)&child->fds[fds];
        child->hidden_room = (unsigned)hidden;
    }
    return child;
}

void spawn_child_done(struct spawn_child *child) {
    while (child->hidden_count > 0) {
        hidden_close(child->hidden[--child->hidden_count]);
    }
    sys_unmap(child, child->size);
}

bool spawn_child_target(const struct spawn_record *record, int fd) {
    for (unsigned i = 0; i < record->count; i++) {
        const struct spawn_action *action = &record->actions[i];
        if ((action->kind == SPAWN_OPEN || action->kind == SPAWN_DUP2) && action->fd == fd) {
            return true;
        }
    }
    return false;
}

int spawn_child_keep(struct spawn_child *child, int hidden, int for_fd) {
    while (hidden >= 0) {
        if (child->hidden_count == child->hidden_room) {
            hidden_close(hidden);
            return -1;
        }
        child->hidden[child->hidden_count++] = hidden;
        if (!spawn_child_target(child->record, hidden)) {
            return hidden;
        }
        hidden = hidden_another(hidden, for_fd);
    }
    return -1;
}

static struct child_fd *find(struct spawn_child *child, int fd) {
    for (unsigned i = 0; i < child->fd_count; i++) {
        if (child->fds[i].fd == fd) {
            return &child->fds[i];
        }
    }
    return NULL;
}

bool spawn_child_touched(const struct spawn_child *child, int fd) {
    return find((struct spawn_child *)child, fd);
}

struct child_fd spawn_child_look(struct spawn_child *child, int fd) {
    const struct child_fd *known = find(child, fd);
    if (known) {
        return *known;
    }
    struct child_fd like = {.fd = fd, .what = LIKE_PARENT, .number = fd, .carrier = -1};
    int flags = fd < child->closed_from ? sys_fcntl(fd, F_GETFD, 0) : -EBADF;
    if (flags < 0) {
        like.what = CLOSED;
        return like;
    }
    like.close_on_exec = flags & FD_CLOEXEC;
    like.carrier = spawn_child_keep(child, reference_another_twin(fd), -1);
    return like;
}

static void touch(struct spawn_child *child, struct child_fd now) {
    struct child_fd *known = find(child, now.fd);
    *(known ? known : &child->fds[child->fd_count++]) = now;
}

/* The child goes to another directory. As go_through. */
static int change_directory(struct spawn_child *child, int from, const char *path) {
    int fd = sys_openat(from, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    child->directory = spawn_child_keep(child, hidden_make(fd, MODE_NOTHING, NO_ID), -1);
    (void)sys_close(fd);
    return child->directory < 0 ? EMFILE : 0;
}

/* Whether an action before this one may make the file that it opens. */
static bool makes_files(const struct spawn_record *record, const struct spawn_action *end) {
    for (const struct spawn_action *action = record->actions; action < end; action++) {
        if (action->kind == SPAWN_OPEN && action->flags & O_CREAT) {
            return true;
        }
    }
    return false;
}

static int go_through_open(struct spawn_child *child, const struct spawn_action *action) {
    struct opening opening = {.dirfd = child->directory,
                              .path = spawn_path(child->record, action),
                              .flags = action->flags,
                              .mode = action->mode,
                              .for_child = true};
    struct child_fd now = {.fd = action->fd,
                           .what = OPENED,
                           .path = opening.path,
                           .directory = child->directory,
                           .carrier = -1};
    if (makes_files(child->record, action)) {
        opening.flags |= O_CREAT; /* then it is no failure that the file is not there yet */
    }
    if (!opening_is_plain(&opening)) {
        switch (opening_begin(&opening)) {
        case OPENING_FAILED:
            return opening.error;
        case OPENING_LOCKED:
            now.carrier = spawn_child_keep(child, opening_keep(&opening), -1);
            break;
        default:
            break;
        }
    }
    /* Even with O_CLOEXEC: libc moves it to its number by dup2, in most cases. */
    touch(child, now);
    return 0;
}

static int change_directory_to(struct spawn_child *child, const struct child_fd *fd) {
    switch (fd->what) {
    case LIKE_PARENT:
        child->directory = fd->number;
        return 0;
    case OPENED:
        return change_directory(child, fd->directory, fd->path);
    default:
        return -EBADF;
    }
}

static void go_through_closefrom(struct spawn_child *child, int first) {
    for (unsigned i = 0; i < child->fd_count; i++) {
        int fd = child->fds[i].fd;
        if (fd >= first) {
            child->fds[i] = (struct child_fd){.fd = fd, .what = CLOSED, .carrier = -1};
        }
    }
    if (first < child->closed_from) {
        child->closed_from = first;
    }
}

/* 0; an errno value that posix_spawn fails with; or a negative one where the
 * child will get no further than here. */
static int go_through(struct spawn_child *child, const struct spawn_action *action) {
    struct child_fd from;
    switch (action->kind) {
    case SPAWN_OPEN:
        return go_through_open(child, action);
    case SPAWN_CLOSE:
        touch(child, (struct child_fd){.fd = action->fd, .what = CLOSED, .carrier = -1});
        return 0;
    case SPAWN_DUP2:
        from = spawn_child_look(child, action->from);
        from.fd = action->fd;
        from.close_on_exec = false; /* of a number onto itself too */
        touch(child, from);
        return from.what == CLOSED ? -EBADF : 0;
    case SPAWN_CHDIR:
        return change_directory(child, child->directory, spawn_path(child->record, action));
    case SPAWN_FCHDIR:
        from = spawn_child_look(child, action->fd);
        return change_directory_to(child, &from);
    case SPAWN_CLOSEFROM:
        go_through_closefrom(child, action->fd);
        return 0;
    default:
        return 0;
    }
}

int spawn_child_go_through(struct spawn_child *child) {
    for (unsigned i = 0; i < child->record->count; i++) {
        int r = go_through(child, &child->record->actions[i]);
        if (r != 0) {
            return r > 0 ? r : 0;
        }
    }
    return 0;
}
