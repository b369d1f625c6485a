/*
 * The directories that rules begin with: a rule for /var/run/x means /run/x.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_loading.h"

TestSuite(config_resolve, .init = setup, .fini = teardown);

Test(config_resolve, literal_directories) {
    static const struct {
        const char *pattern, *directory;
    } cases[] = {
        {"/var/run/foo*.pid", "/var/run"},
        {"/etc/passwd", "/etc"},
        {"/var/run/", "/var/run"},
        {"/var/*/x", "/var"},
        {"/a*", ""},
        {"/", ""},
        {"/**", ""},
        {"*.csv", ""},
        {"a/b/c", ""},
        {"/srv/**/x", "/srv"},
        {"/my\\ dir/x", "/my dir"},
        {"/a\\*b/x", "/a*b"},
        {"/a[b]/c", ""},
        {"//a//b//c", "/a/b"},
        {"/a/b?/c", "/a"},
        {"/a//", "/a"},
        {"/a\\\\b/x", "/a\\b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rule rule = {.pattern = cases[i].pattern};
        char prefix[64];
        int length = rules_literal_directory(&rule, prefix, sizeof(prefix));
        cr_expect(strcmp(prefix, cases[i].directory) == 0, "%s: %s", cases[i].pattern, prefix);
        cr_expect(length == (int)strlen(cases[i].directory), "%s: %d", cases[i].pattern, length);
    }
    struct rule rule = {.pattern = "/var/x"};
    char small[4];
    cr_expect(rules_literal_directory(&rule, small, sizeof(small)) == -ENAMETOOLONG);
}

Test(config_resolve, resolved_directories_replace_literal_ones) {
    static const struct {
        const char *pattern, *resolved, *result;
    } cases[] = {
        {"/var/run/foo*.pid", "/run", "/run/foo*.pid"},
        {"/var/run/", "/run", "/run/"},
        {"/a/x", "/", "/x"},
        {"/a/x", "/b*[c]?\\", "/b\\*\\[c]\\?\\\\/x"},
        {"/my\\ dir/**/x", "/z z", "/z z/**/x"},
        {"//a//b", "/c", "/c//b"},
        {"*.csv", "/c", "*.csv"},
        {"/*.csv", "/c", "/*.csv"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char memory[1024] __attribute__((aligned(16)));
        struct rule_set set;
        rules_init(&set, memory, sizeof(memory));
        cr_assert(rules_add_text(&set, cases[i].pattern, RULES_FILE, "t", NULL, NULL) == 0);
        cr_expect(rules_resolve_directory(&set, &set.rules[0], cases[i].resolved) == 0);
        cr_expect(strcmp(set.rules[0].pattern, cases[i].result) == 0, "%s: %s", cases[i].pattern,
                  set.rules[0].pattern);
    }
}

Test(config_resolve, a_directory_that_does_not_fit_changes_nothing) {
    char memory[sizeof(struct rule) + 16] __attribute__((aligned(16)));
    struct rule_set set;
    rules_init(&set, memory, sizeof(memory));
    cr_assert(rules_add_text(&set, "/a/*.csv", RULES_FILE, "t", NULL, NULL) == 0);
    cr_expect(rules_resolve_directory(&set, &set.rules[0], "/longer") == -ENOSPC);
    cr_expect(strcmp(set.rules[0].pattern, "/a/*.csv") == 0);
    cr_expect(rules_decide(&set, "/a/x.csv") == &set.rules[0]);
}

Test(config_resolve, directories_of_rules_are_resolved) {
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

Test(config_resolve, builtin_directories_are_resolved_too) {
    static const char *const names[] = {"/var/mail", "/var/spool/mail"};
    int links = 0;
    for (size_t i = 0; i < 2; i++) {
        char mail[PATH_MAX], path[PATH_MAX + 8], variable[64];
        if (!realpath(names[i], mail) || strcmp(mail, names[i]) == 0) {
            continue;
        }
        links++;
        snprintf(path, sizeof(path), "%s/user", mail);
        LOAD("AUTOLOCK_PATTERNS=*");
        for (size_t j = 0; j < config.rules.count; j++) {
            const char *pattern = config.rules.rules[j].pattern;
            cr_expect(strncmp(pattern, names[i], strlen(names[i])) != 0, "%s", pattern);
        }
        const struct rule *rule = rules_decide(&config.rules, path);
        cr_expect(rule && rule->builtin, "%s", decides(path));
        snprintf(variable, sizeof(variable), "AUTOLOCK_PATTERNS=%s/*", names[i]);
        LOAD(variable);
        rule = rules_decide(&config.rules, path);
        cr_expect(rule && !rule->exclude, "a rule that names it lifts the exclusion");
    }
    if (links == 0) {
        skip("neither name of the mail directory is a link here");
    }
}

/* Resolved, they take many times the room of their text. */
Test(config_resolve, many_rules_in_a_directory_with_a_long_name) {
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
