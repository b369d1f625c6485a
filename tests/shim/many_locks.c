/*
 * Where the machine has many locks, /proc/locks is read in several parts, between which
 * others can end: then the kernel, which goes on by counting, passes over some that are
 * there all the time. Nobody may take that for their absence.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

/* The list has a part for each processor, newest first: all of ours stand in one. */
static void begin(void) {
    scenario_begin_with_file();
    stay_on_one_processor();
}

TestSuite(many_locks, .init = begin, .fini = scenario_end, .timeout = 180);

static pid_t take_many_locks(void) {
    pid_t many = start_shell(NULL, "exec perl -e 'use Fcntl qw(:flock); for (1 .. 300) { open "
                                   "$f[$_], q(>), qq(many$_); flock $f[$_], LOCK_EX } open R, "
                                   "q(>), q(ready); close R; open S, q(<), q(stay); <S>'");
    cr_assert_str_eq(file_content("ready"), "");
    return many;
}

/* While it reads the list, as many end as stand before the part that it has not read. */
static void miss_what_is_last(pid_t pid) {
    uint64_t name;
    do {
        cr_assert(moment_before(pid, SYS_openat));
        name = moment_peek(pid, moment_arguments[1]);
    } while (memcmp(&name, "/proc/locks", sizeof(name)) != 0);
    pid_t many = take_many_locks();
    cr_assert(moment_before(pid, SYS_read));
    cr_assert(moment_before(pid, SYS_read));
    put_file("stay", "x\n");
    cr_assert_eq(end_shell(many), 0);
}

/* Below a reader a child may write where nobody else has the file. */
Test(many_locks, another_reader_is_not_overlooked) {
    struct puppet *other = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(other, "open a.csv 0"), 3);
    cr_assert_eq(run_shell(NULL, "mkfifo pid go ready stay"), 0);
    int go = open("go", O_RDWR | O_CLOEXEC); /* so that opening it does not wait */
    pid_t shell = start_shell("*.csv", "exec 3<a.csv; perl -e 'open P, q(>), q(pid); print P $$; "
                                       "close P; open G, q(<), q(go); <G>; open F, q(+<), q(a.csv) "
                                       "or die $!; open I, q(>), q(in)'; exit $?");
    pid_t child = (pid_t)atoi(file_content("pid"));
    moment_join(child);
    cr_assert_eq(write(go, "x\n", 2), 2);
    miss_what_is_last(child); /* what it sees is seen once more before it counts */
    miss_what_is_last(child);
    moment_leave(child);
    usleep(1000000); /* it would be in by now */
    cr_expect_lt(access("in", F_OK), 0, "beside another reader");
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(end_shell(shell), 0);
    cr_expect_eq(access("in", F_OK), 0);
    (void)puppet_end(other);
    (void)close(go);
}
