/* Several threads on one file, upgrades among them, and threads that do not come
 * back from a wait (contract H4, H5, O6, W1, W4, T4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

TestSuite(threads, .init = flock_begin, .fini = scenario_end, .timeout = 120);

Scenario(threads, readers_and_writers_of_one_file) {
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "churn a.csv 2 400");
    CALL(0, "churn a.csv 4 200");
    GONE;
}

/* The writer must neither fail nor take the reader's lock down. */
Scenario(threads, a_writer_beside_a_reader_that_waits) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "open_thread a.csv 0");
    wait_until_queued(puppet->pid);
    puppet_tell(puppet, "open a.csv 2");
    /* It used to fail with ESTALE after a second. */
    cr_expect_eq(puppet_first(&puppet, 1, 2000), -1);
    stranger_leaves(stranger);
    long mine = puppet_result(puppet), theirs = puppet_call(puppet, "join_thread 0");
    cr_expect(mine >= 3 && theirs >= 3 && mine != theirs, "%ld %ld", mine, theirs);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close %ld", mine);
    CALL(0, "close %ld", theirs);
    GONE;
}

Scenario(threads, who_waits_shares_what_another_thread_gets) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 8; i++) {
        CALL(i, "open_thread a.csv 2");
    }
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    long fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = puppet_call(puppet, "join_thread %d", i);
        cr_expect_geq(fds[i], 3);
    }
    for (int i = 0; i < 8; i++) {
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        CALL(0, "close %ld", fds[i]);
    }
    GONE;
}

/* Not with a description each, of which one would keep the other from writing. */
Scenario(threads, readers_that_waited_have_one_lock) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 4; i++) {
        CALL(i, "open_thread a.csv 0");
    }
    wait_until_queued(puppet->pid);
    stranger_leaves(stranger);
    long fds[5];
    for (int i = 0; i < 4; i++) {
        fds[i] = puppet_call(puppet, "join_thread %d", i);
        cr_expect_geq(fds[i], 3);
    }
    fds[4] = puppet_call(puppet, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    for (int i = 0; i < 5; i++) {
        CALL(0, "close %ld", fds[i]);
    }
    GONE;
}

Scenario(threads, a_fork_while_another_thread_opens) {
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "fork_churn a.csv 300");
    GONE;
}

/* Somebody else gets what the upgrade gave up to wait. For that the upgrade is
 * stopped for a moment, which takes it out of the queue. */
static struct puppet *writer;

static void begin_lost_upgrade(const char *patterns, int handled) {
    struct stranger reader = stranger_locks("a.csv", LOCK_SH);
    int status;
    puppet = puppet_start(patterns, "AUTOLOCK_LOG=log", NULL);
    writer = puppet_start(NULL, NULL);
    CALL(3, "open a.csv 0");
    if (handled) {
        CALL(0, "handle %d 0", handled);
    }
    cr_assert_eq(puppet_call(writer, "open a.csv.lock 2"), 3);
    puppet_tell(writer, "flock 3 2");
    wait_until_queued(writer->pid);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGSTOP), 0);
    cr_assert_eq(waitpid(puppet->pid, &status, WUNTRACED), puppet->pid);
    stranger_leaves(reader);
    cr_assert_eq(puppet_result(writer), 0);
    cr_assert_eq(kill(puppet->pid, SIGCONT), 0);
}

static void end_lost_upgrade(void) {
    cr_expect(strstr(file_content("log"), "lost the shared lock"), "%s", file_content("log"));
    cr_expect_eq(puppet_call(writer, "close 3"), 0);
    (void)puppet_end(writer);
    /* What it read may be stale by now. */
    CALL(-1, "open a.csv 2");
    cr_expect_eq(puppet->error, EDEADLK);
    CALL(4, "open a.csv 0");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    CALL(0, "close 4");
    CALL(0, "close 3");
    CALL(3, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    GONE;
}

Scenario(threads, an_upgrade_past_its_timeout_does_not_wait_for_a_writer) {
    begin_lost_upgrade("*.csv timeout=3s", 0);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EBUSY);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    end_lost_upgrade();
}

Scenario(threads, a_signal_ends_an_upgrade) {
    begin_lost_upgrade("*.csv", SIGUSR1);
    wait_until_queued(puppet->pid);
    cr_assert_eq(kill(puppet->pid, SIGUSR1), 0);
    cr_expect_eq(puppet_result(puppet), -3);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EINTR);
    end_lost_upgrade();
}

/* A write in the same tick of the file system's clock as the one before would
 * not show, and the second of two upgrades would not see that it was late. Newer
 * kernels give finer times on most file systems, but not on ramfs. */
Scenario(threads, an_upgrade_can_see_the_next_write) {
    cr_assert_eq(mkdir("coarse", 0755), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("ramfs", "coarse", "ramfs", 0, NULL) < 0) {
        scenario_skip("a ramfs cannot be mounted: %s", strerror(errno));
    }
    put_file("coarse/b.csv", "12");
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "upgrades coarse/b.csv 100");
    cr_expect_eq(lock_state("coarse/b.csv"), FREE);
    CALL(0, "list_above");
    cr_expect_eq(umount("coarse"), 0);
}

/* As long as one waits to write, what the process asks for would take down what
 * that one gets. */
Scenario(threads, nobody_comes_between_an_upgrade) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    puppet = puppet_start("*.csv", NULL);
    CALL(3, "open a.csv 0");
    CALL(0, "open_thread a.csv 2");
    wait_until_queued(puppet->pid);
    CALL(1, "open_thread a.csv 2");
    puppet_tell(puppet, "open a.csv 0");
    cr_expect_eq(puppet_first(&puppet, 1, 500), -1);
    stranger_leaves(stranger);
    long fds[3] = {puppet_result(puppet)};
    fds[1] = puppet_call(puppet, "join_thread 0");
    fds[2] = puppet_call(puppet, "join_thread 1");
    for (int i = 0; i < 3; i++) {
        cr_expect_geq(fds[i], 4);
        cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
        CALL(0, "close %ld", fds[i]);
    }
    CALL(0, "close 3");
    GONE;
}

