/*
 * A program under a rule with kind=soft, for the scenarios of such holds.
 */
#ifndef TESTS_SOFT_SCENARIO_H
#define TESTS_SOFT_SCENARIO_H

#include <criterion/criterion.h>

#include "tests/support/harness.h"
#include "tests/support/marker.h"

#define RULES "*.csv kind=soft warn-after=50ms"

static struct puppet *puppet;

#define HELD cr_expect(is_there("a.csv.lock"), "not locked")
#define GONE                                                                                       \
    cr_expect_not(is_there("a.csv.lock"), "still locked");                                         \
    CALL(0, "list_above")

/* For suites whose program has nothing open at first. */
static inline void soft_begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
    puppet = puppet_start(RULES, "AUTOLOCK_LOG=log", NULL);
}

/* For those whose program has one open from the start. */
static inline void soft_start(const char *rules) {
    puppet = puppet_start(rules, "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_assert(is_there("a.csv.lock"));
}

static inline void soft_begin_open(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
    soft_start(RULES);
}

static inline void finish(void) {
    if (puppet) {
        cr_expect_eq(puppet_end(puppet), 0);
    }
    expect_only_data();
}

#endif
