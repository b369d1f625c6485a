#include "shim/target.h"

#include <errno.h>
#include <string.h>

#include "shim/hidden.h"
#include "shim/say.h"
#include "shim/scratch.h"
#include "shim/start.h"

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

int target_find(struct target *target, int dirfd, const char *path, bool follow) {
    target->where.directory = -1;
    target->rule = NULL;
    target->changes_name = target->only_existing = false;
    target->no_sidecar = target->waited = false;
    target->wait_time = 0;
    target->why[0] = '\0';
    int r = canonical_resolve(dirfd, path, follow, &target->where);
    if ((r == -EOPNOTSUPP || r == -ENAMETOOLONG) && target_may_match(path)) {
        say_cannot_tell(path, r);
        return r;
    }
    if (r < 0) {
        /* A magic link to what has no name (a pipe), or an error that the real
         * function meets as well. */
        return 0;
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

static bool make_sidecar_name(struct target *target) {
    static const char suffix[] = ".lock";
    size_t length = strlen(target->where.name);
    bool fits = length + sizeof(suffix) <= sizeof(target->sidecar);
    if (length > sizeof(target->sidecar) - sizeof(suffix)) {
        length = sizeof(target->sidecar) - sizeof(suffix);
    }
    memcpy(target->sidecar, target->where.name, length);
    memcpy(target->sidecar + length, suffix, sizeof(suffix));
    return fits;
}

int target_prepare(struct target *target) {
    if (!make_sidecar_name(target)) {
        return -ENAMETOOLONG;
    }
    int hidden = hidden_make(target->where.directory, MODE_NOTHING, NO_ID);
    canonical_done(&target->where);
    target->where.directory = hidden;
    return hidden < 0 ? hidden : 0;
}

bool target_leads_elsewhere(const struct target *target, int dirfd, const char *path, bool follow) {
    struct target *now = scratch_get();
    if (!now) {
        return false;
    }
    bool elsewhere = true;
    if (canonical_resolve(dirfd, path, follow, &now->where) == 0) {
        struct sys_stat a, b;
        elsewhere = strcmp(now->where.path, target->where.path) != 0 ||
                    sys_fstat(now->where.directory, &a) < 0 ||
                    sys_fstat(target->where.directory, &b) < 0 ||
                    !sidecar_same(sidecar_id_of(&a), sidecar_id_of(&b));
        canonical_done(&now->where);
    }
    scratch_put(now);
    return elsewhere;
}

void target_done(struct target *target) {
    int directory = target->where.directory;
    if (directory >= 0 && table_kind(table_get(directory)) == TABLE_HIDDEN) {
        hidden_close(directory);
        target->where.directory = -1;
    }
    canonical_done(&target->where);
}