static void waits_and_is_cancelled(const char *flags) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    for (int i = 0; i < 3; i++) {
        CALL(i, "open_thread a.csv %s", flags);
        wait_until_queued(puppet->pid);
        CALL(0, "cancel_thread %d", i);
        CALL(-8, "join_thread %d", i);
    }
    CALL(0, "timers");
    CALL(0, "handlers");
    CALL(0, "list_above");
    CALL(3, "open /dev/null 0");
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(4, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 4");
    GONE;
}

Scenario(threads, one_that_waits_for_a_lock_can_be_cancelled) {
    puppet = puppet_start("*.csv", NULL);
    waits_and_is_cancelled("2");
}

Scenario(threads, one_that_waits_for_an_upgrade_can_be_cancelled) {
    puppet = puppet_start("*.csv", NULL);
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    CALL(3, "open a.csv 0");
    CALL(0, "open_thread a.csv 2");
    wait_until_queued(puppet->pid);
    CALL(0, "cancel_thread 0");
    CALL(-8, "join_thread 0");
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), SHARED, "it keeps what it had");
    CALL(0, "close 3");
    GONE;
}

Scenario(threads, an_open_of_any_other_file_can_be_cancelled) {
    puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(mkfifo("fifo", 0600), 0);
    CALL(0, "open_thread fifo 0");
    CALL(0, "cancel_thread 0");
    CALL(-8, "join_thread 0");
}

Scenario(threads, who_does_not_want_to_be_cancelled_is_not) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "open_uncancelled a.csv 2");
    wait_until_queued(puppet->pid);
    CALL(0, "cancel_thread 0");
    stranger_leaves(stranger);
    CALL(3, "join_thread 0");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    GONE;
}

/* What a wait that was left has set up goes when its timer ticks once more, or at
 * the next open. */
static void wait_until_gone(void) {
    for (int i = 0;
         i < 500 && (puppet_call(puppet, "list_above") > 0 || puppet_call(puppet, "timers") > 0);
         i++) {
        usleep(10000);
    }
    CALL(0, "list_above");
    CALL(0, "timers");
    CALL(0, "handlers");
}

Scenario(threads, a_handler_that_jumps_out_of_a_wait) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 4; i++) {
        /* In the queue, or (without SA_RESTART) as the call ends. */
        CALL(-7, "alarm_open a.csv 2 50 %d", i % 2 ? 0 : SA_RESTART);
    }
    wait_until_gone();
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(3, "open a.csv 2");
    CALL(0, "close 3");
    GONE;
}

Scenario(threads, a_handler_that_jumps_out_of_an_upgrade) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    puppet = puppet_start("*.csv", NULL);
    CALL(3, "open a.csv 0");
    CALL(-7, "alarm_open a.csv 2 50 %d", SA_RESTART);
    CALL(4, "open a.csv 0");
    stranger_leaves(stranger);
    cr_expect_eq(lock_state("a.csv"), SHARED, "it keeps what it had");
    CALL(5, "open a.csv 2");
    for (int fd = 3; fd <= 5; fd++) {
        CALL(0, "close %d", fd);
    }
    wait_until_gone();
    GONE;
}

/* The signal that ends our waits is the program's as much as any other. */
Scenario(threads, a_program_that_uses_all_signals_meanwhile) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    puppet = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    CALL(0, "open_thread a.csv 2");
    wait_until_queued(puppet->pid);
    long all = SIGRTMAX - SIGRTMIN + 1;
    CALL(0, "handle_all_realtime");
    CALL(all, "raise_all_realtime 1");
    /* Several ticks. */
    for (int i = 0; i < 3000 && !*file_content("log"); i++) {
        usleep(10000);
    }
    CALL(all, "raise_all_realtime 0");
    stranger_leaves(stranger);
    CALL(3, "join_thread 0");
    CALL(all, "handlers");
    CALL(2 * all, "raise_all_realtime 1");
    CALL(0, "close 3");
    GONE;
}

/* T4. */
Scenario(threads, what_a_raw_call_has_closed_heals) {
    puppet = puppet_start("*.csv", NULL);
    for (int i = 0; i < 3; i++) {
        CALL(3, "open a.csv 2");
        CALL(4, "dup 3");
        CALL(2, "list_above");
        char hidden[sizeof(puppet->text)];
        snprintf(hidden, sizeof(hidden), "%s", puppet->text);
        if (i != 1) {
            CALL(0, "raw_close 3");
            CALL(0, "raw_close 4");
        }
        char *at = hidden;
        for (long fd = strtol(at, &at, 10); i != 2 && fd > 0; fd = strtol(at, &at, 10)) {
            CALL(0, "raw_close %ld", fd);
        }
        if (i == 1) {
            CALL(5, "open a.csv 2");
            cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
            CALL(0, "close 3");
            CALL(0, "close 4");
            CALL(0, "close 5");
        } else {
            CALL(3, "open a.csv 2");
            cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
            CALL(4, "open a.csv 0");
            CALL(0, "close 3");
            CALL(0, "close 4");
        }
        GONE;
    }
}

Scenario(threads, a_vforked_child_with_many_files) {
    puppet = puppet_start("*.csv", NULL);
    CALL(3, "open a.csv 2");
    CALL(0, "vfork_many 100");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("99.csv"), FREE);
    CALL(0, "vfork_many 200");
    CALL(0, "close 3");
    GONE;
}
