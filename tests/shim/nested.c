/* Waiting for one who waits for us would be for ever (contract W2, O4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(nested, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 180);

/* W2: the first thing that people try. */
#define PYTHON                                                                                     \
    "timeout 30 /usr/bin/python3 -c '"                                                             \
    "import filelock, os, subprocess, sys\n"
#define TOOL                                                                                       \
    "env=dict(os.environ, LD_PRELOAD=\"" TEST_PRELOAD "\", AUTOLOCK_PATTERNS=\"*.csv\")\n"         \
    "tool=[\"" TEST_LEGACY "\", \"a.csv\", \"3\"]\n"

Test(nested, a_python_holder_that_runs_the_tool) {
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

Test(nested, an_ancestor_at_work_is_waited_for) {
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

Test(nested, nested_may_fail_instead) {
    cr_expect_eq(run_shell(NULL, "exec 9>a.csv.lock; flock 9; LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS='*.csv nested=fail' AUTOLOCK_LOG=log "
                                 "cat a.csv 9>&- 2>err"),
                 1);
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
    cr_expect(strstr(file_content("log"), "; nested=pass in the rule *.csv lets it in\n"), "%s",
              file_content("log"));
}

/* O4 in each order, with flock(1) and with the program itself. */
Test(nested, flock_around_a_program) {
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
                 " a.csv 1; flock -u 9 && cat a.csv >copy'",
                 shells[i]);
        cr_expect_eq(run_shell("*.csv", command), 0, "%s", shells[i]);
        /* Nor do programs that it starts lose the descriptor, or the file. */
        snprintf(command, sizeof(command),
                 "%s -c 'exec 9>>a.csv.lock; flock 9; exec >>a.csv; echo three; "
                 "perl -e \"open F, q(>&=9) or die; print q(four); close F or die\"; "
                 "flock -n 9 && flock -u 9; echo $? >status'",
                 shells[i]);
        cr_expect_eq(run_shell("*.csv", command), 0, "%s", shells[i]);
        cr_expect_str_eq(file_content("status"), "0\n", "%s", shells[i]);
        cr_expect_eq(lock_state("a.csv"), FREE);
    }
}

