/* A thread with a real-time priority that waits, and one without that cancels it, on one
 * processor: what the second has begun, the first must let it end. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_visit.h"

TestSuite(real_time, .init = lock_begin, .fini = lock_end, .timeout = 120);

#define MAY_NOT 77
#define TIMES 20

static int told[2];

static void *wait_again(void *data) {
    const struct sched_param priority = {.sched_priority = 1};
    if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) != 0) {
        _exit(MAY_NOT);
    }
    for (int i = 0; i < TIMES; i++) {
        if (filelock_acquire(lock, *(uint64_t *)data) != -ECANCELED ||
            write(told[1], "x", 1) != 1) {
            _exit(2);
        }
    }
    return NULL;
}

/* Who works for 100 ms at such a priority without a rest is ended by SIGXCPU. */
static int cancel_again(uint64_t timeout) {
    const struct rlimit limit = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
    pthread_t thread;
    cpu_set_t one;
    char byte;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof(one), &one) < 0 || setrlimit(RLIMIT_RTTIME, &limit) < 0 ||
        pipe(told) < 0 || pthread_create(&thread, NULL, wait_again, &timeout) != 0) {
        return MAY_NOT;
    }
    for (int i = 0; i < TIMES; i++) {
        wait_until_queued(getpid());
        filelock_cancel(lock);
        if (read(told[0], &byte, 1) != 1) {
            return 3;
        }
    }
    return pthread_join(thread, NULL) != 0;
}

static void is_cancelled(uint64_t timeout) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(cancel_again(timeout));
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    stranger_leaves(stranger);
    if (WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT) {
        lock_end();
        cr_skip_test("needs leave for a real-time priority");
    }
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

Test(real_time, a_wait_for_ever_is_cancelled) {
    is_cancelled(FILELOCK_FOREVER);
}

Test(real_time, a_limited_wait_is_cancelled) {
    is_cancelled(60 * FILELOCK_SECOND);
}
