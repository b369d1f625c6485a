/* Children of every kind (contract H5), and inherit=none (H6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

TestSuite(forks, .init = flock_begin_open, .fini = scenario_end, .timeout = 120);

static const char *const ways[] = {"kin", "_Fork", "raw_fork", "clone 0"};
#define WAYS 4

Scenario(forks, the_child_shares_it) {
    for (int i = 0; i < WAYS; i++) {
        cr_assert_gt(puppet_call(puppet, "%s", ways[i]), 0);
        CALL(0, "close 3");
        HELD;
        CALL(0, "end_kin");
        GONE;
        CALL(3, "open a.csv 2");
    }
}

Scenario(forks, a_child_that_closes_leaves_its_parent_s) {
    for (int i = 0; i < WAYS - 1; i++) {
        cr_assert_gt(puppet_call(puppet, "%s 3", ways[i]), 0);
        HELD;
        CALL(0, "end_kin");
        HELD;
    }
    CALL(0, "clone_call 0 close 3");
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* A thread waits while another forks: the child must not keep what the thread
 * gets afterwards. */
Scenario(forks, a_thread_that_waits_meanwhile) {
    for (int i = 0; i < WAYS; i++) {
        if (i == 2) {
            continue; /* a raw fork in a threaded process: only what it opens itself is right */
        }
        struct stranger stranger = stranger_locks("b.csv", LOCK_EX);
        CALL(0, "thread_open b.csv 2");
        wait_until_queued(puppet->pid);
        cr_assert_gt(puppet_call(puppet, "%s", ways[i]), 0);
        stranger_leaves(stranger);
        CALL(4, "thread_join");
        cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
        CALL(0, "close 4");
        cr_expect_eq(lock_state("b.csv"), FREE, "%s: the child keeps it", ways[i]);
        CALL(0, "end_kin");
    }
}

/* Memory shared, descriptors not: as vfork. */
Scenario(forks, clone_with_shared_memory) {
    int flags = CLONE_VM | CLONE_VFORK;
    CALL(0, "clone_call %d close 3", flags);
    HELD;
    CALL(4, "clone_call %d open b.csv", flags);
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(4, "clone_call %d dup2 3 4", flags);
    HELD;
    CALL(4, "open b.csv 2");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    HELD;
    CALL(0, "close 4");
    CALL(0, "close 3");
    GONE;
    cr_expect_eq(lock_state("b.csv"), FREE);
}

/* Both shared: as a thread. What it opens and closes is open and closed. */
Scenario(forks, clone_with_shared_descriptors) {
    int flags = CLONE_VM | CLONE_FILES;
    CALL(4, "clone_call %d open b.csv", flags);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "clone_call %d close 3", flags);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "close 4");
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(0, "list_above");
}

/* Descriptors shared, memory not: its closes are ours, and heal. */
Scenario(forks, clone_with_shared_descriptors_alone) {
    CALL(0, "clone_call %d close 3", CLONE_FILES);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(3, "open a.csv 2");
    HELD;
    CALL(4, "clone_call %d dup2 3 4", CLONE_VM | CLONE_FILES);
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 4");
    GONE;
}

/* More than its small memory holds. */
Scenario(forks, a_busy_vforked_child) {
    CALL(0, "vfork_busy b.csv");
    cr_expect_eq(lock_state("b.csv"), FREE);
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* What another thread of its parent has opened since is not its own: it waits
 * for it as a stranger does. */
Scenario(forks, a_vforked_child_and_its_parent_s_holds) {
    CALL(0, "vfork_open a.csv 2");
    HELD;
    CALL(0, "vfork_close 3");
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* W2: vfork suspends the parent, whose hold the child has closed its part of. */
Scenario(forks, a_vforked_child_that_closes_and_opens_again) {
    CALL(0, "vfork_replace 3 a.csv");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(forks, inherit_none_ends_with_the_process) {
    flock_restart("*.csv inherit=none");
    for (int i = 0; i < WAYS; i++) {
        if (i == 2) {
            continue; /* nobody notices a raw fork until its child opens a file */
        }
        cr_assert_gt(puppet_call(puppet, "%s", ways[i]), 0);
        HELD;
        CALL(0, "close 3");
        cr_expect_eq(lock_state("a.csv"), FREE, "%s: the child keeps it", ways[i]);
        CALL(0, "end_kin");
        CALL(3, "open a.csv 2");
    }
    CALL(0, "close 3");
    GONE;
}

Scenario(forks, inherit_none_with_standard_output) {
    flock_restart("*.csv inherit=none");
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    cr_assert_gt(puppet_call(puppet, "kin"), 0);
    HELD;
    CALL(0, "close 1");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "end_kin");
}

Scenario(forks, inherit_none_and_hold_process) {
    flock_restart("*.csv inherit=none hold=process");
    CALL(0, "close 3");
    HELD;
    cr_assert_gt(puppet_call(puppet, "_Fork"), 0);
    HELD;
    puppet_kill(puppet);
    puppet = NULL;
    cr_expect_eq(lock_state("a.csv"), FREE);
}
