/* What is said, where and when (contract C6, W1). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(saying, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 120);

static int count(const char *text) {
    int found = 0;
    for (const char *at = file_content("log"); (at = strstr(at, text)); at++) {
        found++;
    }
    return found;
}

static void wait_for_lines(const char *text, int lines) {
    for (int i = 0; i < 3000 && count(text) < lines; i++) {
        usleep(10000);
    }
    cr_assert_geq(count(text), lines, "%s in %s", text, file_content("log"));
}

/* Whether the whole log is as this pattern says. */
static bool log_is(const char *format, ...) {
    char pattern[2048], whole[2100];
    regex_t regex;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(pattern, sizeof(pattern), format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof(whole), "^(%s)$", pattern);
    cr_assert_eq(regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB), 0, "%s", whole);
    bool is = regexec(&regex, file_content("log"), 0, NULL, 0) == 0;
    regfree(&regex);
    return is;
}

static void holder(char *ret, size_t size, pid_t pid, const char *state) {
    snprintf(ret, size, "locked by pid %d (test_shim_sayin%s), uid %u\n", (int)pid, state,
             (unsigned)geteuid());
}

Test(saying, another_holder_is_told) {
    char first[128], second[128];
    struct stranger one = stranger_locks("a.csv", LOCK_SH);
    struct stranger two = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_for_lines("waiting ", 1);
    bool first_is_one = strstr(file_content("log"), "pid ") != NULL;
    holder(first, sizeof(first), one.pid, "");
    holder(second, sizeof(second), two.pid, "");
    first_is_one = strstr(file_content("log"), first);
    cr_expect(first_is_one || strstr(file_content("log"), second), "%s", file_content("log"));
    stranger_leaves(first_is_one ? one : two);
    wait_for_lines(first_is_one ? second : first, 1);
    stranger_leaves(first_is_one ? two : one);
    cr_expect_eq(puppet_result(puppet), 3);
    wait_for_lines("autolock: got ", 1);
    (void)puppet_end(puppet);
}

Test(saying, ever_more_rarely) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv warn-after=10ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_for_lines("waiting ", 2); /* at once and after a second, then two, four */
    cr_expect_eq(puppet_first(&puppet, 1, 1500), -1);
    cr_expect_leq(count("waiting "), 3, "%s", file_content("log"));
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    (void)puppet_end(puppet);
}

