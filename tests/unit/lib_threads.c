/* Threads, cancellation, shared locks, deadlocks within one process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_visit.h"

TestSuite(threads, .init = lock_begin, .fini = lock_end, .timeout = 120);

static int visited(struct filelock *what, uint64_t timeout) {
    struct visit data = {.lock = what, .timeout = timeout};
    visit_start(&data);
    return visit_result(&data);
}

Test(threads, a_lock_belongs_to_its_thread) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(visited(lock, FILELOCK_ONCE), -ETIMEDOUT);
    cr_expect_eq(visited(lock, 10000), -ETIMEDOUT);
    cr_assert_eq(filelock_release(lock), 0);
    cr_expect_eq(visited(lock, FILELOCK_ONCE), 0);
}

Test(threads, or_to_the_process) {
    struct filelock *ours;
    cr_assert_eq(filelock_create(&ours, "b.lock", FILELOCK_PER_PROCESS), 0);
    cr_assert_eq(filelock_acquire(ours, FILELOCK_ONCE), 0);
    cr_expect_eq(visited(ours, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_count(ours), 1);
    cr_expect_eq(lock_state("b"), EXCLUSIVE);
    cr_assert_eq(filelock_release(ours), 0);
    cr_expect_eq(lock_state("b"), FREE);
    filelock_destroy(ours);
}

/* Threads of one object count on one number, with each kind; none is lost. */
static long counter;
static void *count(void *data) {
    for (int i = 0; i < 300; i++) {
        if (filelock_acquire(data, 60 * FILELOCK_SECOND) == 0) {
            long seen = counter;
            sched_yield();
            counter = seen + 1;
            (void)filelock_release(data);
        }
    }
    return NULL;
}

static void eight_count(struct filelock *what) {
    pthread_t threads[8];
    counter = 0;
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, count, what), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_expect_eq(counter, 2400, "%ld", counter);
}

Test(threads, eight_count_without_a_loss) {
    struct filelock *soft;
    eight_count(lock);
    cr_assert_eq(filelock_create(&soft, "b.lock", FILELOCK_SOFT), 0);
    eight_count(soft);
    filelock_destroy(soft);
}

/* Several hold it shared, and are gone: all they hold goes with the object. */
static void *share(void *data) {
    return filelock_acquire_shared(data, FILELOCK_ONCE) == 0 ? data : NULL;
}

Test(threads, destroy_releases_what_all_threads_hold) {
    struct filelock *shared;
    cr_assert_eq(filelock_create(&shared, "b.lock", 0), 0);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *done = NULL;
        cr_assert_eq(pthread_create(&thread, NULL, share, shared), 0);
        pthread_join(thread, &done);
        cr_expect(done);
    }
    cr_expect_eq(lock_state("b"), SHARED);
    filelock_destroy(shared);
    cr_expect_eq(lock_state("b"), FREE);
}

Test(threads, two_objects_in_one_thread_do_not_hang) {
    struct filelock *other;
    cr_assert_eq(filelock_create(&other, "./a.lock", 0), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_FOREVER), -EDEADLK);
    cr_expect_eq(filelock_acquire_shared(other, FILELOCK_FOREVER), -EDEADLK);
    /* Another thread may wait: we can let go. */
    cr_expect_eq(visited(other, 10000), -ETIMEDOUT);
    cr_assert_eq(filelock_release(lock), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_ONCE), 0);
    filelock_destroy(other);
    cr_expect_eq(lock_state("a"), FREE);
}

Test(threads, shared_locks) {
    struct filelock *other;
    cr_assert_eq(filelock_create(&other, "a.lock", 0), 0);
    cr_assert_eq(filelock_acquire_shared(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(lock_state("a"), SHARED);
    cr_expect_eq(filelock_acquire_shared(other, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_FOREVER), -EDEADLK, "shared by itself");
    cr_assert_eq(filelock_release(other), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), -EDEADLK);
    cr_expect_eq(filelock_count(lock), 1);
    cr_assert_eq(filelock_release(lock), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire_shared(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(lock_state("a"), EXCLUSIVE);
    cr_expect_eq(filelock_release_all(lock), 0);
    cr_expect_eq(lock_state("a"), FREE);
    filelock_destroy(other);
}

static void cancelled_by(void (*cancel)(struct visit *data), uint64_t timeout) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct visit data = {.lock = lock, .timeout = timeout};
    visit_start(&data);
    wait_until_queued(getpid());
    cancel(&data);
    cr_expect_eq(visit_result(&data), -ECANCELED, "%d", data.result);
    stranger_leaves(stranger);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0, "later acquires are not touched");
}

static void from_this_thread(struct visit *data) {
    filelock_cancel(data->lock);
}

static struct filelock *to_cancel;
static void on_signal(int number) {
    (void)number;
    filelock_cancel(to_cancel);
}
static void from_its_handler(struct visit *data) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    to_cancel = data->lock;
    cr_assert_eq((int)syscall(SYS_tgkill, getpid(), data->tid, SIGUSR1), 0);
}

Test(threads, a_wait_for_ever_can_be_cancelled) {
    cancelled_by(from_this_thread, FILELOCK_FOREVER);
}

Test(threads, a_limited_wait_can_be_cancelled) {
    cancelled_by(from_this_thread, 60 * FILELOCK_SECOND);
}

