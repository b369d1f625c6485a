/*
 * Calls that change the mode and the owner of a file: its sidecar follows, so that
 * whoever may use the file by then can lock it as well, and nobody else (contract P1).
 * Programs that copy make a file for themselves alone, and open it up once it is whole (cp -p,
 * install, tar x).
 *
 * The call itself is made first, as it is; no lock is taken for it. A sidecar that
 * is missing is not made. A link whose own name matches no rule is not followed:
 * that would be a system call for every file; the sidecar follows with an open by
 * its owner then.
 *
 * Signals are held back meanwhile, so that no handler jumps out of what is open here.
 * Thread-, fork- and signal-safe; errno is the call's.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/sidecar.h"
#include "shim/fork.h"
#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/number.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/scratch.h"
#include "shim/start.h"
#include "shim/wrap.h"

/* Through a descriptor of the sidecar; of what else may have got the number by
 * now, nothing. */
static void follow_by(int sidecar, struct sidecar_id id, const struct sys_stat *data) {
    struct sys_stat stat;
    if (sys_fstat(sidecar, &stat) == 0 && S_ISREG(stat.mode) &&
        sidecar_same(sidecar_id_of(&stat), id)) {
        sidecar_follow_change(sidecar, &stat, data);
    }
}

/* Opening and closing it would cost the program its record locks on it (O7). */
static void follow_at(int directory, const char *sidecar, const struct sys_stat *data) {
    struct sidecar_id id;
    int fd, program = record_find(directory, sidecar, &id);
    if (program >= 0) {
        follow_by(program, id, data);
    } else if (sidecar_open(directory, sidecar, SIDECAR_NEVER, NULL, &fd, &id) == 0) {
        follow_by(fd, id, data);
        (void)sys_close(fd);
    }
}

static void follow_target(struct target *target, int dirfd, const char *path, bool links) {
    struct canonical *where = &target->where;
    struct sys_stat data;
    if (canonical_resolve(dirfd, path, links, where) < 0) {
        return;
    }
    const struct rule *rule = rules_decide(&start_config.rules, where->path);
    if (rule && !rule->exclude && !where->is_link && *where->name &&
        sidecar_name(where->path, rule->options->lockdir, target->sidecar) &&
        sys_stat(where->directory, where->name, AT_SYMLINK_NOFOLLOW, &data) == 0 &&
        S_ISREG(data.mode)) {
        follow_at(where->directory, target->sidecar, &data);
    }
    canonical_done(where);
}

static bool follows(void) {
    return shim_is_active() && !start_config.observe;
}

/* After a call that has succeeded, so that `path` can be read. */
static void follow_path(int dirfd, const char *path, bool links) {
    if (!follows() || !target_may_match(path)) {
        return;
    }
    signal_set before = signals_mask(SIGNALS_ALL);
    struct gate gate = gate_enter();
    struct target *target = scratch_get();
    if (target) {
        follow_target(target, dirfd, path, links);
        scratch_put(target);
    }
    gate_leave(gate);
    (void)signals_mask(before);
}

/* Another thread may close or move the twin: a duplicate stays what it is. Where
 * closing that would cost the program its record locks, the twin itself has to do. */
static void follow_twin(int twin, const struct sys_stat *data) {
    struct sidecar_id id;
    table_word word = table_get(twin);
    if (table_kind(word) != TABLE_HIDDEN || !table_id(twin, word, &id) ||
        sidecar_same(id, sidecar_id_of(data))) { /* fd is one of the sidecar itself */
        return;
    }
    int copy = record_any() ? twin : number_high(twin);
    if (copy >= 0 && table_get(twin) == word) {
        follow_by(copy, id, data);
    }
    if (copy >= 0 && copy != twin) {
        (void)sys_close(copy);
    }
}

static void follow_descriptor(int fd) {
    if (!follows() || table_kind(table_get(fd)) != TABLE_DATA) {
        return;
    }
    fork_notice();
    signal_set before = signals_mask(SIGNALS_ALL);
    struct gate gate = gate_enter();
    table_word word = table_get(fd);
    struct sys_stat data;
    if (table_kind(word) == TABLE_DATA && sys_fstat(fd, &data) == 0 && S_ISREG(data.mode)) {
        follow_twin(table_other(word), &data);
    }
    gate_leave(gate);
    (void)signals_mask(before);
}

/* The at-forms, where an empty path may stand for the descriptor. */
static void follow_at_flags(int dirfd, const char *path, int flags) {
    if (path && *path) {
        follow_path(dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW));
    } else if (flags & AT_EMPTY_PATH) {
        follow_descriptor(dirfd);
    }
}

int wrap_chmod(const char *path, mode_t mode) {
    int result = REAL(chmod)(path, mode);
    if (result == 0) {
        follow_path(AT_FDCWD, path, true);
    }
    return result;
}

int wrap_lchmod(const char *path, mode_t mode) {
    int result = REAL(lchmod)(path, mode);
    if (result == 0) {
        follow_path(AT_FDCWD, path, false);
    }
    return result;
}

int wrap_fchmod(int fd, mode_t mode) {
    int result = REAL(fchmod)(fd, mode);
    if (result == 0) {
        follow_descriptor(fd);
    }
    return result;
}

int wrap_fchmodat(int dirfd, const char *path, mode_t mode, int flags) {
    int result = REAL(fchmodat)(dirfd, path, mode, flags);
    if (result == 0) {
        follow_at_flags(dirfd, path, flags);
    }
    return result;
}

int wrap_chown(const char *path, uid_t owner, gid_t group) {
    int result = REAL(chown)(path, owner, group);
    if (result == 0) {
        follow_path(AT_FDCWD, path, true);
    }
    return result;
}

int wrap_lchown(const char *path, uid_t owner, gid_t group) {
    int result = REAL(lchown)(path, owner, group);
    if (result == 0) {
        follow_path(AT_FDCWD, path, false);
    }
    return result;
}

int wrap_fchown(int fd, uid_t owner, gid_t group) {
    int result = REAL(fchown)(fd, owner, group);
    if (result == 0) {
        follow_descriptor(fd);
    }
    return result;
}

int wrap_fchownat(int dirfd, const char *path, uid_t owner, gid_t group, int flags) {
    int result = REAL(fchownat)(dirfd, path, owner, group, flags);
    if (result == 0) {
        follow_at_flags(dirfd, path, flags);
    }
    return result;
}

/* How libacl sets a mode: what cp -p does instead of chmod. */
static bool sets_mode(const char *attribute) {
    return strcmp(attribute, "system.posix_acl_access") == 0;
}

int wrap_setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
    int result = REAL(setxattr)(path, name, value, size, flags);
    if (result == 0 && sets_mode(name)) {
        follow_path(AT_FDCWD, path, true);
    }
    return result;
}

int wrap_lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
    int result = REAL(lsetxattr)(path, name, value, size, flags);
    if (result == 0 && sets_mode(name)) {
        follow_path(AT_FDCWD, path, false);
    }
    return result;
}

int wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
    int result = REAL(fsetxattr)(fd, name, value, size, flags);
    if (result == 0 && sets_mode(name)) {
        follow_descriptor(fd);
    }
    return result;
}
