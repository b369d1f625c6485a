#include "shim/record.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/proclines.h"
#include "shim/real.h"
#include "shim/scratch.h"
#include "shim/sibling.h"
#include "shim/start.h"
#include "shim/target.h"
#include "shim/wrap.h"

static const struct sidecar_id NO_ID;

/* Record locks on some sidecar, or descriptors that were left. */
static atomic_bool any;

/* Whether children may share descriptions of ours. */
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

static void locked(int fd) {
    struct sys_stat stat;
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_NONE && is_sidecar(fd) && sys_fstat(fd, &stat) == 0) {
        atomic_store_explicit(&any, true, memory_order_relaxed);
        (void)table_change(fd, word, TABLE_PROGRAM, MODE_RECORDS, TABLE_NOBODY,
                           sidecar_id_of(&stat));
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
    if (table_kind(word) == TABLE_PROGRAM && table_mode(word) == MODE_RECORDS && !has_records(fd)) {
        (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
        record_sweep();
    }
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
    if (!shim_is_active() || start_config.observe || table_is_foreign()) {
        return;
    }
    if (!unlock) {
        locked(fd);
    } else if (record_any()) {
        unlocked(fd);
    }
}

static int find(struct sidecar_id id) {
    for (int fd = table_previous(TABLE_PROGRAM, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (table_mode(word) == MODE_RECORDS && table_id(fd, word, &other) &&
            sidecar_same(id, other)) {
            return fd;
        }
    }
    return -1;
}

int record_find(int directory, const char *sidecar, struct sidecar_id *ret_id) {
    struct sys_stat stat;
    if (!record_any() || sys_stat(directory, sidecar, AT_SYMLINK_NOFOLLOW, &stat) < 0) {
        return -1;
    }
    *ret_id = sidecar_id_of(&stat);
    return find(*ret_id);
}

bool record_leave(int fd, table_word before) {
    struct sidecar_id id;
    table_word word = table_get(fd);
    if (!record_any() || table_mode(before) == MODE_NOTHING || !table_id(fd, word, &id) ||
        find(id) < 0) {
        return false;
    }
    enum table_mode mode = table_is_locked(before) ? table_mode(before) : MODE_NOTHING;
    return table_change(fd, word, TABLE_HIDDEN, mode, TABLE_LEFT, id);
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
        if (table_other(word) != TABLE_LEFT || !table_id(fd, word, &id)) {
            continue;
        }
        if (find(id) < 0 && !is_in_use(id)) {
            give_back(fd, word, id);
        } else {
            left = true;
        }
    }
    for (int fd = table_previous(TABLE_PROGRAM, TABLE_NOBODY); fd >= 0 && !left;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        left = table_mode(table_get(fd)) == MODE_RECORDS;
    }
    atomic_store_explicit(&any, left, memory_order_relaxed);
    gate_leave(gate);
}

void record_before_fork(void) {
    if (record_any()) {
        atomic_store_explicit(&has_forked, true, memory_order_relaxed);
    }
}

void record_after_fork(void) {
    if (!record_any()) {
        return;
    }
    atomic_store_explicit(&has_forked, true, memory_order_relaxed); /* so is our parent's */
    for (int fd = table_previous(TABLE_PROGRAM, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        table_word word = table_get(fd);
        if (table_mode(word) == MODE_RECORDS) {
            (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
        }
    }
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
