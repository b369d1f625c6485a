/* FILELOCK_PER_PROCESS: any thread counts on what another holds, and may release it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

static struct filelock *lock;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(filelock_create(&lock, "a.lock", FILELOCK_PER_PROCESS), 0);
}

static void finish(void) {
    filelock_destroy(lock);
    cr_expect_neq(lock_state("a"), EXCLUSIVE);
}

TestSuite(per_process, .init = begin, .fini = scenario_end, .timeout = 120);

/* --- calls in another thread --- */

struct call {
    struct filelock *lock;
    char what; /* 'a'cquire, 's'hared, 'r'elease */
    uint64_t timeout;
    int result;
    pthread_t thread;
};

static void *run(void *data) {
    struct call *call = data;
    switch (call->what) {
    case 'a':
        call->result = filelock_acquire(call->lock, call->timeout);
        break;
    case 's':
        call->result = filelock_acquire_shared(call->lock, call->timeout);
        break;
    default:
        call->result = filelock_release(call->lock);
    }
    return NULL;
}

static void start(struct call *call) {
    cr_assert_eq(pthread_create(&call->thread, NULL, run, call), 0);
}

static int result(struct call *call) {
    cr_assert_eq(pthread_join(call->thread, NULL), 0);
    return call->result;
}

static int elsewhere(struct filelock *what, char which, uint64_t timeout) {
    struct call call = {.lock = what, .what = which, .timeout = timeout};
    start(&call);
    return result(&call);
}

/* --- counting --- */

Scenario(per_process, acquires_of_all_threads_are_counted) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(elsewhere(lock, 'a', FILELOCK_ONCE), 0);
    cr_expect_eq(elsewhere(lock, 'a', FILELOCK_FOREVER), 0);
    cr_expect_eq(filelock_count(lock), 3);
    for (unsigned left = 2; left + 1 > 0; left--) {
        cr_expect_eq(lock_state("a"), EXCLUSIVE);
        cr_expect_eq(filelock_release(lock), 0);
        cr_expect_eq(filelock_count(lock), left);
    }
    cr_expect_eq(lock_state("a"), FREE);
    cr_expect_eq(filelock_release(lock), -EPERM);
}

Scenario(per_process, any_thread_may_release) {
    cr_assert_eq(elsewhere(lock, 'a', FILELOCK_ONCE), 0);
    cr_expect(filelock_is_held(lock), "that thread is gone, its lock is not");
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(elsewhere(lock, 'r', 0), 0);
    cr_expect_eq(lock_state("a"), EXCLUSIVE);
    cr_expect_eq(elsewhere(lock, 'r', 0), 0);
    cr_expect_eq(lock_state("a"), FREE);
}

