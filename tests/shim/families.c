/* Processes below one who has the file locked, and waits for them (contract W2): what
 * they may do beside others, and beside one another. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
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

/* Reads the file, and then opens it for writing, too (O6). With a number: when another one
 * has read it as well. */
static void make_upgrade(void) {
    put_file("upgrade.pl",
             "my ($me, $again) = @ARGV;\n"
             "AGAIN: open R, '<', 'a.csv' or die; my $n = <R>;\n"
             "if ($me) { open F, '>', \"here$me\"; for (1 .. 3000) { last if -e 'here1' && -e "
             "'here2'; select undef, undef, undef, 0.01 } }\n"
             "unless (open W, '>', 'a.csv') { my $e = $! + 0; close R; $again ? goto AGAIN : "
             "exit $e }\n"
             "mkdir 'alone' or open F, '>', 'together';\n"
             "select undef, undef, undef, 0.05; print W $n + 1, \"\\n\";\n"
             "rmdir 'alone'; close W; close R\n");
}

/* Below one who only reads, and waits for it; two generations of them; with others of
 * the family at work meanwhile. */
Test(families, a_child_of_a_reader_reads_and_then_writes) {
    make_upgrade();
    static const char *const shells[] = {
        "exec 3<a.csv; perl upgrade.pl; exit $?",
        "exec 3<a.csv; sh -c 'exec 4<a.csv; perl upgrade.pl; exit $?'; exit $?",
        "exec 3<a.csv; (perl upgrade.pl; exit $?); exit $?",
        "exec 3<a.csv; sleep 60 & perl upgrade.pl; s=$?; kill $!; exit $s",
    };
    char expected[20];
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        cr_expect_eq(run_shell("*.csv", shells[i]), 0, "%s", shells[i]);
        snprintf(expected, sizeof(expected), "%zu\n", i + 1);
        cr_expect_str_eq(file_content("a.csv"), expected, "%s", shells[i]);
        cr_expect_eq(lock_state("a.csv"), FREE, "%s", shells[i]);
    }
    /* It has its turn until it has closed what it read, and may write again. */
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; perl -e 'open R, q(<), q(a.csv) or die; for (1 "
                                    ".. 3) { open W, q(>>), q(a.csv) or die; print W qq(x\\n); "
                                    "close W }'; exit $?"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "4\nx\nx\nx\n");
}

/* Two siblings that both have read it: one goes on, one is told. */
Test(families, two_children_of_a_reader_read_and_then_write) {
    make_upgrade();
    static const char *const shells[] = {
        "exec 3<a.csv; perl upgrade.pl 1 & perl upgrade.pl 2; s=$?; wait $!; exit $((s + $?))",
        "exec 3<a.csv; sh -c 'exec 4<a.csv; perl upgrade.pl 1; exit $?' & "
        "sh -c 'perl upgrade.pl 2; exit $?'; s=$?; wait $!; exit $((s + $?))",
    };
    for (int i = 0; i < 4; i++) {
        put_file("a.csv", "0\n");
        cr_expect_eq(run_shell("*.csv", shells[i % 2]), EDEADLK, "%s", shells[i % 2]);
        cr_expect_str_eq(file_content("a.csv"), "1\n", "%s", shells[i % 2]);
        (void)unlink("here1");
        (void)unlink("here2");
    }
    put_file("a.csv", "0\n");
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; for i in 1 2 3 4; do perl upgrade.pl 0 1 & done "
                                    "2>err; wait"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "4\n");
    cr_expect_neq(access("together", F_OK), 0);
}

