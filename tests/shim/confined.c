/* Where something is missing that the shim needs: /proc, a system call, numbers
 * for descriptors, permissions. What would have failed anyway fails as it did;
 * nothing goes unlocked in silence (contract C5, C6, O3, T1, T5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(confined, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define SAYS(expected, call)                                                                       \
    cr_expect_eq(puppet_call(puppet, call), expected, call ": %ld, %d", puppet->result,            \
                 puppet->error)

static void make_jail(void) {
    cr_assert_eq(run_shell(NULL, "mkdir -p jail/srv/ledger jail/other && "
                                 "ln -s ledger jail/srv/way && echo 1 >jail/srv/ledger/a.csv && "
                                 "ln -s ../srv/way/./a.csv jail/other/link && "
                                 "echo 2 >jail/other/x.txt && ln -s x.txt jail/other/plain"),
                 0);
}

static struct puppet *start_in_jail(const char *patterns) {
    make_jail();
    struct puppet *puppet = puppet_start(patterns, "AUTOLOCK_LOG=/log", NULL);
    SAYS(0, "chroot jail");
    return puppet;
}

Test(confined, without_proc_other_files_are_left_alone) {
    if (geteuid() != 0) {
        scenario_skip("needs root, for chroot");
    }
    struct puppet *puppet = start_in_jail("/nowhere/ledger/** timeout=5s");
    SAYS(3, "open /other/x.txt 2");
    SAYS(4, "open other/../other/x.txt 0");
    SAYS(5, "open /other 0");
    SAYS(6, "openat 5 x.txt 0"); /* the directory of the rule is not here */
    SAYS(7, "fopen /other/x.txt rm");
    SAYS(8, "open /other/link 0");
    SAYS(-1, "open_long 5000 0");
    cr_expect_eq(puppet->error, ENAMETOOLONG);
    cr_expect_eq(access("jail/log", F_OK), -1, "%s", file_content("jail/log"));
    cr_expect_eq(lock_state("jail/other/x.txt"), NO_SIDECAR);
    (void)puppet_end(puppet);
}

Test(confined, without_proc_files_are_locked_all_the_same) {
    if (geteuid() != 0) {
        scenario_skip("needs root, for chroot");
    }
    static const char *const ways[] = {
        "open /srv/ledger/a.csv 2",  "open srv/way/../way/a.csv 2", "open /other/link 2",
        "fopen srv/ledger/a.csv r+", "fopen /other/link r+m",       "open ./other/link 2",
    };
    struct puppet *puppet = start_in_jail("/srv/ledger/** timeout=5s");
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        cr_expect_eq(puppet_call(puppet, "%s", ways[i]), 3, "%s: %d", ways[i], puppet->error);
        cr_expect_eq(lock_state("jail/srv/ledger/a.csv"), EXCLUSIVE, "%s", ways[i]);
        SAYS(0, "close 3");
        cr_expect_eq(lock_state("jail/srv/ledger/a.csv"), FREE, "%s", ways[i]);
    }
    SAYS(0, "truncate /other/link 0");
    cr_expect_str_eq(file_content("jail/srv/ledger/a.csv"), "");
    cr_expect_eq(access("jail/log", F_OK), -1, "%s", file_content("jail/log"));
    SAYS(0, "list_above");
    (void)puppet_end(puppet);
}

static bool has_marker(const char *name) {
    char path[64];
    snprintf(path, sizeof(path), "jail/srv/ledger/%s.lock", name);
    return access(path, F_OK) == 0;
}

/* A soft lock's file is removed where it was made, wherever the program has gone: no
 * descriptor leads there. */
Test(confined, without_proc_soft_locks_go_as_they_came) {
    if (geteuid() != 0) {
        scenario_skip("needs root, for chroot");
    }
    char name[32];
    struct puppet *puppet = start_in_jail("/srv/ledger/** kind=soft timeout=5s");
    SAYS(0, "chdir /srv");
    SAYS(3, "open ledger/a.csv 2");
    cr_expect(has_marker("a.csv"));
    SAYS(0, "chdir /other");
    SAYS(0, "close 3");
    cr_expect_not(has_marker("a.csv"));
    for (int i = 0; i < 20; i++) {
        cr_expect_eq(puppet_call(puppet, "open /srv/ledger/f%d 0102 0644", i), 3 + i);
        snprintf(name, sizeof(name), "f%d", i);
        cr_expect(has_marker(name));
    }
    for (int i = 0; i < 19; i++) {
        cr_expect_eq(puppet_call(puppet, "close %d", 3 + i), 0);
        snprintf(name, sizeof(name), "f%d", i);
        cr_expect_not(has_marker(name), "%s", name);
    }
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_not(has_marker("f19"));
    cr_expect_eq(access("jail/log", F_OK), -1, "%s", file_content("jail/log"));
}

