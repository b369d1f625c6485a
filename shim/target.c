#include "shim/target.h"

#include <errno.h>
#include <string.h>

#include "config/pattern.h"
#include "lib/clock.h"
#include "shim/hidden.h"
#include "shim/say.h"
#include "shim/scratch.h"
#include "shim/start.h"

#define LINKS_MAX 40 /* path_resolution(7) */

static const struct sidecar_id NO_ID;

bool target_may_match(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return rules_may_match(&start_config.rules, name, strlen(name));
}

static void say_cannot_tell(const char *path, int error) {
    TEXT(line, 900);
    text_put(&line, "cannot tell which file this is, so it is left alone: ");
    text_put_visible(&line, path);
    text_put(&line, ": ");
    text_put(&line, say_error(-error));
    say(&line);
}

/* Whether a rule may mean the path, as far as that can be said of it alone: by
 * its last component, and if the rule begins with a directory, that is there.
 * room->path is overwritten. */
static bool may_be_meant(const char *path, struct canonical *room) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < start_config.rules.count; i++) {
        const struct rule *rule = &start_config.rules.rules[i];
        struct sys_stat stat;
        if (rule->exclude || !pattern_may_match_name(rule->pattern, name, strlen(name))) {
            continue;
        }
        int length = rules_literal_directory(rule, room->path, sizeof(room->path));
        if (length <= 0 || sys_stat(AT_FDCWD, room->path, 0, &stat) != -ENOENT) {
            return true;
        }
    }
    return false;
}

/* The same for what it leads to through links; room->scratch is overwritten too. */
static bool may_lead_to_meant(int dirfd, const char *path, bool follow, struct canonical *room) {
    char *at = room->scratch;
    size_t length = strnlen(path, sizeof(room->scratch));
    if (length == sizeof(room->scratch)) {
        return true;
    }
    memcpy(at, path, length + 1);
    for (int i = 0; i < LINKS_MAX; i++) {
        if (may_be_meant(at, room)) {
            return true;
        }
        ssize_t text = follow ? sys_readlinkat(dirfd, at, room->path, sizeof(room->path)) : -1;
        if (text < 0) {
            return false;
        }
        const char *slash = room->path[0] == '/' ? NULL : strrchr(at, '/');
        size_t kept = slash ? (size_t)(slash + 1 - at) : 0;
        if (kept + (size_t)text >= sizeof(room->scratch)) {
            return true;
        }
        memcpy(at + kept, room->path, (size_t)text);
        at[kept + (size_t)text] = '\0';
    }
    return true;
}

/* Whether an open would meet this error as well, so that it is for the program. */
static bool open_fails_too(int error) {
    int fd = sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return fd == error;
}

/* What it means that the path could not be resolved: 0 where the call that was
 * meant will fail as well, or no rule can mean the file. */
static int cannot_resolve(int dirfd, const char *path, bool follow, int error,
                          struct canonical *room) {
    switch (error) {
    case -EOPNOTSUPP:
    case -ERANGE:
        break;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM: /* we need more at once than it does */
        if (open_fails_too(error)) {
            return 0;
        }
        break;
    default: /* or a magic link to what has no name (a pipe) */
        return 0;
    }
    if (!may_lead_to_meant(dirfd, path, follow, room)) {
        return 0;
    }
    say_cannot_tell(path, error);
    return error == -ERANGE ? -ENAMETOOLONG : error;
}

static void before_waits(struct target *target) {
    target->telling = (struct telling){.start = 0};
    target->waits_for_upgrade = false;
    target->remedy = REMEDY_ORDER;
}

int target_find(struct target *target, int dirfd, const char *path, bool follow) {
    target->where.directory = -1;
    target->rule = NULL;
    target->changes_name = target->only_existing = false;
    target->no_sidecar = target->waited = false;
    target->wait_time = target->waited_before = 0;
    target->why[0] = '\0';
    before_waits(target);
    int r = canonical_resolve(dirfd, path, follow, &target->where);
    if (r < 0) {
        return cannot_resolve(dirfd, path, follow, r, &target->where);
    }
    if (target->where.nameless) {
        return 0; /* nobody can find a sidecar for it */
    }
    target->rule = rules_decide(&start_config.rules, target->where.path);
    return target->rule && !target->rule->exclude && !target->where.is_link && *target->where.name;
}

int target_look(struct target *target) {
    struct sys_stat data;
    int r = sys_stat(target->where.directory, target->where.name, AT_SYMLINK_NOFOLLOW, &data);
    if (r < 0 && r != -ENOENT) {
        return r;
    }
    target->exists = r == 0;
    if (target->exists) {
        target->data = data;
    }
    return 0;
}

