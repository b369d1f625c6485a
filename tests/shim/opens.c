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

/* root's cron job makes a report under umask 077 and then gives it away: with the
 * next open the sidecar is the user's as well. */
Test(opens, the_sidecar_follows_what_root_gives_away) {
    static const char *const opens[] = {"echo 2 >>a.csv", "cat a.csv >/dev/null",
                                        "cd .; exec 3<>./../\"${PWD##*/}\"/a.csv"};
    if (geteuid() != 0) {
        scenario_skip("only root can give a file away");
    }
    for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
        struct stat sidecar;
        (void)unlink("a.csv.lock");
        cr_expect_eq(run_shell("*.csv", "umask 077; rm -f a.csv; echo 1 >>a.csv; LD_PRELOAD=; "
                                        "chown 65534:65534 a.csv; chmod 644 a.csv"),
                     0);
        cr_expect_eq(run_shell("*.csv", opens[i]), 0);
        cr_assert_eq(stat("a.csv.lock", &sidecar), 0);
        cr_expect(sidecar.st_uid == 65534 && sidecar.st_gid == 65534, "%s", opens[i]);
        cr_expect_eq(sidecar.st_mode & 0777, 0666, "%s: %o", opens[i], sidecar.st_mode);
    }
    /* What may be somebody's file is left alone. */
    cr_assert_eq(chown("a.csv.lock", 0, 0), 0);
    put_file("a.csv.lock", "data");
    cr_expect_eq(run_shell("*.csv", "cat a.csv >/dev/null"), 0);
    struct stat sidecar;
    cr_assert_eq(stat("a.csv.lock", &sidecar), 0);
    cr_expect_eq(sidecar.st_uid, 0u);
    cr_assert_eq(truncate("a.csv.lock", 0), 0);
    cr_assert_eq(link("a.csv.lock", "other name"), 0);
    cr_expect_eq(run_shell("*.csv", "cat a.csv >/dev/null"), 0);
    cr_assert_eq(stat("a.csv.lock", &sidecar), 0);
    cr_expect_eq(sidecar.st_uid, 0u);
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

/* P1: whoever may read or write the data may do so with the sidecar, whatever
 * the umask of the one who makes it. */
Test(opens, sidecars_are_for_those_who_use_the_data) {
    static const struct {
        mode_t data, umask, sidecar;
    } cases[] = {{0644, 077, 0666},
                 {0600, 022, 0600},
                 {0660, 077, 0660},
                 {0640, 022, 0660},
                 {0444, 022, 0666}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stat stat_of;
        (void)unlink("a.csv");
        (void)unlink("a.csv.lock");
        put_file("a.csv", "1\n");
        cr_assert_eq(chmod("a.csv", cases[i].data), 0);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        (void)puppet_call(puppet, "umask %u", cases[i].umask);
        cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
        cr_assert_eq(stat("a.csv.lock", &stat_of), 0);
        cr_expect_eq(stat_of.st_mode & 07777, cases[i].sidecar, "data %o: %o", cases[i].data,
                     stat_of.st_mode & 07777);
        /* The same for a file that is only about to be made. */
        (void)unlink("new.csv");
        (void)unlink("new.csv.lock");
        cr_assert_eq(puppet_call(puppet, "open new.csv 0102 0%o", 0666), 4);
        struct stat data;
        cr_assert_eq(stat("new.csv.lock", &stat_of), 0);
        cr_assert_eq(stat("new.csv", &data), 0);
        cr_expect_eq(stat_of.st_mode & 0777, cases[i].umask == 077 ? 0600u : 0666u);
        cr_expect_eq(data.st_mode & 0777, 0666 & ~cases[i].umask);
        (void)puppet_end(puppet);
    }
}