Test(threads, by_a_signal_handler_too) {
    cancelled_by(from_its_handler, FILELOCK_FOREVER);
}

/* All who wait on one object stand in the queue, and one call ends it for all. */
Test(threads, several_waits_are_cancelled) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct visit data[5];
    for (int i = 0; i < 5; i++) {
        data[i] = (struct visit){.lock = lock, .timeout = FILELOCK_FOREVER};
        visit_start(&data[i]);
        wait_until_queue_is(getpid(), i + 1);
    }
    filelock_cancel(lock);
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(visit_result(&data[i]), -ECANCELED, "%d", data[i].result);
    }
    stranger_leaves(stranger);
}

/* --- where the kernel cannot wait --- */

/* Nobody sees a poller wait: so again and again, until it has ended. */
struct poll {
    struct visit visit;
    volatile bool ended;
};
static void *poll_lock(void *data) {
    struct poll *poll = data;
    (void)visit(&poll->visit);
    poll->ended = true;
    return NULL;
}

static void a_poller_is_cancelled(struct filelock *what, uint64_t timeout) {
    struct poll data = {.visit = {.lock = what, .timeout = timeout}};
    pthread_t thread;
    struct timespec moment = {.tv_nsec = 1000000};
    cr_assert_eq(pthread_create(&thread, NULL, poll_lock, &data), 0);
    while (!data.ended) {
        filelock_cancel(what);
        nanosleep(&moment, NULL);
    }
    pthread_join(thread, NULL);
    cr_expect_eq(data.visit.result, -ECANCELED, "%d", data.visit.result);
}

static void no_timers(void) {
    struct rlimit none = {0, 0};
    cr_assert_eq(setrlimit(RLIMIT_SIGPENDING, &none), 0);
}

Test(threads, without_a_timer_too) {
    no_timers();
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    cr_expect_eq(filelock_acquire(lock, 30000), -ETIMEDOUT);
    a_poller_is_cancelled(lock, 20 * FILELOCK_SECOND);
    stranger_leaves(stranger);
    cr_expect_eq(filelock_acquire(lock, 30000), 0);
}

Test(threads, a_soft_wait_can_be_cancelled) {
    struct filelock *soft;
    put_file("b.lock", "");
    cr_assert_eq(filelock_create(&soft, "b.lock", FILELOCK_SOFT), 0);
    a_poller_is_cancelled(soft, 20 * FILELOCK_SECOND);
    filelock_destroy(soft);
}

/* Again and again, and once for each wait: none must be missed. */
static int told[2]; /* a byte for each wait that is over */
static void *wait_again(void *data) {
    long cancelled = 0;
    for (int i = 0; i < 300; i++) {
        cancelled += filelock_acquire(data, FILELOCK_FOREVER) == -ECANCELED;
        (void)write(told[1], "x", 1);
    }
    return (void *)cancelled;
}

Test(threads, no_cancellation_is_lost) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    pthread_t thread;
    void *cancelled = NULL;
    char byte;
    cr_assert_eq(pipe(told), 0);
    cr_assert_eq(pthread_create(&thread, NULL, wait_again, lock), 0);
    for (int i = 0; i < 300; i++) {
        wait_until_queued(getpid());
        filelock_cancel(lock);
        cr_assert_eq(read(told[0], &byte, 1), 1);
    }
    pthread_join(thread, &cancelled);
    cr_expect_eq((long)cancelled, 300);
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        struct sigaction action;
        cr_assert_eq(sigaction(i, NULL, &action), 0);
        cr_expect_eq(action.sa_handler, SIG_DFL, "signal %d", i);
    }
    stranger_leaves(stranger);
}

Test(threads, a_default_timeout) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    filelock_set_timeout(lock, 20000);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_DEFAULT), -ETIMEDOUT);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t usec = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    cr_expect_eq(filelock_acquire_until(lock, usec + 20000), -ETIMEDOUT);
    cr_expect_eq(filelock_acquire_until(lock, usec), -ETIMEDOUT);
    stranger_leaves(stranger);
    cr_expect_eq(filelock_acquire_until(lock, usec), 0, "one try is made all the same");
}

/* The longest that is no name for another thing: a moment after all time. */
Test(threads, a_timeout_of_half_a_million_years) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct visit data = {.lock = lock, .timeout = UINT64_MAX - 2};
    visit_start(&data);
    wait_until_queued(getpid());
    stranger_leaves(stranger);
    cr_expect_eq(visit_result(&data), 0, "%d", data.result);
}

/* Threads that hold and wait while another forks: the child starts afresh. */
static volatile bool stop;
static void *take_turns(void *data) {
    while (!stop) {
        if (filelock_acquire(data, 1000) == 0) {
            (void)filelock_release(data);
        }
    }
    return NULL;
}

Test(threads, forks_in_the_middle) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, take_turns, lock), 0);
    }
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(30);
            int bad = filelock_is_held(lock) || filelock_acquire(lock, 20 * FILELOCK_SECOND) != 0 ||
                      filelock_release(lock) != 0;
            for (int s = SIGRTMIN; s <= SIGRTMAX; s++) {
                struct sigaction action;
                bad |= sigaction(s, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
            }
            _exit(bad);
        }
        int status;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect_eq(status, 0, "child %d: %x", i, status);
    }
    stop = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}
