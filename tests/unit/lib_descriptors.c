/* The descriptors of lock files: where the program's own are few, or closed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

TestSuite(descriptors, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* Runs a check that changes the process in a child; 0 for well. */
static void in_child(int (*check)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(check());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%x", status);
    cr_expect_eq(WEXITSTATUS(status), 0, "check %d failed", WEXITSTATUS(status));
}

/* --- descriptors 0 to 2 are closed --- */

static bool standard_ones_are_closed(void) {
    bool closed = true;
    for (int fd = 0; fd <= 2; fd++) {
        closed = closed && write(fd, "printed", 7) == -1 && errno == EBADF;
    }
    return closed;
}

static int hold_without_standard(const char *path, unsigned flags) {
    struct filelock *lock;
    for (int fd = 0; fd <= 2; fd++) {
        close(fd);
    }
    if (filelock_create(&lock, path, flags) < 0 || filelock_acquire(lock, FILELOCK_ONCE) != 0) {
        return 1;
    }
    if (!standard_ones_are_closed()) {
        return 2;
    }
    if (filelock_release(lock) != 0 || !standard_ones_are_closed()) {
        return 3;
    }
    return 0;
}

static int flock_without_standard(void) {
    return hold_without_standard("poetry.lock", 0);
}
static int new_flock_without_standard(void) {
    return hold_without_standard("new.lock", 0);
}
static int soft_without_standard(void) {
    return hold_without_standard("soft.lock", FILELOCK_SOFT);
}

Test(descriptors, what_is_printed_goes_into_no_lock_file) {
    put_file("poetry.lock", "somebody's data");
    in_child(flock_without_standard);
    cr_expect_str_eq(file_content("poetry.lock"), "somebody's data");
    in_child(new_flock_without_standard);
    cr_expect_str_eq(file_content("new.lock"), "");
    in_child(soft_without_standard);
}

/* A file system that cannot make a file without a name. */
static bool without_nameless_files(void) {
    return moment_refuse(SYS_openat, 2, O_TMPFILE & ~O_DIRECTORY, EOPNOTSUPP);
}

static int plainly_without_standard(void) {
    if (!without_nameless_files()) {
        return 8;
    }
    int r = hold_without_standard("plain.lock", 0);
    return r ? r : hold_without_standard("plain-soft.lock", FILELOCK_SOFT);
}

Test(descriptors, nor_into_one_that_is_made_plainly) {
    in_child(plainly_without_standard);
    cr_expect_str_eq(file_content("plain.lock"), "");
}

/* --- 0 is closed, and no other number is left --- */

/* The only one may not be used: as if there were none. */
static int with_one_left(unsigned flags, rlim_t limit) {
    struct filelock *lock;
    struct rlimit few = {.rlim_cur = limit, .rlim_max = limit};
    if (filelock_create(&lock, "few.lock", flags) < 0) {
        return 1;
    }
    for (int fd = 0; fd >= 0 && fd + 1 < (int)limit;) {
        fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
    }
    if (setrlimit(RLIMIT_NOFILE, &few) < 0 || close(0) < 0) {
        return 2;
    }
    int r = filelock_acquire(lock, FILELOCK_ONCE);
    if (r != -EMFILE) {
        return 3;
    }
    return access("few.lock", F_OK) == 0 ? 4 : 0; /* a soft one is held for ever */
}

static int soft_with_few(void) {
    return with_one_left(FILELOCK_SOFT, 20);
}
static int soft_with_three(void) {
    return with_one_left(FILELOCK_SOFT, 3);
}
static int flock_with_few(void) {
    return with_one_left(0, 20);
}
static int soft_plainly_with_few(void) {
    return without_nameless_files() ? with_one_left(FILELOCK_SOFT, 20) : 8;
}

Test(descriptors, no_lock_file_without_one_to_hold_it) {
    in_child(soft_with_few);
    in_child(soft_with_three);
    in_child(flock_with_few);
    in_child(soft_plainly_with_few);
}
