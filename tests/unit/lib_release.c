/* Releases that do not find what they have to release (contract P3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

static struct filelock *lock;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(mkdir("d", 0755), 0);
    cr_assert_eq(filelock_create(&lock, "d/a.lock", FILELOCK_SOFT), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}

static void end(void) {
    filelock_destroy(lock);
    scenario_end();
}

TestSuite(release, .init = begin, .fini = end, .timeout = 120);

static void shell(const char *command) {
    cr_assert_eq(run_shell(NULL, command), 0, "%s", command);
}

static bool there(const char *path) {
    return access(path, F_OK) == 0;
}

Test(release, of_one_whose_directory_has_moved) {
    shell("mv d e; mkdir d; echo other >d/a.lock");
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_not(there("e/a.lock"), "it stays, and is held for ever");
    cr_expect_str_eq(file_content("d/a.lock"), "other\n");
}

Test(release, of_one_that_was_renamed) {
    shell("mv d/a.lock d/b.lock");
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_not(there("d/b.lock"));
}

Test(release, of_one_that_was_removed_with_its_directory) {
    shell("rm -r d");
    cr_expect_eq(filelock_release(lock), -ESTALE);
    cr_expect_not(filelock_is_held(lock));
    cr_expect_eq(filelock_release(lock), -EPERM);
}

/* Somebody has saved it by another name, and will put it back. */
Test(release, of_one_that_has_but_another_name) {
    shell("ln d/a.lock d/saved; rm d/a.lock");
    cr_expect_eq(filelock_release(lock), -ENOENT);
    cr_expect(filelock_is_held(lock));
    shell("echo other >d/a.lock");
    cr_expect_eq(filelock_release(lock), -ENOENT);
    cr_expect(filelock_is_held(lock));
    cr_expect_str_eq(file_content("d/a.lock"), "other\n", "never remove another's");
    shell("mv d/saved d/a.lock");
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_not(filelock_is_held(lock));
    shell("[ -z \"$(ls -A d)\" ]");
}

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* Nobody can try for ever: destroying the object lets go of the descriptor. */
Test(release, by_destroying_the_object) {
    int before = count_descriptors();
    shell("ln d/a.lock d/saved; rm d/a.lock");
    cr_expect_eq(filelock_release(lock), -ENOENT);
    filelock_destroy(lock);
    lock = NULL;
    cr_expect_eq(count_descriptors(), before - 1);
    cr_expect(there("d/saved"));
}

/* Where /proc is missing it is found by its path alone. */
static int release_without_proc(void) {
    struct filelock *own;
    if (!moment_refuse(SYS_readlinkat, 0, 0, ENOENT) ||
        filelock_create(&own, "d/own.lock", FILELOCK_SOFT) < 0 ||
        filelock_acquire(own, FILELOCK_ONCE) < 0 || rename("d", "e") < 0 || mkdir("d", 0755) < 0) {
        return 1;
    }
    int fd = open("d/own.lock", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || close(fd) < 0) {
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        if (filelock_release(own) != -ENOENT || filelock_count(own) != 1) {
            return 3;
        }
    }
    if (!there("d/own.lock") || unlink("d/own.lock") < 0 || rmdir("d") < 0 ||
        rename("e", "d") < 0) {
        return 4;
    }
    return filelock_release(own) != 0 || there("d/own.lock") ? 5 : 0;
}

Test(release, without_proc) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(release_without_proc());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", status);
}

/* Under the eyes of a breaker, who has just moved it aside, and puts it back in time. */
static int release_it(void) {
    struct filelock *own;
    return filelock_create(&own, "own.lock", FILELOCK_SOFT) < 0 ||
           filelock_acquire(own, FILELOCK_ONCE) < 0 || filelock_release(own) != 0;
}

Test(release, of_one_that_moves_to_and_fro) {
    pid_t pid = moment_start(release_it);
    cr_assert(moment_before(pid, SYS_unlinkat));
    cr_assert_eq(rename("own.lock", "aside"), 0);
    cr_assert(moment_after(pid, SYS_readlinkat), "where is it?");
    cr_assert_eq(rename("aside", "own.lock"), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_not(there("own.lock"));
}
