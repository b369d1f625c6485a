#include "shim/hidden.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/observe.h"
#include "shim/say.h"
#include "shim/trace.h"

#define PLACES 16 /* at the top, for the twins of 0 to 2; fewer where all are few */

/* Real-time signals that nobody gives to F_SETSIG for long. */
#define MARK_STDIO 61
#define MARK_ALL 60
#define MARK_NONE 59

static const struct sidecar_id NO_ID;

/* Whether a hold may have another mark than that of inherit=stdio. */
static atomic_bool marks_differ;

static int soft_limit(void) {
    struct rlimit limit;
    if (SYS_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit, 0, 0) < 0 ||
        limit.rlim_cur > HIDDEN_END) {
        return HIDDEN_END;
    }
    return (int)limit.rlim_cur;
}

/* What the limit was when it was last asked for; 0: never. A program that has
 * lowered it since is noticed when a number turns out to be too high. */
static _Atomic int known_limit;

static int end_of_block(int limit) {
    return limit - (limit >= 8 * PLACES ? PLACES : 4);
}

static int block_size(int limit) {
    return limit / 16 > 0 ? limit / 16 : 1;
}

/* A number of the highest block, as nearly always; -1 for anything else. */
static int duplicate_highest(int from) {
    int limit = atomic_load_explicit(&known_limit, memory_order_relaxed);
    if (limit == 0) {
        return -1;
    }
    int end = end_of_block(limit);
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, end - block_size(limit));
    if (fd >= end) {
        (void)sys_close(fd);
    }
    return fd < end ? fd : -1;
}

/* The lowest free number of the highest block that has one, under the places
 * for stdio; then any other number. */
static int duplicate_high(int from) {
    int quick = duplicate_highest(from);
    if (quick >= 0) {
        return quick;
    }
    int limit = soft_limit();
    atomic_store_explicit(&known_limit, limit, memory_order_relaxed);
    int end = end_of_block(limit), block = block_size(limit);
    for (int low = end - block; low > limit / 2; low -= block) {
        int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
        if (fd >= 0 && fd < end) {
            return fd;
        }
        if (fd >= 0) {
            (void)sys_close(fd);
        } else if (fd != -EMFILE && fd != -EINVAL) {
            return fd;
        }
    }
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, limit);
    for (int low = limit / 2; fd < 0 && low > HIDDEN_STDIO; low /= 2) {
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    }
    return fd;
}

int hidden_make(int from, enum table_mode mode, struct sidecar_id id) {
    struct gate gate = gate_enter();
    int fd = duplicate_high(from);
    table_word before;
    if (fd >= 0 && !table_put(fd, TABLE_HIDDEN, mode, table_transit(), id, &before)) {
        (void)sys_close(fd);
        fd = -ENOMEM;
    }
    gate_leave(gate);
    return fd;
}

bool hidden_is_ours(int fd, table_word word) {
    struct sidecar_id id;
    struct sys_stat stat;
    if (!table_id(fd, word, &id) || sys_fstat(fd, &stat) < 0) {
        return false;
    }
    return table_mode(word) == MODE_NOTHING || sidecar_same(sidecar_id_of(&stat), id);
}

static void close_word(int fd, table_word word) {
    if (hidden_is_ours(fd, word)) {
        trace_closing(fd);
        observe_closing(fd);
        (void)sys_close(fd);
    }
    (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
}

void hidden_close(int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_HIDDEN) {
        close_word(fd, word);
    }
}

void hidden_release(int fd, int program_fd) {
    table_word word = table_get(fd);
    if (table_serves(word) == program_fd) {
        close_word(fd, word);
    }
}

void hidden_heal(int fd, table_word word) {
    if (!hidden_is_ours(fd, word)) {
        (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
    }
}

int hidden_find_marked(struct sidecar_id id, int other) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id held;
        if (table_other(word) == other && table_id(fd, word, &held) && sidecar_same(id, held)) {
            return fd;
        }
    }
    return -1;
}

