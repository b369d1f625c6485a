/* A program whose files match no rule cannot tell that the shim is there
 * (contract T1, C7): the same calls, answered alike. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(transparency, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static const char *const calls[] = {
    "numbers",
    "open plain.txt 2",
    "open plain.txt 0",
    "open link.txt 0",
    "open deep/../plain.txt 0",
    "open through/inner.txt 2",
    "open dangling.txt 0",
    "open dangling.txt 0102 0640",
    "open loop.txt 0",
    "open link.txt 0400000",       /* O_NOFOLLOW: ELOOP */
    "open link.txt 0300 0644",     /* O_CREAT|O_EXCL on a link */
    "open made.txt 0102 0600",     /* O_RDWR|O_CREAT */
    "open made.txt 0302 0600",     /* EEXIST */
    "open missing.txt 0",          /* ENOENT */
    "open missing/x.txt 0",        /* ENOENT */
    "open plain.txt/x 0",          /* ENOTDIR */
    "open deep 2",                 /* EISDIR */
    "open deep 0200000",           /* O_DIRECTORY */
    "open plain.txt 0200000",      /* ENOTDIR */
    "open . 020200002 0600",       /* O_TMPFILE */
    "open plain.txt 3",            /* the strange access mode */
    "open plain.txt 040000000000", /* a flag that nobody knows */
    "open_null",
    "open64 plain.txt 0",
    "openat -100 plain.txt 0",
    "openat 4242 plain.txt 0", /* EBADF */
    "openat 4242 /dev/null 0",
    "__open_2 plain.txt 0",
    "creat made2.txt 0644",
    "creat missing/made.txt 0644",
    "fopen plain.txt r",
    "fopen plain.txt r+e",
    "fopen plain.txt a",
    "ftell",
    "fopen plain.txt ab",
    "ftell",
    "fopen plain.txt a+",
    "ftell",
    "fopen /dev/null a",
    "ftell",
    "fopen plain.txt rm",
    "fopen plain.txt r,ccs=UTF-8",
    "fopen made3.txt wx",
    "fopen made3.txt wx", /* EEXIST */
    "fopen plain.txt q",  /* EINVAL */
    "fopen missing.txt r",
    "fopen deep w", /* EISDIR */
    "open /dev/null 2",
    "open /dev/stdin 0",
    "open /proc/self/fd/3 0",
    "dup 3",
    "dup 4242",
    "dup2 3 60",
    "dup2 4242 61",
    "dup2 3 -1",
    "dup2 3 3",
    "dup3 3 62 02000000",
    "dup3 3 3 0", /* EINVAL */
    "fcntl 3 0 70",
    "fcntl 3 1030 70",
    "fcntl 3 1 0",
    "fcntl 62 1 0",
    "fcntl 3 3 0", /* F_GETFL */
    "fcntl 4 3 0",
    "fcntl 5 3 0",
    "fcntl 4242 1 0",
    "flock 3 2",
    "flock 3 8",
    "flock 4242 2",
    "close 60",
    "close 60",
    "close 4242",
    "close -1",
    "close_range 61 62 0",
    "close_range 9 8 0",
    "spawn_missing", /* ENOENT, in errno too, which libc leaves there */
    "spawn open:1:missing.txt:0",
    "spawn open:1:deep:2", /* EISDIR */
    "spawn dup2:4242:1",
    "read 3",
    "write 3 text",
    "numbers",
    "close_loop 3 499",
    "closefrom 502",
    "numbers",
    "list_above",
    "handlers",
    "open plain.txt 0",
};

static void prepare(void) {
    put_file("plain.txt", "plain\n");
    cr_assert_eq(mkdir("deep", 0755), 0);
    cr_assert_eq(mkdir("real", 0755), 0);
    put_file("real/inner.txt", "inner\n");
    cr_assert_eq(symlink("real", "through"), 0);
    cr_assert_eq(symlink("plain.txt", "link.txt"), 0);
    cr_assert_eq(symlink("to-be-made.txt", "dangling.txt"), 0);
    cr_assert_eq(symlink("loop.txt", "loop.txt"), 0);
}

/* `matching`: our own descriptors and sidecars are there, and may be seen by
 * those who look for them. */
static void compare(const char *patterns, bool matching) {
    static const char log[] = "log";
    char variable[300];
    prepare();
    struct puppet *bare = puppet_start(NULL, NULL);
    size_t count = sizeof(calls) / sizeof(calls[0]);
    struct {
        long result;
        int error;
        char *text;
    } expected[sizeof(calls) / sizeof(calls[0])];
    for (size_t i = 0; i < count; i++) {
        expected[i].result = puppet_call(bare, "%s", calls[i]);
        expected[i].error = bare->error;
        expected[i].text = strdup(bare->text);
    }
    (void)puppet_end(bare);
    cr_assert_eq(run_shell(NULL, "rm -rf ./*"), 0);
    prepare();
    snprintf(variable, sizeof(variable), "AUTOLOCK_LOG=%s", log);
    struct puppet *puppet = puppet_start(patterns, variable, NULL);
    for (size_t i = 0; i < count; i++) {
        (void)puppet_call(puppet, "%s", calls[i]);
        if (matching && strcmp(calls[i], "list_above") == 0) {
            continue;
        }
        cr_expect_eq(puppet->result, expected[i].result, "%s: %ld, bare %ld", calls[i],
                     puppet->result, expected[i].result);
        cr_expect_eq(puppet->error, expected[i].error, "%s: errno %d, bare %d", calls[i],
                     puppet->error, expected[i].error);
        cr_expect_str_eq(puppet->text, expected[i].text, "%s", calls[i]);
    }
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_eq(access(log, F_OK), -1, "something was said: %s", file_content(log));
    cr_expect_eq(run_shell(NULL, "ls ./*.lock >/dev/null 2>&1"), matching ? 0 : 2, "sidecars");
}

Test(transparency, no_rule_by_name) {
    compare("*.csv", false);
}

Test(transparency, no_rule_by_path) {
    compare("/nowhere/**:deep/*.csv:real/*.tsv", false);
}

Test(transparency, no_rule_at_all) {
    compare("", false);
}

Test(transparency, taken_out_again) {
    compare("*:!*.txt:!deep/**", false);
}

/* T1 for files that do match, as far as it can be had: an open that waits for
 * nobody gives the same numbers and leaves errno alone. */
Test(transparency, matching_files_get_the_same_numbers) {
    compare("*.txt", true);
}

Test(transparency, nothing_is_printed) {
    prepare();
    cr_expect_eq(run_shell("*.csv", "cat plain.txt >out 2>&1"), 0);
    cr_expect_str_eq(file_content("out"), "plain\n");
}

/* C4: a faulty rule is said once, the others hold; strictly, nothing starts. */
Test(transparency, faulty_rules) {
    put_file("a.csv", "1\n");
    cr_expect_eq(run_shell("*.txt timeuot=5:*.csv", "exec cat a.csv >out 2>err"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect(strstr(file_content("err"), "AUTOLOCK_PATTERNS:1:"), "%s", file_content("err"));
    cr_expect(strstr(file_content("err"), "timeuot=5"), "%s", file_content("err"));
    cr_expect_eq(run_shell(NULL, "AUTOLOCK_STRICT=1 LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS='[' cat a.csv >out 2>err"),
                 125);
    cr_expect_str_eq(file_content("out"), "");
}

Test(transparency, switched_off) {
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK=off", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
    (void)puppet_end(puppet);
}
