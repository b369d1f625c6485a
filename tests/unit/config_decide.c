/*
 * Which rule decides for a file.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config_fixture.h"

/* Who decides: NULL nobody, else the pattern, '!' in front of an exclusion. */
struct decision {
    const char *text, *path, *decides;
};

static void check_decisions(const struct decision *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct fixture *f = make(cases[i].text, RULES_VARIABLE);
        cr_assert(f->faults == 0, "%s", f->report);
        const struct rule *rule = rules_decide(&f->set, cases[i].path);
        char decides[256] = "nobody";
        if (rule) {
            snprintf(decides, sizeof(decides), "%s%s", rule->exclude ? "!" : "", rule->pattern);
        }
        const char *expected = cases[i].decides ? cases[i].decides : "nobody";
        cr_expect(strcmp(decides, expected) == 0, "%s under %s: %s, not %s", cases[i].path,
                  cases[i].text, decides, expected);
        const char *name = strrchr(cases[i].path, '/') + 1;
        if (rule && !rule->exclude) {
            cr_expect(rules_may_match(&f->set, name, strlen(name)), "%s", cases[i].path);
        }
        rules_prepare(&f->set);
        const struct rule *lock = rules_find_lock(&f->set, cases[i].path);
        cr_expect(lock == (rule && !rule->exclude ? rule : NULL), "%s under %s", cases[i].path,
                  cases[i].text);
        done(f);
    }
}

