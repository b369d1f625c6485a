/* The signal that ends waits, beside a program that uses signals itself: by a handler,
 * by sigwait(3), in other threads; and cancelling by it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"
#include "tests/unit/lib_visit.h"

TestSuite(wait_signal, .init = lock_begin, .fini = lock_end, .timeout = 120);

/* --- a thread that waits --- */

struct waiter {
    struct visit visit;
    sigset_t blocked;
    bool is_sent;     /* ... to itself, what it blocks */
    bool has_pending; /* what it blocks, afterwards */
};

static int blocked_number(const struct waiter *waiter) {
    int number = 1;
    while (number <= SIGRTMAX && sigismember(&waiter->blocked, number) != 1) {
        number++;
    }
    return number;
}

static void *wait_for_it(void *data) {
    struct waiter *waiter = data;
    siginfo_t info;
    struct timespec now = {0};
    (void)pthread_sigmask(SIG_BLOCK, &waiter->blocked, NULL);
    if (waiter->is_sent) {
        (void)pthread_kill(pthread_self(), blocked_number(waiter));
    }
    (void)visit(&waiter->visit);
    waiter->has_pending = sigtimedwait(&waiter->blocked, &info, &now) > 0;
    return NULL;
}

static void start(struct waiter *waiter) {
    waiter->visit.lock = lock;
    cr_assert_eq(pthread_create(&waiter->visit.thread, NULL, wait_for_it, waiter), 0);
}
static int result(struct waiter *waiter) {
    return visit_result(&waiter->visit);
}

/* The real-time signal that has a handler just now; 0: none. */
static int taken(void) {
    unsigned long long handlers = caught();
    for (int number = SIGRTMIN; number < SIGRTMAX; number++) { /* the last: valgrind's */
        if (handlers >> (number - 1) & 1) {
            return number;
        }
    }
    return 0;
}
static int taken_in_the_end(void) {
    struct timespec moment = {.tv_nsec = 1000000};
    int number = 0;
    for (int i = 0; i < 30000 && !(number = taken()); i++) {
        nanosleep(&moment, NULL);
    }
    cr_assert_neq(number, 0);
    return number;
}

static void block_all(void) {
    sigset_t all;
    sigfillset(&all);
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
}

/* --- signals of the program's --- */

/* As it should be in a program with sigwait: all threads block all signals. */
static void signals_are_waited_for(uint64_t timeout, bool by_kill) {
    struct waiter waiter = {.visit.timeout = timeout};
    block_all();
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    start(&waiter);
    for (int i = 1; i <= 10; i++) {
        siginfo_t info;
        sigset_t one;
        struct timespec patience = {.tv_sec = 30};
        wait_until_queued(getpid());
        int number = taken_in_the_end();
        sigemptyset(&one);
        sigaddset(&one, number);
        cr_assert_eq(by_kill ? kill(getpid(), number)
                             : sigqueue(getpid(), number, (union sigval){.sival_int = i}),
                     0);
        cr_assert_eq(sigtimedwait(&one, &info, &patience), number, "signal %d", i);
        cr_expect_eq(info.si_pid, getpid());
        if (!by_kill) {
            cr_expect_eq(info.si_value.sival_int, i);
            cr_expect_eq(info.si_code, SI_QUEUE);
        }
    }
    stranger_leaves(stranger);
    cr_expect_eq(result(&waiter), 0, "%d", waiter.visit.result);
}

Test(wait_signal, whoever_waits_for_a_signal_gets_it) {
    signals_are_waited_for(60 * FILELOCK_SECOND, false);
}
Test(wait_signal, whoever_waits_for_a_signal_gets_it_from_kill) {
    signals_are_waited_for(60 * FILELOCK_SECOND, true);
}
Test(wait_signal, whoever_waits_for_a_signal_gets_it_without_a_limit) {
    signals_are_waited_for(FILELOCK_FOREVER, false);
}

/* Sent to the very thread that waits for the lock: there for it afterwards. */
Test(wait_signal, what_a_thread_blocks_stays_pending) {
    struct waiter waiter = {.visit.timeout = 60 * FILELOCK_SECOND};
    block_all();
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    start(&waiter);
    wait_until_queued(getpid());
    int number = taken_in_the_end();
    sigaddset(&waiter.blocked, number);
    cr_assert_eq(pthread_kill(waiter.visit.thread, number), 0);
    stranger_leaves(stranger);
    cr_expect_eq(result(&waiter), 0, "%d", waiter.visit.result);
    cr_expect(waiter.has_pending);
}

