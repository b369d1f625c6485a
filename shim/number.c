#include "shim/number.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/signals.h"
#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/record.h"

#define PLACES 16 /* at the top, for the twins of 0 to 2; fewer where all are few */
#define CHILD_STACK 16384

static bool set_limit(const struct rlimit *limit, struct rlimit *ret_before) {
    return SYS_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, ret_before, 0, 0) == 0;
}

static int soft_limit(void) {
    struct rlimit limit;
    if (!set_limit(NULL, &limit) || limit.rlim_cur > HIDDEN_END) {
        return HIDDEN_END;
    }
    return (int)limit.rlim_cur;
}

int number_beyond(void) {
    struct rlimit limit;
    return set_limit(NULL, &limit) && limit.rlim_cur < INT_MAX / 4 ? (int)limit.rlim_cur : 0;
}

/* What the limit was when it was last asked for; 0: never. A program that has
 * lowered it since is noticed when a number turns out to be too high. */
static _Atomic int known_limit;

static int end_of_block(int limit) {
    return limit - (limit >= 8 * PLACES ? PLACES : 4);
}

static int block_size(int limit) {
    return limit / 16 > 0 ? limit / 16 : 1;
}

/* Whether a number that has been got is to be taken, wherever it is below `end`. Giving
 * it back would cost the program its record locks on a sidecar (record.h): then it may
 * be any. */
static bool will_do(int fd, int end) {
    return fd >= 0 && (fd < end || record_any());
}

/* The lowest free number from `low` on. -EMFILE, too, where that will not do. */
static int duplicate_between(int from, int low, int end) {
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    if (fd < 0 || will_do(fd, end)) {
        return fd;
    }
    (void)sys_close(fd);
    return -EMFILE;
}

/* A number of the highest block, as nearly always; or an error. */
static int duplicate_highest(int from) {
    int limit = atomic_load_explicit(&known_limit, memory_order_relaxed);
    if (limit == 0) {
        return -EMFILE;
    }
    int end = end_of_block(limit);
    return duplicate_between(from, end - block_size(limit), end);
}

static int next_place(int low, int program_fd) {
    return low + ((program_fd - low) & 3);
}

/* From `low` on, below `end`, one that serves program_fd. Never onto a number that is in
 * use: F_DUPFD gives another then. */
static int duplicate_at_place(int from, int low, int end, int program_fd) {
    int place = next_place(low, program_fd);
    while (place < end) {
        int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, place);
        if (fd == place || fd < 0) {
            return fd;
        }
        (void)sys_close(fd);
        place = next_place(fd, program_fd); /* there is none between */
    }
    return -EMFILE;
}

static bool is_none_free(int fd) {
    return fd == -EMFILE || fd == -EINVAL; /* EINVAL: not below the soft limit either */
}

/* Room for as many again. Root may raise the hard limit, too. */
static bool raise_limit(const struct rlimit *from) {
    rlim_t soft = 2 * from->rlim_cur + HIDDEN_BEYOND;
    struct rlimit raised = {soft, soft > from->rlim_max ? soft : from->rlim_max};
    if (set_limit(&raised, NULL)) {
        return true;
    }
    raised = (struct rlimit){from->rlim_max, from->rlim_max};
    return from->rlim_max > from->rlim_cur && set_limit(&raised, NULL);
}

struct beyond {
    int from, program_fd;
    volatile int fd;
};

static int duplicate_above_limit(void *data) {
    struct beyond *beyond = data;
    struct rlimit before;
    if (set_limit(NULL, &before) && before.rlim_cur < INT_MAX / 4 && raise_limit(&before)) {
        int low = (int)before.rlim_cur;
        beyond->fd =
            beyond->program_fd < 0
                ? sys_fcntl(beyond->from, F_DUPFD_CLOEXEC, low + PLACES)
                : duplicate_at_place(beyond->from, low, low + HIDDEN_BEYOND, beyond->program_fd);
    }
    return 0;
}

static void wait_for(pid_t child) {
    while (SYS_CALL(SYS_wait4, child, NULL, __WALL, NULL, 0, 0) == -EINTR) {
    }
}

/* Numbers that the program cannot even ask for with dup2. A higher limit is what it takes;
 * but the program's own must not change even for a moment: other threads would see it, and
 * what they start would inherit it. A child that has our descriptors has limits of its own.
 * We sleep until it is gone, and no signal tells of it. */
static int duplicate_beyond(int from, int program_fd) {
    struct beyond beyond = {.from = from, .program_fd = program_fd, .fd = -EMFILE};
    char *stack = sys_map(CHILD_STACK);
    if (!stack) {
        return -EMFILE;
    }
    int saved = errno;
    signal_set blocked = signals_mask(SIGNALS_ALL);
    pid_t child = REAL(clone)(duplicate_above_limit, stack + CHILD_STACK,
                              CLONE_VM | CLONE_FILES | CLONE_VFORK, &beyond);
    if (child > 0) {
        wait_for(child);
    }
    (void)signals_mask(blocked);
    errno = saved;
    sys_unmap(stack, CHILD_STACK);
    return beyond.fd == -EINVAL ? -EMFILE : beyond.fd;
}

/* The lowest free number of the highest block that has one, under the places
 * for stdio; then any other number. */
int number_high(int from) {
    int quick = duplicate_highest(from);
    if (quick >= 0) {
        return quick;
    }
    int limit = soft_limit();
    atomic_store_explicit(&known_limit, limit, memory_order_relaxed);
    int end = end_of_block(limit), block = block_size(limit);
    for (int low = end - block; low > limit / 2; low -= block) {
        int fd = duplicate_between(from, low, end);
        if (fd != -EMFILE && fd != -EINVAL) {
            return fd;
        }
    }
    int fd = sys_fcntl(from, F_DUPFD_CLOEXEC, limit);
    for (int low = limit / 2; fd < 0 && low > HIDDEN_STDIO; low /= 2) {
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, low);
    }
    if (fd == -EINVAL) { /* the limit is no number itself, and there is no other */
        fd = sys_fcntl(from, F_DUPFD_CLOEXEC, HIDDEN_STDIO);
    }
    return is_none_free(fd) ? duplicate_beyond(from, -1) : fd;
}

/* From the top down, in ever larger steps. */
int number_at_place(int from, int program_fd) {
    int limit = soft_limit(), fd = -EMFILE;
    for (int end = limit, step = 4; is_none_free(fd) && end > limit / 2;
         end -= step, step *= end > limit - PLACES ? 1 : 2) {
        int low = end - step > limit / 2 ? end - step : limit / 2 + 1;
        fd = duplicate_at_place(from, low, end, program_fd);
    }
    if (is_none_free(fd)) {
        fd = duplicate_at_place(from, limit, limit + HIDDEN_BEYOND, program_fd);
    }
    return is_none_free(fd) ? duplicate_beyond(from, program_fd) : fd;
}

int number_lowest_placed(void) {
    return soft_limit() / 2 + 1;
}
