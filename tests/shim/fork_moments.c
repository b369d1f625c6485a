/* A fork while another thread is between the two steps of a call: the child keeps what
 * it has the file by, and nothing else (contract H2, H5). */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    cr_assert_eq(mkfifo("go", 0600), 0);
    puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
}

static void finish(void) {
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_eq(lock_state("a.csv"), FREE, "still locked after the end");
}

TestSuite(fork_moments, .init = begin, .fini = scenario_end, .timeout = 120);

/* A thread that makes a call about descriptor 3 is stopped right after the system call
 * that changes it (whose argument `which` is 3). */
static pid_t stop_behind(const char *call, long one, long other, int which) {
    CALL(0, "%s", call);
    pid_t thread = moment_other_thread(puppet->pid);
    moment_join(thread);
    int go = open("go", O_RDWR | O_CLOEXEC);
    cr_assert_eq(write(go, "", 1), 1);
    for (long number = 0; (number != one && number != other) || moment_arguments[which] != 3;) {
        number = moment_next(thread);
        cr_assert_geq(number, 0);
    }
    cr_assert(moment_after_this(thread));
    close(go);
    return thread;
}

/* Nobody has it but a child that lives on, and that has not got it. */
static void expect_free_beside_child(void) {
    for (int i = 0; i < 3000 && lock_state("a.csv") != FREE; i++) {
        usleep(10000);
    }
    cr_expect_eq(lock_state("a.csv"), FREE, "the child keeps it");
    CALL(0, "end_kin");
    CALL(0, "list_above");
}

/* The descriptor is closed, the hold not yet released. */
Scenario(fork_moments, in_the_middle_of_a_close) {
    pid_t thread = stop_behind("thread_close_on go 3", SYS_close, SYS_close, 0);
    cr_assert_gt(puppet_call(puppet, "kin"), 0);
    moment_leave(thread);
    expect_free_beside_child();
}

/* Another file is there in its place. The fork waits for that to be known. */
Scenario(fork_moments, in_the_middle_of_a_dup2_onto_the_last) {
#ifdef SYS_dup2
    const long dup2_number = SYS_dup2;
#else
    const long dup2_number = SYS_dup3;
#endif
    CALL(4, "open /dev/null 2");
    pid_t thread = stop_behind("thread_dup2_on go 4 3", dup2_number, SYS_dup3, 1);
    puppet_tell(puppet, "kin");
    (void)puppet_first(&puppet, 1, 50);
    moment_leave(thread);
    cr_assert_gt(puppet_result(puppet), 0);
    expect_free_beside_child();
}
