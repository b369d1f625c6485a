#include "lib/take.h"

#include <errno.h>
#include <stddef.h>
#include <sys/file.h>

#include "lib/backoff.h"
#include "lib/flock_wait.h"
#include "lib/object.h"
#include "lib/process_mark.h"
#include "lib/soft.h"
#include "lib/sys_linux.h"

/* One round: open, lock, check that the path still leads there.
 * Returns 1 when locked, 0 for another round, or an error. */
static int flock_round(struct taking *taking) {
    int fd, operation = taking->shared ? LOCK_SH : LOCK_EX;
    struct sidecar_id id;
    int r = sidecar_open(AT_FDCWD, taking->path, SIDECAR_PLAIN, NULL, &fd, &id);
    if (r < 0) {
        return r;
    }
    uint64_t process = process_token();
    r = sys_flock(fd, operation | LOCK_NB);
    if (r == -EWOULDBLOCK) {
        r = object_thread_holds(id, taking->shared)
                ? -EDEADLK
                : flock_wait(fd, operation, taking->until, &taking->wait);
    }
    if (process_token() != process) {
        r = 0; /* a handler forked, and we are its child: this is our parent's lock */
    } else if (r == 0) {
        r = sidecar_is_current(AT_FDCWD, taking->path, fd, id);
    }
    if (r <= 0) {
        (void)sys_close(fd);
        return r;
    }
    taking->fd = fd;
    taking->id = id;
    return 1;
}

int take_flock(struct taking *taking) {
    for (int attempt = 0; attempt < SIDECAR_ATTEMPTS; attempt++) {
        int r = flock_round(taking);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
    }
    return -ESTALE;
}

/* There is a marker: 0 to try again at once (it was stale, or has gone), 1 to
 * wait for it, or an error. */
static int look_at_marker(const struct taking *taking) {
    struct soft_owner owner;
    struct sidecar_id id;
    int r = soft_judge(taking->path, &owner, &id);
    if (r < 0 || owner.state == SOFT_FREE) {
        return r;
    }
    if (owner.state == SOFT_DEAD) {
        r = soft_break(taking->path, true);
        return r == -EAGAIN ? 1 : r;
    }
    return object_thread_holds(id, false) ? -EDEADLK : 1;
}

/* A look first: making what is then in the way costs more. */
static int make_marker(struct taking *taking, const struct soft_text *text) {
    struct sys_stat stat;
    return sys_stat(AT_FDCWD, taking->path, AT_SYMLINK_NOFOLLOW, &stat) == 0
               ? -EEXIST
               : soft_make(taking->path, text, &taking->fd, &taking->id);
}

int take_soft(struct taking *taking) {
    signal_set blocked = signals_mask(SIGNALS_ALL);
    struct soft_text text;
    uint64_t pause = 0;
    int r;
    soft_text_compose(&text);
    while ((r = make_marker(taking, &text)) == -EEXIST) {
        if (cancel_requested(&taking->wait)) {
            r = -ECANCELED;
            break;
        }
        r = look_at_marker(taking);
        if (r > 0) {
            r = backoff_sleep(&pause, taking->until, blocked);
        }
        if (r < 0) {
            break;
        }
    }
    (void)signals_mask(blocked);
    return r;
}
