/* Waits that end otherwise than by a lock: signals, jumps, cancellation, time
 * (contract W1, W4). Afterwards nothing is left of them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct stranger stranger;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
    stranger = stranger_locks("a.csv", LOCK_EX);
}

TestSuite(interrupted, .init = begin, .fini = scenario_end, .timeout = 120);

/* The real-time signals that have a handler, as the kernel sees it, without those that
 * libc has for itself. */
static unsigned long long caught(pid_t pid) {
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    const char *at = strstr(file_content(path), "SigCgt:");
    cr_assert(at);
    return strtoull(at + strlen("SigCgt:"), NULL, 16) >> (SIGRTMIN - 1);
}

/* No descriptor, timer, handler or signal mask, and no lock once the stranger
 * has gone. What a jump leaves is tidied up by the next tick, within a second. */
static void expect_nothing_left(struct puppet *puppet, const char *mask) {
    for (int i = 0; i < 1000 && puppet_call(puppet, "list_above") != 0; i++) {
        usleep(10000);
    }
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s", puppet->text);
    for (int i = 0; i < 1000 && puppet_call(puppet, "timers") > 0; i++) {
        usleep(10000);
    }
    cr_expect_leq(puppet_call(puppet, "timers"), 0);
    cr_expect_eq(puppet_call(puppet, "handlers"), 0);
    cr_expect_eq(caught(puppet->pid), 0, "%llx", caught(puppet->pid));
    (void)puppet_call(puppet, "mask");
    cr_expect_str_eq(puppet->text, mask);
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

static char *mask_of(struct puppet *puppet) {
    (void)puppet_call(puppet, "mask");
    return strdup(puppet->text);
}

Test(interrupted, a_handler_that_jumps_out) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    char *mask = mask_of(puppet);
    for (int i = 0; i < 20; i++) {
        puppet_tell(puppet, "jump_open a.csv 2");
        wait_until_queued(puppet->pid);
        cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
        cr_assert_eq(puppet_result(puppet), -7);
        cr_assert_leq(puppet_call(puppet, "numbers"), 3, "%s", puppet->text);
    }
    expect_nothing_left(puppet, mask);
}

static void a_cancelled_thread(const char *rule, int type) {
    struct puppet *puppet = puppet_start(rule, NULL);
    char *mask = mask_of(puppet);
    cr_assert_eq(puppet_call(puppet, "open_thread a.csv 2 %d", type), 0);
    wait_until_queued(puppet->pid);
    cr_assert_eq(puppet_call(puppet, "cancel_thread 0"), 0);
    cr_expect_eq(puppet_call(puppet, "join_thread 0"), -8);
    expect_nothing_left(puppet, mask);
}

Test(interrupted, a_thread_that_is_cancelled_at_any_time) {
    a_cancelled_thread("*.csv", PTHREAD_CANCEL_ASYNCHRONOUS);
}

Test(interrupted, with_all_signals_blocked_the_time_counts) {
    struct puppet *puppet = puppet_start("*.csv timeout=60ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "block_signals 1"), 0);
    char *mask = mask_of(puppet);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    expect_nothing_left(puppet, mask);
}

Test(interrupted, without_a_timer_the_time_counts) {
    struct puppet *puppet = puppet_start("*.csv timeout=60ms", "AUTOLOCK_LOG=log", NULL);
    char *mask = mask_of(puppet);
    cr_assert_eq(puppet_call(puppet, "no_pending_signals"), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    expect_nothing_left(puppet, mask);
}

Test(interrupted, threads_with_timeouts_of_their_own) {
    struct puppet *puppet =
        puppet_start("*.csv timeout=50ms:b.csv timeout=400ms:c.csv", "AUTOLOCK_LOG=log", NULL);
    put_file("b.csv", "");
    put_file("c.csv", "");
    char *mask = mask_of(puppet);
    struct stranger two = stranger_locks("b.csv", LOCK_EX);
    struct stranger three = stranger_locks("c.csv", LOCK_EX);
    cr_assert_eq(puppet_call(puppet, "open_thread c.csv 2"), 0);
    cr_assert_eq(puppet_call(puppet, "open_thread b.csv 2"), 1);
    cr_assert_eq(puppet_call(puppet, "open_thread a.csv 2"), 2);
    for (int i = 2; i > 0; i--) {
        cr_expect_eq(puppet_call(puppet, "join_thread %d", i), -1);
        cr_expect_eq(atoi(puppet->text), EBUSY);
    }
    cr_expect(strstr(file_content("log"), "timeout after 50 ms"), "%s", file_content("log"));
    cr_expect(strstr(file_content("log"), "timeout after 400 ms"), "%s", file_content("log"));
    stranger_leaves(three);
    cr_expect_eq(puppet_call(puppet, "join_thread 0"), 3);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    stranger_leaves(two);
    expect_nothing_left(puppet, mask);
}

/* W1: a hundred wait, with timeouts from 20 ms on; each ends in its time, which
 * is measured only against a hang. */
Test(interrupted, a_hundred_waiters) {
    cr_expect_eq(run_shell(NULL,
                           "export AUTOLOCK_LOG=log LD_PRELOAD=" TEST_PRELOAD "\n"
                           "for i in $(seq 100); do AUTOLOCK_PATTERNS=\"*.csv timeout=$((i * "
                           "10))ms\" cat a.csv 2>/dev/null & pids=\"$pids $!\"; done\n"
                           "unset LD_PRELOAD; ended=0\n"
                           "for pid in $pids; do wait $pid; [ $? = 1 ] && ended=$((ended + 1)); "
                           "done\n"
                           "echo $ended >ended; grep -c 'timeout after' log >told"),
                 0);
    cr_expect_str_eq(file_content("ended"), "100\n");
    cr_expect_str_eq(file_content("told"), "100\n");
    stranger_leaves(stranger);
}
