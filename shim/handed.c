#include "shim/handed.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "config/sidecar_path.h"
#include "lib/sidecar.h"
#include "shim/gate.h"
#include "shim/record.h"
#include "shim/start.h"

#define SIDECAR_FLAGS (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)
#define SECOND UINT64_C(1000000000)

/* In nanoseconds; 0 as long as none was made. A moment that is past, to the nanosecond:
 * no other process has the same, nor a file that is made later. */
static _Atomic uint64_t mark;

struct sys_stat_time handed_mark(void) {
    uint64_t known = atomic_load_explicit(&mark, memory_order_relaxed);
    struct timespec now;
    if (known == 0 && sys_clock(CLOCK_REALTIME, &now) == 0) {
        uint64_t made = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec - SECOND;
        if (atomic_compare_exchange_strong(&mark, &known, made)) {
            known = made;
        }
    }
    return (struct sys_stat_time){.seconds = (int64_t)(known / SECOND),
                                  .nanoseconds = (uint32_t)(known % SECOND)};
}

static bool is_marked(const struct sys_stat *stat, uint64_t known) {
    return S_ISREG(stat->mode) && stat->size == 0 && stat->nlink == 1 &&
           (uint64_t)stat->atime.seconds * SECOND + stat->atime.nanoseconds == known;
}

/* fd is a new description of it: who locks that is alone, and so the mark goes once. */
static bool take(int dirfd, const char *path, int fd, uint64_t known) {
    const long now_and_as_it_is[] = {0, UTIME_NOW, 0, UTIME_OMIT};
    struct sys_stat stat;
    return sys_flock(fd, LOCK_EX | LOCK_NB) == 0 && sys_fstat(fd, &stat) == 0 &&
           is_marked(&stat, known) &&
           sidecar_is_current(dirfd, path, fd, sidecar_id_of(&stat)) == 1 &&
           SYS_CALL(SYS_utimensat, fd, NULL, now_and_as_it_is, 0, 0, 0) == 0;
}

bool handed_over(int dirfd, const char *path, int flags) {
    uint64_t known = atomic_load_explicit(&mark, memory_order_relaxed);
    struct sys_stat stat;
    if (known == 0 || (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL) ||
        !sidecar_has_suffix(path, strlen(path)) ||
        sys_stat(dirfd, path, AT_SYMLINK_NOFOLLOW, &stat) < 0 || !is_marked(&stat, known) ||
        record_any()) { /* on this one, maybe: closing it would cost those (O7) */
        return false;
    }
    signal_set before = signals_mask(SIGNALS_ALL);
    struct gate gate = gate_enter();
    int fd = sys_openat(dirfd, path, SIDECAR_FLAGS, 0);
    bool taken = fd >= 0 && take(dirfd, path, fd, known);
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    gate_leave(gate);
    (void)signals_mask(before);
    return taken;
}
