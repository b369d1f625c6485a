/* The hidden descriptors of one sidecar, in the table. */
#include "shim/hidden.h"

int hidden_find(struct sidecar_id id, int except, table_word *ret_word) {
    int found = -1;
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (fd == except || table_mode(word) == MODE_NOTHING || table_mode(word) == MODE_CLOSING ||
            !table_id(fd, word, &other) || !sidecar_same(id, other)) {
            continue;
        }
        if (found < 0 || table_mode(word) > table_mode(*ret_word)) {
            if (table_is_foreign() && !hidden_is_ours(fd, word)) {
                continue; /* (hidden_is_here) */
            }
            found = fd;
            *ret_word = word;
        }
    }
    return found;
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

void hidden_set_modes(struct sidecar_id id, enum table_mode from, enum table_mode to) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (table_mode(word) == from && table_id(fd, word, &other) && sidecar_same(id, other)) {
            hidden_set_mode(fd, to);
        }
    }
}
