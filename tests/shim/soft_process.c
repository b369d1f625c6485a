/* kind=soft: a hold is one process's, and ends with it (contract H10, W2). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/soft_scenario.h"

TestSuite(soft_process, .init = soft_begin_open, .fini = scenario_end, .timeout = 120);

/* However the child came to be, and whatever it does. */
Scenario(soft_process, a_child_releases_nothing) {
    static const char *const children[][2] = {
        {"fork 3", "end_child"},    {"kin 3", "end_kin"},    {"_Fork 3", "end_kin"},
        {"raw_fork 3", "end_kin"},  {"fork", "end_child"},   {"child_ends exit", NULL},
        {"child_ends _exit", NULL}, {"vfork_close 3", NULL}, {"clone_call 0 close 3", NULL},
        {"syscall_clone 3", NULL},
    };
    for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
        cr_expect_geq(puppet_call(puppet, "%s", children[i][0]), 0, "%s", children[i][0]);
        HELD;
        if (children[i][1]) {
            CALL(0, "%s", children[i][1]);
            HELD;
        }
    }
    (void)puppet_call(puppet, "child_ends abort");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(soft_process, a_child_holds_nothing) {
    static const char *const children[][2] = {
        {"fork", "end_child"}, {"kin", "end_kin"}, {"_Fork", "end_kin"}, {"raw_fork", "end_kin"}};
    for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
        cr_assert_gt(puppet_call(puppet, "%s", children[i][0]), 0);
        CALL(0, "close 3");
        cr_expect_not(is_there("a.csv.lock"), "%s", children[i][0]);
        CALL(3, "open a.csv 2"); /* nor is it in the way */
        HELD;
        CALL(0, "%s", children[i][1]);
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

/* W2: its parent has it, and waits for it. */
Scenario(soft_process, a_child_that_is_waited_for_passes) {
    CALL(0, "child_opens a.csv 2");
    HELD;
    CALL(0, "child_opens b.csv 2");
    cr_expect_not(is_there("b.csv.lock"));
    CALL(0, "vfork_open a.csv 2");
    HELD;
    CALL(0, "vfork_open b.csv 2");
    cr_expect_not(is_there("b.csv.lock"));
    CALL(0, "vfork_busy b.csv");
    cr_expect_not(is_there("b.csv.lock"));
    CALL(4, "open b.csv 2");
    cr_expect(is_there("b.csv.lock"));
    CALL(0, "close 4");
    cr_expect_not(is_there("b.csv.lock"));
    CALL(0, "close 3");
    GONE;
}

Scenario(soft_process, nested_fail_and_wait) {
    CALL(0, "close 3");
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft nested=fail");
    CALL(256, "child_opens a.csv 2");
    cr_expect(strstr(file_content("log"), "nested=fail"), "%s", file_content("log"));
    CALL(0, "close 3");
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft nested=wait timeout=300ms");
    CALL(256, "child_opens a.csv 2");
    cr_expect(strstr(file_content("log"), "timeout after"), "%s", file_content("log"));
    CALL(0, "close 3");
    GONE;
}

/* A child that has its parent's descriptors for its own has no part in the lock either. */
Scenario(soft_process, a_child_with_shared_descriptors) {
    CALL(0, "close 3");
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft nested=fail");
    CALL(-1, "clone_call %d open a.csv", CLONE_FILES);
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* Exec keeps the process, and what there is of the file on 0, 1 and 2. */
Scenario(soft_process, exec_keeps_it_on_stdio) {
    for (int fd = 0; fd <= 2; fd++) {
        CALL(fd, "dup2 3 %d", fd);
        CALL(0, "close 3");
        puppet_tell(puppet, "exec");
        CALL(fd, "dup2 %d %d", fd, fd);
        HELD;
        CALL(0, "close_loop 3 1100");
        HELD;
        CALL(3, "fcntl %d 0 3", fd);
        CALL(0, "close %d", fd);
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

Scenario(soft_process, exec_keeps_each_of_the_three) {
    CALL(1, "dup2 3 1");
    CALL(2, "dup2 3 2");
    CALL(4, "open b.csv 2");
    CALL(0, "dup2 4 0");
    CALL(0, "close 4");
    CALL(0, "close 3");
    puppet_tell(puppet, "exec");
    CALL(0, "close 1");
    HELD;
    cr_expect(is_there("b.csv.lock"));
    CALL(0, "close 0");
    cr_expect_not(is_there("b.csv.lock"));
    HELD;
    CALL(0, "open a.csv 2");
    CALL(0, "close 2");
    HELD;
    CALL(0, "close 0");
    GONE;
}

Scenario(soft_process, exec_ends_what_leaks_above_and_what_is_closed) {
    puppet_tell(puppet, "exec");
    CALL(3, "dup2 3 3");
    GONE;
    CALL(0, "close 3");
    CALL(3, "open a.csv %d", O_RDWR | O_CLOEXEC);
    HELD;
    puppet_tell(puppet, "exec");
    CALL(-1, "dup2 3 3");
    GONE;
    CALL(3, "open a.csv 2");
    CALL(1, "dup3 3 1 %d", O_CLOEXEC);
    puppet_tell(puppet, "exec");
    CALL(3, "dup2 3 3");
    GONE;
}

Scenario(soft_process, inherit_all_and_none) {
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft inherit=all");
    puppet_tell(puppet, "exec");
    CALL(3, "dup2 3 3");
    HELD;
    CALL(0, "close 3");
    GONE;
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft inherit=none");
    CALL(1, "dup2 3 1");
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    GONE;
}

/* Nothing is needed of the environment. */
Scenario(soft_process, exec_with_another_environment) {
    static const char *environments[] = {"", "AUTOLOCK_PATTERNS=", "AUTOLOCK_PATTERNS=*.txt",
                                         "AUTOLOCK=off"};
    for (size_t i = 0; i < sizeof(environments) / sizeof(environments[0]); i++) {
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        puppet_tell(puppet, "exec_env %s", environments[i]);
        CALL(1, "dup2 1 1");
        HELD;
        cr_assert_gt(puppet_call(puppet, "fork"), 0);
        CALL(0, "end_child");
        HELD;
        CALL(0, "close 1");
        GONE;
        CALL(1, "open /dev/null 1");
        puppet_tell(puppet, "exec_env AUTOLOCK_PATTERNS=*.csv_kind=soft");
        CALL(1, "dup2 1 1");
        puppet_tell(puppet, "exec");
        CALL(1, "dup2 1 1");
        if (i + 1 < sizeof(environments) / sizeof(environments[0])) {
            (void)puppet_end(puppet);
            soft_start(RULES);
        }
    }
}

/* Nothing can be told of names without /proc; then what is open may be the file. */
Scenario(soft_process, exec_without_proc) {
    if (geteuid() != 0 || run_shell(NULL, "unshare -m umount -l /proc 2>/dev/null") != 0) {
        scenario_skip("needs root, and leave to unmount /proc");
    }
    put_file("a.csv", "");
    CALL(0, "close 3");
    put_file("script", "umount -l /proc\nexport LD_PRELOAD=" TEST_PRELOAD "\n"
                       "export AUTOLOCK_PATTERNS='*.csv kind=soft'\n"
                       "exec sh -c 'exec >>a.csv; exec sh -c \"echo run; cat a.csv.lock\"'\n");
    (void)run_shell(NULL, "unshare -m sh script"); /* the sanitizers dislike it */
    cr_expect(strncmp(file_content("a.csv"), "run\n", 4) == 0, "%s", file_content("a.csv"));
    cr_expect(strstr(file_content("a.csv"), this_host()), "not locked: %s", file_content("a.csv"));
    CALL(3, "open a.csv 2"); /* what could not be found and removed is stale */
    CALL(0, "close 3");
    GONE;
}

/* A hold without a number for it lasts too long rather than not long enough. */
Scenario(soft_process, exec_with_no_number_left) {
    CALL(1, "dup2 3 1");
    CALL(4, "open b.csv 2");
    CALL(2, "dup2 4 2");
    CALL(0, "close 3");
    CALL(0, "close 4");
    CALL(0, "setrlimit 4"); /* the linker needs one, and gives it back */
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    HELD;
    cr_expect(is_there("b.csv.lock"));
}

/* Its end is not seen; then the marker is stale. */
Scenario(soft_process, exec_without_the_shim) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    puppet_tell(puppet, "exec_bare");
    CALL(1, "dup2 1 1");
    HELD;
    CALL(0, "close 1");
    HELD;
    (void)puppet_end(puppet);
    HELD;
    soft_start(RULES);
    CALL(0, "close 3");
    GONE;
}

/* Redirections of a shell: the one that has the marker waits for the command, or is
 * the command. */
Scenario(soft_process, redirections_of_shells) {
    static const char *const shells[] = {"bash", "dash"};
    CALL(0, "close 3");
    for (int i = 0; i < 2; i++) {
        char command[600];
        put_file("a.csv", "");
        snprintf(command, sizeof(command),
                 "%s -c 'ls >>a.csv; test ! -e a.csv.lock || exit 2; (ls; ls) >>a.csv; "
                 "{ ls; ls; } >>a.csv; ls | cat >>a.csv; ls >>a.csv & wait; "
                 "exec 4>>a.csv; ls >&4; exec 4>&-; test ! -e a.csv.lock || exit 3; "
                 "exec >>a.csv; ls; exec ls'",
                 shells[i]);
        cr_expect_eq(run_shell("*.csv kind=soft", command), 0, "%s", shells[i]);
        cr_expect_not(is_there("a.csv.lock"), "%s", shells[i]);
        int seen = 0;
        for (const char *p = file_content("a.csv"); (p = strstr(p, "a.csv.lock")); p++) {
            seen++;
        }
        /* Of "ls | cat" it is cat that has the file, whenever it opens it. */
        cr_expect(seen == 9 || seen == 10, "%s: %d: %s", shells[i], seen, file_content("a.csv"));
    }
}

/* A child that has our memory makes the marker for itself, and takes it through exec. */
Scenario(soft_process, vfork_open_exec) {
    long shell = 0, maker = -1;
    CALL(0, "vfork_shell b.csv echo $$; head -n1 b.csv.lock");
    cr_expect_not(is_there("b.csv.lock"));
    cr_assert_eq(sscanf(file_content("b.csv"), "2 %ld %ld", &shell, &maker), 2);
    cr_expect_eq(shell, maker);
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* The lock is none of its business: it need not have a descriptor of it either. */
Scenario(soft_process, a_vforked_child_that_closes_all_before_exec) {
    static const char *const ways[] = {"range", "loop", "over"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(0, "vfork_closing %s ls -l /proc/$$/fd >seen; exit 0", ways[i]);
        cr_expect(strstr(file_content("seen"), "->"), "%s", file_content("seen"));
        cr_expect_not(strstr(file_content("seen"), ".lock"), "%s: %s", ways[i],
                      file_content("seen"));
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

/* One that has the lock's file open all the same locks nothing by it. */
Scenario(soft_process, a_program_outside_the_library_keeps_nothing) {
    CALL(0, "spawn_bare");
    CALL(0, "close 3");
    GONE;
    struct puppet *other = puppet_start("*.csv kind=soft timeout=10s", NULL);
    cr_expect_eq(puppet_call(other, "open a.csv 2"), 3);
    HELD;
    cr_expect_eq(puppet_end(other), 0);
    CALL(3, "open a.csv 2");
    CALL(0, "close 3");
    GONE;
    CALL(0, "end_spawned");
}

/* popen's child has neither the file nor the lock. */
Scenario(soft_process, children_of_popen_and_spawn) {
    CALL(0, "popen echo begun; test -e a.csv.lock");
    HELD;
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    HELD;
    CALL(0, "pclose");
    HELD;
    CALL(0, "system test -e a.csv.lock");
    HELD;
    CALL(0, "close 1");
    GONE;
}

/* What nobody has locked is removed without a lock, also where none can be made. */
Scenario(soft_process, removing_makes_no_lock) {
    CALL(0, "close 3");
    (void)puppet_end(puppet);
    soft_start("*.csv kind=soft");
    CALL(0, "close 3");
    (void)puppet_end(puppet);
    puppet = puppet_start("*.csv kind=soft lockdir=/nowhere/locks", "AUTOLOCK_LOG=log", NULL);
    CALL(0, "unlink a.csv");
    puppet_end(puppet);
    puppet = NULL;
}
