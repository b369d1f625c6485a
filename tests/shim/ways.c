/* The rarer ways in and out (contract O1): temporary files, syscall(), handles,
 * libio's old names, and what libc does to descriptors inside. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct puppet *puppet;

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
    puppet = puppet_start("*.csv", NULL);
}

static void finish(void) {
    if (puppet) {
        cr_expect_eq(puppet_end(puppet), 0);
    }
}

TestSuite(ways, .init = begin, .fini = scenario_end, .timeout = 120);

#define STATE(file, state) cr_expect_eq(lock_state(file), state, "%s", file)
#define NOTHING_LEFT CALL(0, "list_above")

/* O1: the sidecar is there, and locked, when the file is. */
Scenario(ways, temporary_files_that_match) {
    static const char *calls[] = {
        "mkstemps a-XXXXXX.csv 4",
        "mkstemps64 a-XXXXXX.csv 4",
        "mkostemps a-XXXXXX.csv 4 0",
        "mkostemps64 a-XXXXXX.csv 4 02000",
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        char name[100];
        struct stat file;
        CALL(3, "%s", calls[i]);
        cr_expect_eq(puppet->error, UNTOUCHED);
        snprintf(name, sizeof(name), "%.90s", puppet->text);
        cr_expect(strcmp(name, "a-XXXXXX.csv") != 0 && strlen(name) == strlen("a-XXXXXX.csv"), "%s",
                  name);
        cr_expect_eq(stat(name, &file), 0);
        cr_expect_eq(file.st_mode & 07777, 0600);
        STATE(name, EXCLUSIVE);
        CALL(0, "close 3");
        STATE(name, FREE);
        NOTHING_LEFT;
    }
}

Scenario(ways, temporary_files_without_a_suffix) {
    static const char *calls[] = {"mkstemp t/XXXXXX", "mkstemp64 t/XXXXXX", "mkostemp t/XXXXXX 0",
                                  "mkostemp64 t/XXXXXX 02000"};
    cr_assert_eq(mkdir("t", 0700), 0);
    struct puppet *other = puppet_start("t/**", NULL);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        cr_expect_eq(puppet_call(other, "%s", calls[i]), 3, "%s", calls[i]);
        cr_expect_eq(lock_state(other->text), EXCLUSIVE, "%s", calls[i]);
        char name[100];
        snprintf(name, sizeof(name), "%.90s", other->text);
        cr_expect_eq(puppet_call(other, "close 3"), 0);
        cr_expect_eq(lock_state(name), FREE, "%s", calls[i]);
    }
    (void)puppet_end(other);
}

Scenario(ways, temporary_files_that_do_not_match) {
    struct stat file;
    CALL(3, "mkostemps x-XXXXXX.txt 4 %d", O_CLOEXEC | O_APPEND);
    STATE(puppet->text, NO_SIDECAR);
    cr_expect_eq(stat(puppet->text, &file), 0);
    long flags = puppet_call(puppet, "fcntl 3 %d", F_GETFL);
    cr_expect_eq(flags & ~0100000, O_RDWR | O_APPEND, "%#lo", flags); /* O_LARGEFILE */
    CALL(1, "fcntl 3 1");
    CALL(-1, "mkstemp x-XXXXX");
    cr_expect_eq(puppet->error, EINVAL);
    CALL(-1, "mkstemps x-XXXXXX.txt 3");
    cr_expect_eq(puppet->error, EINVAL);
    CALL(-1, "mkstemps XXXXXX -1");
    cr_expect_eq(puppet->error, EINVAL);
    CALL(-1, "mkstemp nowhere/XXXXXX");
    cr_expect_eq(puppet->error, ENOENT);
}

/* libuv closes this way. */
Scenario(ways, syscall_opens_closes_and_duplicates) {
#ifdef SYS_open
    CALL(3, "syscall %d a.csv 2", SYS_open);
    STATE("a.csv", EXCLUSIVE);
    CALL(4, "syscall %d 3", SYS_dup);
    CALL(5, "syscall %d 3 5", SYS_dup2);
    CALL(0, "syscall %d 3", SYS_close);
    CALL(0, "syscall %d 4", SYS_close);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "syscall %d 5", SYS_close);
    STATE("a.csv", FREE);
    CALL(3, "syscall %d a.csv 0644", SYS_creat);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 3");
