/* A lock file that somebody replaces each time that it is released (contract P2). */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/support/replacer.h"
#include "tests/unit/lib_visit.h"

TestSuite(replaced, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* It used to fail with -ESTALE after a thousand of them, a fraction of a second. */
Test(replaced, for_ever_is_for_ever) {
    struct filelock *own;
    cr_assert_eq(filelock_create(&own, "a.lock", 0), 0);
    pid_t pid = replacer_start("a.lock", 40000);
    cr_expect_eq(filelock_acquire(own, FILELOCK_FOREVER), 0);
    cr_expect_eq(replacer_end(pid), 0);
    filelock_destroy(own);
}

Test(replaced, until_the_time_is_up) {
    struct filelock *own;
    cr_assert_eq(filelock_create(&own, "a.lock", 0), 0);
    pid_t pid = replacer_start("a.lock", REPLACER_FOR_EVER);
    cr_expect_eq(filelock_acquire(own, 2 * FILELOCK_SECOND), -ETIMEDOUT);
    cr_expect_not(filelock_is_held(own));
    replacer_kill(pid);
    cr_expect_eq(filelock_acquire(own, FILELOCK_ONCE), 0);
    filelock_destroy(own);
}

/* Somebody has removed it by hand, under who holds it for long: what the path leads to
 * is nobody's, and whoever has waited for the old one gets that when his time is up. */
Test(replaced, one_that_was_removed_is_not_waited_for_in_vain) {
    struct filelock *own;
    cr_assert_eq(filelock_create(&own, "a.lock", 0), 0);
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    struct visit data = {.lock = own, .timeout = 2 * FILELOCK_SECOND};
    visit_start(&data);
    wait_until_queued(getpid());
    cr_assert_eq(unlink("a.lock"), 0);
    cr_expect_eq(visit_result(&data), 0, "%d", data.result);
    stranger_leaves(stranger);
    filelock_destroy(own);
}

/* Or, if it is somebody else's by then, not. */
Test(replaced, nor_is_a_new_one_taken_that_is_held) {
    struct filelock *own;
    cr_assert_eq(filelock_create(&own, "a.lock", 0), 0);
    struct stranger first = stranger_locks("a", LOCK_EX);
    struct visit data = {.lock = own, .timeout = 2 * FILELOCK_SECOND};
    visit_start(&data);
    wait_until_queued(getpid());
    cr_assert_eq(unlink("a.lock"), 0);
    struct stranger second = stranger_locks("a", LOCK_EX);
    cr_expect_eq(visit_result(&data), -ETIMEDOUT, "%d", data.result);
    stranger_leaves(first);
    stranger_leaves(second);
    filelock_destroy(own);
}
