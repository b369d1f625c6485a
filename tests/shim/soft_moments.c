/* kind=soft: what can happen between two steps of somebody else's, once in a million,
 * happens here each time (contract P3, H2, H4, W2). */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/shim/soft_scenario.h"
#include "tests/unit/lib_moment.h"

TestSuite(soft_moments, .init = soft_begin, .fini = scenario_end, .timeout = 120);

#define AT_LEAST_SO_LONG 300 /* milliseconds, for who is not to get it; too short fails nothing */

/* A thread of the puppet that waits for the file, and is stopped between two looks. */
static pid_t stop_one_that_waits(void) {
    CALL(0, "open_thread a.csv 2");
    wait_until_said("waiting");
    pid_t thread = moment_other_thread(puppet->pid);
    moment_join(thread);
    cr_assert(moment_before(thread, SYS_openat));
    return thread;
}

static void lead_to(pid_t pid, long number, int which, uint64_t mask, uint64_t value) {
    do {
        cr_assert(moment_before(pid, number));
    } while ((moment_arguments[which] & mask) != value);
}

/* Both have it open, each by itself: it is locked until both are closed. */
static void expect_both_hold(long one, long other) {
    cr_expect(one >= 3 && other >= 3 && one != other, "%ld and %ld", one, other);
    HELD;
    CALL(0, "close %ld", one);
    HELD;
    CALL(0, "close %ld", other);
    GONE;
}

/* A thread is about to join the hold, and has not done it yet, when the last reference
 * is closed. */
Scenario(soft_moments, one_joins_while_another_closes) {
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
    pid_t thread = stop_one_that_waits();
    (void)puppet_end(holder);
    CALL(3, "open a.csv 2");
    lead_to(thread, SYS_fcntl, 1, UINT32_MAX, F_DUPFD_CLOEXEC);
    cr_assert(moment_after(thread, SYS_statx));
    puppet_tell(puppet, "close 3");
    (void)puppet_first(&puppet, 1, AT_LEAST_SO_LONG);
    moment_leave(thread);
    cr_expect_eq(puppet_result(puppet), 0);
    long fd = puppet_call(puppet, "join_thread 0");
    cr_expect_geq(fd, 3);
    HELD;
    CALL(0, "close %ld", fd);
    GONE;
}

/* Of two threads that wait, one gets it while the other is about to see whose it is. */
Scenario(soft_moments, another_thread_s_lock_is_not_the_program_s_own) {
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
    pid_t thread = stop_one_that_waits();
    (void)puppet_end(holder);
    CALL(3, "open a.csv 2");
    moment_leave(thread);
    expect_both_hold(3, puppet_call(puppet, "join_thread 0"));
}

/* A thread breaks a marker: one that names this process stands in its place, which is
 * nobody's lock. */
Scenario(soft_moments, what_is_broken_is_not_the_program_s_own) {
    plant("a.csv.lock", 1, "elsewhere.example", "1\n");
    pid_t thread = stop_one_that_waits();
    plant("stale", dead_process(), this_host(), "");
    cr_assert_eq(rename("stale", "a.csv.lock"), 0);
    cr_assert(moment_after(thread, SYS_renameat2));
    cr_expect_eq(atol(file_content("a.csv.lock")), puppet->pid);
    puppet_tell(puppet, "open a.csv 2");
    cr_expect_eq(puppet_first(&puppet, 1, AT_LEAST_SO_LONG), -1, "not locked, and open");
    moment_leave(thread);
    long mine = puppet_result(puppet);
    expect_both_hold(mine, puppet_call(puppet, "join_thread 0"));
}

static void lead_to_open_of(pid_t pid, const char *start) {
    char path[sizeof(uint64_t)];
    do {
        cr_assert(moment_before(pid, SYS_openat));
        uint64_t word = moment_peek(pid, moment_arguments[1]);
        memcpy(path, &word, sizeof(path));
    } while (strncmp(path, start, strlen(start)) != 0);
}

/* The program has made the lock itself, and does not say so; but while it is looked at
 * another does the same. */
Scenario(soft_moments, the_program_s_own_lock_that_is_replaced) {
    CALL(3, "open a.csv.lock %d 0644", O_WRONLY | O_CREAT | O_EXCL);
    moment_join(puppet->pid);
    puppet_tell(puppet, "open a.csv 2");
    lead_to_open_of(puppet->pid, "/proc");
    lead_to_open_of(puppet->pid, "a.csv.l");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    put_file("a.csv.lock", "");
    moment_leave(puppet->pid);
    cr_expect_eq(puppet_first(&puppet, 1, AT_LEAST_SO_LONG), -1, "it was let in");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_expect_eq(puppet_result(puppet), 4);
    HELD;
    CALL(0, "close 4");
    CALL(0, "close 3");
    GONE;
}

static pid_t child_of(pid_t parent) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    pid_t child = 0;
    for (int i = 0; i < 3000 && child == 0; i++) {
        child = atoi(file_content(path));
        usleep(child ? 0 : 10000);
    }
    cr_assert_gt(child, 0);
    return child;
}

/* The child of a holder is let in, but the lock has become another's by then. */
Scenario(soft_moments, a_lock_that_changes_hands_lets_nobody_in) {
    cr_assert_eq(mkfifo("go", 0600), 0);
    CALL(3, "open a.csv 2");
    puppet_tell(puppet, "child_opens_after go a.csv 2");
    pid_t child = child_of(puppet->pid);
    moment_join(child);
    int go = open("go", O_RDWR | O_CLOEXEC);
    cr_assert_eq(write(go, "", 1), 1);
    lead_to(child, SYS_openat, 2, O_ACCMODE, O_RDWR); /* the marker's, for its turn */
    cr_assert_eq(unlink("a.csv.lock"), 0);
    plant("a.csv.lock", 1, "elsewhere.example", "1\n");
    moment_leave(child);
    cr_expect_eq(puppet_first(&puppet, 1, AT_LEAST_SO_LONG), -1, "it was let in");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_expect_eq(puppet_result(puppet), 0);
    close(go);
    CALL(0, "close 3");
    GONE;
}

/* A vforked child, whose memory is its parent's, is killed while it makes a lock: its
 * parent's threads go on as if nothing had happened. */
Scenario(soft_moments, a_vforked_child_that_is_killed_in_the_middle) {
    cr_assert_eq(mkfifo("go", 0600), 0);
    puppet_tell(puppet, "vfork_opens_after go b.csv 2");
    pid_t child = child_of(puppet->pid);
    moment_join(child);
    int go = open("go", O_RDWR | O_CLOEXEC);
    cr_assert_eq(write(go, "", 1), 1);
    cr_assert(moment_before(child, SYS_linkat));
    moment_kill(child);
    cr_expect_eq(puppet_result(puppet), SIGKILL);
    close(go);
    CALL(0, "thread_open a.csv 2");
    CALL(3, "thread_join");
    HELD;
    CALL(0, "close 3");
    GONE;
}
