/* kind=soft: how a hold ends with its process, and what is written until then (contract
 * H2, H10). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/soft_scenario.h"

TestSuite(soft_exit, .init = soft_begin_open, .fini = scenario_end, .timeout = 120);

Scenario(soft_exit, every_way_to_end_removes_it) {
    static const char *const ways[] = {"exit 3", "_exit 3", "_Exit 3", "quick_exit 3"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(4, "dup 3");
        CALL(5, "open b.csv 2");
        puppet_tell(puppet, "%s", ways[i]);
        int status = puppet_end(puppet);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", ways[i], status);
        cr_expect_not(is_there("a.csv.lock"), "%s", ways[i]);
        cr_expect_not(is_there("b.csv.lock"), "%s", ways[i]);
        soft_start(RULES);
    }
    cr_expect_eq(puppet_end(puppet), 0); /* from main */
    puppet = NULL;
    cr_expect_not(is_there("a.csv.lock"));
    soft_start("*.csv kind=soft hold=process");
    CALL(0, "close 3");
    HELD;
}

/* The process goes on as its own child; libc ends it without _exit's being called. */
Scenario(soft_exit, daemon_ends_the_process_that_has_it) {
    struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, puppet->pid, 0), .events = POLLIN};
    cr_assert_geq(process.fd, 0);
    CALL(0, "daemon 1 1");
    cr_assert_eq(poll(&process, 1, 30000), 1);
    close(process.fd);
    cr_expect_not(is_there("a.csv.lock"));
    CALL(4, "open a.csv 2");
    HELD;
    CALL(0, "close 4");
    GONE;
}

Scenario(soft_exit, what_ends_it_by_force_leaves_it_stale) {
    puppet_tell(puppet, "abort");
    cr_expect(WIFSIGNALED(puppet_end(puppet)));
    cr_expect(is_there("a.csv.lock"));
    soft_start(RULES);
    cr_expect_eq(atol(file_content("a.csv.lock")), puppet->pid);
    puppet_kill(puppet);
    cr_expect(is_there("a.csv.lock"));
    soft_start(RULES);
    CALL(0, "close 3");
    GONE;
}

/* It stops in the middle of its next write to a file (SIGXFSZ): is the file locked
 * then? */
static void expect_held_at_write(const char *what) {
    int status;
    cr_assert_eq(waitpid(puppet->pid, &status, WUNTRACED), puppet->pid);
    cr_expect(WIFSTOPPED(status), "%s: it has written nothing", what);
    cr_expect(is_there("a.csv.lock"), "%s: not locked any more", what);
    cr_assert_eq(kill(puppet->pid, SIGCONT), 0);
    (void)puppet_end(puppet);
    cr_expect_not(is_there("a.csv.lock"), "%s", what);
}

Scenario(soft_exit, what_is_still_written_while_it_ends) {
    static const char *const preparations[][3] = {
        {"fdopen 3 r+", "fputs 3 buffered", "exit 0"},
        {"fopen a.csv a", "fputs 4 buffered", "exit 0"},
        {"fopen a.csv r+", "fputs 4 buffered", "exit 0"},
        {"fopen /dev/null r+", "freopen 4 a.csv a", "fputs 4 buffered"},
        {"write_at_exit 3", "dup 3", "exit 0"},
        {"write_at_quick_exit 3", "dup 3", "quick_exit 0"},
    };
    for (size_t i = 0; i < sizeof(preparations) / sizeof(preparations[0]); i++) {
        bool last_is_end = i != 3;
        for (int j = 0; j < (last_is_end ? 2 : 3); j++) {
            cr_expect_geq(puppet_call(puppet, "%s", preparations[i][j]), 0);
        }
        CALL(0, "stop_at_write");
        puppet_tell(puppet, "%s", last_is_end ? preparations[i][2] : "exit 0");
        expect_held_at_write(preparations[i][0]);
        put_file("a.csv", "1\n");
        soft_start(RULES);
    }
}

/* It ends by itself; a limit against a hang only. */
static void expect_end_within_reason(void) {
    int status = -1, ended = 0;
    for (int i = 0; i < 3000 && ended == 0; i++) {
        ended = waitpid(puppet->pid, &status, WNOHANG);
        usleep(10000);
    }
    cr_assert_eq(ended, puppet->pid, "it hangs");
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    close(puppet->commands);
    close(puppet->answers);
    puppet = NULL;
}