static void change(int fd, enum table_mode mode, int other) {
    table_word word = table_get(fd);
    struct sidecar_id id;
    if (table_kind(word) == TABLE_HIDDEN && table_id(fd, word, &id)) {
        (void)table_change(fd, word, TABLE_HIDDEN, mode, other, id);
    }
}

void hidden_set_mode(int fd, enum table_mode mode) {
    change(fd, mode, table_other(table_get(fd)));
}

void hidden_mark(int fd, int other) {
    change(fd, table_mode(table_get(fd)), other);
}

void hidden_set_inherit(int fd, enum rule_inherit inherit) {
    if (inherit != INHERIT_STDIO) {
        atomic_store_explicit(&marks_differ, true, memory_order_relaxed);
        (void)sys_fcntl(fd, F_SETSIG, inherit == INHERIT_ALL ? MARK_ALL : MARK_NONE);
    }
}

enum rule_inherit hidden_inherit(int fd) {
    if (!atomic_load_explicit(&marks_differ, memory_order_relaxed)) {
        return INHERIT_STDIO;
    }
    int mark = sys_fcntl(fd, F_GETSIG, 0);
    return mark == MARK_ALL ? INHERIT_ALL : mark == MARK_NONE ? INHERIT_NONE : INHERIT_STDIO;
}

bool hidden_is_marked(int fd, enum rule_inherit *ret_inherit) {
    int mark = sys_fcntl(fd, F_GETSIG, 0);
    if (mark != MARK_STDIO && mark != MARK_ALL && mark != MARK_NONE) {
        return false;
    }
    if (mark != MARK_STDIO) {
        atomic_store_explicit(&marks_differ, true, memory_order_relaxed);
    }
    *ret_inherit = hidden_inherit(fd);
    return true;
}

/* A duplicate at a number that says whom it serves. Never onto a number that
 * is in use: F_DUPFD gives another then. */
static int duplicate_to_place(int from, int program_fd) {
    int limit = soft_limit();
    int place = limit - 1;
    while (HIDDEN_PLACE(place) != program_fd) {
        place--;
    }
    for (; place > limit / 2; place -= 4) {
        int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, place);
        if (fd == place) {
            return fd;
        }
        if (fd >= 0) {
            (void)sys_close(fd);
        } else if (fd != -EMFILE && fd != -EINVAL) {
            return fd;
        }
    }
    return -EMFILE;
}

/* What the twin's own flag has to be. */
static bool keeps_over_exec(int program_fd, bool close_on_exec, enum rule_inherit inherit) {
    return !close_on_exec &&
           (inherit == INHERIT_ALL || (inherit == INHERIT_STDIO && program_fd < HIDDEN_STDIO));
}

static void set_close_on_exec(int fd, bool close_on_exec) {
    (void)sys_fcntl(fd, F_SETFD, close_on_exec ? FD_CLOEXEC : 0);
}

static bool has_place(int program_fd, enum rule_inherit inherit) {
    return inherit == INHERIT_STDIO && program_fd >= 0 && program_fd < HIDDEN_STDIO;
}

bool hidden_survives_exec(int fd, int for_fd) {
    return keeps_over_exec(for_fd, false, hidden_inherit(fd));
}

int hidden_another(int fd, int for_fd) {
    table_word word = table_get(fd), before;
    struct sidecar_id id;
    if (table_kind(word) != TABLE_HIDDEN || !table_id(fd, word, &id) || !hidden_is_ours(fd, word)) {
        return -EBADF;
    }
    int copy = -1;
    struct gate gate = gate_enter();
    if (has_place(for_fd, hidden_inherit(fd))) {
        (void)sys_fcntl(fd, F_SETSIG, MARK_STDIO);
        copy = duplicate_to_place(fd, for_fd);
        if (copy >= 0 &&
            !table_put(copy, TABLE_HIDDEN, table_mode(word), table_transit(), id, &before)) {
            (void)sys_close(copy);
            copy = -ENOMEM;
        }
    }
    gate_leave(gate);
    return copy >= 0 ? copy : hidden_make(fd, table_mode(word), id);
}

/* A copy in the place for program_fd, in the table as its twin; or an error:
 * then the hold still survives exec, and is found by the file's name. */
