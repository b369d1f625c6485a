#include "shim/telling.h"

#include <errno.h>
#include <stddef.h>

#include "lib/clock.h"
#include "shim/procfs.h"
#include "shim/say.h"
#include "shim/wait.h"

#define RAREST CLOCK_SECOND * 3600

static uint64_t at_least(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t at_most(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t add(uint64_t time, uint64_t duration) {
    return duration > CLOCK_FOREVER - time ? CLOCK_FOREVER : time + duration;
}

void telling_begin(struct target *target) {
    uint64_t now = clock_now(), warn_after = target->rule->options->warn_after;
    if (target->telling.start != 0) {
        return;
    }
    target->telling = (struct telling){
        .start = now,
        .at = add(now, warn_after),
        .repeat = at_least(warn_after, CLOCK_SECOND),
        .interval = at_least(at_most(warn_after, CLOCK_SECOND), 100 * CLOCK_MILLISECOND)};
}

static bool has_it(int fd, const struct lock_line *line, void *data) {
    (void)fd;
    return lock_key_same(&line->key, data);
}

/* Who called flock may have ended, or handed the lock on: who has it is whoever
 * has it open. Where that may not be seen, the name in /proc/locks stands. */
static pid_t find_holder(const struct lock_key *key) {
    struct lock_key copy = *key;
    pid_t owner = proclocks_owner(key);
    int r = owner > 0 ? proclocks_of_process(owner, has_it, &copy) : 0;
    if (r == 1 || r == -EACCES || r == -EPERM) {
        return owner;
    }
    pid_t holder = proclocks_holder(key);
    return holder > 0 ? holder : owner;
}

static void put_holder(struct text *line, pid_t pid) {
    char name[32], state;
    unsigned uid;
    if (pid <= 0) {
        text_put(line, "locked by a process that cannot be seen from here (see lslocks)");
        return;
    }
    text_put(line, "locked by pid ");
    text_put_number(line, (uint64_t)pid, 10);
    if (!procfs_describe(pid, name, &state, &uid)) {
        text_put(line, ", which has ended: a process that it started has it");
        return;
    }
    text_put(line, " (");
    text_put_visible(line, name);
    if (state == 'T' || state == 't') {
        text_put(line, ", stopped");
    } else if (state == 'Z') {
        text_put(line, ", ended");
    }
    text_put(line, "), uid ");
    text_put_number(line, uid, 10);
    if (procfs_is_ancestor(pid)) { /* what is sure to wait for us would have let us in */
        text_put(line, "; it has started this process and seems to be at work: should it only wait "
                       "for this one, let it close the file before, or start this one with "
                       "AUTOLOCK=off");
    }
}

static void put_beginning(struct text *line, const struct target *target) {
    text_put(line, "waiting ");
    text_put_duration(line, clock_now() - target->telling.start);
    text_put(line, " for ");
    text_put_visible(line, target->where.path);
    text_put(line, ": ");
}

/* Of another host, or of somebody who does not say who he is. */
static void put_unknown_owner(struct text *line, const struct target *target,
                              const struct soft_owner *owner) {
    if (owner->pid > 0) {
        text_put(line, "locked by pid ");
        text_put_number(line, (uint64_t)owner->pid, 10);
        text_put(line, " on the host ");
        text_put_visible(line, owner->host);
    } else {
        text_put(line, "locked by a program that does not say which");
    }
    text_put(line, "; should that be gone for good, remove ");
    text_put_visible(line, target->sidecar);
}

/* owner: where it is a soft lock. */
static void put_whom(struct text *line, const struct target *target, pid_t holder,
                     const struct soft_owner *owner) {
    if (owner && owner->state != SOFT_ALIVE) {
        put_unknown_owner(line, target, owner);
    } else {
        put_holder(line, holder);
    }
}

/* Whether a line is due, which is said then. */
static bool is_due(struct telling *telling, pid_t holder) {
    uint64_t now = clock_now();
    bool due = !telling->said || now >= telling->repeat_at || holder != telling->holder;
    if (due) {
        telling->said = true;
        telling->holder = holder;
        telling->repeat_at = now + telling->repeat;
        telling->repeat = at_most(2 * telling->repeat, RAREST);
        telling->interval = at_most(2 * telling->interval, telling->repeat);
    }
    telling->at = at_most(now + telling->interval, telling->repeat_at);
    return due;
}

static void look(struct target *target, pid_t holder, const struct soft_owner *owner) {
    if (is_due(&target->telling, holder)) {
        TEXT(line, 1000);
        put_beginning(&line, target);
        put_whom(&line, target, holder, owner);
        say(&line);
    }
}

void telling_look(struct target *target, const struct lock_key *key) {
    uint64_t start = clock_now();
    look(target, find_holder(key), NULL);
    uint64_t end = clock_now();
    target->telling.at = at_least(target->telling.at, end + wait_pause_after(end - start));
}

void telling_look_soft(struct target *target, const struct soft_owner *owner) {
    look(target, owner->pid, owner);
}

void telling_look_turn(struct target *target) {
    if (is_due(&target->telling, target->telling.holder)) {
        TEXT(line, 900);
        put_beginning(&line, target);
        text_put(&line, "a process that waits to write to it comes first");
        say(&line);
    }
}

void telling_doubt(struct target *target, const char *who) {
    TEXT(line, 1000);
    put_beginning(&line, target);
    text_put(&line, "perhaps for ever, each for another: ");
    text_put(&line, who);
    say(&line);
    target->telling.said = true;
}

void telling_end(struct target *target) {
    const struct telling telling = target->telling;
    target->telling = (struct telling){.start = 0};
    if (!telling.said) {
        return;
    }
    TEXT(line, 900);
    text_put(&line, "got ");
    text_put_visible(&line, target->where.path);
    text_put(&line, " after ");
    text_put_duration(&line, clock_now() - telling.start);
    say(&line);
}
