/* What becomes of a hold at exec (contract H6). */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

static void begin(void) {
    flock_begin_open();
    cr_assert_eq(mkfifo("stay", 0600), 0);
}

TestSuite(exec, .init = begin, .fini = scenario_end, .timeout = 120);

/* The program after exec needs nothing from the environment: other rules, none
 * at all, or switched off. */
Scenario(exec, an_environment_that_has_changed) {
    static const char *environments[] = {"", "AUTOLOCK_PATTERNS=", "AUTOLOCK_PATTERNS=*.txt",
                                         "AUTOLOCK=off"};
    for (size_t i = 0; i < sizeof(environments) / sizeof(environments[0]); i++) {
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        puppet_tell(puppet, "exec_env %s", environments[i]);
        CALL(1, "dup2 1 1");
        HELD;
        CALL(0, "close_loop 3 1100");
        CALL(0, "loop_cloexec 3 1100");
        HELD;
        CALL(3, "dup 1");
        CALL(0, "close 1");
        HELD;
        cr_assert_gt(puppet_call(puppet, "fork"), 0);
        CALL(0, "close 3");
        HELD;
        CALL(0, "end_child");
        GONE;
        CALL(1, "open /dev/null 1");
        puppet_tell(puppet, "exec_env AUTOLOCK_PATTERNS=*.csv");
        CALL(3, "open a.csv 2");
    }
}

/* Several descriptors of standard input, output and error, of two files. */
Scenario(exec, each_of_the_three_on_its_own) {
    CALL(0, "dup2 3 0");
    CALL(1, "dup2 3 1");
    CALL(4, "open b.csv 2");
    CALL(2, "dup2 4 2");
    puppet_tell(puppet, "exec");
    CALL(0, "close 1");
    HELD;
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 2");
    cr_expect_eq(lock_state("b.csv"), FREE);
    HELD;
    CALL(0, "close 0");
    GONE;
}

Scenario(exec, a_file_that_was_opened_there) {
    CALL(0, "close 3");
    CALL(0, "close 0");
    CALL(0, "open a.csv 0");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    puppet_tell(puppet, "exec");
    CALL(0, "dup2 0 0");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    CALL(0, "close 0");
    GONE;
}

/* Close-on-exec, set and taken back, in each way that there is. */
Scenario(exec, the_flag_of_standard_output) {
    static const char *const ways[][2] = {
        {"fcntl 1 2 1", "fcntl 1 2 0"}, /* F_SETFD */
        {"fcntl64 1 2 1", "fcntl64 1 2 0"},
        {"ioctl 1 FIOCLEX", "ioctl 1 FIONCLEX"},
    };
    for (size_t i = 0; i < 3; i++) {
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        CALL(0, "%s", ways[i][0]);
        CALL(0, "%s", ways[i][1]);
        puppet_tell(puppet, "exec_bare");
        CALL(1, "dup2 1 1");
        HELD;
        CALL(0, "%s", ways[i][0]);
        (void)puppet_end(puppet);
        flock_start("*.csv");
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        CALL(0, "%s", ways[i][0]);
        puppet_tell(puppet, "exec_bare");
        CALL(-1, "dup2 1 1");
        cr_expect_eq(lock_state("a.csv"), FREE);
        (void)puppet_end(puppet);
        flock_start("*.csv");
    }
}

/* From the start, however it came there: nothing of it goes to a program that is not
 * under the library. */
Scenario(exec, standard_output_that_was_never_to_survive) {
    static const char *const ways[][2] = {
        {"close 3", "open a.csv 02000002"}, /* O_RDWR | O_CLOEXEC */
        {"dup2 3 3", "dup3 3 1 02000000"},
        {"dup2 3 3", "fcntl 3 1030 1"}, /* F_DUPFD_CLOEXEC */
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(0, "close 1");
        (void)puppet_call(puppet, "%s", ways[i][0]);
        CALL(1, "%s", ways[i][1]);
        (void)puppet_call(puppet, "close_loop 3 100");
        HELD;
        puppet_tell(puppet, "exec_bare");
        CALL(-1, "dup2 1 1");
        cr_expect_eq(lock_state("a.csv"), FREE, "%s", ways[i][1]);
        (void)puppet_end(puppet);
        flock_start("*.csv");
    }
}

