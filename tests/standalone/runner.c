#include "tests/support/skips.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 1
#define SKIPPED ALL_SKIPPED /* of the child that a case runs in */

static struct stand_in_suite *suites;
static struct stand_in_test *tests;
static bool failed;
static const struct stand_in_test *current;

void stand_in_add_suite(struct stand_in_suite *suite) {
    suite->next = suites;
    suites = suite;
}

void stand_in_add_test(struct stand_in_test *test) {
    test->next = tests;
    tests = test;
}

void stand_in_check(bool well, bool fatal, const char *file, int line, const char *what,
                    const char *format, ...) {
    if (well) {
        return;
    }
    fprintf(stderr, "%s:%d: %s:", file, line, what);
    va_list more;
    va_start(more, format);
    vfprintf(stderr, format, more);
    va_end(more);
    fputc('\n', stderr);
    failed = true;
    if (fatal) {
        _exit(FAILED);
    }
}

static void say_skipped(const struct stand_in_test *test, const char *why) {
    printf("SKIP %s::%s: %s\n", test->suite, test->name, why);
    (void)fflush(stdout);
}

void stand_in_skip(const char *why) {
    say_skipped(current, why);
    _exit(SKIPPED);
}

static const struct stand_in_suite *suite_of(const struct stand_in_test *test) {
    static const struct stand_in_suite plain = {.timeout = 60};
    for (const struct stand_in_suite *suite = suites; suite; suite = suite->next) {
        if (strcmp(suite->name, test->suite) == 0) {
            return suite;
        }
    }
    return &plain;
}

/* In the child. */
static int run(const struct stand_in_test *test) {
    const struct stand_in_suite *suite = suite_of(test);
    if (suite->init) {
        suite->init();
    }
    test->function();
    if (suite->fini) {
        suite->fini();
    }
    return failed ? FAILED : 0;
}

static bool is_among(const struct stand_in_test *test, char **names) {
    for (; *names; names++) {
        if (strcmp(*names, test->name) == 0) {
            return true;
        }
    }
    return false;
}

/* A limit that tests which use SIGALRM do not disturb: the parent's. */
static pid_t child;
static void end_child(int number) {
    (void)number;
    (void)kill(child, SIGKILL);
}

/* runner [REASON NAME...]: tests that are to be left out, and why. */
int main(int argc, char **argv) {
    unsigned passed = 0, wrong = 0, skipped = 0;
    (void)signal(SIGALRM, end_child);
    for (const struct stand_in_test *test = tests; test; test = test->next) {
        int status = -1;
        if (argc > 2 && is_among(test, argv + 2)) {
            say_skipped(test, argv[1]);
            skipped++;
            continue;
        }
        fflush(NULL);
        child = fork();
        if (child == 0) {
            current = test;
            (void)signal(SIGALRM, SIG_DFL);
            _exit(run(test));
        }
        alarm(suite_of(test)->timeout);
        while (waitpid(child, &status, 0) < 0) {
        }
        alarm(0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
            skipped++;
        } else if (status == 0) {
            passed++;
        } else {
            wrong++;
            fprintf(stderr, "not ok - %s::%s (%x)\n", test->suite, test->name, status);
        }
    }
    printf("%u passed, %u failed, %u skipped\n", passed, wrong, skipped);
    if (wrong == 0 && passed == 0 && skipped > 0) {
        return ALL_SKIPPED;
    }
    return wrong > 0 || passed == 0;
}