/* Standard output and error on the file: a stream that was never opened. */
Scenario(soft_exit, the_standard_streams_are_flushed_first) {
    int status;
    CALL(1, "dup2 3 1");
    CALL(2, "dup2 3 2");
    CALL(0, "close 3");
    CALL(0, "standard_puts 1 out");
    CALL(0, "standard_puts 2 err");
    HELD;
    cr_expect_str_eq(file_content("a.csv"), "1\n");
    CALL(0, "stop_at_write");
    puppet_tell(puppet, "exit 0");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(waitpid(puppet->pid, &status, WUNTRACED), puppet->pid);
        cr_assert(WIFSTOPPED(status), "%d streams were flushed: %x", i, (unsigned)status);
        HELD;
        cr_assert_eq(kill(puppet->pid, SIGCONT), 0);
    }
    cr_expect_eq(puppet_end(puppet), 0);
    puppet = NULL;
    cr_expect_not(is_there("a.csv.lock"));
}

/* Several streams on one file: what has which place in it is as without the library. */
static void write_by_several(struct puppet *writer, const char *reopened) {
    static const char *const calls[] = {
        "fopen a.csv a", "fputs 3 [first]",       "fopen a.csv a",    "fputs 4 [second]",
        "dup2 3 1",      "standard_puts 1 [out]", "fopen b.csv a",    "fputs 5 [other]",
        "dup2 4 2",      "standard_puts 2 [err]", "fopen a.csv a",    "fputs 6 [third]",
        "fclose 5",      "fopen a.csv a",         "fputs 5 [fourth]",
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        cr_expect_geq(puppet_call(writer, "%s", calls[i]), 0, "%s", calls[i]);
    }
    if (*reopened) {
        cr_expect_geq(puppet_call(writer, "%s", reopened), 0, "%s", reopened);
        cr_expect_geq(puppet_call(writer, "fputs 4 [again]"), 0);
    }
    cr_expect_eq(puppet_end(writer), 0);
}

Scenario(soft_exit, streams_are_flushed_in_the_order_of_libc) {
    static const char *const reopened[] = {"", "freopen 4 a.csv a"};
    CALL(0, "close 3");
    for (int i = 0; i < 2; i++) {
        char expected[512];
        put_file("a.csv", "");
        write_by_several(puppet_start(NULL, NULL), reopened[i]);
        snprintf(expected, sizeof(expected), "%s", file_content("a.csv"));
        cr_expect(strstr(expected, "[fourth]") && strstr(expected, "[out]"), "%s", expected);
        put_file("a.csv", "");
        write_by_several(puppet_start(RULES, NULL), reopened[i]);
        cr_expect_str_eq(file_content("a.csv"), expected, "%s", reopened[i]);
    }
}

#define MANY 600

static int count_markers(void) {
    char name[32];
    int count = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "s%d.csv.lock", i);
        count += is_there(name);
    }
    return count;
}

/* Each has its marker until it is written. */
Scenario(soft_exit, many_streams_are_flushed_first) {
    int status = 0, written = 0;
    CALL(0, "close 3");
    CALL(MANY, "open_streams %d", MANY);
    cr_expect_eq(count_markers(), MANY);
    CALL(0, "stop_at_write");
    puppet_tell(puppet, "exit 0");
    while (waitpid(puppet->pid, &status, WUNTRACED) == puppet->pid && WIFSTOPPED(status)) {
        cr_assert_geq(count_markers(), MANY - written, "after %d of them", written);
        cr_assert_eq(kill(puppet->pid, SIGCONT), 0);
        written++;
    }
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(written, MANY);
    cr_expect_eq(count_markers(), 0);
    puppet = NULL;
}

Scenario(soft_exit, what_many_streams_had_is_in_the_files) {
    char name[32];
    CALL(MANY, "open_streams %d", MANY);
    cr_expect_eq(puppet_end(puppet), 0);
    puppet = NULL;
    cr_expect_eq(count_markers(), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "s%d.csv", i);
        cr_expect_str_eq(file_content(name), "buffered", "%s", name);
    }
}

