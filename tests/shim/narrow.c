/* Opens where little is there yet, or little is left: before any constructor, in
 * the handler of a signal that interrupts the shim, on a small stack (contract
 * T3). */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

TestSuite(narrow, .init = flock_begin, .fini = scenario_end, .timeout = 120);

#define NOT_BEFORE_SANITIZERS NOT_WITH_SANITIZERS("their constructors have to be the first")

/* It waits there, too. */
static void opens_early(const char *preload) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", preload, "EARLY_FILE=a.csv", "EARLY_STREAM=b.csv", NULL);
    wait_until_queued(puppet->pid);
    cr_expect_str_eq(file_content("b.csv"), "2\n");
    stranger_leaves(stranger);
    CALL(4, "dup 3");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("b.csv"), FREE);
    cr_expect_str_eq(file_content("b.csv"), "2\nearly\n");
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 4");
    GONE;
    cr_expect_eq(puppet_end(puppet), 0);
    puppet = NULL;
    put_file("b.csv", "2\n");
}

Scenario(narrow, a_constructor_before_ours) {
    NOT_BEFORE_SANITIZERS;
    opens_early("LD_PRELOAD=" TEST_PRELOAD ":" TEST_EARLY);
    opens_early("LD_PRELOAD=" TEST_EARLY ":" TEST_PRELOAD);
}

/* Before libc itself is there nothing is locked; afterwards all is as ever. */
Scenario(narrow, a_constructor_before_libc_s) {
    NOT_BEFORE_SANITIZERS;
    puppet = puppet_start("*.csv", "LD_PRELOAD=" TEST_PRELOAD ":" TEST_FIRST, "EARLY_FILE=a.csv",
                          "EARLY_STREAM=b.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_str_eq(file_content("b.csv"), "2\nearly\n");
    CALL(0, "close 4");
    CALL(0, "close 3");
    GONE;
}

/* A process that has begun so forks and execs as any other. */
Scenario(narrow, exec_after_a_constructor_before_ours) {
    NOT_BEFORE_SANITIZERS;
    puppet =
        puppet_start("*.csv", "LD_PRELOAD=" TEST_PRELOAD ":" TEST_EARLY, "EARLY_FILE=a.csv", NULL);
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    cr_assert_gt(puppet_call(puppet, "kin"), 0);
    CALL(0, "close 1");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "end_kin");
    GONE;
    CALL(1, "open b.csv 2");
    puppet_tell(puppet, "exec");
    CALL(4, "dup 1");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 1");
    CALL(0, "close 4");
    CALL(0, "close 3");
    cr_expect_eq(lock_state("b.csv"), FREE);
    GONE;
}

/* While the call that it interrupts waits for another file. */
Scenario(narrow, a_handler_that_opens_while_an_open_waits) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "handle_by_opening %d b.csv", SIGUSR1);
    puppet_tell(puppet, "open a.csv 2");
    for (int i = 0; i < 20; i++) {
        wait_until_queued(puppet->pid);
        cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
        cr_expect_eq(puppet_result(puppet), -3, "%ld", puppet->result);
        cr_expect_eq(lock_state("b.csv"), FREE);
    }
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    GONE;
}

/* Both wait for the same, the handler on top of the other. */
Scenario(narrow, a_handler_that_opens_the_file_that_the_open_waits_for) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "handle_by_opening %d a.csv", SIGUSR1);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_expect_eq(puppet_first(&puppet, 1, 300), -1, "the handler waits");
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    GONE;
}

/* At any other moment: a storm of signals, each of which opens and closes. */
Scenario(narrow, handlers_that_open_at_any_moment) {
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "storm a.csv b.csv 4000");
    cr_expect_eq(lock_state("b.csv"), FREE);
    GONE;
    CALL(0, "storm a.csv a.csv 4000");
    GONE;
}

/* 16 KiB, of which libc and the thread take some: for an open that waits, says so,
 * and looks for ancestors and circles. */
Scenario(narrow, a_small_stack) {
    NOT_WITH_SANITIZERS("the sanitizers need a larger stack");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv warn-after=100ms", "AUTOLOCK_LOG=log", NULL);
    CALL(0, "open_on_stack 16384 a.csv 2");
    wait_until_queued(puppet->pid);
    cr_expect_eq(puppet_first(&puppet, 1, 1500), -1);
    cr_expect(strstr(file_content("log"), "waiting"), "%s", file_content("log"));
    stranger_leaves(stranger);
    CALL(3, "join_thread 0");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(1, "open_on_stack 16384 b.csv 0");
    CALL(4, "join_thread 1");
    CALL(2, "open_on_stack 16384 b.csv 2"); /* an upgrade */
    CALL(5, "join_thread 2");
    CALL(3, "open_on_stack 16384 new.csv 0102");
    CALL(6, "join_thread 3");
    for (int fd = 3; fd <= 6; fd++) {
        CALL(0, "close %d", fd);
    }
    GONE;
}
