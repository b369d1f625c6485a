#include "shim/nested.h"

#include <stddef.h>

#include "lib/clock.h"
#include "lib/process_stat.h"
#include "lib/sys_linux.h"
#include "shim/remembered.h"
#include "shim/table.h"

#define QUIET_ALONE (15 * CLOCK_MILLISECOND)
#define QUIET_AMONG_SEVERAL CLOCK_SECOND
#define QUIET_STILL CLOCK_MILLISECOND /* two looks: one might see it as it falls asleep */
#define IDLE_ALONE CLOCK_SECOND
#define IDLE_AMONG_SEVERAL (5 * CLOCK_SECOND)
#define IDLE_LOOKS 12
#define IDLE_ASLEEP 3
#define IDLE_SHARE 20 /* a twentieth */
#define GENERATIONS 64
#define LOCKERS 64
#define LOOKS_ALONE 3

static bool is_hidden(int fd) {
    return table_kind(table_get(fd)) == TABLE_HIDDEN;
}

/* How a process (pid 0: this one) has it. */
static enum lock_how how_has(const struct nested *nested, pid_t pid, int *ret_fd) {
    if (!nested->soft) {
        return proclocks_find(pid, &nested->key, pid == 0 ? is_hidden : NULL, ret_fd);
    }
    *ret_fd = -1;
    bool has = nested->owner > 0 ? nested->owner == (pid == 0 ? sys_getpid() : pid)
                                 : procfs_has_open(pid, nested->marker);
    return has ? LOCK_IS_EXCLUSIVE : LOCK_NOT_OPEN;
}

/* All ancestors that hold it together. */
struct holders {
    bool any, exclusive, several_children;
    struct procfs_rest rest;
};

/* Its pid may come to mean another process. */
static uint64_t state_of(pid_t pid, const struct procfs_rest *rest) {
    struct process_stat stat = {.start = 0};
    (void)process_stat_read(pid, &stat);
    return procfs_mix(procfs_mix((uint64_t)pid, stat.start), rest->state);
}

/* vfork(2) suspends who has called it in a sleep of the kind that waits for disks, until
 * the child executes another program or ends: only its child, which has the memory in
 * common with it, can be in the middle of an open then. */
static void see_vfork(struct procfs_rest *parent) {
    if (!parent->awake && parent->for_disk == 1 && table_is_foreign()) {
        parent->asleep = true;
        parent->for_disk = 0;
    }
}

static struct holders look_at_ancestors(const struct nested *nested) {
    struct holders holders = {.rest = {.asleep = true, .timed = true}};
    pid_t pid = procfs_parent(0); /* not getppid: this /proc may number otherwise */
    for (int i = 0; i < GENERATIONS && pid > 0; i++, pid = procfs_parent(pid)) {
        int fd;
        enum lock_how how = how_has(nested, pid, &fd);
        if (how == LOCK_NOT_OPEN) {
            continue;
        }
        holders.exclusive |= how == LOCK_IS_EXCLUSIVE;
        struct procfs_rest one = procfs_rest(pid), *all = &holders.rest;
        if (i == 0) {
            see_vfork(&one);
        }
        holders.any = true;
        holders.several_children |= procfs_children(pid, NULL, 0) != 1;
        all->asleep &= one.asleep;
        all->for_disk += one.for_disk;
        all->timed &= one.timed;
        all->threads += one.threads;
        all->state = procfs_mix(all->state, state_of(pid, &one));
        all->run_time += one.run_time;
        all->delay += one.delay;
    }
    return holders;
}

/* Those who have called flock for a shared lock of the file. */
struct lockers {
    const struct lock_key *key;
    pid_t pids[LOCKERS];
    int count;
};

static bool add_locker(const struct lock_line *line, void *data) {
    struct lockers *lockers = data;
    if (!line->waits && lock_key_same(&line->key, lockers->key)) {
        if (lockers->count == LOCKERS) {
            return true;
        }
        lockers->pids[lockers->count++] = line->pid;
    }
    return false;
}

static bool strike_out(int fd, const struct lock_line *line, void *data) {
    struct lockers *lockers = data;
    (void)fd;
    for (int i = 0; lock_key_same(&line->key, lockers->key) && i < lockers->count; i++) {
        if (lockers->pids[i] == line->pid) {
            lockers->pids[i--] = lockers->pids[--lockers->count];
        }
    }
    return lockers->count == 0;
}

