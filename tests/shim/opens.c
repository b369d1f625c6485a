/* Every way in locks before it returns, every way out gives back; and without
 * the shim nothing of the kind happens (contract H1, O1, O2, O3, T5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(opens, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define RW 2
#define CREATE_TRUNCATE 01102 /* O_RDWR|O_CREAT|O_TRUNC */

/* A call that opens a.csv, and the one that closes it. */
static const struct way {
    const char *in, *out;
    enum lock_state state;
} ways[] = {
    {"open a.csv 2", "close", EXCLUSIVE},
    {"open a.csv 1", "close", EXCLUSIVE},
    {"open a.csv 0", "close", SHARED},
    {"open a.csv 01000", "close", EXCLUSIVE}, /* O_RDONLY|O_TRUNC writes */
    {"open64 a.csv 2", "close", EXCLUSIVE},
    {"openat -100 a.csv 2", "close", EXCLUSIVE},
    {"openat64 -100 a.csv 2", "close", EXCLUSIVE},
    {"__open a.csv 2", "__close", EXCLUSIVE},
    {"__open64 a.csv 2", "close", EXCLUSIVE},
    {"__open_2 a.csv 2", "close", EXCLUSIVE},
    {"__open64_2 a.csv 2", "close", EXCLUSIVE},
    {"__openat_2 a.csv 2", "close", EXCLUSIVE},
    {"__openat64_2 a.csv 0", "close", SHARED},
    {"creat a.csv 0644", "close", EXCLUSIVE},
    {"creat64 a.csv 0644", "close", EXCLUSIVE},
    {"fopen a.csv r", "fclose", SHARED},
    {"fopen a.csv r+", "fclose", EXCLUSIVE},
    {"fopen a.csv w", "fclose", EXCLUSIVE},
    {"fopen a.csv a+e", "fclose", EXCLUSIVE},
    {"fopen a.csv rm", "fclose", SHARED},
    {"fopen a.csv r,ccs=UTF-8", "fclose", SHARED},
    {"fopen64 a.csv w", "fclose", EXCLUSIVE},
};

static void check_way(const struct way *way, const char *patterns) {
    bool shim = patterns;
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start(patterns, NULL);
    cr_assert_eq(puppet_call(puppet, "%s", way->in), 3, "%s gives %ld, errno %d", way->in,
                 puppet->result, puppet->error);
    cr_expect_eq(lock_state("a.csv"), shim ? way->state : NO_SIDECAR, "%s", way->in);
    cr_assert_eq(puppet_call(puppet, "%s 3", way->out), 0);
    cr_expect_eq(lock_state("a.csv"), shim ? FREE : NO_SIDECAR, "%s after %s", way->in, way->out);
    /* Nothing of ours is left, and the next number is the same as ever. */
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s leaves %s", way->in, puppet->text);
    cr_expect_eq(puppet_call(puppet, "open /dev/null 0"), 3);
    cr_assert_eq(puppet_end(puppet), 0);
}

Test(opens, every_way_in_locks_and_out_gives_back) {
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        (void)unlink("a.csv.lock");
        check_way(&ways[i], "*.csv");
        check_way(&ways[i], "*.csv"); /* with its sidecar there already */
    }
}

Test(opens, control_without_shim) {
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        check_way(&ways[i], NULL);
    }
}

