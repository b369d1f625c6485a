/* libfilelock, seen by its user and by strangers (contract P1, P2, P4 to P6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

static struct filelock *lock;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(filelock_create(&lock, "a.lock", 0), 0);
}

static void finish(void) {
    filelock_destroy(lock);
    cr_expect_neq(lock_state("a"), EXCLUSIVE);
}

TestSuite(filelock, .init = begin, .fini = scenario_end, .timeout = 120);

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

Scenario(filelock, acquire_and_release) {
    cr_expect_eq(access("a.lock", F_OK), -1, "creating an object touches nothing");
    cr_expect_not(filelock_is_held(lock));
    cr_expect_eq(filelock_release(lock), -EPERM);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_FOREVER), 0);
    cr_expect(filelock_is_held(lock));
    cr_expect_eq(lock_state("a"), EXCLUSIVE);
    cr_expect_str_eq(filelock_path(lock), "a.lock");
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_eq(lock_state("a"), FREE);
    cr_expect_not(filelock_is_held(lock));
}

Scenario(filelock, acquires_are_counted) {
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
        cr_expect_eq(filelock_count(lock), i);
    }
    for (unsigned i = 2; i + 1 > 0; i--) {
        cr_expect_eq(lock_state("a"), EXCLUSIVE);
        cr_assert_eq(filelock_release(lock), 0);
        cr_expect_eq(filelock_count(lock), i);
    }
    cr_expect_eq(lock_state("a"), FREE);
    cr_expect_eq(filelock_release(lock), -EPERM);
}

/* In strict seccomp(2) any call but read, write and exit kills. */
Scenario(filelock, counting_makes_no_system_call) {
    pid_t pid = fork();
    if (pid == 0) {
        int bad = filelock_acquire(lock, FILELOCK_ONCE) != 0;
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) < 0) {
            _exit(2);
        }
        for (int i = 0; i < 1000; i++) {
            uint64_t timeout = i % 2 == 0 ? FILELOCK_FOREVER : FILELOCK_SECOND;
            bad |= filelock_acquire(lock, timeout) != 0 || filelock_count(lock) != 2 ||
                   filelock_release(lock) != 0;
        }
        syscall(SYS_exit, bad);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", status);
}

Scenario(filelock, destroy_releases) {
    struct filelock *other;
    cr_assert_eq(filelock_create(&other, "b.lock", 0), 0);
    cr_assert_eq(filelock_acquire(other, FILELOCK_ONCE), 0);
    cr_assert_eq(filelock_acquire(other, FILELOCK_ONCE), 0);
    filelock_destroy(other);
    cr_expect_eq(lock_state("b"), FREE);
    filelock_destroy(NULL);
}

Scenario(filelock, a_timeout_is_a_distinct_error) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    int before = count_descriptors();
    errno = UNTOUCHED;
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -ETIMEDOUT);
    cr_expect_eq(filelock_acquire(lock, 50000), -ETIMEDOUT);
    cr_expect_eq(errno, UNTOUCHED);
    cr_expect_eq(count_descriptors(), before, "a descriptor leaks");
    stranger_leaves(stranger);
    cr_expect_eq(filelock_acquire(lock, 50000), 0);
}

/* Two hundred timeouts in four threads, with all signals blocked in two: each
 * ends after its time, none long after, and no handler stays. */
static void *time_out(void *blocked) {
    struct filelock *mine;
    long bad = 0;
    if (blocked) {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
    }
    cr_assert_eq(filelock_create(&mine, "a.lock", 0), 0);
    for (int i = 0; i < 50; i++) {
        struct timespec start, stop;
        clock_gettime(CLOCK_MONOTONIC, &start);
        bad += filelock_acquire(mine, 10000) != -ETIMEDOUT;
        clock_gettime(CLOCK_MONOTONIC, &stop);
        long usec = (stop.tv_sec - start.tv_sec) * 1000000 + (stop.tv_nsec - start.tv_nsec) / 1000;
        bad += usec < 10000;
    }
    filelock_destroy(mine);
    return (void *)bad;
}

