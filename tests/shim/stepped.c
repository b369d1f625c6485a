/*
 * A signal at every moment (contract T3): the program is stepped through a call, an
 * instruction at a time, and between any two of them where it lets signals in, a
 * handler opens and closes the same file. None of them waits for what it has itself
 * interrupted, and no hold is left.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define PATIENCE 60 /* seconds that a handler may take, against a hang only */

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    /* One processor for both: they take turns all the time. */
    stay_on_one_processor();
}

TestSuite(stepped, .init = begin, .fini = scenario_end, .timeout = 400);

static void go(int request, int number) {
    cr_assert_eq(ptrace((enum __ptrace_request)request, puppet->pid, NULL, (void *)(long)number), 0,
                 "ptrace: %d", errno);
}

/* Waits until it stops; for which signal. */
static int stop(void) {
    int status = 0;
    (void)alarm(PATIENCE);
    cr_assert_eq(waitpid(puppet->pid, &status, __WALL), puppet->pid);
    (void)alarm(0);
    cr_assert(WIFSTOPPED(status), "it has ended: %x", (unsigned)status);
    return WSTOPSIG(status);
}

static bool lets_in(int number) {
    uint64_t mask = 0;
    cr_assert_eq(ptrace(PTRACE_GETSIGMASK, puppet->pid, (void *)sizeof(mask), &mask), 0);
    return !(mask >> (number - 1) & 1);
}

static bool has_answered(void) {
    struct pollfd answers = {.fd = puppet->answers, .events = POLLIN};
    return poll(&answers, 1, 0) > 0;
}

/* The handler runs to its end, where it stops, and one step follows it. */
static void interrupt(void) {
    go(PTRACE_CONT, SIGUSR1);
    int number = stop();
    cr_assert_eq(number, SIGTRAP, "signal %d", number);
    do {
        go(PTRACE_SINGLESTEP, 0);
        number = stop();
    } while (number == SIGTRAP && !lets_in(SIGUSR1));
}

/* Tells it to make a call, and interrupts it at each `stride`th instruction. How
 * often. */
static long step_through(const char *call, long stride) {
    long count = 0, left = stride;
    if (ptrace(PTRACE_SEIZE, puppet->pid, NULL, NULL) < 0) {
        scenario_skip("processes cannot be traced here");
    }
    go(PTRACE_INTERRUPT, 0);
    (void)stop();
    puppet_tell(puppet, "%s", call);
    while (!has_answered()) {
        go(PTRACE_SINGLESTEP, 0);
        cr_assert_eq(stop(), SIGTRAP);
        if (--left <= 0 && lets_in(SIGUSR1)) {
            interrupt();
            count++;
            left = stride;
        }
    }
    go(PTRACE_DETACH, 0);
    return count;
}

static void step(long result, const char *call, long stride) {
    long count = step_through(call, stride);
    cr_expect_eq(puppet_result(puppet), result, "%s: %ld", call, puppet->result);
    cr_expect_gt(count, 20, "%s: interrupted %ld times", call, count);
    CALL(0, "failures");
    cr_log_info("%s: %ld times", call, count);
}

/* The file is opened by this name, by the call and by the handler. */
static void step_by(const char *name, long stride) {
    char call[64];
    put_file("a.csv.lock", "");
    puppet = puppet_start("*.csv", NULL);
    CALL(0, "trap_by_opening %d %s", SIGUSR1, name);
    (void)snprintf(call, sizeof(call), "open %s 2", name);
    step(3, call, stride);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    step(4, "dup 3", stride);
    step(0, "close 4", stride);
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    step(0, "close 3", stride);
    cr_expect_eq(lock_state("a.csv"), FREE);
    CALL(0, "list_above");
    CALL(3, "open /dev/null 0");
    cr_expect_eq(puppet_end(puppet), 0);
}

Test(stepped, the_quick_way) {
    step_by("a.csv", 7);
}

/* A link on the way has to be looked at. */
Test(stepped, the_way_through_a_link) {
    cr_assert_eq(symlink(".", "here"), 0);
    step_by("here/a.csv", 17);
}
