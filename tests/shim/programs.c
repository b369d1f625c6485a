/* Real programs on one file at once: nothing is lost under the shim. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(programs, .init = scenario_begin, .fini = scenario_end, .timeout = 300);

/* Eight at once, as one background job each. */
static void eight(const char *patterns, const char *command) {
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = start_shell(patterns, command);
    }
    for (int i = 0; i < 8; i++) {
        cr_expect_eq(end_shell(pids[i]), 0, "%s", command);
    }
}

static long count_lines(const char *path, size_t length) {
    long whole = 0;
    char *copy = strdup(file_content(path));
    for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n")) {
        whole += strlen(line) == length;
    }
    free(copy);
    return whole;
}

Test(programs, a_counter_is_exact) {
    put_file("a.csv", "0\n");
    eight("*.csv", TEST_LEGACY " a.csv 100");
    cr_expect_str_eq(file_content("a.csv"), "800\n");
}

Test(programs, shells_that_append_in_several_writes) {
    static const char *const shells[] = {"bash", "dash", "zsh", "busybox sh"};
    for (int i = 0; i < 4; i++) {
        char command[300];
        (void)unlink("a.csv");
        snprintf(command, sizeof(command),
                 "%s -c 'for i in 1 2 3 4 5; do { printf aaaa; printf bbbb; printf cccc; "
                 "echo dddd; } >>a.csv; done'",
                 shells[i]);
        eight("*.csv", command);
        cr_expect_eq(count_lines("a.csv", 16), 40, "%s:\n%s", shells[i], file_content("a.csv"));
    }
}

/* H6: the redirection of an external command lasts as long as the command. */
Test(programs, redirections_of_external_commands) {
    static const char *const shells[] = {"bash", "dash", "zsh", "busybox sh"};
    for (int i = 0; i < 4; i++) {
        char command[300];
        (void)unlink("a.csv");
        snprintf(command, sizeof(command),
                 "%s -c 'for i in 1 2 3; do perl -e \"\\$|=1; print q(aaaa); print q(bbbb); "
                 "print qq(cccc\\n)\" >>a.csv; done; true'",
                 shells[i]);
        eight("*.csv", command);
        cr_expect_eq(count_lines("a.csv", 12), 24, "%s:\n%s", shells[i], file_content("a.csv"));
    }
}

Test(programs, perl_reads_and_writes_back) {
    put_file("a.csv", "0\n");
    eight("*.csv", "perl -e 'for (1..25) { open my $f, q(+<), q(a.csv) or die; my $n = <$f>; "
                   "seek $f, 0, 0; print $f $n + 1, qq(\\n); close $f }'");
    cr_expect_str_eq(file_content("a.csv"), "200\n");
}

Test(programs, python_reads_and_writes_back) {
    put_file("a.csv", "0\n");
    eight("*.csv", "/usr/bin/python3 -c '\n"
                   "for i in range(25):\n"
                   "    with open(\"a.csv\", \"r+\") as f:\n"
                   "        n = int(f.read())\n"
                   "        f.seek(0)\n"
                   "        f.write(\"%d\\n\" % (n + 1))\n'");
    cr_expect_str_eq(file_content("a.csv"), "200\n");
}

/* H8: what reads, closes and replaces needs hold=process. */
Test(programs, sed_in_place_with_hold_process) {
    put_file("a.csv", "0\n");
    eight("*.csv hold=process", "for i in 1 2 3 4 5; do sed -i 's/$/x/' a.csv; done");
    cr_expect_eq(strlen(file_content("a.csv")), 2 + 40, "%s", file_content("a.csv"));
}

/* A pipeline that reads one file twice. */
Test(programs, a_pipeline_that_reads_a_file_twice) {
    put_file("a.csv", "2\n1\n");
    cr_expect_eq(run_shell("*.csv", "diff <(sort a.csv) a.csv >out"), 1);
    cr_expect(strstr(file_content("out"), "1"), "%s", file_content("out"));
}

Test(programs, subshells_and_background_jobs) {
    put_file("a.csv", "");
    cr_expect_eq(run_shell("*.csv", "exec 3>>a.csv; for i in 1 2 3; do (echo $i >&3) & done; wait; "
                                    "exec 3>&-; sort a.csv >sorted"),
                 0);
    cr_expect_str_eq(file_content("sorted"), "1\n2\n3\n");
    cr_expect_eq(lock_state("a.csv"), FREE);
}
