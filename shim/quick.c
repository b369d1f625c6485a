#include "shim/quick.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include "config/plain_path.h"
#include "lib/sidecar.h"
#include "shim/fork.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/record.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/sibling.h"
#include "shim/start.h"
#include "shim/turn.h"

#define SIDECAR_FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)

bool quick_decide(const struct opening *opening, struct target *room,
                  const struct rule **ret_rule) {
    const char *path =
        plain_path(opening->dirfd, opening->path, room->where.path, sizeof(room->where.path));
    if (!path) {
        return false;
    }
    *ret_rule = rules_find_lock(&start_config.rules, path);
    return true;
}

/*
 * Where sidecar and data file are. An open that only opens leads to both by the
 * whole path, and the sidecar is looked at once more at the end: had a directory
 * on the way been replaced meanwhile, it would be another. An open that makes or
 * empties the file cannot be taken back, so it goes by the open directory.
 */
struct place {
    int directory;
    bool anchored; /* the directory is ours */
    const char *name;
    const char *sidecar;
};

static bool append_suffix(char *to, size_t size, const char *name) {
    static const char suffix[] = ".lock";
    size_t length = strlen(name);
    if (length + sizeof(suffix) > size) {
        return false;
    }
    memcpy(to, name, length);
    memcpy(to + length, suffix, sizeof(suffix));
    return true;
}

static bool find_by_path(const struct opening *opening, struct target *room, struct place *ret) {
    *ret = (struct place){
        .directory = opening->dirfd, .name = opening->path, .sidecar = room->where.scratch};
    return append_suffix(room->where.scratch, sizeof(room->where.scratch), opening->path);
}

static bool find_by_directory(const struct opening *opening, struct target *room,
                              struct place *ret) {
    const char *path = opening->path;
    const char *slash = strrchr(path, '/');
    size_t length = slash && slash > path ? (size_t)(slash - path) : 1;
    *ret = (struct place){.directory = -1,
                          .anchored = true,
                          .name = slash ? slash + 1 : path,
                          .sidecar = room->sidecar};
    if (length >= sizeof(room->where.scratch) ||
        !append_suffix(room->sidecar, sizeof(room->sidecar), ret->name)) {
        return false;
    }
    memcpy(room->where.scratch, slash ? path : ".", length);
    room->where.scratch[length] = '\0';
    ret->directory = sys_open_directory(opening->dirfd, room->where.scratch);
    return ret->directory >= 0;
}

/* Frees the sidecar's first number, which is the lowest: for the program. Our
 * directory goes from below it to there. */
static bool make_way(struct place *place, int low) {
    if (!place->anchored) {
        (void)sys_close(low);
        return true;
    }
    if (sys_dup3(place->directory, low, O_CLOEXEC) < 0) {
        (void)sys_close(low);
        return false;
    }
    (void)sys_close(place->directory);
    place->directory = low;
    return true;
}

/* Opens the sidecar as a hidden descriptor that is known but not locked. -1 for
 * "not so quick": it is not there, this process has it already, or a writer may
 * be waiting for readers to leave. */
static int open_twin(struct place *place, bool exclusive, struct sys_stat *ret_stat) {
    struct sys_open_how how = {.flags = SIDECAR_FLAGS, .resolve = SYS_RESOLVE_NO_SYMLINKS};
    table_word ignored;
    struct gate gate = gate_enter();
    int twin = -1, low = sys_openat2(place->directory, place->sidecar, &how);
    if (low < 0) {
        gate_leave(gate);
        return -1;
    }
    if (sys_fstat(low, ret_stat) == 0 && S_ISREG(ret_stat->mode) &&
        (exclusive || !turn_may_be_marked(ret_stat))) {
        struct sidecar_id id = sidecar_id_of(ret_stat);
        if (hidden_find(id, -1, &ignored) < 0) {
            twin = hidden_make(low, MODE_WAITING, id);
        }
    }
    bool made_way = make_way(place, low);
    gate_leave(gate);
    if (!made_way) {
        hold_drop(twin);
        return -1;
    }
    return twin;
}

/* What else may stand there must not be opened with the lock in hand: a FIFO may
 * take for ever. *ret_stat: of the file, if there is one. */
static int open_data(const struct opening *opening, const struct place *place,
                     struct sys_stat *ret_stat, bool *ret_exists) {
    int looked = sys_stat(place->directory, place->name, AT_SYMLINK_NOFOLLOW, ret_stat);
    *ret_exists = looked == 0;
    if (looked == 0 ? !S_ISREG(ret_stat->mode) : looked != -ENOENT) {
        return OPENING_LOOK;
    }
    struct sys_open_how how = {.flags = (uint64_t)(unsigned)(opening->flags | O_LARGEFILE),
                               .mode = opening->flags & O_CREAT ? opening->mode & 07777 : 0,
                               .resolve = SYS_RESOLVE_NO_SYMLINKS};
    int r = sys_openat2(place->directory, place->name, &how);
    return opening_openat2_settles(r) ? r : OPENING_LOOK;
}

static bool is_current(const struct place *place, int twin, struct sidecar_id id) {
    return sidecar_is_current(place->directory, place->sidecar, twin, id) == 1;
}

static int bind(const struct opening *opening, int fd, int twin) {
    reference_set(fd, twin, opening->flags & O_CLOEXEC);
    say_number_opened(fd);
    return fd;
}

static int open_at(const struct opening *opening, struct place *place, bool exclusive,
                   enum rule_inherit inherit) {
    struct sys_stat sidecar, data;
    bool existed = false;
    int twin = open_twin(place, exclusive, &sidecar);
    if (twin < 0) {
        return OPENING_LOOK;
    }
    struct sidecar_id id = sidecar_id_of(&sidecar);
    int fd = OPENING_LOOK;
    signal_set before = signals_mask(SIGNALS_ALL); /* see hold.c */
    bool locked = sys_flock(twin, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 &&
                  (!place->anchored || is_current(place, twin, id)) &&
                  (exclusive || !sibling_writes(twin)) &&
                  hold_settle(twin, id, exclusive ? MODE_EXCLUSIVE : MODE_SHARED);
    if (!locked) {
        hold_drop(twin);
        twin = -1;
    }
    (void)signals_mask(before);
    if (locked) {
        hidden_set_inherit(twin, inherit);
        fd = open_data(opening, place, &data, &existed);
    }
    if (fd >= 0 && !place->anchored && !is_current(place, twin, id)) {
        (void)sys_close(fd); /* costs no record lock: quick_open */
        fd = OPENING_LOOK;
    }
    if (fd < 0) {
        hold_drop(twin);
        return fd;
    }
    if (existed) {
        sidecar_follow(twin, &sidecar, &data);
    }
    return bind(opening, fd, twin);
}

int quick_open(const struct opening *opening, struct target *room, const struct rule *rule,
               bool exclusive) {
    struct place place;
    fork_notice();
    if (record_any()) { /* on some sidecar, maybe on this one */
        return OPENING_LOOK;
    }
    bool before = table_settle();
    /* By the path, what was opened may have to be closed again, and with it go all
     * record locks of this process on the file (O7), under whatever name. */
    bool by_directory = opening->flags & (O_CREAT | O_TRUNC) || record_used();
    bool found = by_directory ? find_by_directory(opening, room, &place)
                              : find_by_path(opening, room, &place);
    int fd = found ? open_at(opening, &place, exclusive, rule->options->inherit) : OPENING_LOOK;
    if (place.anchored && place.directory >= 0) {
        (void)sys_close(place.directory);
    }
    table_unsettle(before);
    return fd;
}