/* A second waiter, whose thread blocks what the first has taken, and has one. */
Test(wait_signal, each_takes_what_its_own_thread_does_not_use) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct waiter first = {.visit.timeout = 60 * FILELOCK_SECOND};
    struct waiter second = {.visit.timeout = 50000, .is_sent = true};
    start(&first);
    wait_until_queued(getpid());
    sigaddset(&second.blocked, taken_in_the_end());
    start(&second);
    cr_expect_eq(result(&second), -ETIMEDOUT, "%d", second.visit.result);
    cr_expect(second.has_pending);
    stranger_leaves(stranger);
    cr_expect_eq(result(&first), 0, "%d", first.visit.result);
}

/* Another thread has one pending as the last wait ends. */
Test(wait_signal, what_another_thread_has_pending_stays) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct waiter waiter = {.visit.timeout = 60 * FILELOCK_SECOND};
    sigset_t one;
    siginfo_t info;
    struct timespec now = {0};
    start(&waiter);
    wait_until_queued(getpid());
    int number = taken_in_the_end();
    sigemptyset(&one);
    sigaddset(&one, number);
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, &one, NULL), 0);
    cr_assert_eq(pthread_kill(pthread_self(), number), 0);
    stranger_leaves(stranger);
    cr_expect_eq(result(&waiter), 0, "%d", waiter.visit.result);
    cr_expect_eq(taken(), 0);
    cr_expect_eq(sigtimedwait(&one, &info, &now), number);
}

/* One comes when the time is up, and signals are blocked. */
static int keeps_its_signals(void) {
    struct filelock *mine;
    sigset_t all, pending;
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, NULL) < 0 || filelock_create(&mine, "a.lock", 0) < 0 ||
        filelock_acquire(mine, 20000) != -ETIMEDOUT || sigpending(&pending) < 0) {
        return 2;
    }
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        if (sigismember(&pending, number)) {
            return 0;
        }
    }
    return 1;
}

Test(wait_signal, a_signal_at_the_end_of_a_wait_is_not_swallowed) {
    const long moments[] = {SYS_timer_delete, SYS_rt_sigaction};
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    for (int i = 0; i < 2; i++) {
        pid_t pid = moment_start(keeps_its_signals);
        cr_assert(moment_before(pid, SYS_timer_create));
        int number = (int)(uint32_t)moment_peek(pid, moment_arguments[1] + sizeof(union sigval));
        cr_assert(number >= SIGRTMIN && number <= SIGRTMAX, "%d", number);
        cr_assert(moment_before(pid, moments[i]));
        cr_assert_eq(kill(pid, number), 0);
        int status = moment_end(pid);
        cr_expect_eq(status, 0, "%d: %x", i, (unsigned)status);
    }
    stranger_leaves(stranger);
}

/* --- many --- */

#define MANY 150

/* All stand in the kernel's queue, and all are woken. */
static void many_wait(uint64_t timeout) {
    static struct waiter waiters[MANY];
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    for (int i = 0; i < MANY; i++) {
        waiters[i].visit.timeout = timeout;
        start(&waiters[i]);
    }
    wait_until_queue_is(getpid(), MANY);
    filelock_cancel(lock);
    for (int i = 0; i < MANY; i++) {
        cr_expect_eq(result(&waiters[i]), -ECANCELED, "%d: %d", i, waiters[i].visit.result);
    }
    cr_expect_eq(taken(), 0);
    stranger_leaves(stranger);
}

Test(wait_signal, many_threads_without_a_limit) {
    many_wait(FILELOCK_FOREVER);
}
Test(wait_signal, many_threads_with_a_limit) {
    many_wait(60 * FILELOCK_SECOND);
}

/* --- cancelling --- */

static int in_handler[2], out_of_handler[2];
static void stay(int number) {
    char byte = 0;
    (void)number;
    int saved = errno;
    (void)!write(in_handler[1], &byte, 1);
    (void)!read(out_of_handler[0], &byte, 1);
    errno = saved;
}

