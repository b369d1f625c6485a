/* What a program opens, duplicates and closes with the function syscall(2) is a
 * reference like any other (contract O1, H3), each call on its own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    puppet = puppet_start("*.csv inherit=all", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_assert_eq(lock_state("a.csv"), EXCLUSIVE);
}

/* Of each test: what fails in .fini fails no test. */
static void finish(void) {
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "left open: %s", puppet->text);
    cr_expect_eq(puppet_end(puppet), 0);
}

TestSuite(syscalls, .init = begin, .fini = scenario_end, .timeout = 120);

#define HELD cr_expect_eq(lock_state("a.csv"), EXCLUSIVE)

/* Alone it keeps the hold, and its close ends it. */
static void keeps_it(const char *call) {
    CALL(4, "%s", call);
    CALL(0, "close 3");
    HELD;
    CALL(3, "dup 4");
    CALL(0, "close 3");
    HELD;
    CALL(0, "syscall %d 4", SYS_close);
    cr_expect_eq(lock_state("a.csv"), FREE, "%s", call);
    CALL(3, "open a.csv 2");
}

static void with_numbers(const char *format, int number, int last) {
    char call[64];
    snprintf(call, sizeof(call), format, number, last);
    keeps_it(call);
}

Test(syscalls, each_copy_keeps_it) {
    with_numbers("syscall %d 3", SYS_dup, 0);
#ifdef SYS_dup2
    with_numbers("syscall %d 3 4", SYS_dup2, 0);
#endif
    with_numbers("syscall %d 3 4 %d", SYS_dup3, 0);
    with_numbers("syscall %d 3 4 %d", SYS_dup3, O_CLOEXEC);
    with_numbers("syscall %d 3 %d 4", SYS_fcntl, F_DUPFD);
    with_numbers("syscall %d 3 %d 4", SYS_fcntl, F_DUPFD_CLOEXEC);
    CALL(0, "close 3");
    finish();
}

/* A copy of another file onto it. */
Test(syscalls, a_copy_onto_it_ends_it) {
    CALL(4, "open /dev/null 0");
    CALL(3, "syscall %d 4 3 0", SYS_dup3);
    cr_expect_eq(lock_state("a.csv"), FREE);
#ifdef SYS_dup2
    CALL(0, "close 3");
    CALL(3, "open a.csv 2");
    CALL(3, "syscall %d 4 3", SYS_dup2);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(3, "syscall %d 3 3", SYS_dup2);
#endif
    CALL(-1, "syscall %d 3 3 0", SYS_dup3);
    cr_expect_eq(puppet->error, EINVAL);
    finish();
}

Test(syscalls, close_range_ends_it) {
    CALL(4, "open a.csv 0");
    CALL(0, "syscall %d 4 499 0", SYS_close_range);
    HELD;
    CALL(0, "syscall %d 3 3 0", SYS_close_range);
    cr_expect_eq(lock_state("a.csv"), FREE);
    finish();
}

/* It goes around ours, as far as it may reach. */
Test(syscalls, close_range_over_everything) {
    CALL(1, "syscall %d 3 1", SYS_dup2);
    CALL(0, "syscall %d 3 499 0", SYS_close_range);
    HELD;
    CALL(0, "syscall %d 502 4294967295 0", SYS_close_range);
    HELD;
    CALL(0, "syscall %d 1 1 0", SYS_close_range);
    finish();
}

/* The flag of each is followed at exec, by which nobody is under the shim any more. */
Test(syscalls, close_on_exec_ends_it_at_exec) {
    CALL(4, "syscall %d 3 4 %d", SYS_dup3, O_CLOEXEC);
    CALL(5, "syscall %d 3 %d 5", SYS_fcntl, F_DUPFD_CLOEXEC);
    CALL(6, "syscall %d 3", SYS_dup);
    CALL(0, "syscall %d 6 %d 1", SYS_fcntl, F_SETFD);
    CALL(0, "close 3");
    HELD;
    puppet_tell(puppet, "exec_bare");
    CALL(-1, "dup2 4 4");
    cr_expect_eq(lock_state("a.csv"), FREE);
    finish();
}

Test(syscalls, close_range_can_set_the_flag) {
    CALL(0, "syscall %d 3 499 4", SYS_close_range);
    HELD;
    puppet_tell(puppet, "exec_bare");
    CALL(-1, "dup2 3 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    finish();
}

/* A copy of a descriptor that has it does not have it. */
Test(syscalls, a_copy_loses_the_flag) {
    CALL(0, "fcntl 3 %d 1", F_SETFD);
    CALL(4, "syscall %d 3", SYS_dup);
    puppet_tell(puppet, "exec");
    CALL(-1, "dup2 3 3");
    CALL(4, "dup2 4 4");
    HELD;
    CALL(0, "syscall %d 4", SYS_close);
    finish();
}
