/* A shared hold that is to be an exclusive one (contract O6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(upgrades, .init = scenario_begin_with_file, .fini = scenario_end, .timeout = 120);

Test(upgrades, an_upgrade_waits_for_the_other_readers) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 4);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(puppet_call(puppet, "close 4"), 0);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

Test(upgrades, of_two_upgrades_the_second_fails) {
    struct puppet *one = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    struct puppet *two = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(one, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(two, "open a.csv 0"), 3);
    puppet_tell(one, "open a.csv 2");
    wait_until_queued(one->pid);
    /* The second to ask gets it, because the first gave its lock up to wait. */
    cr_expect_eq(puppet_call(two, "open a.csv 2"), 4);
    cr_expect_eq(puppet_call(two, "write 4 5"), 1);
    cr_expect_eq(puppet_call(two, "close 4"), 0);
    cr_expect_eq(puppet_call(two, "close 3"), 0);
    cr_expect_eq(puppet_result(one), -1);
    cr_expect_eq(one->error, EDEADLK);
    cr_expect_eq(lock_state("a.csv"), SHARED, "it keeps what it had");
    cr_expect(strstr(file_content("log"), "cannot lock"), "%s", file_content("log"));
    (void)puppet_end(one);
    (void)puppet_end(two);
}

Test(upgrades, an_upgrade_past_its_timeout_keeps_the_shared_hold) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv timeout=100ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EBUSY);
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), SHARED);
    (void)puppet_end(puppet);
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) {
        n++;
    }
    return n;
}

/* One thread waits to have alone what it shares; another one, which waits until it does,
 * says so for itself, and goes on when it does. */
Test(upgrades, for_the_upgrade_of_another_thread) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv warn-after=1ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(puppet, "open_thread a.csv 2"), 0);
    wait_until_queued(puppet->pid);
    puppet_tell(puppet, "open a.csv 0");
    wait_until_queue_is(puppet->pid, 2);
    for (int i = 0; i < 3000 && count(file_content("log"), "waiting ") < 2; i++) {
        cr_assert_eq(puppet_first(&puppet, 1, 10), -1);
    }
    stranger_leaves(stranger);
    cr_expect_geq(puppet_result(puppet), 4);
    cr_expect_geq(puppet_call(puppet, "join_thread 0"), 4);
    cr_expect_eq(count(file_content("log"), "got "), 2, "%s", file_content("log"));
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    for (int fd = 3; fd <= 5; fd++) {
        cr_expect_eq(puppet_call(puppet, "close %d", fd), 0);
    }
    cr_expect_eq(puppet_call(puppet, "list_above"), 0);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}

/* The wait to have alone what is shared gives it up. That somebody wrote meanwhile is told,
 * even where something else ends the wait: the next one would not see it. */
Test(upgrades, an_upgrade_that_is_interrupted_after_a_change) {
    struct puppet *puppet = puppet_start("*.csv", NULL), *stranger = puppet_start(NULL, NULL);
    cr_assert_eq(puppet_call(puppet, "handle %d 0", SIGUSR2), 0);
    cr_assert_eq(puppet_call(stranger, "open a.csv.lock 0102 0666"), 3);
    bool wrote = false;
    for (int i = 0; i < 100 && !wrote; i++) {
        struct stranger other = stranger_locks("a.csv", LOCK_SH);
        cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
        puppet_tell(stranger, "flock 3 2");
        wait_until_queued(stranger->pid);
        puppet_tell(puppet, "open a.csv 2");
        wait_until_queued(puppet->pid);
        stranger_leaves(other);
        wrote = puppet_first((struct puppet *[]){puppet, stranger}, 2, 30000) == 1;
        if (!wrote) {
            cr_assert_eq(puppet_result(puppet), 4);
            cr_assert_eq(puppet_call(puppet, "close 4"), 0);
            cr_assert_eq(puppet_call(puppet, "close 3"), 0);
            cr_assert_eq(puppet_result(stranger), 0);
            cr_assert_eq(puppet_call(stranger, "flock 3 8"), 0);
        }
    }
    cr_assert(wrote);
    cr_assert_eq(puppet_result(stranger), 0);
    put_file("a.csv", "written\n");
    cr_assert_eq(puppet_call(stranger, "flock 3 1"), 0);
    cr_expect_eq(puppet_first(&puppet, 1, 300), -1);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    cr_expect_eq(puppet_result(puppet), -3); /* the handler */
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EDEADLK);
    (void)puppet_end(stranger);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 4, "it has been told");
    (void)puppet_end(puppet);
}

/* What one thread is told the others that have read the file are not. */
Test(upgrades, an_upgrade_of_one_thread_after_a_change) {
    struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    struct puppet *other = puppet_start("*.csv", NULL);
    bool wrote = false;
    int thread = 0;
    for (; thread < 30 && !wrote; thread++) {
        cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
        cr_assert_eq(puppet_call(other, "open a.csv 0"), 3);
        cr_assert_eq(puppet_call(puppet, "open_thread a.csv 2"), thread);
        wait_until_queued(puppet->pid);
        puppet_tell(other, "open a.csv 2");
        for (int i = 0; i < 1000 && lock_state("a.csv") != EXCLUSIVE; i++) {
            usleep(10000);
        }
        wrote = puppet_first(&other, 1, 300) == 0;
        if (!wrote) {
            cr_assert_eq(puppet_call(puppet, "join_thread %d", thread), 4);
            cr_assert_eq(puppet_call(puppet, "close 4"), 0);
            cr_assert_eq(puppet_call(puppet, "close 3"), 0);
        }
        cr_assert_eq(puppet_result(other), 4);
        put_file("a.csv", wrote ? "written\n" : "0\n");
        cr_assert_eq(puppet_call(other, "close 4"), 0);
        cr_assert_eq(puppet_call(other, "close 3"), 0);
    }
    cr_assert(wrote);
    cr_expect_eq(puppet_call(puppet, "join_thread %d", thread - 1), -1);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), -1);
    cr_expect_eq(puppet->error, EDEADLK);
    cr_expect_eq(count(file_content("log"), "close it wherever this program has it open"), 2, "%s",
                 file_content("log"));
    cr_expect_eq(lock_state("a.csv"), SHARED);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
    (void)puppet_end(other);
    (void)puppet_end(puppet);
}

/* A handler that interrupts it cannot wait for its end, and says what is so. */
Test(upgrades, an_upgrade_whose_file_a_handler_opens) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *puppet = puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "handle_by_opening %d a.csv", SIGUSR2), 0);
    cr_assert_eq(puppet_call(puppet, "open a.csv 0"), 3);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR2), 0);
    cr_expect_eq(puppet_result(puppet), -4, "it fails there");
    cr_expect(strstr(file_content("log"), "a signal handler has interrupted an open of it for "
                                          "writing; open it elsewhere"),
              "%s", file_content("log"));
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(puppet), 4);
    (void)puppet_end(puppet);
}
