#include "shim/nested.h"

#include <stddef.h>

#include "lib/clock.h"
#include "shim/procfs.h"
#include "shim/table.h"

#define QUIET_ALONE (15 * CLOCK_MILLISECOND)
#define QUIET_AMONG_SEVERAL CLOCK_SECOND
#define GENERATIONS 64

static bool is_hidden(int fd) {
    return table_kind(table_get(fd)) == TABLE_HIDDEN;
}

enum nested_answer nested_look(struct nested *nested, bool exclusive, int *ret_fd) {
    enum lock_how own = proclocks_find(0, &nested->key, is_hidden, ret_fd);
    if (own == LOCK_IS_EXCLUSIVE || (own == LOCK_IS_SHARED && !exclusive)) {
        return NESTED_OURSELVES;
    }
    bool held = own != LOCK_NOT_OPEN, quiet = true;
    uint64_t switches = 0, patience = QUIET_ALONE;
    pid_t pid = procfs_parent(0); /* not getppid: this /proc may number otherwise */
    for (int i = 0; i < GENERATIONS && pid > 0 && quiet; i++, pid = procfs_parent(pid)) {
        int fd;
        uint64_t sum;
        if (proclocks_find(pid, &nested->key, NULL, &fd) == LOCK_NOT_OPEN) {
            continue;
        }
        held = true;
        quiet = procfs_is_asleep(pid, &sum);
        switches += sum;
        if (procfs_children(pid, NULL, 0) != 1) {
            patience = QUIET_AMONG_SEVERAL;
        }
    }
    uint64_t now = clock_now();
    if (!held || !quiet || (nested->quiet_since && nested->switches != switches)) {
        nested->quiet_since = 0;
        return held ? NESTED_BUSY : NESTED_NO;
    }
    if (nested->quiet_since == 0) {
        nested->quiet_since = now;
        nested->switches = switches;
    }
    if (now - nested->quiet_since >= patience) {
        return NESTED_ANCESTOR;
    }
    /* One that only wakes to look whether its child has ended (a wait with a
     * timeout, in many languages) is quiet in between: so two looks that are
     * close together, now and then. */
    nested->look_again = nested->quiet_since + patience + CLOCK_MILLISECOND;
    return NESTED_MAYBE;
}
