/* Readers that come and go let a writer in, and do not wait for ever for one
 * (contract O6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
    put_file("a.csv.lock", "");
}

TestSuite(turns, .init = begin, .fini = scenario_end, .timeout = 180);

static void wait_for_readers(void) {
    for (int i = 0; i < 3000 && lock_state("a.csv") != SHARED; i++) {
        usleep(10000);
    }
    cr_assert_eq(lock_state("a.csv"), SHARED);
}

/* Six readers that always overlap: each leaves when another has come, so that
 * the kernel alone would let them in for ever. */
Test(turns, readers_that_come_and_go_let_a_writer_in) {
    pid_t readers = start_shell(
        "*.csv",
        "for i in 1 2 3 4 5 6; do perl -e 'while (!-e q(stop)) { open A, q(<), q(a.csv) or "
        "die; select undef, undef, undef, 0.03; close A }' & done; wait");
    struct puppet *puppet = puppet_start("*.csv timeout=25s", "AUTOLOCK_LOG=log", NULL);
    wait_for_readers();
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(puppet_call(puppet, "open a.csv 2"), 3);
        cr_expect_eq(puppet_call(puppet, "close 3"), 0);
    }
    put_file("stop", "");
    cr_expect_eq(end_shell(readers), 0);
    cr_expect_str_eq(file_content("log"), "");
    (void)puppet_end(puppet);
}

/* With no chance at all: a reader leaves only when the next one has come, or has
 * been kept out for a while. */
Test(turns, a_chain_of_readers_without_a_gap) {
    struct puppet *writer = puppet_start("*.csv timeout=60s", NULL);
    struct puppet *readers[2] = {puppet_start("*.csv", NULL), puppet_start("*.csv", NULL)};
    cr_assert_eq(puppet_call(readers[0], "open a.csv 0"), 3);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    bool served = false;
    int who = 0;
    for (int i = 0; i < 100 && !served; i++, who = !who) {
        puppet_tell(readers[!who], "open a.csv 0");
        bool came = puppet_first(&readers[!who], 1, 300) == 0;
        cr_assert_eq(puppet_call(readers[who], "close 3"), 0);
        served = puppet_first(&writer, 1, 0) == 0;
        if (!came && !served) {
            served = puppet_first((struct puppet *[]){writer, readers[!who]}, 2, 30000) == 0;
        }
        if (served) {
            cr_expect_eq(puppet_result(writer), 3);
            cr_expect_eq(puppet_call(writer, "close 3"), 0);
        }
        cr_assert_eq(puppet_result(readers[!who]), 3);
    }
    cr_expect(served, "100 readers went in before the writer");
    puppet_kill(writer);
    puppet_kill(readers[0]);
    puppet_kill(readers[1]);
}

/* Nor may those in who stand back for the writer already and look again and again: his
 * mark is away for a moment every second, and some of many would always see that. They
 * keep the file for longer than that, so that there would be no end to it. */
Test(turns, many_readers_that_stand_back) {
    pid_t readers =
        start_shell("*.csv", "exec perl -e 'for (1 .. 60) { if (!fork) { select undef, undef, "
                             "undef, $_ / 20; while (!-e q(stop)) { open A, q(<), "
                             "q(a.csv) or die; select undef, undef, undef, 3; close A } exit } } "
                             "1 while wait > 0'");
    struct puppet *writer = puppet_start("*.csv timeout=40s", NULL);
    wait_for_readers();
    cr_expect_eq(puppet_call(writer, "open a.csv 2"), 3);
    put_file("stop", "");
    (void)puppet_end(writer);
    cr_expect_eq(end_shell(readers), 0);
}

/* Two readers of which one waits for the other, and a writer between them. */
Test(turns, a_writer_between_two_readers_of_a_pipe) {
    cr_assert_eq(run_shell(NULL, "mkfifo go one"), 0);
    pid_t pipe =
        start_shell("*.csv", "{ exec 3<a.csv; cat go; } | { cat one; exec 4<a.csv; echo >go; "
                             "cat; }");
    wait_for_readers();
    struct puppet *puppet = puppet_start("*.csv timeout=30s", NULL);
    puppet_tell(puppet, "open a.csv 2");
    wait_until_queued(puppet->pid);
    put_file("one", "");
    cr_expect_eq(end_shell(pipe), 0);
    cr_expect_eq(puppet_result(puppet), 3);
    (void)puppet_end(puppet);
}

/* A reader that stands back for long says why. */
Test(turns, a_reader_says_for_whom_it_waits) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *writer = puppet_start("*.csv", NULL);
    struct puppet *reader = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    for (int i = 0; i < 50 && !*file_content("log"); i++) {
        cr_assert_eq(puppet_first(&writer, 1, 100), -1);
        cr_assert_eq(puppet_call(reader, "open a.csv 0"), 3);
        cr_assert_eq(puppet_call(reader, "close 3"), 0);
    }
    cr_expect(
        strstr(file_content("log"), "/a.csv: a process that waits to write to it comes first"),
        "%s", file_content("log"));
    cr_expect_eq(strncmp(file_content("log"), "autolock: waiting ", 18), 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(writer), 3);
    (void)puppet_end(writer);
    (void)puppet_end(reader);
}

