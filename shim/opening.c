#include "shim/opening.h"

#include <errno.h>
#include <string.h>

#include "shim/cancelling.h"
#include "shim/failure.h"
#include "shim/handover.h"
#include "shim/hold.h"
#include "shim/quick.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/scratch.h"
#include "shim/start.h"
#include "shim/table.h"
#include "shim/trace.h"
#include "shim/unfollowed.h"

#define ATTEMPTS 100 /* times that the path may lead elsewhere after a wait */

static bool is_never_locked(int flags) {
    return flags & (O_PATH | O_DIRECTORY) || (flags & O_TMPFILE) == O_TMPFILE;
}

static bool follows_links(int flags) {
    return !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

static bool writes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

/* Whether the file is to be locked exclusively, shared (0) or not at all (-1). */
static int kind_of_lock(const struct rule_options *options, int flags) {
    if (writes(flags) || options->hold == HOLD_PROCESS || options->readers == READERS_EXCLUSIVE) {
        return 1;
    }
    return options->readers == READERS_NONE ? -1 : 0;
}

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum opening_way fail(struct opening *opening, int error) {
    opening->error = -error;
    return OPENING_FAILED;
}

/* Whether what the path leads to would be opened at all, and is a regular
 * file. OPENING_LOCKED stands for "is to be locked". */
static enum opening_way look_at_file(struct opening *opening) {
    struct target *target = opening->target;
    int flags = opening->flags;
    target->data.mode = (uint16_t)opening->mode;
    target->wants_read = (flags & O_ACCMODE) != O_WRONLY;
    target->wants_write = writes(flags);
    int r = target_look(target);
    if (r < 0) {
        return fail(opening, r);
    }
    if (!target->exists) {
        return flags & O_CREAT ? OPENING_LOCKED : fail(opening, -ENOENT);
    }
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return fail(opening, -EEXIST);
    }
    return S_ISREG(target->data.mode) ? OPENING_LOCKED : OPENING_PLAIN;
}

/* After a wait: a FIFO, say, must not be waited for with the lock in hand. */
static bool is_no_file(struct target *target) {
    return target_look(target) == 0 && target->exists && !S_ISREG(target->data.mode);
}

/* From the name to the file and what is to happen to it. */
static enum opening_way resolve(struct opening *opening) {
    struct target *target = opening->target;
    int r = target_find(target, opening->dirfd, opening->path, follows_links(opening->flags));
    if (r <= 0) {
        if (r == 0 && target->rule && target->rule->exclude) {
            trace_passed_over(target, "the rule takes it out");
        }
        return r < 0 ? fail(opening, r) : OPENING_PLAIN;
    }
    if (kind_of_lock(target->rule->options, opening->flags) < 0) {
        trace_passed_over(target, "readers=none");
        return OPENING_PLAIN;
    }
    return look_at_file(opening);
}

/* One pass: OPENING_LOCKED with the hold, or *ret_again. */
static enum opening_way begin_once(struct opening *opening, bool *ret_again) {
    struct target *target = opening->target;
    enum opening_way way = resolve(opening);
    if (way != OPENING_LOCKED) {
        target_done(target);
        return way;
    }
    const struct rule_options *options = target->rule->options;
    bool exclusive = kind_of_lock(options, opening->flags) > 0;
    int r = target_prepare(target);
    if (r < 0) {
        r = failure_decide(target, r);
        target_done(target);
        return r < 0 ? fail(opening, r) : OPENING_PLAIN;
    }
    target->waited_before = opening->waited;
    r = hold_take(target, exclusive, &opening->twin);
    opening->waited += target->wait_time;
    if (r < 0) {
        target_done(target);
        return fail(opening, r);
    }
    if (target->waited &&
        (is_no_file(target) || target_leads_elsewhere(target, opening->dirfd, opening->path,
                                                      follows_links(opening->flags)))) {
        hold_drop(opening->twin);
        target_done(target);
        *ret_again = true;
        return OPENING_FAILED;
    }
    if (options->hold == HOLD_PROCESS && !opening->for_child) {
        r = hold_keep(target, opening->twin, &opening->kept);
        if (r < 0) {
            hold_drop(opening->twin);
            target_done(target);
            return fail(opening, r);
        }
    }
    return OPENING_LOCKED;
}

enum opening_way opening_begin(struct opening *opening) {
    opening->target = NULL;
    opening->twin = opening->kept = -1;
    opening->waited = 0;
    if (!opening->path || is_never_locked(opening->flags) || !*last_component(opening->path)) {
        return OPENING_PLAIN;
    }
    handover_notice(opening->path);
    if (!opening->for_child) {
        cancelling_test_idle();
    }
    doing_begin(&opening->doing, !opening->for_child);
    opening->target = scratch_get();
    if (!opening->target) {
        doing_end();
        return fail(opening, -ENOMEM);
    }
    enum opening_way way = fail(opening, -ESTALE);
    bool again = true;
    for (int i = 0; again && i < ATTEMPTS; i++) {
        again = false;
        way = begin_once(opening, &again);
    }
    if (way == OPENING_LOCKED) {
        opening->cancel_state = cancelling_forbid();
    } else {
        scratch_put(opening->target);
        opening->target = NULL;
        doing_end();
    }
    return way;
}

