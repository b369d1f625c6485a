#include "shim/hidden.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/joined.h"
#include "shim/number.h"
#include "shim/numberless.h"
#include "shim/observe.h"
#include "shim/record.h"
#include "shim/soft.h"
#include "shim/spin.h"
#include "shim/trace.h"

#define MOVE_ATTEMPTS 10000 /* at a number that another thread is closing */

static const struct sidecar_id NO_ID;

/* A new number, or an error, which is passed on. */
static int put_in_transit(int fd, enum table_mode mode, struct sidecar_id id) {
    table_word before;
    if (fd >= 0 && !table_put(fd, TABLE_HIDDEN, mode, table_transit(), id, &before)) {
        (void)sys_close(fd);
        return -ENOMEM;
    }
    return fd;
}

int hidden_make(int from, enum table_mode mode, struct sidecar_id id) {
    struct gate gate = gate_enter();
    int fd = put_in_transit(number_high(from), mode, id);
    gate_leave(gate);
    return fd;
}

/* What has no sidecar is a directory in use or the like: O_PATH must do. */
static bool is_file(int fd, struct sidecar_id id) {
    if (sidecar_same(id, NO_ID)) {
        int flags = sys_fcntl(fd, F_GETFL, 0);
        return flags >= 0 && flags & O_PATH;
    }
    return sidecar_is(fd, id);
}

bool hidden_is_ours(int fd, table_word word) {
    struct sidecar_id id;
    return table_id(fd, word, &id) && is_file(fd, id);
}

/* fd has just been duplicated from `from`. Another thread may have closed that
 * and a third have got the number for a lock that it still waits for. A word
 * changes before its number is free (claim), so one that is the same after the
 * duplication was true of what was duplicated. */
static int put_copy(int fd, int from, table_word word, enum table_mode mode, struct sidecar_id id) {
    struct soft_section section = soft_enter(); /* not while the last one is released */
    if (fd >= 0 && (table_get(from) != word || !is_file(fd, id))) {
        (void)sys_close(fd);
        fd = -EBADF;
    }
    fd = put_in_transit(fd, mode, id);
    soft_leave(section);
    return fd;
}

/* One that was left for the sake of record locks, if there is one: of our descriptions of
 * the sidecar only one is locked. */
static int copy_left(int from, table_word word, enum table_mode mode, struct sidecar_id id) {
    bool may = table_kind(word) == TABLE_HIDDEN && table_is_locked(word);
    int fd = may ? record_take_left(id, true, mode) : -1;
    if (fd >= 0 && fd != from && table_get(from) != word) {
        hidden_close(fd);
        fd = -EBADF;
    }
    return fd == -1 ? -ENOENT : fd;
}

int hidden_copy(int from, table_word word, enum table_mode mode, struct sidecar_id id) {
    struct gate gate = gate_enter();
    int fd = copy_left(from, word, mode, id);
    fd = fd != -ENOENT ? fd : put_copy(number_high(from), from, word, mode, id);
    gate_leave(gate);
    return fd;
}

/* A child has no part in a soft lock of its parent, whose table it sees. */
bool hidden_is_here(int fd) {
    table_word word = table_get(fd);
    enum rule_inherit ignored;
    return table_kind(word) == TABLE_HIDDEN &&
           (!table_is_foreign() || (hidden_is_ours(fd, word) &&
                                    (!hidden_is_soft(fd, &ignored) || hidden_is_own_soft(fd))));
}

/* Makes it ours alone to close or move, if it still is `other`'s (and its mode
 * may change meanwhile). *ret_before: the word that it had. */
static bool claim(int fd, int other, table_word *ret_before) {
    for (;;) {
        table_word word = table_get(fd);
        struct sidecar_id id;
        if (table_kind(word) != TABLE_HIDDEN || table_other(word) != other ||
            table_mode(word) == MODE_CLOSING) {
            return false;
        }
        bool same = table_id(fd, word, &id);
        *ret_before = word;
        if (same && (table_change(fd, word, TABLE_HIDDEN, MODE_CLOSING, table_transit(), id) ||
                     table_get(fd) == word)) { /* a vforked child without memory */
            return true;
        }
    }
}

