/* FILELOCK_FAIR: a gap for those who poll. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
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

static int loops_for_a_while(void) {
    struct filelock *fair;
    return filelock_create(&fair, "a.lock", FILELOCK_FAIR) < 0 ||
           longest_gap(fair, 1300000, FILELOCK_FOREVER) == 0;
}

/* Longer than the 50 ms between two looks of py-filelock. From outside, and as it is at
 * the least, whatever else the machine does: it stands still between the end of its
 * unlocking and the beginning of the next attempt while we look at the clock. */
Test(fair, the_gap_is_as_long_as_documented) {
    uint64_t released = 0, longest = 0;
    pid_t pid = moment_start(loops_for_a_while);
    while (moment_before(pid, SYS_flock)) {
        bool unlocks = moment_arguments[1] == LOCK_UN;
        uint64_t gap = released ? now_usec() - released : 0;
        longest = !unlocks && gap > longest ? gap : longest;
        cr_assert(moment_after_this(pid));
        released = unlocks ? now_usec() : 0;
    }
    cr_expect_eq(moment_end(pid), 0);
    cr_expect(longest >= 60000, "%ld us", (long)longest);
}

static struct filelock *shared_object;
static _Atomic uint64_t second_released;

static void *second_thread(void *nothing) {
    const struct timespec time = {.tv_nsec = 30000000};
    if (filelock_acquire(shared_object, FILELOCK_FOREVER) == 0) {
        (void)nanosleep(&time, NULL);
        second_released = now_usec();
        (void)filelock_release(shared_object);
    }
    return nothing;
}

/* How long the lock was left alone behind a thread that had stood in the queue as the
 * gap began. 0 where it cannot be told: the machine pauses for too long, or the kernel
 * gives the lock back to us before that thread is awake. */
static uint64_t gap_behind_second_thread(void) {
    const struct timespec time = {.tv_nsec = 150000000};
    pthread_t thread;
    cr_assert_eq(filelock_create(&shared_object, "a.lock", FILELOCK_FAIR), 0);
    (void)longest_gap(shared_object, 900000, FILELOCK_FOREVER);
    second_released = 0;
    cr_assert_eq(filelock_acquire(shared_object, FILELOCK_FOREVER), 0);
    cr_assert_eq(pthread_create(&thread, NULL, second_thread, NULL), 0);
    wait_until_queued(getpid());
    (void)nanosleep(&time, NULL);
    cr_assert_eq(filelock_release(shared_object), 0);
    cr_assert_eq(filelock_acquire(shared_object, FILELOCK_FOREVER), 0);
    uint64_t acquired = now_usec(), released = second_released;
    cr_assert_eq(filelock_release(shared_object), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    filelock_destroy(shared_object);
    return released ? acquired - released : 0;
}

Test(fair, the_gap_of_two_threads) {
    uint64_t gap = 0;
    for (int attempt = 0; attempt < 20 && gap < 60000; attempt++) {
        gap = gap_behind_second_thread();
    }
    cr_expect(gap >= 60000, "%ld us", (long)gap);
}

/* Whose timeout is shorter leaves the gap all the same, but in pieces. */
Test(fair, the_gap_with_short_timeouts) {
    struct filelock *fair;
    uint64_t left_alone = 0, end = now_usec() + 30 * FILELOCK_SECOND;
    cr_assert_eq(filelock_create(&fair, "a.lock", FILELOCK_FAIR), 0);
    for (uint64_t released = now_usec(); left_alone < 45000 && released < end;) {
        cr_assert_eq(filelock_acquire(fair, 15000), 0);
        uint64_t piece = now_usec() - released;
        left_alone = piece >= 10000 ? left_alone + piece : 0;
        released = now_usec();
        cr_assert_eq(filelock_release(fair), 0);
    }
    cr_expect_geq(left_alone, 45000);
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
    cr_expect_not(moment_before(pid, CALL_OF_SLEEP), "it sleeps");
    cr_expect_eq(moment_end(pid), 0);
}

/* A signal handler forks in the gap, and its child goes back into the acquire: it has
 * the lock afterwards like any other, and can release it. */
static pid_t forked = -1;
static void fork_here(int number) {
    (void)number;
    forked = fork();
}
static int forks_in_the_gap(void) {
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    struct filelock *fair;
    int status;
    if (sigaction(SIGUSR1, &action, NULL) < 0 ||
        filelock_create(&fair, "a.lock", FILELOCK_FAIR) < 0) {
        return 2;
    }
    while (forked < 0) {
        if (filelock_acquire(fair, FILELOCK_FOREVER) != 0 || filelock_count(fair) != 1 ||
            filelock_release(fair) != 0) {
            return 1;
        }
    }
    if (forked == 0) {
        _exit(0);
    }
    return waitpid(forked, &status, 0) != forked || status != 0;
}

Test(fair, a_fork_in_the_gap) {
    pid_t pid = moment_start(forks_in_the_gap);
    cr_assert(moment_before(pid, CALL_OF_SLEEP), "the gap");
    cr_assert_eq(kill(pid, SIGUSR1), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
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
