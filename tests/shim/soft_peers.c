/* kind=soft among others: py-filelock's SoftFileLock, several at once, some of them
 * killed (contract P3, P4, W2, O4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/marker.h"

#define RULES "*.csv kind=soft warn-after=50ms"

static void finish(void) {
    cr_expect_not(is_there("a.csv.lock"), "still locked after the end");
}

TestSuite(soft_peers, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 300);

#define PYTHON                                                                                     \
    "timeout 60 /usr/bin/python3 -c '"                                                             \
    "import filelock, os, subprocess, sys\n"                                                       \
    "lock=filelock.SoftFileLock(\"a.csv.lock\")\n"                                                 \
    "env=dict(os.environ, LD_PRELOAD=\"" TEST_PRELOAD "\", "                                       \
    "AUTOLOCK_PATTERNS=\"*.csv kind=soft\")\n"                                                     \
    "tool=[\"" TEST_LEGACY "\", \"a.csv\", \"3\"]\n"

Scenario(soft_peers, py_filelock_keeps_us_out) {
    cr_assert_eq(mkfifo("go", 0600), 0);
    pid_t holder = start_shell(NULL, PYTHON "with lock:\n"
                                            "    open(\"held\",\"w\").close()\n"
                                            "    open(\"go\").read()\n"
                                            "    open(\"a.csv\",\"w\").write(\"7\\n\")'");
    for (int i = 0; i < 3000 && !is_there("held"); i++) {
        usleep(10000);
    }
    struct puppet *puppet = puppet_start(RULES, "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    put_file("go", "");
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect_eq(puppet_call(puppet, "read 3"), 2);
    cr_expect_str_eq(puppet->text, "7");
    cr_expect_eq(end_shell(holder), 0);
    cr_expect_eq(puppet_end(puppet), 0);
}

Scenario(soft_peers, we_keep_py_filelock_out) {
    struct puppet *puppet = puppet_start(RULES, NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(run_shell(NULL, PYTHON "try:\n"
                                        "    lock.acquire(timeout=0.2)\n"
                                        "except filelock.Timeout:\n"
                                        "    sys.exit(7)'"),
                 7);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(run_shell(NULL, PYTHON "with lock.acquire(timeout=20): pass'"), 0);
    cr_expect_eq(puppet_end(puppet), 0);
}

/* W2, with a marker that does not say whose it is (3.9). */
Scenario(soft_peers, a_python_holder_that_runs_the_tool) {
    cr_expect_eq(run_shell(NULL, PYTHON "with lock: sys.exit(subprocess.call(tool, env=env))'"), 0);
    cr_expect_str_eq(file_content("a.csv"), "3\n");
    cr_expect_eq(run_shell(RULES, PYTHON "with lock: sys.exit(subprocess.call(tool))'"), 0);
    cr_expect_str_eq(file_content("a.csv"), "6\n");
}

