/* rename, unlink, truncate and their kin take the hold for as long as they
 * last (contract H9). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    cr_assert_eq(mkdir("d", 0755), 0);
    put_file("a.csv", "old\n");
    put_file("new", "new\n");
    cr_assert_eq(symlink("a.csv", "alias"), 0);
}

TestSuite(naming, .init = begin, .fini = scenario_end, .timeout = 120);

/* Each waits while somebody has a.csv open, does what it says afterwards, and
 * leaves nothing locked or open. */
static const struct {
    const char *call, *content; /* of a.csv afterwards; NULL: it is gone */
} calls[] = {
    {"rename new a.csv", "new\n"},
    {"rename a.csv b.csv", NULL},
    {"rename a.csv new", NULL},
    {"renameat -100 new -100 a.csv", "new\n"},
    {"renameat2 new a.csv 0", "new\n"},
    {"renameat2 new a.csv 2", "new\n"}, /* RENAME_EXCHANGE */
    {"renameat2 a.csv new 2", "new\n"},
    {"renameat2 a.csv b.csv 1", NULL}, /* RENAME_NOREPLACE */
    {"unlink a.csv", NULL},
    {"unlinkat -100 a.csv 0", NULL},
    {"remove a.csv", NULL},
    {"truncate a.csv 1", "o"},
    {"truncate64 a.csv 1", "o"},
    {"truncate alias 1", "o"},
};
#define COUNT (sizeof(calls) / sizeof(calls[0]))

Test(naming, each_call_waits_for_the_others) {
    for (size_t i = 0; i < COUNT; i++) {
        put_file("a.csv", "old\n");
        put_file("new", "new\n");
        (void)unlink("b.csv");
        struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        puppet_tell(puppet, "%s", calls[i].call);
        wait_until_queued(puppet->pid);
        cr_expect_str_eq(file_content("a.csv"), "old\n", "%s", calls[i].call);
        stranger_leaves(stranger);
        cr_expect_eq(puppet_result(puppet), 0, "%s: errno %d", calls[i].call, puppet->error);
        cr_expect_eq(puppet->error, UNTOUCHED, "%s: errno %d", calls[i].call, puppet->error);
        cr_expect_eq(access("a.csv", F_OK), calls[i].content ? 0 : -1, "%s", calls[i].call);
        cr_expect_str_eq(file_content("a.csv"), calls[i].content ? calls[i].content : "", "%s",
                         calls[i].call);
        cr_expect_eq(lock_state("a.csv"), FREE, "%s", calls[i].call);
        cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s leaves %s", calls[i].call,
                     puppet->text);
        (void)puppet_end(puppet);
    }
}

Test(naming, control_without_shim) {
    for (size_t i = 0; i < COUNT; i++) {
        put_file("a.csv", "old\n");
        put_file("new", "new\n");
        (void)unlink("b.csv");
        struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
        struct puppet *puppet = puppet_start(NULL, NULL);
        CALL(0, "%s", calls[i].call);
        stranger_leaves(stranger);
        (void)puppet_end(puppet);
    }
}

/* Beside a name of 251 bytes no sidecar fits, so nobody can have it locked. */
Test(naming, a_name_too_long_for_a_sidecar_can_go) {
    struct puppet *puppet = puppet_start("*n", NULL);
    char name[252];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    put_file(name, "1\n");
    cr_expect_eq(puppet_call(puppet, "rename %s d/%s", name, name), 0);
    cr_expect_eq(puppet_call(puppet, "unlink d/%s", name), 0);
    put_file(name, "2\n");
    cr_expect_eq(puppet_call(puppet, "rename %s plain", name), 0);
    cr_expect_str_eq(file_content("plain"), "2\n");
    (void)puppet_end(puppet);
}

/* The target of a rename gets its sidecar, a name that goes does not: rm -r
 * must find the directory empty. */
Test(naming, a_name_that_goes_leaves_no_sidecar) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    CALL(0, "rename new a.csv");
    cr_expect_eq(lock_state("a.csv"), FREE, "its sidecar is there");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    put_file("d/x.csv", "1\n");
    CALL(0, "unlink d/x.csv");
    put_file("d/x.csv", "1\n");
    CALL(0, "remove d/x.csv");
    put_file("d/x.csv", "1\n");
    CALL(0, "rename d/x.csv d/plain");
    cr_expect_eq(lock_state("d/x.csv"), NO_SIDECAR);
    CALL(0, "rename d/plain d/y.csv"); /* nobody can have it open */
    cr_expect_eq(lock_state("d/y.csv"), NO_SIDECAR);
    CALL(0, "unlink d/y.csv");
    CALL(0, "unlinkat -100 d %d", AT_REMOVEDIR);
    (void)puppet_end(puppet);
}