int target_prepare(struct target *target) {
    if (!sidecar_name(target->where.path, target->rule->options->lockdir, target->sidecar)) {
        return -ENAMETOOLONG;
    }
    int hidden = hidden_make(target->where.directory, MODE_NOTHING, NO_ID);
    canonical_done(&target->where);
    target->where.directory = hidden;
    return hidden < 0 ? hidden : 0;
}

uint64_t target_until(const struct target *target) {
    uint64_t timeout = target->rule->options->timeout, spent = target->waited_before;
    if (timeout == RULE_FOREVER) {
        return CLOCK_FOREVER;
    }
    return clock_after(timeout > spent ? timeout - spent : 0);
}

static bool is_same_directory(int a, int b) {
    struct sys_stat x, y;
    return sys_fstat(a, &x) == 0 && sys_fstat(b, &y) == 0 &&
           sidecar_same(sidecar_id_of(&x), sidecar_id_of(&y));
}

/* Nearly always the program's name is the canonical path, and no link has come
 * into it: that takes fewer calls to see. `parent`: room for a path. */
static bool leads_there_still(const struct target *target, const char *path, bool follow,
                              char *parent) {
    const struct canonical *where = &target->where;
    size_t length = (size_t)(where->name - where->path);
    struct sys_stat file;
    if (strcmp(path, where->path) != 0 || length == 0 ||
        (follow && sys_stat(where->directory, where->name, AT_SYMLINK_NOFOLLOW, &file) == 0 &&
         S_ISLNK(file.mode))) {
        return false;
    }
    memcpy(parent, path, length);
    parent[length > 1 ? length - 1 : length] = '\0';
    int directory = sys_open_directory(AT_FDCWD, parent);
    if (directory < 0) {
        return false;
    }
    bool same = is_same_directory(directory, where->directory);
    (void)sys_close(directory);
    return same;
}

bool target_leads_elsewhere(const struct target *target, int dirfd, const char *path, bool follow) {
    struct target *now = scratch_get();
    if (!now) {
        return false;
    }
    bool elsewhere = true;
    if (leads_there_still(target, path, follow, now->where.scratch)) {
        elsewhere = false;
    } else if (canonical_resolve(dirfd, path, follow, &now->where) == 0) {
        elsewhere = strcmp(now->where.path, target->where.path) != 0 ||
                    !is_same_directory(now->where.directory, target->where.directory);
        canonical_done(&now->where);
    }
    scratch_put(now);
    return elsewhere;
}

const char *target_name(const struct target *target, const char *path, struct text *room) {
    struct sys_stat stat;
    if (target->where.via_proc) {
        return path; /* a magic link: the file itself, whatever its name is now */
    }
    text_put(room, "/proc/thread-self/fd/");
    text_put_number(room, (uint64_t)(unsigned)target->where.directory, 10);
    if (sys_stat(AT_FDCWD, room->start, 0, &stat) < 0) {
        return path; /* /proc is not mounted */
    }
    text_put(room, "/");
    text_put(room, target->where.name);
    return room->start;
}

void target_done(struct target *target) {
    int directory = target->where.directory;
    if (directory >= 0 && table_kind(table_get(directory)) == TABLE_HIDDEN) {
        hidden_close(directory);
        target->where.directory = -1;
    }
    canonical_done(&target->where);
}

/* The file whose sidecar `path` is, and its rule; the sidecar is in the lockdir=
 * of that rule, or beside the file. */
static bool find_owner(const char *path, bool in_lockdir, struct target *target) {
    size_t length = strlen(path);
    memcpy(target->where.path, path, length + 1);
    if (path[0] != '/' || !sidecar_owner(target->where.path, in_lockdir)) {
        return false;
    }
    target->rule = rules_decide(&start_config.rules, target->where.path);
    if (!target->rule || target->rule->exclude || !target->rule->options->lockdir != !in_lockdir) {
        return false;
    }
    return !in_lockdir ||
           (sidecar_name(target->where.path, target->rule->options->lockdir, target->sidecar) &&
            strcmp(target->sidecar, path) == 0);
}

bool target_of_sidecar(struct target *target, int fd) {
    char *path = target->where.scratch;
    before_waits(target);
    TEXT(link, 40);
    text_put_descriptor(&link, fd);
    ssize_t n = sys_readlinkat(AT_FDCWD, link.start, path, sizeof(target->where.path) - 1);
    if (n <= 0) {
        return false;
    }
    path[n] = '\0';
    return find_owner(path, false, target) || find_owner(path, true, target);
}
