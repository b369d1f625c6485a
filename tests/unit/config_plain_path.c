/* Paths that are canonical as they are written (config/plain_path.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "config/plain_path.h"

static char room[PATH_MAX];

static const char *plain(const char *path) {
    return plain_path(AT_FDCWD, path, room, sizeof(room));
}

Test(plain_path, absolute) {
    static const char *const yes[] = {"/a", "/a/b.csv", "/a/.b", "/a/..b/c", "/a/b..", "/.../x"};
    static const char *const no[] = {"/",    "/a/",   "//a",     "/a//b", "/./a",
                                     "/a/.", "/../a", "/a/../b", "/a/.."};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        cr_expect_eq(plain(yes[i]), yes[i], "%s", yes[i]);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        cr_expect_null(plain(no[i]), "%s", no[i]);
    }
}

Test(plain_path, relative) {
    cr_assert_eq(chdir("/usr/lib"), 0);
    cr_expect_str_eq(plain("a.csv"), "/usr/lib/a.csv");
    cr_expect_str_eq(plain("./a/b.csv"), "/usr/lib/a/b.csv");
    cr_expect_null(plain("../a"));
    cr_expect_null(plain("a/"));
    cr_expect_null(plain("."));
    cr_expect_null(plain(""));
    cr_expect_null(plain_path(5, "a", room, sizeof(room)), "relative to something else");
    cr_assert_eq(chdir("/"), 0);
    cr_expect_str_eq(plain("a.csv"), "/a.csv");
}

Test(plain_path, too_long_for_the_room) {
    cr_assert_eq(chdir("/usr/lib"), 0);
    cr_expect_null(plain_path(AT_FDCWD, "abcdef", room, 15));
    cr_expect_str_eq(plain_path(AT_FDCWD, "abcdef", room, 16), "/usr/lib/abcdef");
    cr_expect_null(plain_path(AT_FDCWD, "abcdef", room, 4));
}

Test(plain_path, a_directory_that_was_removed) {
    char directory[] = "/tmp/autolock-plain-XXXXXX";
    cr_assert(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
    cr_assert_eq(rmdir(directory), 0);
    errno = 99;
    cr_expect_null(plain("a.csv"));
    cr_expect_eq(errno, 99);
}
