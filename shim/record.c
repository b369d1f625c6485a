#include "shim/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "config/sidecar_path.h"
#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/proclines.h"
#include "shim/proclocks.h"
#include "shim/real.h"
#include "shim/scratch.h"
#include "shim/sibling.h"
#include "shim/start.h"
#include "shim/target.h"
#include "shim/wrap.h"

/* Record locks on some sidecar, or descriptors that were left. */
static atomic_bool any;

/* Whether other processes may share descriptions of ours. */
static atomic_bool has_forked;

bool record_any(void) {
    return atomic_load_explicit(&any, memory_order_relaxed);
}

static bool is_sidecar(int fd) {
    struct target *target = scratch_get();
    bool is = target && target_of_sidecar(target, fd);
    scratch_put(target);
    return is;
}

/* Whether fd is a sidecar, perhaps one that has been given a reference. */
static bool identify(int fd, table_word word, struct sidecar_id *ret) {
    struct sys_stat stat;
    struct sidecar_id served;
    int twin = table_other(word);
    if (sys_fstat(fd, &stat) < 0) {
        return false;
    }
    *ret = sidecar_id_of(&stat);
    return table_kind(word) == TABLE_DATA
               ? table_id(twin, table_get(twin), &served) && sidecar_same(*ret, served)
               : is_sidecar(fd);
}

static void locked(int fd) {
    struct sidecar_id id;
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_HIDDEN && !table_has_records(word) && identify(fd, word, &id)) {
        record_note(fd, word, id);
    }
}

static bool is_record_line(const char *line, void *data) {
    (void)data;
    return strncmp(line, "lock:", 5) == 0 && strstr(line, " POSIX ");
}

/* What the kernel says: of several locks only one may have been given back. */
static bool has_records(int fd) {
    TEXT(path, 48);
    text_put(&path, "/proc/self/fdinfo/");
    text_put_number(&path, (uint64_t)(unsigned)fd, 10);
    return proclines_each(AT_FDCWD, path.start, is_record_line, NULL) == 1;
}

static void unlocked(int fd) {
    table_word word = table_get(fd);
    struct sidecar_id id;
    if (table_has_records(word) && table_id(fd, word, &id) && !has_records(fd)) {
        (void)table_change_records(fd, word, false, id);
        record_sweep();
    }
}

void record_note(int fd, table_word word, struct sidecar_id id) {
    atomic_store_explicit(&any, true, memory_order_relaxed);
    while (!table_change_records(fd, word, true, id)) {
        table_word now = table_get(fd); /* another thread has called flock on it */
        if (now == word || table_kind(now) == TABLE_HIDDEN || table_has_records(now)) {
            break;
        }
        word = now;
    }
    record_close_on_exec(fd);
}

bool record_pick_up(int fd, struct sidecar_id id) {
    bool has = has_records(fd);
    if (has) {
        record_note(fd, table_get(fd), id);
        if (proclocks_of_descriptor(fd) != LOCK_NOT_OPEN) {
            record_before_fork(); /* there may be children from before the exec */
        }
    }
    return has;
}

/* Its name; no rule is known yet. */
static bool may_be_sidecar(int fd) {
    struct target *target = scratch_get();
    TEXT(link, 40);
    text_put_descriptor(&link, fd);
    char *path = target ? target->where.path : NULL;
    ssize_t n = path ? sys_readlinkat(AT_FDCWD, link.start, path, sizeof(target->where.path)) : -1;
    bool may = n > 0 && sidecar_has_suffix(path, (size_t)n);
    scratch_put(target);
    return may;
}

bool record_inherit(int fd, struct sidecar_id id) {
    return may_be_sidecar(fd) && record_pick_up(fd, id);
}

bool record_is_still(int fd) {
    struct sidecar_id id;
    return table_id(fd, table_get(fd), &id) && sidecar_is(fd, id) && has_records(fd);
}

static atomic_bool used;

bool record_used(void) {
    return atomic_load_explicit(&used, memory_order_relaxed);
}

void record_use(void) {
    atomic_store_explicit(&used, true, memory_order_relaxed);
}

void record_changed(int fd, bool unlock) {
    if (!unlock) {
        record_use();
    }
    if (unlock ? !record_any() : !shim_is_active() || start_config.observe) {
        return;
    }
    if (table_is_foreign()) {
        return;
    }
    if (unlock) {
        unlocked(fd);
    } else {
        locked(fd);
    }
}

/* Of those with record locks the next one of that kind. */
static int next(enum table_kind kind, int below) {
    int fd = below;
    do {
        fd = table_previous(kind, fd);
    } while (fd >= 0 && !table_has_records(table_get(fd)));
    return fd;
}

