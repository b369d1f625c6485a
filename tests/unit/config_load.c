/*
 * Where rules come from, and which files are not trusted. Each test works in a
 * directory of its own, with an environment of its own.
 */
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

static void setup(void) {
    char made[] = "/tmp/config_load.XXXXXX";
    cr_assert(mkdtemp(made) != NULL);
    cr_assert(realpath(made, home) != NULL && chdir(home) == 0);
    cr_assert(chmod(home, 0755) == 0);
    umask(022);
}

static void teardown(void) {
    char command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", home);
    cr_assert(chdir("/") == 0 && system(command) == 0);
}

TestSuite(config_load, .init = setup, .fini = teardown);

static void put_bytes(const char *path, const char *bytes, size_t length) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length, "%s", path);
    close(fd);
}

static void put(const char *path, const char *text) {
    put_bytes(path, text, strlen(text));
}

/* In the test's directory; valid until the next but seven. */
static const char *at(const char *format, const char *path) {
    static char paths[8][PATH_MAX + 64];
    static unsigned next;
    char *whole = paths[next++ % 8];
    int prefix = snprintf(whole, sizeof(paths[0]), "%s", format);
    snprintf(whole + prefix, sizeof(paths[0]) - (size_t)prefix, "%s/%s", home, path);
    return whole;
}

static void note(const struct rules_fault *fault, void *data) {
    char *text = data;
    size_t used = strlen(text);
    const char *source = fault->source;
    if (strncmp(source, home, strlen(home)) == 0) {
        source += strlen(home) + 1;
    }
    snprintf(text + used, sizeof(report) - used, "%s:%u: %.*s: %s\n", source, fault->line,
             (int)fault->length, fault->text, fault->what);
}

static int lowest_free(void) {
    int fd = open("/", O_PATH | O_CLOEXEC);
    close(fd);
    return fd;
}