Test(nested, a_program_that_locks_its_own_sidecar) {
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

/* In both orders, with the program itself under the shim. */
Test(nested, a_python_program_that_locks_for_itself) {
    cr_expect_eq(run_shell("*.csv", PYTHON TOOL "with filelock.FileLock(\"a.csv.lock\"):\n"
                                                "    file = open(\"a.csv\", \"r+\")\n"
                                                "    subprocess.check_call(tool)\n"
                                                "    file.close()\n"
                                                "file = open(\"a.csv\", \"r+\")\n"
                                                "with filelock.FileLock(\"a.csv.lock\"):\n"
                                                "    subprocess.check_call(tool)\n"
                                                "file.close()\n"
                                                "subprocess.check_call(tool)'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "9\n");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

/* Parents that are never quiet for long: they wake to look whether their child has
 * ended. The last one has other children, too. */
Test(nested, holders_that_look_after_their_child) {
    static const char *const waits[] = {
        "while child.poll() is None: time.sleep(0.01)",
        "while child.poll() is None: select.select([], [], [], 0.01)",
        "while os.waitpid(child.pid, os.WNOHANG)[0] == 0: time.sleep(0.002)",
    };
    char command[1200];
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        put_file("a.csv", "0\n");
        snprintf(command, sizeof(command),
                 PYTHON TOOL "import time, select\n"
                             "with filelock.FileLock(\"a.csv.lock\"):\n"
                             "    child = subprocess.Popen(tool, env=env)\n"
                             "    %s'",
                 waits[i]);
        cr_expect_eq(run_shell(NULL, command), 0, "%s", waits[i]);
        cr_expect_str_eq(file_content("a.csv"), "3\n", "%s", waits[i]);
    }
    put_file("a.csv", "0\n");
    cr_expect_eq(run_shell(NULL, "exec 9>a.csv.lock; flock 9; LD_PRELOAD=" TEST_PRELOAD
                                 " AUTOLOCK_PATTERNS='*.csv' " TEST_LEGACY " a.csv 3 9>&- & p=$!; "
                                 "while kill -0 $p 2>err; do sleep 0.1; done; wait $p"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "3\n");
}

/* The other side, which wins in doubt: one that works a little now and then is at
 * work, however much of the time it is asleep. Had its child been let in, that
 * would have been before it writes, after twice the time that would take. */
Test(nested, an_ancestor_that_works_now_and_then) {
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "import time\n"
                                             "lock = filelock.FileLock(\"a.csv.lock\")\n"
                                             "lock.acquire()\n"
                                             "other = subprocess.Popen([\"sleep\", \"60\"])\n"
                                             "child = subprocess.Popen(tool, env=env)\n"
                                             "end = time.monotonic() + 8\n"
                                             "while time.monotonic() < end:\n"
                                             "    turn = time.thread_time() + 0.002\n"
                                             "    while time.thread_time() < turn: pass\n"
                                             "    time.sleep(0.008)\n"
                                             "early = open(\"a.csv\").read() != \"0\\n\"\n"
                                             "open(\"a.csv\", \"w\").write(\"10\\n\")\n"
                                             "lock.release()\n"
                                             "child.wait()\n"
                                             "other.kill()\n"
                                             "sys.exit(early)'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "13\n");
}

/* Nor is one with several children quiet, any of which it may be waiting for, if it
 * wakes and works a few times a second. */
Test(nested, an_ancestor_of_several_children) {
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "import time\n"
                                             "lock = filelock.FileLock(\"a.csv.lock\")\n"
                                             "lock.acquire()\n"
                                             "other = subprocess.Popen([\"sleep\", \"60\"])\n"
                                             "child = subprocess.Popen(tool, env=env)\n"
                                             "end = time.monotonic() + 3\n"
                                             "while time.monotonic() < end:\n"
                                             "    turn = time.thread_time() + 0.03\n"
                                             "    while time.thread_time() < turn: pass\n"
                                             "    time.sleep(0.3)\n"
                                             "early = open(\"a.csv\").read() != \"0\\n\"\n"
                                             "open(\"a.csv\", \"w\").write(\"10\\n\")\n"
                                             "lock.release()\n"
                                             "child.wait()\n"
                                             "other.kill()\n"
                                             "sys.exit(early)'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "13\n");
}

/* Once it has been watched for long enough it counts as waiting, as long as it does not
 * run: what the later opens of a child say tells which of them were watched anew. */
Test(nested, an_ancestor_that_has_not_woken) {
    put_file("child.py", "import os\n"
                         "def look():\n"
                         "    for i in range(2): open(\"a.csv\").close()\n"
                         "look(); os.write(1, b\"x\"); os.read(0, 1); look()\n");
    cr_expect_eq(
        run_shell(NULL, PYTHON TOOL
                  "env.update(AUTOLOCK_LOG=\"log\", AUTOLOCK_LOG_LEVEL=\"debug\")\n"
                  "lock = filelock.FileLock(\"a.csv.lock\")\n"
                  "lock.acquire()\n"
                  "other = subprocess.Popen([\"sleep\", \"60\"])\n"
                  "child = subprocess.Popen([sys.executable, \"child.py\"], env=env, "
                  "stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)\n"
                  "child.stdout.read(1); child.stdin.write(b\"x\"); status = child.wait()\n"
                  "other.kill()\n"
                  "sys.exit(status)'"),
        0);
    cr_expect_eq(run_shell(NULL, "grep -o 'ancestor has it and .*waits' log | "
                                 "sed 's/.* and //' | tr '\\n' ' ' >seen"),
                 0);
    cr_expect_str_eq(file_content("seen"), "waits still waits waits still waits ", "%s",
                     file_content("log"));
}

/* It waits for children, and works when one of them has told it something: the others,
 * which wait for their turn, have to see it waiting again. */
Test(nested, an_ancestor_that_works_when_a_child_has_spoken) {
    put_file("child.pl", "open(my $f, '+<', 'a.csv') or die; sysread $f, my $n, 9;\n"
                         "sysseek $f, 0, 0; syswrite $f, $n + 1;\n"
                         "syswrite STDOUT, 'x'; sysread STDIN, $n, 1;\n");
    cr_expect_eq(run_shell(NULL, PYTHON TOOL
                           "import time\n"
                           "lock = filelock.FileLock(\"a.csv.lock\")\n"
                           "lock.acquire()\n"
                           "other = subprocess.Popen([\"sleep\", \"60\"])\n"
                           "hear, say = os.pipe(), os.pipe()\n"
                           "for i in range(3): subprocess.Popen([\"perl\", \"child.pl\"], env=env, "
                           "stdin=say[0], stdout=hear[1])\n"
                           "for i in range(3):\n"
                           "    os.read(hear[0], 1); os.write(say[1], b\"x\")\n"
                           "    n = int(open(\"a.csv\").read())\n"
                           "    for j in range(30): time.sleep(0.01)\n"
                           "    open(\"a.csv\", \"w\").write(\"%d\" % (n + 10))\n"
                           "other.kill()'"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "33");
}

/* Three subshells of a bash that counts too, with what a shell has itself (no
 * tool is waited for), lose nothing. */
#define COUNT                                                                                      \
    "count() { for i in {1..30}; do exec 3<>a.csv; read -r n <&3; echo $((n + 1)) >a.csv; "        \
    "exec 3>&-; done; }; "

Test(nested, subshells_of_a_shell_that_counts_too) {
    cr_expect_eq(run_shell("*.csv", COUNT "for s in 1 2 3; do count & done; count; wait"), 0);
    cr_expect_str_eq(file_content("a.csv"), "120\n");
    /* And with tools, which are the holder's children as well. */
    put_file("a.csv", "0\n");
    cr_expect_eq(run_shell("*.csv", "count() { for i in {1..10}; do " TEST_LEGACY
                                    " a.csv 1; done; }; for s in 1 2 3; do count & done; "
                                    "for i in {1..5}; do exec 3<>a.csv; read -r n <&3; "
                                    "echo $((n + 1)) >a.csv; exec 3>&-; done; wait"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "35\n");
}

/* A tool that locks the same sidecar, and was given the shell's descriptor of it. */
Test(nested, flock_within_flock) {
    cr_expect_eq(run_shell("*.csv", "exec 9>a.csv.lock; flock 9; echo 1 >a.csv; "
                                    "flock a.csv.lock " TEST_LEGACY " a.csv 1; exit $?"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "2\n");
}

/* One who waits for an ancestor at work is told what to do. */
Test(nested, a_wait_for_an_ancestor_says_so) {
    cr_expect_eq(run_shell(NULL, PYTHON TOOL "import time\n"
                                             "env.update(AUTOLOCK_LOG=\"log\", AUTOLOCK_PATTERNS="
                                             "\"*.csv warn-after=20ms\")\n"
                                             "lock = filelock.FileLock(\"a.csv.lock\")\n"
                                             "lock.acquire()\n"
                                             "child = subprocess.Popen(tool, env=env)\n"
                                             "end = time.monotonic() + 30\n"
                                             "while not os.path.exists(\"log\") and "
                                             "time.monotonic() < end: pass\n"
                                             "lock.release()\n"
                                             "sys.exit(child.wait())'"),
                 0);
    cr_expect(strstr(file_content("log"), "(python3), uid "), "%s", file_content("log"));
    cr_expect(
        strstr(file_content("log"), "; it has started this process and seems to be at work: "),
        "%s", file_content("log"));
}

/* Another pid namespace: with its parent's /proc as ever; with a /proc of its own,
 * or none, the ancestor is not seen, and only the time ends the wait. */
Test(nested, namespaces_and_no_proc) {
    if (geteuid() != 0 || run_shell(NULL, "unshare -pf --mount-proc true") != 0) {
        scenario_skip("needs a pid namespace with its own /proc (root, in no plain chroot)");
    }
#define HOLD "exec 9>a.csv.lock; flock 9; export AUTOLOCK_LOG=log; "
#define UNDER                                                                                      \
    "env LD_PRELOAD=" TEST_PRELOAD " 'AUTOLOCK_PATTERNS=*.csv timeout=1500ms warn-after=50ms' "
    cr_expect_eq(run_shell(NULL, HOLD "unshare -pf " UNDER TEST_LEGACY " a.csv 1 9>&-; exit $?"),
                 0);
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    (void)unlink("log");
    cr_expect_neq(run_shell(NULL, HOLD "unshare -pf --mount-proc " UNDER TEST_LEGACY
                                       " a.csv 1 9>&- 2>err; exit $?"),
                  0);
    cr_expect(strstr(file_content("log"), "a process that cannot be seen from here"), "%s",
              file_content("log"));
    cr_expect(strstr(file_content("log"), "timeout after 1.5 s"), "%s", file_content("log"));
    (void)unlink("log");
    cr_expect_neq(run_shell(NULL, HOLD
                            "unshare -m sh -c 'umount -l /proc; exec \"$@\"' sh " UNDER TEST_LEGACY
                            " a.csv 1 9>&- 2>err; exit $?"),
                  0);
    cr_expect(strstr(file_content("log"), "a process that cannot be seen from here"), "%s",
              file_content("log"));
    cr_expect(strstr(file_content("log"), "timeout after 1.5 s"), "%s", file_content("log"));
}
