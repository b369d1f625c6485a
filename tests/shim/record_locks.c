/* Record locks of the program on its data files and their sidecars survive
 * what the shim does beside them (contract O7): closing any descriptor of a file
 * drops the process's own on it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("a.csv.lock", "");
    puppet = puppet_start("*.csv", NULL);
}

static void end(void) {
    cr_expect_eq(puppet_end(puppet), 0);
    scenario_end();
}

TestSuite(record_locks, .init = begin, .fini = end, .timeout = 120);

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

Test(record_locks, fcntl_on_the_data_file) {
    CALL(3, "open a.csv 2");
    CALL(0, "setlk 3 %d", F_WRLCK);
    cr_assert_eq(locker("a.csv"), puppet->pid);
    stir();
    CALL(0, "close 3");
    cr_expect_eq(locker("a.csv"), 0);
}

Test(record_locks, lockf_on_the_data_file) {
    CALL(3, "open a.csv 2");
    CALL(0, "lockf 3 %d", F_TLOCK);
    cr_assert_eq(locker("a.csv"), puppet->pid);
    stir();
    CALL(0, "close 3");
}

/* A second open that the shim refuses or delays must not cost the first its
 * lock: no descriptor of the data file is opened and closed for a look. */
Test(record_locks, an_open_that_times_out) {
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