static int make_placed(int from, table_word word, int program_fd) {
    table_word before;
    struct sidecar_id id;
    if (!table_id(from, word, &id)) {
        return -ENOENT;
    }
    int fd = duplicate_to_place(from, program_fd);
    if (fd >= 0 && !table_put(fd, TABLE_HIDDEN, table_mode(word), program_fd, id, &before)) {
        (void)sys_close(fd);
        return -ENOMEM;
    }
    return fd;
}

int hidden_serve(int fd, int program_fd, bool close_on_exec) {
    struct gate gate = gate_enter();
    enum rule_inherit inherit = hidden_inherit(fd);
    int twin = -1;
    if (has_place(program_fd, inherit)) {
        (void)sys_fcntl(fd, F_SETSIG, MARK_STDIO);
        twin = make_placed(fd, table_get(fd), program_fd);
    }
    if (twin >= 0) {
        hidden_close(fd);
    } else {
        twin = fd;
        change(fd, table_mode(table_get(fd)), program_fd);
    }
    if (keeps_over_exec(program_fd, close_on_exec, inherit)) {
        set_close_on_exec(twin, false);
    }
    gate_leave(gate);
    return twin;
}

void hidden_follow(int fd, int program_fd, bool close_on_exec) {
    enum rule_inherit inherit = hidden_inherit(fd);
    if (program_fd < HIDDEN_STDIO || inherit == INHERIT_ALL) {
        set_close_on_exec(fd, !keeps_over_exec(program_fd, close_on_exec, inherit));
    }
}

/* There is no number for it any more. A mapping keeps the lock without one, to
 * the end of the process: rather too long than not long enough. */
static void keep_without_number(int fd) {
    (void)sys_map_file(fd);
    TEXT(line, 256);
    text_put(&line, "no descriptor is left; a lock stays until this process ends; raise the limit "
                    "on open files (ulimit -n)");
    say(&line);
}

static int make_moved(int fd, table_word word, int flags) {
    struct sidecar_id id;
    int program_fd = table_serves(word), moved = -1;
    if (!table_id(fd, word, &id)) {
        return -ENOENT;
    }
    if (program_fd >= 0 && program_fd < HIDDEN_STDIO) {
        moved = make_placed(fd, word, program_fd);
    }
    if (moved < 0) {
        moved = hidden_make(fd, table_mode(word), id);
        if (moved >= 0) {
            change(moved, table_mode(word), table_other(word));
        }
    }
    if (moved >= 0 && !(flags & FD_CLOEXEC)) {
        set_close_on_exec(moved, false);
    }
    return moved;
}

void hidden_move_away(int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_HIDDEN) {
        return;
    }
    struct gate gate = gate_enter();
    int program_fd = table_serves(word);
    int flags = sys_fcntl(fd, F_GETFD, 0);
    if (flags >= 0 && hidden_is_ours(fd, word)) {
        int moved = make_moved(fd, word, flags);
        if (moved < 0) {
            keep_without_number(fd);
        } else if (program_fd >= 0) {
            table_word served = table_get(program_fd);
            if (table_kind(served) != TABLE_DATA || table_other(served) != fd ||
                !table_change(program_fd, served, TABLE_DATA, table_mode(served), moved, NO_ID)) {
                hidden_close(moved); /* it was released meanwhile */
            }
        }
        (void)sys_close(fd);
    }
    (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
    gate_leave(gate);
}

int hidden_find(struct sidecar_id id, int except, table_word *ret_word) {
    int found = -1;
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (fd == except || table_mode(word) == MODE_NOTHING || !table_id(fd, word, &other) ||
            !sidecar_same(id, other)) {
            continue;
        }
        if (found < 0 || table_mode(word) > table_mode(*ret_word)) {
            /* What threads of our parent have opened since we were vforked is
             * in the table that we share, but we do not have it. */
            if (table_is_foreign() && !hidden_is_ours(fd, word)) {
                continue;
            }
            found = fd;
            *ret_word = word;
        }
    }
    return found;
}
