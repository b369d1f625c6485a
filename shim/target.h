/*
 * The data file that a name leads to, once a rule says that it is locked.
 *
 *     int r = target_find(target, dirfd, path, follow);
 *     if (r == 1) { ... target->rule, target->where ... }
 *     target_done(target);
 *
 * Fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_TARGET_H
#define AUTOLOCK_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/canonical.h"
#include "config/rules.h"
#include "config/sidecar_path.h"
#include "lib/sys_linux.h"
#include "shim/text.h"

/* What to do about `why`, which went wrong. */
enum remedy { REMEDY_ORDER, REMEDY_READ_AGAIN, REMEDY_NESTED, REMEDY_NO_HANDLER };

/* How a wait for it is told of (telling.h). Times are CLOCK_MONOTONIC, microseconds. */
struct telling {
    uint64_t start, at; /* 0: there was none yet */
    uint64_t repeat_at, repeat, interval;
    pid_t holder; /* who was told of last */
    bool said;
};

struct target {
    struct canonical where; /* where.directory is hidden (hidden.h) */
    const struct rule *rule;
    char sidecar[SIDECAR_NAME_SIZE]; /* in the directory, or absolute (lockdir=) */
    bool wants_read, wants_write;    /* what is asked for, however it is locked */
    bool changes_name;               /* not an open: the name is to go, or to lead elsewhere */
    bool only_existing;              /* without a sidecar there is nothing to lock */
    bool no_sidecar;                 /* there was none, and it could not be made */
    bool waited;                     /* somebody else had it: the path has to be looked at again */
    bool waits_for_upgrade;          /* of another thread, and no longer */
    uint64_t wait_time;              /* microseconds, of all waits together */
    struct telling telling;
    uint64_t waited_before; /* by the same call, for what it meant before */
    char why[640];          /* what a failed wait found out; "" for nothing */
    enum remedy remedy;
    bool exists;
    struct sys_stat data; /* if it exists; else only data.mode, as asked for */
};

/* To write `why` anew. */
static inline struct text target_why(struct target *target) {
    return (struct text){.start = target->why, .size = sizeof(target->why)};
}

/* Whether a rule may match a path with this last component. No system call. */
bool target_may_match(const char *path);

/*
 * From the name to the file and the rule that decides. Returns 1 where the rule
 * locks what is called so (if it is a regular file: target_look); 0 where none
 * does, or the real call will fail as well; an errno value where the name may be
 * one of a rule but the file cannot be told, which is said.
 */
int target_find(struct target *target, int dirfd, const char *path, bool follow);

/* Looks at the file itself again: exists and data. Returns 0 or an errno value
 * other than -ENOENT. */
int target_look(struct target *target);

/* Moves the directory's descriptor out of the way of the program's numbers,
 * and makes the sidecar's name. Returns 0 or an errno value. */
int target_prepare(struct target *target);

/* The end of the rule's timeout (CLOCK_MONOTONIC, microseconds), from which
 * waited_before is taken off: a call waits no longer for two files than for one. */
uint64_t target_until(const struct target *target);

/* H1: after a wait the path may lead elsewhere. */
bool target_leads_elsewhere(const struct target *target, int dirfd, const char *path, bool follow);

/* Whether fd is the sidecar of a file that a rule locks, by its name; then target
 * says so (where.path, rule) to those who wait and tell. No directory is opened. */
bool target_of_sidecar(struct target *target, int fd);

/* A name for calls that take no directory: it leads to the file in the directory
 * that was looked at, whatever `path` has come to lead to. It is in `room`
 * (TARGET_NAME_SIZE bytes), or `path` itself where there is no other. */
#define TARGET_NAME_SIZE 320
const char *target_name(const struct target *target, const char *path, struct text *room);

/* Closes what is open, prepared or not. */
void target_done(struct target *target);

#endif