/* What cannot be told is not opened unlocked, and that is said. */
Test(confined, without_proc_a_name_below_a_descriptor_cannot_be_told) {
    if (geteuid() != 0) {
        scenario_skip("needs root, for chroot");
    }
    struct puppet *puppet = start_in_jail("/srv/ledger/*.csv");
    SAYS(3, "open /srv/ledger 0");
    SAYS(-1, "openat 3 a.csv 2");
    cr_expect_eq(puppet->error, EOPNOTSUPP);
    cr_expect(strstr(file_content("jail/log"), "/proc is not mounted"), "%s",
              file_content("jail/log"));
    SAYS(4, "openat 3 . 0");
    SAYS(5, "open /other 0");
    SAYS(6, "openat 5 x.txt 2"); /* matches in no directory */
    SAYS(-1, "openat 5 link 2"); /* may lead there */
    SAYS(7, "openat 5 plain 2"); /* a link too, but not to such a name */
    (void)puppet_end(puppet);
}

/* A name that libc refuses is refused without a word. */
Test(confined, names_that_are_too_long) {
    struct puppet *puppet = puppet_start("/srv/ledger/**:*", "AUTOLOCK_LOG=log", NULL);
    SAYS(-1, "open_long 4096 2");
    cr_expect_eq(puppet->error, ENAMETOOLONG);
    SAYS(-1, "open_long 5000 0102");
    cr_expect_eq(puppet->error, ENAMETOOLONG);
    char name[300];
    memset(name, 'n', sizeof(name));
    name[280] = '\0';
    cr_expect_eq(puppet_call(puppet, "open %s 0102 0644", name), -1);
    cr_expect_eq(puppet->error, ENAMETOOLONG);
    cr_expect_eq(access("log", F_OK), -1, "%s", file_content("log"));
    (void)puppet_end(puppet);
}

/* T1: a sandbox that does not know openat2 refuses it with what it likes. */
Test(confined, a_filter_that_refuses_openat2) {
    static const int errors[] = {EACCES, EPERM, ENOSYS, EOPNOTSUPP, EUCLEAN, EINVAL};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        put_file("plain.txt", "plain\n");
        put_file("a.csv", "1\n");
        (void)unlink("made.txt");
        struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
        if (puppet_call(puppet, "refuse_openat2 %d", errors[i]) < 0) {
            scenario_skip("no filters of system calls here (errno %d)", puppet->error);
        }
        SAYS(3, "open plain.txt 2");
        SAYS(4, "open a.csv 2");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        SAYS(5, "fopen plain.txt r");
        SAYS(6, "open made.txt 0302 0600");
        SAYS(-1, "open made.txt 0302 0600");
        cr_expect_eq(puppet->error, EEXIST);
        SAYS(-1, "open missing.txt 0");
        cr_expect_eq(puppet->error, ENOENT);
        cr_expect_eq(access("log", F_OK), -1, "%s", file_content("log"));
        (void)puppet_end(puppet);
    }
}

/* How the library has opened the file does not show in its flags. */
Test(confined, flags_without_openat2) {
    static const int flags[] = {O_RDONLY,         O_RDWR | O_APPEND,          O_WRONLY | O_TRUNC,
                                O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_NONBLOCK,
                                1 << 29 /* nobody's */};
    static const char *const names[] = {"a.csv", "link.csv", "new.csv", "late.csv"};
    cr_assert_eq(symlink("a.csv", "link.csv"), 0);
    cr_assert_eq(symlink("new.csv", "late.csv"), 0);
    for (int refused = 0; refused < 2; refused++) {
        struct puppet *puppet = puppet_start("*.csv", NULL), *bare = puppet_start(NULL, NULL);
        if (refused && puppet_call(puppet, "refuse_openat2 1") < 0) {
            scenario_skip("no filters of system calls here (errno %d)", puppet->error);
        }
        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
            for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++) {
                put_file("a.csv", "1\n");
                (void)unlink("new.csv");
                long expected = puppet_call(bare, "open %s %d 0600", names[j], flags[i]);
                long expected_flags = puppet_call(bare, "fcntl 3 %d 0", F_GETFL);
                (void)puppet_call(bare, "close 3");
                (void)unlink("new.csv");
                cr_expect_eq(puppet_call(puppet, "open %s %d 0600", names[j], flags[i]), expected,
                             "%s with %#x: errno %d", names[j], flags[i], puppet->error);
                cr_expect_eq(puppet_call(puppet, "fcntl 3 %d 0", F_GETFL), expected_flags,
                             "%s with %#x: %#lx, not %#lx", names[j], flags[i], puppet->result,
                             expected_flags);
                cr_expect_eq(puppet_call(puppet, "list_above"), expected < 0 ? 0 : 1, "%s",
                             puppet->text);
                (void)puppet_call(puppet, "close 3");
            }
        }
        (void)puppet_end(bare);
        (void)puppet_end(puppet);
    }
}