static void close_claimed(int fd, table_word before) {
    soft_closing(fd, before);
    if (record_leave(fd, before)) {
        return;
    }
    table_word word = table_get(fd);
    if (hidden_is_ours(fd, word)) {
        trace_closing(fd, table_mode(before));
        observe_closing(fd);
        (void)sys_close(fd);
    }
    (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
}

/* Behind the gate: fork copies the descriptors before it copies the memory. One
 * that was closed in between the child would have, and know nothing of. */
static void close_of(int fd, int other) {
    table_word before;
    struct gate gate = gate_enter();
    /* A handler in between that opens the same file would wait for what its own
     * thread is closing. */
    signal_set blocked = signals_mask(SIGNALS_ALL);
    if (claim(fd, other, &before)) {
        close_claimed(fd, before);
    }
    (void)signals_mask(blocked);
    gate_leave(gate);
    record_sweep();
    joined_settle();
}

void hidden_close(int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_HIDDEN) {
        close_of(fd, table_other(word));
    }
}

void hidden_release(int fd, int program_fd) {
    if (table_serves(table_get(fd)) == program_fd) {
        close_of(fd, program_fd);
    }
}

void hidden_close_orphan(int fd) {
    table_word word = table_get(fd);
    struct gate gate = gate_enter();
    if (table_kind(word) == TABLE_HIDDEN) {
        (void)claim(fd, table_other(word), &word); /* another thread may be duplicating it */
        close_claimed(fd, word);
    }
    gate_leave(gate);
}

