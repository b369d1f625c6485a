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

/* Who is let in to write below a reader has no flock that would keep other readers out:
 * they look for him. Not those of the family, for whom he may be waiting. */
Test(families, a_reader_meets_one_who_is_let_in_to_write) {
    put_file("write.pl", "open F, '+<', 'a.csv' or die; open P, '>', 'in'; print P \"x\\n\"; "
                         "close P; open P, '<', 'go'; <P>; print F 'written'; close F\n");
    cr_assert_eq(run_shell(NULL, "mkfifo in go"), 0);
    pid_t shell = start_shell("*.csv", "exec 3<a.csv; perl write.pl; exit $?");
    cr_expect_str_eq(file_content("in"), "x\n");
    /* The writer's own wait was long ago. */
    cr_expect_eq(run_shell(NULL, "touch -d '1 minute ago' a.csv.lock"), 0);
    struct puppet *other = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(other, "open a.csv 0");
    for (int i = 0; i < 3000 && !*file_content("log"); i++) {
        usleep(10000);
    }
    cr_expect(strstr(file_content("log"), "a.csv: locked by pid "), "%s", file_content("log"));
    cr_expect_eq(puppet_first(&other, 1, 0), -1);
    put_file("go", "x\n");
    cr_expect_eq(puppet_result(other), 3);
    cr_expect_str_eq(file_content("a.csv"), "written");
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(puppet_call(other, "list_above"), 0);
    (void)puppet_end(other);
    cr_expect_eq(end_shell(shell), 0);
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; perl write.pl & read x <in; cat a.csv >copy; "
                                    "echo >go; wait $!"),
                 0);
    cr_expect_str_eq(file_content("copy"), "written");
}

/* Comes back when two of them are there at once. */
static const char meet[] =
    "open F, '>', \"here$ARGV[0]\"; for (1 .. 600) { last if -e 'here1' && -e 'here2'; "
    "select undef, undef, undef, 0.05 } exit !(-e 'here1' && -e 'here2')\n";

/* flock(1) opens the sidecar for reading alone. */
Test(families, jobs_that_lock_the_sidecar) {
    put_file("alone.pl", "mkdir 'alone' or open F, '>>', 'together'; "
                         "select undef, undef, undef, 0.1; rmdir 'alone'; open F, '>>', 'out'; "
                         "print F 'x'\n");
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv; for i in 1 2 3 4; do flock a.csv.lock perl "
                                    "alone.pl & done; wait"),
                 0);
    cr_expect_str_eq(file_content("out"), "xxxx");
    cr_expect_neq(access("together", F_OK), 0);
    /* Who shares it is not kept out by others who do, but by who has it alone. */
    put_file("meet.pl", meet);
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv; flock -s a.csv.lock perl meet.pl 1 & "
                                    "flock -s a.csv.lock perl meet.pl 2 && wait $!"),
                 0);
    static const char *const orders[][2] = {{"", "-s"}, {"-s", ""}};
    for (int k = 0; k < 2; k++) {
        char command[500];
        snprintf(command, sizeof(command),
                 "exec 5>>a.csv; flock %s a.csv.lock sh -c 'mkdir alone; sleep 0.3; rmdir alone' & "
                 "sh -c 'until test -d alone; do sleep 0.01; done; exec flock %s a.csv.lock test ! "
                 "-d alone' && wait $!",
                 orders[k][0], orders[k][1]);
        cr_expect_eq(run_shell("*.csv", command), 0, "%s", command);
    }
}

/* The same by a shell's own descriptor, which can only be written. */
Test(families, jobs_that_share_by_what_can_only_be_written) {
    put_file("meet.pl", meet);
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv; (flock -s 9; perl meet.pl 1) 9>a.csv.lock & "
                                    "(flock -s 9; perl meet.pl 2) 9>a.csv.lock && wait $!"),
                 0);
}

/* Each has one file and waits for the other's: one of them gives up, as anywhere. */
static void around(const char *take) {
    char script[800];
    snprintf(script, sizeof(script),
             "use Fcntl qw(:flock); my ($one, $two, $where) = @ARGV;\n"
             "sub take { my ($f) = @_; %s }\n"
             "take($one) or die $!; open R, '>', \"$where/$one\" or die; close R;\n"
             "while (!-e \"$where/a.csv\" || !-e \"$where/b.csv\") { select undef, undef, undef, "
             "0.01 }\n"
             "take($two) and exit 0; exit $! + 0\n",
             take);
    put_file("two.pl", script);
    cr_expect_eq(run_shell("*.csv",
                           "exec 5>>a.csv 6>>b.csv; d=$(mktemp -d -p .); "
                           "perl two.pl a.csv b.csv $d & "
                           "perl two.pl b.csv a.csv $d; s=$?; wait $!; echo $((s + $?)) >sum"),
                 0);
    char expected[20];
    snprintf(expected, sizeof(expected), "%d\n", EDEADLK);
    cr_expect_str_eq(file_content("sum"), expected, "%s", take);
}

Test(families, children_in_a_circle) {
    around("open $h{$f}, '+<', $f");
    around("open $h{$f}, '<', \"$f.lock\" or die $!; flock $h{$f}, LOCK_EX");
}
