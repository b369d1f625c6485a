/* Which file it is (contract O5, C2): all names of one file lead to one
 * sidecar, beside the file itself. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    cr_assert_eq(mkdir("real", 0755), 0);
    cr_assert_eq(mkdir("other", 0755), 0);
    put_file("real/a.csv", "1\n");
    cr_assert_eq(symlink("real", "through"), 0);
    cr_assert_eq(symlink("../real/a.csv", "other/alias.dat"), 0);
    cr_assert_eq(symlink("alias.dat", "other/twice"), 0);
    cr_assert_eq(symlink("../through/new.csv", "other/dangling"), 0);
}

TestSuite(identity, .init = begin, .fini = scenario_end, .timeout = 120);

Test(identity, every_name_leads_to_one_sidecar) {
    char absolute[400], in_proc[400];
    snprintf(absolute, sizeof(absolute), "%s/real/a.csv", scenario_directory());
    snprintf(in_proc, sizeof(in_proc), "/proc/self/cwd/through/a.csv");
    const char *names[] = {"real/a.csv",
                           "./real//a.csv",
                           "other/../real/a.csv",
                           "through/a.csv",
                           "other/alias.dat",
                           "other/twice",
                           "real/../through/../other/alias.dat",
                           absolute,
                           in_proc};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        static const char *const patterns[] = {"*.csv", "real/*.csv"};
        for (size_t j = 0; j < 2; j++) {
            struct puppet *puppet = puppet_start(patterns[j], NULL);
            cr_assert_eq(puppet_call(puppet, "open %s 2", names[i]), 3);
            cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE, "%s", names[i]);
            cr_assert_eq(puppet_call(puppet, "close 3"), 0);
            cr_assert_eq(puppet_call(puppet, "fopen %s r", names[i]), 3);
            cr_expect_eq(lock_state("real/a.csv"), SHARED, "%s", names[i]);
            (void)puppet_end(puppet);
        }
    }
    cr_expect_eq(access("other/alias.dat.lock", F_OK), -1);
    cr_expect_eq(access("other/twice.lock", F_OK), -1);
}

Test(identity, relative_to_a_directory) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open other %d", O_DIRECTORY), 3);
    cr_assert_eq(puppet_call(puppet, "openat 3 ../through/a.csv 2"), 4);
    cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE);
    cr_assert_eq(puppet_call(puppet, "close 4"), 0);
    cr_assert_eq(puppet_call(puppet, "chdir real"), 0);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 4);
    cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}

Test(identity, through_proc_self_fd) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open real/a.csv 2"), 3);
    cr_assert_eq(puppet_call(puppet, "open /proc/self/fd/3 2"), 4);
    cr_assert_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE);
    cr_assert_eq(puppet_call(puppet, "close 4"), 0);
    cr_expect_eq(lock_state("real/a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* What a descriptor leads to may have no name any more: nobody else can mean it. */
Test(identity, a_file_without_a_name_is_nobody_else_s) {
    struct puppet *puppet = puppet_start("*", NULL);
    cr_assert_eq(puppet_call(puppet, "open real/a.csv 2"), 3);
    cr_assert_eq(puppet_call(puppet, "unlink real/a.csv"), 0);
    cr_assert_eq(puppet_call(puppet, "open /proc/self/fd/3 2"), 4);
    cr_assert_eq(puppet_call(puppet, "read 4"), 2);
    cr_expect_str_eq(puppet->text, "1");
    cr_assert_eq(puppet_call(puppet, "open /dev/fd/3 66 600"), 5); /* O_RDWR | O_CREAT */
    cr_expect_neq(access("real/a.csv (deleted)", F_OK), 0);
    cr_expect_neq(access("real/a.csv (deleted).lock", F_OK), 0);
    (void)puppet_end(puppet);
}

