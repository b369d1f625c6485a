/* A lock file that somebody replaces each time that it is released (contract P2). */
#include <criterion/criterion.h>
#include <errno.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/support/replacer.h"

TestSuite(replaced, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* It used to fail with -ESTALE after a thousand of them, a fraction of a second. */
Test(replaced, for_ever_is_for_ever) {
    struct filelock *lock;
    cr_assert_eq(filelock_create(&lock, "a.lock", 0), 0);
    pid_t pid = replacer_start("a.lock", 40000);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), 0);
    cr_expect_eq(replacer_end(pid), 0);
    filelock_destroy(lock);
}

Test(replaced, until_the_time_is_up) {
    struct filelock *lock;
    cr_assert_eq(filelock_create(&lock, "a.lock", 0), 0);
    pid_t pid = replacer_start("a.lock", REPLACER_FOR_EVER);
    cr_expect_eq(filelock_acquire(lock, 2 * FILELOCK_SECOND), -ETIMEDOUT);
    cr_expect_not(filelock_is_held(lock));
    replacer_kill(pid);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    filelock_destroy(lock);
}
