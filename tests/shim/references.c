/* What keeps a hold and what ends it (contract H2 to H6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

TestSuite(references, .init = flock_begin_open, .fini = scenario_end, .timeout = 120);

Scenario(references, each_kind_of_copy_keeps_it) {
    static const char *copies[] = {"dup 3",
                                   "dup2 3 4",
                                   "__dup2 3 4",
                                   "dup3 3 4 0",
                                   "fcntl 3 0 4" /* F_DUPFD */,
                                   "fcntl64 3 0 4",
                                   "__fcntl 3 0 4",
                                   "fcntl 3 1030 4" /* F_DUPFD_CLOEXEC */};
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

/* Onto numbers that the library likes for its own: the copy keeps the file by itself. */
Scenario(references, a_copy_at_any_number) {
    static const char *const ways[] = {"dup2 %d %d", "dup3 %d %d 0", "dup3 %d %d 02000000"};
    int fd = 3;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        for (int to = 900; to < 1024; to++) {
            char call[40];
            snprintf(call, sizeof(call), ways[i], fd, to);
            CALL(to, "%s", call);
            CALL(0, "close %d", fd);
            HELD;
            fd = to;
        }
    }
    CALL(3, "dup2 %d 3", fd);
    CALL(0, "close %d", fd);
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(references, dup2_onto_the_last_reference_ends_it) {
    CALL(4, "open /dev/null 0");
    CALL(3, "dup2 4 3");
    GONE;
}

