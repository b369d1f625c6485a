/* What lies between the wake-up of a waiter and the return of filelock_acquire, and
 * what is left behind: nothing that comes, and, once the lock is released, nothing. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "lib/flock_call.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"
#include "tests/unit/lib_visit.h"

TestSuite(handover, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static bool has_timers(void) {
    return *file_content("/proc/self/timers") != '\0';
}

static bool sleeps_undisturbed(long milliseconds) {
    struct timespec time = {.tv_nsec = milliseconds * 1000000};
    return nanosleep(&time, NULL) == 0;
}

/* 0: got, and nothing has been left but, as long as it is held (`keeps`), one handler,
 * and a timer that does not tick. */
static int take_and_look(uint64_t timeout, bool keeps) {
    struct filelock *mine;
    struct sigaction before[SIGRTMAX + 1], now;
    sigset_t mask, mask_now;
    unsigned long long handlers = caught();
    memset(before, 0, sizeof(before));
    for (int number = 1; number <= SIGRTMAX; number++) {
        (void)sigaction(number, NULL, &before[number]);
    }
    (void)sigprocmask(SIG_BLOCK, NULL, &mask);
    if (filelock_create(&mine, "a.lock", 0) < 0 || filelock_acquire(mine, timeout) != 0) {
        return 1;
    }
    (void)syscall(SYS_getppid); /* a mark for who traces this */
    unsigned long long kept = caught() ^ handlers;
    if (!sleeps_undisturbed(40) || kept & (kept - 1) || (!keeps && (kept || has_timers())) ||
        filelock_release(mine) != 0 || caught() != handlers || has_timers()) {
        return 2;
    }
    (void)sigprocmask(SIG_BLOCK, NULL, &mask_now);
    for (int number = 1; number <= SIGRTMAX; number++) {
        memset(&now, 0, sizeof(now));
        (void)sigaction(number, NULL, &now);
        if (now.sa_handler != before[number].sa_handler ||
            sigismember(&mask, number) != sigismember(&mask_now, number)) {
            return 3;
        }
    }
    filelock_destroy(mine);
    return 0;
}

static int for_ever(void) {
    return take_and_look(FILELOCK_FOREVER, !FLOCK_CALL_STEPS);
}
static int within_a_minute(void) {
    return take_and_look(60 * FILELOCK_SECOND, true);
}
/* Long enough to be in the queue by then on a busy machine. */
#define A_MOMENT (FILELOCK_SECOND * 4 / 10)
static int within_a_moment(void) {
    return take_and_look(A_MOMENT, true);
}
static int with_all_blocked(void) {
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    return take_and_look(A_MOMENT, false);
}

/* It stands before the call in which it waits, and is to get the lock there. */
static pid_t about_to_get_it(int (*body)(void)) {
    struct stranger stranger;
    pid_t pid = moment_about_to_wait(body, &stranger);
    stranger_leaves(stranger);
    return pid;
}

static void expect_well(pid_t pid) {
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

static void calls_on_the_way(int (*body)(void), int most) {
    int calls = 0;
    pid_t pid = about_to_get_it(body);
    while (moment_next(pid) != SYS_getppid) {
        cr_assert(++calls < 100);
    }
    cr_expect(calls <= most, "%d system calls", calls);
    expect_well(pid);
}

/* The look at the path, without which nobody may believe that he has it. On machines
 * that flock_call.h does not know, the timer by which it could be cancelled as well. */
Test(handover, one_call_without_a_limit) {
    calls_on_the_way(for_ever, FLOCK_CALL_STEPS ? 1 : 2);
}

/* And the timer. */
Test(handover, two_calls_with_a_limit) {
    calls_on_the_way(within_a_minute, 2);
}

/* The time is up when the lock has just come: the tick must not come behind it. */
static void a_tick_on_its_way(int (*body)(void), bool (*stop)(pid_t, long), long call) {
    pid_t pid = about_to_get_it(body);
    cr_assert(stop(pid, call));
    cr_assert(sleeps_undisturbed(500));
    expect_well(pid);
}

Test(handover, a_tick_before_the_timer_is_gone) {
    a_tick_on_its_way(within_a_moment, moment_before, SYS_timer_delete);
}
Test(handover, a_tick_while_all_signals_are_blocked) {
    a_tick_on_its_way(with_all_blocked, moment_before, SYS_timer_delete);
}
Test(handover, no_tick_when_the_timer_is_gone) {
    a_tick_on_its_way(within_a_moment, moment_after, CALL_OF_SETTIME);
}

/* A signal of the program's at any moment of it is handled, once, and harms nothing. */
static volatile sig_atomic_t handled;
static void handle(int number) {
    (void)number;
    handled++;
}
static int handles_one(uint64_t timeout) {
    struct sigaction action = {.sa_handler = handle};
    int r = sigaction(SIGUSR1, &action, NULL) < 0 ? 9 : take_and_look(timeout, true);
    return r ? r : handled != 1;
}
static int handles_one_for_ever(void) {
    return handles_one(FILELOCK_FOREVER);
}
static int handles_one_within_a_minute(void) {
    return handles_one(60 * FILELOCK_SECOND);
}

static void a_signal_on_the_way(int (*body)(void), int calls) {
    for (int call = 1; call <= calls; call++) {
        pid_t pid = about_to_get_it(body);
        for (int i = 0; i < call; i++) {
            cr_assert_geq(moment_next(pid), 0);
        }
        cr_assert_eq(kill(pid, SIGUSR1), 0);
        expect_well(pid);
    }
}

Test(handover, a_signal_on_the_way_without_a_limit) {
    a_signal_on_the_way(handles_one_for_ever, 1);
}
Test(handover, a_signal_on_the_way_with_a_limit) {
    a_signal_on_the_way(handles_one_within_a_minute, 2);
}

/* Without a limit the wait is flock(2), and nothing but that. */
Test(handover, no_handler_and_no_timer_without_a_limit) {
    if (!FLOCK_CALL_STEPS) {
        scenario_skip("on this machine it takes a timer to cancel it");
    }
    pid_t pid = moment_start(for_ever);
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    cr_assert(moment_before(pid, SYS_flock), "the try");
    for (;;) {
        long number = moment_next(pid);
        cr_expect_neq(number, SYS_rt_sigaction);
        cr_expect_neq(number, SYS_timer_create);
        if (number == SYS_flock) {
            break;
        }
    }
    stranger_leaves(stranger);
    expect_well(pid);
}

/* --- while it is held, and afterwards --- */

static struct filelock *held;
static unsigned long long handlers_before;

/* The number of the signal that has a handler now, and had none; 0: none. */
static int kept_number(void) {
    unsigned long long kept = caught() & ~handlers_before;
    return kept ? __builtin_ctzll(kept) + 1 : 0;
}
static bool nothing_is_left(void) {
    return caught() == handlers_before && !has_timers();
}
static bool get_it(void) {
    handlers_before = caught();
    return filelock_create(&held, "a.lock", 0) == 0 &&
           filelock_acquire(held, 60 * FILELOCK_SECOND) == 0;
}

static int ended(int (*body)(void)) {
    return moment_end(about_to_get_it(body));
}

/* The signal does what it does in any program: it ends it. */
static int sends_it_to_itself(void) {
    int number = get_it() ? kept_number() : 0;
    return number && raise(number) == 0;
}

Test(handover, a_signal_of_the_program_has_its_default_action_meanwhile) {
    int status = ended(sends_it_to_itself);
    cr_expect(WIFSIGNALED(status), "%x", (unsigned)status);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) >= SIGRTMIN, "%x", (unsigned)status);
}