Test(saying, a_stopped_holder_is_called_so) {
    char expected[128];
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_assert_eq(kill(stranger.pid, SIGSTOP), 0);
    struct puppet *puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_for_lines("waiting ", 1);
    holder(expected, sizeof(expected), stranger.pid, ", stopped");
    cr_expect(strstr(file_content("log"), expected), "%s", file_content("log"));
    cr_assert_eq(kill(stranger.pid, SIGCONT), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    (void)puppet_end(puppet);
}

/* exec 9>f.lock; flock 9: who called flock is gone, who has it is told. */
Test(saying, the_holder_is_who_has_it) {
    cr_assert_eq(run_shell(NULL, "mkfifo end"), 0);
    pid_t shell = start_shell(NULL, "exec 9>a.csv.lock; flock 9; echo >ready; exec cat end");
    for (int i = 0; i < 3000 && !*file_content("ready"); i++) {
        usleep(10000);
    }
    struct puppet *puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_for_lines("waiting ", 1);
    cr_expect(strstr(file_content("log"), " (cat), uid ") ||
                  strstr(file_content("log"), " (bash), uid "),
              "%s", file_content("log"));
    put_file("end", "");
    cr_expect_eq(end_shell(shell), 0);
    cr_expect_eq(puppet_result(puppet), 3);
    (void)puppet_end(puppet);
}

/* The lines as the manual gives them. */
Test(saying, word_by_word) {
    const char *dir = scenario_directory();
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_assert_eq(kill(stranger.pid, SIGSTOP), 0);
    struct puppet *puppet = puppet_start("*.csv warn-after=2s", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_for_lines("waiting ", 1);
    cr_expect(log_is("autolock: waiting [0-9.]+ s for %s/a\\.csv: locked by pid %d "
                     "\\(test_shim_sayin, stopped\\), uid %u\n",
                     dir, (int)stranger.pid, (unsigned)geteuid()),
              "%s", file_content("log"));
    cr_assert_eq(kill(stranger.pid, SIGCONT), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    wait_for_lines("autolock: got ", 1);
    cr_expect(
        log_is("(autolock: waiting [^\n]*\n)+autolock: got %s/a\\.csv after [0-9.]+ s\n", dir),
        "%s", file_content("log"));
    (void)puppet_end(puppet);
    /* Who got it before anything was said says nothing at the end. */
    (void)unlink("log");
    stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_str_eq(file_content("log"), "");
    (void)puppet_end(puppet);
}

/* C6: whoever reads what is written gets whole lines, a write each. A socket that
 * keeps them apart shows it. */
/* A long log of other programs: its length is no reason to be killed (SIGXFSZ). */
Test(saying, a_log_that_may_not_grow) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_expect_eq(run_shell("*.csv timeout=0 on-timeout=open",
                           "head -c 100000 /dev/zero >log\n"
                           "ulimit -f 4\n"
                           "AUTOLOCK_LOG=log cat a.csv 2>told\n"),
                 0);
    stranger_leaves(stranger);
    cr_expect(strstr(file_content("told"), "cannot lock"), "%s", file_content("told"));
}

Test(saying, each_line_is_one_write) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_expect_eq(
        run_shell(NULL, "/usr/bin/python3 -c '\n"
                        "import os, socket, subprocess\n"
                        "ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                        "env = dict(os.environ, LD_PRELOAD=\"" TEST_PRELOAD "\", "
                        "AUTOLOCK_PATTERNS=\"*.csv bad=1:*.csv timeout=300ms warn-after=20ms "
                        "on-timeout=open\")\n"
                        "subprocess.run([\"cat\", \"a.csv\"], env=env, stdout=subprocess.DEVNULL, "
                        "stderr=theirs)\n"
                        "theirs.close()\n"
                        "for i in range(20):\n"
                        "    line = ours.recv(4000).decode()\n"
                        "    if not line: break\n"
                        "    print(\"%d %d %s\" % (line.startswith(\"autolock: \"), "
                        "line.endswith(\"\\n\"), line.split()[1]))\n' >writes"),
        0);
    stranger_leaves(stranger);
    const char *writes = file_content("writes");
    static const char begin_of[] = "1 1 AUTOLOCK_PATTERNS:1:\n1 1 waiting\n";
    cr_expect_eq(strncmp(writes, begin_of, strlen(begin_of)), 0, "%s", writes);
    cr_expect(strstr(writes, "1 1 cannot\n"), "%s", writes);
    cr_expect_not(strstr(writes, "0 "), "%s", writes);
}

Test(saying, a_relative_log_stays_where_it_was) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=20ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(run_shell(NULL, "mkdir below"), 0);
    cr_expect_eq(puppet_call(puppet, "chdir below"), 0);
    cr_expect_eq(puppet_call(puppet, "open ../a.csv 2"), -1);
    wait_for_lines("cannot lock", 1);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(saying, syslog) {
    if (geteuid() != 0 || run_shell(NULL, "unshare -m true") != 0) {
        scenario_skip("needs a mount namespace of its own (root)");
    }
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    /* A /dev of our own, in which we are the daemon. */
    cr_expect_eq(run_shell(NULL,
                           "unshare -m bash -c '"
                           "cp -a /dev/null null; mount -t tmpfs none /dev; cp -a null /dev/null; "
                           "/usr/bin/python3 -c \"\n"
                           "import socket, sys\n"
                           "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
                           "s.settimeout(30)\n"
                           "s.bind(\\\"/dev/log\\\")\n"
                           "open(\\\"ready\\\", \\\"w\\\").write(\\\"x\\\")\n"
                           "open(\\\"message\\\", \\\"wb\\\").write(s.recv(2000))\n"
                           "\" & while [ ! -s ready ]; do sleep 0.01; done; "
                           "LD_PRELOAD=" TEST_PRELOAD " AUTOLOCK_PATTERNS=\"*.csv timeout=20ms\" "
                           "AUTOLOCK_LOG=syslog cat a.csv 2>err; wait'"),
                 0);
    const char *message = file_content("message");
    cr_expect_eq(strncmp(message, "<12>autolock[", 13), 0, "%s", message);
    cr_expect(strstr(message, "]: cannot lock /"), "%s", message);
    cr_expect(!strstr(file_content("err"), "autolock"), "%s", file_content("err"));
    /* Where nobody listens it goes to stderr. */
    cr_expect_eq(run_shell(NULL, "unshare -m bash -c 'cp -a /dev/null null2; mount -t tmpfs none "
                                 "/dev; cp -a null2 /dev/null; LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS=\"*.csv timeout=20ms\" AUTOLOCK_LOG=syslog "
                                 "cat a.csv 2>err'"),
                 1);
    cr_expect_eq(strncmp(file_content("err"), "autolock: cannot lock /", 23), 0, "%s",
                 file_content("err"));
    stranger_leaves(stranger);
}

Test(saying, bad_values_are_told) {
    static const struct {
        const char *variable, *expected;
    } cases[] = {
        {"AUTOLOCK_LOG_LEVEL=loud",
         "autolock: AUTOLOCK_LOG_LEVEL: unknown value; known are warning, debug: 'loud'\n"},
        {"AUTOLOCK_LOG=missing/log",
         "autolock: AUTOLOCK_LOG: not a file that can be written to (links are not followed); "
         "name another one, or syslog: 'missing/log'\n"},
        {"AUTOLOCK=observed", "autolock: AUTOLOCK: unknown value; known are on, off and "
                              "observe: 'observed'\n"},
        {"AUTOLOCK_LOG=link", "autolock: AUTOLOCK_LOG: not a file that can be written to (links "
                              "are not followed); name another one, or syslog: 'link'\n"},
    };
    cr_assert_eq(symlink("elsewhere", "link"), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char command[256];
        snprintf(command, sizeof(command), "%s /bin/true 2>err", cases[i].variable);
        cr_expect_eq(run_shell("", command), 0);
        cr_expect_str_eq(file_content("err"), cases[i].expected);
        snprintf(command, sizeof(command), "%s AUTOLOCK_STRICT=1 /bin/true 2>err",
                 cases[i].variable);
        cr_expect_eq(run_shell("", command), 125, "%s", cases[i].variable);
    }
}

Test(saying, debug_tells_each_decision) {
    struct puppet *puppet = puppet_start("*.csv:!x.csv:r.csv readers=none", "AUTOLOCK_LOG=log",
                                         "AUTOLOCK_LOG_LEVEL=debug", NULL);
    put_file("x.csv", "");
    put_file("r.csv", "");
    char rule[64];
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    snprintf(rule, sizeof(rule), "autolock: debug: pid %d (puppet): /", (int)puppet->pid);
    cr_expect_eq(strncmp(file_content("log"), rule, strlen(rule)), 0, "%s", file_content("log"));
    wait_for_lines("/a.csv: rule *.csv of AUTOLOCK_PATTERNS:1: sidecar a.csv.lock: held "
                   "exclusively\n",
                   1);
    cr_expect_eq(puppet_call(puppet, "dup 3"), 4);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    wait_for_lines("/a.csv: a reference less, still held by this process\n", 1);
    cr_expect_eq(count("released"), 0);
    cr_expect_eq(puppet_call(puppet, "close 4"), 0);
    wait_for_lines("/a.csv: released by this process\n", 1);
    cr_expect_eq(puppet_call(puppet, "open x.csv 2"), 3);
    wait_for_lines("/x.csv: rule !x.csv of AUTOLOCK_PATTERNS:1: not locked: the rule takes it "
                   "out\n",
                   1);
    cr_expect_eq(puppet_call(puppet, "open r.csv 0"), 4);
    wait_for_lines("/r.csv: rule r.csv of AUTOLOCK_PATTERNS:1: not locked: readers=none\n", 1);
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet_tell(puppet, "open a.csv 0");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 5);
    wait_for_lines(": held shared\n", 1);
    wait_for_lines("sidecar a.csv.lock: waited ", 1);
    put_file("p.csv", "");
    stranger = stranger_locks("p.csv", LOCK_EX);
    cr_expect_eq(run_shell("*.csv timeout=20ms on-timeout=open",
                           "AUTOLOCK_LOG=log AUTOLOCK_LOG_LEVEL=debug cat p.csv >out"),
                 0);
    wait_for_lines(": passed without a lock: the failure is one that the rule lets pass\n", 1);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_call(puppet, "open other.txt 0102 0600"), 6);
    cr_expect_eq(count("other.txt"), 0);
    (void)puppet_end(puppet);
}

