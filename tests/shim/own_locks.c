/* Several who lock the sidecar themselves, or are let in together, still take turns
 * (contract O4, W2): threads, children, jobs of a shell. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/harness.h"

/* Adds one to the number in a.csv, which stays open for 0.1 s in between. */
static const char slow[] = "open(my $f, '+<', 'a.csv') or die; my $n = <$f>;\n"
                           "select(undef, undef, undef, 0.1);\n"
                           "seek($f, 0, 0); print $f $n + 1, \"\\n\"; close $f;\n";

/* The same by a descriptor of the sidecar of its own for each time. */
static const char work[] = "import fcntl, os, threading, time\n"
                           "def add():\n"
                           "    l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
                           "    fcntl.flock(l, fcntl.LOCK_EX)\n"
                           "    with open('a.csv', 'r+') as f:\n"
                           "        n = int(f.read()); time.sleep(0.002)\n"
                           "        f.seek(0); f.write(str(n + 1))\n"
                           "    os.close(l)\n"
                           "def work():\n"
                           "    for i in range(10): add()\n";

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
    put_file("slow.pl", slow);
    put_file("work.py", work);
}

TestSuite(own_locks, .init = begin, .fini = scenario_end, .timeout = 180);

#define PYTHON "timeout 60 /usr/bin/python3 "

static void counts_to(const char *expected, const char *command) {
    cr_expect_eq(run_shell("*.csv", command), 0, "%s", command);
    char content[20];
    snprintf(content, sizeof(content), "%s", file_content("a.csv"));
    content[strcspn(content, "\n")] = '\0';
    cr_expect_str_eq(content, expected, "%s: %s", command, content);
}

Test(own_locks, threads) {
    put_file("t.py", "from work import *\n"
                     "ts = [threading.Thread(target=work) for i in range(4)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n");
    counts_to("40", PYTHON "t.py");
}

