/* Whose a soft lock is, and whether he lives (contract P3): where that is hard to say. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static struct utsname host;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(uname(&host), 0);
}

TestSuite(owner, .init = begin, .fini = scenario_end, .timeout = 120);

/* What get_owner says; an error as it is. */
static int owner_of(const char *path) {
    struct filelock *lock;
    struct filelock_owner owner;
    if (filelock_create(&lock, path, FILELOCK_SOFT) < 0) {
        return -1000;
    }
    int r = filelock_get_owner(lock, &owner);
    filelock_destroy(lock);
    return r < 0 ? r : (int)owner.state;
}

static int acquire_once(const char *path) {
    struct filelock *lock;
    if (filelock_create(&lock, path, FILELOCK_SOFT) < 0) {
        return -1000;
    }
    int r = filelock_acquire(lock, FILELOCK_ONCE);
    filelock_destroy(lock);
    return r;
}

static void plant(pid_t pid, const char *token) {
    char text[512];
    snprintf(text, sizeof(text), "%d\n%s\n%s", (int)pid, host.nodename, token);
    put_file("a.lock", text);
}

/* Makes the lock and does not give it back. */
static bool take(void) {
    struct filelock *lock;
    return filelock_create(&lock, "a.lock", FILELOCK_SOFT) == 0 &&
           filelock_acquire(lock, FILELOCK_ONCE) == 0;
}

/* --- zombies --- */

/* Its parent does not care, as many a shell's or container's first process. */
Test(owner, one_who_has_died_unreaped) {
    siginfo_t info;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(!take());
    }
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    cr_assert_eq(info.si_status, 0);
    cr_expect_eq(owner_of("a.lock"), FILELOCK_DEAD);
    cr_expect_eq(acquire_once("a.lock"), 0);
    /* py-filelock before 3.30 writes no token. */
    plant(pid, "");
    cr_expect_eq(owner_of("a.lock"), FILELOCK_DEAD);
    cr_expect_eq(acquire_once("a.lock"), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static void *stay(void *nothing) {
    for (;;) {
        pause();
    }
    return nothing;
}

static char state_of(pid_t pid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    const char *end = n > 0 ? strrchr(text, ')') : NULL;
    return end ? end[2] : '?';
}

/* The first thread has ended, the process has not: it looks like a zombie. */
Test(owner, one_whose_first_thread_has_ended) {
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        if (!take() || pthread_create(&thread, NULL, stay, NULL) != 0 ||
            write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        pthread_exit(NULL);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 60000 && state_of(pid) != 'Z'; i++) {
        (void)nanosleep(&pause, NULL);
    }
    cr_assert_eq(state_of(pid), 'Z');
    cr_expect_eq(owner_of("a.lock"), FILELOCK_ALIVE);
    cr_expect_eq(acquire_once("a.lock"), -ETIMEDOUT);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(acquire_once("a.lock"), 0);
}

/* --- too few descriptors to find out --- */

/* So many are left. */
static bool leave_descriptors(int count) {
    struct rlimit limit = {64, 64};
    int fd, last = -1;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return false;
    }
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        last = fd;
    }
    while (last >= 0 && count-- > 0) {
        close(last--);
    }
    return last >= 0;
}

/* Either the truth or what is lacking; -1 for neither, 1 where it was lacking. */
static int lacking(int r, int truth) {
    return r == truth ? 0 : r == -EMFILE ? 1 : -1;
}

static int judge_with(int descriptors, int state, int acquired) {
    if (!leave_descriptors(descriptors)) {
        return 10;
    }
    int owner = lacking(owner_of("a.lock"), state);
    int acquire = lacking(acquire_once("a.lock"), acquired);
    if (owner < 0 || acquire < 0) {
        return 11;
    }
    return owner + 2 * acquire;
}

static void judge_with_few(pid_t pid, const char *token, int state, int acquired) {
    int status, lack = 3;
    for (int descriptors = 0; descriptors < 12; descriptors++) {
        plant(pid, token);
        pid_t child = fork();
        if (child == 0) {
            _exit(judge_with(descriptors, state, acquired));
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status), "%x", status);
        lack = WEXITSTATUS(status);
        cr_expect(lack < 4, "%d descriptors left: %d", descriptors, lack);
        cr_expect(descriptors > 0 || lack == 3, "no descriptor left: %d", lack);
        (void)unlink("a.lock");
        cr_expect_eq(run_shell(NULL, "[ -z \"$(ls -A)\" ]"), 0, "something is left");
    }
    cr_expect_eq(lack, 0, "12 do");
}

