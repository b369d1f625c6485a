/*
 * What becomes of holds in the child of a fork (contract H5).
 */
#include "shim/belongs.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/record.h"
#include "shim/reference.h"

/* Whether what it served is closed, or about to be: a thread that is not here
 * was closing it. */
static bool is_gone(int hidden, int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_DATA || table_other(word) != hidden) {
        return true;
    }
    return table_mode(word) == MODE_CLOSING && belongs(hidden, fd) == BELONGS_NOT;
}

/* Of other threads, or not to be had by more than one process. */
static bool is_to_be_dropped(int fd, table_word word, bool had_others) {
    int served = table_serves(word);
    if (had_others && (served >= 0 ? is_gone(fd, served)
                                   : table_is_transit(word) && !table_is_own_transit(word))) {
        return true;
    }
    return hidden_inherit(fd) == INHERIT_NONE;
}

void hold_after_fork(bool had_others) {
    record_after_fork();
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        if (is_to_be_dropped(fd, word, had_others)) {
            int served = table_serves(word);
            if (served >= 0) {
                reference_drop(served, table_get(served));
            }
            hidden_close_orphan(fd);
        }
    }
}