#endif
    CALL(3, "syscall %d -100 a.csv 0", SYS_openat);
    cr_expect_eq(puppet->error, UNTOUCHED);
    STATE("a.csv", SHARED);
    CALL(4, "syscall %d 3 4 %d", SYS_dup3, O_CLOEXEC);
    CALL(6, "syscall %d 3 %d 6", SYS_fcntl, F_DUPFD);
    CALL(0, "syscall %d 3 3 0", SYS_close_range);
    STATE("a.csv", SHARED);
    CALL(0, "syscall %d 4 499 0", SYS_close_range);
    STATE("a.csv", FREE);
    CALL(-1, "syscall %d 77", SYS_close);
    cr_expect_eq(puppet->error, EBADF);
    CALL(-1, "syscall %d -100 missing.csv 0", SYS_openat);
    cr_expect_eq(puppet->error, ENOENT);
    STATE("missing.csv", NO_SIDECAR);
    NOTHING_LEFT;
}

Scenario(ways, syscall_with_openat2) {
    enum { NO_SYMLINKS = 4, BENEATH = 8, IN_ROOT = 16 };
    cr_assert_eq(symlink("a.csv", "link.csv"), 0);
    CALL(3, "openat2 a.csv 2 0 %d", NO_SYMLINKS);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 3");
    STATE("a.csv", FREE);
    CALL(-1, "openat2 link.csv 2 0 %d", NO_SYMLINKS);
    cr_expect_eq(puppet->error, ELOOP);
    CALL(-1, "openat2 %s/a.csv 2 0 %d", scenario_directory(), BENEATH);
    cr_expect_eq(puppet->error, EXDEV);
    CALL(3, "openat2 /b.csv 2 0 %d", IN_ROOT);
    STATE("b.csv", EXCLUSIVE);
    CALL(0, "close 3");
    CALL(-1, "openat2 a.csv 2 0666 0"); /* a mode without O_CREAT */
    cr_expect_eq(puppet->error, EINVAL);
    STATE("a.csv", FREE);
    NOTHING_LEFT;
}

Scenario(ways, syscall_with_other_numbers) {
    CALL(puppet->pid, "syscall %d", SYS_getpid);
    CALL(0, "syscall_mmap 0");
    CALL(-1, "syscall_mmap 1");
    cr_expect_eq(puppet->error, EINVAL);
    CALL(3, "open a.csv 2");
    CALL(7, "syscall_clone 3");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 3");
    STATE("a.csv", FREE);
}

Scenario(ways, a_file_by_its_handle) {
    if (puppet_call(puppet, "open_by_handle a.csv 2") == -4 || puppet->error == EPERM) {
        scenario_skip("this file system has no handles, or we may not open by them");
    }
    cr_expect_eq(puppet->result, 3);
    cr_expect_eq(puppet->error, UNTOUCHED);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 3");
    STATE("a.csv", FREE);
    CALL(3, "open_by_handle a.csv 0");
    STATE("a.csv", SHARED);
    CALL(0, "close 3");
    NOTHING_LEFT;
}

Scenario(ways, libio_names) {
    CALL(3, "_IO_fopen a.csv r+");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "_IO_fclose");
    STATE("a.csv", FREE);
    CALL(3, "open a.csv 2");
    CALL(0, "pclose_plain 3");
    STATE("a.csv", FREE);
    NOTHING_LEFT;
}

/* A stream whose descriptor was closed, and the number given to another file:
 * fclose closes that one. */
Scenario(ways, fclose_after_close) {
    CALL(3, "fopen a.csv r+");
    CALL(0, "close 3");
    STATE("a.csv", FREE);
    CALL(-1, "fclose 3");
    cr_expect_eq(puppet->error, EBADF);
    CALL(3, "fopen a.csv r+");
    CALL(0, "close 3");
    CALL(3, "open b.csv 2");
    STATE("a.csv", FREE);
    STATE("b.csv", EXCLUSIVE);
    CALL(0, "fclose 3");
    STATE("b.csv", FREE);
    NOTHING_LEFT;
}

/* freopen(NULL): the stream's own file, whatever became of its name. */
Scenario(ways, freopen_without_a_path_of_a_file_without_a_name) {
    struct puppet *other = puppet_start("**", NULL);
    cr_expect_eq(puppet_call(other, "fopen a.csv r+"), 3);
    cr_assert_eq(unlink("a.csv"), 0);
    cr_expect_eq(puppet_call(other, "freopen 3 - w"), 3, "errno %d", other->error);
    STATE("a.csv", EXCLUSIVE);
    cr_expect(access("a.csv (deleted).lock", F_OK) < 0, "made up a name");
    cr_expect_eq(puppet_call(other, "fclose 3"), 0);
    STATE("a.csv", FREE);
    (void)puppet_end(other);
}

