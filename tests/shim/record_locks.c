/* Record locks of the program on its data files and their sidecars survive
 * what the shim does beside them (contract O7): closing any descriptor of a file
 * drops the process's own on it. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/shim/record_scenario.h"

TestSuite(record_locks, .init = begin, .fini = scenario_end, .timeout = 120);

/* What the shim does for each of these happens beside an open, locked file. */
static void stir(void) {
    static const char *const calls[] = {
        "dup 3",
        "open plain.txt 0102 0644",
        "close 5",
        "rename plain.txt other.txt",
        "truncate a.csv 1",
        "open missing.csv 0",
        "mmap 3 1 3 1",
        "munmap 1 0 1",
        "renameat2 other.txt a.csv 1",
        "unlink missing.csv",
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        (void)puppet_call(puppet, "%s", calls[i]);
        cr_expect_eq(locker("a.csv"), puppet->pid, "lost by %s", calls[i]);
    }
}

Scenario(record_locks, fcntl_on_the_data_file) {
    CALL(3, "open a.csv 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    cr_assert_eq(locker("a.csv"), puppet->pid);
    stir();
    CALL(0, "close 3");
    cr_expect_eq(locker("a.csv"), 0);
}

Scenario(record_locks, lockf_on_the_data_file) {
    CALL(3, "open a.csv 2");
    CALL(0, "lockf 3 %d", F_TLOCK);
    cr_assert_eq(locker("a.csv"), puppet->pid);
    stir();
    CALL(0, "close 3");
}

/* A second open that the shim refuses or delays must not cost the first its
 * lock: no descriptor of the data file is opened and closed for a look. */
Scenario(record_locks, an_open_that_times_out) {
    struct puppet *other = puppet_start("*.csv timeout=50ms", NULL);
    cr_assert_eq(puppet_call(other, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(other, "setlk 3 %d", F_RDLCK), 0);
    CALL(3, "open a.csv 0");
    cr_assert_eq(puppet_call(other, "open a.csv 2"), -1);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open("a.csv", O_RDWR | O_CLOEXEC);
    cr_assert_eq(fcntl(fd, F_GETLK, &lock), 0);
    close(fd);
    cr_expect_eq(lock.l_type == F_UNLCK ? 0 : lock.l_pid, other->pid);
    (void)puppet_end(other);
}

/* A program that has the sidecar open and keeps record locks there: our own
 * descriptors of it are opened and closed with each hold. */
Scenario(record_locks, fcntl_on_the_sidecar) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    cr_assert_eq(locker("a.csv.lock"), puppet->pid);
    CALL(4, "open a.csv 2");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost while opening");
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost while closing");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "as long as it has the record lock");
    CALL(4, "open a.csv 2");
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost the second time");
    cr_expect_eq(puppet_call(puppet, "list_above"), 1, "each time one more: %s", puppet->text);
    CALL(0, "setlk 3 %d", F_UNLCK);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
    CALL(0, "close 3");
}

Scenario(record_locks, lockf_on_the_sidecar) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "lockf 3 %d", F_TLOCK);
    CALL(4, "open a.csv 0");
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    CALL(0, "close 3"); /* ends the record lock and what was left for it */
    cr_expect_eq(locker("a.csv.lock"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
}

/* Record locks are not inherited: a child takes turns with its parent. */
Scenario(record_locks, a_forked_child_of_one_that_has_some) {
    cr_expect_eq(run_shell("*.csv", "/usr/bin/python3 -c '\n"
                                    "import fcntl, os\n"
                                    "lock = open(\"a.csv.lock\", \"r+\")\n"
                                    "fcntl.lockf(lock, fcntl.LOCK_EX)\n"
                                    "open(\"a.csv\").close()\n"
                                    "pid = os.fork()\n"
                                    "if pid == 0:\n"
                                    "    lock.close()\n"
                                    "    os._exit(0)\n"
                                    "assert os.waitpid(pid, 0)[1] == 0\n"
                                    "fcntl.lockf(lock, fcntl.LOCK_UN)\n"
                                    "os.execvp(\"flock\", [\"flock\", \"-n\", \"a.csv.lock\", "
                                    "\"true\"])\n'"),
                 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
}

/* However often, and with the file open as well, no more descriptors are left than
 * were in use at once; and the file is locked until nobody needs it. */
Scenario(record_locks, holds_within_a_hold) {
    CALL(3, "open a.csv 2");
    CALL(4, "open a.csv.lock 2");
    CALL(0, "setlk 4 %d", F_WRLCK);
    for (int i = 0; i < 5; i++) {
        CALL(5, "open a.csv 2");
        CALL(0, "close 5");
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost in round %d", i);
    }
    cr_expect_leq(puppet_call(puppet, "list_above"), 2, "%s", puppet->text);
    CALL(0, "close 3");
    CALL(3, "open a.csv 2");
    CALL(0, "setlk 4 %d", F_UNLCK);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "it is still open");
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
    CALL(0, "close 4");
}

/* A wait that comes to nothing closes nothing either. */
Scenario(record_locks, a_wait_beside_one_on_the_sidecar) {
    struct puppet *other = puppet_start("*.csv timeout=50ms", "AUTOLOCK_LOG=log", NULL);
    CALL(3, "open a.csv 2");
    cr_assert_eq(puppet_call(other, "open a.csv.lock 2"), 3);
    cr_assert_eq(puppet_call(other, "setlk 3 %d", F_WRLCK), 0);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(puppet_call(other, "open a.csv 2"), -1);
        cr_expect_eq(locker("a.csv.lock"), other->pid);
    }
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE, "by one that did not get it");
    cr_expect_eq(puppet_call(other, "open a.csv 2"), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "close 4"), 0);
    cr_expect_eq(locker("a.csv.lock"), other->pid);
    cr_expect_eq(puppet_call(other, "close 3"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(puppet_call(other, "list_above"), 0, "%s", other->text);
    (void)puppet_end(other);
}

/* Makes the sidecar anew all the time, as some versions of py-filelock do. */
static pid_t start_remaker(void) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            (void)unlink("a.csv.lock");
            close(open("a.csv.lock", O_CREAT | O_RDWR, 0666));
        }
    }
    return pid;
}

/* An open that finds that the sidecar has been replaced meanwhile is made again; what
 * it had opened before must not be closed, since the lock was taken by another name. */
Scenario(record_locks, by_a_hard_link_beside_one_who_replaces_the_sidecar) {
    cr_assert_eq(link("a.csv", "hard.txt"), 0);
    CALL(3, "open hard.txt 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    pid_t remaker = start_remaker();
    for (int i = 0; i < 300; i++) { /* never closed: that would be the program's own doing */
        cr_assert_geq(puppet_call(puppet, "open a.csv 2"), 0, "errno %d", puppet->error);
        cr_assert_eq(locker("hard.txt"), puppet->pid, "lost by open %d", i);
    }
    cr_expect_eq(kill(remaker, SIGKILL), 0);
    cr_expect_eq(waitpid(remaker, NULL, 0), remaker);
}
