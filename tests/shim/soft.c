/* kind=soft: the sidecar's being there is the lock (contract P3, H1 to H4, H7 to H10). */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/soft_scenario.h"

TestSuite(soft, .init = soft_begin, .fini = scenario_end, .timeout = 120);

Scenario(soft, the_marker_is_there_from_open_to_close) {
    char token[100] = "", host[300] = "", expected[512];
    long pid = 0;
    CALL(3, "open a.csv 2");
    cr_expect_eq(puppet->error, UNTOUCHED);
    HELD;
    cr_assert_eq(sscanf(file_content("a.csv.lock"), "%ld %299s %99s", &pid, host, token), 3, "%s",
                 file_content("a.csv.lock"));
    cr_expect_eq(pid, puppet->pid);
    cr_expect_str_eq(host, this_host());
    cr_expect_gt(strlen(token), 20);
    snprintf(expected, sizeof(expected), "%ld\n%s\n%s\n", pid, host, token);
    cr_expect_str_eq(file_content("a.csv.lock"), expected);
    CALL(0, "close 3");
    cr_expect_eq(puppet->error, UNTOUCHED);
    GONE;
    cr_expect_str_eq(file_content("log"), "");
}

/* Whatever the umask: a marker that nobody may read can never be called stale. */
Scenario(soft, everybody_may_read_who_has_it) {
    struct stat stat;
    CALL(022, "umask 077");
    CALL(3, "open a.csv 2");
    cr_expect_eq(lstat("a.csv.lock", &stat), 0);
    cr_expect_eq(stat.st_mode & 0777, 0644);
    CALL(0, "close 3");
    GONE;
}

Scenario(soft, an_open_that_fails_leaves_nothing) {
    CALL(-1, "open missing.csv 2");
    cr_expect_eq(puppet->error, ENOENT);
    CALL(-1, "open a.csv %d", O_RDWR | O_CREAT | O_EXCL);
    cr_expect_eq(puppet->error, EEXIST);
    cr_assert_eq(mkdir("d.csv", 0755), 0);
    CALL(-1, "open d.csv 2");
    cr_expect_eq(puppet->error, EISDIR);
    GONE;
    expect_only_data();
}

Scenario(soft, a_file_that_is_made) {
    CALL(3, "open new.csv %d 0644", O_RDWR | O_CREAT);
    cr_expect(is_there("new.csv.lock"));
    CALL(0, "close 3");
    GONE;
}

