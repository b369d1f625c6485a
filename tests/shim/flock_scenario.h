/*
 * A program that has a.csv under a rule, for the scenarios of what keeps such a hold and
 * what ends it.
 */
#ifndef TESTS_FLOCK_SCENARIO_H
#define TESTS_FLOCK_SCENARIO_H

#include <criterion/criterion.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

#define HELD cr_expect_eq(lock_state("a.csv"), EXCLUSIVE)
#define GONE                                                                                       \
    cr_expect_eq(lock_state("a.csv"), FREE);                                                       \
    CALL(0, "list_above")

static inline void flock_begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
}

/* The program, with a.csv as its descriptor 3. */
static inline void flock_start(const char *patterns) {
    puppet = puppet_start(patterns, NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_assert_eq(lock_state("a.csv"), EXCLUSIVE);
}

static inline void flock_begin_open(void) {
    flock_begin();
    flock_start("*.csv");
}

static inline void flock_restart(const char *patterns) {
    cr_assert_eq(puppet_end(puppet), 0);
    flock_start(patterns);
}

static inline void finish(void) {
    if (puppet) {
        cr_expect_eq(puppet_end(puppet), 0);
    }
    enum lock_state state = lock_state("a.csv");
    cr_expect(state == FREE || state == NO_SIDECAR, "still locked after the end");
}

#endif