static int find(enum table_kind kind, struct sidecar_id id) {
    for (int fd = next(kind, TABLE_NOBODY); fd >= 0; fd = next(kind, fd)) {
        struct sidecar_id other;
        if (table_id(fd, table_get(fd), &other) && sidecar_same(id, other)) {
            return fd;
        }
    }
    return -1;
}

int record_descriptor(struct sidecar_id id) {
    int fd = record_any() ? find(TABLE_PROGRAM, id) : -1;
    return fd < 0 && record_any() ? find(TABLE_DATA, id) : fd;
}

int record_find(int directory, const char *sidecar, struct sidecar_id *ret_id) {
    struct sys_stat stat;
    if (!record_any() || sys_stat(directory, sidecar, AT_SYMLINK_NOFOLLOW, &stat) < 0) {
        return -1;
    }
    *ret_id = sidecar_id_of(&stat);
    return record_descriptor(*ret_id);
}

bool record_leave(int fd, table_word before) {
    struct sidecar_id id;
    table_word word = table_get(fd);
    if (!record_any() || !table_id(fd, word, &id) || record_descriptor(id) < 0) {
        return false;
    }
    enum table_mode mode = table_is_locked(before) ? table_mode(before) : MODE_NOTHING;
    bool left = table_change(fd, word, TABLE_HIDDEN, mode, TABLE_LEFT, id);
    record_keep_over_exec(fd);
    return left;
}

int record_take_left(struct sidecar_id id, bool is_locked, enum table_mode mode) {
    for (int fd = record_any() ? table_previous(TABLE_HIDDEN, TABLE_NOBODY) : -1; fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (table_other(word) == TABLE_LEFT && table_is_locked(word) == is_locked &&
            table_id(fd, word, &other) && sidecar_same(id, other) &&
            table_change(fd, word, TABLE_HIDDEN, mode, table_transit(), id)) {
            return fd;
        }
    }
    return -1;
}

/* Whether this process still holds the sidecar for something. */
static bool is_in_use(struct sidecar_id id) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (table_other(word) != TABLE_LEFT && table_mode(word) != MODE_CLOSING &&
            table_id(fd, word, &other) && sidecar_same(id, other)) {
            return true;
        }
    }
    return false;
}

/* A duplicate of the program's own descriptor stays locked with that: it is
 * unlocked, unless a child may share it. Then the lock ends with the descriptor. */
static void give_back(int fd, table_word word, struct sidecar_id id) {
    if (!table_change(fd, word, TABLE_HIDDEN, MODE_CLOSING, table_transit(), id)) {
        return;
    }
    if (table_is_locked(word) && !atomic_load_explicit(&has_forked, memory_order_relaxed)) {
        (void)sys_flock(fd, LOCK_UN);
    }
    hidden_close_orphan(fd);
}

void record_sweep(void) {
    if (!record_any()) {
        return;
    }
    struct gate gate = gate_enter_alone();
    bool left = false;
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id id;
        if (!table_id(fd, word, &id)) {
            continue;
        }
        bool has_records = record_descriptor(id) >= 0;
        if (!has_records) {
            record_end_over_exec(fd);
        }
        if (table_other(word) == TABLE_LEFT && !has_records && !is_in_use(id)) {
            give_back(fd, word, id);
        } else if (table_other(word) == TABLE_LEFT) {
            left = true;
        }
    }
    left = left || next(TABLE_PROGRAM, TABLE_NOBODY) >= 0 || next(TABLE_DATA, TABLE_NOBODY) >= 0;
    atomic_store_explicit(&any, left, memory_order_relaxed);
    gate_leave(gate);
}

void record_before_fork(void) {
    if (record_any()) {
        atomic_store_explicit(&has_forked, true, memory_order_relaxed);
    }
}

static void forget_all(enum table_kind kind) {
    for (int fd = next(kind, TABLE_NOBODY); fd >= 0; fd = next(kind, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id id;
        if (table_id(fd, word, &id)) {
            (void)table_change_records(fd, word, false, id);
        }
    }
}

void record_after_fork(void) {
    if (!record_any()) {
        return;
    }
    atomic_store_explicit(&has_forked, true, memory_order_relaxed); /* so is our parent's */
    forget_all(TABLE_PROGRAM);
    forget_all(TABLE_DATA);
    record_sweep();
}

/* lockf is fcntl inside libc, from the current position on. */
static int lockf_any(int fd, int command, int result) {
    int saved = errno;
    if (result == 0 && command != F_TEST) {
        record_changed(fd, command == F_ULOCK);
    }
    errno = saved;
    return result;
}

int wrap_lockf(int fd, int command, off_t length) {
    sibling_yield(fd);
    return lockf_any(fd, command, real.lockf(fd, command, length));
}

int wrap_lockf64(int fd, int command, int64_t length) {
    sibling_yield(fd);
    return lockf_any(fd, command, real.lockf64(fd, command, length));
}
