/* How the file of a soft lock appears: whole, or not at all (contract P3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

TestSuite(whole, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static int watch_directory(const char *path) {
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    cr_assert_geq(watch, 0);
    cr_assert_geq(inotify_add_watch(watch, path, IN_CREATE | IN_MODIFY | IN_DELETE), 0);
    return watch;
}

/* What has happened to that name since: all events in one. */
static uint32_t seen_of(int watch, const char *name) {
    char events[4096] __attribute__((aligned(8)));
    uint32_t seen = 0;
    ssize_t n;
    while ((n = read(watch, events, sizeof(events))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const void *)(events + at);
            seen |= event->len > 0 && strcmp(event->name, name) == 0 ? event->mask : 0;
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
    return seen;
}

/* One that is killed as it writes would leave an empty one for ever. */
static void appears_whole(const char *directory, const char *path) {
    struct filelock *lock;
    int watch = watch_directory(directory);
    cr_assert_eq(filelock_create(&lock, path, FILELOCK_SOFT), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(seen_of(watch, "a.lock"), IN_CREATE);
    filelock_destroy(lock);
    cr_expect_eq(seen_of(watch, "a.lock"), IN_DELETE);
    cr_assert_eq(close(watch), 0);
}

Test(whole, in_this_directory) {
    appears_whole(".", "a.lock");
}

Test(whole, in_a_deep_one) {
    char directory[4096] = ".", path[4200];
    for (int depth = 0; depth < 15; depth++) {
        strcat(directory, "/");
        memset(directory + strlen(directory), 'd', 250);
        cr_assert_eq(mkdir(directory, 0755), 0);
        strcat(strcpy(path, directory), "/a.lock");
        appears_whole(directory, path);
    }
}

static int has_no_room(void) {
    struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    struct filelock *lock;
    return filelock_create(&lock, "a.lock", FILELOCK_SOFT) < 0 ||
           setrlimit(RLIMIT_FSIZE, &none) < 0 || filelock_acquire(lock, FILELOCK_ONCE) != -EFBIG;
}

Test(whole, without_room_nobody_ever_sees_it) {
    int status, watch = watch_directory(".");
    pid_t pid = fork();
    if (pid == 0) {
        _exit(has_no_room());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(seen_of(watch, "a.lock"), 0);
    cr_assert_eq(close(watch), 0);
}

/* Somebody puts a FIFO in its place, which must not hang whoever has just made it. */
static int acquire(void) {
    struct filelock *lock;
    return filelock_create(&lock, "a.lock", FILELOCK_SOFT) < 0 ||
           filelock_acquire(lock, FILELOCK_ONCE) != 0 || filelock_release(lock) != -ESTALE;
}

Test(whole, a_fifo_in_its_place_does_not_hang) {
    pid_t pid = moment_start(acquire);
    cr_assert(moment_after(pid, SYS_linkat));
    cr_assert_eq(unlink("a.lock"), 0);
    cr_assert_eq(mkfifo("a.lock", 0600), 0);
    int status = moment_end(pid);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}