/* Two that are let in together still take turns. */
Scenario(soft_peers, children_of_a_holder_take_turns) {
    cr_expect_eq(run_shell(NULL, PYTHON
                           "with lock:\n"
                           "    children=[subprocess.Popen(tool, env=env) for i in range(4)]\n"
                           "    sys.exit(sum(child.wait() for child in children))'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "12\n");
}

/* O4: its own lock, by itself. */
Scenario(soft_peers, the_program_s_own_soft_lock) {
    cr_expect_eq(run_shell(RULES, PYTHON "for i in range(3):\n"
                                         "    with lock:\n"
                                         "        open(\"a.csv\",\"a\").write(\"x\")\n"
                                         "    assert not os.path.exists(\"a.csv.lock\")'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "0\nxxx");
}

/* Whose child is let in by a lock of this process, as long as that waits. */
static struct puppet *start_below_us(const char *rules) {
    plant("a.csv.lock", getpid(), this_host(), "");
    struct puppet *puppet = puppet_start(rules, "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3, "%s", file_content("log"));
    return puppet;
}

/* Their turn among themselves goes on in a child as the rule has it. */
Scenario(soft_peers, a_turn_is_inherited_as_a_lock_is) {
    struct puppet *one = start_below_us("*.csv kind=soft inherit=none");
    cr_assert_gt(puppet_call(one, "fork"), 0);
    cr_expect_eq(puppet_call(one, "close 3"), 0);
    struct puppet *other = puppet_start(RULES, NULL);
    cr_expect_eq(puppet_call(other, "open a.csv 2"), 3);
    cr_expect_eq(puppet_call(one, "end_child"), 0);
    cr_expect_eq(puppet_end(one), 0);
    cr_expect_eq(puppet_end(other), 0);
    cr_assert_eq(unlink("a.csv.lock"), 0);
}

/* Who has no turn because his parent has it, has nothing to keep. */
Scenario(soft_peers, who_is_let_in_twice_keeps_nothing) {
    struct puppet *puppet = start_below_us(RULES);
    cr_expect_eq(puppet_call(puppet, "child_leaks a.csv 2"), 0);
    cr_expect_eq(puppet_call(puppet, "child_leaks a.csv 0"), 0);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s", puppet->text);
    cr_expect_eq(puppet_end(puppet), 0);
    cr_assert_eq(unlink("a.csv.lock"), 0);
}

/* A number of another host means nobody here, whoever has the marker open. */
Scenario(soft_peers, another_host_s_process_is_none_of_ours) {
    int marker;
    struct puppet *puppet = puppet_start("*.csv kind=soft timeout=2s", "AUTOLOCK_LOG=log", NULL);
    plant("a.csv.lock", getpid(), "elsewhere.example", "1\n");
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_assert_geq(marker = open("a.csv.lock", O_RDONLY | O_CLOEXEC), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    close(marker);
    plant("a.csv.lock", puppet->pid, "elsewhere.example", "1\n");
    cr_expect_eq(puppet_call(puppet, "open a.csv.lock 0"), 3);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_str_eq(file_content("a.csv"), "0\n");
    cr_assert_eq(unlink("a.csv.lock"), 0);
}

#define CROWD                                                                                      \
    "for i in 1 2 3 4 5 6 7 8; do " TEST_LEGACY " a.csv 50 & done; "                               \
    "s=0; for j in $(jobs -p); do wait $j || s=1; done; exit $s"

Scenario(soft_peers, eight_at_once_lose_nothing) {
    cr_expect_eq(run_shell("*.csv kind=soft", CROWD), 0);
    cr_expect_str_eq(file_content("a.csv"), "400\n");
}

Scenario(soft_peers, together_with_py_filelock) {
    pid_t python =
        start_shell(NULL, PYTHON "for i in range(50):\n"
                                 "    with lock:\n"
                                 "        n=int(open(\"a.csv\").read())\n"
                                 "        open(\"a.csv\",\"w\").write(str(n+1)+\"\\n\")'");
    cr_expect_eq(run_shell("*.csv kind=soft", CROWD), 0);
    cr_expect_eq(end_shell(python), 0);
    cr_expect_str_eq(file_content("a.csv"), "450\n");
}

/* Counters that are killed in the middle, again and again, stop nobody; a number that
 * was read under the lock is whole. */
Scenario(soft_peers, some_are_killed) {
    cr_expect_eq(run_shell("*.csv kind=soft",
                           "for i in $(seq 20); do " TEST_LEGACY
                           " a.csv 1000000 & victim=$!; " TEST_LEGACY
                           " a.csv 2; kill -9 $victim; wait $victim 2>/dev/null; done; " TEST_LEGACY
                           " a.csv 1"),
                 0);
    cr_expect_gt(atol(file_content("a.csv")), 40);
    struct puppet *puppet = puppet_start(RULES, NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(puppet_end(puppet), 0);
}

/* Threads of one process that open and close at the same time share one hold, and
 * let go of it all the same. */
Scenario(soft_peers, threads_of_several_processes) {
    char script[] = "import threading\n"
                    "def work():\n"
                    "    for i in range(200):\n"
                    "        with open(\"a.csv\", \"a\") as f: f.write(\"x\")\n"
                    "threads=[threading.Thread(target=work) for i in range(4)]\n"
                    "for t in threads: t.start()\n"
                    "for t in threads: t.join()\n";
    put_file("threads.py", script);
    cr_expect_eq(run_shell("*.csv kind=soft",
                           "for i in 1 2 3; do /usr/bin/python3 threads.py & done; s=0; "
                           "for j in $(jobs -p); do wait $j || s=1; done; exit $s"),
                 0);
    cr_expect_eq(strlen(file_content("a.csv")), 2 + 3 * 4 * 200);
}

/* make, perl and others that start programs in their own ways. */
Scenario(soft_peers, programs_that_start_programs) {
    cr_expect_eq(run_shell("*.csv kind=soft",
                           "seq 12 | xargs -P 4 -I{} " TEST_LEGACY " a.csv 5 && "
                           "perl -e \"system(qw(" TEST_LEGACY " a.csv 5)) == 0 or exit 1\" && "
                           "/usr/bin/python3 -c 'import subprocess; "
                           "subprocess.check_call([\"" TEST_LEGACY "\", \"a.csv\", \"5\"], "
                           "stderr=open(\"b.csv\",\"w\"))' && sort a.csv >b.csv"),
                 0);
    cr_expect_str_eq(file_content("b.csv"), "70\n");
    cr_expect_not(is_there("b.csv.lock"));
}
