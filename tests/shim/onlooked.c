/* When a hold ends (contract H2): after the real call by which the last reference
 * goes, with its flush, never before it; and when the call has returned. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("a.csv.lock", "");
    puppet = puppet_start("*.csv", "LD_PRELOAD=" TEST_PRELOAD ":" TEST_ONLOOKER,
                          "ONLOOKER_FILE=a.csv", NULL);
}

TestSuite(onlooked, .init = begin, .fini = scenario_end, .timeout = 120);

#define SEEN(line)                                                                                 \
    cr_expect_str_eq(file_content("onlooker.log"), line);                                          \
    cr_expect_eq(lock_state("a.csv"), FREE);                                                       \
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "left open: %s", puppet->text);             \
    (void)unlink("onlooker.log")

Test(onlooked, close_comes_first) {
    CALL(3, "open a.csv 2");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    SEEN("close held held\n");
    CALL(3, "open a.csv 0");
    CALL(0, "__close 3");
    SEEN("__close held held\n");
    cr_expect_eq(puppet_end(puppet), 0);
}

Test(onlooked, a_range_is_closed_first) {
    CALL(3, "open a.csv 2");
    CALL(0, "close_range 3 3 0");
    SEEN("close_range held held\n");
    cr_expect_eq(puppet_end(puppet), 0);
}

Test(onlooked, what_a_copy_replaces_is_closed_first) {
    CALL(3, "open a.csv 2");
    CALL(4, "open /dev/null 0");
    CALL(3, "dup2 4 3");
    SEEN("dup2 held held\n");
    CALL(0, "close 3");
    CALL(3, "open a.csv 2");
    CALL(3, "dup3 4 3 0");
    SEEN("dup3 held held\n");
    CALL(0, "close 3");
    CALL(3, "open a.csv 2");
    CALL(3, "__dup2 4 3");
    SEEN("__dup2 held held\n");
    cr_expect_eq(puppet_end(puppet), 0);
}

/* What was in the buffer is in the file while the lock is still held. */
Test(onlooked, fclose_comes_first_with_its_flush) {
    CALL(3, "fopen a.csv w");
    CALL(1, "fputs 3 buffered");
    cr_expect_str_eq(file_content("a.csv"), "");
    CALL(0, "fclose 3");
    cr_expect_str_eq(file_content("a.csv"), "buffered");
    SEEN("fclose held held\n");
    cr_expect_eq(puppet_end(puppet), 0);
}

Test(onlooked, freopen_comes_first_with_its_flush) {
    CALL(3, "fopen a.csv w");
    CALL(1, "fputs 3 buffered");
    CALL(3, "freopen 3 /dev/null r");
    cr_expect_str_eq(file_content("a.csv"), "buffered");
    SEEN("freopen held held\n");
    cr_expect_eq(puppet_end(puppet), 0);
}