void hidden_heal(int fd, table_word word) {
    if (!hidden_is_ours(fd, word)) {
        (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
    }
}

/* The owner's: the mode alone may be changed by somebody else meanwhile. */
static void give_to(int fd, int other) {
    table_word word;
    struct sidecar_id id;
    do {
        word = table_get(fd);
    } while (table_kind(word) == TABLE_HIDDEN && table_mode(word) != MODE_CLOSING &&
             table_id(fd, word, &id) &&
             !table_change(fd, word, TABLE_HIDDEN, table_mode(word), other, id) &&
             table_get(fd) != word);
}

void hidden_mark(int fd, int other) {
    give_to(fd, other);
    record_keep_over_exec(fd);
}

void hidden_set_mode(int fd, enum table_mode mode) {
    table_word word;
    struct sidecar_id id;
    do {
        word = table_get(fd);
    } while (table_kind(word) == TABLE_HIDDEN && table_mode(word) != MODE_CLOSING &&
             table_id(fd, word, &id) &&
             !table_change(fd, word, TABLE_HIDDEN, mode, table_other(word), id) &&
             table_get(fd) != word);
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
    int copy = -EBADF;
    struct gate gate = gate_enter();
    for (table_word word = 0; copy == -EBADF && table_get(fd) != word;) {
        struct sidecar_id id;
        word = table_get(fd);
        if (table_kind(word) != TABLE_HIDDEN || table_mode(word) == MODE_CLOSING) {
            break;
        }
        if (!table_id(fd, word, &id)) {
            word = 0; /* it has changed meanwhile, as it may have in the copy */
            continue;
        }
        if (has_place(for_fd, hidden_inherit(fd)) && !record_any()) {
            hidden_mark_stdio(fd);
            copy = put_copy(number_at_place(fd, for_fd), fd, word, table_mode(word), id);
        }
        if (copy < 0) {
            copy = hidden_copy(fd, word, table_mode(word), id);
        }
    }
    gate_leave(gate);
    return copy;
}

/* A copy in the place for program_fd, in the table as its twin; or an error:
 * then the hold still survives exec, and is found by the file's name. */
static int make_placed(int from, enum table_mode mode, struct sidecar_id id, int program_fd) {
    table_word before;
    int fd = number_at_place(from, program_fd);
    if (fd >= 0 && !table_put(fd, TABLE_HIDDEN, mode, program_fd, id, &before)) {
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
        table_word word = table_get(fd);
        struct sidecar_id id;
        hidden_mark_stdio(fd);
        if (!record_any() && table_id(fd, word, &id)) {
            twin = make_placed(fd, table_mode(word), id, program_fd);
        }
    }
    if (twin >= 0) {
        hidden_close(fd);
    } else {
        twin = fd;
        give_to(fd, program_fd);
    }
    if (keeps_over_exec(program_fd, close_on_exec, inherit)) {
        set_close_on_exec(twin, false);
    }
    record_keep_over_exec(twin);
    gate_leave(gate);
    return twin;
}

void hidden_follow(int fd, int program_fd, bool close_on_exec) {
    enum rule_inherit inherit = hidden_inherit(fd);
    if (program_fd < HIDDEN_STDIO || inherit == INHERIT_ALL) {
        set_close_on_exec(fd, !keeps_over_exec(program_fd, close_on_exec, inherit));
        record_keep_over_exec(fd);
    }
}

void hidden_follow_served(int fd) {
    int served = table_serves(table_get(fd));
    int flags = served < 0 ? -1 : sys_fcntl(served, F_GETFD, 0);
    bool close_on_exec = flags < 0 || flags & FD_CLOEXEC;
    set_close_on_exec(fd, !keeps_over_exec(served, close_on_exec, hidden_inherit(fd)));
}

void hidden_keep_over_exec(int fd) {
    hidden_mark_stdio(fd);
    set_close_on_exec(fd, false);
}

/* `word`: as it was before it was claimed. */
static int make_moved(int fd, table_word word, struct sidecar_id id, int flags) {
    int program_fd = table_serves(word), moved = -1;
    if (program_fd >= 0 && program_fd < HIDDEN_STDIO && !record_any()) {
        moved = make_placed(fd, table_mode(word), id, program_fd);
    }
    if (moved < 0) {
        moved = hidden_make(fd, table_mode(word), id);
        if (moved >= 0) {
            give_to(moved, table_other(word));
        }
    }
    if (moved >= 0 && !(flags & FD_CLOEXEC)) {
        set_close_on_exec(moved, false);
    }
    return moved;
}

/* The word of the program's descriptor leads to the new number. False when that
 * has been released meanwhile. */
static bool lead_to_moved(int program_fd, int from, int moved) {
    for (;;) {
        table_word served = table_get(program_fd);
        if (table_kind(served) != TABLE_DATA || table_other(served) != from) {
            return false;
        }
        if (table_change(program_fd, served, TABLE_DATA, table_mode(served), moved, NO_ID)) {
            return true;
        }
        if (table_get(program_fd) == served) { /* a vforked child without memory */
            return false;
        }
    }
}

static void move_claimed(int fd, table_word before) {
    table_word claimed = table_get(fd);
    int program_fd = table_serves(before);
    int flags = sys_fcntl(fd, F_GETFD, 0);
    struct sidecar_id id;
    if (flags >= 0 && hidden_is_ours(fd, claimed) && table_id(fd, claimed, &id)) {
        int moved = make_moved(fd, before, id, flags);
        if (moved < 0) {
            numberless_keep(fd, table_mode(before), id);
        } else if (program_fd >= 0 && !lead_to_moved(program_fd, fd, moved)) {
            hidden_close(moved);
        }
        (void)sys_close(fd);
    }
    (void)table_change(fd, claimed, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
}

void hidden_move_away(int fd) {
    for (int i = 0; i < MOVE_ATTEMPTS; i++) {
        table_word before = table_get(fd);
        if (!hidden_is_here(fd)) {
            return;
        }
        struct gate gate = gate_enter();
        /* A handler in between would find a reference that leads nowhere. */
        signal_set blocked = signals_mask(SIGNALS_ALL);
        struct soft_section section = soft_enter(); /* nor may it be missed as the last */
        bool ours = claim(fd, table_other(before), &before);
        if (ours) {
            move_claimed(fd, before);
        }
        soft_leave(section);
        (void)signals_mask(blocked);
        gate_leave(gate);
        if (ours) {
            return;
        }
        /* Another thread is closing it. */
        spin_pause(i);
    }
}