Test(owner, a_living_one_without_a_descriptor_left) {
    judge_with_few(getpid(), "", FILELOCK_ALIVE, -ETIMEDOUT);
}

Test(owner, a_dead_one_without_a_descriptor_left) {
    judge_with_few(getpid(), "12345\n", FILELOCK_DEAD, 0);
}

/* --- time namespaces (time_namespaces(7)) --- */

/* A child in another one, later by a day, has the lock, until `leave` is closed. */
static void hold_elsewhere(int ready, int leave) {
    char byte = 'x';
    int fd = -1;
    if (unshare(CLONE_NEWTIME) < 0 ||
        (fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)) < 0 ||
        write(fd, "boottime 86400 0\n", 17) != 17) {
        byte = '-';
    }
    pid_t pid = byte == 'x' ? fork() : 1;
    if (pid == 0) {
        bool taken = take() && write(ready, &byte, 1) == 1;
        (void)read(leave, &byte, 1);
        _exit(!taken);
    }
    if (byte == '-') {
        (void)write(ready, &byte, 1);
        _exit(0);
    }
    close(ready);
    int status;
    _exit(waitpid(pid, &status, 0) != pid || status != 0);
}

static int as_nobody(int (*function)(const char *), const char *path, int expected) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(setgid(65534) < 0 || setuid(65534) < 0 || function(path) != expected);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

Test(owner, one_in_another_time_namespace_lives) {
    int ready[2], leave[2], status;
    char byte = 0;
    cr_assert_eq(pipe(ready), 0);
    cr_assert_eq(pipe(leave), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(leave[1]);
        hold_elsewhere(ready[1], leave[0]);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    if (byte == '-') {
        scenario_skip("needs root and a kernel with time namespaces");
    }
    cr_expect_eq(owner_of("a.lock"), FILELOCK_UNKNOWN);
    cr_expect_eq(acquire_once("a.lock"), -ETIMEDOUT);
    /* Who may not see which namespace another user's process is in. */
    cr_expect_eq(as_nobody(owner_of, "a.lock", FILELOCK_UNKNOWN), 0);
    close(leave[1]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    cr_expect_eq(acquire_once("a.lock"), 0, "it has ended");
}

/* Another user's process has the number by now: that can be told all the same. */
Test(owner, a_number_that_another_user_has_got) {
    if (geteuid() != 0) {
        scenario_skip("needs root");
    }
    plant(getpid(), "12345\n");
    cr_expect_eq(as_nobody(owner_of, "a.lock", FILELOCK_DEAD), 0);
}

/* --- an emulator --- */

/* As qemu-user does it: what its program reads of itself has a start that others do not
 * see, nor its own threads, each of which sees another, and mostly zeros. */
static bool show_start(int start) {
    char text[512];
    snprintf(text, sizeof(text), "%d (x) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %d 0 0\n",
             (int)getpid(), start);
    put_file("stat", text);
    return true;
}

static bool emulate(void) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)getpid());
    return show_start(1000) && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("stat", path, "", MS_BIND, NULL) == 0;
}

static int hold_emulated(int ready, int leave) {
    char byte = emulate() ? 'x' : '-';
    if (byte == '-') {
        return write(ready, &byte, 1) != 1;
    }
    bool taken = take() && show_start(2000) && owner_of("a.lock") == FILELOCK_ALIVE;
    bool said = write(ready, &byte, 1) == 1;
    return read(leave, &byte, 1) != 0 || !taken || !said;
}

Test(owner, one_under_an_emulator) {
    int ready[2], leave[2], status;
    char byte = 0;
    cr_assert_eq(pipe(ready), 0);
    cr_assert_eq(pipe(leave), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(leave[1]);
        _exit(hold_emulated(ready[1], leave[0]));
    }
    cr_assert_eq(close(ready[1]), 0);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    if (byte == '-') {
        scenario_skip("needs root, and leave to mount");
    }
    cr_expect_eq(owner_of("a.lock"), FILELOCK_ALIVE);
    cr_expect_eq(acquire_once("a.lock"), -ETIMEDOUT);
    cr_assert_eq(close(leave[1]), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(acquire_once("a.lock"), 0, "it has ended");
}
