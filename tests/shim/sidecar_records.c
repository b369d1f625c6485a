/* Record locks of the program on a sidecar, beside its flocks there, copies of the file's
 * descriptors and exec (contract O7). */
#include <sys/file.h>

#include "tests/shim/record_scenario.h"

TestSuite(sidecar_records, .init = begin, .fini = scenario_end, .timeout = 120);

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
Scenario(sidecar_records, beside_a_flock_of_the_program) {
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
Scenario(sidecar_records, beside_a_flock_that_shares_the_hold) {
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
Scenario(sidecar_records, beside_a_flock_that_changes) {
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
Scenario(sidecar_records, beside_a_flock_that_ends_the_hold) {
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
Scenario(sidecar_records, a_flock_that_shares_the_hold_goes_before_it) {
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
Scenario(sidecar_records, many_copies) {
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
Scenario(sidecar_records, beside_many_files) {
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
Scenario(sidecar_records, over_exec) {
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

/* What s6-setlock(1) does: takes a record lock and executes a program, which need not have
 * called fcntl itself. */
Scenario(sidecar_records, a_program_that_inherits_them) {
    (void)puppet_end(puppet);
    puppet = puppet_start(NULL, NULL);
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    puppet_tell(puppet, "exec_env LD_PRELOAD=%s AUTOLOCK_PATTERNS=*.csv", TEST_PRELOAD);
    CALL(4, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
    stir_beside(3, 4, "inherited");
    give_back_all(3);
}

/* The same for a program that is not under the shim then. */
Scenario(sidecar_records, over_exec_of_a_program_without_the_shim) {
    CALL(3, "open a.csv.lock 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    CALL(4, "open a.csv 2");
    puppet_tell(puppet, "exec_bare");
    CALL(0, "close 4");
    cr_expect_eq(locker("a.csv.lock"), puppet->pid);
}

/* What is kept for exec's sake is not for children, which have no such locks. */
Scenario(sidecar_records, children_do_not_keep_what_exec_does) {
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