/* W4, W1: signals and timeouts, while a reader stands back. */
Test(turns, a_reader_that_stands_back_can_be_interrupted) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *writer = puppet_start("*.csv", NULL);
    struct puppet *reader = puppet_start("*.csv warn-after=20ms", "AUTOLOCK_LOG=log", NULL);
    cr_assert_eq(puppet_call(reader, "handle %d 0", SIGUSR2), 0);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    long result = 0;
    for (int i = 0; i < 20 && result != -1; i++) {
        /* The longer the writer has waited, the longer the reader stands back. */
        cr_assert_eq(puppet_first(&writer, 1, 700), -1);
        (void)unlink("log");
        puppet_tell(reader, "open a.csv 0");
        for (int j = 0; j < 3000 && !*file_content("log") && puppet_first(&reader, 1, 0) < 0; j++) {
            usleep(5000);
        }
        cr_assert_eq(kill(reader->pid, SIGUSR2), 0);
        result = puppet_result(reader);
        if (result == -3) { /* the handler */
            result = puppet_result(reader);
        } else {
            cr_assert_eq(puppet_result(reader), -3);
        }
        if (result == 3) {
            cr_assert_eq(puppet_call(reader, "close 3"), 0);
        }
    }
    cr_expect_eq(result, -1);
    cr_expect_eq(reader->error, EINTR);
    cr_expect_eq(puppet_call(reader, "list_above"), 0);
    (void)puppet_end(reader);
    /* Past its time it goes in, rather than fail for one that only waits. */
    reader = puppet_start("*.csv timeout=20ms", NULL);
    cr_expect_eq(puppet_call(reader, "open a.csv 0"), 3);
    stranger_leaves(stranger);
    (void)puppet_end(reader);
    cr_expect_eq(puppet_result(writer), 3);
    (void)puppet_end(writer);
}

/* The writer waits for a reader who waits for another one, its child; or for one who
 * locks the sidecar itself. They do not stand back. */
Test(turns, a_family_of_readers) {
    cr_assert_eq(run_shell(NULL, "mkfifo go"), 0);
    pid_t family = start_shell(
        "*.csv", "export AUTOLOCK_LOG=log AUTOLOCK_PATTERNS='*.csv warn-after=10ms'; exec 3<a.csv; "
                 "cat go; for i in 1 2 3; do cat a.csv >>out; done; exec 3<&-; cat go; "
                 "perl -e 'open L, q(<), q(a.csv.lock); flock L, 1 or die; open G, q(<), q(go); "
                 "<G>; open A, q(<), q(a.csv) or die; print <A>' >>out");
    wait_for_readers();
    struct puppet *writer = puppet_start("*.csv", NULL);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    cr_expect_eq(puppet_first(&writer, 1, 2000), -1);
    put_file("go", "");
    cr_assert_eq(puppet_result(writer), 3);
    cr_assert_eq(puppet_call(writer, "close 3"), 0);
    put_file("go", "");
    wait_for_readers();
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    cr_expect_eq(puppet_first(&writer, 1, 2000), -1);
    put_file("go", "");
    cr_expect_eq(end_shell(family), 0);
    cr_assert_eq(puppet_result(writer), 3);
    (void)puppet_end(writer);
    cr_expect_str_eq(file_content("out"), "0\n0\n0\n0\n");
    cr_expect_not(strstr(file_content("log"), "comes first"), "%s", file_content("log"));
}

/* A writer that is killed or gives up keeps nobody out. */
Test(turns, a_writer_that_is_gone) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *reader = puppet_start("*.csv", NULL);
    struct puppet *writer = puppet_start("*.csv", NULL);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    cr_expect_eq(puppet_first(&writer, 1, 300), -1);
    puppet_kill(writer);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(puppet_call(reader, "open a.csv 0"), 3);
        cr_assert_eq(puppet_call(reader, "close 3"), 0);
    }
    stranger_leaves(stranger);
    (void)puppet_end(reader);
}

/* Nor is the mark left by a wait that was jumped out of, while what it had in
 * hand lives on: an upgrade of a file that stays open. */
Test(turns, a_jump_out_of_an_upgrade_takes_the_mark_along) {
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *writer = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(writer, "open a.csv 0"), 3);
    cr_assert_eq(puppet_call(writer, "alarm_open a.csv 2 400 %d", SA_RESTART), -7);
    for (int i = 0; i < 500 && puppet_call(writer, "list_above") > 1; i++) {
        usleep(10000);
    }
    cr_expect_eq(run_shell(NULL, "/usr/bin/python3 -c '\n"
                                 "import fcntl\n"
                                 "fcntl.lockf(open(\"a.csv.lock\", \"r+\"), "
                                 "fcntl.LOCK_EX | fcntl.LOCK_NB)'"),
                 0, "the sidecar has a record lock of a writer that waits no more");
    stranger_leaves(stranger);
    (void)puppet_end(writer);
}

/* Who locks the sidecar by fcntl waits no longer than a moment for the mark: not even
 * where he can run only when the writer does not, and is not preferred as he wakes. */
Test(turns, the_mark_does_not_stop_record_locks) {
    stay_on_one_processor();
    struct stranger stranger = stranger_locks("a.csv", LOCK_SH);
    struct puppet *writer = puppet_start("*.csv", NULL);
    puppet_tell(writer, "open a.csv 2");
    wait_until_queued(writer->pid);
    cr_expect_eq(puppet_first(&writer, 1, 300), -1);
    cr_expect_eq(run_shell(NULL, "exec chrt -b 0 /usr/bin/python3 -c '\n"
                                 "import fcntl\n"
                                 "fcntl.lockf(open(\"a.csv.lock\", \"r+\"), fcntl.LOCK_EX)'"),
                 0);
    stranger_leaves(stranger);
    cr_expect_eq(puppet_result(writer), 3);
    (void)puppet_end(writer);
}