static bool looks_alone(const struct lock_key *key) {
    struct lockers lockers = {.key = key};
    if (proclocks_each(add_locker, &lockers) > 0) { /* more than there is room for */
        return false;
    }
    pid_t pid = 0;
    for (int i = 0; i < GENERATIONS && lockers.count > 0 && (i == 0 || pid > 0); i++) {
        (void)proclocks_of_process(pid, strike_out, &lockers);
        pid = procfs_parent(pid);
    }
    return lockers.count == 0;
}

/* Somebody may be missed, but hardly each time. */
bool nested_family_has_it_alone(const struct lock_key *key) {
    for (int i = 0; i < LOOKS_ALONE; i++) {
        if (!looks_alone(key)) {
            return false;
        }
    }
    return true;
}

/* This sleep of theirs, and no other, while they have this lock; or, where they wake now
 * and then, all that they do. 0 when nobody has it. */
static uint64_t name_rest(const struct nested *nested, const struct holders *holders, bool idle) {
    if (!holders->any) {
        return 0;
    }
    uint64_t name = procfs_mix(idle ? holders->rest.threads : holders->rest.state,
                               (uint64_t)idle << 1 | holders->several_children);
    for (const char *at = nested->soft ? "" : nested->key.text; *at; at++) {
        name = procfs_mix(name, (unsigned char)*at);
    }
    return nested->soft ? procfs_mix(procfs_mix(name, nested->marker.device), nested->marker.inode)
                        : name;
}

/* Whether they have been quiet for long enough. */
static bool are_quiet(struct nested *nested, const struct procfs_rest *rest, uint64_t patience,
                      uint64_t now) {
    if (!rest->asleep || (nested->quiet_since && nested->state != rest->state)) {
        nested->quiet_since = 0;
        return false;
    }
    if (nested->quiet_since == 0) {
        nested->quiet_since = now;
        nested->state = rest->state;
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
    enum lock_how own = how_has(nested, 0, ret_fd);
    if (own == LOCK_IS_EXCLUSIVE || (own == LOCK_IS_SHARED && !exclusive)) {
        return NESTED_OURSELVES;
    }
    const struct holders holders = look_at_ancestors(nested);
    if (!holders.any && own == LOCK_NOT_OPEN) {
        nested->quiet_since = nested->idle_since = 0;
        return NESTED_NO;
    }
    bool several = holders.several_children;
    uint64_t now = clock_now(), patience = several ? QUIET_AMONG_SEVERAL : QUIET_ALONE;
    uint64_t sleep = name_rest(nested, &holders, false);
    nested->still = remembered(sleep);
    bool quiet = are_quiet(nested, &holders.rest, nested->still ? QUIET_STILL : patience, now);
    bool idle =
        !quiet && are_idle(nested, &holders.rest, several ? IDLE_AMONG_SEVERAL : IDLE_ALONE, now);
    if (quiet || idle) {
        remember(quiet ? sleep : name_rest(nested, &holders, true));
        bool alone = !exclusive || holders.exclusive || nested_family_has_it_alone(&nested->key);
        return alone ? NESTED_ANCESTOR : NESTED_OTHERS;
    }
    if (nested->quiet_since == 0) {
        return NESTED_BUSY;
    }
    /* Two looks that are close together, now and then: one that wakes to look
     * after its child is quiet in between. */
    nested->look_again =
        nested->quiet_since + (nested->still ? QUIET_STILL : patience) + CLOCK_MILLISECOND;
    return NESTED_MAYBE;
}

bool nested_waits_still(const struct nested *nested, bool exclusive) {
    int fd;
    const struct holders holders = look_at_ancestors(nested);
    if (!holders.rest.asleep || (holders.any && !remembered(name_rest(nested, &holders, false)) &&
                                 !remembered(name_rest(nested, &holders, true)))) {
        return false;
    }
    enum lock_how own = holders.any ? LOCK_NOT_OPEN : how_has(nested, 0, &fd);
    return (holders.any || own != LOCK_NOT_OPEN) &&
           (!exclusive || holders.exclusive || nested->soft ||
            nested_family_has_it_alone(&nested->key));
}

bool nested_is_in_family(const struct lock_key *key) {
    int fd;
    const struct nested nested = {.key = *key};
    return how_has(&nested, 0, &fd) != LOCK_NOT_OPEN || look_at_ancestors(&nested).any;
}