Test(opens, the_sidecar_has_the_owner_of_the_data) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to give files away");
    }
    struct stat stat_of;
    put_file("a.csv", "1\n");
    cr_assert_eq(chown("a.csv", 1234, 4321), 0);
    cr_assert_eq(chmod("a.csv", 0640), 0);
    cr_assert_eq(run_shell("*.csv", "umask 077; echo 2 >>a.csv"), 0);
    cr_assert_eq(stat("a.csv.lock", &stat_of), 0);
    cr_expect_eq(stat_of.st_uid, 1234);
    cr_expect_eq(stat_of.st_gid, 4321);
    cr_expect_eq(stat_of.st_mode & 07777, 0660);
}

/* C5 and P1: planted files do not hang or lead astray; nothing is opened
 * unlocked without being asked for. */
Test(opens, a_sidecar_that_cannot_be_locked_fails_the_open) {
    put_file("a.csv", "1\n");
    static const struct {
        const char *plant;
        int error;
    } cases[] = {{"mkfifo a.csv.lock", ENXIO},
                 {"ln -s /etc/hostname a.csv.lock", ELOOP},
                 {"mkdir a.csv.lock", EISDIR}};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(run_shell(NULL, "rm -rf a.csv.lock log"), 0);
        cr_assert_eq(run_shell(NULL, cases[i].plant), 0);
        struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
        cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
        cr_expect_eq(puppet->error, cases[i].error, "%s: errno %d", cases[i].plant, puppet->error);
        cr_expect(strstr(file_content("log"), "a.csv.lock"), "said: %s", file_content("log"));
        cr_expect(strstr(file_content("log"), "on-error=open"), "remedy: %s", file_content("log"));
        cr_expect_eq(puppet_call(puppet, "list_above"), 0);
        (void)puppet_end(puppet);
        puppet = puppet_start("*.csv on-error=open", "AUTOLOCK_LOG=log", NULL);
        cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
        cr_expect(strstr(file_content("log"), "without a lock"), "%s", file_content("log"));
        (void)puppet_end(puppet);
    }
}

Test(opens, a_reader_that_may_not_make_the_sidecar_passes) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody else");
    }
    put_file("a.csv", "1\n");
    cr_assert_eq(chmod("a.csv", 0666), 0);
    put_file("out", "");
    cr_assert_eq(chmod("out", 0666), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv", "cat a.csv >out 2>&1"), 0);
    cr_expect_str_eq(file_content("out"), "1\n");
    /* A writer does not. */
    cr_expect_neq(run_shell_as_nobody("*.csv", "dd if=/dev/null of=a.csv conv=notrunc >out 2>&1"),
                  0);
    cr_expect(strstr(file_content("out"), "autolock: cannot lock"), "%s", file_content("out"));
}

/* Readers that are locked like writers still ask for reading alone: of a file that
 * they may not write as of any other. */
Test(opens, an_exclusive_reader_needs_no_permission_to_write) {
    static const char *const rules[] = {
        "*.csv readers=exclusive timeout=10ms on-timeout=open",
        "*.csv hold=process timeout=10ms on-timeout=open",
    };
    static const char read_it[] = "exec 2>/dev/null; read line <a.csv; test \"$line\" = 1";
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody else");
    }
    put_file("a.csv", "1\n");
    cr_assert_eq(chmod("a.csv", 0644), 0);
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        /* No sidecar may be made; then one may; then somebody else has it. */
        cr_assert_eq(chmod(".", 0755), 0);
        cr_expect_eq(run_shell_as_nobody(rules[i], read_it), 0, "%s", rules[i]);
        cr_expect_eq(lock_state("a.csv"), NO_SIDECAR);
        cr_assert_eq(chmod(".", 0777), 0);
        cr_expect_eq(run_shell_as_nobody(rules[i], read_it), 0, "%s", rules[i]);
        cr_expect_eq(lock_state("a.csv"), FREE);
        struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
        cr_expect_eq(run_shell_as_nobody(rules[i], read_it), 0, "%s", rules[i]);
        stranger_leaves(stranger);
        cr_assert_eq(unlink("a.csv.lock"), 0);
    }
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
