/* Processes below one who has the file locked, and waits for them (contract W2): what
 * they may do beside others, and beside one another. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
    put_file("b.csv", "0\n");
}

TestSuite(families, .init = begin, .fini = scenario_end, .timeout = 180);

/* Two shells read the file, and a child of each wants it alone: one has to give up. */
static void two_readers(const char *child) {
    char script[600];
    snprintf(script, sizeof(script),
             "exec 3<a.csv; echo >ready$1\n"
             "while ! test -e ready1 || ! test -e ready2; do sleep 0.02; done\n"
             "%s && exit 0; exit 7\n",
             child);
    put_file("shell", script);
    put_file("alone.pl", "mkdir 'alone' or open F, '>>', 'together';\n"
                         "select undef, undef, undef, 0.2; rmdir 'alone'\n");
    pid_t one = start_shell("*.csv", "sh shell 1 2>err1"),
          two = start_shell("*.csv", "sh shell 2 2>err2");
    int first = end_shell(one), second = end_shell(two);
    cr_expect(first + second == 7 && first * second == 0, "%s: %d and %d", child, first, second);
    cr_expect(strstr(file_content(first ? "err1" : "err2"), "deadlock"), "%s", child);
    cr_expect_neq(access("together", F_OK), 0, "%s", child);
    (void)unlink("ready1");
    (void)unlink("ready2");
}

Test(families, children_of_two_readers) {
    two_readers("flock a.csv.lock perl alone.pl");
    two_readers("perl -e 'open F, q(+<), q(a.csv) or die $!; do q(./alone.pl)'");
}

/* Where only the family is left, it may. */
Test(families, a_child_of_one_reader_waits_for_another) {
    struct puppet *other = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(other, "open a.csv 0"), 3);
    pid_t shell = start_shell("*.csv", "exec 3<a.csv; flock a.csv.lock touch one && perl -e 'open "
                                       "F, q(>>), q(a.csv) or die'; exit $?");
    usleep(1000000); /* it would be in by now */
    cr_expect_lt(access("one", F_OK), 0);
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(end_shell(shell), 0);
    cr_expect_eq(access("one", F_OK), 0);
    (void)puppet_end(other);
}
