/* AUTOLOCK=observe: nothing is locked, but told (contract C3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(observe, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 120);

static struct puppet *start(void) {
    return puppet_start("*.csv", "AUTOLOCK=observe", "AUTOLOCK_LOG=log", NULL);
}

/* Whether the log has a line of this process with both texts. */
static bool is_told(pid_t pid, const char *one, const char *two) {
    char begin[64];
    snprintf(begin, sizeof(begin), "autolock: observe: pid %d (", (int)pid);
    char *copy = strdup(file_content("log"));
    bool told = false;
    for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n")) {
        told |= strncmp(line, begin, strlen(begin)) == 0 && strstr(line, one) && strstr(line, two);
    }
    free(copy);
    return told;
}
#define TOLD(pid, one, two)                                                                        \
    cr_expect(is_told(pid, one, two), "%s, %s: %s", one, two, file_content("log"))
#define NOT_TOLD(pid, one, two)                                                                    \
    cr_expect(!is_told(pid, one, two), "%s, %s: %s", one, two, file_content("log"))

Test(observe, nothing_is_locked_and_no_sidecar_made) {
    struct puppet *puppet = start();
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
    cr_expect_eq(puppet->error, UNTOUCHED);
    TOLD(puppet->pid, "/a.csv would be locked against all others", "AUTOLOCK_PATTERNS:1: *.csv");
    NOT_TOLD(puppet->pid, "/a.csv closed", "");
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    TOLD(puppet->pid, "/a.csv closed; it was open for", "");
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s", puppet->text);
    cr_expect_eq(puppet_call(puppet, "open other.txt 0102 0600"), 3);
    cr_expect(!strstr(file_content("log"), "other.txt"));
    (void)puppet_end(puppet);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
}

/* The file in which it says what it has open may not be written, then. */
Test(observe, a_program_that_may_write_no_files) {
    cr_expect_eq(run_shell("*.csv", "ulimit -f 0; AUTOLOCK=observe cat a.csv >/dev/null 2>&1"), 0);
}

Test(observe, a_soft_lock_is_told_as_one) {
    struct puppet *puppet =
        puppet_start("*.csv kind=soft", "AUTOLOCK=observe", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 0"), 3);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
    TOLD(puppet->pid, "/a.csv would be locked against all others, by a soft lock", "");
    (void)puppet_end(puppet);
}

Test(observe, who_would_have_waited_for_whom) {
    char opener[64];
    struct puppet *one = start(), *two = start();
    snprintf(opener, sizeof(opener), "opened by pid %d (puppet) to write", (int)one->pid);
    cr_expect_eq(puppet_call(one, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(two, "open a.csv 0"), 3);
    TOLD(two->pid, opener, "this open would have waited");
    cr_expect_eq(puppet_call(one, "close 3"), 0);
    cr_expect_eq(puppet_call(one, "open a.csv 0"), 3);
    snprintf(opener, sizeof(opener), "opened by pid %d (puppet) to read", (int)two->pid);
    TOLD(one->pid, opener, "both read");
    (void)puppet_end(one);
    (void)puppet_end(two);
}

/* No overlap where there was none, and none within one process. */
Test(observe, what_does_not_overlap_is_not_told) {
    struct puppet *one = start(), *two = start();
    cr_expect_eq(puppet_call(one, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(one, "open a.csv 2"), 4);
    cr_expect_eq(puppet_call(one, "close 3"), 0);
    cr_expect_eq(puppet_call(one, "close 4"), 0);
    cr_expect_eq(puppet_call(two, "open a.csv 2"), 3);
    puppet_kill(two); /* the kernel gives its place back */
    cr_expect_eq(puppet_call(one, "open a.csv 2"), 3);
    cr_expect(!strstr(file_content("log"), "opened by"), "%s", file_content("log"));
    (void)puppet_end(one);
}

/* What keeps a hold keeps what is observed: copies, a forked child, and exec on
 * descriptors 0 to 2. */
Test(observe, copies_children_and_exec) {
    struct puppet *one = start(), *two = start();
    cr_assert_eq(puppet_call(one, "open a.csv 2"), 3);
    cr_assert_eq(puppet_call(one, "dup2 3 1"), 1);
    cr_expect_eq(puppet_call(one, "close 3"), 0);
    NOT_TOLD(one->pid, "/a.csv closed", "");
    puppet_tell(one, "exec");
    cr_expect_eq(puppet_call(one, "dup2 1 1"), 1);
    cr_expect_eq(puppet_call(two, "open a.csv 2"), 3);
    TOLD(two->pid, "opened by", "would have waited");
    cr_expect_eq(puppet_call(one, "close 1"), 0);
    TOLD(one->pid, "/a.csv closed; it was open for", "");
    (void)puppet_end(one);
    (void)puppet_end(two);
}

Test(observe, the_end_of_the_process) {
    cr_expect_eq(run_shell("*.csv", "export AUTOLOCK=observe AUTOLOCK_LOG=log; "
                                    "perl -e 'open A, q(+<), q(a.csv); exit 0'; true"),
                 0);
    cr_expect(strstr(file_content("log"), "/a.csv was open until the end of the process") ||
                  strstr(file_content("log"), "/a.csv closed; it was open for"),
              "%s", file_content("log"));
}

/* Nobody waits for anybody, whatever the rule says. */
Test(observe, a_lock_of_others_is_not_waited_for) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = start();
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(puppet, "fopen a.csv r"), 4);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(observe, what_is_not_the_register_is_left_alone) {
    if (geteuid() != 0 || run_shell(NULL, "unshare -m true") != 0) {
        scenario_skip("needs a mount namespace of its own (root)");
    }
    /* Another /dev/shm, in which somebody has put a link to a file of ours. */
    cr_expect_eq(run_shell(NULL, "unshare -m bash -c 'mount -t tmpfs none /dev/shm && echo mine "
                                 ">/dev/shm/mine && ln /dev/shm/mine /dev/shm/autolock-observe && "
                                 "LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS=\"*.csv\" AUTOLOCK=observe "
                                 "AUTOLOCK_LOG=log cat a.csv && cat /dev/shm/mine >content'"),
                 0);
    cr_expect_str_eq(file_content("content"), "mine\n");
    cr_expect(strstr(file_content("log"), "cannot observe how long"), "%s", file_content("log"));
}

/* AUTOLOCK=off: as if there were no rules. */
Test(observe, switched_off) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet =
        puppet_start("*.csv", "AUTOLOCK=off", "AUTOLOCK_LOG=log", "AUTOLOCK_LOG_LEVEL=debug", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(puppet, "open b.csv 0102 0600"), 4);
    cr_expect_eq(lock_state("b.csv"), NO_SIDECAR);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_str_eq(file_content("log"), "");
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}
