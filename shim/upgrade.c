#include "shim/upgrade.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "lib/clock.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/program.h"
#include "shim/say.h"
#include "shim/sibling.h"
#include "shim/turn.h"
#include "shim/wait.h"

/* One that waits for the end of the upgrade may just have got the lock in our place. */
#define ANOTHER_THREAD (20 * CLOCK_MILLISECOND)

static bool later(struct sys_stat_time a, struct timespec b) {
    return a.seconds > b.tv_sec || (a.seconds == b.tv_sec && a.nanoseconds >= b.tv_nsec);
}

/* Times of files advance in ticks: two writes within one leave the same time.
 * As long as we hold the file shared nobody writes, so waiting for the next
 * tick makes the next write show. (Git calls the same thing racy.) */
static void wait_for_tick(const struct sys_stat *data) {
    struct timespec now, short_while = {.tv_nsec = 1000000};
    for (int i = 0; i < 100; i++) {
        (void)sys_clock(CLOCK_REALTIME_COARSE, &now); /* as the file's, whatever faketime says */
        if (!later(data->ctime, now)) {
            return;
        }
        (void)sys_sleep(&short_while);
    }
}

static bool same_time(struct sys_stat_time a, struct sys_stat_time b) {
    return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds;
}

static bool unchanged(const struct sys_stat *a, const struct sys_stat *b) {
    return sidecar_same(sidecar_id_of(a), sidecar_id_of(b)) && a->size == b->size &&
           same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static int deadlock(struct target *target, const char *reason, enum remedy remedy) {
    struct text why = target_why(target);
    text_put(&why, reason);
    target->remedy = remedy;
    return -EDEADLK;
}

int upgrade_is_interrupted(struct target *target) {
    return deadlock(target, "a signal handler has interrupted an open of it for writing",
                    REMEDY_NO_HANDLER);
}

/* Those who share it are ancestors that wait for this process: shared again, with a turn
 * among those whom they let in. */
static int go_on_below_readers(struct target *target, int fd, uint64_t until) {
    int r = sibling_pass(target, fd, until);
    if (r < 0 || r == WAITED_JOIN) {
        return r;
    }
    if (sys_flock(fd, LOCK_SH | LOCK_NB) < 0) {
        return deadlock(target,
                        "who has shared it with this process has let somebody else write to it",
                        REMEDY_READ_AGAIN);
    }
    return WAITED_LOCKED;
}

/* The conversion itself. 0, or an error after which nothing is locked. */
static int convert(struct target *target, int fd, struct sidecar_id id, uint64_t until) {
    int r, ours;
    do {
        r = sys_flock(fd, LOCK_EX | LOCK_NB);
        if (r == -EWOULDBLOCK) {
            r = wait_for_lock(target, fd, id, LOCK_EX, until, &ours);
        }
        if (r == WAITED_PASS) {
            r = go_on_below_readers(target, fd, until);
        }
    } while (r == WAITED_JOIN); /* they are at work again */
    if (r == WAITED_OURS) {
        return deadlock(target, "whoever else has it waits for this process", REMEDY_READ_AGAIN);
    }
    return r < 0 ? r : 0;
}

/* The shared lock, again: somebody may be writing by now, and is waited for
 * until `until`. What the conversion has found out is kept for the message. */
static bool take_back(struct target *target, int fd, struct sidecar_id id, uint64_t until) {
    if (until == 0 && gate_has_threads()) {
        until = clock_now() + ANOTHER_THREAD;
    }
    char why[sizeof(target->why)];
    memcpy(why, target->why, sizeof(why));
    int r = sys_flock(fd, LOCK_SH | LOCK_NB), ours;
    if (r == -EWOULDBLOCK && until > 0) {
        r = wait_for_lock(target, fd, id, LOCK_SH, until, &ours);
    }
    memcpy(target->why, why, sizeof(why));
    return r == 0;
}

/* Set once there was one: then each open for writing has to look. */
static atomic_bool any_lost;

void upgrade_may_be_lost(void) {
    atomic_store(&any_lost, true);
}

static void lose(struct sidecar_id id) {
    upgrade_may_be_lost();
    struct gate gate = gate_enter_alone();
    hidden_set_modes(id, MODE_SHARED, MODE_LOST);
    gate_leave(gate);
}

bool upgrade_was_lost(struct sidecar_id id) {
    if (!atomic_load_explicit(&any_lost, memory_order_relaxed)) {
        return false;
    }
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (table_mode(word) == MODE_LOST && table_id(fd, word, &other) &&
            sidecar_same(id, other)) {
            return true;
        }
    }
    return false;
}

static void say_lost(const struct target *target) {
    TEXT(line, 900);
    text_put(&line, "lost the shared lock of ");
    text_put_visible(&line, target->where.path);
    text_put(&line, ", which is read on without one: somebody else has it for writing");
    say(&line);
}

/* The file, before it was given up. */
struct seen {
    bool exists;
    struct sys_stat data;
};

/* With the lock: 0, -EDEADLK when somebody wrote to it, or another error. */
static int compare(struct target *target, const struct seen *before) {
    int r = target_look(target);
    bool same = before->exists == target->exists &&
                (!before->exists || unchanged(&before->data, &target->data));
    return r < 0 || same ? r : -EDEADLK;
}

/* Somebody wrote to it, which the caller is to know whatever else has ended the upgrade
 * (`error`): the next one would not see it. Nor do other threads that have read it know
 * what this one is told. */
static int tell_all(struct target *target, struct sidecar_id id, int error) {
    if (gate_has_threads()) {
        lose(id);
    }
    if (error != -EDEADLK) {
        target->why[0] = '\0';
    }
    return -EDEADLK;
}

int upgrade(struct target *target, int fd, struct sidecar_id id, uint64_t until) {
    int r = target_look(target);
    if (r < 0) {
        return r;
    }
    if (sibling_has_turn(fd)) { /* asking once more would give it up */
        hidden_set_mode(fd, MODE_EXCLUSIVE);
        return 0;
    }
    program_join_all(fd, id);
    const struct seen before = {.exists = target->exists, .data = target->data};
    if (before.exists) {
        wait_for_tick(&before.data);
    }
    r = convert(target, fd, id, until);
    if (r == 0 && (r = compare(target, &before)) < 0) {
        target->why[0] = '\0';
    }
    if (r == 0) {
        hidden_set_mode(fd, MODE_EXCLUSIVE);
        wait_wake();
        return 0;
    }
    sibling_end_turn(fd);
    /* Past its time, or when a signal is to end it, it must not wait again. */
    if (!take_back(target, fd, id, r == -ETIMEDOUT || r == -EINTR ? 0 : until)) {
        lose(id);
        say_lost(target);
        return r;
    }
    return compare(target, &before) == -EDEADLK ? tell_all(target, id, r) : r;
}

void upgrade_abandon(int fd) {
    struct sidecar_id id;
    turn_unmark(fd);
    sibling_end_turn(fd);
    if (table_id(fd, table_get(fd), &id) && sys_flock(fd, LOCK_SH | LOCK_NB) < 0) {
        lose(id);
    }
}
