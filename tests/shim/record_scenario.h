/* What the scenarios of record locks share: a program with the shim, and what anybody
 * sees of its record locks. */
#ifndef TESTS_RECORD_SCENARIO_H
#define TESTS_RECORD_SCENARIO_H

#include <criterion/criterion.h>
#include <fcntl.h>
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

/* The pid that has a record lock on the file, as anybody sees it; 0 for none. */
static int locker(const char *path) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fcntl(fd, F_GETLK, &lock), 0);
    close(fd);
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

#endif