Test(config_decide, the_last_rule_that_matches_decides) {
    static const struct decision cases[] = {
        {"", "/a.csv", NULL},
        {"*.csv", "/a.csv", "*.csv"},
        {"*.csv", "/a.tsv", NULL},
        {"*.csv:a*", "/a.csv", "a*"},
        {"a*:*.csv", "/a.csv", "*.csv"},
        {"*.csv:!a*", "/a.csv", "!a*"},
        {"*.csv:!a*", "/b.csv", "*.csv"},
        {"*.csv:!a*:abc.csv", "/abc.csv", "abc.csv"},
        {"!*", "/a.csv", "!*"},
    };
    check_decisions(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_decide, a_later_rule_brings_all_its_options) {
    struct fixture *f = make("*.csv timeout=5s readers=none:a* hold=process", RULES_VARIABLE);
    const struct rule *rule = rules_decide(&f->set, "/a.csv");
    cr_expect(rule->options->timeout == RULE_FOREVER, "options are not merged");
    cr_expect(rule->options->readers == READERS_SHARED && rule->options->hold == HOLD_PROCESS);
    done(f);
}

Test(config_decide, builtin_exclusions_stand_unless_named) {
    static const struct decision cases[] = {
        {"*", "/p/.git/config", "!.git/"},
        {"/**", "/p/.git/config", "!.git/"},
        {"/p/**", "/p/.git/config", "!.git/"},
        {"config", "/p/.git/config", "!.git/"},
        {"**/.git/*", "/p/.git/config", "**/.git/*"},
        {".git/", "/p/.git/config", ".git/"},
        {".git/:*", "/p/.git/config", "!.git/"},
        {"*", "/p/.gitignore", "*"},
        {"*", "/srv/p.git/refs/heads/main", "!?*.git/"},
        {"**/*.git/*", "/srv/p.git/HEAD", "**/*.git/*"},
        {"*", "/srv/p.git", "*"},
        {"*", "/p/.hg/dirstate", "!.hg/"},
        {"*", "/home/u/.gitconfig", "!*.gitconfig"},
        {"/home/u/.gitconfig", "/home/u/.gitconfig", "/home/u/.gitconfig"},
        {"*", "/home/u/.gnupg/pubring.kbx", "!.gnupg/"},
        {"*", "/var/mail/u", "!/var/mail/"},
        {"/var/mail/*", "/var/mail/u", "/var/mail/*"},
        {"*", "/var/spool/mail/u", "!/var/spool/mail/"},
        {"/etc/*", "/etc/passwd", "!/etc/passwd"},
        {"/etc/passwd", "/etc/passwd", "/etc/passwd"},
        {"/etc/*", "/etc/group", "!/etc/group"},
        {"/etc/*", "/etc/shadow", "!/etc/shadow"},
        {"/etc/*", "/etc/gshadow", "!/etc/gshadow"},
        {"/etc/*", "/etc/subuid", "!/etc/subuid"},
        {"/etc/*", "/etc/subgid", "!/etc/subgid"},
        {"/etc/*", "/etc/hosts", "/etc/*"},
        {"*", "/srv/etc/passwd", "*"},
        {"*", "/proc/self/status", "!/proc/"},
        {"*", "/sys/power/state", "!/sys/"},
        {"*.csv", "/dev/shm/a.csv", "!/dev/"},
        {"/**/*.csv", "/dev/shm/a.csv", "!/dev/"},
        {"/dev/shm/*.csv", "/dev/shm/a.csv", "/dev/shm/*.csv"},
        {"/dev/", "/dev/shm/a.csv", "/dev/"},
        {"/dev/**", "/dev/shm/a.csv", "/dev/**"},
        {"/d*/shm/*", "/dev/shm/a.csv", "!/dev/"},
        {"/dev/shm/", "/dev/shm/.git/x", "!.git/"},
        {"/dev/shm/.git/*", "/dev/shm/.git/x", "/dev/shm/.git/*"},
        {"*.csv", "/srv/a.csv", "*.csv"},
        {"!*:*.csv:!*", "/dev/shm/a.csv", "!*"},
    };
    check_decisions(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_decide, sidecars_are_never_locked) {
    static const struct decision cases[] = {
        {"*", "/a.csv.lock", "!*.lock"},
        {"/srv/", "/srv/a.csv.lock", "!*.lock"},
        {"*.csv", "/a.csv.lock", NULL},
        /* A rule may name files that end so, */
        {"*.lock", "/p/poetry.lock", "*.lock"},
        {"poetry.lock", "/p/poetry.lock", "poetry.lock"},
        {"/p/**:.lock", "/p/.lock", ".lock"},
        /* but what lies beside a locked file is its sidecar, */
        {"*.csv:*.lock", "/a.csv.lock", "!*.lock"},
        {"*:*.lock", "/poetry.lock", "!*.lock"},
        {"*.lock", "/poetry.lock.lock", "!*.lock"},
        /* and a sidecar has none. */
        {"*.csv:*.lock", "/a.csv.lock.lock", "*.lock"},
        {"*.csv:*.lock", "/a.csv.lock.lock.lock", "!*.lock"},
        {"*.lock:!poetry.lock", "/poetry.lock.lock", "*.lock"},
        {"*.csv:!*.lock", "/a.csv.lock", "!*.lock"},
        /* An excluded file has none either. */
        {"*.lock:*.c:!x.c", "/x.c.lock", "*.lock"},
        {"*.lock:/etc/*:/etc/*.lock", "/etc/passwd.lock", "/etc/*.lock"},
    };
    check_decisions(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_decide, sidecars_are_known_without_the_builtin_rules) {
    char memory[4096] __attribute__((aligned(16)));
    struct rule_set set;
    rules_init(&set, memory, sizeof(memory));
    cr_assert(rules_add_text(&set, "*", RULES_FILE, "t", NULL, NULL) == 0);
    const struct rule *rule = rules_decide(&set, "/a.csv.lock");
    cr_expect(rule && rule->exclude && rule->builtin && strcmp(rule->pattern, "*.lock") == 0);
}

Test(config_decide, endless_lock_names_are_decided, .timeout = 20) {
    static char path[4096] = "/a";
    struct fixture *f = make("*.lock:a", RULES_VARIABLE);
    for (int depth = 1; depth <= 801; depth++) {
        strcat(path, ".lock");
        if (depth <= 50 || depth > 799) {
            const struct rule *rule = rules_decide(&f->set, path);
            cr_assert(rule->exclude == (depth % 2 == 1), "depth %d", depth);
        }
    }
    done(f);
}

Test(config_decide, names_are_filtered) {
    struct fixture *f = make("*.csv:/srv/x?:!*.tsv:*[0-9]", RULES_VARIABLE);
    static const struct {
        const char *name;
        bool may;
    } cases[] = {{"a.csv", true}, {"a.tsv", false},   {"xy", true},     {"yx", false},
                 {"a7", true},    {"libc.so", false}, {"a.lock", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_expect(rules_may_match(&f->set, cases[i].name, strlen(cases[i].name)) == cases[i].may,
                  "%s", cases[i].name);
    }
    done(f);
    f = make("*.csv:a/b:*.x\\*:/srv/", RULES_VARIABLE);
    cr_expect(rules_may_match(&f->set, "anything", 8), "/srv/ can match any name");
    done(f);
    f = make("*.csv:!*", RULES_VARIABLE);
    cr_expect(!rules_may_match(&f->set, "a", 1), "exclusions lock nothing");
    cr_expect(rules_may_match(&f->set, "a.csvxyz", 5), "only length bytes count");
    done(f);
    f = make("", RULES_VARIABLE);
    cr_expect(!rules_may_match(&f->set, "a", 1) && !rules_may_match(&f->set, "", 0));
    done(f);
}
