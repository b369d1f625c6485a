/*
 * Which file a name leads to. Each test works in a directory of its own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/canonical.h"
#include "config/walk.h"

static char home[PATH_MAX];
static struct canonical c;

static void put_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
    close(fd);
}

static void link_to(const char *text, const char *path) {
    cr_assert(symlink(text, path) == 0, "%s: %s", path, strerror(errno));
}

static void setup(void) {
    char made[] = "/tmp/config_canonical.XXXXXX";
    cr_assert(mkdtemp(made) != NULL);
    cr_assert(realpath(made, home) != NULL && chdir(home) == 0);
    cr_assert(mkdir("d", 0777) == 0 && mkdir("d/e", 0777) == 0);
    put_file("a.csv");
    put_file("d/b.csv");
}

static void teardown(void) {
    char command[PATH_MAX + 16];
    canonical_done(&c);
    snprintf(command, sizeof(command), "rm -rf '%s'", home);
    cr_assert(chdir("/") == 0 && system(command) == 0);
}

TestSuite(config_canonical, .init = setup, .fini = teardown);

static int lowest_free(void) {
    int fd = open("/", O_PATH | O_CLOEXEC);
    close(fd);
    return fd;
}

/* What has been found out without /proc is the same. `c` is what was with it. */
static void expect_same_by_walking(int dirfd, const char *path, bool follow) {
    static struct canonical walked;
    struct stat a, b;
    if (dirfd != AT_FDCWD || strncmp(path, "/proc", 5) == 0 || c.via_proc) {
        return;
    }
    errno = 77;
    walked.directory = -1;
    int r = walk_resolve(dirfd, path, follow, &walked);
    cr_expect(errno == 77, "%s: errno is touched", path);
    cr_assert(r == 0, "walking %s: %s", path, strerror(-r));
    cr_expect(strcmp(c.path, walked.path) == 0, "walking %s leads to %s, not %s", path, walked.path,
              c.path);
    cr_expect(walked.length == c.length && strcmp(walked.name, c.name) == 0, "walking %s", path);
    cr_expect(walked.is_link == c.is_link && !walked.via_proc, "walking %s", path);
    cr_expect(walked.name >= walked.path && walked.name <= walked.path + walked.length);
    cr_assert(fstat(walked.directory, &a) == 0 && fstat(c.directory, &b) == 0);
    cr_expect(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "walking %s: directory", path);
    cr_expect(fcntl(walked.directory, F_GETFD) == FD_CLOEXEC);
    canonical_done(&walked);
}

/* `path` leads to `expected`, which is relative to the test's directory unless
 * it begins with a slash. Everything else of the result must agree with it. */
static void expect_at(int dirfd, const char *path, bool follow, const char *expected) {
    char whole[2 * PATH_MAX];
    errno = 77;
    int r = canonical_resolve(dirfd, path, follow, &c);
    cr_expect(errno == 77, "%s: errno is touched", path);
    cr_assert(r == 0, "%s: %s", path, strerror(-r));
    if (expected[0] == '/') {
        snprintf(whole, sizeof(whole), "%s", expected);
    } else {
        snprintf(whole, sizeof(whole), "%s/%s", home, expected);
    }
    cr_expect(strcmp(c.path, whole) == 0, "%s leads to %s, not %s", path, c.path, whole);
    cr_expect(c.length == strlen(c.path), "%s: length %zu", path, c.length);
    cr_expect(c.name == strrchr(c.path, '/') + 1, "%s: name %s", path, c.name);

    struct stat by_name, by_path;
    const char *name = c.name[0] ? c.name : ".";
    int found = fstatat(c.directory, name, &by_name, AT_SYMLINK_NOFOLLOW);
    cr_expect(found == lstat(c.path, &by_path), "%s: directory and path differ", path);
    if (found == 0) {
        cr_expect(by_name.st_ino == by_path.st_ino && by_name.st_dev == by_path.st_dev, "%s", path);
    }
    cr_expect(fcntl(c.directory, F_GETFD) == FD_CLOEXEC && fcntl(c.directory, F_GETFL) & O_PATH);
    expect_same_by_walking(dirfd, path, follow);
    canonical_done(&c);
}

static void expect(const char *path, const char *expected) {
    expect_at(AT_FDCWD, path, true, expected);
}

static void expect_error(const char *path, int error) {
    int before = lowest_free();
    int r = canonical_resolve(AT_FDCWD, path, true, &c);
    cr_expect(r == error, "%.60s: %s, not %s", path, strerror(-r), strerror(-error));
    cr_expect(c.directory == -1 && lowest_free() == before, "%.60s: a descriptor leaks", path);
    canonical_done(&c);
}

Test(config_canonical, plain_names) {
    expect("a.csv", "a.csv");
    expect("./a.csv", "a.csv");
    expect("d/b.csv", "d/b.csv");
    expect("d//b.csv", "d/b.csv");
    expect("d/../a.csv", "a.csv");
    expect("d/e/../../d/./b.csv", "d/b.csv");
    expect("/etc/passwd", "/etc/passwd");
    expect("//etc///passwd", "/etc/passwd");
    expect("/nothing-here", "/nothing-here");
}