Scenario(soft, each_kind_of_copy_keeps_it) {
    static const char *copies[] = {"dup 3",         "dup2 3 4",      "__dup2 3 4",
                                   "dup3 3 4 0",    "fcntl 3 0 4",   "fcntl64 3 0 4",
                                   "__fcntl 3 0 4", "fcntl 3 1030 4"};
    CALL(3, "open a.csv 2");
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        CALL(4, "%s", copies[i]);
        CALL(0, "close 3");
        HELD;
        CALL(3, "dup 4");
        CALL(0, "close 4");
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

Scenario(soft, standard_descriptors_like_any_other) {
    for (int fd = 0; fd <= 2; fd++) {
        CALL(3, "open a.csv 2");
        CALL(fd, "dup2 3 %d", fd);
        CALL(0, "close 3");
        HELD;
        CALL(3, "open /dev/null 2");
        CALL(fd, "dup2 3 %d", fd);
        CALL(0, "close 3");
        GONE;
    }
}

Scenario(soft, every_open_of_the_process_counts) {
    CALL(3, "open a.csv 2");
    CALL(4, "open a.csv 0");
    CALL(5, "fopen a.csv a");
    CALL(0, "thread_open a.csv 2");
    CALL(6, "thread_join");
    CALL(0, "close 3");
    CALL(0, "close 4");
    CALL(0, "close 6");
    HELD;
    CALL(0, "fclose 5");
    GONE;
}

Scenario(soft, streams) {
    CALL(3, "fopen a.csv r+");
    cr_expect_geq(puppet_call(puppet, "fputs 3 flushed"), 0);
    CALL(0, "fclose 3");
    GONE;
    cr_expect_str_eq(file_content("a.csv"), "flushed");
    CALL(3, "open a.csv 2");
    CALL(3, "fdopen 3 r+");
    CALL(3, "freopen 3 b.csv r+");
    cr_expect_not(is_there("a.csv.lock"));
    cr_expect(is_there("b.csv.lock"));
    CALL(3, "freopen 3 - r");
    cr_expect(is_there("b.csv.lock"));
    CALL(0, "fclose 3");
    cr_expect_not(is_there("b.csv.lock"));
    GONE;
}

Scenario(soft, whatever_closes_ends_it) {
    static const char *ways[] = {"close_range 3 499 0", "closefrom 3", "close_loop 3 1100",
                                 "dup2 0 3", "walk_close 3"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(3, "open a.csv 2");
        HELD;
        (void)puppet_call(puppet, "%s", ways[i]);
        GONE;
        (void)puppet_call(puppet, "close 3");
    }
}

/* T4: the number comes back as new. */
Scenario(soft, a_raw_close_heals) {
    CALL(3, "open a.csv 2");
    CALL(0, "raw_close 3");
    CALL(3, "open /dev/null 0");
    GONE;
}

Scenario(soft, closing_loops_go_around_ours) {
    CALL(3, "open a.csv 2");
    CALL(0, "close_loop 4 1100");
    CALL(0, "close_range 502 4294967295 0");
    CALL(0, "loop_cloexec 3 1100");
    HELD;
    cr_assert_eq(puppet_call(puppet, "list_above"), 2);
    long hidden = strtol(puppet->text, NULL, 10);
    for (int i = 0; i < 2; i++) { /* in the way of the program: both are */
        CALL(4, "open /dev/null 0");
        CALL(hidden + i, "dup2 4 %ld", hidden + i);
        CALL(0, "close 4");
        HELD;
    }
    CALL(0, "close 3");
    cr_expect_not(is_there("a.csv.lock"));
    CALL(0, "close %ld", hidden);
    CALL(0, "close %ld", hidden + 1);
    GONE;
}

/* H7 */
Scenario(soft, a_mapping_keeps_it) {
    CALL(3, "open a.csv 2");
    CALL(1, "mmap 3 1 %d %d", PROT_READ | PROT_WRITE, MAP_SHARED);
    CALL(0, "close 3");
    HELD;
    CALL(0, "munmap 1 0 1");
    GONE;
}

/* H8 */
Scenario(soft, hold_process_lasts_to_the_end) {
    struct puppet *keeper = puppet_start("*.csv kind=soft hold=process", NULL);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(puppet_call(keeper, "open a.csv 0"), 3);
        cr_expect_eq(puppet_call(keeper, "close 3"), 0);
        HELD;
    }
    (void)puppet_end(keeper);
    GONE;
}

/* H9 */
Scenario(soft, rename_unlink_and_truncate_wait) {
    static const char *calls[] = {"rename c.csv a.csv", "rename a.csv moved", "truncate a.csv 0",
                                  "unlink a.csv", "remove a.csv"};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        put_file("a.csv", "1\n");
        put_file("c.csv", "3\n");
        put_file("log", "");
        struct puppet *holder = puppet_start(RULES, NULL);
        cr_assert_eq(puppet_call(holder, "open a.csv 2"), 3);
        puppet_tell(puppet, "%s", calls[i]);
        wait_until_said("waiting");
        cr_expect_str_eq(file_content("a.csv"), "1\n", "%s", calls[i]);
        cr_expect_eq(puppet_call(holder, "close 3"), 0);
        cr_expect_eq(puppet_result(puppet), 0, "%s", calls[i]);
        GONE;
        (void)puppet_end(holder);
        expect_only_data();
    }
}

Scenario(soft, a_file_that_is_renamed_or_removed_while_it_is_open) {
    CALL(3, "open a.csv 2");
    CALL(0, "rename a.csv c.csv");
    HELD;
    CALL(0, "unlink c.csv");
    CALL(0, "close 3");
    GONE;
}

/* The marker is found again wherever it has gone with its directory. */
Scenario(soft, a_directory_that_is_renamed_meanwhile) {
    cr_assert_eq(mkdir("before", 0755), 0);
    put_file("before/a.csv", "1\n");
    CALL(3, "open before/a.csv 2");
    cr_expect(is_there("before/a.csv.lock"));
    cr_assert_eq(rename("before", "behind"), 0);
    CALL(0, "chdir behind");
    CALL(0, "close 3");
    cr_expect_not(is_there("behind/a.csv.lock"));
    GONE;
}

Scenario(soft, links_lead_to_one_marker) {
    cr_assert_eq(symlink("a.csv", "link"), 0);
    cr_assert_eq(symlink(".", "loop"), 0);
    CALL(3, "open link 2");
    HELD;
    cr_expect_not(is_there("link.lock"));
    CALL(4, "open loop/loop/a.csv 2");
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 4");
    GONE;
}

