/* What tells files of several file systems apart (contract H4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(file_systems, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* On another one the same inode is another file. */
Test(file_systems, inodes_of_two_file_systems) {
    struct stat one, other;
    cr_assert_eq(mkdir("one", 0755), 0);
    cr_assert_eq(mkdir("two", 0755), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "one", "tmpfs", 0, NULL) < 0 ||
        mount("tmpfs", "two", "tmpfs", 0, NULL) < 0) {
        scenario_skip("file systems cannot be mounted: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        put_file(i ? "two/a.csv" : "one/a.csv", "1\n");
        put_file(i ? "two/a.csv.lock" : "one/a.csv.lock", "");
    }
    cr_assert_eq(stat("one/a.csv.lock", &one), 0);
    cr_assert_eq(stat("two/a.csv.lock", &other), 0);
    if (one.st_ino != other.st_ino) {
        scenario_skip("file systems do not number their inodes each for itself (Linux 5.9)");
    }
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_expect_eq(puppet_call(puppet, "open one/a.csv 2"), 3);
    cr_expect_eq(puppet_call(puppet, "open two/a.csv 2"), 4);
    cr_expect_eq(lock_state("two/a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(lock_state("one/a.csv"), FREE);
    cr_expect_eq(lock_state("two/a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_eq(umount("one"), 0);
    cr_expect_eq(umount("two"), 0);
}
