/* Waiting: how long, what is said, and signals (contract W1, W4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/marker.h"
#include "tests/support/replacer.h"
#include "tests/unit/lib_moment.h"

TestSuite(waiting, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 120);

Test(waiting, a_timeout_fails_with_EBUSY_and_says_so) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=200ms", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
    cr_expect(strstr(file_content("log"), "timeout after 200 ms"), "%s", file_content("log"));
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_eq(puppet_call(puppet, "handlers"), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    (void)puppet_end(puppet);
}

Test(waiting, a_timeout_may_go_on_and_says_so) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet =
        puppet_start("*.csv timeout=50ms on-timeout=open", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect(strstr(file_content("log"), "without a lock"), "%s", file_content("log"));
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* Half of the time has gone by when the first of two files is free; for the second there
 * is not so much left that there would be something to say. */
static void expect_one_timeout_for_both(const char *command, const char *free_now) {
    struct stranger first = stranger_locks("a.csv", LOCK_EX);
    struct stranger second = stranger_locks("b.csv", LOCK_EX);
    struct puppet *puppet =
        puppet_start("*.csv timeout=4s warn-after=2s", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "%s", command);
    wait_until_said("a.csv: locked");
    cr_assert_eq(run_shell(NULL, free_now), 0);
    stranger_leaves(first);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_expect(!strstr(file_content("log"), "b.csv: locked"), "%s", file_content("log"));
    stranger_leaves(second);
    (void)puppet_end(puppet);
}

Test(waiting, one_timeout_for_both_names_of_a_rename) {
    put_file("b.csv", "1\n");
    expect_one_timeout_for_both("rename a.csv b.csv", "true");
}

Test(waiting, one_timeout_where_a_link_leads_elsewhere_meanwhile) {
    put_file("b.csv", "1\n");
    cr_assert_eq(symlink("a.csv", "link"), 0);
    expect_one_timeout_for_both("open link 2", "ln -s b.csv new && mv -T new link");
}

Test(waiting, timeout_zero_does_not_wait) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv timeout=0", "AUTOLOCK_LOG=log", NULL);
    cr_expect_eq(puppet_call(puppet, "fopen a.csv r+"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(waiting, a_long_wait_names_the_holder) {
    char expected[64];
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(puppet, "open a.csv 2");
    for (int i = 0; i < 3000 && !*file_content("log"); i++) {
        usleep(10000);
    }
    snprintf(expected, sizeof(expected), "a.csv: locked by pid %d (", (int)stranger.pid);
    cr_expect(strstr(file_content("log"), expected), "%s", file_content("log"));
    cr_expect(strncmp(file_content("log"), "autolock: waiting ", 18) == 0, "%s",
              file_content("log"));
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 3);
    cr_expect(strstr(file_content("log"), "autolock: got "), "%s", file_content("log"));
    (void)puppet_end(puppet);
}

Test(waiting, signals_as_in_flock) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d %d", SIGUSR1, SA_RESTART), 0);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    /* One after the other: of two at once the kernel, too, restarts flock. */
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    cr_expect_eq(puppet_call(puppet, "signals"), 2);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_eq(puppet_call(puppet, "handlers"), 0);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* The queue is left now and then, to look who has the lock; afterwards signals count as
 * before. */
Test(waiting, signals_after_the_queue_was_left) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv warn-after=50ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d %d", SIGUSR1, SA_RESTART), 0);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    cr_assert_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* And in between: it has been stopped while it looks, with its signals held back. */
Test(waiting, a_signal_while_the_queue_is_left) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    moment_join(puppet->pid);
    cr_assert(moment_before(puppet->pid, SYS_openat));
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    moment_leave(puppet->pid);
    cr_expect_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* Nor is the one lost that comes when they are let in again, just before flock(2). */
Test(waiting, a_signal_just_before_the_queue_is_entered_again) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    moment_join(puppet->pid);
    cr_assert(moment_before(puppet->pid, SYS_openat));
    do {
        cr_assert(moment_before(puppet->pid, SYS_rt_sigprocmask));
    } while (moment_arguments[1] == 0 ||
             moment_peek(puppet->pid, moment_arguments[1]) == UINT64_MAX);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    moment_leave(puppet->pid);
    cr_expect_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

static bool takes(pid_t pid, int number) {
    char path[64];
    unsigned long long blocked = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)pid);
    const char *line = strstr(file_content(path), "SigBlk:");
    cr_assert(line && sscanf(line, "SigBlk: %llx", &blocked) == 1);
    return !(blocked >> (number - 1) & 1);
}

/* Sends the signal until the open has ended: one that comes while the thread looks who
 * has the lock is taken by another, of which there are several: one that is in its
 * handler blocks the next. */
static void expect_that_signals_end_the_open(struct puppet *puppet) {
    int looks = 0, signals = 0;
    while (!takes(puppet->pid, SIGUSR2)) {
        cr_assert_lt(looks++, 2000, "it holds the signal back");
        usleep(1000);
    }
    do {
        cr_assert_lt(signals++, 30, "so many signals have not ended the open");
        cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
        cr_assert_eq(puppet_result(puppet), -3);
    } while (puppet_first(&puppet, 1, 20) < 0);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
}

/* Ctrl-C of a Python program with threads: a signal that is sent to the process is for
 * the thread that waits, as without us, and not for one that happens not to hold it back. */
Test(waiting, signals_beside_other_threads) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv warn-after=50ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    cr_assert_eq(puppet_call(puppet, "idle_threads 4"), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    wait_until_queued(puppet->pid);
    expect_that_signals_end_the_open(puppet);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* The same where the lock is polled for. */
Test(waiting, signals_beside_other_threads_while_it_polls) {
    struct puppet *other = puppet_start("*.csv kind=soft", NULL);
    cr_assert_eq(puppet_call(other, "open a.csv 2"), 3);
    struct puppet *puppet =
        puppet_start("*.csv kind=soft warn-after=50ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    cr_assert_eq(puppet_call(puppet, "idle_threads 4"), 0);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_said("waiting");
    expect_that_signals_end_the_open(puppet);
    (void)puppet_end(other);
    (void)puppet_end(puppet);
}

/* A signal that comes close to one of our own ticks, which end the same system
 * call, must not be taken for it. */
Test(waiting, no_signal_is_mistaken_for_a_tick) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    for (int i = 0; i < 100; i++) {
        puppet_tell(puppet, "open a.csv 2");
        wait_until_queued(puppet->pid);
        cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
        cr_assert_eq(puppet_result(puppet), -3);
        cr_assert_eq(puppet_result(puppet), -1, "round %d", i);
        cr_assert_eq(puppet->error, EINTR);
    }
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

/* Such as some versions of py-filelock: it used to fail with ESTALE after a thousand. */
Test(waiting, beside_somebody_who_replaces_the_sidecar) {
    struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    pid_t pid = replacer_start("a.csv.lock", 40000);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3, "%s", file_content("log"));
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(replacer_end(pid), 0);
    (void)puppet_end(puppet);
}

Test(waiting, beside_somebody_who_replaces_it_for_longer_than_the_timeout) {
    struct puppet *puppet = puppet_start("*.csv timeout=2s", "AUTOLOCK_LOG=log", NULL);
    pid_t pid = replacer_start("a.csv.lock", REPLACER_FOR_EVER);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_expect(strstr(file_content("log"), "timeout after 2 s"), "%s", file_content("log"));
    replacer_kill(pid);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    (void)puppet_end(puppet);
}
