#include "shim/soft.h"

#include <errno.h>
#include <stdatomic.h>

#include "lib/soft.h"
#include "lib/sys_linux.h"
#include "shim/failure.h"
#include "shim/hidden.h"
#include "shim/say.h"
#include "shim/soft_exit.h"
#include "shim/soft_place.h"
#include "shim/spin.h"

/* Everybody may read who has it, and so tell whether it is stale. */
#define READABLE 0444

static atomic_bool used;
static struct spin spin;
static _Thread_local unsigned depth __attribute__((tls_model("initial-exec")));

bool soft_is_used(void) {
    return atomic_load_explicit(&used, memory_order_relaxed);
}

/* Behind the gate, so that fork waits until nobody is inside. A child that shares our
 * memory has holds of its own only, and might be killed in here. */
struct soft_section soft_enter(void) {
    struct soft_section section = {.entered = soft_is_used() && !table_is_foreign()};
    if (section.entered) {
        section.gate = gate_enter();
        if (depth++ == 0) {
            section.before = spin_lock(&spin);
        }
    }
    return section;
}

void soft_leave(struct soft_section section) {
    if (section.entered) {
        if (--depth == 0) {
            spin_unlock(&spin, section.before);
        }
        gate_leave(section.gate);
    }
}

static void say_cannot_remove(const char *path, int error) {
    const char *why = error == -ENOENT ? "it has been moved away" : say_error(-error);
    TEXT(line, 900);
    text_put(&line, "cannot remove the lock file ");
    text_put_visible(&line, *path ? path : "of a file");
    text_put(&line, ": ");
    text_put(&line, why ? why : "it cannot be unlinked");
    text_put(&line, "; others wait until this process has ended");
    say(&line);
}

static void remove_marker(struct sidecar_id id, int fd) {
    const char *path = soft_place_find(id);
    int r = soft_unlink(AT_FDCWD, path, fd);
    if (r < 0 && r != -ESTALE) { /* -ESTALE: somebody else has done it */
        say_cannot_remove(path, r);
    }
    soft_place_drop(id);
}

/* Hidden descriptors of a marker that has just been made as `fd`. 0 or an error. */
static int make_hidden(int fd, struct sidecar_id id, int *ret_twin) {
    int anchor = hidden_make(fd, MODE_NOTHING, id);
    if (anchor < 0) {
        return anchor;
    }
    hidden_mark(anchor, TABLE_ANCHOR);
    (void)sys_fcntl(anchor, F_SETFD, 0);
    int twin = hidden_make(fd, MODE_EXCLUSIVE, id);
    if (twin < 0) {
        hidden_close(anchor);
        return twin;
    }
    *ret_twin = twin;
    return 0;
}

static int make(struct target *target, int *ret_twin) {
    struct soft_text text;
    struct sidecar_id id;
    int fd, directory = target->where.directory;
    int r = soft_text_compose(&text);
    if (r < 0) {
        return r;
    }
    r = soft_make(directory, target->sidecar, &text, READABLE, &fd, &id);
    if (r < 0) {
        target->no_sidecar = r != -EEXIST;
        return r;
    }
    hidden_mark_soft(fd, target->rule->options->inherit);
    r = make_hidden(fd, id, ret_twin);
    if (r < 0) {
        (void)soft_unlink(directory, target->sidecar, fd);
    } else {
        soft_place_add(id, target);
    }
    (void)sys_close(fd);
    return r;
}

/* It is there: is it ours? While one of ours is being released only its anchor shows. */
static int join(struct sidecar_id id, int *ret_twin) {
    table_word word;
    int anchor = hidden_find_marked(id, TABLE_ANCHOR);
    if (anchor < 0 || !hidden_is_own_soft(anchor)) {
        return -EEXIST;
    }
    int own = hidden_find(id, -1, &word);
    int twin = own < 0 ? -EBADF : hidden_copy(own, word, MODE_EXCLUSIVE, id);
    if (twin < 0) {
        return twin == -EBADF ? -EAGAIN : twin;
    }
    *ret_twin = twin;
    return 0;
}

static int try_inside(struct target *target, int *ret_twin) {
    struct sys_stat stat;
    int r = sys_stat(target->where.directory, target->sidecar, AT_SYMLINK_NOFOLLOW, &stat);
    if (r == 0) {
        return join(sidecar_id_of(&stat), ret_twin);
    }
    if (r != -ENOENT) {
        return r;
    }
    if (target->only_existing && !target->waited) {
        *ret_twin = -1;
        return 0;
    }
    r = failure_before_wait(target);
    return r < 0 ? r : make(target, ret_twin);
}

int soft_try(struct target *target, int *ret_twin) {
    struct soft_section section = soft_enter();
    int r = try_inside(target, ret_twin);
    soft_leave(section);
    return r;
}

static bool is_referred_to(struct sidecar_id id, int except) {
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        table_word word = table_get(fd);
        struct sidecar_id other;
        if (fd != except && table_is_locked(word) && table_id(fd, word, &other) &&
            sidecar_same(id, other)) {
            return true;
        }
    }
    return false;
}

void soft_closing(int fd, table_word before) {
    struct sidecar_id id;
    if (!soft_is_used() || table_other(before) == TABLE_ANCHOR || !hidden_is_own_soft(fd) ||
        !table_id(fd, table_get(fd), &id)) {
        return;
    }
    int anchor = -1;
    struct soft_section section = soft_enter();
    if (!is_referred_to(id, fd)) {
        remove_marker(id, fd);
        anchor = hidden_find_marked(id, TABLE_ANCHOR);
    }
    soft_leave(section);
    if (anchor >= 0) {
        hidden_close(anchor);
    }
}

void soft_end(int anchor) {
    struct sidecar_id id;
    struct soft_section section = soft_enter();
    if (table_id(anchor, table_get(anchor), &id)) {
        remove_marker(id, anchor);
    }
    soft_leave(section);
}

void soft_picked_up(int anchor, bool has_references) {
    if (!has_references) {
        soft_end(anchor);
        hidden_close(anchor);
    }
}

void soft_start(void) {
    if (!atomic_exchange(&used, true)) {
        soft_exit_start();
    }
}
