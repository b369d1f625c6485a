/* FILELOCK_FAIR: a gap for those who poll. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

TestSuite(fair, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static uint64_t now_usec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * FILELOCK_SECOND + (uint64_t)now.tv_nsec / 1000;
}

/* Acquires for so long; the longest time between a release and the next hold. */
static uint64_t longest_gap(struct filelock *lock, uint64_t duration, uint64_t timeout) {
    uint64_t start = now_usec(), released = 0, longest = 0;
    while (now_usec() - start < duration) {
        if (filelock_acquire(lock, timeout) < 0) {
            return 0;
        }
        uint64_t gap = released ? now_usec() - released : 0;
        longest = gap > longest ? gap : longest;
        if (filelock_release(lock) < 0) {
            return 0;
        }
        released = now_usec();
    }
    return longest;
}

/* Longer than the 50 ms between two looks of py-filelock. */
Test(fair, the_gap_is_as_long_as_documented) {
    struct filelock *fair;
    cr_assert_eq(filelock_create(&fair, "a.lock", FILELOCK_FAIR), 0);
    uint64_t gap = longest_gap(fair, 1300000, FILELOCK_FOREVER);
    cr_expect(gap >= 59000, "%ld us", (long)gap);
    filelock_destroy(fair);
}

/* One try is one try: no gap. Any sleep fails the call that sleeps and shows. */
static int tries_without_sleeping(void) {
    struct filelock *fair;
    return filelock_create(&fair, "a.lock", FILELOCK_FAIR) < 0 ||
           longest_gap(fair, 1300000, FILELOCK_ONCE) == 0;
}

Test(fair, no_gap_beyond_the_deadline) {
    pid_t pid = moment_start(tries_without_sleeping);
    cr_expect_not(moment_before(pid, SYS_clock_nanosleep), "it sleeps");
    cr_expect_eq(moment_end(pid), 0);
}

/* Somebody who looks every 50 ms gets a turn soon. */
Test(fair, a_fair_object_lets_a_poller_in) {
    put_file("count", "0");
    pid_t poller = start_shell(NULL, "exec timeout 60 /usr/bin/python3 -c 'import filelock\n"
                                     "lock = filelock.FileLock(\"a.lock\")\n"
                                     "open(\"ready\", \"w\").close()\n"
                                     "for i in range(3):\n"
                                     "    with lock: pass\n"
                                     "open(\"done\", \"w\").close()'");
    struct filelock *fair;
    cr_assert_eq(filelock_create(&fair, "a.lock", FILELOCK_FAIR), 0);
    while (access("done", F_OK) < 0) {
        cr_assert_eq(filelock_acquire(fair, FILELOCK_FOREVER), 0);
        cr_assert_eq(filelock_release(fair), 0);
    }
    filelock_destroy(fair);
    cr_expect_eq(end_shell(poller), 0);
}

/* The gap never makes a free lock look held. */
Test(fair, a_fair_object_never_fails_for_its_gap) {
    struct filelock *fair;
    cr_assert_eq(filelock_create(&fair, "a.lock", FILELOCK_FAIR), 0);
    for (uint64_t end = now_usec() + 3 * FILELOCK_SECOND; now_usec() < end;) {
        cr_assert_eq(filelock_acquire(fair, FILELOCK_ONCE), 0);
        cr_assert_eq(filelock_release(fair), 0);
        cr_assert_eq(filelock_acquire(fair, 2000), 0);
        cr_assert_eq(filelock_release(fair), 0);
    }
    filelock_destroy(fair);
}
