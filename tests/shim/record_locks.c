/* Record locks of the program on its data files and their sidecars survive
 * what the shim does beside them (contract O7): closing any descriptor of a file
 * drops the process's own on it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("a.csv.lock", "");
    puppet = puppet_start("*.csv", NULL);
}

static void finish(void) {
    cr_expect_eq(puppet_end(puppet), 0);
}

TestSuite(record_locks, .init = begin, .fini = scenario_end, .timeout = 120);

#define CALL(expected, ...)                                                                        \
    cr_assert_eq(puppet_call(puppet, __VA_ARGS__), expected, "%s: %ld, errno %d", #__VA_ARGS__,    \
                 puppet->result, puppet->error)

/* The pid that has a record lock on the file, as anybody sees it; 0 for none. */
static int locker(const char *path) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fcntl(fd, F_GETLK, &lock), 0);
    close(fd);
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

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

/* What the program does with the file beside its record lock on descriptor `lock` of the
 * sidecar; `fd` is free. */
static void stir_beside(int lock, int fd, const char *when) {
    for (int i = 0; i < 2; i++) {
        CALL(fd, "open a.csv 2");
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "%s: lost by an open", when);
        CALL(0, "close %d", fd);
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "%s: lost by a close", when);
    }
    cr_expect_leq(puppet_call(puppet, "list_above"), 3, "%s: %s", when, puppet->text);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "%s: as long as %d has it", when, lock);
}

static void give_back_all(int lock) {
    CALL(0, "setlk %d %d", lock, F_UNLCK);
    cr_expect_eq(locker("a.csv.lock"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
    CALL(0, "close %d", lock);
}

/* Both kinds of lock through one descriptor, in either order. */
Test(record_locks, beside_a_flock_of_the_program) {
    for (int first = 0; first < 2; first++) {
        CALL(3, "open a.csv.lock 2");
        for (int i = 0; i < 2; i++) {
            if (i == first) {
                CALL(0, "setlk 3 %d", F_WRLCK);
            } else {
                CALL(0, "flock 3 %d", LOCK_EX);
            }
        }
        stir_beside(3, 4, first ? "flock, fcntl" : "fcntl, flock");
        CALL(0, "flock 3 %d", LOCK_UN);
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost by unlocking the other one");
        stir_beside(3, 4, "the flock is given back");
        give_back_all(3);
    }
}

/* The program's flock shares the hold of the file that it has open. */
Test(record_locks, beside_a_flock_that_shares_the_hold) {
    for (int first = 0; first < 2; first++) {
        CALL(3, "open a.csv 2");
        CALL(4, "open a.csv.lock 2");
        for (int i = 0; i < 2; i++) {
            if (i == first) {
                CALL(0, "setlk 4 %d", F_WRLCK);
            } else {
                CALL(0, "flock 4 %d", LOCK_EX);
            }
        }
        CALL(0, "close 3");
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost with the file, %d", first);
        stir_beside(4, 3, first ? "flock, fcntl" : "fcntl, flock");
        CALL(0, "flock 4 %d", LOCK_UN);
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost by unlocking the other one");
        stir_beside(4, 3, "the flock is given back");
        give_back_all(4);
    }
}

/* From the one kind of flock to the other, and back. */
Test(record_locks, beside_a_flock_that_changes) {
    static const int operations[] = {LOCK_EX, LOCK_UN, LOCK_SH, LOCK_EX, LOCK_SH, LOCK_UN};
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    for (size_t i = 0; i < 3 * sizeof(operations) / sizeof(operations[0]); i++) {
        int operation = operations[i % (sizeof(operations) / sizeof(operations[0]))];
        for (int reads = 0; operation != LOCK_EX && reads < 2; reads++) {
            CALL(4, "open a.csv %d", reads ? O_RDONLY : O_RDWR);
            CALL(0, "close 4");
        }
        CALL(0, "flock 3 %d", operation | LOCK_NB);
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "lost by flock %d (%zu)", operation, i);
    }
    CALL(0, "flock 3 %d", LOCK_UN);
    give_back_all(3);
}

/* A flock that ends the shared hold of the file, which was open before. */
Test(record_locks, beside_a_flock_that_ends_the_hold) {
    CALL(3, "open a.csv 0");
    CALL(4, "open a.csv.lock 2");
    CALL(0, "setlk 4 %d", F_WRLCK);
    CALL(0, "flock 4 %d", LOCK_SH);
    CALL(0, "flock 4 %d", LOCK_EX);
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    CALL(0, "close 3");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "flock 4 %d", LOCK_UN);
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    give_back_all(4);
}