/* An action that the program gives it stays, and so does what it has blocked. */
static int uses_it(void) {
    struct sigaction action = {.sa_handler = handle}, now;
    sigset_t one, pending;
    int number = get_it() ? kept_number() : 0;
    (void)sigemptyset(&one);
    if (!number || sigaddset(&one, number) < 0 || sigaction(number, &action, NULL) < 0 ||
        sigprocmask(SIG_BLOCK, &one, NULL) < 0 || raise(number) != 0) {
        return 1;
    }
    if (filelock_release(held) != 0 || sigpending(&pending) < 0 ||
        sigismember(&pending, number) != 1 || handled != 0) {
        return 2;
    }
    (void)sigprocmask(SIG_UNBLOCK, &one, NULL);
    return handled != 1 || sigaction(number, NULL, &now) < 0 || now.sa_handler != handle ||
           has_timers();
}

Test(handover, a_signal_that_the_program_takes_meanwhile_is_its_own) {
    cr_expect_eq(ended(uses_it), 0);
}

/* Nor is it away for a moment, in which the signal would end the program. */
static int releases_what_it_uses(void) {
    struct sigaction action = {.sa_handler = handle};
    int number = get_it() ? kept_number() : 0;
    if (!number || sigaction(number, &action, NULL) < 0) {
        return 1;
    }
    (void)syscall(SYS_getppid); /* a mark for who traces this */
    int r = filelock_release(held);
    (void)syscall(SYS_getppid);
    return r != 0;
}

Test(handover, an_action_of_the_program_is_never_away) {
    pid_t pid = about_to_get_it(releases_what_it_uses);
    cr_assert(moment_before(pid, SYS_getppid));
    long number;
    while ((number = moment_next(pid)) >= 0 && number != SYS_getppid) {
        cr_expect(number != SYS_rt_sigaction || moment_arguments[1] == 0, "it is changed");
    }
    cr_expect_eq(number, SYS_getppid);
    cr_expect_eq(moment_end(pid), 0);
}

static int destroys_it(void) {
    bool got = get_it();
    filelock_destroy(held);
    return !got || !nothing_is_left();
}

Test(handover, nothing_is_left_by_an_object_that_is_destroyed) {
    cr_expect_eq(ended(destroys_it), 0);
}

/* A timer of the child's gets the number that the parent's has. */
static int forks_while_it_is_held(void) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    struct itimerspec now;
    int status;
    bool got = get_it();
    pid_t pid = fork();
    if (pid == 0) {
        struct filelock *other;
        _exit(!nothing_is_left() || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
              filelock_create(&other, "b.lock", 0) < 0 ||
              filelock_acquire(other, FILELOCK_ONCE) != 0 || filelock_release(other) != 0 ||
              timer_gettime(timer, &now) < 0);
    }
    return !got || waitpid(pid, &status, 0) != pid || status != 0 || kept_number() == 0 ||
           filelock_release(held) != 0 || !nothing_is_left();
}

Test(handover, a_child_has_nothing_of_it) {
    cr_expect_eq(ended(forks_while_it_is_held), 0);
}

/* What it gets has been replaced, and what it waits for then does not come. */
static int gets_nothing(void) {
    handlers_before = caught();
    return filelock_create(&held, "a.lock", 0) < 0 ||
           filelock_acquire(held, FILELOCK_SECOND / 4) != -ETIMEDOUT || !nothing_is_left();
}

Test(handover, nothing_is_left_by_an_acquire_that_fails_in_the_end) {
    struct stranger next;
    expect_well(moment_replaced(gets_nothing, &next));
    stranger_leaves(next);
}
