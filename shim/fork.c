#include "shim/fork.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/flock_wait.h"
#include "lib/process_mark.h"
#include "lib/sys_linux.h"
#include "shim/doing.h"
#include "shim/gate.h"
#include "shim/handover.h"
#include "shim/hold.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/table.h"
#include "shim/wait.h"
#include "shim/wrap.h"

static atomic_bool started;

/* `shared`: our descriptors are our parent's (clone with CLONE_FILES), and what
 * is in its threads' hands is not ours to close. */
static void after_fork(bool shared) {
    process_mark_claim();
    bool had_others = gate_after_fork();
    flock_wait_after_fork();
    wait_after_fork();
    if (!shared) {
        hold_after_fork(had_others);
    }
}

static void before_fork(void) {
    record_before_fork();
    handover_check();
    gate_close();
}

static void after_fork_in_child(void) {
    after_fork(false);
}

void fork_start(void) {
    process_mark_claim();
    atomic_store(&started, true);
    flock_wait_on_gone(doing_wait_is_gone);
    (void)pthread_atfork(before_fork, gate_open, after_fork_in_child);
}

void fork_notice(void) {
    if (process_mark_is_new()) {
        pid_t parent = (pid_t)SYS_CALL(SYS_getppid, 0, 0, 0, 0, 0, 0);
        after_fork(table_shares_descriptors(parent));
    }
}

pid_t wrap__Fork(void) {
    if (!atomic_load(&started)) {
        return real._Fork();
    }
    before_fork();
    pid_t pid = real._Fork();
    if (pid == 0) {
        after_fork(false);
    } else {
        gate_open();
    }
    return pid;
}

/* In the parent's frame, of which the child has a copy. */
struct start_of_child {
    int (*function)(void *);
    void *argument;
    bool shares_descriptors;
};

static int run_child(void *data) {
    const struct start_of_child start = *(const struct start_of_child *)data;
    after_fork(start.shares_descriptors);
    return start.function(start.argument);
}

typedef int real_clone(int (*function)(void *), void *stack, int flags, void *argument, ...);

/* A child that shares our memory is left alone: the table tells it apart. */
static int clone_any(int (*function)(void *), void *stack, int flags, void *argument,
                     void *const more[3], real_clone *call) {
    if (!atomic_load(&started) || !function || !stack || flags & CLONE_VM) {
        return call(function, stack, flags, argument, more[0], more[1], more[2]);
    }
    struct start_of_child start = {
        .function = function, .argument = argument, .shares_descriptors = flags & CLONE_FILES};
    before_fork();
    int pid = call(run_child, stack, flags, &start, more[0], more[1], more[2]);
    int saved = errno;
    gate_open();
    errno = saved;
    return pid;
}

/* parent_tid, tls and child_tid: where they are not given libc passes on
 * whatever there is as well. */
#define MORE(last)                                                                                 \
    va_list list;                                                                                  \
    va_start(list, last);                                                                          \
    void *more[3];                                                                                 \
    for (int i = 0; i < 3; i++) {                                                                  \
        more[i] = va_arg(list, void *);                                                            \
    }                                                                                              \
    va_end(list);

int wrap_clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
    MORE(argument)
    return clone_any(function, stack, flags, argument, more, real.clone);
}

#ifdef __GLIBC__
int wrap___clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
    MORE(argument)
    return clone_any(function, stack, flags, argument, more, real.__clone);
}
#endif