/* The reader above has to be asleep. */
Test(families, a_child_of_a_reader_at_work_waits) {
    make_upgrade();
    put_file("work.pl", "open R, '<', 'a.csv' or die; my $n = <R>;\n"
                        "unless ($child = fork) { exec 'perl', 'upgrade.pl' }\n"
                        "my $end = time + 30; 1 until -s 'log' || time > $end;\n"
                        "my $busy = time + 2; 1 until time > $busy;\n"
                        "open A, '<', 'a.csv' or die; die if <A> ne $n;\n"
                        "waitpid $child, 0; exit $? >> 8\n");
    cr_expect_eq(run_shell("*.csv warn-after=20ms", "AUTOLOCK_LOG=log perl work.pl"), 0);
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    cr_expect(strstr(file_content("log"), "autolock: got "), "%s", file_content("log"));
}

/* In the family readers are let in while one writes; what they have read then may be
 * half of it. */
Test(families, a_child_that_reads_what_is_being_written) {
    cr_assert_eq(run_shell(NULL, "mkfifo in go done"), 0);
    put_file("write.pl", "open F, '+<', 'a.csv' or die; my $n = <F>; open P, '>', 'in'; print P "
                         "'x'; close P; open P, '<', 'go'; <P>; seek F, 0, 0; print F $n + 1; "
                         "close F; open P, '>', 'done'; print P 'x'\n");
    put_file("read.pl", "open P, '<', 'in'; <P>; open R, '<', 'a.csv' or die; my $n = <R>; open P, "
                        "'>', 'go'; print P 'x'; close P; open P, '<', 'done'; <P>;\n"
                        "open W, '>', 'a.csv' or exit $! + 0; print W $n + 1\n");
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; perl write.pl & perl read.pl; s=$?; wait $!; "
                                    "exit $s"),
                 EDEADLK);
    cr_expect_str_eq(file_content("a.csv"), "1\n");
}

/* Below the test, which shares the lock and sleeps: one child has its turn, and a handler
 * of another one, which has read the file as well, jumps out of its wait for one. */
Test(families, a_jump_out_of_the_wait_for_a_turn) {
    int shared = open("a.csv.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    cr_assert_eq(flock(shared, LOCK_SH), 0);
    struct puppet *two[] = {puppet_start("*.csv", NULL), puppet_start("*.csv", NULL)};
    int first = 1;
    for (int i = 0; i < 20 && first == 1; i++) {
        cr_assert_eq(puppet_call(two[1], "open a.csv 0"), 3);
        puppet_tell(two[0], "open a.csv 2");
        wait_until_queued(two[0]->pid);
        puppet_tell(two[1], "jump_open a.csv 2");
        first = puppet_first(two, 2, 30000);
        if (first == 1) { /* it was quicker */
            cr_assert_eq(puppet_result(two[1]), 4);
            cr_assert_eq(puppet_call(two[1], "close 4"), 0);
            cr_assert_eq(puppet_call(two[1], "close 3"), 0);
            cr_assert_eq(puppet_result(two[0]), 3);
            cr_assert_eq(puppet_call(two[0], "close 3"), 0);
        }
    }
    cr_assert_eq(first, 0);
    cr_expect_eq(puppet_result(two[0]), 3);
    cr_expect_eq(puppet_first(&two[1], 1, 2000), -1);
    cr_assert_eq(kill(two[1]->pid, SIGUSR1), 0);
    cr_expect_eq(puppet_result(two[1]), -7);
    /* It has what it had: nobody else is let in to write. */
    cr_expect_eq(puppet_call(two[0], "close 3"), 0);
    for (int i = 0; i < 500 && puppet_call(two[1], "list_above") > 1; i++) {
        usleep(10000);
    }
    puppet_tell(two[0], "open a.csv 2");
    cr_expect_eq(puppet_first(two, 1, 2000), -1);
    cr_expect_eq(puppet_call(two[1], "close 3"), 0);
    cr_expect_eq(puppet_call(two[1], "list_above"), 0);
    cr_expect_eq(puppet_result(two[0]), 3);
    cr_expect_eq(puppet_call(two[0], "close 3"), 0);
    (void)puppet_end(two[0]);
    (void)puppet_end(two[1]);
}