Test(opens, a_new_file_is_locked_before_it_exists) {
    struct stranger stranger = stranger_locks("new.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open new.csv %d 0644", O_RDWR | O_CREAT);
    wait_until_queued(puppet->pid);
    cr_expect(access("new.csv", F_OK) < 0, "made before it was locked");
    stranger_leaves(stranger);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_expect_eq(access("new.csv", F_OK), 0);
    cr_expect_eq(lock_state("new.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}

Test(opens, truncation_waits_for_the_lock) {
    const char *calls[] = {"open a.csv 01002", "fopen a.csv w", "creat a.csv 0644"};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        put_file("a.csv", "precious\n");
        struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        puppet_tell(puppet, "%s", calls[i]);
        wait_until_queued(puppet->pid);
        cr_expect_str_eq(file_content("a.csv"), "precious\n", "%s", calls[i]);
        stranger_leaves(stranger);
        cr_assert_eq(puppet_result(puppet), 3);
        cr_expect_str_eq(file_content("a.csv"), "");
        (void)puppet_end(puppet);
    }
}

Test(opens, a_reader_waits_for_a_writer_only) {
    put_file("a.csv", "1\n");
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 0"), 3);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    (void)puppet_end(puppet);
}

Test(opens, readers_option) {
    put_file("a.csv", "1\n");
    static const struct {
        const char *patterns;
        enum lock_state state;
    } cases[] = {{"*.csv readers=none", NO_SIDECAR},
                 {"*.csv readers=shared", SHARED},
                 {"*.csv readers=exclusive", EXCLUSIVE}};
    for (size_t i = 0; i < 3; i++) {
        struct puppet *puppet = puppet_start(cases[i].patterns, NULL);
        cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
        cr_expect_eq(lock_state("a.csv"), cases[i].state, "%s", cases[i].patterns);
        (void)puppet_end(puppet);
    }
}

/* O3: fails at once, with its own errno, even while somebody holds the lock. */
Test(opens, what_would_fail_anyway_fails_at_once) {
    put_file("there.csv", "1\n");
    put_file("secret.csv", "1\n");
    struct stranger one = stranger_locks("there.csv", LOCK_EX);
    struct stranger two = stranger_locks("missing.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_expect_eq(puppet_call(puppet, "open missing.csv 2"), -1);
    cr_expect_eq(puppet->error, ENOENT);
    cr_expect_eq(puppet_call(puppet, "open there.csv %d 0644", O_RDWR | O_CREAT | O_EXCL), -1);
    cr_expect_eq(puppet->error, EEXIST);
    cr_expect_eq(puppet_call(puppet, "open_null"), -1);
    cr_expect_eq(puppet->error, EFAULT);
    cr_expect_eq(puppet_call(puppet, "fopen missing.csv r"), -1);
    cr_expect_eq(puppet->error, ENOENT);
    cr_expect_eq(puppet_call(puppet, "fopen there.csv wx"), -1);
    cr_expect_eq(puppet->error, EEXIST);
    cr_expect_eq(puppet_call(puppet, "open nowhere/x.csv 0102 0644"), -1);
    cr_expect_eq(puppet->error, ENOENT);
    cr_expect_eq(puppet_call(puppet, "open there.csv/x.csv 2"), -1);
    cr_expect_eq(puppet->error, ENOTDIR);
    cr_expect_eq(puppet_call(puppet, "open other.csv 2"), -1);
    cr_expect_eq(puppet->error, ENOENT);
    cr_expect_eq(lock_state("other.csv"), NO_SIDECAR);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    stranger_leaves(one);
    stranger_leaves(two);
    (void)puppet_end(puppet);
}

/* O3 and P1: a stranger who may not read the file neither makes its sidecar nor
 * waits for it. */
Test(opens, what_may_not_be_read_is_not_locked) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody else");
    }
    cr_assert_eq(chmod(".", 0777), 0);
    put_file("secret.csv", "1\n");
    cr_assert_eq(chmod("secret.csv", 0600), 0);
    int status = run_shell_as_nobody("*.csv", "cat secret.csv 2>error");
    cr_expect_eq(status, 1);
    cr_expect(strstr(file_content("error"), "Permission denied"), "%s", file_content("error"));
    cr_expect(!strstr(file_content("error"), "autolock:"), "%s", file_content("error"));
    cr_expect_eq(lock_state("secret.csv"), NO_SIDECAR);
}

Test(opens, only_regular_files) {
    cr_assert_eq(mkdir("d.csv", 0755), 0);
    cr_assert_eq(mkfifo("f.csv", 0644), 0);
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start("*", NULL);
    cr_expect_eq(puppet_call(puppet, "open d.csv 0"), 3);
    cr_expect_eq(puppet_call(puppet, "open d.csv %d", O_DIRECTORY), 4);
    cr_expect_eq(puppet_call(puppet, "open f.csv %d", O_RDWR | O_NONBLOCK), 5);
    cr_expect_eq(puppet_call(puppet, "open a.csv %d", O_PATH), 6);
    cr_expect_eq(puppet_call(puppet, "open . %d 0600", O_TMPFILE | O_RDWR), 7);
    cr_expect_eq(puppet_call(puppet, "open /dev/null 2"), 8);
    cr_expect_eq(puppet_call(puppet, "open /proc/self/status 0"), 9);
    cr_expect_eq(puppet_call(puppet, "open /dev/stdin 0"), 10);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s", puppet->text);
    cr_expect_eq(lock_state("d.csv"), NO_SIDECAR);
    cr_expect_eq(lock_state("f.csv"), NO_SIDECAR);
    cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
    (void)puppet_end(puppet);
}

Test(opens, sidecars_are_never_locked) {
    put_file("a.csv", "1\n");
    put_file("a.csv.lock", "");
    struct puppet *puppet = puppet_start("*.csv:*.lock:*", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv.lock 2"), 3);
    cr_expect_eq(lock_state("a.csv.lock"), NO_SIDECAR);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* Until it sleeps in a call that opens something. */
static void wait_until_in_open(pid_t pid) {
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    long wanted = SYS_openat;
#ifdef SYS_open
    wanted = SYS_open; /* musl's */
#endif
    for (long number = -1; number != SYS_openat && number != SYS_openat2 && number != wanted;) {
        FILE *file = fopen(path, "re");
        cr_assert(file != NULL);
        bool running = !fgets(line, sizeof(line), file) || strncmp(line, "running", 7) == 0;
        fclose(file);
        number = running ? -1 : strtol(line, NULL, 10);
    }
}

/* O2: a FIFO whose turns are kept by a lock file of that name is opened without it,
 * since it may have to be waited for, by somebody who needs the lock. */
Test(opens, a_fifo_beside_a_lock_file) {
    cr_assert_eq(mkfifo("f.csv", 0644), 0);
    put_file("f.csv.lock", "");
    /* Of a fresh one readers would ask whether a writer waits (shim/turn.h). */
    cr_assert_eq(utimensat(AT_FDCWD, "f.csv.lock", (struct timespec[2]){{1, 0}, {1, 0}}, 0), 0);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open f.csv 0");
    wait_until_in_open(puppet->pid);
    cr_expect_eq(lock_state("f.csv"), FREE);
    int fd = open("f.csv", O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("f.csv"), FREE);
    puppet_tell(puppet, "open f.csv 2");
    cr_assert_eq(puppet_result(puppet), 4);
    cr_expect_eq(lock_state("f.csv"), FREE);
    close(fd);
    (void)puppet_end(puppet);
}