/* One that is closed is nobody's any more, least of all at the end, when its memory is
 * something else, or nothing. */
Scenario(soft_exit, streams_that_are_closed_are_forgotten) {
    CALL(MANY, "open_streams %d", MANY);
    CALL(0, "close_streams %d", MANY);
    cr_expect_eq(count_markers(), 0);
    HELD;
    int status = puppet_end(puppet);
    puppet = NULL;
    cr_expect_eq(status, 0, "%x", (unsigned)status);
}

/* What has nothing to do with the file may keep the program from ending, but not the
 * file locked. */
Scenario(soft_exit, a_pipe_that_nobody_reads) {
    char byte = 'x';
    cr_assert_eq(mkfifo("full", 0600), 0);
    int full = open("full", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    while (write(full, &byte, 1) == 1) {
    }
    CALL(4, "fopen full w");
    cr_expect_geq(puppet_call(puppet, "fputs 4 more"), 0);
    CALL(5, "fopen a.csv a");
    cr_expect_geq(puppet_call(puppet, "fputs 5 mine"), 0);
    puppet_tell(puppet, "exit 0");
    for (int i = 0; i < 3000 && is_there("a.csv.lock"); i++) {
        usleep(10000);
    }
    cr_expect_not(is_there("a.csv.lock"), "still locked");
    cr_expect_str_eq(file_content("a.csv"), "1\nmine");
    cr_expect_eq(waitpid(puppet->pid, NULL, WNOHANG), 0, "it has ended");
    close(full);
    (void)puppet_end(puppet);
    puppet = NULL;
}

/* What was read ahead is not given back: whoever shares the descriptor sees where it
 * is. */
Scenario(soft_exit, the_position_of_what_was_read_stays) {
    char seen[2][32];
    CALL(0, "close 3");
    cr_assert_eq(mkfifo("told", 0600), 0);
    for (int i = 0; i < 2; i++) {
        struct puppet *reader = puppet_start(i == 0 ? NULL : RULES, NULL);
        cr_expect_eq(puppet_call(reader, "fopen a.csv r+"), 3);
        cr_expect_eq(puppet_call(reader, "fgetc 3"), '1');
        cr_expect_eq(puppet_call(reader, "position_after_end 3 told"), 0);
        cr_expect_eq(puppet_end(reader), 0);
        snprintf(seen[i], sizeof(seen[i]), "%s", file_content("told"));
    }
    cr_expect_neq(*seen[0], '\0');
    cr_expect_str_eq(seen[1], seen[0]);
}

/* Nor is a thread waited for that has the stream in hand, unless libc does (musl). */
Scenario(soft_exit, a_thread_that_has_the_stream_in_hand) {
    CALL(4, "fopen a.csv a");
    cr_expect_geq(puppet_call(puppet, "fputs 4 more"), 0);
    CALL(0, "lock_stream 4");
    puppet_tell(puppet, "exit 0");
    expect_end_within_reason();
    HELD; /* stale, since what the stream had cannot be told */
    soft_start(RULES);
}

Scenario(soft_exit, what_streams_had_is_in_the_file_before_the_next_one) {
    CALL(3, "fdopen 3 r+");
    cr_expect_geq(puppet_call(puppet, "fputs 3 buffered"), 0);
    pid_t reader = start_shell("*.csv kind=soft", "exec cat a.csv >seen");
    cr_expect_eq(puppet_end(puppet), 0);
    puppet = NULL;
    cr_expect_eq(end_shell(reader), 0);
    cr_expect_str_eq(file_content("seen"), "buffered");
}

/* Nor what _exit(2) never writes. */
Scenario(soft_exit, exit_without_flush_flushes_nothing) {
    static const char *const ways[] = {"_exit 0", "_Exit 0", "quick_exit 0"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CALL(3, "fdopen 3 r+");
        cr_expect_geq(puppet_call(puppet, "fputs 3 buffered"), 0);
        puppet_tell(puppet, "%s", ways[i]);
        cr_expect_eq(puppet_end(puppet), 0);
        cr_expect_str_eq(file_content("a.csv"), "1\n", "%s", ways[i]);
        soft_start(RULES);
    }
}
