/* Loops that close everything, and what is closed behind our back (contract T2,
 * T4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

TestSuite(closing, .init = flock_begin_open, .fini = scenario_end, .timeout = 120);

/* With the file on standard output, which such a loop leaves alone; then exec,
 * and the program after it has the hold. */
static void through_exec(void) {
    HELD;
    puppet_tell(puppet, "exec");
    CALL(1, "dup2 1 1");
    HELD;
    CALL(0, "close 1");
    GONE;
    CALL(1, "open /dev/null 1");
}

/* What real programs do before they start others. */
Scenario(closing, every_loop_leaves_standard_output_its_hold) {
    static const char *loops[] = {
        "close_loop 3 1100",
        "close_loop 3 1000000",
        "closefrom 3",
        "close_range_around 3 4294967295 0",
        "close_range_around 3 4294967295 4", /* CLOSE_RANGE_CLOEXEC */
        "close_range_around 3 4294967295 2", /* CLOSE_RANGE_UNSHARE */
        "walk_close 3",
        "walk_cloexec 3",
        "loop_cloexec 3 1100",
        "dup2_over 3 500",
    };
    for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        CALL(0, "%s", loops[i]);
        through_exec();
        for (int fd = 3; fd < 500; fd++) { /* what dup2_over has left */
            (void)puppet_call(puppet, "close %d", fd);
        }
        CALL(3, "open a.csv 2");
        HELD;
    }
    CALL(0, "close 3");
    GONE;
}

/* Over all numbers that ours usually are among; the limit leaves others. */
Scenario(closing, dup2_over_everything) {
    CALL(0, "setrlimit 4096");
    CALL(1, "dup2 3 1");
    CALL(0, "dup2_over 3 1024");
    HELD;
    CALL(0, "close_loop 3 1024");
    HELD;
    CALL(0, "close 1");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(closing, close_range_marks_standard_output_too) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    CALL(0, "close_range 0 499 4");
    HELD;
    puppet_tell(puppet, "exec_bare");
    CALL(-1, "dup2 1 1");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(closing, a_hidden_number_is_closed_in_vain) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    long hidden = strtol(puppet->text, NULL, 10);
    CALL(0, "close %ld", hidden);
    CALL(0, "__close %ld", hidden);
    CALL(FD_CLOEXEC, "fcntl %ld %d 0", hidden, F_GETFD);
    CALL(0, "fcntl %ld %d 0", hidden, F_SETFD);
    CALL(0, "ioctl %ld FIONCLEX", hidden);
    HELD;
    puppet_tell(puppet, "exec");
    CALL(3, "dup2 3 3");
    cr_expect_eq(lock_state("a.csv"), FREE, "its close-on-exec flag was taken away");
}

Scenario(closing, dup2_of_nothing_onto_a_hidden_number) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    long hidden = strtol(puppet->text, NULL, 10);
    CALL(-1, "dup2 77 %ld", hidden);
    cr_expect_eq(puppet->error, EBADF);
    CALL(-1, "dup3 77 %ld 0", hidden);
    HELD;
    CALL(0, "close 3");
    GONE;
}

/* A twin of standard output that is moved stays where exec finds it. */
Scenario(closing, dup2_onto_a_twin_of_standard_output) {
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(puppet_call(puppet, "list_above"), 1 + (i > 0), "%s", puppet->text);
        CALL(1021 - 4 * i, "dup2 0 %d", 1021 - 4 * i);
        HELD;
        CALL(0, "fcntl %d %d %d", 1021 - 4 * i, F_SETFD, FD_CLOEXEC);
        if (i > 0) {
            CALL(0, "close %d", 1021 - 4 * i + 4);
        }
    }
    through_exec();
}

/* From very few descriptors to very many; for a million root has to raise the hard
 * limit. */
Scenario(closing, any_limit) {
    static const int limits[] = {16, 17, 20, 64, 100, 255, 256, 1000, 1024, 4096, 1000000};
    struct rlimit hard, million = {.rlim_cur = 1024, .rlim_max = 1000000};
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &hard), 0);
    if (hard.rlim_max < million.rlim_max &&
        prlimit(puppet->pid, RLIMIT_NOFILE, &million, NULL) == 0) {
        hard = million;
    }
    CALL(0, "close 3");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if ((rlim_t)limits[i] > hard.rlim_max) {
            fprintf(stderr, "the hard limit is %ld, so %d is not tried\n", (long)hard.rlim_max,
                    limits[i]);
            continue;
        }
        CALL(0, "setrlimit %d", limits[i]);
        CALL(3, "open a.csv 2");
        HELD;
        CALL(4, "dup 3");
        CALL(5, "open /dev/null 0");
        CALL(1, "dup2 3 1");
        CALL(0, "close_loop 3 %d", limits[i]);
        HELD;
        through_exec();
    }
}

