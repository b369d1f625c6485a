/* The shared library, loaded into a program that runs already (dlopen(3)), as a plugin
 * or Python's ctypes do, and unloaded again. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

TestSuite(loaded, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static void *library;
static int (*create)(struct filelock **ret, const char *path, unsigned flags);
static int (*acquire)(struct filelock *lock, uint64_t timeout);
static int (*release)(struct filelock *lock);
static void (*cancel)(struct filelock *lock);
static void (*destroy)(struct filelock *lock);

/* ISO C knows no way from a pointer to data to one to a function. */
static void find(const char *name, void *ret) {
    void *symbol = dlsym(library, name);
    cr_assert(symbol, "%s", name);
    memcpy(ret, &symbol, sizeof(symbol));
}

static void load(void) {
    library = dlopen(TEST_FILELOCK, RTLD_NOW | RTLD_LOCAL);
    cr_assert(library, "%s", dlerror());
    find("filelock_create", &create);
    find("filelock_acquire", &acquire);
    find("filelock_release", &release);
    find("filelock_cancel", &cancel);
    find("filelock_destroy", &destroy);
}

Test(loaded, again_and_again) {
    for (int i = 0; i < 3; i++) {
        struct filelock *lock;
        load();
        cr_assert_eq(create(&lock, "a.lock", 0), 0);
        cr_expect_eq(acquire(lock, FILELOCK_ONCE), 0);
        cr_expect_eq(release(lock), 0);
        struct stranger stranger = stranger_locks("a", LOCK_EX);
        cr_expect_eq(acquire(lock, 10000), -ETIMEDOUT);
        stranger_leaves(stranger);
        destroy(lock);
        cr_expect_eq(dlclose(library), 0);
        run_shell(NULL, "true"); /* a fork, which knows nothing of it any more */
    }
}

/* A library that was loaded before has a handler of fork(2), which runs before ours. */
static int there[2], go_on[2];
static void slow_handler(void) {
    char byte = 'x';
    (void)write(there[1], &byte, 1);
    (void)read(go_on[0], &byte, 1);
}

static void *fork_slowly(void *nothing) {
    if (fork() == 0) {
        _exit(0);
    }
    return nothing;
}

static double seconds_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static pthread_t begin_slow_fork(void) {
    pthread_t thread;
    char byte;
    cr_assert_eq(pipe(there), 0);
    cr_assert_eq(pipe(go_on), 0);
    cr_assert_eq(pthread_atfork(NULL, slow_handler, NULL), 0);
    load();
    cr_assert_eq(pthread_create(&thread, NULL, fork_slowly, NULL), 0);
    cr_assert_eq(read(there[0], &byte, 1), 1);
    return thread;
}

static void end_slow_fork(pthread_t thread) {
    cr_assert_eq(write(go_on[1], "x", 1), 1);
    pthread_join(thread, NULL);
}

/* Who opens a file waits for forks that are going on, but keeps his limit. */
Test(loaded, beside_a_fork_that_takes_long) {
    struct filelock *lock;
    pthread_t thread = begin_slow_fork();
    cr_assert_eq(create(&lock, "a.lock", 0), 0);
    double begin = seconds_now();
    cr_expect_eq(acquire(lock, FILELOCK_ONCE), 0);
    cr_expect(seconds_now() - begin < 1);
    end_slow_fork(thread);
    destroy(lock);
}

static _Atomic int outcome = 1;
static void *acquire_for_ever(void *lock) {
    outcome = acquire(lock, FILELOCK_FOREVER);
    return NULL;
}

/* And he can be cancelled. */
Test(loaded, cancelled_beside_a_fork_that_takes_long) {
    struct filelock *lock;
    pthread_t waiter, thread = begin_slow_fork();
    cr_assert_eq(create(&lock, "a.lock", 0), 0);
    cr_assert_eq(pthread_create(&waiter, NULL, acquire_for_ever, lock), 0);
    while (outcome == 1) { /* it may not have begun yet */
        cancel(lock);
        usleep(5000);
    }
    cr_expect_eq(outcome, -ECANCELED);
    end_slow_fork(thread);
    pthread_join(waiter, NULL);
    destroy(lock);
}
