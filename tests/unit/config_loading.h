/*
 * Loading rules in a directory and with an environment of the test's own.
 */
#ifndef AUTOLOCK_TESTS_CONFIG_LOADING_H
#define AUTOLOCK_TESTS_CONFIG_LOADING_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/load.h"

static char home[PATH_MAX];
static char report[8192];
static struct config config;

static inline void setup(void) {
    char made[] = "/tmp/config_load.XXXXXX";
    cr_assert(mkdtemp(made) != NULL);
    cr_assert(realpath(made, home) != NULL && chdir(home) == 0);
    cr_assert(chmod(home, 0755) == 0);
    umask(022);
}

static inline void teardown(void) {
    char command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", home);
    cr_assert(chdir("/") == 0 && system(command) == 0);
}

static inline void put_bytes(const char *path, const char *bytes, size_t length) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length, "%s", path);
    close(fd);
}

static inline void put(const char *path, const char *text) {
    put_bytes(path, text, strlen(text));
}

/* In the test's directory; valid until the next but seven. */
static inline const char *at(const char *format, const char *path) {
    static char paths[8][PATH_MAX + 64];
    static unsigned next;
    char *whole = paths[next++ % 8];
    int prefix = snprintf(whole, sizeof(paths[0]), "%s", format);
    snprintf(whole + prefix, sizeof(paths[0]) - (size_t)prefix, "%s/%s", home, path);
    return whole;
}

static inline void note(const struct rules_fault *fault, void *data) {
    char *text = data;
    size_t used = strlen(text);
    const char *source = fault->source;
    if (strncmp(source, home, strlen(home)) == 0) {
        source += strlen(home) + 1;
    }
    snprintf(text + used, sizeof(report) - used, "%s:%u: %.*s: %s\n", source, fault->line,
             (int)fault->length, fault->text, fault->what);
}

static inline int lowest_free(void) {
    int fd = open("/", O_PATH | O_CLOEXEC);
    close(fd);
    return fd;
}

/* Loads with up to six variables "NAME=value". */
static inline void load(const char *const variables[6]) {
    char *environment[7] = {NULL};
    for (size_t i = 0; i < 6 && variables[i]; i++) {
        environment[i] = strdup(variables[i]);
    }
    int before = lowest_free();
    report[0] = '\0';
    errno = 77;
    cr_assert(config_load(&config, environment, note, report) == 0);
    cr_expect(errno == 77, "errno is touched");
    cr_expect(lowest_free() == before, "a descriptor leaks");
    for (size_t i = 0; environment[i]; i++) { /* the program may do so */
        memset(environment[i], 'x', strlen(environment[i]));
        free(environment[i]);
    }
}
#define LOAD(...) load((const char *const[6]){__VA_ARGS__})

/* "source:line:pattern" of who decides for a path, with '!' before exclusions. */
static inline const char *decides(const char *path) {
    static char text[PATH_MAX + 256];
    const struct rule *rule = rules_decide(&config.rules, path);
    if (!rule) {
        return "nobody";
    }
    const char *slash = strrchr(rule->source, '/');
    snprintf(text, sizeof(text), "%s:%u:%s%s", slash ? slash + 1 : rule->source, rule->line,
             rule->exclude ? "!" : "", rule->pattern);
    return text;
}

static inline void expect(const char *path, const char *decision) {
    cr_expect(strcmp(decides(path), decision) == 0, "%s: %s, not %s\n%s", path, decides(path),
              decision, report);
}

static inline void expect_report(int faults, const char *expected) {
    cr_expect(config.faults == faults, "%d faults, not %d", config.faults, faults);
    cr_expect(strcmp(report, expected) == 0, "%s", report);
}

/* Criterion does not tidy up after a skipped test. */
static inline void skip(const char *why) {
    teardown();
    cr_skip_test("%s", why);
}

/* The system's own file would join in. */
static inline void skip_with_system_file(void) {
    if (access("/etc/autolock.conf", F_OK) == 0) {
        skip("/etc/autolock.conf exists");
    }
}

#endif
