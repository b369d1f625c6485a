/* Who copies a directory makes x.csv and then x.csv.lock as new files, and gets the
 * one that we have made with the file; a lock by existence excludes as ever (contract
 * P4, T1). */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(handed, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define CREATE 0102      /* O_RDWR|O_CREAT */
#define EXCLUSIVELY 0301 /* O_WRONLY|O_CREAT|O_EXCL */

static void make(struct puppet *puppet, const char *file) {
    cr_assert_eq(puppet_call(puppet, "open %s 0%o 0644", file, CREATE), 3);
    cr_assert_eq(puppet_call(puppet, "close 3"), 0);
}

static void is_handed(struct puppet *puppet, const char *sidecar) {
    struct stat before, after;
    cr_assert_eq(stat(sidecar, &before), 0);
    cr_assert_eq(puppet_call(puppet, "open %s 0%o 0644", sidecar, EXCLUSIVELY), 3, "errno %d",
                 puppet->error);
    cr_expect_eq(puppet->error, UNTOUCHED);
    cr_assert_eq(puppet_call(puppet, "close 3"), 0);
    cr_assert_eq(stat(sidecar, &after), 0);
    cr_expect_eq(before.st_ino, after.st_ino, "others may wait for the old one");
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "left open: %s", puppet->text);
}

static void is_refused(struct puppet *puppet, const char *sidecar) {
    cr_expect_eq(puppet_call(puppet, "open %s 0%o 0644", sidecar, EXCLUSIVELY), -1);
    cr_expect_eq(puppet->error, EEXIST);
}

Test(handed, once_to_whoever_made_the_file) {
    cr_assert_eq(mkdir("d", 0755), 0);
    cr_assert_eq(symlink("d", "link"), 0);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    struct puppet *other = puppet_start("*.csv", NULL);
    make(puppet, "a.csv");
    make(other, "a.csv");
    is_refused(other, "a.csv.lock");
    is_handed(puppet, "a.csv.lock");
    is_refused(puppet, "a.csv.lock");
    is_refused(other, "a.csv.lock");
    make(puppet, "link/b.csv");
    is_handed(puppet, "link/b.csv.lock");
    is_refused(puppet, "d/b.csv.lock");
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_eq(puppet_end(other), 0);
}

Test(handed, not_while_it_is_held) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    struct puppet *other = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0%o 0644", CREATE), 3);
    is_refused(puppet, "a.csv.lock");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_assert_eq(puppet_call(puppet, "close 3"), 0);
    cr_assert_eq(puppet_call(other, "open a.csv 0"), 3, "%ld, errno %d", other->result,
                 other->error);
    is_refused(puppet, "a.csv.lock");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    cr_assert_eq(puppet_call(other, "close 3"), 0);
    is_handed(puppet, "a.csv.lock");
    cr_expect_eq(puppet_end(puppet), 0);
    cr_expect_eq(puppet_end(other), 0);
}

Test(handed, nothing_that_may_be_somebody_elses) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    make(puppet, "first.csv");
    put_file("a.csv.lock", ""); /* a lock by existence */
    make(puppet, "a.csv");
    is_refused(puppet, "a.csv.lock");
    put_file("b.csv", "");
    make(puppet, "b.csv"); /* has been there */
    is_refused(puppet, "b.csv.lock");
    make(puppet, "c.csv");
    put_file("c.csv.lock", "data");
    is_refused(puppet, "c.csv.lock");
    make(puppet, "e.csv");
    cr_assert_eq(link("e.csv.lock", "other name"), 0);
    is_refused(puppet, "e.csv.lock");
    cr_expect_eq(puppet_end(puppet), 0);
}
