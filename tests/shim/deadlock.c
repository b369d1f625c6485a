/* Processes that wait for each other in a circle (contract W3): exactly one
 * gives up, and only where nobody else can help. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

#define LONG_ENOUGH 60000 /* milliseconds, against a hang only */

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
    put_file("b.csv", "0\n");
    put_file("c.csv", "0\n");
}

TestSuite(deadlock, .init = begin, .fini = scenario_end, .timeout = 240);

static struct puppet *start(void) {
    return puppet_start("*.csv", "AUTOLOCK_LOG=log", NULL);
}

/* Each waits for what the next one has; one of them must give up. Returns who. */
static int one_gives_up(struct puppet **puppets, int count) {
    int loser = puppet_first(puppets, count, LONG_ENOUGH);
    cr_assert(loser >= 0, "nobody gives up");
    cr_expect_eq(puppet_result(puppets[loser]), -1);
    cr_expect_eq(puppets[loser]->error, EDEADLK);
    cr_expect_eq(puppet_first(puppets, count, 0), -1, "one is enough");
    return loser;
}

static void expect_named(const char *part, int pid) {
    char name[64];
    snprintf(name, sizeof(name), "pid %d (puppet) %s", pid, part);
    cr_expect(strstr(file_content("log"), name), "%s in %s", name, file_content("log"));
}

static void around(int count) {
    static const char *const files[] = {"a.csv", "b.csv", "c.csv"};
    struct puppet *puppets[3];
    for (int i = 0; i < count; i++) {
        puppets[i] = start();
        cr_assert_eq(puppet_call(puppets[i], "open %s 2", files[i]), 3);
    }
    for (int i = 0; i < count; i++) {
        puppet_tell(puppets[i], "open %s 2", files[(i + 1) % count]);
    }
    int loser = one_gives_up(puppets, count);
    cr_expect(strstr(file_content("log"), "deadlock: "), "%s", file_content("log"));
    for (int i = 0; i < count; i++) {
        expect_named("waits for", puppets[i]->pid);
        expect_named("has", puppets[i]->pid);
    }
    /* The one that gave up has what it had; once it lets go all go on. */
    cr_expect_eq(puppet_call(puppets[loser], "close 3"), 0);
    for (int i = count - 1; i > 0; i--) {
        struct puppet *next = puppets[(loser + i) % count];
        cr_expect_eq(puppet_result(next), 4);
        cr_expect_eq(puppet_call(next, "close 4"), 0);
        cr_expect_eq(puppet_call(next, "close 3"), 0);
    }
    for (int i = 0; i < count; i++) {
        cr_expect_eq(puppet_call(puppets[i], "list_above"), 0);
        (void)puppet_end(puppets[i]);
    }
}

Test(deadlock, of_two_one_gives_up) {
    around(2);
}

Test(deadlock, of_three_one_gives_up) {
    around(3);
}

/* Any of the waits may be the one that fails; a thread that does is told of by the log
 * alone. */
static void one_thread_gives_up(struct puppet *two[2]) {
    for (int i = 0; i < 6000 && !strstr(file_content("log"), "deadlock: "); i++) {
        usleep(10000);
    }
    cr_expect(strstr(file_content("log"), "deadlock: "), "%s", file_content("log"));
    puppet_kill(two[0]);
    (void)puppet_first(&two[1], 1, LONG_ENOUGH);
    puppet_kill(two[1]);
}

/* Two threads of one process wait for two files of the other one. */
Test(deadlock, with_several_threads) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(puppet_call(two[0], "open a.csv 2"), 3);
    cr_assert_eq(puppet_call(two[1], "open b.csv 2"), 3);
    cr_assert_eq(puppet_call(two[1], "open c.csv 2"), 4);
    cr_assert_eq(puppet_call(two[0], "open_thread b.csv 2"), 0);
    puppet_tell(two[0], "open c.csv 2");
    wait_until_queued(two[0]->pid);
    puppet_tell(two[1], "open a.csv 2");
    one_thread_gives_up(two);
}

/* One thread turns its shared lock into an exclusive one, and another one waits for it to
 * have done so, which is part of the circle. */
