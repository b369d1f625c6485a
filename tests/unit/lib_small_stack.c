/* Soft locks on the smallest stack that a thread may have on many machines, 16 KiB (on
 * others that is more): what the C library needs for itself is in it as well. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"

TestSuite(small_stack, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

#define STACK ((size_t)16384)
#define GUARD ((size_t)65536) /* a page of any machine */

static size_t stack_size(void) {
    size_t least = (size_t)PTHREAD_STACK_MIN;
    return least > STACK ? least : STACK;
}

static struct filelock *lock;
static int result;

/* The result is 0 for well. There is nothing but a guard below the stack. */
static int on_small_stack(int (*body)(void)) {
    pthread_attr_t attributes;
    pthread_t thread;
    const size_t size = stack_size();
    char *memory =
        mmap(NULL, GUARD + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE) < 0 ||
        pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstack(&attributes, memory + GUARD, size) != 0) {
        return -1000;
    }
    int failed = pthread_create(&thread, &attributes, (void *(*)(void *))(uintptr_t)body, NULL);
    if (failed || pthread_join(thread, NULL) != 0) {
        return -1001;
    }
    (void)pthread_attr_destroy(&attributes);
    return munmap(memory, GUARD + size) < 0 ? -1002 : result;
}

static void plant_stale(const char *path) {
    struct utsname host;
    char text[512];
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(uname(&host), 0);
    snprintf(text, sizeof(text), "%d\n%s\n", (int)pid, host.nodename);
    put_file(path, text);
}

static int acquire_and_release(void) {
    result = filelock_acquire(lock, FILELOCK_ONCE);
    if (result == 0) {
        result = filelock_release(lock);
    }
    return 0;
}

static int time_out(void) {
    result = filelock_acquire(lock, 10000) == -ETIMEDOUT ? 0 : 1;
    return 0;
}

static int ask_and_break(void) {
    struct filelock_owner owner;
    result = filelock_get_owner(lock, &owner);
    if (result == 0) {
        result = filelock_break(lock);
    }
    return 0;
}

static void enough_for(const char *path) {
    cr_assert_eq(filelock_create(&lock, path, FILELOCK_SOFT), 0);
    cr_expect_eq(on_small_stack(acquire_and_release), 0);
    plant_stale(path);
    cr_expect_eq(on_small_stack(acquire_and_release), 0, "breaks a stale one");
    cr_expect_neq(access(path, F_OK), 0);
    put_file(path, "");
    cr_expect_eq(on_small_stack(time_out), 0);
    cr_expect_eq(on_small_stack(ask_and_break), 0);
    cr_expect_neq(access(path, F_OK), 0);
    filelock_destroy(lock);
}

Test(small_stack, is_enough) {
    NOT_WITH_SANITIZERS("their frames are larger");
    enough_for("a.lock");
}

/* As long as a path can be, in directories as deep. */
Test(small_stack, is_enough_for_long_paths) {
    NOT_WITH_SANITIZERS("their frames are larger");
    char path[4096] = "";
    for (int depth = 0; depth < 15; depth++) {
        memset(path + strlen(path), 'd', 250);
        cr_assert_eq(mkdir(path, 0755), 0);
        strcat(path, "/");
    }
    strcat(path, "a.lock");
    enough_for(path);
}