Scenario(ways, freopen_without_a_path_takes_what_the_new_mode_needs) {
    struct puppet *other = puppet_start("*.csv readers=none", NULL);
    cr_expect_eq(puppet_call(other, "fopen a.csv r"), 3);
    STATE("a.csv", NO_SIDECAR);
    cr_expect_eq(puppet_call(other, "freopen 3 - r+"), 3);
    STATE("a.csv", EXCLUSIVE);
    cr_expect_eq(puppet_call(other, "freopen 3 - r"), 3);
    STATE("a.csv", EXCLUSIVE); /* what is written may still be in the making */
    cr_expect_eq(puppet_call(other, "fclose 3"), 0);
    STATE("a.csv", FREE);
    (void)puppet_end(other);
}

/* libc replaces 0 to 2 without dup2. */
static void put_on_stdout(void) {
    CALL(3, "open a.csv 2");
    CALL(1, "dup2 3 1");
    CALL(0, "close 3");
    STATE("a.csv", EXCLUSIVE);
}

static void wait_for_end(int pidfd) {
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    cr_assert_eq(poll(&end, 1, 30000), 1);
    close(pidfd);
}

/* The puppet goes on as its own child; its parent has ended by then. musl forks twice:
 * the one in between leads the session, and has what it was given until it has ended. */
static void become_a_daemon(int noclose) {
    pid_t pid = (pid_t)puppet_call(puppet, "syscall %d", SYS_getpid);
    int parent = (int)syscall(SYS_pidfd_open, pid, 0);
    cr_assert_geq(parent, 0);
    CALL(0, "daemon 1 %d", noclose);
    wait_for_end(parent);
    pid_t leader = (pid_t)puppet_call(puppet, "syscall %d 0", SYS_getsid);
    if (leader != (pid_t)puppet_call(puppet, "syscall %d", SYS_getpid)) {
        int between = (int)syscall(SYS_pidfd_open, leader, 0);
        if (between >= 0) { /* else it has been reaped */
            wait_for_end(between);
        }
    }
}

Scenario(ways, daemon_ends_what_is_on_stdio) {
    put_on_stdout();
    become_a_daemon(1);
    STATE("a.csv", EXCLUSIVE);
    become_a_daemon(0);
    STATE("a.csv", FREE);
    CALL(3, "open a.csv 2");
    become_a_daemon(0);
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 3");
    STATE("a.csv", FREE);
    NOTHING_LEFT;
}

Scenario(ways, login_tty_ends_what_is_on_stdio) {
    put_on_stdout();
    CALL(0, "login_tty");
    STATE("a.csv", FREE);
}

Scenario(ways, forkpty_ends_it_in_the_child) {
    put_on_stdout();
    CALL(0, "forkpty");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 1");
    STATE("a.csv", FREE);
    CALL(0, "end_spawned");
}

/* The command has the file as its stdout, so it keeps the hold. */
Scenario(ways, popen_for_writing_shares_stdout) {
    put_on_stdout();
    CALL(4, "popen_as w cat");
    CALL(0, "close 1");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "pclose_it");
    STATE("a.csv", FREE);
    NOTHING_LEFT;
}

/* Here it does not: its stdout is the pipe. */
Scenario(ways, popen_for_reading_does_not) {
    put_on_stdout();
    cr_assert_eq(mkfifo("wait", 0600), 0);
    CALL(3, "popen_as r echo up; cat <wait >/dev/null");
    cr_expect_str_eq(puppet->text, "up");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 1");
    STATE("a.csv", FREE);
    close(open("wait", O_WRONLY | O_CLOEXEC)); /* once cat is there */
    CALL(0, "pclose_it");
    NOTHING_LEFT;
}

/* The number of the pipe was one of ours, closed behind our back. */
Scenario(ways, popen_heals_its_number) {
    CALL(3, "open a.csv 2");
    CALL(0, "raw_close 3");
    CALL(3, "popen_as r echo up");
    STATE("a.csv", FREE);
    CALL(0, "pclose_it");
}

Scenario(ways, system_hands_stdout_on) {
    put_on_stdout();
    CALL(0, "system echo hello");
    cr_expect_str_eq(file_content("a.csv"), "hello\n");
    STATE("a.csv", EXCLUSIVE);
    CALL(0, "close 1");
    STATE("a.csv", FREE);
}