/*
 * Whether the answer of openat2 is the one that open would give. It refuses what
 * open ignores (EINVAL), and a sandbox may refuse it with whatever error it likes.
 * So only what many programs meet all the time is believed, and what says that
 * there has been a wait; in all other cases the call is made that was meant.
 */
bool opening_openat2_settles(int r) {
    return r >= 0 || r == -ENOENT || r == -ENOTDIR || r == -EEXIST || r == -EISDIR || r == -EINTR ||
           r == -EAGAIN;
}

static int open_without_links(int dirfd, const char *path, int flags, mode_t mode) {
    bool makes = flags & O_CREAT;
    struct sys_open_how how = {.flags = (uint64_t)(unsigned)(flags | O_LARGEFILE),
                               .mode = makes ? mode & 07777 : 0,
                               .resolve = SYS_RESOLVE_NO_SYMLINKS};
    return sys_openat2(dirfd, path, &how);
}

/* A rule may match by name: does one, should there be no link? */
static int try_to_lock(const struct opening *opening, bool *ret_plain) {
    int r = OPENING_LOOK;
    struct target *room = scratch_get();
    const struct rule *rule;
    bool told = start_config.observe || say_debugs(); /* of each open, the long way */
    *ret_plain = false;
    if (room && !told && quick_decide(opening, room, &rule)) {
        int exclusive = rule ? kind_of_lock(rule->options, opening->flags) : -1;
        if (exclusive < 0) {
            *ret_plain = true;
        } else if (rule->options->hold == HOLD_OPEN && !rule->options->lockdir &&
                   rule->options->kind == KIND_FLOCK) {
            r = quick_open(opening, room, rule, exclusive);
        }
    }
    scratch_put(room);
    return r;
}

int opening_try(const struct opening *opening) {
    const char *path = opening->path;
    if (!path || is_never_locked(opening->flags) || !*last_component(path) || !real.open_is_libc) {
        return OPENING_LOOK;
    }
    handover_notice(path);
    if (target_may_match(path)) {
        cancelling_test_idle();
        bool plain;
        int r = try_to_lock(opening, &plain);
        if (!plain) {
            return r;
        }
    }
    int type = cancelling_begin(); /* a FIFO may have to be waited for */
    int r = open_without_links(opening->dirfd, path, opening->flags, opening->mode);
    cancelling_end(type);
    if (!opening_openat2_settles(r)) {
        return OPENING_LOOK;
    }
    opening_plain(r);
    return r;
}

bool opening_is_plain(const struct opening *opening) {
    const char *path = opening->path;
    if (!path || is_never_locked(opening->flags) || !*last_component(path)) {
        return true;
    }
    if (target_may_match(path)) {
        return false;
    }
    int r = open_without_links(opening->dirfd, path, O_PATH | O_CLOEXEC, 0);
    if (r >= 0) {
        (void)sys_close(r);
    }
    return r >= 0 || r == -ENOENT;
}

void opening_plain(int fd) {
    if (fd >= 0) {
        reference_heal(fd);
        say_number_opened(fd);
    }
}

static int open_locked(const struct opening *opening) {
    const struct target *target = opening->target;
    int r = -ENOSYS;
    if (target->where.via_proc) {
        /* Through a magic link: the file itself, whatever its name is now. */
        return sys_openat(opening->dirfd, opening->path, opening->flags | O_LARGEFILE,
                          opening->mode);
    }
    if (real.open_is_libc) {
        r = open_without_links(target->where.directory, target->where.name, opening->flags,
                               opening->mode);
    }
    if (opening_openat2_settles(r) || r == -ELOOP) {
        return r;
    }
    return unfollowed_open(target->where.directory, target->where.name, opening->flags,
                           opening->mode);
}

const char *opening_name(const struct opening *opening, struct text *room) {
    return target_name(opening->target, opening->path, room);
}

void opening_bind(struct opening *opening, int fd) {
    bool before = table_settle();
    hold_kept(opening->kept, fd >= 0);
    opening->kept = -1;
    if (fd < 0) {
        hold_drop(opening->twin);
    } else {
        reference_set(fd, opening->twin, opening->flags & O_CLOEXEC);
        say_number_opened(fd);
    }
    target_done(opening->target);
    table_unsettle(before);
    scratch_put(opening->target);
    opening->target = NULL;
    doing_end();
    cancelling_allow(opening->cancel_state);
}

int opening_keep(struct opening *opening) {
    int twin = opening->twin;
    opening->twin = -1;
    opening_bind(opening, -1);
    return twin;
}

int opening_finish(struct opening *opening) {
    int fd = open_locked(opening);
    for (int i = 0; fd == -ELOOP && i < ATTEMPTS; i++) {
        /* The file has become a link meanwhile: it leads elsewhere. */
        opening_bind(opening, -1);
        enum opening_way way = opening_begin(opening);
        if (way == OPENING_FAILED) {
            return -opening->error;
        }
        if (way == OPENING_PLAIN) {
            return OPENING_LOOK;
        }
        fd = open_locked(opening);
    }
    opening_bind(opening, fd);
    return fd;
}