/* A limit that others have changed between: the program after exec finds its
 * hold all the same. */
Scenario(closing, a_limit_that_changes_before_exec) {
    static const int limits[][2] = {{64, 1024}, {1024, 64}, {100, 77}, {256, 1000}};
    for (size_t i = 0; i < 4; i++) {
        CALL(0, "setrlimit %d", limits[i][0]);
        CALL(1, "dup2 3 1");
        CALL(0, "close 3");
        CALL(0, "setrlimit %d", limits[i][1]);
        through_exec();
        CALL(0, "setrlimit 1024");
        CALL(3, "open a.csv 2");
    }
    CALL(0, "close 3");
}

Scenario(closing, hundreds_of_files) {
    for (int i = 0; i < 480; i++) {
        char name[20];
        snprintf(name, sizeof(name), "x%d.csv", i);
        CALL(4 + i, "open %s 0102 0644", name);
    }
    cr_expect_eq(lock_state("x0.csv"), EXCLUSIVE);
    cr_expect_eq(lock_state("x479.csv"), EXCLUSIVE);
    CALL(0, "close_range 4 499 0");
    cr_expect_eq(lock_state("x0.csv"), FREE);
    cr_expect_eq(lock_state("x479.csv"), FREE);
    CALL(0, "close 3");
    GONE;
}

/* T4: nobody told us. The number comes back as new. */
Scenario(closing, unseen_closes_heal) {
    CALL(4, "open b.csv 2");
    CALL(0, "unseen_close 3");
    CALL(3, "open /dev/null 0");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    CALL(0, "close 4");
    GONE;
}

Scenario(closing, a_range_that_takes_ours_with_it) {
    CALL(4, "open b.csv 2");
    CALL(0, "unseen_close_range 3 499");
    CALL(0, "unseen_close_range 502 2000");
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(3, "open b.csv 2");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(4, "open a.csv 2");
    HELD;
    CALL(5, "dup 4");
    CALL(0, "close 4");
    HELD;
    CALL(0, "close 3");
    cr_expect_eq(lock_state("b.csv"), FREE);
    HELD;
    CALL(0, "close 5");
    GONE;
}

/* Only ours is gone: the second open must not rely on it. */
Scenario(closing, a_twin_that_was_closed) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    long hidden = strtol(puppet->text, NULL, 10);
    CALL(0, "unseen_close %ld", hidden);
    CALL(4, "open a.csv 2");
    HELD;
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 4");
    GONE;
}

/* The twin's number is another hold's by the time that the first is closed. */
Scenario(closing, a_twin_s_number_that_was_used_again) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    long hidden = strtol(puppet->text, NULL, 10);
    CALL(0, "unseen_close %ld", hidden);
    CALL(4, "open a.csv 2");
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    cr_expect_eq(strtol(puppet->text, NULL, 10), hidden);
    CALL(0, "close 3");
    HELD;
    CALL(0, "close 4");
    GONE;
}

Scenario(closing, an_io_uring_close_heals) {
    long result = puppet_call(puppet, "uring_close 3");
    if (result == -1) {
        scenario_skip("this system has no io_uring");
    }
    cr_assert_eq(result, 0);
    CALL(3, "open b.csv 2");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "close 3");
    GONE;
}

/* A number of ours that was closed behind our back, and is the program's by now: it is
 * not closed when the hold ends (contract T2). */
Scenario(closing, what_took_the_place_of_one_of_ours_stays) {
    cr_assert_eq(puppet_call(puppet, "list_above"), 1);
    const long hidden = strtol(puppet->text, NULL, 10);
    CALL(4, "open /dev/null 2");
    CALL(hidden, "unseen_dup2 4 %ld", hidden);
    CALL(0, "close 3");
    CALL(1, "list_above");
    CALL(0, "unseen_close %ld", hidden);
    GONE;
}

/* Who looks at the flags of all that is open sees no leak. */
Scenario(closing, all_of_ours_seem_to_be_close_on_exec) {
    CALL(1, "dup2 3 1");
    cr_assert_eq(puppet_call(puppet, "list_above"), 2);
    char *at = puppet->text;
    const long one = strtol(at, &at, 10), other = strtol(at, NULL, 10);
    CALL(1, "fcntl %ld 1 0", one); /* F_GETFD: FD_CLOEXEC */
    CALL(1, "fcntl %ld 1 0", other);
    CALL(0, "close 1");
    CALL(0, "close 3");
    GONE;
}