Scenario(filelock, timeouts_in_threads) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, time_out, i < 2 ? lock : NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        cr_expect_eq((long)bad, 0);
    }
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        struct sigaction action;
        cr_assert_eq(sigaction(i, NULL, &action), 0);
        cr_expect_eq(action.sa_handler, SIG_DFL, "signal %d", i);
    }
    stranger_leaves(stranger);
}

Scenario(filelock, a_limited_wait_stands_in_the_queue_and_gets_it) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pid_t pid = fork();
    if (pid == 0) {
        close(stranger.leave);
        _exit(filelock_acquire(lock, 20 * FILELOCK_SECOND) != 0);
    }
    wait_until_queued(pid);
    stranger_leaves(stranger);
    int status;
    waitpid(pid, &status, 0);
    cr_expect_eq(status, 0);
}

/* P6: the child neither holds nor frees it, and starts afresh. */
Scenario(filelock, fork) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int bad = filelock_is_held(lock) || filelock_count(lock) != 0 ||
                  filelock_release(lock) != -EPERM ||
                  filelock_acquire(lock, FILELOCK_ONCE) != -ETIMEDOUT;
        filelock_destroy(lock);
        _exit(bad);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_expect_eq(status, 0);
    cr_expect_eq(lock_state("a"), EXCLUSIVE, "the child freed its parent's lock");
    cr_expect(filelock_is_held(lock));
}

Scenario(filelock, a_living_child_does_not_keep_it) {
    int hold[2];
    char end = 0;
    cr_assert_eq(pipe(hold), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(hold[1]);
        _exit(read(hold[0], &end, 1) != 0);
    }
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_eq(lock_state("a"), FREE);
    close(hold[1]);
    waitpid(pid, NULL, 0);
    close(hold[0]);
}

/* A program started meanwhile does not get the descriptor, whichever way: system(3)
 * makes its child without fork. */
Scenario(filelock, no_program_inherits_it) {
    struct filelock *soft;
    cr_assert_eq(filelock_create(&soft, "b.lock", FILELOCK_SOFT), 0);
    cr_assert_eq(filelock_acquire(soft, FILELOCK_ONCE), 0);
    for (int i = 0; i < 2; i++) { /* a file that it makes, and one that is there */
        cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
        int status = system("! ls -l /proc/self/fd | grep '[ab]\\.lock'");
        cr_expect_eq(status, 0, "%x", (unsigned)status);
        cr_assert_eq(filelock_release(lock), 0);
    }
    filelock_destroy(soft);
}

/* Its parent dies: a child that never asks for the lock must not keep it. */
Scenario(filelock, a_child_does_not_keep_it_for_a_dead_parent) {
    int hold[2], ready[2], dead = 0;
    char end = 0;
    cr_assert_eq(pipe(hold), 0);
    cr_assert_eq(pipe(ready), 0);
    pid_t parent = fork();
    if (parent == 0) {
        close(hold[1]);
        bool bad = filelock_acquire(lock, FILELOCK_ONCE) != 0;
        if (fork() == 0) {
            _exit(write(ready[1], "", 1) != 1 || read(hold[0], &end, 1) != 0);
        }
        _exit(bad || read(ready[0], &end, 1) != 1);
    }
    cr_assert_eq(waitpid(parent, &dead, 0), parent);
    cr_expect_eq(dead, 0);
    cr_expect_eq(lock_state("a"), FREE);
    close(hold[1]);
    close(hold[0]);
    close(ready[0]);
    close(ready[1]);
}

/* A child may have its parent's number. */
static int first_of_its_namespace(void) {
    int status = 0;
    if (filelock_acquire(lock, FILELOCK_ONCE) != 0 || getpid() != 1) {
        return 2;
    }
    if (unshare(CLONE_NEWPID) < 0) {
        return 3;
    }
    pid_t child = fork();
    if (child == 0) {
        bool bad = getpid() != 1 || filelock_is_held(lock) || filelock_release(lock) != -EPERM;
        _exit(bad);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        return 4;
    }
    return lock_state("a") != EXCLUSIVE || filelock_release(lock) != 0;
}

