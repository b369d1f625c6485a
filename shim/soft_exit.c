/*
 * The end of the process, for soft holds (contract H10): nobody but this process
 * removes its markers, and where another host waits nobody can tell that it is gone.
 *
 *   - exit(3), and the end of main: as late as libc lets us, behind all of the
 *     program's and the libraries' own handlers and destructors, which may still
 *     write; but before stdio flushes, so that streams on the files are flushed here.
 *   - _exit(2), _Exit(3), quick_exit(3), daemon(3): nothing is flushed, as ever.
 *   - What remains (a signal, abort, syscall(SYS_exit)) leaves a stale marker; so does
 *     a stream that another thread has in hand.
 *
 * On network file systems what was written reaches the others when a descriptor is
 * closed (nfs(5), close-to-open), so one is, before the marker goes.
 */
#include <stdlib.h>

#include "lib/flock_wait.h"
#include "lib/sys_linux.h"
#include "shim/flushing.h"
#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/soft.h"
#include "shim/soft_exit.h"
#include "shim/wrap.h"

static void write_back(int fd) {
    int copy = flock_wait_is_remote(fd) ? sys_fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy >= 0) {
        (void)sys_close(copy);
    }
}

static void write_all_back(struct sidecar_id id) {
    for (int hidden = table_previous(TABLE_HIDDEN, TABLE_NOBODY); hidden >= 0;
         hidden = table_previous(TABLE_HIDDEN, hidden)) {
        table_word word = table_get(hidden);
        struct sidecar_id other;
        int served = table_serves(word);
        if (served >= 0 && table_id(hidden, word, &other) && sidecar_same(id, other)) {
            write_back(served);
        }
    }
}

static bool is_own_anchor(int fd) {
    return table_other(table_get(fd)) == TABLE_ANCHOR && hidden_is_own_soft(fd);
}

bool soft_exit_has_holds(void) {
    int fd = soft_is_used() ? table_previous(TABLE_HIDDEN, TABLE_NOBODY) : -1;
    while (fd >= 0 && !is_own_anchor(fd)) {
        fd = table_previous(TABLE_HIDDEN, fd);
    }
    return fd >= 0;
}

static void end_all(bool flushes) {
    if (!soft_is_used()) {
        return;
    }
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        struct sidecar_id id;
        if (!is_own_anchor(fd) || !table_id(fd, table_get(fd), &id) ||
            (flushes && !flushing_flush(id))) {
            continue;
        }
        write_all_back(id);
        soft_end(fd);
    }
}

#ifdef __GLIBC__
/* What is registered first runs last; and what belongs to no object does not run when
 * ours is finalised, which comes before others are. */
extern int __cxa_atexit(void (*function)(void *), void *argument, void *object);

static void at_exit(void *unused) {
    (void)unused;
    end_all(true);
}

static void register_at_exit(void) {
    (void)__cxa_atexit(at_exit, NULL, NULL);
}
#else
static void register_at_exit(void) {
}

/* musl runs these behind all that atexit(3) has registered. */
__attribute__((destructor)) static void at_exit(void) {
    end_all(true);
}
#endif

void soft_exit_at_once(void) {
    end_all(false);
}

void soft_exit_start(void) {
    register_at_exit();
    (void)at_quick_exit(soft_exit_at_once);
}

void wrap__exit(int status) {
    soft_exit_at_once();
    real._exit(status);
}

void wrap__Exit(int status) {
    soft_exit_at_once();
    real._Exit(status);
}
