/* A lock file on which somebody has a lease (fcntl(2), F_SETLEASE), as file servers do:
 * the kernel refuses to open it until he has given that back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_visit.h"

static void begin(void) {
    lock_begin();
    put_file("a.lock", "");
}
TestSuite(lease, .init = begin, .fini = lock_end, .timeout = 120);

#define CANNOT 77

/* What its owner does when the kernel asks for it. */
enum answer { GIVES_BACK, IS_DEAF, GIVES_BACK_BUT_KEEPS_THE_LOCK };

/* Takes it, and says so. */
static void hold_lease(int ready, enum answer answer) {
    sigset_t asked;
    int fd = open("a.lock", O_RDWR | O_CLOEXEC), number;
    (void)sigemptyset(&asked);
    (void)sigaddset(&asked, SIGIO);
    (void)sigprocmask(SIG_BLOCK, &asked, NULL);
    (void)alarm(60);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
        _exit(CANNOT);
    }
    if (answer == GIVES_BACK_BUT_KEEPS_THE_LOCK && flock(fd, LOCK_EX) < 0) {
        _exit(1);
    }
    if (write(ready, "x", 1) != 1 || sigwait(&asked, &number) != 0) {
        _exit(1);
    }
    if (answer != IS_DEAF && fcntl(fd, F_SETLEASE, F_UNLCK) < 0) {
        _exit(1);
    }
    while (answer != GIVES_BACK) {
        (void)pause();
    }
    _exit(0);
}

static pid_t lease(enum answer answer) {
    int ready[2], status;
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ready[0]);
        hold_lease(ready[1], answer);
    }
    cr_assert_eq(close(ready[1]), 0);
    if (read(ready[0], &byte, 1) != 1) {
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(WEXITSTATUS(status), CANNOT, "%x", (unsigned)status);
        scenario_skip("this file system has no leases");
    }
    cr_assert_eq(close(ready[0]), 0);
    return pid;
}

Test(lease, is_waited_for) {
    int status;
    pid_t pid = lease(GIVES_BACK);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(lock_state("a"), EXCLUSIVE);
}

Test(lease, but_not_for_longer_than_asked) {
    pid_t pid = lease(IS_DEAF);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -ETIMEDOUT);
    cr_expect_eq(filelock_acquire(lock, 50000), -ETIMEDOUT);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}

/* Who had to wait for that first looks once more at the path, too, when his time is up. */
Test(lease, and_then_the_file_is_removed_under_its_holder) {
    pid_t pid = lease(GIVES_BACK_BUT_KEEPS_THE_LOCK);
    struct visit data = {.lock = lock, .timeout = 2 * FILELOCK_SECOND};
    visit_start(&data);
    wait_until_queued(getpid());
    cr_assert_eq(unlink("a.lock"), 0);
    cr_expect_eq(visit_result(&data), 0, "%d", data.result);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}
