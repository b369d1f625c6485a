/* An open that fails, though the lock was got, keeps its own errno and leaves no
 * hold and no descriptor (contract T5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void begin(void) {
    scenario_begin();
    put_file("a.csv", "1\n");
    put_file("b.csv", "2\n");
    put_file("a.csv.lock", "");
}

TestSuite(failing, .init = begin, .fini = scenario_end, .timeout = 120);

#define NOTHING_LEFT(file)                                                                         \
    cr_expect_eq(lock_state(file), FREE, "%s is still locked", file);                              \
    cr_expect_eq(puppet_call(puppet, "numbers"), 0, "open: %s", puppet->text);                     \
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "left open: %s", puppet->text)
#define FAILS(expected, ...)                                                                       \
    cr_expect_eq(puppet_call(puppet, __VA_ARGS__), -1, "%s: %ld", #__VA_ARGS__, puppet->result);   \
    cr_expect_eq(puppet->error, expected, "%s: errno %d", #__VA_ARGS__, puppet->error)

/* Without descriptors 0 to 2, which nobody needs here. */
static struct puppet *start(const char *one, const char *two) {
    struct puppet *puppet = puppet_start("*.csv", one, two, NULL);
    cr_assert_eq(puppet_call(puppet, "close_range 0 2 0"), 0);
    return puppet;
}

static const int errors[] = {EMFILE, ENFILE, EROFS, ETXTBSY, EISDIR, ENOSPC,
                             EIO,    EINTR,  EPERM, ENOMEM,  ELOOP,  EOVERFLOW};

static void each_error(const char *function, const char *const *calls) {
    NOT_WITH_SANITIZERS("they have to be in front of the library that fails");
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        char fault[64];
        snprintf(fault, sizeof(fault), "FAULT=%s %d", function, errors[i]);
        struct puppet *puppet = start("LD_PRELOAD=" TEST_PRELOAD ":" TEST_FAULTY, fault);
        for (const char *const *call = calls; *call; call++) {
            if (strncmp(*call, "freopen", 7) == 0) {
                cr_expect_eq(puppet_call(puppet, "fopen b.csv r"), 0);
                cr_expect_eq(lock_state("b.csv"), SHARED);
            }
            FAILS(errors[i], "%s", *call);
            NOTHING_LEFT("a.csv");
        }
        cr_expect_eq(puppet_end(puppet), 0);
    }
}

Test(failing, an_open_with_any_error) {
    static const char *const calls[] = {"open a.csv 2",
                                        "open a.csv 0",
                                        "open a.csv 01102 0644",
                                        "openat -100 a.csv 2",
                                        "creat a.csv 0644",
                                        "fopen a.csv r+",
                                        NULL};
    /* ELOOP too: it is tried again then, as the file may have become a link. */
    each_error("openat", calls);
}

Test(failing, a_stream_that_libc_opens) {
    static const char *const calls[] = {"fopen a.csv rm", "fopen a.csv r+,ccs=UTF-8",
                                        "fopen a.csv wc", NULL};
    each_error("fopen", calls);
}

Test(failing, a_stream_that_cannot_be_made) {
    static const char *const calls[] = {"fopen a.csv r", "fopen a.csv a+", "fopen a.csv w", NULL};
    each_error("fdopen", calls);
}

Test(failing, a_stream_that_cannot_be_reopened) {
    static const char *const calls[] = {"freopen 0 a.csv r", "freopen 0 a.csv r+", NULL};
    each_error("freopen", calls);
    cr_expect_eq(lock_state("b.csv"), FREE);
}

/* The modes of which libc finds out itself. */
Test(failing, a_mode_that_there_is_not) {
    struct puppet *puppet = start("A=", "B=");
    FAILS(EINVAL, "fopen a.csv q");
    NOTHING_LEFT("a.csv");
    FAILS(EINVAL, "fopen a.csv r,ccs=NOSUCHTHING");
    NOTHING_LEFT("a.csv");
    cr_expect_eq(puppet_end(puppet), 0);
}

/* A program that runs cannot be written to. */
Test(failing, a_program_that_runs) {
    cr_assert_eq(run_shell(NULL, "cp \"$(command -v sleep)\" run.csv; : >run.csv.lock"), 0);
    pid_t pid = fork();
    if (pid == 0) {
        execl("./run.csv", "sleep", "600", (char *)NULL);
        _exit(127);
    }
    struct puppet *puppet = start("A=", "B=");
    char name[64] = "";
    for (int i = 0; i < 30000 && strcmp(name, "run.csv\n") != 0; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        snprintf(name, sizeof(name), "%s", file_content(path));
        usleep(1000);
    }
    FAILS(ETXTBSY, "open run.csv 2");
    NOTHING_LEFT("run.csv");
    FAILS(ETXTBSY, "open run.csv 01001");
    NOTHING_LEFT("run.csv");
    FAILS(ETXTBSY, "fopen run.csv a");
    NOTHING_LEFT("run.csv");
    FAILS(ETXTBSY, "truncate run.csv 0");
    NOTHING_LEFT("run.csv");
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(puppet_end(puppet), 0);
}

/* Whatever number it is that is missing: the sidecar's, its copy's, the file's. */
static void with_few_numbers(const char *call) {
    enum { LIMIT = 12 };
    int failed = 0, passed = 0;
    for (int left = 0; left < 8; left++) {
        struct puppet *puppet = start("A=", "B=");
        struct rlimit limit = {LIMIT, LIMIT};
        cr_assert_eq(prlimit(puppet->pid, RLIMIT_NOFILE, &limit, NULL), 0);
        for (int fd = 0; fd < LIMIT - left; fd++) {
            cr_assert_eq(puppet_call(puppet, "open /dev/null 0"), fd);
        }
        int fd = (int)puppet_call(puppet, "%s", call);
        if (fd < 0) {
            cr_expect_eq(puppet->error, EMFILE, "errno %d", puppet->error);
            failed++;
        } else {
            cr_expect_neq(lock_state("a.csv"), FREE);
            cr_expect_eq(puppet_call(puppet, *call == 'f' ? "fclose %d" : "close %d", fd), 0);
            passed++;
        }
        cr_expect_eq(lock_state("a.csv"), FREE, "%s, %d left: %d", call, left, fd);
        cr_expect_eq(puppet_end(puppet), 0);
    }
    cr_expect(failed > 0 && passed > 0, "%d failed, %d passed", failed, passed);
}

Test(failing, no_number_left) {
    with_few_numbers("open a.csv 2");
    with_few_numbers("open a.csv 0");
    with_few_numbers("open a.csv 0102 0644");
    with_few_numbers("fopen a.csv r+");
}