Test(own_locks, threads_while_another_has_the_file_open) {
    put_file("t.py", "from work import *\n"
                     "keep = open('a.csv', 'r+')\n"
                     "ts = [threading.Thread(target=work) for i in range(4)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n");
    counts_to("40", PYTHON "t.py");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Test(own_locks, children_of_a_reader) {
    put_file("c.py", "from work import *\n"
                     "keep = open('a.csv')\n"
                     "pids = []\n"
                     "for i in range(4):\n"
                     "    pids.append(os.fork())\n"
                     "    if pids[-1] == 0:\n"
                     "        work(); os._exit(0)\n"
                     "for p in pids:\n"
                     "    assert os.waitpid(p, 0)[1] == 0\n");
    counts_to("40", PYTHON "c.py");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

/* In either order: what is open for reading does not keep its own lock out. */
Test(own_locks, a_reader_that_locks) {
    cr_expect_eq(run_shell("*.csv", "exec 3<a.csv; exec 9>a.csv.lock; flock 9; echo 1 >>a.csv"), 0);
    cr_expect_str_eq(file_content("a.csv"), "0\n1\n");
}

Test(own_locks, a_reader_whose_child_locks) {
    put_file("a.csv", "1\n2\n");
    cr_expect_eq(run_shell("*.csv", "while read n; do flock a.csv.lock sh -c \"echo $n >>out\"; "
                                    "done <a.csv"),
                 0);
    cr_expect_str_eq(file_content("out"), "1\n2\n");
}

Test(own_locks, a_lock_that_does_not_wait) {
    struct puppet *reader = puppet_start("*.csv", NULL), *other = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(reader, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(other, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(reader, "open a.csv.lock 2"), 4);
    cr_expect_eq(puppet_call(reader, "flock 4 6"), -1, "LOCK_EX | LOCK_NB");
    (void)puppet_end(other);
    cr_expect_eq(puppet_call(reader, "flock 4 6"), 0);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    (void)puppet_end(reader);
}

Test(own_locks, jobs_of_a_shell_that_has_the_file_open) {
    put_file("count", "0\n");
    put_file("j.sh", "exec 5>>a.csv\n"
                     "for i in 1 2 3 4; do\n"
                     "    ( flock 9; read n <count; sleep 0.1; echo $((n + 1)) >count ) "
                     "9>a.csv.lock &\n"
                     "done\n"
                     "wait\n");
    cr_expect_eq(run_shell("*.csv", "sh j.sh"), 0);
    cr_expect_str_eq(file_content("count"), "4\n");
}

/* All are let in by the holder, which waits for them: one by one. */
Test(own_locks, children_of_a_holder_that_waits) {
    put_file("h.py", "import fcntl, os, subprocess\n"
                     "l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX)\n"
                     "ps = [subprocess.Popen(['perl', 'slow.pl']) for i in range(3)]\n"
                     "assert [p.wait() for p in ps] == [0, 0, 0]\n");
    counts_to("3", PYTHON "h.py");
}

/* One that wakes whenever one of them ends is a holder that waits, not a circle. */
Test(own_locks, a_holder_that_wakes_now_and_then) {
    put_file("h.py", "import fcntl, os, subprocess\n"
                     "l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX)\n"
                     "sleeps = [subprocess.Popen(['sleep', str(0.3 * i)]) for i in range(1, 5)]\n"
                     "ps = [subprocess.Popen(['perl', 'slow.pl']) for i in range(2)]\n"
                     "assert [p.wait() for p in sleeps + ps] == [0] * 6\n");
    counts_to("2", PYTHON "h.py");
}

/* Locks of the whole sidecar, by fcntl as well, are met by none of ours. */
Test(own_locks, with_record_locks_too) {
    static const char *const orders[][2] = {{"flock", "lockf"}, {"lockf", "flock"}};
    for (int i = 0; i < 2; i++) {
        char script[400];
        snprintf(script, sizeof(script),
                 "import fcntl, os\n"
                 "f = open('a.csv', 'a'); l = os.open('a.csv.lock', os.O_RDWR)\n"
                 "fcntl.%s(l, fcntl.LOCK_EX); fcntl.%s(l, fcntl.LOCK_EX)\n",
                 orders[i][0], orders[i][1]);
        put_file("l.py", script);
        cr_expect_eq(run_shell("*.csv", PYTHON "l.py"), 0, "%s first", orders[i][0]);
    }
    put_file("l.py", "import fcntl\n"
                     "f = open('a.csv', 'a'); l = open('a.csv.lock', 'r+')\n"
                     "fcntl.lockf(l, fcntl.LOCK_EX)\n");
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv; " PYTHON "l.py"), 0, "let in");
}

/* As flock(2): the shared lock is given up before the exclusive one is waited for. */
Test(own_locks, two_who_want_more) {
    put_file("m.py", "import fcntl, os, threading\n"
                     "f = open('a.csv', 'a'); b = threading.Barrier(2)\n"
                     "def w():\n"
                     "    l = os.open('a.csv.lock', os.O_RDWR); fcntl.flock(l, fcntl.LOCK_SH)\n"
                     "    b.wait(); fcntl.flock(l, fcntl.LOCK_EX); os.close(l)\n"
                     "ts = [threading.Thread(target=w) for i in range(2)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "m.py"), 0);
}

Test(own_locks, unlocked_by_another_process) {
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv 9>a.csv.lock; flock 9; flock -u 9; "
                                    "(timeout 30 flock 8) 8>a.csv.lock"),
                 0);
}

/* py-filelock never waits, but asks again and again. */
Test(own_locks, who_asks_again_and_again_below_a_holder) {
    put_file("lock.py", "from filelock import FileLock\n"
                        "with FileLock('a.csv.lock'): open('a.csv', 'a').write('1\\n')\n");
    put_file("s.py", "import subprocess\n"
                     "with open('a.csv', 'a') as f:\n"
                     "    subprocess.run(['/usr/bin/python3', 'lock.py'], check=True)\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "s.py"), 0);
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv 9>a.csv.lock; flock -n 9"), 0);
    cr_expect_str_eq(file_content("a.csv"), "0\n1\n");
}

Test(own_locks, two_readers_that_ask_again_and_again) {
    put_file("r.py", "import os, sys, time\n"
                     "from filelock import FileLock\n"
                     "r = open('a.csv'); open('ready' + sys.argv[1], 'w')\n"
                     "while not os.path.exists('ready' + sys.argv[2]): time.sleep(0.01)\n"
                     "with FileLock('a.csv.lock'): open('a.csv', 'a').write('x')\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "r.py 1 2 & " PYTHON "r.py 2 1 && wait $!"), 0);
    cr_expect_str_eq(file_content("a.csv"), "0\nxx");
}

/* Who is let in, and then locks the sidecar as well, or the other way round. */
Test(own_locks, one_who_is_let_in_and_locks) {
    put_file("w.py", "import fcntl, os\n"
                     "f = open('a.csv', 'a')\n"
                     "l = os.open('a.csv.lock', os.O_RDWR)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
                     "f.write('1\\n'); f.close(); os.close(l)\n"
                     "l = os.open('a.csv.lock', os.O_RDWR)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX)\n"
                     "open('a.csv', 'a').write('2\\n')\n");
    cr_expect_eq(run_shell("*.csv", "exec 5>>a.csv; " PYTHON "w.py"), 0);
    cr_expect_str_eq(file_content("a.csv"), "0\n1\n2\n");
}

/* Whoever passes below one who has passed. */
Test(own_locks, a_child_of_a_child_that_waits) {
    put_file("h.py", "import fcntl, os, subprocess\n"
                     "l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX)\n"
                     "subprocess.run(['sh', '-c', 'exec 5<>a.csv; perl slow.pl; perl slow.pl'], "
                     "check=True)\n");
    counts_to("2", PYTHON "h.py");
}

/* A thread that only reads is in nobody's way, and lets nobody in. */
Test(own_locks, threads_beside_one_that_reads) {
    put_file("t.py", "from work import *\n"
                     "stop = False\n"
                     "def read():\n"
                     "    while not stop: open('a.csv').close()\n"
                     "def many():\n"
                     "    for i in range(10): work()\n"
                     "r = threading.Thread(target=read); r.start()\n"
                     "ts = [threading.Thread(target=many) for i in range(4)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n"
                     "stop = True; r.join()\n");
    counts_to("400", PYTHON "t.py");
}

/* A thread waits for another one's lock of its own, who opens the file and gives the
 * lock back, but not the file. */
Test(own_locks, a_thread_that_waits_when_the_file_is_opened) {
    put_file("t.py", "import fcntl, os, threading\n"
                     "l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
                     "fcntl.flock(l, fcntl.LOCK_EX)\n"
                     "got = threading.Event()\n"
                     "def wait():\n"
                     "    fcntl.flock(os.open('a.csv.lock', os.O_RDWR), fcntl.LOCK_EX); got.set()\n"
                     "threading.Thread(target=wait, daemon=True).start()\n"
                     "assert not got.wait(0.2)\n"
                     "f = open('a.csv', 'r+'); assert not got.wait(0.2)\n"
                     "os.close(l); assert got.wait(30)\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "t.py"), 0);
}

/* What somebody else might do. */
#define SEEN                                                                                       \
    "import fcntl, os, subprocess\n"                                                               \
    "def may(how): return subprocess.call(['flock', '-n' + how, 'a.csv.lock', 'true'],\n"          \
    "    env=dict(os.environ, AUTOLOCK='off')) == 0\n"

/* Its shared hold, which a mapping has, ends as that of an open file does. */
Test(own_locks, a_mapped_reader_that_locks) {
    put_file("m.py",
             SEEN "import mmap\n"
                  "def map(f): return mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)\n"
                  "f = open('a.csv', 'rb'); m = map(f); f.close()\n"
                  "assert may('s') and not may('x')\n"
                  "l = os.open('a.csv.lock', os.O_RDWR); fcntl.flock(l, fcntl.LOCK_EX)\n"
                  "assert not may('s')\n"
                  "os.close(l); assert may('x')\n"
                  "f = open('a.csv', 'rb'); assert may('s') and not may('x')\n"
                  "m2 = map(f); f.close(); assert may('s') and not may('x')\n"
                  "m.close(); m2.close(); assert may('x')\n"
                  "f = open('a.csv', 'r+'); assert not may('s')\n"
                  "f.close(); assert may('x')\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "m.py"), 0);
}

/* The shell's descriptor, which flock(1) has locked, keeps the lock when the file is
 * closed, until it is closed itself or unlocked. In either order. */
Test(own_locks, a_shell_that_closes_the_file_first) {
    put_file("s.sh", "free() { AUTOLOCK=off flock -n a.csv.lock true 9>&-; }\n"
                     "exec 9>a.csv.lock; flock 9; exec 3>>a.csv; exec 3>&-; free && exit 1\n"
                     "exec 9>&-; free || exit 2\n"
                     "exec 3>>a.csv; exec 9>a.csv.lock; flock 9; exec 3>&-; free && exit 3\n"
                     "echo 1 >>a.csv || exit 4; free && exit 5; exec 9>&-; free || exit 6\n"
                     "exec 3>>a.csv; exec 9>a.csv.lock; flock 9; exec 3>&-; flock -u 9\n"
                     "true | true; free || exit 7; exec 9>&-; exit 0\n");
    static const char *const shells[] = {"bash s.sh", "dash s.sh"};
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(run_shell("*.csv", shells[i]), 0, "%s", shells[i]);
    }
    /* One that it was started with; and unlocked, it is noticed without a fork. */
    put_file("i.sh", "free() { AUTOLOCK=off flock -n a.csv.lock true 9>&-; }\n"
                     "exec 3>>a.csv; flock 9; exec 3>&-; free; echo $? >held\n"
                     "flock -u 9; exec 4<i.sh 4<&-; echo >unlocked; read x <end\n");
    cr_expect_eq(run_shell("*.csv", "mkfifo held unlocked end"), 0);
    pid_t shell = start_shell("*.csv", "exec 9>a.csv.lock; exec bash i.sh");
    cr_expect_str_eq(file_content("held"), "1\n");
    cr_expect_str_eq(file_content("unlocked"), "\n");
    cr_expect_eq(lock_state("a.csv"), FREE);
    put_file("end", "x\n");
    cr_expect_eq(end_shell(shell), 0);
}

/* Who has it shared by a lock of his own, and opens it for writing, is a reader that
 * wants more: he gets it alone when nobody else reads. */
Test(own_locks, a_shared_lock_and_an_open_for_writing) {
    static const char *const orders[] = {
        "f = open('a.csv', 'r+'); assert not may('s'); f.close(); os.close(l)",
        "f = open('a.csv', 'r+'); os.close(l); assert not may('s'); f.close()",
        "f = open('a.csv', 'r+'); fcntl.flock(l, 8); assert not may('s'); f.close()",
        "g = open('a.csv'); f = open('a.csv', 'r+'); g.close(); os.close(l); f.close()",
        "g = open('a.csv'); os.close(l); f = open('a.csv', 'r+'); g.close(); f.close()",
        "g = open('a.csv'); f = open('a.csv', 'r+'); fcntl.flock(l, 8); f.close(); g.close()"};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        char script[600];
        snprintf(script, sizeof(script),
                 SEEN "l = os.open('a.csv.lock', os.O_RDWR | os.O_CREAT); fcntl.flock(l, 1)\n"
                      "%s\nassert may('x')\n",
                 orders[i]);
        put_file("s.py", script);
        cr_expect_eq(run_shell("*.csv", PYTHON "s.py"), 0, "%s", orders[i]);
    }
    /* Another reader is waited for; and what he has written meanwhile counts. */
    struct puppet *two[] = {puppet_start("*.csv", NULL), puppet_start("*.csv", NULL)};
    cr_assert_eq(puppet_call(two[0], "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(two[1], "open a.csv.lock 2"), 3);
    cr_assert_eq(puppet_call(two[1], "flock 3 1"), 0);
    puppet_tell(two[1], "open a.csv 2");
    cr_expect_eq(puppet_first(&two[1], 1, 300), -1);
    cr_expect_eq(puppet_call(two[0], "close 3"), 0);
    cr_expect_eq(puppet_result(two[1]), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    (void)puppet_end(two[0]);
    (void)puppet_end(two[1]);
}

/* Unlocked by a duplicate of what has joined the hold. */
Test(own_locks, unlocked_by_a_duplicate) {
    put_file("u.py", SEEN "f = open('a.csv', 'a')\n"
                          "l = os.open('a.csv.lock', os.O_RDWR); d = os.dup(l)\n"
                          "m = os.open('a.csv.lock', os.O_RDWR)\n"
                          "fcntl.flock(l, 2)\n"
                          "fcntl.flock(d, 8); fcntl.flock(m, 2 | 4); fcntl.flock(m, 8)\n"
                          "assert not may('s'); f.close(); assert may('x')\n");
    cr_expect_eq(run_shell("*.csv", PYTHON "u.py"), 0);
}

/* What has joined the hold, from exclusive to shared: others may read once the file is
 * closed here, in a child, and by each descriptor that has the lock; not before. */
Test(own_locks, from_exclusive_to_shared) {
    static const char *const orders[] = {
        "f.close(); assert not may('s'); fcntl.flock(l, 1); assert may('s') and not may('x')",
        "fcntl.flock(l, 1); assert not may('s'); f.close(); assert may('s') and not may('x')",
        "f.close(); fcntl.flock(l, 1); fcntl.flock(l, 2); assert not may('s')",
        "f.close(); fcntl.flock(l, 1); f = open('a.csv', 'r+'); assert not may('s'); f.close()",
        "m = os.dup(l); f.close(); fcntl.flock(m, 1); assert may('s'); os.close(l)\n"
        "assert may('s') and not may('x'); os.close(m); l = os.open('a.csv.lock', os.O_RDWR)",
        "r, w = os.pipe(); pid = os.fork()\n"
        "if pid == 0: os.close(w); os.read(r, 1); os._exit(0)\n"
        "f.close(); fcntl.flock(l, 1); assert not may('s'); os.close(w); os.waitpid(pid, 0)\n"
        "fcntl.flock(l, 1); assert may('s') and not may('x')"};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        char script[900];
        snprintf(script, sizeof(script),
                 SEEN "f = open('a.csv', 'r+'); l = os.open('a.csv.lock', os.O_RDWR)\n"
                      "fcntl.flock(l, 2); assert not may('s')\n"
                      "%s\nos.close(l); assert may('x')\n",
                 orders[i]);
        put_file("s.py", script);
        cr_expect_eq(run_shell("*.csv", PYTHON "s.py"), 0, "%s", orders[i]);
    }
    /* A shell, for which flock(1) does that. */
    put_file("s.sh", "may() { AUTOLOCK=off flock -n$1 a.csv.lock true 9>&-; }\n"
                     "exec 3>>a.csv; exec 9>a.csv.lock; flock 9; exec 3>&-; may s && exit 1\n"
                     "flock -s 9; may s || exit 2; may x && exit 3; exec 9>&-; may x || exit 4\n"
                     "exec 3>>a.csv; exec 9>a.csv.lock; flock -s 9; may s && exit 5\n"
                     "exec 3>&-; may s || exit 6; may x && exit 7; exec 9>&-; may x || exit 8\n"
                     "exit 0\n");
    static const char *const shells[] = {"bash s.sh", "dash s.sh"};
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(run_shell("*.csv", shells[i]), 0, "%s", shells[i]);
    }
}