Test(naming, rm_r_with_and_without_sidecars) {
    put_file("d/x.csv", "1\n");
    put_file("d/x.csv.lock", "");
    put_file("d/y.csv", "1\n");
    cr_expect_eq(run_shell("*.csv", "rm -r d"), 0);
    cr_expect_eq(access("d", F_OK), -1);
}

/* A name that is free, but locked: somebody is about to make the file. */
Test(naming, rename_to_a_free_name_that_is_locked) {
    struct stranger stranger = stranger_locks("b.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "rename new b.csv");
    wait_until_queued(puppet->pid);
    cr_expect_eq(access("b.csv", F_OK), -1);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 0);
    (void)puppet_end(puppet);
}

/* O3: what fails anyway fails at once, with its own errno, and no sidecar is
 * made. */
Test(naming, what_fails_anyway_fails_at_once) {
    static const struct {
        const char *call;
        int error;
    } failing[] = {
        {"rename missing a.csv", ENOENT},
        {"rename missing/x a.csv", ENOENT},
        {"rename d a.csv", ENOTDIR},
        {"renameat2 new a.csv 1", EEXIST},
        {"renameat2 missing a.csv 2", ENOENT},
        {"renameat2 a.csv missing 2", ENOENT},
        {"renameat 4242 x 4242 a.csv", EBADF},
        {"rename a.csv missing/x", ENOENT},
        {"rename a.csv missing/x.csv", ENOENT},
        {"rename a.csv new/x.csv", ENOTDIR},
        {"rename a.csv ./d/../missing/../x", ENOENT},
        {"renameat -100 a.csv 4242 x", EBADF},
        {"renameat2 a.csv missing/x 1", ENOENT},
        {"rename a.csv /proc/x", EXDEV}, /* another file system */
        {"rename a.csv /proc/self/../x.csv", EXDEV},
        {"renameat2 a.csv /proc/x 1", EXDEV},
        {"renameat2 a.csv /proc/version 2", EXDEV},
        {"rename /proc/version a.csv", EXDEV},
        {"rename a.csv d", EISDIR},
        {"rename a.csv dir.csv", EISDIR},
        {"unlink missing.csv", ENOENT},
        {"unlink a.csv/", ENOTDIR},
        {"unlinkat 4242 a.csv 0", EBADF},
        {"unlinkat -100 a.csv 512", ENOTDIR}, /* AT_REMOVEDIR */
        {"remove missing.csv", ENOENT},
        {"truncate missing.csv 0", ENOENT},
        {"truncate a.csv -1", EINVAL},
        {"truncate dir.csv 0", EISDIR},
        {"unlink dir.csv", EISDIR},
    };
    cr_assert_eq(mkdir("dir.csv", 0755), 0);
    for (int locked = 0; locked < 2; locked++) {
        struct stranger stranger = {0};
        if (locked) {
            stranger = stranger_locks("a.csv", LOCK_EX);
        }
        struct puppet *puppet = puppet_start("*.csv", NULL);
        for (size_t i = 0; i < sizeof(failing) / sizeof(failing[0]); i++) {
            CALL(-1, "%s", failing[i].call);
            cr_expect_eq(puppet->error, failing[i].error, "%s: errno %d", failing[i].call,
                         puppet->error);
        }
        cr_expect_eq(lock_state("a.csv"), locked ? EXCLUSIVE : NO_SIDECAR);
        (void)puppet_end(puppet);
        if (locked) {
            stranger_leaves(stranger);
        }
    }
}

/* Root alone can become somebody else. */
Test(naming, a_directory_that_may_not_be_written_fails_at_once) {
    if (geteuid() != 0) {
        scenario_skip("only root can be another user");
    }
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_expect_eq(run_shell_as_nobody("*.csv", "exec 2>/dev/null; rm -f a.csv; test $? = 1"), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv", "exec 2>/dev/null; truncate -s 0 a.csv; "
                                              "test $? = 1"),
                 0);
    stranger_leaves(stranger);
    cr_expect_str_eq(file_content("a.csv"), "old\n");
}

Test(naming, own_holds_count) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    CALL(3, "open a.csv 2");
    CALL(0, "truncate a.csv 1");
    CALL(0, "rename new a.csv");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "the call does not end the hold");
    CALL(0, "unlink a.csv");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* A reader that replaces what it has open needs it alone, like one that opens
 * it for writing (O6). */
Test(naming, a_reader_that_replaces_waits_for_other_readers) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    CALL(3, "open a.csv 0");
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    puppet_tell(puppet, "rename new a.csv");
    wait_until_queued(puppet->pid);
    cr_expect_str_eq(file_content("a.csv"), "old\n");
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 0);
    cr_expect_str_eq(file_content("a.csv"), "new\n");
    (void)puppet_end(puppet);
}