Scenario(filelock, a_child_with_the_same_pid) {
    int status;
    pid_t outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) < 0) {
            _exit(77);
        }
        pid_t first = fork();
        if (first == 0) {
            _exit(first_of_its_namespace());
        }
        _exit(waitpid(first, &status, 0) == first && WIFEXITED(status) ? WEXITSTATUS(status) : 5);
    }
    cr_assert_eq(waitpid(outer, &status, 0), outer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        scenario_skip("needs root, to make a pid namespace");
    }
    cr_expect_eq(status, 0, "%x", status);
}

/* P2: somebody unlinks the file as we wait for it. */
Scenario(filelock, a_replaced_file_is_not_the_lock) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pid_t pid = fork();
    if (pid == 0) {
        close(stranger.leave);
        int r = filelock_acquire(lock, 20 * FILELOCK_SECOND);
        _exit(r != 0 || lock_state("a") != EXCLUSIVE);
    }
    wait_until_queued(pid);
    cr_assert_eq(unlink("a.lock"), 0);
    stranger_leaves(stranger);
    int status;
    waitpid(pid, &status, 0);
    cr_expect_eq(status, 0);
}

Scenario(filelock, what_is_not_a_regular_file) {
    int before = count_descriptors();
    cr_assert_eq(mkfifo("a.lock", 0600), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -ENXIO);
    cr_assert_eq(unlink("a.lock"), 0);
    cr_assert_eq(mkdir("a.lock", 0700), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -EISDIR);
    cr_assert_eq(rmdir("a.lock"), 0);
    cr_assert_eq(symlink("elsewhere", "a.lock"), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -ELOOP);
    cr_expect_eq(access("elsewhere", F_OK), -1);
    cr_assert_eq(unlink("a.lock"), 0);
    cr_expect_eq(count_descriptors(), before, "a descriptor leaks");
}

Scenario(filelock, errors_of_the_path) {
    struct filelock *other;
    cr_expect_eq(filelock_create(&other, "", 0), -EINVAL);
    cr_assert_eq(filelock_create(&other, "missing/a.lock", 0), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_ONCE), -ENOENT);
    cr_expect_eq(filelock_count(other), 0);
    filelock_destroy(other);
}

Scenario(filelock, content_is_never_touched) {
    put_file("a.lock", "somebody's data\n");
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_str_eq(file_content("a.lock"), "somebody's data\n");
}

Scenario(filelock, the_mode_follows_the_umask) {
    struct stat stat_of;
    umask(027);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_assert_eq(stat("a.lock", &stat_of), 0);
    cr_expect_eq(stat_of.st_mode & 07777, 0640);
}

static int guarded(void) {
    FILELOCK_GUARD(guard, lock, FILELOCK_ONCE);
    if (guard.error < 0) {
        return guard.error;
    }
    return lock_state("a") == EXCLUSIVE;
}

Scenario(filelock, a_guard_releases_on_every_way_out) {
    cr_expect_eq(guarded(), 1);
    cr_expect_eq(lock_state("a"), FREE);
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    cr_expect_eq(guarded(), -ETIMEDOUT);
    stranger_leaves(stranger);
}

/* P4, in both directions. */
Scenario(filelock, excludes_py_filelock_and_flock) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(run_shell(NULL, "flock -n a.lock true"), 1);
    cr_expect_eq(run_shell(NULL, "/usr/bin/python3 -c 'import filelock\n"
                                 "try: filelock.FileLock(\"a.lock\").acquire(timeout=0)\n"
                                 "except filelock.Timeout: raise SystemExit(7)'"),
                 7);
    cr_assert_eq(filelock_release(lock), 0);
    pid_t python = start_shell(NULL, "exec /usr/bin/python3 -c 'import filelock,os\n"
                                     "lock = filelock.FileLock(\"a.lock\")\n"
                                     "lock.acquire()\n"
                                     "os.mkfifo(\"ready\")\n"
                                     "open(\"ready\").read()'");
    for (int i = 0; i < 3000 && access("ready", F_OK) < 0; i++) {
        usleep(10000);
    }
    cr_expect_eq(filelock_acquire(lock, 10000), -ETIMEDOUT);
    int fd = open("ready", O_WRONLY | O_CLOEXEC);
    close(fd);
    cr_expect_eq(end_shell(python), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}
