#include "shim/naming.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/sidecar.h"
#include "shim/failure.h"
#include "shim/hold.h"
#include "shim/scratch.h"
#include "shim/start.h"

#define ATTEMPTS 100 /* times that a name may lead elsewhere after a wait */

static bool follows_links(const struct naming_name *name) {
    return name->role == NAMING_CUT;
}

/* Another file has this name now: its sidecar is for those who may use that (contract P1). */
static void follow(const struct naming_name *name) {
    const struct target *target = name->target;
    struct sys_stat sidecar, data;
    if (name->role == NAMING_REPLACED && name->twin >= 0 && !start_config.observe &&
        target->rule->options->kind == KIND_FLOCK &&
        sys_stat(target->where.directory, target->where.name, AT_SYMLINK_NOFOLLOW, &data) == 0 &&
        S_ISREG(data.mode) && sys_fstat(name->twin, &sidecar) == 0 && S_ISREG(sidecar.mode)) {
        sidecar_follow_change(name->twin, &sidecar, &data);
    }
}

static void release(struct naming_name *name, bool succeeded) {
    if (succeeded && name->target) {
        follow(name);
    }
    hold_kept(name->kept, succeeded);
    name->kept = -1;
    hold_drop(name->twin);
    name->twin = -1;
    if (name->target) {
        target_done(name->target);
        scratch_put(name->target);
        name->target = NULL;
    }
}

static void release_all(struct naming_name *names, int count, bool succeeded) {
    for (int i = 0; i < count; i++) {
        release(&names[i], succeeded);
    }
}

void naming_end(struct naming_name *names, int count, bool succeeded) {
    release_all(names, count, succeeded);
    doing_end();
}

/* Whether there is something to lock: 1, 0, or an error. */
static int look(struct naming_name *name) {
    struct target *target = name->target;
    int r = target_find(target, name->dirfd, name->path, follows_links(name));
    if (r <= 0) {
        return r;
    }
    if (target_look(target) < 0) {
        return 0; /* the call itself will tell */
    }
    target->wants_read = false;
    target->wants_write = true;
    target->changes_name = name->role != NAMING_CUT;
    target->only_existing = name->role == NAMING_GOES || !target->exists;
    /* A name that is free may be one that somebody is about to take. */
    return target->exists ? S_ISREG(target->data.mode) : name->role == NAMING_REPLACED;
}

static int find(struct naming_name *name) {
    name->target = NULL;
    name->twin = name->kept = -1;
    if (name->role != NAMING_CUT && !target_may_match(name->path)) {
        return 0;
    }
    name->target = scratch_get();
    if (!name->target) {
        return -ENOMEM;
    }
    int r = look(name);
    if (r <= 0) {
        release(name, false);
    }
    return r;
}

/* *waited: by this call, for other files. */
static int take(struct naming_name *name, uint64_t *waited) {
    struct target *target = name->target;
    int r = target_prepare(target);
    if (r < 0) {
        bool is_none = r == -ENAMETOOLONG && target->only_existing; /* nor can there be one */
        r = is_none ? 0 : failure_decide(target, r);
        release(name, false);
        return r;
    }
    target->waited_before = *waited;
    r = hold_take(target, true, &name->twin);
    *waited += target->wait_time;
    /* With hold=process what goes is not kept: there is nothing left to hold. */
    if (r == 0 && target->rule->options->hold == HOLD_PROCESS && name->role != NAMING_GOES) {
        r = hold_keep(target, name->twin, &name->kept);
    }
    return r;
}

static bool leads_elsewhere(const struct naming_name *name) {
    return name->target && name->target->waited &&
           target_leads_elsewhere(name->target, name->dirfd, name->path, follows_links(name));
}

/* 0; 1 for "again", or an error. */
static int begin_once(struct naming_name *names, int count, uint64_t *waited) {
    struct naming_name *order[2];
    int found = 0;
    for (int i = 0; i < count; i++) {
        int r = find(&names[i]);
        if (r < 0) {
            return r;
        }
        if (r > 0) {
            order[found++] = &names[i];
        }
    }
    if (found == 2 && strcmp(order[0]->target->where.path, order[1]->target->where.path) > 0) {
        struct naming_name *first = order[1];
        order[1] = order[0];
        order[0] = first;
    }
    for (int i = 0; i < found; i++) {
        int r = take(order[i], waited);
        if (r < 0) {
            return r;
        }
    }
    for (int i = 0; i < found; i++) {
        if (leads_elsewhere(order[i])) {
            return 1;
        }
    }
    return 0;
}

int naming_begin(struct naming_name *names, int count) {
    for (int i = 0; i < count; i++) {
        names[i].target = NULL;
        names[i].twin = names[i].kept = -1;
    }
    doing_begin(&names->doing, false);
    uint64_t waited = 0;
    int r = 1;
    for (int i = 0; r == 1 && i < ATTEMPTS; i++) {
        r = begin_once(names, count, &waited);
        if (r != 0) {
            release_all(names, count, false);
        }
    }
    if (r != 0) {
        doing_end();
    }
    return r == 1 ? -ESTALE : r;
}

int naming_directory(const struct naming_name *name) {
    return name->target ? name->target->where.directory : name->dirfd;
}

const char *naming_path(const struct naming_name *name) {
    return name->target ? name->target->where.name : name->path;
}
