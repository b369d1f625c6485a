#include "shim/program.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "lib/sys_linux.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/proclocks.h"
#include "shim/reference.h"
#include "shim/sibling.h"

/* The next one that has this sidecar locked. */
static int next(int below, struct sidecar_id id, table_word *ret_word) {
    for (int fd = table_previous(TABLE_PROGRAM, below); fd >= 0;
         fd = table_previous(TABLE_PROGRAM, fd)) {
        struct sidecar_id other;
        *ret_word = table_get(fd);
        if (table_is_program_lock(*ret_word) && table_id(fd, *ret_word, &other) &&
            sidecar_same(id, other)) {
            return fd;
        }
    }
    return -1;
}

bool program_has_it(int except, struct sidecar_id id) {
    table_word word;
    int fd = next(TABLE_NOBODY, id, &word);
    return fd >= 0 && (fd != except || next(fd, id, &word) >= 0);
}

int program_find(struct sidecar_id id, bool exclusive) {
    table_word word;
    int fd = next(TABLE_NOBODY, id, &word);
    while (fd >= 0 && exclusive && table_mode(word) != MODE_EXCLUSIVE) {
        fd = next(fd, id, &word);
    }
    return fd;
}

int program_share(int fd, struct sidecar_id id) {
    /* It may be a hidden descriptor that another thread has just made, found
     * before it was in the table. */
    table_word word = table_get(fd);
    bool known = table_is_program_lock(word) && table_mode(word) == MODE_EXCLUSIVE;
    if (table_kind(word) == TABLE_HIDDEN || table_kind(word) == TABLE_DATA ||
        table_mode(word) == MODE_CLOSING || !sidecar_is(fd, id)) {
        return -EAGAIN;
    }
    int twin = hidden_copy(fd, word, MODE_WAITING, id);
    if (twin < 0) {
        return twin == -EBADF ? -EAGAIN : twin;
    }
    hidden_mark_program(twin);
    if (((!known || gate_has_threads()) && proclocks_of_descriptor(twin) != LOCK_IS_EXCLUSIVE) ||
        (!known && !table_change(fd, word, TABLE_PROGRAM, MODE_EXCLUSIVE, TABLE_NOBODY, id))) {
        hidden_close(twin);
        return -EAGAIN;
    }
    hidden_set_mode(twin, MODE_EXCLUSIVE);
    return twin;
}

void program_join_all(int own, struct sidecar_id id) {
    table_word word;
    for (int fd = next(TABLE_NOBODY, id, &word); fd >= 0; fd = next(fd, id, &word)) {
        int flags = sys_fcntl(fd, F_GETFD, 0);
        int twin = table_mode(word) == MODE_SHARED && flags >= 0
                       ? hidden_copy(own, table_get(own), MODE_SHARED, id)
                       : -1;
        if (twin >= 0) {
            (void)sibling_keep_out(fd, LOCK_SH | LOCK_NB, PAIR_JOINED);
            (void)sys_flock(fd, LOCK_UN);
            reference_set(fd, twin, flags & FD_CLOEXEC);
        }
    }
}
