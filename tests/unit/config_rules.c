/*
 * Rules: the grammar, the options, and which rule decides.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/rules.h"

#define SECOND UINT64_C(1000000)

/* A set in memory of exactly the size that is promised to be enough, and what
 * was wrong: "source:line: word: what\n" for each fault. */
struct fixture {
    struct rule_set set;
    void *memory;
    int faults;
    char report[4096];
};

static void note(const struct rules_fault *fault, void *data) {
    struct fixture *f = data;
    size_t used = strlen(f->report);
    snprintf(f->report + used, sizeof(f->report) - used, "%s:%u: %.*s: %s\n", fault->source,
             fault->line, (int)fault->length, fault->text, fault->what);
}

static struct fixture *make(const char *text, enum rules_form form) {
    struct fixture *f = calloc(1, sizeof(*f));
    size_t size = rules_memory(0) + (*text ? rules_memory(strlen(text)) : 0);
    f->memory = malloc(size);
    rules_init(&f->set, f->memory, size);
    f->faults = rules_add_text(&f->set, text, form, "t", note, f);
    cr_assert(f->faults >= 0, "no room for: %s", text);
    cr_assert(rules_add_builtin(&f->set) == 0, "no room for the built-in rules after: %s", text);
    return f;
}

static void done(struct fixture *f) {
    free(f->memory);
    free(f);
}

/* The patterns of the user's rules, "a|!b". */
static const char *patterns(const struct fixture *f) {
    static char joined[4096];
    joined[0] = '\0';
    for (size_t i = 0; i < f->set.count && !f->set.rules[i].builtin; i++) {
        strcat(joined, i > 0 ? "|" : "");
        strcat(joined, f->set.rules[i].exclude ? "!" : "");
        strcat(joined, f->set.rules[i].pattern);
    }
    return joined;
}

struct grammar {
    enum rules_form form;
    const char *text, *patterns;
    int faults;
};

static void check_grammar(const struct grammar *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct fixture *f = make(cases[i].text, cases[i].form);
        cr_expect(strcmp(patterns(f), cases[i].patterns) == 0, "'%s' gives %s", cases[i].text,
                  patterns(f));
        cr_expect(f->faults == cases[i].faults, "'%s': %d faults\n%s", cases[i].text, f->faults,
                  f->report);
        done(f);
    }
}

