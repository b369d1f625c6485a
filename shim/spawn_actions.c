#include "shim/spawn_actions.h"

#include <errno.h>
#include <string.h>

#include "lib/sys_linux.h"
#include "shim/real.h"
#include "shim/start.h"
#include "shim/wrap.h"

#define FIRST_SIZE 4096
#define MAGIC 0x6175746f6c6f636bu /* "autolock" */

/* The last of the bytes that are reserved for libc's future. */
struct tail {
    uint64_t magic;
    struct spawn_record *record;
};
_Static_assert(sizeof(((posix_spawn_file_actions_t *)0)->__pad) >= 2 * sizeof(struct tail),
               "libc leaves no room here");

static char *tail_of(const posix_spawn_file_actions_t *actions) {
    return (char *)actions + sizeof(*actions) - sizeof(struct tail);
}

/* False when the object was not initialised by us. */
static bool get(const posix_spawn_file_actions_t *actions, struct spawn_record **ret) {
    struct tail tail;
    memcpy(&tail, tail_of(actions), sizeof(tail));
    *ret = tail.magic == MAGIC ? tail.record : NULL;
    return tail.magic == MAGIC;
}

static void set(posix_spawn_file_actions_t *actions, struct spawn_record *record) {
    struct tail tail = {.magic = MAGIC, .record = record};
    memcpy(tail_of(actions), &tail, sizeof(tail));
}

static size_t used(const struct spawn_record *record) {
    return sizeof(*record) + record->count * sizeof(record->actions[0]) + record->text;
}

/* A record with that much room, with all that was in the old one. */
static struct spawn_record *grown(struct spawn_record *old, size_t more) {
    size_t size = old ? old->size : FIRST_SIZE;
    while (size < (old ? used(old) : sizeof(*old)) + more) {
        size *= 2;
    }
    if (old && old->size == size) {
        return old;
    }
    struct spawn_record *record = sys_map(size);
    if (!record) {
        return NULL;
    }
    record->size = size;
    if (old) {
        record->text = old->text;
        record->count = old->count;
        memcpy(record->actions, old->actions, old->count * sizeof(old->actions[0]));
        memcpy((char *)record + size - old->text, (char *)old + old->size - old->text, old->text);
        sys_unmap(old, old->size);
    }
    return record;
}

/* Before libc takes it. 0 or an errno value. */
static int put(posix_spawn_file_actions_t *actions, struct spawn_action action, const char *path) {
    struct spawn_record *record;
    if (!shim_is_active() || !get(actions, &record)) {
        return 0;
    }
    size_t length = path ? strlen(path) + 1 : 0;
    record = grown(record, sizeof(action) + length);
    if (!record) {
        return ENOMEM;
    }
    if (path) {
        record->text += length;
        action.path = record->text;
        memcpy((char *)record + record->size - record->text, path, length);
    }
    record->actions[record->count++] = action;
    set(actions, record);
    return 0;
}

/* After that: what libc would not take is taken back. */
static int done(posix_spawn_file_actions_t *actions, int result) {
    struct spawn_record *record;
    if (result != 0 && shim_is_active() && get(actions, &record)) {
        record->count--;
    }
    return result;
}

#define ADD(action, path, call)                                                                    \
    int result = put(actions, (struct spawn_action)action, path);                                  \
    return result == 0 ? done(actions, call) : result;
#define ACTION(...)                                                                                \
    { __VA_ARGS__ }

int wrap_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions) {
    int result = REAL(posix_spawn_file_actions_init)(actions);
    if (result == 0 && shim_is_active()) {
        set(actions, NULL);
    }
    return result;
}

int wrap_posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions) {
    struct spawn_record *record;
    if (shim_is_active() && get(actions, &record) && record) {
        set(actions, NULL);
        sys_unmap(record, record->size);
    }
    return REAL(posix_spawn_file_actions_destroy)(actions);
}

int wrap_posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd,
                                          const char *path, int flags, mode_t mode) {
    ADD(ACTION(.kind = SPAWN_OPEN, .fd = fd, .flags = flags, .mode = mode), path,
        REAL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode))
}

int wrap_posix_spawn_file_actions_addclose(posix_spawn_file_actions_t *actions, int fd) {
    ADD(ACTION(.kind = SPAWN_CLOSE, .fd = fd), NULL,
        REAL(posix_spawn_file_actions_addclose)(actions, fd))
}

int wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to) {
    ADD(ACTION(.kind = SPAWN_DUP2, .fd = to, .from = from), NULL,
        REAL(posix_spawn_file_actions_adddup2)(actions, from, to))
}

int wrap_posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions,
                                              const char *path) {
    ADD(ACTION(.kind = SPAWN_CHDIR), path,
        REAL(posix_spawn_file_actions_addchdir_np)(actions, path))
}

int wrap_posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t *actions, int fd) {
    ADD(ACTION(.kind = SPAWN_FCHDIR, .fd = fd), NULL,
        REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd))
}

#ifdef __GLIBC__
int wrap_posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int first) {
    ADD(ACTION(.kind = SPAWN_CLOSEFROM, .fd = first), NULL,
        REAL(posix_spawn_file_actions_addclosefrom_np)(actions, first))
}

int wrap_posix_spawn_file_actions_addtcsetpgrp_np(posix_spawn_file_actions_t *actions, int fd) {
    ADD(ACTION(.kind = SPAWN_TCSETPGRP, .fd = fd), NULL,
        REAL(posix_spawn_file_actions_addtcsetpgrp_np)(actions, fd))
}
#endif

bool spawn_recorded(const posix_spawn_file_actions_t *actions, const struct spawn_record **ret) {
    struct spawn_record *record = NULL;
    bool ours = actions && get(actions, &record);
    *ret = record && record->count ? record : NULL;
    if (!actions) {
        return true;
    }
#ifdef __GLIBC__
    /* The number of actions is the one thing that glibc's header shows. */
    return actions->__used == (ours && record ? (int)record->count : 0);
#else
    return ours;
#endif
}

int spawn_add(posix_spawn_file_actions_t *actions, const struct spawn_record *record,
              const struct spawn_action *action) {
    switch (action->kind) {
    case SPAWN_OPEN:
        return REAL(posix_spawn_file_actions_addopen)(
            actions, action->fd, spawn_path(record, action), action->flags, action->mode);
    case SPAWN_CLOSE:
        return REAL(posix_spawn_file_actions_addclose)(actions, action->fd);
    case SPAWN_DUP2:
        return REAL(posix_spawn_file_actions_adddup2)(actions, action->from, action->fd);
    case SPAWN_CHDIR:
        return REAL(posix_spawn_file_actions_addchdir_np)(actions, spawn_path(record, action));
    case SPAWN_FCHDIR:
        return REAL(posix_spawn_file_actions_addfchdir_np)(actions, action->fd);
#ifdef __GLIBC__
    case SPAWN_CLOSEFROM:
        return REAL(posix_spawn_file_actions_addclosefrom_np)(actions, action->fd);
    case SPAWN_TCSETPGRP:
        return REAL(posix_spawn_file_actions_addtcsetpgrp_np)(actions, action->fd);
#endif
    default:
        return ENOSYS;
    }
}