/* Loads with up to six variables "NAME=value". */
static void load(const char *const variables[6]) {
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
static const char *decides(const char *path) {
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

static void expect(const char *path, const char *decision) {
    cr_expect(strcmp(decides(path), decision) == 0, "%s: %s, not %s\n%s", path, decides(path),
              decision, report);
}

static void expect_report(int faults, const char *expected) {
    cr_expect(config.faults == faults, "%d faults, not %d", config.faults, faults);
    cr_expect(strcmp(report, expected) == 0, "%s", report);
}

/* The system's own file would join in. */
static void skip_with_system_file(void) {
    if (access("/etc/autolock.conf", F_OK) == 0) {
        cr_skip_test("/etc/autolock.conf exists");
    }
}

Test(config_load, nothing_set_means_no_rules) {
    skip_with_system_file();
    LOAD(NULL);
    expect("/a.csv", "nobody");
    cr_expect(!config.off && !config.strict);
    expect_report(0, "");
    cr_assert(config_load(&config, NULL, NULL, NULL) == 0);
    expect("/a.csv", "nobody");
}

Test(config_load, patterns_from_the_variable) {
    LOAD("AUTOLOCK_PATTERNS=*.csv timeout=5s:!x*");
    expect("/a.csv", "AUTOLOCK_PATTERNS:1:*.csv");
    expect("/x.csv", "AUTOLOCK_PATTERNS:1:!x*");
    cr_expect(rules_decide(&config.rules, "/a.csv")->options.timeout == 5000000);
    LOAD("AUTOLOCK_PATTERNS=*");
    expect("/p/.git/config", "built-in:0:!.git/");
}

Test(config_load, the_variable_replaces_files_even_when_empty) {
    put("c", "*.csv\n");
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:1:*.csv");
    LOAD(at("AUTOLOCK_CONFIG=", "c"), "AUTOLOCK_PATTERNS=*.tsv");
    expect("/a.csv", "nobody");
    expect("/a.tsv", "AUTOLOCK_PATTERNS:1:*.tsv");
    LOAD("AUTOLOCK_PATTERNS=", at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "nobody");
    LOAD("AUTOLOCK_PATTERNS=", at("AUTOLOCK_CONFIG=", "missing"));
    expect_report(0, "");
}

Test(config_load, the_first_of_two_variables_counts_and_names_are_whole) {
    LOAD("XAUTOLOCK_PATTERNS=a", "AUTOLOCK_PATTERNSX=b", "AUTOLOCK_PATTERNS", "AUTOLOCK_PATTERNS=c",
         "AUTOLOCK_PATTERNS=d");
    expect("/c", "AUTOLOCK_PATTERNS:1:c");
    expect("/d", "nobody");
}

Test(config_load, the_users_own_file) {
    skip_with_system_file();
    cr_assert(mkdir("autolock", 0755) == 0 && mkdir(".config", 0755) == 0);
    cr_assert(mkdir(".config/autolock", 0755) == 0);
    put("autolock/autolock.conf", "*.xdg\n");
    put(".config/autolock/autolock.conf", "*.home\n");
    LOAD(at("XDG_CONFIG_HOME=", ""), at("HOME=", ""));
    expect("/a.xdg", "autolock.conf:1:*.xdg");
    expect("/a.home", "nobody");
    LOAD(at("HOME=", ""));
    expect("/a.home", "autolock.conf:1:*.home");
    LOAD("XDG_CONFIG_HOME=", at("HOME=", ""));
    expect("/a.home", "autolock.conf:1:*.home");
    LOAD("XDG_CONFIG_HOME=.", at("HOME=", ""));
    expect("/a.home", "autolock.conf:1:*.home");
    LOAD("HOME=.");
    expect("/a.home", "nobody");
    expect_report(0, "");
}

Test(config_load, AUTOLOCK_CONFIG_is_the_only_file) {
    skip_with_system_file();
    cr_assert(mkdir("autolock", 0755) == 0);
    put("autolock/autolock.conf", "*.xdg\n");
    put("c", "*.csv\n");
    LOAD(at("XDG_CONFIG_HOME=", ""), at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.xdg", "nobody");
    expect("/a.csv", "c:1:*.csv");
    LOAD(at("XDG_CONFIG_HOME=", ""), "AUTOLOCK_CONFIG=");
    expect("/a.xdg", "autolock.conf:1:*.xdg");
    LOAD(at("XDG_CONFIG_HOME=", ""), at("AUTOLOCK_CONFIG=", "missing"));
    expect("/a.xdg", "nobody");
    expect_report(1, "missing:0: : no such file\n");
}

Test(config_load, switches) {
    static const struct {
        const char *variable;
        bool off, strict;
        const char *report;
    } cases[] = {
        {"AUTOLOCK=", false, false, ""},
        {"AUTOLOCK=on", false, false, ""},
        {"AUTOLOCK=off", true, false, ""},
        {"AUTOLOCK=OFF", false, false, "AUTOLOCK:0: OFF: unknown value; known are on and off\n"},
        {"AUTOLOCK=offf", false, false, "AUTOLOCK:0: offf: unknown value; known are on and off\n"},
        {"AUTOLOCK_STRICT=", false, false, ""},
        {"AUTOLOCK_STRICT=0", false, false, ""},
        {"AUTOLOCK_STRICT=1", false, true, ""},
        {"AUTOLOCK_STRICT=yes", false, false,
         "AUTOLOCK_STRICT:0: yes: unknown value; known are 1 and 0\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        LOAD(cases[i].variable, "AUTOLOCK_PATTERNS=*.csv");
        cr_expect(config.off == cases[i].off, "%s", cases[i].variable);
        cr_expect(config.strict == cases[i].strict, "%s", cases[i].variable);
        expect_report(*cases[i].report != '\0', cases[i].report);
        expect("/a.csv", cases[i].off ? "nobody" : "AUTOLOCK_PATTERNS:1:*.csv");
        cr_expect(rules_may_match(&config.rules, "a.csv", 5) == !cases[i].off);
    }
}

Test(config_load, faulty_rules_are_reported_and_the_others_apply) {
    put("c", "*.csv\n[x\n*.tsv foo=1\n*.txt\n");
    LOAD(at("AUTOLOCK_CONFIG=", "c"), "AUTOLOCK_STRICT=1");
    expect_report(2, "c:2: [x: unclosed bracket; write \\[ for the character itself\n"
                     "c:3: foo=1: unknown option; known are timeout, warn-after, readers, hold, "
                     "on-timeout, on-error, nested\n");
    expect("/a.csv", "c:1:*.csv");
    expect("/a.txt", "c:4:*.txt");
    expect("/a.tsv", "nobody");
    cr_expect(config.strict);
}

Test(config_load, files_that_others_can_write_are_refused) {
    static const mode_t bad[] = {0664, 0646, 0622, 0620};
    put("c", "*.csv\n");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        cr_assert(chmod("c", bad[i]) == 0);
        LOAD(at("AUTOLOCK_CONFIG=", "c"));
        expect("/a.csv", "nobody");
        expect_report(1, "c:0: : can be written by others than root and you; chmod go-w it\n");
    }
    cr_assert(chmod("c", 0600) == 0);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:1:*.csv");
}

Test(config_load, files_of_strangers_are_refused) {
    put("c", "*.csv\n");
    if (getuid() != 0) {
        cr_skip_test("needs root, to give a file away");
    }
    cr_assert(chown("c", 65533, 65533) == 0);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "nobody");
    expect_report(1, "c:0: : belongs to neither root nor you; chown it\n");

    cr_assert(seteuid(65533) == 0);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:1:*.csv");
    cr_assert(seteuid(0) == 0 && chown("c", 0, 0) == 0 && seteuid(65533) == 0);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:1:*.csv");
    cr_assert(seteuid(0) == 0);
}

Test(config_load, files_that_are_no_texts) {
    cr_assert(mkdir("directory", 0755) == 0 && mkfifo("fifo", 0644) == 0);
    cr_assert(symlink("loop", "loop") == 0);
    put_bytes("nul", "*.csv\n\0*.tsv\n", 13);
    put("file", "");
    static const struct {
        const char *name, *report;
    } cases[] = {
        {"directory", "directory:0: : a directory, not a file\n"},
        {"fifo", "fifo:0: : not a regular file\n"}, /* and nothing hangs */
        {"nul", "nul:0: : has a NUL byte in it; write text in UTF-8\n"},
        {"loop", "loop:0: : too many symbolic links\n"},
        {"file/x", "file/x:0: : no such file\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        LOAD(at("AUTOLOCK_CONFIG=", cases[i].name));
        expect_report(1, cases[i].report);
        expect("/a.csv", "nobody");
    }
    LOAD(at("AUTOLOCK_CONFIG=", "file"));
    expect_report(0, "");
    LOAD("AUTOLOCK_CONFIG=/dev/null");
    expect_report(1, "/dev/null:0: : not a regular file\n");
}

Test(config_load, a_link_to_a_file_is_fine) {
    put("real", "*.csv\n");
    cr_assert(symlink("real", "c") == 0);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:1:*.csv");
}

Test(config_load, at_most_one_mebibyte) {
    size_t limit = (size_t)1 << 20;
    char *text = malloc(limit + 1);
    memset(text, '#', limit + 1);
    memcpy(text + limit - 6, "\n*.csv", 6);
    put_bytes("c", text, limit);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:2:*.csv");
    put_bytes("c", text, limit + 1);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect_report(1, "c:0: : larger than 1 MiB\n");
    free(text);
}

Test(config_load, a_file_may_end_at_a_page) {
    char text[4096];
    memset(text, '#', sizeof(text));
    memcpy(text + sizeof(text) - 6, "\n*.csv", 6);
    put_bytes("c", text, sizeof(text));
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect("/a.csv", "c:2:*.csv");
}

Test(config_load, somebody_elses_home_is_no_fault) {
    skip_with_system_file();
    cr_assert(mkdir("closed", 0700) == 0 && mkdir("closed/autolock", 0755) == 0);
    put("closed/autolock/autolock.conf", "*.csv\n");
    cr_assert(mkdir("autolock", 0755) == 0);
    put("autolock/autolock.conf", "*.csv\n");
    cr_assert(chmod("autolock/autolock.conf", 0) == 0);
    if (getuid() != 0) {
        cr_skip_test("needs root, to be somebody else");
    }
    cr_assert(seteuid(65533) == 0);
    LOAD(at("XDG_CONFIG_HOME=", "closed"));
    expect_report(0, "");
    LOAD(at("XDG_CONFIG_HOME=", "."));
    expect_report(1, "./autolock/autolock.conf:0: : may not be read by you\n");
    LOAD(at("AUTOLOCK_CONFIG=", "closed/autolock/autolock.conf"));
    expect_report(1, "closed/autolock/autolock.conf:0: : may not be read by you\n");
    cr_assert(seteuid(0) == 0);
}

Test(config_load, directories_of_rules_are_resolved) {
    cr_assert(mkdir("real", 0755) == 0 && mkdir("odd*[name", 0755) == 0);
    cr_assert(symlink("real", "link") == 0 && symlink("odd*[name", "odd") == 0);
    cr_assert(symlink("missing/x", "dangling") == 0);
    char text[8 * PATH_MAX];
    snprintf(text, sizeof(text),
             "AUTOLOCK_PATTERNS=%s/link/*.a:%s/link/no/where/*.b:%s/odd/*.c:%s/real/*.d:"
             "%s/*/x.e:%s/dangling/*.f:!%s/link/x.a:link/*.g",
             home, home, home, home, home, home, home);
    LOAD(text);
    expect_report(0, "");

    static const struct {
        const char *path, *pattern;
    } cases[] = {
        {"real/a.a", "real/*.a"},
        {"link/a.a", NULL}, /* no canonical path */
        {"real/x.a", "!real/x.a"},
        {"real/no/where/a.b", "real/no/where/*.b"},
        {"odd*[name/a.c", "odd\\*\\[name/*.c"},
        {"oddXX[name/a.c", NULL},
        {"real/a.d", "real/*.d"},
        {"real/x.e", "*/x.e"},
        {"dangling/a.f", "dangling/*.f"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *pattern = cases[i].pattern;
        bool exclude = pattern && pattern[0] == '!';
        char decision[PATH_MAX + 64] = "nobody";
        if (pattern) {
            snprintf(decision, sizeof(decision), "AUTOLOCK_PATTERNS:1:%s%s/%s", exclude ? "!" : "",
                     home, pattern + exclude);
        }
        expect(at("", cases[i].path), decision);
    }
    expect("/x/link/a.g", "AUTOLOCK_PATTERNS:1:link/*.g");
}

Test(config_load, builtin_directories_are_resolved_too) {
    char mail[PATH_MAX];
    if (!realpath("/var/mail", mail) || strcmp(mail, "/var/mail") == 0) {
        cr_skip_test("/var/mail is no link here");
    }
    char path[PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s/user", mail);
    LOAD("AUTOLOCK_PATTERNS=*");
    const struct rule *rule = rules_decide(&config.rules, path);
    cr_expect(rule && rule->builtin, "%s", decides(path));
    LOAD("AUTOLOCK_PATTERNS=/var/mail/*");
    rule = rules_decide(&config.rules, path);
    cr_expect(rule && !rule->exclude, "a rule that names it lifts the exclusion");
}

/* Resolved, they take many times the room of their text. */
Test(config_load, many_rules_in_a_directory_with_a_long_name) {
    char name[201], deep[PATH_MAX];
    memset(name, '*', 200);
    name[200] = '\0';
    snprintf(deep, sizeof(deep), "%s", home);
    for (int i = 0; i < 15; i++) {
        strcat(strcat(deep, "/"), name);
        cr_assert(mkdir(deep, 0755) == 0);
    }
    cr_assert(symlink(deep, "l") == 0);
    char *text = calloc(500, strlen(home) + 32);
    char *end = text;
    for (int i = 0; i < 500; i++) {
        end += sprintf(end, "%s/l/%d*\n", home, i);
    }
    put("c", text);
    LOAD(at("AUTOLOCK_CONFIG=", "c"));
    expect_report(0, "");
    cr_expect(config.rules.rules[0].pattern[strlen(home) + 1] == '\\', "not resolved");
    strcat(deep, "/499.csv");
    const struct rule *rule = rules_decide(&config.rules, deep);
    cr_expect(rule && rule->line == 500);
    deep[strlen(deep) - strlen("499.csv")] = '\0';
    rule = rules_decide(&config.rules, strcat(deep, "1.csv"));
    cr_expect(rule && rule->line == 2);
    free(text);
}
