#include "shim/reference.h"

#include <errno.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/handover.h"
#include "shim/hidden.h"
#include "shim/record.h"
#include "shim/say.h"
#include "shim/spin.h"
#include "shim/wait.h"

#define MOVE_ATTEMPTS 10000 /* at a twin that another thread moves or closes */

static const struct sidecar_id NO_ID;

/* What stood in a word that is no longer there. */
static void forget(int fd, table_word word) {
    if (table_kind(word) == TABLE_DATA) {
        handover_before_release(table_other(word), fd);
        hidden_release(table_other(word), fd);
        return;
    }
    if (table_kind(word) == TABLE_PROGRAM) {
        wait_wake(); /* another thread may share now what this one kept from it */
        record_sweep();
        return;
    }
    int served_fd = table_serves(word);
    if (served_fd >= 0) {
        /* Ours was closed by somebody; the descriptor that it served has no
         * hold any more, and its word must not lead here. */
        table_word served = table_get(served_fd);
        if (table_kind(served) == TABLE_DATA && table_other(served) == fd) {
            (void)table_change(served_fd, served, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
        }
    }
}

void reference_set(int fd, int twin, bool close_on_exec) {
    table_word before;
    if (twin < 0) {
        reference_heal(fd);
        return;
    }
    if (table_has_records(table_get(fd)) && !record_is_still(fd)) {
        reference_heal(fd);
    }
    struct gate gate = gate_enter();
    twin = hidden_serve(twin, fd, close_on_exec);
    if (table_put(fd, TABLE_DATA, MODE_NOTHING, twin, NO_ID, &before)) {
        if (table_kind(before) != TABLE_DATA || table_other(before) != twin) {
            forget(fd, before);
        }
    } else { /* no memory: the hold lasts to the end of the process */
        hidden_mark(twin, TABLE_KEPT);
    }
    gate_leave(gate);
}

table_word reference_closing(int fd, table_word word) {
    while (table_mode(word) != MODE_CLOSING &&
           (table_kind(word) == TABLE_DATA || table_is_program_lock(word))) {
        struct sidecar_id id = NO_ID;
        if ((table_kind(word) == TABLE_DATA || table_id(fd, word, &id)) &&
            table_change(fd, word, table_kind(word), MODE_CLOSING, table_other(word), id)) {
            return table_get(fd);
        }
        table_word now = table_get(fd);
        if (now == word) {
            break; /* a vforked child whose overlay is full */
        }
        word = now;
    }
    return word;
}

void reference_drop(int fd, table_word word) {
    while (table_kind(word) != TABLE_NONE && table_kind(word) != TABLE_HIDDEN) {
        if (table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID)) {
            forget(fd, word);
            return;
        }
        table_word now = table_get(fd);
        if (now == word) {
            /* A vforked child whose overlay is full: what is closed needs no
             * entry. */
            forget(fd, word);
            return;
        }
        /* Another thread has got the number as new, and has done it (and may be
         * closing it again by now); or, which is one change, the twin has been
         * moved away meanwhile, and it still is to be done. */
        if (table_kind(now) != TABLE_DATA || table_mode(now) != MODE_CLOSING ||
            table_changes(word, now) != 1) {
            return;
        }
        word = now;
    }
}

void reference_unlocked(int fd, table_word word) {
    struct sidecar_id id;
    if (!table_has_records(word)) {
        reference_drop(fd, word);
    } else if (table_id(fd, word, &id) &&
               table_change(fd, word, TABLE_PROGRAM, MODE_NOTHING, TABLE_NOBODY, id)) {
        forget(fd, word);
    }
}

void reference_heal(int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_NONE &&
        table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID)) {
        forget(fd, word);
    }
}

/* Whether another thread has moved the twin of fd meanwhile, which had `word`, or
 * is about to. */
static bool is_moving(int fd, table_word word, int turn) {
    if (table_get(fd) != word) {
        return true;
    }
    table_word twin = table_get(table_other(word));
    if (table_kind(twin) != TABLE_HIDDEN || table_mode(twin) != MODE_CLOSING) {
        return false;
    }
    spin_pause(turn);
    return true;
}

int reference_another_twin(int fd) {
    int another = -EBADF;
    for (int i = 0; another == -EBADF && i < MOVE_ATTEMPTS; i++) {
        table_word word = table_get(fd);
        if (table_kind(word) != TABLE_DATA) {
            return -1;
        }
        another = hidden_another(table_other(word), -1);
        if (another == -EBADF && !is_moving(fd, word, i)) {
            break;
        }
    }
    if (another == -EBADF) { /* closed behind our back, or just now */
        return -1;
    }
    if (another < 0) {
        TEXT(line, 256);
        text_put(&line, "a duplicate of a locked file's descriptor goes unlocked: ");
        text_put(&line, say_error(-another) ? say_error(-another) : "no descriptor left");
        text_put(&line, "; raise the limit on open files (ulimit -n)");
        say(&line);
    }
    return another;
}

void reference_close_on_exec(int fd, bool close_on_exec) {
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_DATA) {
        hidden_follow(table_other(word), fd, close_on_exec);
    }
    if (table_has_records(word)) {
        record_close_on_exec(fd);
    }
}
