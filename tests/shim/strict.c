/* What may be called in a signal handler calls no malloc under the shim either
 * (contract T3): open, close and their kin, whatever way they go. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void start(const char *patterns) {
    puppet = puppet_start(patterns, "LD_PRELOAD=" TEST_STRICT ":" TEST_PRELOAD, "AUTOLOCK_LOG=log",
                          NULL);
}

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
}

/* Of each test: what fails in .fini fails no test. */
static void finish(void) {
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_str_eq(file_content("strict.log"), "");
}

TestSuite(strict, .init = begin, .fini = scenario_end, .timeout = 120);

/* The first makes the sidecar, the next ones find it, free or held by this process. */
Test(strict, opens_and_closes) {
    start("*.csv");
    for (int i = 0; i < 2; i++) {
        CALL(3, "open a.csv 2");
        CALL(4, "open a.csv 0");
        CALL(5, "openat -100 a.csv 2");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        CALL(6, "open b.csv 0");
        CALL(7, "open b.csv 2"); /* an upgrade */
        CALL(8, "creat new.csv 0644");
        CALL(-1, "open ./../no/such.csv 2");
        for (int fd = 3; fd <= 8; fd++) {
            CALL(0, "close %d", fd);
        }
    }
    finish();
}

Test(strict, copies) {
    start("*.csv");
    CALL(3, "open a.csv 2");
    CALL(4, "dup 3");
    CALL(5, "dup2 3 5");
    CALL(6, "dup3 3 6 0");
    CALL(7, "fcntl 3 %d 7", F_DUPFD);
    CALL(4, "dup2 5 4");
    for (int fd = 3; fd <= 7; fd++) {
        CALL(0, "close %d", fd);
    }
    finish();
}

/* Tables grow. */
Test(strict, many_files) {
    start("*.csv");
    for (int fd = 3; fd < 300; fd++) {
        CALL(fd, "open %d.csv 0102 0644", fd);
    }
    CALL(3, "dup2 4 3");
    CALL(0, "close_range 3 499 0");
    finish();
}

Test(strict, an_open_that_waits) {
    start("*.csv warn-after=100ms");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    cr_expect_eq(puppet_first(&puppet, 1, 1500), -1);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    finish();
}

Test(strict, an_open_that_gives_up) {
    start("*.csv timeout=100ms");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    CALL(-1, "open a.csv 2");
    stranger_leaves(stranger);
    finish();
}

Test(strict, forks_and_names) {
    start("*.csv");
    CALL(3, "open a.csv 2");
    cr_expect_gt(puppet_call(puppet, "fork"), 0);
    CALL(0, "end_child");
    CALL(0, "close 3");
    CALL(0, "rename a.csv c.csv");
    CALL(0, "unlink c.csv");
    put_file("a.csv", "1\n");
    finish();
}

/* Each kind of rule that changes how a file is locked. */
Test(strict, options) {
    static const char *const patterns[] = {"*.csv kind=soft", "*.csv lockdir=locks",
                                           "*.csv hold=process", "*.csv readers=exclusive",
                                           "*.csv inherit=all"};
    start("*.csv");
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        cr_expect_eq(puppet_end(puppet), 0);
        start(patterns[i]);
        CALL(3, "open x.csv 0102 0644");
        CALL(4, "dup 3");
        CALL(0, "close 3");
        CALL(0, "close 4");
    }
    finish();
}