/* A number of the very top that the program has itself. */
Scenario(exec, a_program_that_sits_in_our_places) {
    CALL(1022, "dup2 3 1022");
    CALL(1021, "dup2 3 1021");
    CALL(1, "dup2 3 1");
    CALL(0, "fcntl 1021 2 1");
    CALL(0, "fcntl 1022 2 1");
    CALL(0, "close 3");
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    HELD;
    CALL(0, "close 1");
    GONE;
}

/* popen gives the child a pipe in the place of standard output, behind our
 * back: it has a twin, but not the file. */
Scenario(exec, popen_with_standard_output_on_the_file) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    CALL(0, "popen echo; cat stay");
    HELD;
    CALL(0, "close 1");
    cr_expect_eq(lock_state("a.csv"), FREE, "the grandchild keeps it");
    put_file("stay", "");
    CALL(0, "pclose");
    GONE;
}

/* The same with another regular file in its place. */
Scenario(exec, another_file_in_its_place) {
    put_file("other.txt", "");
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    CALL(3, "open other.txt 2");
    CALL(1, "unseen_dup2 3 1");
    HELD;
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    GONE;
}

/* The file has lost its name meanwhile, or has got another. */
Scenario(exec, a_file_that_was_deleted) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    cr_assert_eq(unlink("a.csv"), 0);
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    HELD;
    CALL(0, "close 1");
    GONE;
}

Scenario(exec, exec_that_fails_changes_nothing) {
    CALL(1, "dup2 3 1");
    cr_assert_eq(run_shell("*.csv", "exec >>b.csv; ./missing 2>/dev/null; flock -n b.csv.lock true"
                                    "; [ $? = 0 ] && flock -n b.csv.lock -c 'exit 7'; exit 0"),
                 0);
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 1");
    GONE;
}

Scenario(exec, inherit_all_takes_every_descriptor_along) {
    flock_restart("*.csv inherit=all");
    CALL(7, "dup2 3 7");
    CALL(8, "fcntl 3 %d 8", F_DUPFD_CLOEXEC);
    CALL(0, "close 3");
    puppet_tell(puppet, "exec");
    CALL(-1, "dup2 8 8");
    HELD;
    cr_expect_eq(puppet_call(puppet, "list_above"), 1, "one a reference: %s", puppet->text);
    CALL(3, "dup 7");
    CALL(0, "close 7");
    HELD;
    puppet_tell(puppet, "exec_env AUTOLOCK_PATTERNS=");
    CALL(3, "dup2 3 3");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(exec, inherit_all_follows_the_flag) {
    flock_restart("*.csv inherit=all");
    CALL(0, "ioctl 3 FIOCLEX");
    CALL(1, "dup2 3 1");
    CALL(4, "open b.csv 2");
    puppet_tell(puppet, "exec");
    CALL(-1, "dup2 3 3");
    HELD;
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 1");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "close_range 3 499 4");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    puppet_tell(puppet, "exec_bare");
    CALL(-1, "dup2 4 4");
    cr_expect_eq(lock_state("b.csv"), FREE);
}

Scenario(exec, inherit_none_takes_nothing_along) {
    flock_restart("*.csv inherit=none");
    CALL(1, "dup2 3 1");
    CALL(0, "fcntl 1 2 0");
    CALL(0, "ioctl 1 FIONCLEX");
    HELD;
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    GONE;
}

/* What everybody writes. */
Scenario(exec, leaks_above_two_do_not_keep_it) {
    cr_expect_eq(run_shell("*.csv", "exec 7>>b.csv; exec flock -n b.csv.lock true"), 0);
    cr_expect_eq(run_shell("*.csv inherit=all", "exec 7>>b.csv; exec env -u LD_PRELOAD flock -n "
                                                "b.csv.lock true"),
                 1);
}