/* C6: a child of vfork shares our memory, but not our descriptor 2. */
Test(saying, a_vforked_child_redirects_its_own_stderr_only) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=0", NULL);
    cr_assert_eq(puppet_call(puppet, "open err 02102 0666"), 3);
    cr_assert_eq(puppet_call(puppet, "dup2 3 2"), 2);
    cr_assert_eq(puppet_call(puppet, "vfork_replace 2 /dev/null"), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect(strstr(file_content("err"), "autolock: cannot lock "), "%s", file_content("err"));
    /* And a program that has closed its stderr writes data there. */
    cr_assert_eq(puppet_call(puppet, "close 2"), 0);
    cr_assert_eq(puppet_call(puppet, "open out 02102 0666"), 2);
    cr_assert_eq(puppet_call(puppet, "vfork_dup2 1 2"), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_str_eq(file_content("out"), "");
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* Descriptor 2 is a data file that we have no hold of: the holder waits for us. */
Test(saying, nothing_in_a_data_file_without_a_hold) {
    put_file("d.csv", "");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_expect_neq(run_shell(NULL, "flock -o d.csv.lock env LD_PRELOAD=" TEST_PRELOAD
                                  " AUTOLOCK_PATTERNS='d.csv:a.csv timeout=50ms' "
                                  "sh -c 'exec 2>>d.csv; : >>a.csv'"),
                  0);
    stranger_leaves(stranger);
    cr_expect(strstr(file_content("d.csv"), "cannot create a.csv"), "%s", file_content("d.csv"));
    cr_expect_not(strstr(file_content("d.csv"), "autolock"), "%s", file_content("d.csv"));
}
