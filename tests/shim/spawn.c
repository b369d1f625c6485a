/* posix_spawn: libc opens, duplicates and closes in the child; the lock has to
 * be with the child that writes (contract O1, H1, H6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
    puppet = puppet_start("*.csv", NULL);
}

static void finish(void) {
    cr_expect_eq(puppet_end(puppet), 0);
}

TestSuite(spawn, .init = begin, .fini = scenario_end, .timeout = 120);

#define STATE(file, state) cr_expect_eq(lock_state(file), state, "%s", file)
#define WRITE_NEW 01101  /* O_WRONLY|O_CREAT|O_TRUNC */
#define WRITE_MORE 02101 /* O_WRONLY|O_CREAT|O_APPEND */

/* The child has it for as long as it lives, its parent not at all. */
static void lives_with_the_child(const char *file, enum lock_state state) {
    cr_expect_eq(lock_state(file), state, "%s in the child", file);
    CALL(0, "list_above");
    CALL(0, "end_spawned");
    cr_expect_eq(lock_state(file), state == NO_SIDECAR ? NO_SIDECAR : FREE, "%s after it", file);
}

/* Actions, and what is to be seen of a.csv while the child lives. */
struct spawn_case {
    const char *actions;
    enum lock_state state;
};

static void opens_it(const struct spawn_case *it) {
    static const char *const calls[] = {"spawn", "spawnp", "spawn_bare"};
    for (size_t call = 0; call < 3; call++) {
        (void)unlink("a.csv.lock");
        (void)unlink("new.csv");
        CALL(0, "%s %s", calls[call], it->actions);
        cr_expect_eq(puppet->error, UNTOUCHED, "%s", it->actions);
        cr_expect_eq(lock_state("a.csv"), it->state, "%s %s", calls[call], it->actions);
        lives_with_the_child("a.csv", it->state);
    }
}