Test(config_canonical, a_file_need_not_exist) {
    expect("new.csv", "new.csv");
    expect("d/new.csv", "d/new.csv");
    expect_at(AT_FDCWD, "new.csv", false, "new.csv");
}

Test(config_canonical, every_name_of_a_file_is_one) {
    link_to("a.csv", "to-file");
    link_to("to-file", "to-link");
    link_to("../a.csv", "d/up");
    link_to("d", "to-directory");
    link_to("to-directory/up", "through");
    char absolute[PATH_MAX + 16];
    snprintf(absolute, sizeof(absolute), "%s/d/../to-link", home);
    link_to(absolute, "d/absolute");
    expect("to-file", "a.csv");
    expect("to-link", "a.csv");
    expect("d/up", "a.csv");
    expect("to-directory/b.csv", "d/b.csv");
    expect("to-directory/../a.csv", "a.csv");
    expect("through", "a.csv");
    expect("d/absolute", "a.csv");
    expect("to-directory/absolute", "a.csv");
}

Test(config_canonical, a_dangling_link_leads_to_what_would_be_made) {
    link_to("d/new.csv", "dangling");
    link_to("missing/new.csv", "dangling-deep");
    expect("dangling", "d/new.csv");
    expect_error("dangling-deep", -ENOENT);
}

Test(config_canonical, without_follow_the_link_itself_is_meant) {
    link_to("a.csv", "link");
    link_to("d", "to-directory");
    expect_at(AT_FDCWD, "link", false, "link");
    cr_assert(canonical_resolve(AT_FDCWD, "link", false, &c) == 0);
    cr_expect(c.is_link);
    canonical_done(&c);
    expect_at(AT_FDCWD, "to-directory/b.csv", false, "d/b.csv");
    expect_at(AT_FDCWD, "to-directory/", false, "d");
    cr_assert(canonical_resolve(AT_FDCWD, "a.csv", false, &c) == 0);
    cr_expect(!c.is_link, "a file is no link");
    canonical_done(&c);
    cr_assert(canonical_resolve(AT_FDCWD, "link", true, &c) == 0);
    cr_expect(!c.is_link, "a link that was followed");
}

Test(config_canonical, relative_to_a_directory) {
    int d = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int path_only = open("d", O_PATH | O_CLOEXEC);
    int file = open("a.csv", O_RDONLY | O_CLOEXEC);
    expect_at(d, "b.csv", true, "d/b.csv");
    expect_at(path_only, "b.csv", true, "d/b.csv");
    expect_at(d, "../a.csv", true, "a.csv");
    expect_at(d, "/etc/passwd", true, "/etc/passwd");
    expect_at(-1, "/etc/passwd", true, "/etc/passwd");
    cr_expect(canonical_resolve(file, "x", true, &c) == -ENOTDIR);
    cr_expect(canonical_resolve(-1, "x", true, &c) == -EBADF);
    close(d);
    expect_at(path_only, "e/../b.csv", true, "d/b.csv");
}

Test(config_canonical, names_of_directories_lead_to_the_directory) {
    link_to("d/e", "to-directory");
    link_to("..", "d/dots");
    link_to("d/", "slash");
    expect("d", "d");
    expect("d/", "d");
    expect("d///", "d");
    expect("d/.", "d");
    expect("d/e/..", "d");
    expect("to-directory/", "d/e");
    expect("to-directory/..", "d");
    expect("slash", "d");
    expect(".", home);
    expect("d/..", home);
    expect("d/dots", home);
    expect("/", "/");
    expect("/..", "/");
    expect("//", "/");
    cr_assert(canonical_resolve(AT_FDCWD, "/", true, &c) == 0);
    cr_expect(c.name[0] == '\0' && c.length == 1);
}

Test(config_canonical, errors_are_those_of_open) {
    static char longest[PATH_MAX + 1], name[NAME_MAX + 2];
    memset(longest, '/', PATH_MAX);
    memset(name, 'n', NAME_MAX + 1);
    link_to("loop-b", "loop-a");
    link_to("loop-a", "loop-b");
    expect_error("", -ENOENT);
    expect_error("missing/a.csv", -ENOENT);
    expect_error("missing/", -ENOENT);
    expect_error("a.csv/", -ENOTDIR);
    expect_error("a.csv/x", -ENOTDIR);
    expect_error("a.csv/..", -ENOTDIR);
    expect_error("loop-a", -ELOOP);
    expect_error("loop-a/x", -ELOOP);
    expect_error(name, -ENAMETOOLONG);
    expect_error(longest, -ENAMETOOLONG);
    longest[PATH_MAX - 1] = '\0';
    expect(longest, "/");
}

Test(config_canonical, forty_links_are_followed) {
    char from[16], to[16];
    link_to("a.csv", "l1");
    for (int i = 2; i <= 41; i++) {
        snprintf(from, sizeof(from), "l%d", i);
        snprintf(to, sizeof(to), "l%d", i - 1);
        link_to(to, from);
    }
    expect("l40", "a.csv");
    expect_error("l41", -ELOOP);
}

