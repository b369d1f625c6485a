/* What the shim's own lines must not do, and where it keeps quiet (contract C6, C7). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(quiet, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define SHORT "*.csv timeout=100ms"

/* Runs a command while s.csv is locked, so that opening it says something. */
static int run_with_lock(const char *command) {
    put_file("s.csv", "1\n");
    struct stranger stranger = stranger_locks("s.csv", LOCK_EX);
    int status = run_shell(SHORT, command);
    stranger_leaves(stranger);
    return status;
}

/* A link that is planted later must not lead our lines into another file. */
Test(quiet, a_log_that_is_a_link_is_not_written) {
    put_file("s.csv", "1\n");
    put_file("victim", "precious\n");
    struct stranger stranger = stranger_locks("s.csv", LOCK_EX);
    struct puppet *puppet = puppet_start(SHORT, "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open s.csv 2"), -1);
    cr_expect(strstr(file_content("log"), "autolock: cannot lock"), "%s", file_content("log"));
    cr_assert_eq(unlink("log"), 0);
    cr_assert_eq(symlink("victim", "log"), 0);
    cr_expect_eq(puppet_call(puppet, "open s.csv 2"), -1);
    cr_expect_str_eq(file_content("victim"), "precious\n");
    (void)puppet_end(puppet);
    stranger_leaves(stranger);
}

/* A reader of stderr that has gone must not kill the program. */
Test(quiet, never_ends_in_sigpipe) {
    cr_expect_eq(run_with_lock("exec perl -e '$SIG{PIPE} = q(DEFAULT); pipe my $r, my $w; "
                               "open STDERR, q(>&), $w; close $r; close $w; "
                               "open my $s, q(+<), q(s.csv) and exit 1; "
                               "open my $o, q(>), q(out); print $o q(alive)'"),
                 0);
    cr_expect_str_eq(file_content("out"), "alive");
}

/* Nor when it starts, with a fault in the rules to tell of. */
Test(quiet, starts_without_a_reader_of_stderr) {
    cr_expect_eq(run_shell(NULL, "exec perl -e '$SIG{PIPE} = q(DEFAULT); pipe my $r, my $w; "
                                 "close $r; open STDERR, q(>&), $w; $^F = 9; "
                                 "$ENV{LD_PRELOAD} = q(" TEST_PRELOAD "); "
                                 "$ENV{AUTOLOCK_PATTERNS} = q(*.csv bad=1); "
                                 "exec qw(sh -c), q(exit 3)'"),
                 3);
}

/* One that the program has pending itself stays. */
Test(quiet, a_sigpipe_of_the_program_stays) {
    cr_expect_eq(
        run_with_lock("exec perl -e 'use POSIX; my $set = POSIX::SigSet->new(SIGPIPE); "
                      "sigprocmask(SIG_BLOCK, $set); kill PIPE => $$; "
                      "pipe my $r, my $w; open STDERR, q(>&), $w; close $r; close $w; "
                      "open my $s, q(+<), q(s.csv) and exit 1; my $p = POSIX::SigSet->new; "
                      "sigpending($p); exit !$p->ismember(SIGPIPE)'"),
        0);
}

/* Our lines are not the program's data. */
Test(quiet, a_stderr_that_is_a_data_file_is_left_alone) {
    cr_expect_neq(run_with_lock("exec 2>>d.csv; echo data >&2; cat <s.csv"), 0);
    cr_expect(strstr(file_content("d.csv"), "data\n"));
    cr_expect(!strstr(file_content("d.csv"), "autolock:"), "%s", file_content("d.csv"));
}

/* It was closed, and the next open got its number. */
Test(quiet, a_file_that_got_the_number_of_stderr_is_left_alone) {
    struct stranger stranger;
    put_file("s.csv", "1\n");
    put_file("plain.txt", "");
    stranger = stranger_locks("s.csv", LOCK_EX);
    struct puppet *puppet = puppet_start(SHORT, NULL);
    static const char *const files[] = {"plain.txt", "d.csv"};
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(puppet_call(puppet, "close 2"), 0);
        cr_expect_eq(puppet_call(puppet, "open %s 0102 0644", files[i]), 2);
        cr_expect_eq(puppet_call(puppet, "open s.csv 2"), -1);
        cr_expect_eq(puppet->error, EBUSY);
        cr_expect_str_eq(file_content(files[i]), "");
    }
    (void)puppet_end(puppet);
    stranger_leaves(stranger);
}

/* C7: with more rights than its caller a program gets none of it. The library is
 * linked to the program here: ld.so would not preload it. */
Test(quiet, a_secure_program_is_left_alone) {
    NOT_WITH_SANITIZERS("their library cannot be in front in a set-user-ID program");
    if (geteuid() != 0) {
        scenario_skip("needs root, to make a set-user-ID program of somebody else");
    }
    put_file("a.csv", "1\n");
    cr_assert_eq(run_shell(NULL, "cp " TEST_SECURE " secure && chmod 4755 secure"), 0);
    static const char by_nobody[] = "export AUTOLOCK_PATTERNS='*.csv' AUTOLOCK_LOG=$PWD/log; "
                                    "setpriv --reuid 65534 --regid 65534 --clear-groups ./secure";
    /* The same program, not secure, locks. */
    cr_assert_eq(run_shell(NULL, "AUTOLOCK_PATTERNS='*.csv' ./secure a.csv"), 0);
    cr_assert_eq(lock_state("a.csv"), FREE);
    cr_assert_eq(unlink("a.csv.lock"), 0);
    char command[400];
    snprintf(command, sizeof(command), "%s a.csv", by_nobody);
    int status = run_shell(NULL, command);
    if (status == 3) {
        scenario_skip("set-user-ID has no effect here (mounted nosuid?)");
    }
    cr_expect_eq(status, 10, "the program: %d", status);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
    cr_expect_eq(access("log", F_OK), -1, "%s", file_content("log"));
}
