/*
 * close and the calls that close many: the real close first, then the hold.
 * Hidden descriptors are not there for the program: closing one succeeds and
 * does nothing (an error makes some programs loop for ever), ranges go around
 * them.
 */
#include <errno.h>
#include <limits.h>

#include "shim/close.h"
#include "shim/gate.h"
#include "shim/handover.h"
#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/wrap.h"

/* close_range(2) came with Linux 5.9; older headers lack the flag. */
#define RANGE_CLOSE_ON_EXEC 4

int close_any(int fd, int (*call)(int)) {
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_NONE) {
        int result = call(fd);
        handover_check();
        return result;
    }
    if (table_kind(word) == TABLE_HIDDEN) {
        return hidden_is_here(fd) ? 0 : call(fd);
    }
    bool before = table_settle();
    word = reference_closing(fd, word);
    int result = call(fd);
    reference_drop(fd, word);
    table_unsettle(before);
    return result;
}

int wrap_close(int fd) {
    return close_any(fd, real.close);
}

#ifdef __GLIBC__
int wrap___close(int fd) {
    return close_any(fd, real.__close);
}
#else
int wrap_posix_close(int fd, int flags) {
    (void)flags; /* musl has none */
    return close_any(fd, real.close);
}
#endif

static int as_number(unsigned fd) {
    return fd > INT_MAX - 1 ? INT_MAX - 1 : (int)fd;
}

/* Those of a range that have a twin. */
static void each_in_range(unsigned first, unsigned last, void (*call)(int fd, table_word word)) {
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        int fd = table_serves(table_get(hidden));
        if (fd < 0 || (unsigned)fd < first || (unsigned)fd > last) {
            continue;
        }
        table_word word = table_get(fd);
        if (table_kind(word) == TABLE_DATA && table_other(word) == hidden) {
            call(fd, word);
        }
    }
}

static void now_close_on_exec(int fd, table_word word) {
    (void)word;
    reference_close_on_exec(fd, true);
}

typedef int real_close_range(unsigned first, unsigned last, int flags);

/* The parts of a range that lie between the hidden ones. */
static int close_between(unsigned first, unsigned last, int flags, real_close_range *call) {
    unsigned end = last;
    for (int hidden = table_previous(TABLE_HIDDEN, as_number(last) + 1);
         hidden >= 0 && (unsigned)hidden >= first; hidden = table_previous(TABLE_HIDDEN, hidden)) {
        if (!hidden_is_here(hidden)) {
            continue;
        }
        if ((unsigned)hidden < end && call((unsigned)hidden + 1, end, flags) < 0) {
            return -1;
        }
        end = (unsigned)hidden - 1; /* they are above 2 */
    }
    return first <= end ? call(first, end, flags) : 0;
}

int close_range_any(unsigned first, unsigned last, int flags, real_close_range *call) {
    if (first > last || table_previous(TABLE_HIDDEN, TABLE_NOBODY) < 0) {
        return call(first, last, flags);
    }
    gate_close(); /* or a thread might make a new one meanwhile */
    int result = close_between(first, last, flags, call);
    gate_open();
    if (result == 0) {
        each_in_range(first, last,
                      flags & RANGE_CLOSE_ON_EXEC ? now_close_on_exec : reference_drop);
    }
    return result;
}

#ifdef __GLIBC__

int wrap_close_range(unsigned first, unsigned last, int flags) {
    return close_range_any(first, last, flags, real.close_range);
}

void wrap_closefrom(int first) {
    int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY);
    if (hidden < 0 || hidden < first) {
        real.closefrom(first);
        each_in_range((unsigned)(first < 0 ? 0 : first), UINT_MAX, reference_drop);
        return;
    }
    int saved = errno;
    if (wrap_close_range((unsigned)(first < 0 ? 0 : first), UINT_MAX, 0) < 0) {
        /* A kernel without close_range: libc's way above ours, ours below. */
        real.closefrom(hidden + 1);
        for (int fd = first < 0 ? 0 : first; fd <= hidden; fd++) {
            (void)wrap_close(fd);
        }
        each_in_range((unsigned)hidden + 1, UINT_MAX, reference_drop);
    }
    errno = saved;
}

#endif
