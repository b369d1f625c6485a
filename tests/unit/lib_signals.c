/* Signals during a wait: as in flock(2), for both kinds. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

static struct filelock *lock;
static volatile sig_atomic_t handled;

static void count(int number) {
    (void)number;
    handled++;
}

/* SIGALRM comes every 15 ms from now on. */
static void begin_alarms(int flags) {
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};
    struct itimerval often = {.it_value.tv_usec = 15000, .it_interval.tv_usec = 15000};
    handled = 0;
    cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
    cr_assert_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void end_alarms(void) {
    struct itimerval never = {0};
    cr_assert_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
}

/* Somebody else has it, for each kind in his way. */
static struct stranger stranger;
static void begin_flock(void) {
    scenario_begin();
    cr_assert_eq(filelock_create(&lock, "a.lock", 0), 0);
    stranger = stranger_locks("a", LOCK_EX);
}
static void end_flock(void) {
    stranger_leaves(stranger);
    filelock_destroy(lock);
    scenario_end();
}
static void begin_soft(void) {
    scenario_begin();
    cr_assert_eq(filelock_create(&lock, "a.lock", FILELOCK_SOFT), 0);
    put_file("a.lock", "");
}
static void end_soft(void) {
    filelock_destroy(lock);
    scenario_end();
}
TestSuite(signals_flock, .init = begin_flock, .fini = end_flock, .timeout = 120);
TestSuite(signals_soft, .init = begin_soft, .fini = end_soft, .timeout = 120);

static void with_restart_it_goes_on(void) {
    begin_alarms(SA_RESTART);
    cr_expect_eq(filelock_acquire(lock, 300000), -ETIMEDOUT);
    end_alarms();
    cr_expect_gt(handled, 1, "the handler runs during the wait");
}
static void without_restart_it_ends(void) {
    begin_alarms(0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), -EINTR);
    cr_expect_eq(filelock_acquire(lock, 60 * FILELOCK_SECOND), -EINTR);
    end_alarms();
    cr_expect_geq(handled, 2);
    cr_expect_not(filelock_is_held(lock));
}
/* Blocked by the program: pending afterwards, and the mask is as it was. */
static void blocked_stays_blocked(void) {
    sigset_t alarms, mask, pending;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    cr_assert_eq(sigprocmask(SIG_BLOCK, &alarms, NULL), 0);
    begin_alarms(0);
    cr_expect_eq(filelock_acquire(lock, 100000), -ETIMEDOUT);
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_eq(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    cr_expect(sigismember(&pending, SIGALRM));
    cr_expect_eq(handled, 0);
    for (int number = 1; number <= SIGRTMAX; number++) {
        cr_expect_eq(sigismember(&mask, number) == 1, number == SIGALRM, "signal %d", number);
    }
    end_alarms();
}

Test(signals_flock, with_restart_it_goes_on) {
    with_restart_it_goes_on();
}
Test(signals_flock, without_restart_it_ends) {
    without_restart_it_ends();
}
Test(signals_flock, blocked_stays_blocked) {
    blocked_stays_blocked();
}
Test(signals_soft, with_restart_it_goes_on) {
    with_restart_it_goes_on();
}
Test(signals_soft, without_restart_it_ends) {
    without_restart_it_ends();
}
Test(signals_soft, blocked_stays_blocked) {
    blocked_stays_blocked();
}

/* Signals that the program waits for in another way than by a handler stay its
 * own: here all real-time ones but the first. */
static void queued_signals_stay(void) {
    sigset_t used;
    siginfo_t info;
    struct timespec now = {0};
    sigemptyset(&used);
    for (int number = SIGRTMIN + 1; number <= SIGRTMAX; number++) {
        sigaddset(&used, number);
    }
    cr_assert_eq(sigprocmask(SIG_BLOCK, &used, NULL), 0);
    for (int number = SIGRTMIN + 1; number <= SIGRTMAX; number++) {
        cr_assert_eq(sigqueue(getpid(), number, (union sigval){.sival_int = number}), 0);
    }
    cr_expect_eq(filelock_acquire(lock, 50000), -ETIMEDOUT);
    for (int number = SIGRTMIN + 1; number <= SIGRTMAX; number++) {
        cr_expect_eq(sigtimedwait(&used, &info, &now), number, "signal %d", number);
    }
}

Test(signals_flock, queued_signals_stay) {
    queued_signals_stay();
}
