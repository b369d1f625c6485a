/* lockdir=DIR puts sidecars elsewhere (contract C5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

static char patterns[600], sidecar[600]; /* of a.csv, without ".lock" */

static void begin(void) {
    scenario_begin();
    cr_assert_eq(mkdir("locks", 0755), 0);
    cr_assert_eq(mkdir("data", 0755), 0);
    put_file("data/a.csv", "1\n");
    const char *directory = scenario_directory();
    snprintf(patterns, sizeof(patterns), "*.csv lockdir=%s/locks/", directory);
    int length = snprintf(sidecar, sizeof(sidecar), "locks/");
    snprintf(sidecar + length, sizeof(sidecar) - (size_t)length, "%s/data/a.csv", directory);
    for (char *p = sidecar + length; *p; p++) {
        *p = *p == '/' ? '%' : *p;
    }
}

TestSuite(lockdir, .init = begin, .fini = scenario_end, .timeout = 120);

static void expect_nothing_beside(void) {
    cr_expect_eq(lock_state("data/a.csv"), NO_SIDECAR);
}

Test(lockdir, open_to_close) {
    struct puppet *puppet = puppet_start(patterns, NULL);
    for (int i = 0; i < 2; i++) { /* with a sidecar that is to be made, and without */
        cr_assert_eq(puppet_call(puppet, "open data/a.csv 2"), 3);
        cr_expect_eq(lock_state(sidecar), EXCLUSIVE);
        cr_assert_eq(puppet_call(puppet, "open data/../data/a.csv 0"), 4);
        cr_assert_eq(puppet_call(puppet, "close 3"), 0);
        cr_expect_eq(lock_state(sidecar), EXCLUSIVE);
        cr_assert_eq(puppet_call(puppet, "close 4"), 0);
        cr_expect_eq(lock_state(sidecar), FREE);
    }
    (void)puppet_end(puppet);
    expect_nothing_beside();
}

Test(lockdir, others_are_kept_out) {
    struct stranger stranger = stranger_locks(sidecar, LOCK_EX);
    char short_of_time[700];
    snprintf(short_of_time, sizeof(short_of_time), "%s timeout=50ms", patterns);
    struct puppet *puppet = puppet_start(short_of_time, NULL);
    cr_expect_eq(puppet_call(puppet, "open data/a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_call(puppet, "open data/a.csv 2"), 3);
    (void)puppet_end(puppet);
    expect_nothing_beside();
}

Test(lockdir, one_beside_the_file_says_nothing) {
    struct stranger stranger = stranger_locks("data/a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start(patterns, NULL);
    cr_assert_eq(puppet_call(puppet, "open data/a.csv 2"), 3);
    cr_expect_eq(lock_state(sidecar), EXCLUSIVE);
    cr_assert_eq(puppet_call(puppet, "close 3"), 0);
    stranger_leaves(stranger);
    cr_assert_eq(puppet_call(puppet, "open data/a.csv 2"), 3);
    cr_expect_eq(lock_state(sidecar), EXCLUSIVE, "nor where it is free");
    (void)puppet_end(puppet);
}

Test(lockdir, standard_output_over_exec) {
    char command[1400];
    snprintf(command, sizeof(command),
             "sh -c 'LD_PRELOAD= flock -n \"%s.lock\" true && echo free; echo x' >>data/a.csv",
             sidecar);
    cr_expect_eq(run_shell(patterns, command), 0);
    cr_expect_str_eq(file_content("data/a.csv"), "1\nx\n");
    cr_expect_eq(lock_state(sidecar), FREE);
    expect_nothing_beside();
}

Test(lockdir, the_program_after_exec_closes_it) {
    cr_expect_eq(run_shell(patterns, "exec sh -c 'exec >/dev/null; sh -c \"echo 2 >>data/a.csv\"' "
                                     ">>data/a.csv"),
                 0);
    cr_expect_str_eq(file_content("data/a.csv"), "1\n2\n");
}

/* As `flock data.lock cmd >>data`, with the sidecar where it is. */
Test(lockdir, under_a_lock_of_its_own) {
    char command[1400];
    snprintf(command, sizeof(command),
             "exec 9>\"%s.lock\"; flock 9; echo x >>data/a.csv; flock \"%s.lock\" true", sidecar,
             sidecar);
    cr_expect_eq(run_shell(patterns, command), 0);
    snprintf(command, sizeof(command), "flock \"%s.lock\" sh -c 'echo y' >>data/a.csv", sidecar);
    cr_expect_eq(run_shell(patterns, command), 0);
    cr_expect_str_eq(file_content("data/a.csv"), "1\nx\ny\n");
}

Test(lockdir, rename_and_unlink) {
    put_file("data/b.csv", "2\n");
    struct puppet *puppet = puppet_start(patterns, NULL);
    cr_assert_eq(puppet_call(puppet, "rename data/b.csv data/a.csv"), 0);
    cr_expect_eq(lock_state(sidecar), FREE, "it was made");
    cr_assert_eq(puppet_call(puppet, "unlink data/a.csv"), 0);
    (void)puppet_end(puppet);
    cr_expect_eq(rmdir("data"), 0, "nothing is left there");
}

Test(lockdir, that_is_missing) {
    char missing[700];
    snprintf(missing, sizeof(missing), "*.csv lockdir=%s/nowhere", scenario_directory());
    cr_expect_neq(run_shell(missing, "echo x >>data/a.csv"), 0);
    cr_expect_str_eq(file_content("data/a.csv"), "1\n");
    cr_expect_neq(run_shell(missing, "cat data/a.csv"), 0, "readers say so too");
    strcat(missing, " on-error=open");
    cr_expect_eq(run_shell(missing, "echo x >>data/a.csv"), 0);
    cr_expect_str_eq(file_content("data/a.csv"), "1\nx\n");
}

Test(lockdir, with_blanks_and_colons) {
    char command[1400];
    cr_assert_eq(mkdir("the locks:1", 0755), 0);
    snprintf(command, sizeof(command), "*.csv lockdir=%s/the\\ locks\\:1", scenario_directory());
    cr_expect_eq(run_shell(command, "echo x >>data/a.csv"), 0);
    memmove(sidecar + 11, sidecar + 5, strlen(sidecar + 5) + 1);
    memcpy(sidecar, "the locks:1", 11);
    cr_expect_eq(lock_state(sidecar), FREE);
    expect_nothing_beside();
}
