/* What happens at one certain moment of an acquire: a signal, a tick of its timer,
 * somebody else's move, death. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

static struct utsname host;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(uname(&host), 0);
}

TestSuite(moments, .init = begin, .fini = scenario_end, .timeout = 120);

static void wait_30_ms(void) {
    struct timespec time = {.tv_nsec = 30000000};
    (void)nanosleep(&time, NULL);
}

/* --- signals and polling --- */

static void nothing(int number) {
    (void)number;
}

static int acquire(unsigned flags, uint64_t timeout) {
    struct filelock *lock;
    return filelock_create(&lock, "a.lock", flags) < 0 ? 1 : filelock_acquire(lock, timeout);
}

static int interrupted(unsigned flags) {
    struct sigaction action = {.sa_handler = nothing};
    return sigaction(SIGUSR1, &action, NULL) < 0 || acquire(flags, FILELOCK_SECOND) != -EINTR;
}
static int soft_is_interrupted(void) {
    return interrupted(FILELOCK_SOFT);
}
/* Where no timer is to be had, kind flock polls. */
static int flock_is_interrupted(void) {
    struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_SIGPENDING, &none) < 0 || interrupted(0);
}

/* The signal comes when the n-th look for one is over. */
static void signal_behind_a_look(int (*body)(void)) {
    for (int n = 1; n <= 5; n++) {
        pid_t pid = moment_start(body);
        for (int look = 0; look < n; look++) {
            cr_assert(moment_after(pid, SYS_rt_sigpending));
        }
        cr_assert_eq(kill(pid, SIGUSR1), 0);
        int status = moment_end(pid);
        cr_expect_eq(status, 0, "look %d: %x", n, (unsigned)status);
    }
}

Test(moments, a_signal_behind_a_look_ends_a_soft_wait) {
    put_file("a.lock", "");
    signal_behind_a_look(soft_is_interrupted);
}

Test(moments, a_signal_behind_a_look_ends_a_wait_without_timer) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    signal_behind_a_look(flock_is_interrupted);
    stranger_leaves(stranger);
}

/* --- signals between two rounds in the queue --- */

static int queue_is_interrupted(void) {
    return interrupted(0);
}

/* What it got had been replaced; the signal comes before it stands in the new queue. */
Test(moments, a_signal_as_the_file_is_replaced_ends_the_wait) {
    struct stranger next;
    pid_t pid = moment_replaced(queue_is_interrupted, &next);
    cr_assert(moment_after(pid, SYS_close));
    cr_assert_eq(kill(pid, SIGUSR1), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    stranger_leaves(next);
}

/* --- somebody who removes the file at each release --- */

static int who_may_only_read_gets_it(void) {
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
        return 2;
    }
    return acquire(0, FILELOCK_ONCE) != 0;
}

/* It goes just as it has turned out that it may not be written: then it can be made. */
Test(moments, a_file_that_goes_between_two_ways_to_open_it) {
    uint64_t path;
    put_file("a.lock", "");
    cr_assert_eq(chmod("a.lock", 0444), 0);
    cr_assert_eq(chmod(".", 0777), 0);
    pid_t pid = moment_start(who_may_only_read_gets_it);
    do {
        cr_assert(moment_after(pid, SYS_openat));
        path = moment_peek(pid, moment_arguments[1]);
    } while (memcmp(&path, "a.lock", sizeof("a.lock")) != 0);
    cr_assert_eq(unlink("a.lock"), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

/* --- pauses --- */

static int soft_times_out(void) {
    return acquire(FILELOCK_SOFT, 400000) != -ETIMEDOUT;
}

Test(moments, pauses_begin_small_and_stay_small) {
    const uint64_t millisecond = 1000000;
    uint64_t pauses[1000];
    int count = 0;
    put_file("a.lock", "");
    pid_t pid = moment_start(soft_times_out);
    while (moment_before(pid, CALL_OF_SLEEP)) {
        cr_assert(count < 1000);
        const uint64_t words[] = {moment_peek(pid, moment_arguments[2]),
                                  moment_peek(pid, moment_arguments[2] + sizeof(uint64_t))};
        struct timespec pause;
        memcpy(&pause, words, sizeof(pause));
        cr_expect_eq(pause.tv_sec, 0);
        pauses[count++] = (uint64_t)pause.tv_nsec;
    }
    cr_expect_eq(moment_end(pid), 0);
    cr_assert_geq(count, 8);
    cr_expect_eq(pauses[0], 1 * millisecond);
    for (int i = 0; i < count; i++) {
        cr_expect(pauses[i] <= 20 * millisecond, "pause %d", i);
    }
}

/* --- the timer of a wait in the queue --- */

static int flock_times_out(void) {
    return acquire(0, 20000) != -ETIMEDOUT;
}

/* The tick comes when signals are let in, but the process does not sleep yet. */
Test(moments, a_tick_before_the_sleep_is_not_the_only_one) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pid_t pid = moment_start(flock_times_out);
    cr_assert(moment_after(pid, CALL_OF_SETTIME));
    while (moment_after(pid, SYS_rt_sigprocmask)) {
        wait_30_ms();
    }
    cr_expect_eq(moment_end(pid), 0);
    stranger_leaves(stranger);
}

/* The last tick comes when the wait is over: it must not meet the default action,
 * which would end the process. (Linux 6.13 takes it back with its timer.) */
Test(moments, a_tick_after_the_wait) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pid_t pid = moment_start(flock_times_out);
    cr_assert(moment_before(pid, SYS_timer_delete));
    wait_30_ms();
    cr_expect_eq(moment_end(pid), 0);
    stranger_leaves(stranger);
}