Scenario(soft, in_a_lockdir) {
    char rules[600], marker[600];
    cr_assert_eq(mkdir("elsewhere", 0755), 0);
    snprintf(rules, sizeof(rules), "*.csv kind=soft lockdir=%s/elsewhere", scenario_directory());
    int length = snprintf(marker, sizeof(marker), "elsewhere/");
    snprintf(marker + length, sizeof(marker) - (size_t)length, "%s/a.csv.lock",
             scenario_directory());
    for (char *p = marker + length; *p; p++) {
        *p = *p == '/' ? '%' : *p;
    }
    struct puppet *other = puppet_start(rules, NULL);
    cr_expect_eq(puppet_call(other, "open a.csv 2"), 3);
    cr_expect(is_there(marker), "%s", marker);
    cr_expect_not(is_there("a.csv.lock"));
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_not(is_there(marker));
    plant(marker, dead_process(), this_host(), "");
    cr_expect_eq(puppet_call(other, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_not(is_there(marker));
    (void)puppet_end(other);
}

Scenario(soft, readers_none) {
    struct puppet *reader = puppet_start("*.csv kind=soft readers=none", NULL);
    CALL(3, "open a.csv 2");
    cr_expect_eq(puppet_call(reader, "open a.csv 0"), 3);
    (void)puppet_end(reader);
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(soft, a_rule_that_shares_is_a_fault) {
    cr_expect_eq(run_shell("*.csv kind=soft readers=shared", "AUTOLOCK_LOG= cat a.csv 2>err"), 0);
    cr_expect(strstr(file_content("err"), "write readers=exclusive or readers=none"), "%s",
              file_content("err"));
    cr_expect_eq(run_shell("*.csv readers=shared kind=soft", "AUTOLOCK_STRICT=1 cat a.csv 2>err"),
                 125);
}

/* Another file that is put in the marker's place is somebody else's lock. */
Scenario(soft, only_the_own_marker_is_removed) {
    CALL(3, "open a.csv 2");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    plant("a.csv.lock", getpid(), "elsewhere.example", "1\n");
    CALL(0, "close 3");
    cr_expect(strstr(file_content("a.csv.lock"), "elsewhere.example"));
    CALL(0, "list_above");
    cr_assert_eq(unlink("a.csv.lock"), 0);
}

/* C5, for who may not make files in the directory. */
Scenario(soft, where_no_marker_can_be_made) {
    if (geteuid() != 0) {
        scenario_skip("needs root");
    }
    cr_assert_eq(chmod("a.csv", 0666), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv kind=soft", "cat a.csv"), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv kind=soft", "echo 2 >>a.csv"), 1);
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    cr_expect_eq(run_shell_as_nobody("*.csv kind=soft on-error=open", "echo 2 >>a.csv"), 0);
    cr_expect_str_eq(file_content("a.csv"), "1\n2\n");
    cr_assert_eq(unlink("nobody.so"), 0);
}

/* T5: an open that fails for want of numbers, at whichever of them, leaves no lock. */
Scenario(soft, few_numbers) {
    int failed = 0, succeeded = 0;
    CALL(0, "keep_limits");
    for (int limit = 20; limit >= 3; limit--) {
        CALL(0, "setrlimit %d %d", limit, limit); /* the hard one, too: nothing is beyond */
        long fd = puppet_call(puppet, "open a.csv 2");
        if (fd < 0) {
            cr_expect_eq(puppet->error, EMFILE, "%d: %d", limit, puppet->error);
            failed++;
        } else {
            HELD;
            CALL(0, "close %ld", fd);
            succeeded++;
        }
        cr_expect_not(is_there("a.csv.lock"), "still locked, with %d numbers", limit);
    }
    cr_expect_gt(failed, 2);
    cr_expect_gt(succeeded, 2);
    GONE;
}

/* What cannot be removed locks to the end of the process, and that is said. */
Scenario(soft, where_the_marker_cannot_be_removed) {
    if (geteuid() != 0) {
        scenario_skip("needs root, to become somebody who may not");
    }
    cr_assert_eq(mkdir("d", 0755), 0);
    cr_assert_eq(chown("d", 65534, 65534), 0);
    cr_expect_eq(run_shell_as_nobody("*.csv kind=soft",
                                     "exec 2>d/err; exec 3>>d/a.csv; chmod 555 d; exec 3>&-; "
                                     "test -e d/a.csv.lock"),
                 0);
    cr_expect(strstr(file_content("d/err"), "cannot remove the lock file"), "%s",
              file_content("d/err"));
    cr_expect(strstr(file_content("d/err"), "d/a.csv.lock"), "%s", file_content("d/err"));
    CALL(3, "open d/a.csv 2"); /* it is stale by now */
    CALL(0, "close 3");
    cr_expect_not(is_there("d/a.csv.lock"));
    cr_assert_eq(unlink("nobody.so"), 0);
}
