/* kind=soft: waiting for others, and breaking what they have left (contract P3, P5, H1,
 * W1, W4). */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/soft_scenario.h"

TestSuite(soft_waiting, .init = soft_begin, .fini = scenario_end, .timeout = 120);

/* H1: neither O_TRUNC nor a reader before its turn. */
Scenario(soft_waiting, others_wait) {
    static const char *opens[] = {"open a.csv 513", "open a.csv 2", "open a.csv 0",
                                  "fopen a.csv w"};
    char who[64];
    struct puppet *holder = puppet_start(RULES, NULL);
    snprintf(who, sizeof(who), "a.csv: locked by pid %ld (puppet)", (long)holder->pid);
    for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
        put_file("a.csv", "1\n");
        put_file("log", "");
        cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
        puppet_tell(puppet, "%s", opens[i]);
        wait_until_said(who);
        cr_expect_str_eq(file_content("a.csv"), "1\n");
        cr_expect_eq(puppet_call(holder, "close 3"), 0);
        cr_expect_eq(puppet_result(puppet), 3);
        HELD;
        CALL(0, i == 3 ? "fclose 3" : "close 3");
        GONE;
        wait_until_said("got ");
    }
    (void)puppet_end(holder);
}

Scenario(soft_waiting, after_a_wait_the_path_counts_again) {
    cr_assert_eq(mkdir("one", 0755), 0);
    cr_assert_eq(mkdir("two", 0755), 0);
    put_file("one/a.csv", "one");
    put_file("two/a.csv", "two");
    cr_assert_eq(symlink("one", "now"), 0);
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open one/a.csv 2"), 3);
    puppet_tell(puppet, "open now/a.csv 2");
    wait_until_said("waiting");
    cr_assert_eq(unlink("now"), 0);
    cr_assert_eq(symlink("two", "now"), 0);
    cr_expect_eq(puppet_call(holder, "close 3"), 0);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_not(is_there("one/a.csv.lock"));
    cr_expect(is_there("two/a.csv.lock"));
    CALL(3, "read 3");
    cr_expect_str_eq(puppet->text, "two");
    CALL(0, "close 3");
    (void)puppet_end(holder);
    GONE;
}

Scenario(soft_waiting, a_stale_marker_is_broken) {
    char text[32];
    snprintf(text, sizeof(text), "%ld", (long)getpid());
    plant("a.csv.lock", dead_process(), this_host(), "");
    CALL(3, "open a.csv 2");
    cr_expect_eq(atol(file_content("a.csv.lock")), puppet->pid);
    CALL(0, "close 3");
    GONE;
    /* The number is in use, but by another process than the one that wrote it. */
    plant("a.csv.lock", getpid(), this_host(), "123456789\n");
    CALL(3, "open a.csv 0");
    cr_expect_eq(atol(file_content("a.csv.lock")), puppet->pid);
    CALL(0, "close 3");
    GONE;
    cr_expect_str_eq(file_content("log"), "");
}

/* In doubt it is held. */
Scenario(soft_waiting, what_may_be_held_is_waited_for) {
    put_file("a.csv.lock", "");
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("locked by a program that does not say which; should that be gone for good, "
                    "remove a.csv.lock");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_expect_eq(puppet_result(puppet), 3);
    CALL(0, "close 3");
    plant("a.csv.lock", dead_process(), "elsewhere.example", "1\n");
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("on the host elsewhere.example");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_expect_eq(puppet_result(puppet), 3);
    CALL(0, "close 3");
    GONE;
}

Scenario(soft_waiting, timeouts) {
    static const struct {
        const char *rules;
        long result;
    } cases[] = {
        {"*.csv kind=soft timeout=0", -1},
        {"*.csv kind=soft timeout=100ms", -1},
        {"*.csv kind=soft timeout=100ms on-timeout=open", 3},
    };
    CALL(3, "open a.csv 2");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_file("log", "");
        struct puppet *other = puppet_start(cases[i].rules, "AUTOLOCK_LOG=log", NULL);
        cr_expect_eq(puppet_call(other, "open a.csv 2"), cases[i].result, "%s", cases[i].rules);
        cr_expect_eq(other->error, cases[i].result < 0 ? EBUSY : UNTOUCHED);
        cr_expect(strstr(file_content("log"), "timeout after"), "%s", file_content("log"));
        cr_expect_eq(puppet_call(other, "list_above"), 0);
        (void)puppet_end(other);
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

/* W4 */
Scenario(soft_waiting, signals_while_it_waits) {
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
    CALL(0, "handle %d %d", SIGUSR1, SA_RESTART);
    CALL(0, "handle %d 0", SIGUSR2);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    kill(puppet->pid, SIGUSR1);
    cr_expect_eq(puppet_result(puppet), -3);
    kill(puppet->pid, SIGUSR2);
    cr_expect_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    /* One that jumps out leaves nothing half made. */
    CALL(-7, "alarm_open a.csv 2 200");
    cr_expect_eq(puppet_call(holder, "close 3"), 0);
    (void)puppet_end(holder);
    GONE;
    CALL(3, "open a.csv 2");
    CALL(0, "close 3");
    GONE;
}

Scenario(soft_waiting, a_thread_that_waits_can_be_cancelled) {
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
    long thread = puppet_call(puppet, "open_thread a.csv 2");
    wait_until_said("waiting");
    CALL(0, "cancel_thread %ld", thread);
    CALL(-8, "join_thread %ld", thread);
    cr_expect_eq(puppet_call(holder, "close 3"), 0);
    (void)puppet_end(holder);
    GONE;
    CALL(3, "open a.csv 2");
    CALL(0, "close 3");
}

/* Two threads that wait: one gets it, the other shares it. */
Scenario(soft_waiting, threads_that_wait_share_it) {
    struct puppet *holder = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
    CALL(0, "thread_open a.csv 2");
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    cr_expect_eq(puppet_call(holder, "close 3"), 0);
    (void)puppet_end(holder);
    long mine = puppet_result(puppet), theirs = puppet_call(puppet, "thread_join");
    cr_expect(mine >= 3 && theirs >= 3 && mine != theirs, "%ld %ld", mine, theirs);
    CALL(0, "close %ld", mine);
    HELD;
    CALL(0, "close %ld", theirs);
    GONE;
}

/* T3: 16 KiB, for an open that waits, says so, looks for ancestors, and for one that
 * breaks a marker. */
Scenario(soft_waiting, on_a_small_stack) {
    NOT_WITH_SANITIZERS("the sanitizers need a larger stack");
    put_file("a.csv.lock", "");
    CALL(0, "open_on_stack 16384 a.csv 2");
    wait_until_said("waiting");
    plant("a.csv.lock", dead_process(), this_host(), "");
    CALL(3, "join_thread 0");
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* T3: threads that open and close at the same time, among forks. */
Scenario(soft_waiting, threads_and_forks) {
    CALL(0, "churn a.csv 4 300");
    GONE;
    CALL(0, "fork_churn a.csv 100");
    GONE;
    CALL(0, "vfork_busy b.csv");
    expect_only_data();
    cr_expect_str_eq(file_content("log"), "");
}

/* The same in two processes, which have to wait for one another all the time. */
Scenario(soft_waiting, threads_of_two_processes) {
    struct puppet *other = puppet_start("*.csv kind=soft", NULL);
    puppet_tell(other, "churn a.csv 4 100");
    CALL(0, "churn a.csv 4 100");
    cr_expect_eq(puppet_result(other), 0, "%s", other->text);
    cr_expect_eq(puppet_end(other), 0);
    GONE;
}