Test(naming, timeout_and_on_timeout) {
    static const struct {
        const char *rule;
        int result, error;
    } rules[] = {
        {"*.csv timeout=50ms", -1, EBUSY},
        {"*.csv timeout=50ms on-timeout=open", 0, UNTOUCHED},
    };
    static const char *const some[] = {"rename new a.csv", "truncate a.csv 1", "unlink a.csv"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 3; j++) {
            put_file("new", "new\n");
            put_file("a.csv", "old\n");
            struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
            struct puppet *puppet = puppet_start(rules[i].rule, "AUTOLOCK_LOG=log", NULL);
            CALL(rules[i].result, "%s", some[j]);
            cr_expect_eq(puppet->error, rules[i].error, "%s: errno %d", some[j], puppet->error);
            cr_expect(strstr(file_content("log"), "timeout after 50 ms"), "%s",
                      file_content("log"));
            (void)puppet_end(puppet);
            stranger_leaves(stranger);
            (void)unlink("log");
        }
    }
}

/* Two that swap the same two files in opposite directions, without a fixed
 * order, wait for each other for ever. */
Test(naming, two_names_in_a_fixed_order) {
    put_file("b.csv", "b\n");
    static const char *const swaps[] = {"renameat2 a.csv b.csv 2", "renameat2 b.csv a.csv 2"};
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct stranger other = stranger_locks("b.csv", LOCK_EX);
    struct puppet *puppets[2];
    for (int i = 0; i < 2; i++) {
        puppets[i] = puppet_start("*.csv", NULL);
        puppet_tell(puppets[i], "%s", swaps[i]);
        wait_until_queued(puppets[i]->pid);
    }
    /* Both wait for a.csv, so whoever comes first is held up by b.csv alone. */
    stranger_leaves(stranger);
    stranger_leaves(other);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(puppet_result(puppets[i]), 0);
        (void)puppet_end(puppets[i]);
    }
    for (int round = 0; round < 2; round++) {
        struct stranger one = stranger_locks(round ? "b.csv" : "a.csv", LOCK_EX);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        puppet_tell(puppet, "%s", swaps[round]);
        wait_until_queued(puppet->pid);
        cr_expect_eq(lock_state(round ? "a.csv" : "b.csv"), round ? EXCLUSIVE : FREE,
                     "a.csv is taken first, always");
        stranger_leaves(one);
        cr_expect_eq(puppet_result(puppet), 0);
        (void)puppet_end(puppet);
    }
}

/* H1: the name is looked at again after a wait. */
Test(naming, a_directory_link_that_is_turned_while_we_wait) {
    cr_assert_eq(mkdir("e", 0755), 0);
    put_file("d/x.csv", "d\n");
    put_file("e/x.csv", "e\n");
    cr_assert_eq(symlink("d", "current"), 0);
    struct stranger stranger = stranger_locks("d/x.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "rename new current/x.csv");
    wait_until_queued(puppet->pid);
    cr_assert_eq(symlink("e", "next"), 0);
    cr_assert_eq(rename("next", "current"), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 0);
    cr_expect_str_eq(file_content("d/x.csv"), "d\n");
    cr_expect_str_eq(file_content("e/x.csv"), "new\n");
    (void)puppet_end(puppet);
}

/* rename and unlink do not follow a link: it is nobody's data. */
Test(naming, links_themselves_are_not_locked) {
    cr_assert_eq(symlink("a.csv", "link.csv"), 0);
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    CALL(0, "rename link.csv link2.csv");
    CALL(0, "unlink link2.csv");
    cr_expect_eq(lock_state("link.csv"), NO_SIDECAR);
    (void)puppet_end(puppet);
    stranger_leaves(stranger);
}

Test(naming, an_ancestor_that_waits_lets_it_pass) {
    cr_expect_eq(run_shell("*.csv", "exec 3>>a.csv; mv new a.csv; cat a.csv >out"), 0);
    cr_expect_str_eq(file_content("out"), "new\n");
}

/* H8: what stays is kept to the end, what goes is not. */
Test(naming, hold_process) {
    struct puppet *puppet = puppet_start("*.csv hold=process", NULL);
    CALL(0, "rename new a.csv");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    put_file("b.csv", "b\n");
    put_file("b.csv.lock", "");
    CALL(0, "unlink b.csv");
    cr_expect_eq(lock_state("b.csv"), FREE);
    (void)puppet_end(puppet);
    cr_expect_eq(lock_state("a.csv"), FREE);
}