/* --- breaking a stale lock --- */

static pid_t dead_process(void) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void plant(pid_t pid) {
    char text[512];
    snprintf(text, sizeof(text), "%d\n%s\n", (int)pid, host.nodename);
    (void)unlink("a.lock");
    put_file("a.lock", text);
}

static int breaks_nothing(void) {
    return acquire(FILELOCK_SOFT, 50000) != -ETIMEDOUT;
}
#define EXCHANGE 2
static int breaks_nothing_without_exchange(void) {
    return !moment_refuse(SYS_renameat2, 4, EXCHANGE, EINVAL) || breaks_nothing();
}
static int breaks(void) {
    return acquire(FILELOCK_SOFT, FILELOCK_ONCE) != 0;
}

/* Somebody else has broken it meanwhile, and a living process has it. */
static void fresh_lock_stays(int (*body)(void), long number, int times) {
    char expected[512];
    plant(dead_process());
    pid_t pid = moment_start(body);
    for (int i = 0; i < times; i++) {
        cr_assert(moment_before(pid, number));
    }
    plant(getpid());
    snprintf(expected, sizeof(expected), "%d\n%s\n", (int)getpid(), host.nodename);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_str_eq(file_content("a.lock"), expected);
    cr_assert_eq(unlink("a.lock"), 0);
    cr_expect_eq(run_shell(NULL, "[ -z \"$(ls -A)\" ]"), 0, "something is left");
}

Test(moments, a_fresh_lock_before_the_marker_is_looked_at_again) {
    fresh_lock_stays(breaks_nothing, SYS_flock, 1);
}

Test(moments, a_fresh_lock_before_the_exchange) {
    fresh_lock_stays(breaks_nothing, SYS_renameat2, 1);
}

Test(moments, a_fresh_lock_before_the_rename) {
    fresh_lock_stays(breaks_nothing_without_exchange, SYS_renameat2, 2);
}

/* A new lock, of a peer who asks for no flock, has been moved aside by mistake and is
 * about to come back, when something happens. */
static pid_t moved_by_mistake(int (*body)(void), pid_t holder) {
    plant(dead_process());
    pid_t pid = moment_start(body);
    cr_assert(moment_before(pid, SYS_renameat2));
    plant(holder);
    cr_assert(moment_before(pid, SYS_renameat2));
    return pid;
}

static void and_then(pid_t pid, const char *command, pid_t expected) {
    char text[512] = "";
    cr_assert_eq(run_shell(NULL, command), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    if (expected) {
        snprintf(text, sizeof(text), "%d\n%s\n", (int)expected, host.nodename);
        cr_expect_str_eq(file_content("a.lock"), text);
    }
    cr_expect_eq(run_shell(NULL, "[ \"$(ls -A)\" = a.lock ]"), 0, "something is left");
}

Test(moments, a_dead_lock_does_not_come_back_over_a_new_one) {
    pid_t pid = moved_by_mistake(breaks_nothing, dead_process());
    plant(getpid());
    and_then(pid, "true", getpid());
}

Test(moments, a_lock_comes_back_when_another_breaker_has_moved_ours) {
    pid_t pid = moved_by_mistake(breaks_nothing, getpid());
    and_then(pid, "mv a.lock .filelock-stale.another", getpid());
}

/* py-filelock removes whatever has the name. */
Test(moments, a_lock_that_its_holder_releases_by_name_does_not_come_back) {
    pid_t pid = moved_by_mistake(breaks, getpid());
    and_then(pid, "rm a.lock", 0);
}

Test(moments, a_lock_that_its_holder_releases_aside_does_not_come_back) {
    pid_t pid = moved_by_mistake(breaks, getpid());
    and_then(pid, "rm .filelock-stale.*", 0);
}

/* The breaker is killed: whoever comes next gets the lock, and clears away. */
static void breaker_dies(bool (*where)(pid_t pid, long number)) {
    plant(dead_process());
    pid_t pid = moment_start(breaks);
    cr_assert(where(pid, SYS_renameat2));
    moment_kill(pid);
    cr_expect_neq(run_shell(NULL, "[ \"$(ls -A)\" = a.lock ]"), 0, "it has left nothing");
    pid = moment_start(breaks);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(run_shell(NULL, "[ \"$(ls -A)\" = a.lock ]"), 0, "its litter stays");
}

Test(moments, a_breaker_that_dies_before_the_exchange) {
    breaker_dies(moment_before);
}

Test(moments, a_breaker_that_dies_after_the_exchange) {
    breaker_dies(moment_after);
}

/* Its number may be given again: what it has left is in nobody's way. */
static int breaks_beside_litter(void) {
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof(name), ".filelock-stale.%d.%d", (int)getpid(), i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, "1\nanother.host\n", 15) != 15 || close(fd) < 0) {
            return 2;
        }
    }
    return breaks();
}

Test(moments, litter_of_one_who_had_our_number) {
    plant(dead_process());
    pid_t pid = moment_start(breaks_beside_litter);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(run_shell(NULL, "[ $(ls -A .filelock-stale.* | wc -l) = 3 ]"), 0,
                 "another host's stays");
}