Test(deadlock, with_a_thread_that_waits_for_anothers_upgrade) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(puppet_call(two[0], "open b.csv 2"), 3);
    cr_assert_eq(puppet_call(two[0], "open a.csv 0"), 4);
    cr_assert_eq(puppet_call(two[1], "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(two[0], "open_thread a.csv 2"), 0);
    wait_until_queued(two[0]->pid);
    puppet_tell(two[1], "open b.csv 2");
    cr_expect_eq(puppet_first(two, 2, 2500), -1, "a false alarm: %s", file_content("log"));
    puppet_tell(two[0], "open a.csv 0");
    one_thread_gives_up(two);
}

/* A vforked child has what its parent has, which is suspended as long. */
Test(deadlock, of_a_vforked_child) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(puppet_call(two[0], "open a.csv 2"), 3);
    cr_assert_eq(puppet_call(two[1], "open b.csv 2"), 3);
    puppet_tell(two[0], "vfork_open b.csv 2");
    puppet_tell(two[1], "open a.csv 2");
    int loser = puppet_first(two, 2, LONG_ENOUGH);
    cr_assert(loser >= 0, "nobody gives up");
    cr_expect_neq(puppet_result(two[loser]), loser == 0 ? 0 : 4);
    cr_expect(strstr(file_content("log"), "deadlock: "), "%s", file_content("log"));
    cr_expect_eq(puppet_first(two, 2, 0), -1, "one is enough");
    cr_expect_eq(puppet_call(two[loser], "close 3"), 0);
    cr_expect_eq(puppet_result(two[!loser]), loser == 0 ? 4 : 0);
    (void)puppet_end(two[0]);
    (void)puppet_end(two[1]);
}

/* A forked child that has the file open as well may release it, whoever else
 * waits: no alarm as long as it lives. */
Test(deadlock, a_forked_child_that_may_release) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(puppet_call(two[0], "open a.csv 2"), 3);
    long child = puppet_call(two[0], "fork");
    cr_assert_gt(child, 0);
    cr_assert_eq(puppet_call(two[1], "open b.csv 2"), 3);
    puppet_tell(two[0], "open b.csv 2");
    puppet_tell(two[1], "open a.csv 2");
    cr_expect_eq(puppet_first(two, 2, 3000), -1, "a false alarm: %s", file_content("log"));
    cr_assert_eq(kill((pid_t)child, SIGKILL), 0);
    int loser = one_gives_up(two, 2);
    cr_expect_eq(puppet_call(two[loser], "close 3"), 0);
    cr_expect_eq(puppet_result(two[!loser]), 4);
    puppet_kill(two[0]);
    puppet_kill(two[1]);
}

/* The holder's other thread will release it. */
Test(deadlock, another_thread_that_will_release) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(mkfifo("now", 0600), 0);
    cr_assert_eq(puppet_call(two[0], "open a.csv 2"), 3);
    cr_assert_eq(puppet_call(two[1], "open b.csv 2"), 3);
    cr_assert_eq(puppet_call(two[0], "thread_close_on now 3"), 0);
    puppet_tell(two[0], "open b.csv 2");
    puppet_tell(two[1], "open a.csv 2");
    cr_expect_eq(puppet_first(two, 2, 3000), -1, "a false alarm: %s", file_content("log"));
    put_file("now", "x");
    cr_expect_eq(puppet_result(two[1]), 4);
    cr_expect_eq(puppet_call(two[1], "close 3"), 0);
    cr_expect_eq(puppet_result(two[0]), 3);
    cr_expect_str_eq(file_content("log"), "");
    (void)puppet_end(two[0]);
    (void)puppet_end(two[1]);
}

/* Who called flock has ended; its child has the file. */
Test(deadlock, a_holder_that_was_forked) {
    cr_assert_eq(mkfifo("now", 0600), 0);
    struct puppet *other = start();
    cr_assert_eq(puppet_call(other, "open b.csv 2"), 3);
    pid_t orphan = start_shell("*.csv", "AUTOLOCK_LOG=log perl -e '"
                                        "open A, q(+<), q(a.csv) or die; exit 0 if fork; "
                                        "open N, q(>), q(now) or die; close N; "
                                        "$ok = open B, q(+<), q(b.csv); $e = $ok ? 0 : $! + 0; "
                                        "open R, q(>), q(result); print R $e; "
                                        "close R' & wait $!");
    cr_expect_str_eq(file_content("now"), ""); /* the child has it alone now */
    cr_expect_eq(end_shell(orphan), 0);
    puppet_tell(other, "open a.csv 2");
    cr_expect_eq(puppet_first(&other, 1, LONG_ENOUGH), 0);
    long result = puppet_result(other);
    cr_expect(result == 4 || other->error == EDEADLK);
    cr_expect(strstr(file_content("log"), "deadlock: "), "%s", file_content("log"));
    (void)puppet_end(other);
    for (int i = 0; i < 3000 && !*file_content("result"); i++) {
        usleep(10000);
    }
    cr_expect_str_eq(file_content("result"), result == 4 ? "35" : "0");
}