Scenario(spawn, a_file_that_it_opens) {
    static const struct spawn_case cases[] = {
        {"open:1:a.csv:01101", EXCLUSIVE},
        {"open:0:a.csv:0", SHARED},
        {"open:2:a.csv:02101", EXCLUSIVE},
        {"open:0:a.csv:0 open:1:a.csv:02101", EXCLUSIVE},
        {"open:5:a.csv:02101 dup2:5:1 close:5", EXCLUSIVE},
        {"open:1:a.csv:02101 dup2:1:2", EXCLUSIVE},
        {"open:1:a.csv:02101 dup2:1:7 close:1 dup2:7:2", EXCLUSIVE},
        {"open:1:a.csv:02101 close:1020 close:1021 close:1022 close:1023", EXCLUSIVE},
        {"open:1:a.csv:02101 open:1022:/dev/null:0", EXCLUSIVE},
        {"open:4:/dev/null:0 dup2:4:1020 open:1:a.csv:02101", EXCLUSIVE},
        {"open:1:new.csv:01101 open:0:new.csv:0", NO_SIDECAR}, /* of a.csv */
        {"open:1:/dev/null:1 open:2:b.txt:0101", NO_SIDECAR},
        /* None of these has it on 0 to 2 in the end (H6). */
        {"open:1:a.csv:02101 close:1", FREE},
        {"open:1:a.csv:02101 open:1:/dev/null:1", FREE},
        {"open:5:a.csv:02101", FREE},
        {"open:1:a.csv:02101 dup2:1:5 close:1", FREE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        opens_it(&cases[i]);
    }
}

/* Our numbers are among those that it closes, in the middle of the actions. */
Scenario(spawn, closefrom_and_a_file_that_it_opens) {
    static const struct spawn_case cases[] = {
        {"open:1:a.csv:02101 closefrom:3", EXCLUSIVE},
        {"open:1:a.csv:02101 closefrom:1020", EXCLUSIVE},
        {"closefrom:3 open:1:a.csv:02101", EXCLUSIVE},
        {"open:1:a.csv:02101 dup2:1:2 closefrom:3 close:1", EXCLUSIVE},
        {"open:1:a.csv:02101 closefrom:1", FREE},
        {"open:5:a.csv:02101 closefrom:5", FREE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        opens_it(&cases[i]);
    }
}

/* H1: before O_TRUNC acts, and before the file is made. */
Scenario(spawn, it_is_locked_before_it_is_opened) {
    put_file("a.csv", "precious\n");
    struct stranger one = stranger_locks("a.csv", LOCK_EX);
    puppet_tell(puppet, "spawn open:1:a.csv:%#o", WRITE_NEW);
    wait_until_queued(puppet->pid);
    cr_expect_str_eq(file_content("a.csv"), "precious\n");
    stranger_leaves(one);
    cr_expect_eq(puppet_result(puppet), 0);
    cr_expect_str_eq(file_content("a.csv"), "");
    lives_with_the_child("a.csv", EXCLUSIVE);
    struct stranger two = stranger_locks("new.csv", LOCK_EX);
    puppet_tell(puppet, "spawn open:1:new.csv:%#o", WRITE_NEW);
    wait_until_queued(puppet->pid);
    cr_expect(access("new.csv", F_OK) < 0);
    stranger_leaves(two);
    cr_expect_eq(puppet_result(puppet), 0);
    lives_with_the_child("new.csv", EXCLUSIVE);
}

/* The program after exec ends it at its last close. */
Scenario(spawn, the_child_ends_it_itself) {
    CALL(0, "spawn_closing 1 open:1:a.csv:%#o", WRITE_MORE);
    STATE("a.csv", FREE);
    CALL(0, "end_spawned");
    CALL(0, "spawn_closing 1 open:1:a.csv:%#o dup2:1:2", WRITE_MORE);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "end_spawned");
    STATE("a.csv", FREE);
}

/* fd: the parent's number of a.csv. */
static void hands_it_on(const struct spawn_case *it, int fd) {
    for (int bare = 0; bare < 2; bare++) {
        CALL(3, "open a.csv 2");
        if (fd != 3) {
            CALL(fd, "dup2 3 %d", fd);
            CALL(0, "close 3");
        }
        CALL(0, "%s %s", bare ? "spawn_bare" : "spawn", it->actions);
        STATE("a.csv", EXCLUSIVE);
        CALL(fd, "dup2 2 %d", fd); /* the parent's reference ends */
        cr_expect_eq(lock_state("a.csv"), it->state, "%s, %s", it->actions,
                     bare ? "bare" : "under the shim");
        lives_with_the_child("a.csv", it->state);
        if (fd > 2) {
            CALL(0, "close %d", fd);
        }
    }
}

Scenario(spawn, what_the_parent_has_open) {
    static const struct spawn_case cases[] = {
        {"dup2:3:1", EXCLUSIVE},     {"dup2:3:1 close:3 dup2:1:0", EXCLUSIVE},
        {"close:3", FREE},           {"dup2:3:5", FREE},
        {"dup2:3:1 dup2:2:1", FREE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hands_it_on(&cases[i], 3);
    }
}

/* The parent's twin of 0 to 2 survives exec; the child's descriptor may not. */
Scenario(spawn, what_the_parent_has_on_stdio) {
    static const struct spawn_case cases[] = {
        {"", EXCLUSIVE},
        {"close:9 close:1020 close:1021 close:1022 close:1023", EXCLUSIVE},
        {"open:9:/dev/null:0 dup2:9:1021 dup2:9:1022", EXCLUSIVE},
        {"dup2:1:2 close:1", EXCLUSIVE},
        {"dup2:1:1", EXCLUSIVE},
        {"close:1", FREE},
        {"open:1:/dev/null:1", FREE},
        {"dup2:2:1", FREE},
        {"dup2:1:8 close:1", FREE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hands_it_on(&cases[i], 1);
    }
}

Scenario(spawn, closefrom_and_what_the_parent_has_open) {
    static const struct spawn_case from_3[] = {{"dup2:3:1 closefrom:3", EXCLUSIVE},
                                               {"closefrom:3 open:1:/dev/null:1", FREE}};
    static const struct spawn_case from_1[] = {{"closefrom:3", EXCLUSIVE}, {"closefrom:1", FREE}};
    for (size_t i = 0; i < 2; i++) {
        hands_it_on(&from_3[i], 3);
        hands_it_on(&from_1[i], 1);
    }
}

/* inherit=all and none, in the child as after exec. */
Scenario(spawn, inherit_option) {
    static const struct {
        const char *patterns, *actions;
        enum lock_state state;
    } cases[] = {
        {"*.csv inherit=all", "open:5:a.csv:02101", EXCLUSIVE},
        {"*.csv inherit=all", "open:1:a.csv:02101 dup2:1:7 close:1", EXCLUSIVE},
        {"*.csv inherit=all", "open:5:a.csv:02101 close:5", FREE},
        {"*.csv inherit=none", "open:1:a.csv:02101", FREE},
        {"*.csv inherit=none", "open:5:a.csv:02101 dup2:5:0", FREE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct puppet *other = puppet_start(cases[i].patterns, NULL);
        cr_expect_eq(puppet_call(other, "spawn %s", cases[i].actions), 0);
        cr_expect_eq(lock_state("a.csv"), cases[i].state, "%s: %s", cases[i].patterns,
                     cases[i].actions);
        cr_expect_eq(puppet_call(other, "end_spawned"), 0);
        STATE("a.csv", FREE);
        (void)puppet_end(other);
    }
}

Scenario(spawn, close_on_exec_on_stdio) {
    CALL(3, "open a.csv 2");
    CALL(1, "dup3 3 1 %d", O_CLOEXEC);
    CALL(0, "close 3");
    CALL(0, "spawn close:9"); /* an action that has nothing to do with it */
    CALL(1, "dup2 2 1");
    lives_with_the_child("a.csv", FREE);
    CALL(3, "open a.csv 2");
    CALL(1, "dup3 3 1 %d", O_CLOEXEC);
    CALL(0, "close 3");
    CALL(0, "spawn dup2:1:1"); /* takes it away in the child */
    CALL(1, "dup2 2 1");
    lives_with_the_child("a.csv", EXCLUSIVE);
}

Scenario(spawn, names_are_relative_to_where_the_child_is) {
    cr_assert_eq(mkdir("d", 0755), 0);
    cr_assert_eq(mkdir("d/e", 0755), 0);
    static const struct {
        const char *actions, *file;
    } cases[] = {
        {"chdir:d open:1:a.csv:02101", "d/a.csv"},
        {"chdir:d chdir:e open:1:a.csv:02101", "d/e/a.csv"},
        {"chdir:d chdir:.. open:1:a.csv:02101", "a.csv"},
        {"fchdir:3 open:1:a.csv:02101", "d/a.csv"},
        {"dup2:3:9 fchdir:9 open:1:a.csv:02101", "d/a.csv"},
        {"chdir:d open:9:e:0 chdir:.. fchdir:9 open:1:a.csv:02101", "d/e/a.csv"},
    };
    CALL(3, "open d 0");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)unlink("a.csv.lock");
        CALL(0, "spawn %s", cases[i].actions);
        cr_expect_eq(access(cases[i].file, F_OK), 0, "%s", cases[i].actions);
        if (strcmp(cases[i].file, "a.csv") != 0) {
            STATE("a.csv", NO_SIDECAR);
        }
        lives_with_the_child(cases[i].file, EXCLUSIVE);
    }
}

Scenario(spawn, what_fails_leaves_nothing) {
    CALL(-ENOENT, "spawn_missing open:1:a.csv:%#o", WRITE_MORE);
    STATE("a.csv", FREE);
    CALL(-ENOENT, "spawn open:1:missing.csv:1");
    STATE("missing.csv", NO_SIDECAR);
    CALL(-EEXIST, "spawn open:1:a.csv:0301"); /* O_CREAT|O_EXCL */
    CALL(-EBADF, "spawn open:1:a.csv:%#o dup2:77:2", WRITE_MORE);
    STATE("a.csv", FREE);
    CALL(-ENOENT, "spawn chdir:nowhere open:1:a.csv:%#o", WRITE_MORE);
    STATE("a.csv", FREE);
    CALL(-ENOTDIR, "spawn open:9:/dev/null:0 fchdir:9 open:1:a.csv:%#o", WRITE_MORE);
    CALL(0, "list_above");
    CALL(3, "open /dev/null 0");
}

Scenario(spawn, a_lock_that_cannot_be_had) {
    struct puppet *other = puppet_start("*.csv timeout=100ms", "AUTOLOCK_LOG=log", NULL);
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    cr_expect_eq(puppet_call(other, "spawn open:1:a.csv:01101"), -EBUSY);
    cr_expect(strstr(file_content("log"), "timeout after 100 ms"), "%s", file_content("log"));
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    stranger_leaves(stranger);
    (void)puppet_end(other);
}

Scenario(spawn, attributes_are_kept) {
    CALL(0, "spawn flags:%d open:1:a.csv:%#o", 0x80 /* POSIX_SPAWN_SETSID */, WRITE_MORE);
    CALL(1, "session_of_spawned");
    lives_with_the_child("a.csv", EXCLUSIVE);
    CALL(0, "spawn open:1:a.csv:%#o", WRITE_MORE);
    CALL(0, "session_of_spawned");
    lives_with_the_child("a.csv", EXCLUSIVE);
}

/* hold=process: the parent does not keep what only its child has opened. */
Scenario(spawn, hold_process_is_the_child_s) {
    struct puppet *other = puppet_start("*.csv hold=process", NULL);
    cr_expect_eq(puppet_call(other, "spawn open:1:a.csv:02101"), 0);
    STATE("a.csv", EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "end_spawned"), 0);
    STATE("a.csv", FREE);
    (void)puppet_end(other);
}

Scenario(spawn, many_actions) {
    char actions[4000] = "";
    for (int i = 0; i < 12; i++) {
        sprintf(actions + strlen(actions), " open:%d:%s/a.csv:02101", 5 + i, scenario_directory());
    }
    CALL(0, "spawn%s dup2:16:1", actions);
    lives_with_the_child("a.csv", EXCLUSIVE);
}

/* Nothing is lost between programs that are started so. */
Scenario(spawn, python_starts_writers) {
    static const char script[] =
        "/usr/bin/python3 -c '\n"
        "import os, sys\n"
        "flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND\n"
        "command = [\"/usr/bin/perl\", \"-e\", \"$|=1; print qq(aaaa); print qq(bbbb\\\\n);\"]\n"
        "for i in range(5):\n"
        "    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[\n"
        "        (os.POSIX_SPAWN_OPEN, 1, \"a.csv\", flags, 0o644)])\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n'";
    (void)unlink("a.csv");
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = start_shell("*.csv", script);
    }
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(end_shell(pids[i]), 0);
    }
    char expected[400] = "";
    for (int i = 0; i < 20; i++) {
        strcat(expected, "aaaabbbb\n");
    }
    cr_expect_str_eq(file_content("a.csv"), expected);
}

/* The number at which we have what the child needs is one that an action wants. */
Scenario(spawn, an_action_onto_one_of_ours) {
    CALL(3, "open a.csv 2");
    CALL(1, "dup2 3 1");
    CALL(4, "open b.csv 2"); /* it takes the number that is the next one's */
    cr_assert_eq(puppet_call(puppet, "list_above"), 3);
    long numbers[3];
    char *at = puppet->text;
    for (int i = 0; i < 3; i++) {
        numbers[i] = strtol(at, &at, 10);
    }
    CALL(0, "close 4");
    CALL(0, "spawn_bare dup2:0:%ld dup2:0:%ld dup2:0:%ld dup2:0:%ld", numbers[0], numbers[1],
         numbers[2], numbers[2] - 4); /* the next place for the twin of 1 (hidden.h) */
    CALL(0, "close 3");
    CALL(0, "close 1");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "end_spawned");
    STATE("a.csv", FREE);
}
