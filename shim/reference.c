#include "shim/reference.h"

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/say.h"

static const struct sidecar_id NO_ID;

/* What stood in a word that is no longer there. */
static void forget(int fd, table_word word) {
    if (table_kind(word) == TABLE_DATA) {
        hidden_close(table_other(word));
    } else if (table_kind(word) == TABLE_HIDDEN && table_is_number(table_other(word))) {
        /* Ours was closed by somebody; the descriptor that it served has no
         * hold any more, and its word must not lead here. */
        table_word served = table_get(table_other(word));
        if (table_kind(served) == TABLE_DATA && table_other(served) == fd) {
            (void)table_change(table_other(word), served, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
        }
    }
}

void reference_set(int fd, int twin, bool close_on_exec) {
    table_word before;
    if (twin < 0) {
        reference_heal(fd);
        return;
    }
    twin = hidden_serve(twin, fd, close_on_exec);
    if (!table_put(fd, TABLE_DATA, MODE_NOTHING, twin, NO_ID, &before)) {
        return; /* no memory: the hold lasts to the end of the process */
    }
    if (table_kind(before) != TABLE_DATA || table_other(before) != twin) {
        forget(fd, before);
    }
}

void reference_drop(int fd, table_word word) {
    if (table_kind(word) == TABLE_NONE || table_kind(word) == TABLE_HIDDEN) {
        return;
    }
    if (table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID)) {
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

int reference_another_twin(table_word word) {
    struct sidecar_id id;
    if (table_kind(word) != TABLE_DATA) {
        return -1;
    }
    int twin = table_other(word);
    table_word held = table_get(twin);
    if (table_kind(held) != TABLE_HIDDEN || !table_id(twin, held, &id)) {
        return -1;
    }
    int another = hidden_make(twin, table_mode(held), id);
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
    if (fd <= 2 && table_kind(word) == TABLE_DATA) {
        (void)sys_fcntl(table_other(word), F_SETFD, close_on_exec ? FD_CLOEXEC : 0);
    }
}
