/* A fork at the worst moment of an acquire: its child keeps nothing (contract P6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

static int order[2], done[2], leave[2];

static void begin(void) {
    scenario_begin();
    put_file("a.lock", "");
    cr_assert_eq(pipe(order), 0);
    cr_assert_eq(pipe(done), 0);
    cr_assert_eq(pipe(leave), 0);
}

TestSuite(forks, .init = begin, .fini = scenario_end, .timeout = 120);

/* The child does nothing of its own, until it is told to leave. */
static void fork_child(void) {
    char byte = 'x';
    if (fork() == 0) {
        (void)write(done[1], &byte, 1);
        (void)read(leave[0], &byte, 1);
        _exit(0);
    }
}

static void *fork_when_told(void *nothing) {
    char byte;
    while (read(order[0], &byte, 1) == 1) {
        fork_child();
    }
    return nothing;
}

static int acquire(void) {
    struct filelock *lock;
    return filelock_create(&lock, "a.lock", 0) < 0 ||
           filelock_acquire(lock, 10 * FILELOCK_SECOND) != 0;
}

/* Another thread, which nobody stops, is there to fork. */
static int acquire_beside_a_thread(void) {
    pthread_t thread;
    (void)close(leave[1]);
    return pthread_create(&thread, NULL, fork_when_told, NULL) != 0 ? 2 : acquire();
}

static void on_signal(int number) {
    (void)number;
    fork_child();
}

static int acquire_with_a_handler(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)close(leave[1]);
    return sigaction(SIGUSR1, &action, NULL) < 0 ? 2 : acquire();
}

/* Its parent has ended without a release, as one that is killed. */
static void child_has_nothing(pid_t parent) {
    int status = moment_end(parent);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    int fd = open("a.lock", O_RDWR | O_CLOEXEC);
    cr_expect_eq(flock(fd, LOCK_EX | LOCK_NB), 0, "the child has the lock");
    cr_assert_eq(close(fd), 0);
    cr_assert_eq(close(leave[1]), 0);
}

static void wait_for_child(void) {
    char byte;
    cr_assert_eq(read(done[0], &byte, 1), 1);
}

/* Right behind the system call that opens the lock file. */
static void lead_behind_the_opening(pid_t pid) {
    uint64_t path;
    do {
        cr_assert(moment_after(pid, SYS_openat));
        path = moment_peek(pid, moment_arguments[1]);
    } while (memcmp(&path, "a.lock", sizeof("a.lock")) != 0);
}

Test(forks, by_another_thread_before_the_descriptor_is_noted) {
    pid_t pid = moment_start(acquire_beside_a_thread);
    lead_behind_the_opening(pid);
    cr_assert_eq(write(order[1], "x", 1), 1);
    wait_for_child();
    child_has_nothing(pid);
}

Test(forks, by_a_signal_handler_before_the_descriptor_is_noted) {
    pid_t pid = moment_start(acquire_with_a_handler);
    lead_behind_the_opening(pid);
    cr_assert_eq(kill(pid, SIGUSR1), 0);
    child_has_nothing(pid);
}

/* Once and again: what has been opened anew is no safer than the first. */
Test(forks, again_and_again) {
    pid_t pid = moment_start(acquire_beside_a_thread);
    for (int i = 0; i < 20; i++) {
        lead_behind_the_opening(pid);
        cr_assert_eq(write(order[1], "x", 1), 1);
        wait_for_child();
    }
    child_has_nothing(pid);
}

/* Behind that, the child knows what it has to close. */
Test(forks, by_another_thread_before_the_file_is_locked) {
    pid_t pid = moment_start(acquire_beside_a_thread);
    cr_assert(moment_before(pid, SYS_flock));
    cr_assert_eq(write(order[1], "x", 1), 1);
    wait_for_child();
    child_has_nothing(pid);
}

/* An emulator (qemu-user) takes the advice to empty a page in children, and forgets it. */
static int child_of_an_emulator(void) {
    struct filelock *lock;
    int status;
    if (!moment_refuse(SYS_madvise, 0, 0, 0) || filelock_create(&lock, "a.lock", 0) < 0 ||
        filelock_acquire(lock, FILELOCK_ONCE) < 0) {
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(filelock_is_held(lock) || filelock_release(lock) != -EPERM ||
              filelock_acquire(lock, FILELOCK_ONCE) != -ETIMEDOUT);
    }
    return waitpid(pid, &status, 0) != pid || status != 0 || !filelock_is_held(lock) ||
           lock_state("a") != EXCLUSIVE;
}

Test(forks, under_an_emulator) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(child_of_an_emulator());
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

static void *fork_for_ever(void *nothing) {
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
    }
    return nothing;
}

/* Whoever acquires has his turn beside threads that do nothing else. */
Test(forks, without_end) {
    struct filelock *lock;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) {
            if (pthread_create(&threads[i], NULL, fork_for_ever, NULL) != 0) {
                _exit(2);
            }
        }
        if (filelock_create(&lock, "a.lock", 0) < 0) {
            _exit(3);
        }
        for (int i = 0; i < 200; i++) {
            if (filelock_acquire(lock, FILELOCK_FOREVER) != 0 || filelock_release(lock) != 0) {
                _exit(4);
            }
        }
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

/* --- children that are not told of (posix_spawn(3)), and have copies for a while --- */

/* One that says that it is made, and does not start its program until it may. */
static void *spawn_when_told(void *nothing) {
    char byte, *arguments[] = {"true", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    if (read(order[0], &byte, 1) == 1 && posix_spawn_file_actions_init(&actions) == 0 &&
        posix_spawn_file_actions_addopen(&actions, 100, "is_made", O_RDONLY, 0) == 0 &&
        posix_spawn_file_actions_addopen(&actions, 101, "may_go_on", O_RDONLY, 0) == 0) {
        (void)posix_spawn(&pid, "/bin/true", &actions, NULL, arguments, NULL);
    }
    return nothing;
}

static int acquire_beside_a_spawner(void) {
    pthread_t thread;
    return pthread_create(&thread, NULL, spawn_when_told, NULL) != 0 ? 2 : acquire();
}

/* What was locked for nothing, since it had been replaced, is free for those who wait
 * for it, to find out the same. */
Test(forks, what_has_been_replaced_is_not_kept) {
    cr_assert_eq(mkfifo("is_made", 0600), 0);
    cr_assert_eq(mkfifo("may_go_on", 0600), 0);
    pid_t pid = moment_start(acquire_beside_a_spawner);
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    cr_assert(moment_before(pid, SYS_flock), "the try");
    cr_assert(moment_before(pid, SYS_flock), "the wait");
    cr_assert_eq(write(order[1], "x", 1), 1);
    int made = open("is_made", O_WRONLY | O_CLOEXEC), old = open("a.lock", O_RDWR | O_CLOEXEC);
    cr_assert_eq(unlink("a.lock"), 0);
    put_file("a.lock", "");
    stranger_leaves(stranger);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(flock(old, LOCK_EX | LOCK_NB), 0, "the child has it");
    cr_assert_eq(close(open("may_go_on", O_WRONLY | O_CLOEXEC)), 0);
    cr_assert_eq(close(made), 0);
    cr_assert_eq(close(old), 0);
}