Scenario(per_process, all_at_once) {
    cr_assert_eq(elsewhere(lock, 'a', FILELOCK_ONCE), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_assert_eq(elsewhere(lock, 'a', FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_release_all(lock), 0);
    cr_expect_eq(filelock_count(lock), 0);
    cr_expect_eq(lock_state("a"), FREE);
}

Scenario(per_process, shared_by_all) {
    cr_assert_eq(filelock_acquire_shared(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(elsewhere(lock, 's', FILELOCK_ONCE), 0);
    cr_expect_eq(lock_state("a"), SHARED);
    cr_expect_eq(elsewhere(lock, 'a', FILELOCK_FOREVER), -EDEADLK);
    cr_expect_eq(filelock_release_all(lock), 0);
    cr_expect_eq(lock_state("a"), FREE);
}

/* --- several at once --- */

/* Threads that begin together on a free lock: each gets it with one try. */
#define THREADS 4
struct race {
    pthread_barrier_t barrier;
    _Atomic long failed;
};
static struct race race;

static void *once(void *data) {
    for (int i = 0; i < 500; i++) {
        (void)pthread_barrier_wait(&race.barrier);
        race.failed += filelock_acquire(data, FILELOCK_ONCE) != 0;
        (void)pthread_barrier_wait(&race.barrier);
        race.failed += filelock_release(data) != 0;
    }
    return NULL;
}

static void one_try_is_enough(struct filelock *what) {
    pthread_t threads[THREADS];
    cr_assert_eq(pthread_barrier_init(&race.barrier, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, once, what), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_expect_eq(race.failed, 0, "%ld", (long)race.failed);
    cr_expect_eq(filelock_count(what), 0);
}

Scenario(per_process, one_try_is_enough) {
    one_try_is_enough(lock);
    cr_expect_eq(lock_state("a"), FREE);
}

Scenario(per_process, one_try_is_enough_for_soft) {
    struct filelock *soft;
    cr_assert_eq(filelock_create(&soft, "b.lock", FILELOCK_PER_PROCESS | FILELOCK_SOFT), 0);
    one_try_is_enough(soft);
    cr_expect_eq(access("b.lock", F_OK), -1);
    filelock_destroy(soft);
}

/* Each stands in the kernel's queue, and all have it together. */
static void wait_together(struct filelock *what, char a, char b) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct call calls[2] = {{.lock = what, .what = a, .timeout = FILELOCK_FOREVER},
                            {.lock = what, .what = b, .timeout = FILELOCK_FOREVER}};
    start(&calls[0]);
    wait_until_queue_is(getpid(), 1);
    start(&calls[1]);
    wait_until_queue_is(getpid(), 2);
    stranger_leaves(stranger);
    cr_expect_eq(result(&calls[0]), 0);
    cr_expect_eq(result(&calls[1]), 0);
    cr_expect_eq(filelock_count(what), 2);
    cr_expect_eq(filelock_release(what), 0);
    cr_expect_neq(lock_state("a"), FREE);
    cr_expect_eq(filelock_release(what), 0);
    cr_expect_eq(lock_state("a"), FREE);
}

Scenario(per_process, waiting_together) {
    wait_together(lock, 'a', 'a');
    wait_together(lock, 's', 's');
}

/* Who wants it shared is content with what another gets exclusively. */
Scenario(per_process, waiting_for_different_things) {
    for (int i = 0; i < 20; i++) {
        struct stranger stranger = stranger_locks("a", LOCK_EX);
        struct call exclusive = {.lock = lock, .what = 'a', .timeout = FILELOCK_FOREVER};
        struct call shared = {.lock = lock, .what = 's', .timeout = FILELOCK_FOREVER};
        start(&exclusive);
        wait_until_queue_is(getpid(), 1);
        start(&shared);
        wait_until_queue_is(getpid(), 2);
        stranger_leaves(stranger);
        cr_assert_eq(result(&shared), 0);
        /* Either it came second, and has counted up; or first, and the other is told. */
        bool second = lock_state("a") == EXCLUSIVE;
        cr_expect_eq(result(&exclusive), second ? 0 : -EDEADLK);
        cr_expect_eq(filelock_count(lock), second ? 2 : 1);
        cr_expect_eq(filelock_release_all(lock), 0);
        cr_expect_eq(lock_state("a"), FREE);
    }
}

/* The process gets it shared while a thread waits for more: that would wait for us. */
Scenario(per_process, shared_while_another_wants_more) {
    struct stranger stranger = stranger_locks("a", LOCK_SH);
    struct call exclusive = {.lock = lock, .what = 'a', .timeout = FILELOCK_FOREVER};
    start(&exclusive);
    wait_until_queue_is(getpid(), 1);
    cr_expect_eq(filelock_acquire_shared(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(result(&exclusive), -EDEADLK);
    cr_expect_eq(filelock_count(lock), 1);
    cr_expect_eq(filelock_release(lock), 0);
    stranger_leaves(stranger);
}

Scenario(per_process, one_gives_up_the_other_waits) {
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct call patient = {.lock = lock, .what = 'a', .timeout = FILELOCK_FOREVER};
    start(&patient);
    wait_until_queue_is(getpid(), 1);
    cr_expect_eq(elsewhere(lock, 'a', 20000), -ETIMEDOUT);
    cr_expect_eq(elsewhere(lock, 'a', FILELOCK_ONCE), -ETIMEDOUT);
    wait_until_queue_is(getpid(), 1);
    stranger_leaves(stranger);
    cr_expect_eq(result(&patient), 0);
    cr_expect_eq(lock_state("a"), EXCLUSIVE);
    cr_expect_eq(filelock_release(lock), 0);
}

/* Threads of two processes count on one number; those of one process, which have the
 * lock together, by a mutex. */
static long *counter;
static pthread_mutex_t between_us = PTHREAD_MUTEX_INITIALIZER;
static _Atomic long wrong;

static void *count(void *data) {
    for (int counted = 0; counted < 300;) {
        int r = filelock_acquire(data, counted % 3 == 0 ? 2000 : 60 * FILELOCK_SECOND);
        wrong += r != 0 && (r != -ETIMEDOUT || counted % 3 != 0);
        if (r == 0) {
            (void)pthread_mutex_lock(&between_us);
            long seen = *(volatile long *)counter;
            sched_yield();
            *(volatile long *)counter = seen + 1;
            (void)pthread_mutex_unlock(&between_us);
            wrong += filelock_release(data) != 0;
            counted++;
        }
    }
    return NULL;
}

static long count_in_threads(struct filelock *what) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        wrong += pthread_create(&threads[i], NULL, count, what) != 0;
    }
    for (int i = 0; i < 3; i++) {
        wrong += pthread_join(threads[i], NULL) != 0;
    }
    return wrong;
}

static void processes_exclude_one_another(struct filelock *what) {
    int status;
    counter =
        mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(counter != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(count_in_threads(what) != 0);
    }
    cr_expect_eq(count_in_threads(what), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", status);
    cr_expect_eq(*counter, 1800, "%ld", *counter);
    cr_assert_eq(munmap(counter, sizeof(*counter)), 0);
}

Scenario(per_process, processes_exclude_one_another) {
    processes_exclude_one_another(lock);
}

Scenario(per_process, processes_exclude_one_another_with_soft) {
    struct filelock *soft;
    cr_assert_eq(filelock_create(&soft, "b.lock", FILELOCK_PER_PROCESS | FILELOCK_SOFT), 0);
    processes_exclude_one_another(soft);
    filelock_destroy(soft);
}

/* --- two objects on one path --- */

/* Who has acquired it, and has not released it, is told that he waits for himself. */
Scenario(per_process, two_objects) {
    struct filelock *other;
    cr_assert_eq(filelock_create(&other, "./a.lock", FILELOCK_PER_PROCESS), 0);
    cr_assert_eq(elsewhere(lock, 'a', FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire(other, 10000), -ETIMEDOUT, "another thread may let go");
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_FOREVER), -EDEADLK, "it counts for us too");
    cr_assert_eq(filelock_release(lock), 0);
    cr_expect_eq(filelock_acquire(other, 10000), -ETIMEDOUT, "no longer");
    /* A release by a thread that has acquired nothing undoes another's. */
    cr_assert_eq(filelock_release(lock), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_FOREVER), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), -EDEADLK, "the other way round");
    filelock_destroy(other);
}