/* It comes while a handler of the program's has interrupted the wait. */
static void cancelled_below_a_handler(uint64_t timeout) {
    struct sigaction action = {.sa_handler = stay, .sa_flags = SA_RESTART};
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct waiter waiter = {.visit.timeout = timeout};
    char byte = 0;
    cr_assert_eq(pipe(in_handler), 0);
    cr_assert_eq(pipe(out_of_handler), 0);
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    start(&waiter);
    wait_until_queued(getpid());
    cr_assert_eq(pthread_kill(waiter.visit.thread, SIGUSR1), 0);
    cr_assert_eq(read(in_handler[0], &byte, 1), 1);
    filelock_cancel(lock);
    cr_assert_eq(write(out_of_handler[1], &byte, 1), 1);
    cr_expect_eq(result(&waiter), -ECANCELED, "%d", waiter.visit.result);
    stranger_leaves(stranger);
}

Test(wait_signal, cancelled_below_a_handler) {
    cancelled_below_a_handler(FILELOCK_FOREVER);
}
Test(wait_signal, cancelled_below_a_handler_with_a_limit) {
    cancelled_below_a_handler(60 * FILELOCK_SECOND);
}

/* No signal can be queued any more, and the program uses those that need no room. */
static volatile sig_atomic_t disturbed;
static void disturb(int number) {
    (void)number;
    disturbed++;
}
static void cancelled_without_room(bool used) {
    static const int older[] = {SIGSTKFLT, SIGPWR, SIGURG, SIGIO, SIGWINCH};
    struct sigaction action = {.sa_handler = disturb}, now;
    struct rlimit none = {0, 0};
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct waiter waiter = {.visit.timeout = FILELOCK_FOREVER};
    for (int i = 0; used && i < 5; i++) {
        cr_assert_eq(sigaction(older[i], &action, NULL), 0);
    }
    start(&waiter);
    wait_until_queued(getpid());
    cr_assert_eq(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    filelock_cancel(lock);
    cr_expect_eq(result(&waiter), -ECANCELED, "%d", waiter.visit.result);
    cr_expect_eq(disturbed, 0);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(sigaction(older[i], NULL, &now), 0);
        cr_expect_eq(now.sa_handler, used ? disturb : SIG_DFL, "signal %d", older[i]);
    }
    stranger_leaves(stranger);
}

Test(wait_signal, cancelled_without_room_for_signals) {
    cancelled_without_room(false);
}
Test(wait_signal, cancelled_without_a_signal_that_is_free) {
    cancelled_without_room(true);
}

/* From a handler, at each system call of the acquire. */
static struct filelock *to_cancel;
static void cancel(int number) {
    (void)number;
    filelock_cancel(to_cancel);
}
static int is_cancelled(uint64_t timeout) {
    struct sigaction action = {.sa_handler = cancel, .sa_flags = SA_RESTART};
    if (sigaction(SIGUSR1, &action, NULL) < 0) {
        return 3;
    }
    unsigned long long handlers = caught();
    if (filelock_create(&to_cancel, "a.lock", 0) < 0 ||
        filelock_acquire(to_cancel, timeout) != -ECANCELED) {
        return 1;
    }
    if (caught() != handlers) {
        return 2;
    }
    return *file_content("/proc/self/timers") != '\0';
}
static int is_cancelled_for_ever(void) {
    return is_cancelled(FILELOCK_FOREVER);
}
static int is_cancelled_within_a_minute(void) {
    return is_cancelled(60 * FILELOCK_SECOND);
}

static void cancelled_at_each_call(int (*body)(void)) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    for (int call = 1;; call++) {
        pid_t pid = moment_start(body);
        long number = 0;
        cr_assert(moment_before(pid, SYS_flock), "the try");
        for (int i = 0; i < call; i++) {
            number = moment_next(pid);
        }
        cr_assert_eq(kill(pid, SIGUSR1), 0);
        int status = moment_end(pid);
        cr_expect_eq(status, 0, "call %d (%ld): %x", call, number, (unsigned)status);
        if (number == SYS_flock) {
            break;
        }
    }
    stranger_leaves(stranger);
}

Test(wait_signal, cancelled_at_each_call) {
    cancelled_at_each_call(is_cancelled_for_ever);
}
Test(wait_signal, cancelled_at_each_call_with_a_limit) {
    cancelled_at_each_call(is_cancelled_within_a_minute);
}
