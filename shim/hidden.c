#include "shim/hidden.h"

#include <errno.h>
#include <sys/resource.h>

#include "lib/sys_linux.h"

#define HIGHEST 1024
#define BLOCK 64 /* numbers that are tried together */
#define STDIO 3  /* fixed places at the top, for descriptors 0 to 2 */
#define MARK 61  /* a real-time signal that nobody gives to F_SETSIG for long */

static const struct sidecar_id NO_ID;

static int soft_limit(void) {
    struct rlimit limit;
    if (SYS_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit, 0, 0) < 0 ||
        limit.rlim_cur > HIGHEST) {
        return HIGHEST;
    }
    return (int)limit.rlim_cur;
}

static bool is_open(int fd) {
    return sys_fcntl(fd, F_GETFD, 0) >= 0;
}

/* The lowest free number of the highest block that has one, under the places
 * for stdio; then any other number. */
static int duplicate_high(int from) {
    int limit = soft_limit();
    int end = limit - STDIO;
    for (int low = end - BLOCK; low > limit / 2; low -= BLOCK) {
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
    for (int low = limit / 2; fd < 0 && low > STDIO; low /= 2) {
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    }
    return fd;
}

int hidden_make(int from, enum table_mode mode, struct sidecar_id id) {
    int fd = duplicate_high(from);
    if (fd < 0) {
        return fd;
    }
    table_word before;
    if (!table_put(fd, TABLE_HIDDEN, mode, TABLE_NOBODY, id, &before)) {
        (void)sys_close(fd);
        return -ENOMEM;
    }
    return fd;
}

/* Somebody may have closed it with a raw system call and the number may be a
 * file of the program's by now. */
static bool still_ours(int fd, table_word word) {
    struct sidecar_id id;
    struct sys_stat stat;
    if (!table_id(fd, word, &id) || sys_fstat(fd, &stat) < 0) {
        return false;
    }
    return table_mode(word) == MODE_NOTHING || sidecar_same(sidecar_id_of(&stat), id);
}

void hidden_close(int fd) {
    table_word word = table_get(fd);
    if (table_kind(word) != TABLE_HIDDEN) {
        return;
    }
    if (still_ours(fd, word)) {
        (void)sys_close(fd);
    }
    (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
}

void hidden_mark(int fd, int other) {
    table_word word = table_get(fd);
    struct sidecar_id id;
    if (table_kind(word) == TABLE_HIDDEN && table_id(fd, word, &id)) {
        (void)table_change(fd, word, TABLE_HIDDEN, table_mode(word), other, id);
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

void hidden_set_mode(int fd, enum table_mode mode) {
    table_word word = table_get(fd);
    struct sidecar_id id;
    if (table_kind(word) == TABLE_HIDDEN && table_id(fd, word, &id)) {
        (void)table_change(fd, word, TABLE_HIDDEN, mode, table_other(word), id);
    }
}

static int place_of(int program_fd) {
    return soft_limit() - 1 - program_fd;
}

/* Whether the fixed place may be overwritten: free, or the last twin of this
 * same descriptor. */
static bool place_is_free(int place, int program_fd) {
    table_word word = table_get(place);
    if (table_kind(word) == TABLE_HIDDEN) {
        return table_other(word) == program_fd;
    }
    return !is_open(place);
}

int hidden_serve(int fd, int program_fd, bool close_on_exec) {
    table_word word = table_get(fd), before;
    struct sidecar_id id;
    if (!table_id(fd, word, &id)) {
        return fd;
    }
    if (program_fd >= STDIO) {
        (void)table_change(fd, word, TABLE_HIDDEN, table_mode(word), program_fd, id);
        return fd;
    }
    (void)sys_fcntl(fd, F_SETSIG, MARK);
    int place = place_of(program_fd);
    int flags = close_on_exec ? O_CLOEXEC : 0;
    if (place > fd && place_is_free(place, program_fd) && sys_dup3(fd, place, flags) >= 0 &&
        table_put(place, TABLE_HIDDEN, table_mode(word), program_fd, id, &before)) {
        hidden_close(fd);
        return place;
    }
    /* The program sits there itself. The hold still survives exec, but the
     * program after it will not find it and keeps it to its end. */
    (void)sys_fcntl(fd, F_SETFD, close_on_exec ? FD_CLOEXEC : 0);
    (void)table_change(fd, word, TABLE_HIDDEN, table_mode(word), program_fd, id);
    return fd;
}

void hidden_move_away(int fd) {
    table_word word = table_get(fd), served;
    struct sidecar_id id;
    if (table_kind(word) != TABLE_HIDDEN || !table_id(fd, word, &id)) {
        return;
    }
    int flags = sys_fcntl(fd, F_GETFD, 0);
    int moved = hidden_make(fd, table_mode(word), id);
    if (moved < 0) {
        return; /* no number left: the hold ends, the program gets its number */
    }
    if (!(flags & FD_CLOEXEC)) {
        (void)sys_fcntl(moved, F_SETFD, 0);
    }
    int program_fd = table_other(word);
    if (!table_is_number(program_fd)) {
        hidden_mark(moved, program_fd);
    } else {
        served = table_get(program_fd);
        table_word now = table_get(moved);
        if (table_kind(served) != TABLE_DATA || table_other(served) != fd ||
            !table_change(moved, now, TABLE_HIDDEN, table_mode(word), program_fd, id) ||
            !table_change(program_fd, served, TABLE_DATA, table_mode(served), moved, id)) {
            hidden_close(moved); /* it was released meanwhile */
        }
    }
    (void)table_change(fd, word, TABLE_NONE, MODE_NOTHING, 0, NO_ID);
}

/* Under the shim a program may find the mark although its descriptor is no
 * file any more: popen of a program whose stdout was one. */
static void pick_up(int place, int program_fd) {
    if (sys_fcntl(place, F_GETSIG, 0) != MARK) {
        return;
    }
    struct sys_stat sidecar, data;
    if (sys_fstat(place, &sidecar) < 0 || !S_ISREG(sidecar.mode)) {
        return;
    }
    if (sys_fstat(program_fd, &data) < 0 || !S_ISREG(data.mode)) {
        (void)sys_close(place);
        return;
    }
    struct sidecar_id id = sidecar_id_of(&sidecar);
    int access = sys_fcntl(program_fd, F_GETFL, 0);
    bool shared = access >= 0 && (access & O_ACCMODE) == O_RDONLY;
    /* A reader may hold it exclusively (readers=exclusive): asking for the
     * shared lock would give that up, asking for nothing is always right, and
     * an upgrade of what is exclusive already is harmless. */
    enum table_mode mode = shared ? MODE_SHARED : MODE_EXCLUSIVE;
    table_word before;
    if (table_put(place, TABLE_HIDDEN, mode, program_fd, id, &before)) {
        (void)table_put(program_fd, TABLE_DATA, mode, place, id, &before);
    }
}

void hidden_pick_up(void) {
    int limit = soft_limit();
    for (int fd = 0; fd < STDIO; fd++) {
        pick_up(HIGHEST - 1 - fd, fd);
        if (limit < HIGHEST) {
            pick_up(limit - 1 - fd, fd);
        }
    }
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
            found = fd;
            *ret_word = word;
        }
    }
    return found;
}