/* The file stays locked when the program's flock by the same descriptor goes. */
Test(record_locks, a_flock_that_shares_the_hold_goes_before_it) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    CALL(4, "open a.csv 2");
    CALL(0, "flock 3 %d", LOCK_EX);
    CALL(0, "flock 3 %d", LOCK_UN);
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    CALL(0, "setlk 3 %d", F_UNLCK);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "it is still open");
    CALL(0, "close 4");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
    CALL(0, "close 3");
}

/* Copies that come and go leave no more than were there at once. */
Test(record_locks, many_copies) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    CALL(4, "open a.csv 2");
    for (int i = 0; i < 100; i++) {
        CALL(5, "dup 4");
        CALL(1, "dup2 4 1");
        CALL(1, "mmap 5 1 %d %d", 1, 1);
        CALL(0, "close 5");
        CALL(0, "munmap 1 0 1");
        CALL(0, "forget 1");
        CALL(0, "close 1");
        CALL(1, "open /dev/null 1");
    }
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    cr_expect_leq(puppet_call(puppet, "list_above"), 4, "%s", puppet->text);
    CALL(0, "close 4");
    give_back_all(3);
}

/* So many files that our own numbers are not where they usually are. */
Test(record_locks, beside_many_files) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    for (int i = 0; i < 100; i++) {
        CALL(4 + i, "open %d.csv 0102 0600", i);
    }
    CALL(104, "open a.csv 2");
    CALL(105, "dup 104");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    CALL(0, "close 104");
    CALL(0, "close 105");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    CALL(0, "close_range 4 103 0");
    give_back_all(3);
}

/* fcntl(2) has it that record locks survive exec with their descriptor. */
Test(record_locks, over_exec) {
    static const struct {
        const char *when, *first, *second, *before;
        int lock, data, stdio; /* descriptors */
    } ways[] = {
        {"open", "a.csv.lock", "a.csv", "fcntl 3 1 0", 3, 4, -1},
        {"closed", "a.csv.lock", "a.csv", "close 4", 3, -1, -1},
        {"open before", "a.csv", "a.csv.lock", "fcntl 3 1 0", 4, 3, -1},
        {"standard output", "a.csv.lock", "a.csv", "dup2 4 1", 3, 4, 1},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(3, "open %s 2", ways[i].first);
        CALL(4, "open %s 2", ways[i].second);
        CALL(0, "setlk %d %d", ways[i].lock, F_WRLCK);
        cr_assert_geq(puppet_call(puppet, "%s", ways[i].before), 0);
        puppet_tell(puppet, "exec");
        cr_assert_gt(puppet_call(puppet, "numbers"), 0);
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "%s: lost by exec", ways[i].when);
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "%s", ways[i].when);
        if (ways[i].data >= 0) {
            CALL(0, "close %d", ways[i].data);
        }
        if (ways[i].stdio >= 0) {
            CALL(0, "close %d", ways[i].stdio);
            CALL(ways[i].stdio, "open /dev/null 1");
        }
        cr_expect_eq(locker("a.csv.lock"), puppet->pid, "%s: lost after it", ways[i].when);
        stir_beside(ways[i].lock, 7 - ways[i].lock, ways[i].when);
        give_back_all(ways[i].lock);
    }
}

/* The same for a program that is not under the shim then. */
Test(record_locks, over_exec_of_a_program_without_the_shim) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    CALL(4, "open a.csv 2");
    puppet_tell(puppet, "exec_bare");
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
}

/* What is kept for exec's sake is not for children, which have no such locks. */
Test(record_locks, children_do_not_keep_what_exec_does) {
    cr_expect_eq(run_shell("*.csv", "/usr/bin/python3 -c '\n"
                                    "import fcntl, os\n"
                                    "data = open(\"a.csv\", \"r+\")\n"
                                    "lock = os.open(\"a.csv.lock\", os.O_RDWR)\n"
                                    "os.set_inheritable(lock, True)\n"
                                    "fcntl.lockf(lock, fcntl.LOCK_EX)\n"
                                    "from_parent, to_child = os.pipe()\n"
                                    "from_child, to_parent = os.pipe()\n"
                                    "if os.fork() == 0:\n"
                                    "    os.close(lock)\n"
                                    "    os.dup2(from_parent, 0)\n"
                                    "    os.dup2(to_parent, 1)\n"
                                    "    os.execve(\"/bin/sh\", [\"sh\", \"-c\", "
                                    "\"echo; read end\"], {})\n"
                                    "os.set_inheritable(to_child, True)\n"
                                    "data.close()\n"
                                    "os.close(lock)\n"
                                    "assert os.read(from_child, 1)\n"
                                    "os.execve(\"/usr/bin/flock\", [\"flock\", \"-n\", "
                                    "\"a.csv.lock\", \"true\"], {})\n'"),
                 0);
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
