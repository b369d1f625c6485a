/* A lock file that somebody replaces each time that it is released (contract P2). */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/support/replacer.h"
#include "tests/unit/lib_visit.h"

TestSuite(replaced, .init = lock_begin, .fini = lock_end, .timeout = 120);

/* It used to fail with -ESTALE after a thousand of them, a fraction of a second. */
Test(replaced, for_ever_is_for_ever) {
    pid_t pid = replacer_start("a.lock", 40000);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_FOREVER), 0);
    cr_expect_eq(replacer_end(pid), 0);
}

Test(replaced, until_the_time_is_up) {
    pid_t pid = replacer_start("a.lock", REPLACER_FOR_EVER);
    cr_expect_eq(filelock_acquire(lock, 2 * FILELOCK_SECOND), -ETIMEDOUT);
    cr_expect_not(filelock_is_held(lock));
    replacer_kill(pid);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}

/* This stranger has it, and it is removed when somebody waits for it. */
static struct stranger remove_under_holder(struct visit *ret_waits) {
    struct stranger holder = stranger_locks("a", LOCK_EX);
    *ret_waits = (struct visit){.lock = lock, .timeout = 2 * FILELOCK_SECOND};
    visit_start(ret_waits);
    wait_until_queued(getpid());
    cr_assert_eq(unlink("a.lock"), 0);
    return holder;
}

/* Somebody has removed it by hand, under who holds it for long: what the path leads to
 * is nobody's, and whoever has waited for the old one gets that when his time is up. */
Test(replaced, one_that_was_removed_is_not_waited_for_in_vain) {
    struct visit data;
    struct stranger stranger = remove_under_holder(&data);
    cr_expect_eq(visit_result(&data), 0, "%d", data.result);
    stranger_leaves(stranger);
}

/* Or, if it is somebody else's by then, not. */
Test(replaced, nor_is_a_new_one_taken_that_is_held) {
    struct visit data;
    struct stranger first = remove_under_holder(&data);
    struct stranger second = stranger_locks("a", LOCK_EX);
    cr_expect_eq(visit_result(&data), -ETIMEDOUT, "%d", data.result);
    stranger_leaves(first);
    stranger_leaves(second);
}