/* One of another name than the text says, too. */
Test(identity, a_replaced_file_is_not_the_new_one) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open real/a.csv 2"), 3);
    put_file("other/a.csv (deleted)", "2\n");
    cr_assert_eq(rename("other/a.csv (deleted)", "real/a.csv (deleted)"), 0);
    cr_assert_eq(puppet_call(puppet, "unlink real/a.csv"), 0);
    cr_assert_eq(puppet_call(puppet, "open /proc/self/fd/3 2"), 4);
    cr_assert_eq(puppet_call(puppet, "read 4"), 2);
    cr_expect_str_eq(puppet->text, "1");
    (void)puppet_end(puppet);
}

Test(identity, a_dangling_link_makes_its_target) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open other/dangling 0102 0644"), 3);
    cr_expect_eq(lock_state("real/new.csv"), EXCLUSIVE);
    cr_expect_eq(access("real/new.csv", F_OK), 0);
    (void)puppet_end(puppet);
}

Test(identity, the_name_of_a_link_is_not_the_file_s) {
    put_file("real/plain.txt", "1\n");
    cr_assert_eq(symlink("plain.txt", "real/looks.csv"), 0);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open real/looks.csv 2"), 3);
    cr_expect_eq(lock_state("real/plain.txt"), NO_SIDECAR);
    cr_expect_eq(lock_state("real/looks.csv"), NO_SIDECAR);
    (void)puppet_end(puppet);
}

