/* Waiting: how long, what is said, and when waiting would be for ever
 * (contract W1, W2, W4, O4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
}

TestSuite(waiting, .init = begin, .fini = scenario_end, .timeout = 120);

Test(waiting, a_timeout_fails_with_EBUSY_and_says_so) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=200ms", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
    cr_expect(strstr(file_content("log"), "timeout after 200 ms"), "%s", file_content("log"));
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_eq(puppet_call(puppet, "handlers"), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    (void)puppet_end(puppet);
}

Test(waiting, a_timeout_may_go_on_and_says_so) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet =
        puppet_start("*.csv timeout=50ms on-timeout=open", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect(strstr(file_content("log"), "without a lock"), "%s", file_content("log"));
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(waiting, timeout_zero_does_not_wait) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=0", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "fopen a.csv r+"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(waiting, a_long_wait_names_the_holder) {
    char expected[64];
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    for (int i = 0; i < 3000 && !*file_content("log"); i++) {
        usleep(10000);
    }
    snprintf(expected, sizeof(expected), "a.csv: locked by pid %d (", (int)stranger.pid);
    cr_expect(strstr(file_content("log"), expected), "%s", file_content("log"));
    cr_expect(strncmp(file_content("log"), "autolock: waiting ", 18) == 0, "%s",
              file_content("log"));
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect(strstr(file_content("log"), "autolock: got "), "%s", file_content("log"));
    (void)puppet_end(puppet);
}

Test(waiting, signals_as_in_flock) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d %d", SIGUSR1, SA_RESTART), 0);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    /* One after the other: of two at once the kernel, too, restarts flock. */
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    cr_expect_eq(puppet_call(puppet, "signals"), 2);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_eq(puppet_call(puppet, "handlers"), 0);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* A signal that comes close to one of our own ticks, which end the same system
 * call, must not be taken for it. */
Test(waiting, no_signal_is_mistaken_for_a_tick) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    for (int i = 0; i < 100; i++) {
        puppet_tell(puppet, "open a.csv 2");
        wait_until_queued(puppet->pid);
        cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
        cr_assert_eq(puppet_result(puppet), -3);
        cr_assert_eq(puppet_result(puppet), -1, "round %d", i);
        cr_assert_eq(puppet->error, EINTR);
    }
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* W2: the first thing that people try. */
#define PYTHON                                                                                     \
    "timeout 30 /usr/bin/python3 -c '"                                                             \
    "import filelock, os, subprocess, sys\n"
#define TOOL                                                                                       \
    "env=dict(os.environ, LD_PRELOAD=\"" TEST_PRELOAD "\", AUTOLOCK_PATTERNS=\"*.csv\")\n"         \
    "tool=[\"" TEST_LEGACY "\", \"a.csv\", \"3\"]\n"

Test(waiting, a_python_holder_that_runs_the_tool) {
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "with filelock.FileLock(\"a.csv.lock\"):\n"
                                             "    sys.exit(subprocess.call(tool, env=env))'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "3\n");
    /* The same under the shim itself. */
    cr_expect_eq(run_shell("*.csv", PYTHON TOOL "with filelock.FileLock(\"a.csv.lock\"):\n"
                                                "    sys.exit(subprocess.call(tool))'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "6\n");
    /* And where Python looks after its child now and then (timeout=). */
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "with filelock.FileLock(\"a.csv.lock\"):\n"
                                             "    subprocess.run(tool, env=env, timeout=25)'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "9\n");
}

Test(waiting, an_ancestor_at_work_is_waited_for) {
    /* The holder counts busily until it sees that its child waits; then it
     * gives the lock back itself. Had the child been let in, its 1 would be
     * there when the holder writes its own. */
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "import time\n"
                                             "lock=filelock.FileLock(\"a.csv.lock\")\n"
                                             "lock.acquire()\n"
                                             "child=subprocess.Popen(tool, env=env)\n"
                                             "end=time.monotonic()+1\n"
                                             "while time.monotonic()<end: pass\n"
                                             "busy=open(\"a.csv\").read()\n"
                                             "open(\"a.csv\",\"w\").write(\"10\\n\")\n"
                                             "lock.release()\n"
                                             "sys.exit(child.wait() or busy!=\"0\\n\")'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "13\n");
}

Test(waiting, nested_may_fail_instead) {
    cr_expect_eq(run_shell(NULL, "exec 9>a.csv.lock; flock 9; LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS='*.csv nested=fail' AUTOLOCK_LOG=log "
                                 "cat a.csv 9>&- 2>err"),
                 1);
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
}

/* O4 in each order, with flock(1) and with the program itself. */
Test(waiting, flock_around_a_program) {
    static const char *const shells[] = {"bash", "dash"};
    for (int i = 0; i < 2; i++) {
        char command[400];
        snprintf(command, sizeof(command), "%s -c 'flock a.csv.lock " TEST_LEGACY " a.csv 2'",
                 shells[i]);
        put_file("a.csv", "0\n");
        cr_expect_eq(run_shell("*.csv", command), 0);
        cr_expect_str_eq(file_content("a.csv"), "2\n", "%s", shells[i]);
        snprintf(command, sizeof(command), "%s -c 'flock a.csv.lock echo one >>a.csv'", shells[i]);
        cr_expect_eq(run_shell("*.csv", command), 0);
        snprintf(command, sizeof(command),
                 "%s -c 'exec 9>a.csv.lock; flock 9; echo two >>a.csv; " TEST_LEGACY
                 " a.csv 1; flock -u 9; cat a.csv >copy'",
                 shells[i]);
        cr_expect_eq(run_shell("*.csv", command), 0);
        cr_expect_eq(lock_state("a.csv"), FREE);
    }
}

Test(waiting, a_program_that_locks_its_own_sidecar) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    /* First the lock, then the file. */
    cr_assert_eq(puppet_call(puppet, "open a.csv.lock 0102 0666"), 3);
    cr_assert_eq(puppet_call(puppet, "flock 3 2"), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(puppet, "close 4"), 0);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "its own lock must stay");
    cr_expect_eq(puppet_call(puppet, "flock 3 8"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    /* First the file, then the lock. */
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 4);
    cr_expect_eq(puppet_call(puppet, "flock 3 2"), 0);
    cr_expect_eq(puppet_call(puppet, "close 4"), 0);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "its descriptor is a reference");
    cr_expect_eq(puppet_call(puppet, "flock 3 8"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    (void)puppet_end(puppet);
}

/* O6. */
Test(waiting, an_upgrade_waits_for_the_other_readers) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(puppet, "close 4"), 0);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

Test(waiting, of_two_upgrades_the_second_fails) {
    struct puppet *one = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    struct puppet *two = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(one, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(two, "open a.csv 0"), 3);
    puppet_tell(one, "open a.csv 2");
    wait_until_queued(one->pid);
    /* The second to ask gets it, because the first gave its lock up to wait. */
    cr_expect_eq(puppet_call(two, "open a.csv 2"), 4);
    cr_expect_eq(puppet_call(two, "write 4 5"), 1);
    cr_expect_eq(puppet_call(two, "close 4"), 0);
    cr_expect_eq(puppet_call(two, "close 3"), 0);
    cr_expect_eq(puppet_result(one), -1);
    cr_expect_eq(one->error, EDEADLK);
    cr_expect_eq(lock_state("a.csv"), SHARED, "it keeps what it had");
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
    (void)puppet_end(one);
    (void)puppet_end(two);
}

Test(waiting, an_upgrade_past_its_timeout_keeps_the_shared_hold) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv timeout=100ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), SHARED);
    (void)puppet_end(puppet);
}
