#include "shim/wait.h"

#include <errno.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/flock_wait.h"
#include "shim/hidden.h"
#include "shim/nested.h"
#include "shim/say.h"

/* Most locks come within this time; looking at ancestors takes longer. */
#define FIRST_LOOK (3 * CLOCK_MILLISECOND)
#define RAREST_LOOK CLOCK_SECOND

/* Besides enum waited, of a look. */
#define WAITED_MAYBE 100

static void describe_holder(struct text *line, const struct lock_key *key) {
    char name[32], state;
    unsigned uid;
    pid_t pid = procfs_lock_owner(key);
    if (pid <= 0) {
        text_put(line, "locked by an unknown process (see lslocks)");
        return;
    }
    text_put(line, "locked by pid ");
    text_put_number(line, (uint64_t)pid, 10);
    if (!procfs_describe(pid, name, &state, &uid)) {
        text_put(line, ", which has ended: a process that it started holds it");
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
}

static void say_waiting(const struct target *target, const struct lock_key *key, uint64_t so_far) {
    TEXT(line, 900);
    text_put(&line, "waiting ");
    text_put_duration(&line, so_far);
    text_put(&line, " for ");
    text_put_visible(&line, target->where.path);
    text_put(&line, ": ");
    describe_holder(&line, key);
    say(&line);
}

static void say_got(const struct target *target, uint64_t so_far) {
    TEXT(line, 900);
    text_put(&line, "got ");
    text_put_visible(&line, target->where.path);
    text_put(&line, " after ");
    text_put_duration(&line, so_far);
    say(&line);
}

/* The moments at which the queue is left. */
struct events {
    uint64_t start, until, look, look_interval, warn, warn_interval;
};

static uint64_t add(uint64_t time, uint64_t duration) {
    return duration > CLOCK_FOREVER - time ? CLOCK_FOREVER : time + duration;
}

static uint64_t earliest(const struct events *events) {
    uint64_t next = events->until;
    next = events->look < next ? events->look : next;
    return events->warn < next ? events->warn : next;
}

static int look(const struct target *target, struct nested *nested, int fd, struct sidecar_id id,
                int operation, int *ret_fd) {
    table_word word;
    int other = hidden_find(id, fd, &word);
    if (other >= 0 && table_mode(word) >= MODE_SHARED) {
        return WAITED_JOIN;
    }
    if (target->rule->options.nested == NESTED_WAIT) {
        return WAITED_LOCKED; /* not yet, but there is nothing to be seen */
    }
    switch (nested_look(nested, operation == LOCK_EX, ret_fd)) {
    case NESTED_OURSELVES:
        return WAITED_OURS;
    case NESTED_MAYBE:
        return WAITED_MAYBE;
    case NESTED_ANCESTOR:
        return target->rule->options.nested == NESTED_FAIL ? -EDEADLK : WAITED_PASS;
    default:
        return WAITED_LOCKED;
    }
}

static void plan_next_look(struct events *events, const struct nested *promising) {
    if (promising) {
        events->look = promising->look_again;
        return;
    }
    uint64_t interval = events->look_interval;
    events->look = clock_now() + interval;
    events->look_interval = interval * 2 < RAREST_LOOK ? interval * 2 : RAREST_LOOK;
}

/* `blocked`: the program's mask. Between two stays in the queue its signals are
 * held back, so that none that ought to end the wait gets lost. */
static int wait_blocked(struct target *target, int fd, struct sidecar_id id, int operation,
                        uint64_t until, int *ret_fd, signal_set blocked) {
    struct nested nested = {.quiet_since = 0};
    (void)procfs_lock_key(fd, &nested.key);
    /* In a child that shares memory a timer and a handler would be its parent's. */
    unsigned flags = table_is_foreign() ? FLOCK_WAIT_POLL : 0;
    uint64_t now = clock_now();
    uint64_t warn_after = target->rule->options.warn_after;
    struct events events = {.start = now,
                            .until = until,
                            .look = add(now, FIRST_LOOK),
                            .look_interval = 4 * FIRST_LOOK,
                            .warn = add(now, warn_after),
                            .warn_interval = warn_after > CLOCK_SECOND ? warn_after : CLOCK_SECOND};
    bool said = false;
    for (;;) {
        int r = flock_wait_blocked(fd, operation, earliest(&events), flags, blocked, NULL);
        flags |= FLOCK_WAIT_AGAIN;
        now = clock_now();
        if (r == 0 && said) {
            say_got(target, now - events.start);
        }
        if (r != -ETIMEDOUT || now >= events.until) {
            return r == 0 ? WAITED_LOCKED : r;
        }
        if (now >= events.look) {
            r = look(target, &nested, fd, id, operation, ret_fd);
            if (r != WAITED_LOCKED && r != WAITED_MAYBE) {
                return r;
            }
            plan_next_look(&events, r == WAITED_MAYBE ? &nested : NULL);
        }
        if (now >= events.warn) {
            say_waiting(target, &nested.key, now - events.start);
            said = true;
            events.warn_interval = add(events.warn_interval, events.warn_interval);
            events.warn = add(now, events.warn_interval);
        }
    }
}

int wait_for_lock(struct target *target, int fd, struct sidecar_id id, int operation,
                  uint64_t until, int *ret_fd) {
    target->waited = true;
    signal_set blocked = signals_mask(SIGNALS_ALL);
    int r = wait_blocked(target, fd, id, operation, until, ret_fd, blocked);
    (void)signals_mask(blocked);
    return r;
}
