/*
 * close and the calls that close many: the real close first, then the hold.
 * Hidden descriptors are not there for the program: closing one succeeds and
 * does nothing (an error makes some programs loop for ever), ranges go around
 * them.
 */
#include <errno.h>
#include <limits.h>

#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/wrap.h"

/* close_range(2) came with Linux 5.9; older headers lack the flag. */
#define RANGE_CLOSE_ON_EXEC 4

static int close_any(int fd, int (*call)(int)) {
    table_word word = table_get(fd);
    if (table_kind(word) == TABLE_NONE) {
        return call(fd);
    }
    if (table_kind(word) == TABLE_HIDDEN) {
        return 0;
    }
    int result = call(fd);
    reference_drop(fd, word);
    return result;
}

int wrap_close(int fd) {
    return close_any(fd, real.close);
}

#ifdef __GLIBC__

int wrap___close(int fd) {
    return close_any(fd, real.__close);
}

static int as_number(unsigned fd) {
    return fd > INT_MAX - 1 ? INT_MAX - 1 : (int)fd;
}

/* What served descriptors that the kernel has just closed. */
static void drop_range(unsigned first, unsigned last) {
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        int fd = table_other(table_get(hidden));
        if (!table_is_number(fd) || (unsigned)fd < first || (unsigned)fd > last) {
            continue;
        }
        table_word word = table_get(fd);
        if (table_kind(word) == TABLE_DATA && table_other(word) == hidden) {
            reference_drop(fd, word);
        }
    }
}

int wrap_close_range(unsigned first, unsigned last, int flags) {
    if (first > last) {
        return real.close_range(first, last, flags);
    }
    unsigned end = last;
    for (int hidden = table_previous(TABLE_HIDDEN, as_number(last) + 1);
         hidden >= 0 && (unsigned)hidden >= first; hidden = table_previous(TABLE_HIDDEN, hidden)) {
        if ((unsigned)hidden < end && real.close_range((unsigned)hidden + 1, end, flags) < 0) {
            return -1;
        }
        if (hidden == 0) {
            end = 0;
            first = 1;
            break;
        }
        end = (unsigned)hidden - 1;
    }
    if (first <= end && real.close_range(first, end, flags) < 0) {
        return -1;
    }
    if (!(flags & RANGE_CLOSE_ON_EXEC)) {
        drop_range(first, last);
    }
    return 0;
}

void wrap_closefrom(int first) {
    int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY);
    if (hidden < 0 || hidden < first) {
        real.closefrom(first);
        drop_range((unsigned)(first < 0 ? 0 : first), UINT_MAX);
        return;
    }
    int saved = errno;
    if (wrap_close_range((unsigned)(first < 0 ? 0 : first), UINT_MAX, 0) < 0) {
        /* A kernel without close_range: libc's way above ours, ours below. */
        real.closefrom(hidden + 1);
        for (int fd = first < 0 ? 0 : first; fd <= hidden; fd++) {
            (void)wrap_close(fd);
        }
        drop_range((unsigned)hidden + 1, UINT_MAX);
    }
    errno = saved;
}

#endif
