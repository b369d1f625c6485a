/* Programs that call flock themselves: on their data file, which is their own
 * business, and on sidecars (contract H2, H4, O4, W4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(flocks, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define SAYS(expected, call)                                                                       \
    cr_expect_eq(puppet_call(puppet, call), expected, call ": %ld", puppet->result)

/* flock PUPPET'S NUMBER: 1 LOCK_SH, 2 LOCK_EX, 8 LOCK_UN */
Test(flocks, a_data_file_that_is_locked_itself) {
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 3; i++) {
        SAYS(3, "open a.csv 2");
        SAYS(0, "flock 3 2");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        SAYS(0, "flock 3 1");
        SAYS(0, "flock 3 2");
        SAYS(4, "dup 3");
        SAYS(0, "close 3");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        SAYS(0, "close 4");
        cr_expect_eq(lock_state("a.csv"), FREE, "round %d", i);
        SAYS(0, "list_above");
    }
    (void)puppet_end(puppet);
}

Test(flocks, unlocking_the_data_file_is_not_closing_it) {
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start("*.csv", NULL);
    SAYS(3, "open a.csv 2");
    SAYS(0, "flock 3 2");
    SAYS(0, "flock 3 8");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    SAYS(0, "flock 3 8");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    SAYS(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

Test(flocks, unlocking_the_sidecar_leaves_the_hold_of_the_file) {
    put_file("a.csv", "1\n");
    struct puppet *puppet = puppet_start("*.csv", NULL);
    SAYS(3, "open a.csv 2");
    SAYS(4, "open a.csv.lock 2");
    SAYS(0, "flock 4 2");
    SAYS(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "the program's own lock");
    SAYS(0, "flock 4 8");
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* The program need not wait for itself, not even for a moment. */
Test(flocks, its_own_lock_is_no_reason_to_wait) {
    static const char *const rules[] = {"*.csv timeout=0", "*.csv nested=wait",
                                        "*.csv timeout=0 readers=exclusive"};
    put_file("a.csv", "1\n");
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct puppet *puppet = puppet_start(rules[i], NULL);
        SAYS(3, "open a.csv.lock 66 0644");
        SAYS(0, "flock 3 2");
        SAYS(4, "open a.csv 2");
        SAYS(5, "open a.csv 0");
        SAYS(0, "close 3");
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "%s", rules[i]);
        SAYS(0, "close 4");
        SAYS(0, "close 5");
        cr_expect_eq(lock_state("a.csv"), FREE, "%s", rules[i]);
        (void)puppet_end(puppet);
    }
}

/* But what it may only read, it may not write by: somebody else has it as well. */
Test(flocks, its_own_shared_lock_is_one_for_reading_only) {
    put_file("a.csv", "1\n");
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv timeout=0", "AUTOLOCK_LOG=log", NULL);
    SAYS(3, "open a.csv.lock 2");
    SAYS(0, "flock 3 1");
    SAYS(-1, "open a.csv 2");
    cr_expect_eq(puppet->error, EBUSY);
    SAYS(4, "open a.csv 0");
    stranger_leaves(stranger);
    SAYS(5, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    (void)puppet_end(puppet);
}

Test(flocks, python_locks_its_file_over_and_over) {
    cr_expect_eq(run_shell("*.csv", "exec /usr/bin/python3 -c '\n"
                                    "import fcntl, subprocess, os\n"
                                    "env = dict(os.environ); del env[\"LD_PRELOAD\"]\n"
                                    "for i in range(5):\n"
                                    "    with open(\"p.csv\", \"a\") as f:\n"
                                    "        fcntl.flock(f, fcntl.LOCK_EX)\n"
                                    "        f.write(\"x\\n\")\n"
                                    "    subprocess.run([\"flock\", \"-n\", \"p.csv.lock\", "
                                    "\"true\"], env=env, check=True)\n'"),
                 0);
    cr_expect_str_eq(file_content("p.csv"), "x\nx\nx\nx\nx\n");
}

/* W4: a handler without SA_RESTART ends the wait of flock, one with it does not. */
Test(flocks, a_signal_ends_the_wait_on_a_sidecar) {
    put_file("a.csv", "1\n");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    SAYS(3, "open a.csv.lock 2");
    (void)puppet_call(puppet, "handle %d 0", SIGUSR1);
    puppet_tell(puppet, "flock 3 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_expect_eq(puppet_result(puppet), -3, "the handler");
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    (void)puppet_call(puppet, "handle %d %d", SIGUSR1, SA_RESTART);
    puppet_tell(puppet, "flock 3 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_expect_eq(puppet_result(puppet), -3, "the handler");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 0);
    (void)puppet_end(puppet);
}

/* O4, W2: flock(1) on the sidecar in a child of the one who has the file open and
 * waits for it. (What comes last in a shell would take its place.) */
Test(flocks, the_child_of_the_holder_passes) {
    put_file("a.csv", "1\n");
    cr_expect_eq(run_shell("*.csv", "exec 3>>a.csv; flock a.csv.lock true; echo $? >b"), 0);
    cr_expect_str_eq(file_content("b"), "0\n");
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; flock -s a.csv.lock true; echo $? >>b"), 0);
    cr_expect_str_eq(file_content("b"), "0\n0\n");
}

/* nested=wait: not even then. */
Test(flocks, the_child_of_the_holder_may_be_made_to_wait) {
    put_file("a.csv", "1\n");
    cr_expect_eq(
        run_shell("*.csv nested=wait", "exec 3>>a.csv; flock -w 1 a.csv.lock true; echo $? >b"), 0);
    cr_expect_str_eq(file_content("b"), "1\n");
}
