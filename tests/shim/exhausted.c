/* dup2 over all numbers below the limit: none is left for a lock (contract H2, H5, H6,
 * T2). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

static void begin(void) {
    flock_begin();
    cr_assert_eq(mkfifo("stay", 0600), 0);
    puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "setrlimit 1024"), 0);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_assert_eq(lock_state("a.csv"), EXCLUSIVE);
}

TestSuite(exhausted, .init = begin, .fini = scenario_end, .timeout = 120);

#define SILENT cr_expect_eq(access("log", F_OK), -1, "%s", file_content("log"))

/* The limit that there is cannot be gone beyond. */
static void no_more_than(int limit) {
    CALL(0, "setrlimit %d %d", limit, limit);
    CALL(0, "keep_limits");
}

/* Other files or this one, over all. What the parent has is not the child's to change. */
static void a_child_that_ends(void) {
    static const int from[] = {0, 3};
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        CALL(0, "vfork_over 1024 %d", from[i]);
        HELD;
        CALL(0, "close 3");
        GONE;
        CALL(3, "open a.csv 2");
    }
    CALL(0, "close 3");
}

Scenario(exhausted, a_vforked_child_that_ends) {
    a_child_that_ends();
    SILENT;
}

Scenario(exhausted, a_vforked_child_that_ends_under_a_hard_limit) {
    no_more_than(1024);
    a_child_that_ends();
}

/* Something at the other end: cat has been executed. */
static int cat_runs(void) {
    int fd = open("stay", O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

/* Its standard output is the file, and keeps it as long as it runs. */
Scenario(exhausted, a_vforked_child_that_executes_another) {
    static const char *const limits[] = {"1024", "300", "64", "4096"};
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        puppet_call(puppet, "setrlimit %s", limits[i]);
        CALL(0, "vfork_over %s 0 stay", limits[i]);
        int fd = cat_runs();
        CALL(0, "close 1");
        HELD;
        cr_assert_eq(write(fd, "2\n", 2), 2);
        cr_assert_eq(close(fd), 0);
        CALL(0, "over_ends");
        GONE;
        CALL(1, "open a.csv 1");
    }
    SILENT;
}

/* A file that no child has any more is the parent's alone. */
Scenario(exhausted, another_program_without_the_file) {
    CALL(0, "vfork_over 1024 0 stay");
    int fd = cat_runs();
    HELD;
    CALL(0, "close 3");
    GONE;
    cr_assert_eq(close(fd), 0);
    CALL(0, "over_ends");
    SILENT;
}

/* The parent goes on, and closes what the child still has. */
Scenario(exhausted, a_child_with_shared_memory_beside_its_parent) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    CALL(0, "clone_over 1024 0");
    CALL(0, "close 1");
    HELD;
    CALL(0, "end_kin");
    GONE;
    SILENT;
}

/* The same process, and the program after exec: as with numbers to spare. */
Scenario(exhausted, the_process_itself) {
    static const int limits[] = {16, 64, 300, 1024, 4096, 10000};
    CALL(0, "close 3");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (puppet_call(puppet, "setrlimit %d", limits[i]) != 0) {
            continue; /* the hard limit is lower */
        }
        CALL(0, "close 1");
        CALL(1, "open a.csv 1");
        CALL(0, "dup2_over 3 %d", limits[i]);
        HELD;
        CALL(0, "loop_cloexec 3 %d", limits[i]);
        puppet_tell(puppet, "exec");
        CALL(limits[i], "getrlimit");
        HELD;
        CALL(0, "close_loop 3 %d", limits[i]);
        HELD;
        CALL(0, "close 1");
        GONE;
        CALL(1, "open /dev/null 1");
    }
    SILENT;
}

/* Copies of the file itself over all: each counts. */
Scenario(exhausted, the_file_itself_over_all_numbers) {
    CALL(0, "setrlimit 100");
    for (int fd = 4; fd < 100; fd++) {
        CALL(fd, "dup2 3 %d", fd);
    }
    for (int fd = 3; fd < 99; fd++) {
        CALL(0, "close %d", fd);
    }
    HELD;
    CALL(0, "close 99");
    cr_expect_eq(lock_state("a.csv"), FREE);
    SILENT;
}

/* Too long is better than not long enough. */
Scenario(exhausted, the_process_itself_under_a_hard_limit) {
    no_more_than(1024);
    CALL(1, "dup2 3 1");
    CALL(0, "dup2_over 3 1024");
    HELD;
    puppet_kill(puppet);
    puppet = NULL;
    cr_expect_eq(lock_state("a.csv"), FREE);
}

/* What stays locked by this process is no reason for itself to wait. */
Scenario(exhausted, another_open_of_the_process_itself_under_a_hard_limit) {
    no_more_than(1024);
    CALL(0, "dup2_over 4 1024");
    CALL(0, "close_loop 4 1024");
    CALL(4, "open a.csv 2");
    CALL(0, "close 4");
    CALL(0, "close 3");
    CALL(3, "open a.csv 0");
    CALL(0, "close 3");
    CALL(0, "truncate a.csv 0");
    HELD;
}

/* Others may read it meanwhile. */
Scenario(exhausted, what_is_shared_to_the_end_is_not_enough_to_write) {
    no_more_than(1024);
    CALL(0, "close 3");
    CALL(3, "open a.csv 0");
    CALL(0, "dup2_over 4 1024");
    CALL(0, "close_loop 4 1024");
    CALL(4, "open a.csv 0");
    CALL(-1, "open a.csv 2");
    cr_expect_eq(puppet->error, EDEADLK);
    CALL(0, "close 4");
    CALL(0, "close 3");
    CALL(-1, "open a.csv 2");
    cr_expect_eq(puppet->error, EDEADLK);
    CALL(3, "open a.csv 0");
}

/* posix_spawn takes no number beyond the limit; the child has its part all the same. */
Scenario(exhausted, what_posix_spawn_starts) {
    static const char *const actions[] = {
        "", "dup2:1:1", "dup2:1:2", "dup2:1:0 close:1", "closefrom:3", "closefrom:3 dup2:1:2"};
    CALL(0, "close 3");
    CALL(0, "setrlimit 64");
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        CALL(0, "close 1");
        CALL(1, "open a.csv 1");
        CALL(0, "dup2_over 3 64");
        CALL(0, "loop_cloexec 3 64");
        CALL(0, "spawn %s", actions[i]);
        CALL(0, "close 1");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "%s", actions[i]);
        CALL(0, "end_spawned");
        cr_expect_eq(lock_state("a.csv"), FREE, "%s", actions[i]);
        CALL(0, "list_above");
        CALL(1, "dup 0");
        CALL(0, "close_loop 3 64");
    }
    SILENT;
}

/* Numbers beyond the limit are had without a change of the limit that others could see. */
Scenario(exhausted, the_limit_stays_what_it_is) {
    CALL(0, "close 3");
    CALL(0, "limit_churn a.csv 64 300");
    GONE;
    SILENT;
}