/* Few numbers: it works, or fails with a line; never unlocked in silence. */
static void read_with_few(const char *name, int limit) {
    char command[200];
    snprintf(command, sizeof(command), "exec >out 2>err 3>&- 4>&- 5>&-; ulimit -n %d; exec cat %s",
             limit, name);
    (void)unlink("a.csv.lock");
    if (run_shell("*.csv", command) == 0) {
        cr_expect_str_eq(file_content("out"), "1\n");
        cr_expect_str_eq(file_content("err"), "");
        cr_expect_eq(lock_state("a.csv"), FREE, "%s: unlocked", command);
        return;
    }
    const char *said = file_content("err");
    cr_expect(strstr(said, "autolock: cannot"), "%s: %s", command, said);
    cr_expect(strstr(said, "Too many open files"), "%s: %s", command, said);
    cr_expect_lt(limit, 6, "%s: %s", command, said);
}

Test(confined, few_descriptors) {
    put_file("a.csv", "1\n");
    cr_assert_eq(symlink("a.csv", "link"), 0);
    for (int limit = 4; limit < 12; limit++) {
        read_with_few("a.csv", limit);
        read_with_few("link", limit);
    }
}

Test(confined, one_descriptor_and_on_error_open) {
    put_file("a.csv", "1\n");
    cr_expect_eq(run_shell("*.csv on-error=open", "ulimit -n 4; cat a.csv >out 2>err"), 0);
    cr_expect_str_eq(file_content("out"), "1\n");
    cr_expect(strstr(file_content("err"), "without a lock (on-error=open)"), "%s",
              file_content("err"));
}

/* T5: nor does one that may make no files end by a signal for a marker that was to be
 * written: its open fails, or goes on. */
Test(confined, no_room_for_a_marker) {
    put_file("a.csv", "1\n");
    cr_expect_eq(run_shell("*.csv kind=soft", "( ulimit -f 0; exec cat a.csv 2>&1 ) | cat >out; "
                                              "exit ${PIPESTATUS[0]}"),
                 1);
    cr_expect(strstr(file_content("out"), "cat: a.csv: File too large"), "%s",
              file_content("out"));
    cr_expect_eq(run_shell("*.csv kind=soft on-error=open",
                           "( ulimit -f 0; exec cat a.csv 2>/dev/null ) | cat >out; "
                           "exit ${PIPESTATUS[0]}"),
                 0);
    cr_expect_str_eq(file_content("out"), "1\n");
    cr_expect_neq(access("a.csv.lock", F_OK), 0, "half a marker stays");
}

/* T5, H8: an open that fails keeps nothing, with hold=process neither. */
Test(confined, an_open_that_fails_keeps_no_hold) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody else");
    }
    put_file("a.csv", "1\n");
    put_file("a.csv.lock", "");
    cr_assert_eq(chmod("a.csv", 0644), 0);
    cr_assert_eq(chmod("a.csv.lock", 0666), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv hold=process",
                                     "{ exec 3<>a.csv; } 2>/dev/null; "
                                     "env -u LD_PRELOAD flock -n a.csv.lock true; exit $?"),
                 0);
    /* One that succeeds does. */
    cr_expect_eq(run_shell_as_nobody("*.csv hold=process",
                                     "{ exec 3<a.csv 3<&-; } 2>/dev/null; "
                                     "env -u LD_PRELOAD flock -n a.csv.lock true; exit $?"),
                 1);
}

Test(confined, a_rename_that_fails_keeps_no_hold) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody who may not rename here");
    }
    put_file("a.csv", "1\n");
    put_file("b", "2\n");
    put_file("a.csv.lock", "");
    cr_assert_eq(chmod("a.csv.lock", 0666), 0);
    cr_expect_eq(
        run_shell_as_nobody("*.csv hold=process",
                            "perl -e \"rename(q(b), q(a.csv)) and exit 7; exit "
                            "system(q(env -u LD_PRELOAD flock -n a.csv.lock true)) >> 8\""),
        0);
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    struct puppet *puppet = puppet_start("*.csv hold=process", NULL);
    SAYS(0, "rename b a.csv");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}

/* O3: where no file may be made, that is libc's to say. */
Test(confined, a_directory_that_may_not_be_written) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody else");
    }
    put_file("err", "");
    cr_assert_eq(chmod("err", 0666), 0);
    cr_expect_neq(run_shell_as_nobody("*.csv", "exec 2>err; echo 1 >new.csv"), 0);
    cr_expect(strstr(file_content("err"), "Permission denied"), "%s", file_content("err"));
    cr_expect(!strstr(file_content("err"), "autolock:"), "%s", file_content("err"));
    /* Nor while somebody holds the sidecar: it would not wait. */
    struct stranger stranger = stranger_locks("new.csv", LOCK_EX);
    cr_expect_neq(run_shell_as_nobody("*.csv", "exec 2>err; echo 1 >new.csv"), 0);
    cr_expect(strstr(file_content("err"), "Permission denied"), "%s", file_content("err"));
    stranger_leaves(stranger);
}
