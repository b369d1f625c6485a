/* Who may use a sidecar, and what happens where it cannot be made or locked (contract
 * P1, C5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(permissions, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* root's cron job makes a report under umask 077 and then gives it away: with the
 * next open the sidecar is the user's as well. */
Test(permissions, the_sidecar_follows_what_root_gives_away) {
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

/* P1: whoever may read or write the data may do so with the sidecar, whatever
 * the umask of the one who makes it. */
Test(permissions, sidecars_are_for_those_who_use_the_data) {
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

Test(permissions, the_sidecar_has_the_owner_of_the_data) {
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
Test(permissions, a_sidecar_that_cannot_be_locked_fails_the_open) {
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

Test(permissions, a_reader_that_may_not_make_the_sidecar_passes) {
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
Test(permissions, an_exclusive_reader_needs_no_permission_to_write) {
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