/* Each shell has a file and waits for its tool, which wants the other's. */
Test(deadlock, shells_and_their_tools) {
    cr_assert_eq(mkfifo("one", 0600), 0);
    cr_assert_eq(mkfifo("two", 0600), 0);
    pid_t one = start_shell("*.csv", "export AUTOLOCK_LOG=log; exec 3>>a.csv; echo >one; cat two; "
                                     "cat b.csv; s=$?; exec 3>&-; exit $s");
    pid_t two = start_shell("*.csv", "export AUTOLOCK_LOG=log; exec 3>>b.csv; cat one; echo >two; "
                                     "cat a.csv; s=$?; exec 3>&-; exit $s");
    int first = end_shell(one), second = end_shell(two);
    cr_expect_eq(first + second, 1, "%d and %d: %s", first, second, file_content("log"));
    cr_expect(strstr(file_content("log"), "its child"), "%s", file_content("log"));
}

/* With flock(1), which knows nothing of it: the one under the shim gives up. */
Test(deadlock, with_a_stranger) {
    cr_assert_eq(mkfifo("now", 0600), 0);
    struct puppet *puppet = start();
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    pid_t shell = start_shell(NULL, "exec 9>b.csv.lock; flock 9; echo >now; exec flock a.csv.lock "
                                    "true");
    cr_expect_str_eq(file_content("now"), "\n");
    cr_expect_eq(puppet_call(puppet, "open b.csv 2"), -1);
    cr_expect_eq(puppet->error, EDEADLK);
    cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    cr_expect_eq(end_shell(shell), 0);
    (void)puppet_end(puppet);
}

/* Leads it on until it has begun to read /proc/locks, and from there to its next flock or
 * to what it says instead. */
static void lead_to_the_end_of_a_look(pid_t pid) {
    char path[8] = "";
    while (memcmp(path, "/proc/lo", sizeof(path)) != 0) {
        cr_assert(moment_before(pid, SYS_openat));
        uint64_t start = moment_peek(pid, moment_arguments[1]);
        memcpy(path, &start, sizeof(path));
    }
    long number = 0;
    while (number != SYS_flock && number != SYS_write) {
        number = moment_next(pid);
        cr_assert_geq(number, 0);
    }
}

/* One look is not enough: what it saw, piece by piece, may be over. */
Test(deadlock, a_circle_that_is_over_at_the_second_look) {
    cr_assert_eq(mkfifo("now", 0600), 0);
    struct puppet *puppet = start();
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    pid_t shell = start_shell(NULL, "exec 9>b.csv.lock; flock 9; echo $$ >now; exec flock "
                                    "a.csv.lock true");
    const pid_t other = atoi(file_content("now"));
    wait_until_queued(other);
    puppet_tell(puppet, "open b.csv 2");
    wait_until_queued(puppet->pid);
    moment_join(puppet->pid);
    lead_to_the_end_of_a_look(puppet->pid);
    cr_assert_eq(kill(other, SIGKILL), 0);
    (void)end_shell(shell);
    moment_leave(puppet->pid);
    cr_expect_eq(puppet_result(puppet), 4, "a false alarm: %s", file_content("log"));
    cr_expect_str_eq(file_content("log"), "");
    (void)puppet_end(puppet);
}

/* The program's own flock on sidecars takes part. */
Test(deadlock, through_flock_itself) {
    struct puppet *two[] = {start(), start()};
    cr_assert_eq(puppet_call(two[0], "open a.csv 2"), 3);
    cr_assert_eq(puppet_call(two[1], "open b.csv 2"), 3);
    cr_assert_eq(puppet_call(two[0], "open b.csv.lock 2"), 4);
    cr_assert_eq(puppet_call(two[1], "open a.csv.lock 2"), 4);
    puppet_tell(two[0], "flock 4 2");
    puppet_tell(two[1], "flock 4 2");
    int loser = one_gives_up(two, 2);
    cr_expect_eq(puppet_call(two[loser], "close 3"), 0);
    cr_expect_eq(puppet_result(two[!loser]), 0);
    (void)puppet_end(two[0]);
    (void)puppet_end(two[1]);
}