Test(config_canonical, a_directory_that_may_not_be_searched) {
    cr_assert(chmod("d", 0600) == 0 && chmod(".", 0755) == 0);
    if (geteuid() == 0) {
        cr_assert(seteuid(65534) == 0);
    }
    expect_error("d/b.csv", -EACCES);
    expect_error("d/e/x", -EACCES);
    if (getuid() == 0) {
        cr_assert(seteuid(0) == 0);
    }
    cr_assert(chmod("d", 0755) == 0);
}

Test(config_canonical, no_descriptor_left) {
    link_to("a.csv", "link");
    struct rlimit saved, none = {0, 0};
    cr_assert(getrlimit(RLIMIT_NOFILE, &saved) == 0);
    none.rlim_max = saved.rlim_max;
    cr_assert(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int r = canonical_resolve(AT_FDCWD, "a.csv", true, &c);
    cr_assert(setrlimit(RLIMIT_NOFILE, &saved) == 0);
    cr_expect(r == -EMFILE, "%s", strerror(-r));

    none.rlim_cur = (rlim_t)lowest_free() + 1; /* a link needs a second one */
    cr_assert(setrlimit(RLIMIT_NOFILE, &none) == 0);
    r = canonical_resolve(AT_FDCWD, "link", true, &c);
    cr_assert(setrlimit(RLIMIT_NOFILE, &saved) == 0);
    cr_expect(r == -EMFILE && c.directory == -1, "%s", strerror(-r));
    cr_expect((rlim_t)lowest_free() + 1 == none.rlim_cur, "a descriptor leaks");
}

Test(config_canonical, a_removed_directory_has_no_files) {
    cr_assert(chdir("d/e") == 0 && rmdir("../e") == 0);
    expect_error("x.csv", -ENOENT);
    expect_error(".", -ENOENT);
    expect("/etc/passwd", "/etc/passwd");
}

Test(config_canonical, a_directory_may_be_called_deleted) {
    cr_assert(mkdir("x (deleted)", 0777) == 0);
    expect("x (deleted)/a", "x (deleted)/a");
    expect("x (deleted)/", "x (deleted)");
    cr_assert(chdir("x (deleted)") == 0 && rmdir("../x (deleted)") == 0);
    expect_error("a", -ENOENT);
}

Test(config_canonical, a_path_that_becomes_too_long) {
    char name[NAME_MAX + 1] = {0};
    memset(name, 'n', 200);
    size_t length = strlen(home);
    while (length + 201 < 4000) {
        cr_assert(mkdir(name, 0777) == 0 && chdir(name) == 0);
        length += 201;
    }
    cr_assert(canonical_resolve(AT_FDCWD, "x", true, &c) == 0);
    cr_expect(c.length == length + 2);
    canonical_done(&c);
    size_t room = 4095 - length - 1;
    cr_assert(room < NAME_MAX);
    memset(name, 'm', sizeof(name));
    name[room] = '\0';
    cr_assert(canonical_resolve(AT_FDCWD, name, true, &c) == 0);
    cr_expect(c.length == 4095);
    canonical_done(&c);
    name[room] = 'm';
    name[room + 1] = '\0';
    expect_error(name, -ERANGE);
}

Test(config_canonical, links_of_proc_are_told) {
    char path[64];
    int fd = open("d/b.csv", O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    expect(path, "d/b.csv");
    cr_assert(canonical_resolve(AT_FDCWD, path, true, &c) == 0);
    cr_expect(c.via_proc);
    canonical_done(&c);

    link_to(path, "to-proc");
    cr_assert(canonical_resolve(AT_FDCWD, "to-proc", true, &c) == 0);
    cr_expect(c.via_proc, "a link to such a link");
    canonical_done(&c);

    link_to("a.csv", "link");
    cr_assert(canonical_resolve(AT_FDCWD, "link", true, &c) == 0);
    cr_expect(!c.via_proc, "a link elsewhere");
    canonical_done(&c);

    cr_assert(canonical_resolve(AT_FDCWD, "/proc/self/cwd/a.csv", true, &c) == 0);
    cr_expect(!c.via_proc, "a directory on the way");
    cr_expect(strncmp(c.path, home, strlen(home)) == 0);
    canonical_done(&c);

    int of_link = open("link", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char to_link[64];
    snprintf(to_link, sizeof(to_link), "/proc/self/fd/%d", of_link);
    cr_assert(canonical_resolve(AT_FDCWD, to_link, true, &c) == 0);
    cr_expect(c.via_proc, "such a link to a link elsewhere");
    canonical_done(&c);

    cr_assert(unlink("d/b.csv") == 0);
    cr_assert(canonical_resolve(AT_FDCWD, path, true, &c) == 0);
    cr_expect(c.via_proc && strstr(c.path, "b.csv (deleted)"));
}

Test(config_canonical, done_twice_is_harmless) {
    cr_assert(canonical_resolve(AT_FDCWD, "a.csv", true, &c) == 0);
    canonical_done(&c);
    int fd = open("/", O_PATH | O_CLOEXEC);
    canonical_done(&c);
    cr_expect(fcntl(fd, F_GETFD) >= 0, "somebody else's descriptor is closed");
    close(fd);
}