/* H1: a link that is turned while we wait leads to the other file. */
Test(identity, a_link_that_is_turned_while_we_wait) {
    put_file("other/b.csv", "2\n");
    struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
    cr_assert_eq(symlink("real/a.csv", "current"), 0);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open current 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(symlink("other/b.csv", "next"), 0);
    cr_assert_eq(rename("next", "current"), 0);
    stranger_leaves(stranger);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("other/b.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("real/a.csv"), FREE);
    cr_assert_eq(puppet_call(puppet, "read 3"), 2);
    cr_expect_str_eq(puppet->text, "2");
    (void)puppet_end(puppet);
}

/* A file that is replaced while we wait: the new one is opened. */
Test(identity, a_file_that_is_replaced_while_we_wait) {
    struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open real/a.csv 2");
    wait_until_queued(puppet->pid);
    put_file("real/next", "new\n");
    cr_assert_eq(rename("real/next", "real/a.csv"), 0);
    stranger_leaves(stranger);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_assert_eq(puppet_call(puppet, "read 3"), 4);
    cr_expect_str_eq(puppet->text, "new");
    (void)puppet_end(puppet);
}

Test(identity, a_file_that_vanishes_while_we_wait) {
    struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open real/a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(unlink("real/a.csv"), 0);
    stranger_leaves(stranger);
    cr_assert_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, ENOENT);
    cr_expect_eq(lock_state("real/a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* P2: the sidecar is replaced while we wait: the old one counts for nothing. */
/* O2: no lock is kept for what is no regular file, least of all while a FIFO is waited
 * for. */
Test(identity, what_is_no_file_any_more_after_we_waited) {
    static const char *const calls[] = {"open real/a.csv 0", "open real/a.csv 0100",
                                        "fopen real/a.csv r"};
    for (int directory = 0; directory < 2; directory++) {
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) - (size_t)directory; i++) {
            (void)rmdir("real/a.csv");
            put_file("real/a.csv", "1\n");
            struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
            struct puppet *puppet = puppet_start("*.csv", NULL);
            puppet_tell(puppet, "%s", calls[i]);
            wait_until_queued(puppet->pid);
            cr_assert_eq(unlink("real/a.csv"), 0);
            cr_assert_eq(directory ? mkdir("real/a.csv", 0755) : mkfifo("real/a.csv", 0600), 0);
            stranger_leaves(stranger);
            int writer = directory ? -1 : open("real/a.csv", O_WRONLY | O_CLOEXEC);
            long expected = directory && i == 1 ? -1 : 3;
            cr_expect_eq(puppet_result(puppet), expected, "%s: errno %d", calls[i], puppet->error);
            cr_expect_eq(lock_state("real/a.csv"), FREE, "%s", calls[i]);
            cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s", puppet->text);
            (void)close(writer);
            (void)puppet_end(puppet);
            if (!directory) {
                cr_assert_eq(unlink("real/a.csv"), 0);
            }
        }
    }
}

Test(identity, a_sidecar_that_is_replaced_while_we_wait) {
    struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open real/a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(unlink("real/a.csv.lock"), 0);
    struct stranger second = stranger_locks("real/a.csv", LOCK_EX);
    stranger_leaves(stranger);
    wait_until_queued(puppet->pid);
    stranger_leaves(second);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}

Test(identity, links_anywhere_in_the_path) {
    char command[1024];
    snprintf(command, sizeof(command),
             "mkdir -p real/deep/er far/away && echo 1 >real/deep/er/a.csv && "
             "ln -s %s/real/deep absolute && ln -s ../../absolute/er far/away/chain && "
             "ln -s chain far/away/again; "
             "ln -s deep/er/a.csv real/down",
             scenario_directory());
    cr_assert_eq(run_shell(NULL, command), 0);
    static const char *const names[] = {
        "absolute/er/a.csv",  "far/away/chain/a.csv",    "far/away/again/../er/a.csv",
        "through/down",       "through/deep/er/a.csv",   "far/../absolute/er/../../down",
        "real/deep/er/a.csv", "./real/./deep//er/a.csv",
    };
    struct puppet *puppet = puppet_start("deep/er/*.csv", NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cr_assert_eq(puppet_call(puppet, "open %s 2", names[i]), 3, "%s", names[i]);
        cr_expect_eq(lock_state("real/deep/er/a.csv"), EXCLUSIVE, "%s", names[i]);
        cr_assert_eq(puppet_call(puppet, "close 3"), 0);
        cr_expect_eq(lock_state("real/deep/er/a.csv"), FREE, "%s", names[i]);
    }
    (void)puppet_end(puppet);
    cr_expect_eq(run_shell(NULL, "test \"$(find . -name '*.lock' | wc -l)\" = 1"), 0);
}

/* The working directory lies below one that may not be searched any more. Root
 * always may. */
Test(identity, a_directory_that_may_not_be_searched_from_the_root) {
    if (geteuid() != 0) {
        scenario_skip("only root can be another user");
    }
    cr_assert_eq(run_shell(NULL, "mkdir -p closed/in && echo 1 >closed/in/a.csv && "
                                 "chown -R 65534:65534 closed"),
                 0);
    static const char *const patterns[] = {"*.csv", "in/*.csv"};
    for (size_t i = 0; i < 2; i++) {
        (void)unlink("closed/in/a.csv.lock");
        cr_expect_eq(run_shell_as_nobody(patterns[i], "cd closed/in && chmod 0 .. && "
                                                      "echo 2 >>a.csv && cat ./a.csv >out; "
                                                      "r=$?; exec 2>/dev/null; "
                                                      "cat \"$PWD/a.csv\" && r=9; exit $r"),
                     0);
        cr_expect_eq(lock_state("closed/in/a.csv"), FREE, "its sidecar is there");
        cr_assert_eq(chmod("closed", 0755), 0);
    }
    cr_expect_str_eq(file_content("closed/in/a.csv"), "1\n2\n2\n");
}

/* A link in the middle is turned while we wait. */
Test(identity, a_directory_link_that_is_turned_while_we_wait) {
    put_file("other/a.csv", "2\n");
    struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    puppet_tell(puppet, "open through/a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(symlink("other", "next"), 0);
    cr_assert_eq(rename("next", "through"), 0);
    stranger_leaves(stranger);
    cr_assert_eq(puppet_result(puppet), 3);
    cr_expect_eq(lock_state("other/a.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("real/a.csv"), FREE);
    cr_assert_eq(puppet_call(puppet, "read 3"), 2);
    cr_expect_str_eq(puppet->text, "2");
    (void)puppet_end(puppet);
}

/* The same where the program gives the whole path, and no link was in it. */
Test(identity, a_whole_path_that_leads_elsewhere_after_we_waited) {
    static const struct {
        const char *change, *locked, *free, *text;
    } cases[] = {
        {"mv real next && mv other real", "real/a.csv", "next/a.csv", "2"},
        {"mv real next && ln -s other real", "other/a.csv", "next/a.csv", "2"},
        {"ln -sf ../other/a.csv real/a.csv", "other/a.csv", "real/a.csv", "2"},
        {"mv real next && ln -s next real", "next/a.csv", "other/a.csv", "1"},
    };
    char command[PATH_MAX + 64], *here = getcwd(NULL, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(run_shell(NULL, "rm -rf real next other && mkdir real other"), 0);
        put_file("real/a.csv", "1\n");
        put_file("other/a.csv", "2\n");
        struct stranger stranger = stranger_locks("real/a.csv", LOCK_EX);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        snprintf(command, sizeof(command), "freopen 3 %s/real/a.csv r+", here);
        cr_assert_eq(puppet_call(puppet, "fopen /dev/null r"), 3);
        puppet_tell(puppet, "%s", command);
        wait_until_queued(puppet->pid);
        cr_assert_eq(run_shell(NULL, cases[i].change), 0);
        stranger_leaves(stranger);
        cr_assert_eq(puppet_result(puppet), 3, "%s", cases[i].change);
        cr_expect_eq(lock_state(cases[i].locked), EXCLUSIVE, "%s", cases[i].change);
        cr_expect_neq(lock_state(cases[i].free), EXCLUSIVE, "%s", cases[i].change);
        cr_assert_eq(puppet_call(puppet, "read 3"), 2);
        cr_expect_str_eq(puppet->text, cases[i].text, "%s", cases[i].change);
        (void)puppet_end(puppet);
    }
    free(here);
}

/* The directory itself is replaced by another: nothing is remembered. */
Test(identity, a_directory_that_is_replaced_between_two_opens) {
    put_file("other/a.csv", "2\n");
    struct puppet *puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(puppet_call(puppet, "open real/a.csv 2"), 3);
        cr_expect_eq(lock_state("real/a.csv"), EXCLUSIVE);
        cr_expect_neq(lock_state("other/a.csv"), EXCLUSIVE);
        cr_assert_eq(puppet_call(puppet, "close 3"), 0);
        cr_assert_eq(run_shell(NULL, "mv real next && mv other real && mv next other"), 0);
    }
    (void)puppet_end(puppet);
}

/* O3: a file that appears meanwhile starts the open again. */
Test(identity, a_file_that_appears_while_we_wait) {
    static const struct {
        const char *call;
        long result;
        int error;
    } cases[] = {
        {"open real/new.csv 0302 0600", -1, EEXIST}, /* O_RDWR|O_CREAT|O_EXCL */
        {"open through/new.csv 0102 0600", 3, UNTOUCHED},
    };
    for (size_t i = 0; i < 2; i++) {
        (void)unlink("real/new.csv");
        struct stranger stranger = stranger_locks("real/new.csv", LOCK_EX);
        struct puppet *puppet = puppet_start("*.csv", NULL);
        puppet_tell(puppet, "%s", cases[i].call);
        wait_until_queued(puppet->pid);
        put_file("real/new.csv", "theirs\n");
        stranger_leaves(stranger);
        cr_expect_eq(puppet_result(puppet), cases[i].result, "%s", cases[i].call);
        cr_expect_eq(puppet->error, cases[i].error, "%s: errno %d", cases[i].call, puppet->error);
        cr_expect_eq(lock_state("real/new.csv"), cases[i].result < 0 ? FREE : EXCLUSIVE);
        cr_expect_str_eq(file_content("real/new.csv"), "theirs\n");
        (void)puppet_end(puppet);
    }
}

/* Descriptors of directories, of whatever kind, and such that have moved. */
Test(identity, relative_to_a_directory_that_has_moved) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open real %d", O_DIRECTORY | O_PATH), 3);
    cr_assert_eq(rename("real", "moved"), 0);
    cr_assert_eq(puppet_call(puppet, "openat 3 a.csv 2"), 4);
    cr_expect_eq(lock_state("moved/a.csv"), EXCLUSIVE);
    cr_assert_eq(puppet_call(puppet, "close 4"), 0);
    cr_assert_eq(puppet_call(puppet, "openat 3 ../moved/a.csv 2"), 4);
    cr_expect_eq(lock_state("moved/a.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}
