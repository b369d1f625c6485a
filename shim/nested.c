#include "shim/nested.h"

#include <stddef.h>

#include "lib/clock.h"
#include "shim/table.h"

#define QUIET_ALONE (15 * CLOCK_MILLISECOND)
#define QUIET_AMONG_SEVERAL CLOCK_SECOND
#define IDLE_ALONE CLOCK_SECOND
#define IDLE_AMONG_SEVERAL (5 * CLOCK_SECOND)
#define IDLE_LOOKS 12
#define IDLE_ASLEEP 3
#define IDLE_SHARE 20 /* a twentieth */
#define GENERATIONS 64

static bool is_hidden(int fd) {
    return table_kind(table_get(fd)) == TABLE_HIDDEN;
}

/* All ancestors that hold it together. */
struct holders {
    bool any, several_children;
    struct procfs_rest rest;
};

static struct holders look_at_ancestors(const struct lock_key *key) {
    struct holders holders = {.rest = {.asleep = true, .timed = true}};
    pid_t pid = procfs_parent(0); /* not getppid: this /proc may number otherwise */
    for (int i = 0; i < GENERATIONS && pid > 0; i++, pid = procfs_parent(pid)) {
        int fd;
        if (proclocks_find(pid, key, NULL, &fd) == LOCK_NOT_OPEN) {
            continue;
        }
        struct procfs_rest one = procfs_rest(pid), *all = &holders.rest;
        holders.any = true;
        holders.several_children |= procfs_children(pid, NULL, 0) != 1;
        all->asleep &= one.asleep;
        all->for_disk |= one.for_disk;
        all->timed &= one.timed;
        all->threads += one.threads;
        all->switches += one.switches;
        all->run_time += one.run_time;
        all->delay += one.delay;
    }
    return holders;
}

/* Whether they have been quiet for long enough. */
static bool are_quiet(struct nested *nested, const struct procfs_rest *rest, uint64_t patience,
                      uint64_t now) {
    uint64_t switches = rest->switches + rest->threads;
    if (!rest->asleep || (nested->quiet_since && nested->switches != switches)) {
        nested->quiet_since = 0;
        return false;
    }
    if (nested->quiet_since == 0) {
        nested->quiet_since = now;
        nested->switches = switches;
    }
    return now - nested->quiet_since >= patience;
}

/* Whether they have done next to nothing for long enough. */
static bool are_idle(struct nested *nested, const struct procfs_rest *rest, uint64_t patience,
                     uint64_t now) {
    const struct procfs_rest *before = &nested->rest;
    if (!rest->timed) {
        return false;
    }
    if (nested->idle_since == 0 || rest->threads != before->threads || rest->for_disk) {
        nested->idle_since = now;
        nested->rest = *rest;
        nested->looks = nested->asleep = 0;
        return false;
    }
    nested->looks++;
    nested->asleep += rest->asleep;
    uint64_t time = now - nested->idle_since, delay = rest->delay - before->delay;
    if (time < patience || nested->looks < IDLE_LOOKS) {
        return false;
    }
    if (delay >= time || (rest->run_time - before->run_time) * IDLE_SHARE > time - delay) {
        nested->idle_since = 0;
        return false;
    }
    return nested->asleep >= IDLE_ASLEEP; /* seldom, where many wait for a processor */
}

enum nested_answer nested_look(struct nested *nested, bool exclusive, int *ret_fd) {
    enum lock_how own = proclocks_find(0, &nested->key, is_hidden, ret_fd);
    if (own == LOCK_IS_EXCLUSIVE || (own == LOCK_IS_SHARED && !exclusive)) {
        return NESTED_OURSELVES;
    }
    const struct holders holders = look_at_ancestors(&nested->key);
    if (!holders.any && own == LOCK_NOT_OPEN) {
        nested->quiet_since = nested->idle_since = 0;
        return NESTED_NO;
    }
    bool several = holders.several_children;
    uint64_t now = clock_now(), patience = several ? QUIET_AMONG_SEVERAL : QUIET_ALONE;
    if (are_quiet(nested, &holders.rest, patience, now) ||
        are_idle(nested, &holders.rest, several ? IDLE_AMONG_SEVERAL : IDLE_ALONE, now)) {
        return NESTED_ANCESTOR;
    }
    if (nested->quiet_since == 0) {
        return NESTED_BUSY;
    }
    /* Two looks that are close together, now and then: one that wakes to look
     * after its child is quiet in between. */
    nested->look_again = nested->quiet_since + patience + CLOCK_MILLISECOND;
    return NESTED_MAYBE;
}

bool nested_waits_still(const struct lock_key *key) {
    int fd;
    const struct holders holders = look_at_ancestors(key);
    return holders.rest.asleep &&
           (holders.any || proclocks_find(0, key, is_hidden, &fd) != LOCK_NOT_OPEN);
}

bool nested_is_in_family(const struct lock_key *key) {
    int fd;
    return proclocks_find(0, key, is_hidden, &fd) != LOCK_NOT_OPEN || look_at_ancestors(key).any;
}