Test(config_rules, lines_words_and_comments) {
    static const struct grammar cases[] = {
        {RULES_FILE, "", "", 0},
        {RULES_FILE, "\n\n  \t\n", "", 0},
        {RULES_FILE, "*.csv", "*.csv", 0},
        {RULES_FILE, "*.csv\n*.tsv\n", "*.csv|*.tsv", 0},
        {RULES_FILE, "  *.csv\t timeout=5s  \n", "*.csv", 0},
        {RULES_FILE, "# *.csv\n*.tsv # nested=x\n", "*.tsv", 0},
        {RULES_FILE, "*.csv timeout=5s#\n", "", 1},
        {RULES_FILE, "a#b\n", "a#b", 0},
        {RULES_FILE, "\\#b\n", "\\#b", 0},
        {RULES_FILE, "*.csv\r\n!x.csv\r\n\r\n", "*.csv|!x.csv", 0},
        {RULES_FILE, "*.csv timeout=5s\r\n", "*.csv", 0},
        {RULES_FILE, "*.csv\r", "*.csv", 0},
        {RULES_FILE, "a\rb\n", "a\rb", 0},
        {RULES_FILE, "a:b\n", "a:b", 0},
        {RULES_FILE, "my\\ data.csv\n", "my\\ data.csv", 0},
        {RULES_FILE, "my\\\tdata\n", "my\\\tdata", 0},
        {RULES_FILE, "!*.csv\n\\!x\n!!y\n", "!*.csv|\\!x|!!y", 0},
        {RULES_FILE, "\xef\xbb\xbf*.csv\n", "*.csv", 0},
        {RULES_FILE, "\xef\xbb\xbf# only a comment", "", 0},
    };
    check_grammar(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_rules, colons_divide_rules_in_the_variable) {
    static const struct grammar cases[] = {
        {RULES_VARIABLE, "*.csv:*.tsv", "*.csv|*.tsv", 0},
        {RULES_VARIABLE, ":::*.csv::", "*.csv", 0},
        {RULES_VARIABLE, "*.csv timeout=5s:!x.csv", "*.csv|!x.csv", 0},
        {RULES_VARIABLE, "a\\:b:c", "a\\:b|c", 0},
        {RULES_VARIABLE, "[:x]:y", "[:x]|y", 0},
        {RULES_VARIABLE, "[[:alpha:]]:y", "[[:alpha:]]|y", 0},
        {RULES_VARIABLE, "[]:]:y", "[]:]|y", 0},
        {RULES_VARIABLE, "[!]:]:y", "[!]:]|y", 0},
        {RULES_VARIABLE, "[a\\]:]:y", "[a\\]:]|y", 0},
        {RULES_VARIABLE, "\\[a:y", "\\[a|y", 0},
        {RULES_VARIABLE, "*.csv\n*.tsv", "*.csv|*.tsv", 0},
        {RULES_VARIABLE, "*.csv # a:b:c\n*.tsv", "*.csv|*.tsv", 0},
        {RULES_VARIABLE, "#x:*.csv", "", 0},
        {RULES_VARIABLE, "a[b:*.csv", "*.csv", 1},
        {RULES_VARIABLE, "[a :*.csv]", "*.csv]", 1},
        {RULES_VARIABLE, "[a[b[c:x:[d]", "[a[b[c:x:[d]", 0},
        {RULES_VARIABLE, " a : b ", "a|b", 0},
    };
    check_grammar(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_rules, a_faulty_rule_is_left_out_and_the_others_stay) {
    static const struct grammar cases[] = {
        {RULES_FILE, "a\n[b\nc\n", "a|c", 1},
        {RULES_FILE, "a timeout\nb\n", "b", 1},
        {RULES_FILE, "a timeout=x nested=y bad=z\nb\n", "b", 1},
        {RULES_FILE, "!\n", "", 1},
        {RULES_FILE, "! a\n", "", 1},
        {RULES_FILE, "!a timeout=5s\n", "", 1},
        {RULES_FILE, "a\\\nb\n", "b", 1},
        {RULES_FILE, "a\\\r\nb\n", "b", 1},
        {RULES_FILE, "a\\", "", 1},
        {RULES_FILE, "a =\nb", "b", 1},
    };
    check_grammar(cases, sizeof(cases) / sizeof(*cases));
}

Test(config_rules, a_fault_names_place_word_and_remedy) {
    static const struct {
        const char *text, *report;
    } cases[] = {
        {"*.csv\n\n*.tsv retires=3\n",
         "t:3: retires=3: unknown option; known are timeout, warn-after, readers, hold, "
         "on-timeout, on-error, nested\n"},
        {"*.csv timeout=5\n*.tsv timeout=soon",
         "t:2: timeout=soon: bad duration; write 500ms, 10s, 2m, 1h or infinity\n"},
        {"* timeout=99999999999999999999h", "t:1: timeout=99999999999999999999h: duration too "
                                            "long; write infinity\n"},
        {"* readers=all", "t:1: readers=all: bad value; known are shared, exclusive, none\n"},
        {"* hold=", "t:1: hold=: bad value; known are open, process\n"},
        {"* hold=open hold=open", "t:1: hold=open: option given twice\n"},
        {"!* hold=open", "t:1: hold=open: an exclusion takes no options\n"},
        {"x[ab", "t:1: x[ab: unclosed bracket; write \\[ for the character itself\n"},
        {"!", "t:1: !: no pattern\n"},
        {"*.csv *.tsv", "t:1: *.tsv: not an option; write name=value, a pattern of its own is "
                        "another rule, a blank in a pattern is \"\\ \"\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct fixture *f = make(cases[i].text, RULES_FILE);
        cr_expect(strcmp(f->report, cases[i].report) == 0, "%s:\n%s", cases[i].text, f->report);
        done(f);
    }
}

Test(config_rules, lines_are_counted_in_the_variable_too) {
    struct fixture *f = make("a:b x=1:c\n#:\nd:[", RULES_VARIABLE);
    cr_expect(strstr(f->report, "t:1: x=1: ") && strstr(f->report, "t:3: [: "), "%s", f->report);
    cr_expect(f->set.rules[2].line == 3, "line %u", f->set.rules[2].line);
    done(f);
}

Test(config_rules, options_have_defaults_and_can_all_be_set) {
    struct fixture *f = make("a\nb timeout=1.5s warn-after=250ms readers=exclusive hold=process "
                             "on-timeout=open on-error=open nested=wait\n"
                             "c readers=none nested=fail timeout=infinity warn-after=0\n",
                             RULES_FILE);
    cr_assert(f->faults == 0, "%s", f->report);
    const struct rule_options *o = &f->set.rules[0].options;
    cr_expect(o->timeout == RULE_FOREVER && o->warn_after == 10 * SECOND);
    cr_expect(o->readers == READERS_SHARED && o->hold == HOLD_OPEN && o->nested == NESTED_PASS);
    cr_expect(o->on_timeout == FAILURE_FAIL && o->on_error == FAILURE_FAIL);
    o = &f->set.rules[1].options;
    cr_expect(o->timeout == 1500000 && o->warn_after == 250000);
    cr_expect(o->readers == READERS_EXCLUSIVE && o->hold == HOLD_PROCESS);
    cr_expect(o->on_timeout == FAILURE_OPEN && o->on_error == FAILURE_OPEN);
    cr_expect(o->nested == NESTED_WAIT);
    o = &f->set.rules[2].options;
    cr_expect(o->readers == READERS_NONE && o->nested == NESTED_FAIL);
    cr_expect(o->timeout == RULE_FOREVER && o->warn_after == 0);
    done(f);
}

Test(config_rules, durations) {
    static const struct {
        const char *text;
        int result;
        uint64_t usec;
    } cases[] = {
        {"0", 0, 0},
        {"10", 0, 10 * SECOND},
        {"10s", 0, 10 * SECOND},
        {"250ms", 0, 250000},
        {"1.5s", 0, 1500000},
        {"0.25", 0, 250000},
        {"0.0000019s", 0, 1},
        {"1.00000000000000000000000000s", 0, SECOND},
        {"0.99999999999999999999999999d", 0, 86399913600},
        {"2m", 0, 120 * SECOND},
        {"1h", 0, 3600 * SECOND},
        {"1d", 0, 86400 * SECOND},
        {"0.5d", 0, 43200 * SECOND},
        {"infinity", 0, RULE_FOREVER},
        {"18446744073709.551614", 0, UINT64_MAX - 1},
        {"18446744073709.551615", -ERANGE, 0},
        {"18446744073709551616ms", -ERANGE, 0},
        {"213503983d", -ERANGE, 0},
        {"99999999999999999999999999", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"+1s", -EINVAL, 0},
        {" 1s", -EINVAL, 0},
        {"1.s", -EINVAL, 0},
        {".5s", -EINVAL, 0},
        {"1.2.3s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1S", -EINVAL, 0},
        {"1us", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"Infinity", -EINVAL, 0},
        {"99999999999999999999999999q", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t usec = 77;
        int r = rule_duration(cases[i].text, strlen(cases[i].text), &usec);
        cr_expect(r == cases[i].result, "%s: %d", cases[i].text, r);
        cr_expect(usec == (r == 0 ? cases[i].usec : 77), "%s: %llu", cases[i].text,
                  (unsigned long long)usec);
    }
    uint64_t usec;
    cr_expect(rule_duration("10sXYZ", 3, &usec) == 0, "only length bytes count");
}

Test(config_rules, a_bad_option_changes_nothing) {
    struct rule_options options = rule_default_options;
    static const char *const words[] = {
        "timeout=1x", "readers=share", "readers=sharedx", "=",       "",
        "timeout",    "Timeout=1s",    "timeout =1s",     "on-error"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        cr_expect(rule_option(&options, words[i], strlen(words[i])) != NULL, "%s", words[i]);
    }
    cr_expect(memcmp(&options, &rule_default_options, sizeof(options)) == 0);
    cr_expect(rule_option(&options, "timeout=5sXX", strlen("timeout=5s")) == NULL);
    cr_expect(options.timeout == 5 * SECOND);
}

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
        done(f);
    }
}

Test(config_rules, the_last_rule_that_matches_decides) {
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

Test(config_rules, a_later_rule_brings_all_its_options) {
    struct fixture *f = make("*.csv timeout=5s readers=none:a* hold=process", RULES_VARIABLE);
    const struct rule *rule = rules_decide(&f->set, "/a.csv");
    cr_expect(rule->options.timeout == RULE_FOREVER, "options are not merged");
    cr_expect(rule->options.readers == READERS_SHARED && rule->options.hold == HOLD_PROCESS);
    done(f);
}

Test(config_rules, builtin_exclusions_stand_unless_named) {
    static const struct decision cases[] = {
        {"*", "/p/.git/config", "!.git/"},
        {"/**", "/p/.git/config", "!.git/"},
        {"/p/**", "/p/.git/config", "!.git/"},
        {"config", "/p/.git/config", "!.git/"},
        {"**/.git/*", "/p/.git/config", "**/.git/*"},
        {".git/", "/p/.git/config", ".git/"},
        {".git/:*", "/p/.git/config", "!.git/"},
        {"*", "/p/.gitignore", "*"},
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

Test(config_rules, sidecars_are_never_locked) {
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

Test(config_rules, sidecars_are_known_without_the_builtin_rules) {
    char memory[4096] __attribute__((aligned(16)));
    struct rule_set set;
    rules_init(&set, memory, sizeof(memory));
    cr_assert(rules_add_text(&set, "*", RULES_FILE, "t", NULL, NULL) == 0);
    const struct rule *rule = rules_decide(&set, "/a.csv.lock");
    cr_expect(rule && rule->exclude && rule->builtin && strcmp(rule->pattern, "*.lock") == 0);
}

Test(config_rules, endless_lock_names_are_decided, .timeout = 20) {
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

Test(config_rules, names_are_filtered) {
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

/* Where reading looked ahead at each bracket, these would take hours. */
Test(config_rules, hostile_texts_are_read_in_one_pass, .timeout = 20) {
    static const char *const pieces[] = {"[",  "[a]", "[a:", "[[:", "[ ", "[:alpha:]:", "\\\\",
                                         "\\", ":",   "a:",  "#",   "!",  "[\\]:"};
    size_t length = (size_t)1 << 20;
    char *text = malloc(length + 1);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        size_t piece = strlen(pieces[i]);
        for (size_t j = 0; j < length; j++) {
            text[j] = pieces[i][j % piece];
        }
        text[length] = '\0';
        done(make(text, RULES_VARIABLE)); /* asserts that all fits */
    }
    free(text);
}

Test(config_rules, memory_that_is_promised_is_enough) {
    static const char *const texts[] = {"a", "a:b", "a:b:c:d:e:f:g:h", "a\nb", "!a:!b", ":a", "a:"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        done(make(texts[i], RULES_VARIABLE)); /* asserts it */
    }
    cr_expect(rules_memory(SIZE_MAX) == SIZE_MAX && rules_memory(SIZE_MAX / 2) == SIZE_MAX);
}

Test(config_rules, too_little_memory_is_said) {
    char memory[3 * sizeof(struct rule)] __attribute__((aligned(16)));
    struct rule_set set;
    rules_init(&set, memory, sizeof(memory));
    cr_expect(rules_add_text(&set, "a\nb\nc\nd\n", RULES_FILE, "t", NULL, NULL) == -ENOSPC);
    cr_expect(set.count == 2, "%zu rules stay", set.count);
    cr_expect(strcmp(set.rules[1].pattern, "b") == 0);
    cr_expect(rules_add_builtin(&set) == -ENOSPC);
    rules_init(&set, memory, 0);
    cr_expect(rules_add_text(&set, "a", RULES_FILE, "t", NULL, NULL) == -ENOSPC);
    cr_expect(rules_decide(&set, "/a") == NULL);
}

Test(config_rules, literal_directories) {
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

Test(config_rules, resolved_directories_replace_literal_ones) {
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

Test(config_rules, a_directory_that_does_not_fit_changes_nothing) {
    char memory[sizeof(struct rule) + 16] __attribute__((aligned(16)));
    struct rule_set set;
    rules_init(&set, memory, sizeof(memory));
    cr_assert(rules_add_text(&set, "/a/*.csv", RULES_FILE, "t", NULL, NULL) == 0);
    cr_expect(rules_resolve_directory(&set, &set.rules[0], "/longer") == -ENOSPC);
    cr_expect(strcmp(set.rules[0].pattern, "/a/*.csv") == 0);
    cr_expect(rules_decide(&set, "/a/x.csv") == &set.rules[0]);
}