Scenario(references, dup2_onto_itself_changes_nothing) {
    CALL(3, "dup2 3 3");
    HELD;
    CALL(-1, "dup2 77 3");
    cr_expect_eq(puppet->error, EBADF);
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(references, a_second_open_is_counted) {
    CALL(4, "open a.csv 2");
    CALL(5, "fopen a.csv a");
    CALL(6, "open a.csv 0");
    CALL(0, "close 3");
    CALL(0, "close 4");
    HELD;
    CALL(0, "fclose 5");
    HELD;
    CALL(0, "close 6");
    GONE;
}

Scenario(references, a_second_open_in_a_thread_succeeds_at_once) {
    CALL(0, "thread_open a.csv 2");
    CALL(4, "thread_join");
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 4");
    GONE;
}

Scenario(references, a_thread_joins_one_that_still_waits) {
    struct stranger stranger = stranger_locks("b.csv", LOCK_EX);
    CALL(0, "thread_open b.csv 2");
    puppet_tell(puppet, "open b.csv 2");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    long mine = puppet_result(puppet), theirs = puppet_call(puppet, "thread_join");
    cr_expect(mine >= 4 && theirs >= 4 && mine != theirs, "%ld %ld", mine, theirs);
    CALL(0, "close %ld", mine);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close %ld", theirs);
    cr_expect_eq(lock_state("b.csv"), FREE);
}

Scenario(references, two_files_are_two_holds) {
    CALL(4, "open b.csv 2");
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 4");
    cr_expect_eq(lock_state("b.csv"), FREE);
}

Scenario(references, fdopen_and_fclose) {
    CALL(3, "fdopen 3 r+");
    CALL(0, "fclose 3");
    GONE;
}

/* H2: what stdio still had in its buffer is in the file before the next one
 * gets it. */
Scenario(references, the_flush_of_fclose_comes_before_the_end) {
    CALL(3, "fdopen 3 r+");
    CALL(1, "fputs 3 buffered");
    pid_t reader = start_shell("*.csv", "cat a.csv >seen");
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    CALL(0, "fclose 3");
    cr_expect_eq(end_shell(reader), 0);
    cr_expect_str_eq(file_content("seen"), "buffered");
}

/* The same at exit, where stdio flushes after the destructors. */
Scenario(references, the_flush_of_exit_comes_before_the_end) {
    CALL(3, "fdopen 3 r+");
    CALL(1, "fputs 3 buffered");
    pid_t reader = start_shell("*.csv", "cat a.csv >seen");
    cr_expect_eq(puppet_end(puppet), 0);
    puppet = NULL;
    cr_expect_eq(end_shell(reader), 0);
    cr_expect_str_eq(file_content("seen"), "buffered");
}

Scenario(references, kill_ends_it) {
    puppet_kill(puppet);
    puppet = NULL;
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(references, freopen_moves_the_hold) {
    CALL(3, "fdopen 3 r+");
    CALL(3, "freopen 3 b.csv r+");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(3, "freopen64 3 /dev/null r");
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(3, "freopen 3 a.csv r");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    CALL(0, "fclose 3");
    GONE;
}

Scenario(references, freopen_without_a_path_keeps_the_hold) {
    CALL(0, "close 3");
    CALL(3, "fopen a.csv r");
    CALL(3, "freopen 3 - r+");
    HELD;
    CALL(0, "fclose 3");
    GONE;
}

Scenario(references, freopen_that_fails_ends_it) {
    CALL(3, "fdopen 3 r+");
    CALL(-1, "freopen 3 missing/file r");
    cr_expect_eq(puppet->error, ENOENT);
    GONE;
}

Scenario(references, close_range_ends_what_it_closes) {
    CALL(4, "dup 3");
    CALL(0, "close_range 3 3 0");
    HELD;
    CALL(0, "close_range 4 499 0");
    GONE;
}

Scenario(references, close_range_goes_around_ours) {
    CALL(0, "close_range 502 4294967295 0");
    HELD;
    CALL(0, "close_range 502 4294967295 4"); /* CLOSE_RANGE_CLOEXEC */
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(references, closing_loops_leave_the_hold) {
    CALL(0, "close_loop 4 1100");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(references, closefrom_ends_what_it_closes) {
    CALL(0, "closefrom 3");
    GONE;
}

Scenario(references, dup2_onto_one_of_ours_moves_it_away) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    long hidden = strtol(puppet->text, NULL, 10);
    CALL(4, "open /dev/null 0");
    CALL(hidden, "dup2 4 %ld", hidden);
    HELD;
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "close %ld", hidden);
    CALL(-1, "close %ld", hidden);
    GONE;
}

/* T4: closed behind our back; the number comes back as new. */
Scenario(references, a_raw_close_heals) {
    CALL(0, "raw_close 3");
    CALL(3, "open /dev/null 0");
    GONE;
}

Scenario(references, a_forked_child_shares_it) {
    long child = puppet_call(puppet, "fork");
    cr_assert_gt(child, 0);
    CALL(0, "close 3");
    HELD;
    CALL(0, "end_child");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(references, a_forked_child_that_closes_leaves_its_parent_s) {
    cr_assert_gt(puppet_call(puppet, "fork 3"), 0);
    HELD;
    CALL(0, "end_child");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(references, a_vforked_child_does_not_change_its_parent) {
    CALL(0, "vfork_close 3");
    HELD;
    CALL(0, "vfork_open b.csv 2");
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(0, "vfork_open a.csv 2");
    HELD;
    CALL(4, "open b.csv 2");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 4");
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(0, "close 3");
    GONE;
}

/* H6: through 0, 1 and 2 only. */
Scenario(references, exec_keeps_it_on_stdio) {
    for (int fd = 0; fd <= 2; fd++) {
        CALL(fd, "dup2 3 %d", fd);
        CALL(0, "close 3");
        puppet_tell(puppet, "exec");
        CALL(fd, "dup2 %d %d", fd, fd);
        HELD;
        CALL(3, "fcntl %d 0 3", fd);
        CALL(0, "close %d", fd);
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

Scenario(references, exec_without_the_shim_keeps_it_too) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    puppet_tell(puppet, "exec_bare");
    CALL(1, "dup2 1 1");
    HELD;
}

Scenario(references, exec_drops_what_leaks_above) {
    puppet_tell(puppet, "exec");
    CALL(3, "dup2 3 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(references, exec_drops_what_is_close_on_exec) {
    CALL(0, "dup3 3 0 %d", O_CLOEXEC);
    CALL(0, "close 3");
    HELD;
    puppet_tell(puppet, "exec");
    CALL(-1, "dup2 0 0");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
}

Scenario(references, hold_process_lasts_to_the_end) {
    struct puppet *other = puppet_start("*.csv hold=process", NULL);
    cr_assert_eq(puppet_call(other, "open b.csv 0"), 3);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "open b.csv 2"), 3);
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "list_above"), 1, "one is enough: %s", other->text);
    (void)puppet_end(other);
    cr_expect_eq(lock_state("b.csv"), FREE);
}
