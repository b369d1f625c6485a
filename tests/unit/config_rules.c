/*
 * Rules: the grammar and the options.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_fixture.h"

#define SECOND UINT64_C(1000000)

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
        {RULES_FILE, "~/x\n!~/x\n", "", 2},
        {RULES_FILE, "\\~/x\n~x\n*~\n~\n", "\\~/x|~x|*~|~", 0},
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
         "t:3: retires=3: unknown option; known are kind, timeout, warn-after, readers, hold, "
         "on-timeout, on-error, nested, inherit, lockdir\n"},
        {"*.csv timeout=5\n*.tsv timeout=soon",
         "t:2: timeout=soon: bad duration; write 500ms, 10s, 2m, 1h or infinity\n"},
        {"* timeout=99999999999999999999h", "t:1: timeout=99999999999999999999h: duration too "
                                            "long; write infinity\n"},
        {"* readers=all", "t:1: readers=all: bad value; known are shared, exclusive, none\n"},
        {"* kind=hard", "t:1: kind=hard: bad value; known are flock, soft\n"},
        {"* kind=soft readers=shared hold=open",
         "t:1: readers=shared: a soft lock cannot be shared; write readers=exclusive or "
         "readers=none\n"},
        {"* readers=shared kind=soft",
         "t:1: kind=soft: a soft lock cannot be shared; write readers=exclusive or "
         "readers=none\n"},
        {"* hold=", "t:1: hold=: bad value; known are open, process\n"},
        {"* lockdir=locks", "t:1: lockdir=locks: not a directory's whole path; write "
                            "lockdir=/run/lock/ledger\n"},
        {"* lockdir=", "t:1: lockdir=: not a directory's whole path; write "
                       "lockdir=/run/lock/ledger\n"},
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

Test(config_rules, lockdir_is_kept_without_escapes_and_slashes_at_its_end) {
    static const struct {
        const char *word, *lockdir;
    } cases[] = {
        {"/run/locks", "/run/locks"}, {"/run/l\\ o\\:c\\\\ks//", "/run/l o:c\\ks"}, {"/", "/"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[100];
        snprintf(text, sizeof(text), "a:b lockdir=%s timeout=1s:c", cases[i].word);
        struct fixture *f = make(text, RULES_VARIABLE);
        cr_assert(f->faults == 0, "%s", f->report);
        cr_expect_null(f->set.rules[0].options->lockdir);
        cr_expect_str_eq(f->set.rules[1].options->lockdir, cases[i].lockdir);
        cr_expect_eq(f->set.rules[1].options->timeout, SECOND);
        cr_expect_str_eq(f->set.rules[2].pattern, "c");
        done(f);
    }
    char text[600] = "* lockdir=/";
    memset(text + strlen(text), 'x', 511);
    struct fixture *f = make(text, RULES_FILE);
    cr_expect(strstr(f->report, "a lockdir has at most 511 bytes"), "%s", f->report);
    done(f);
}

Test(config_rules, options_have_defaults_and_can_all_be_set) {
    struct fixture *f =
        make("a\nb timeout=1.5s warn-after=250ms readers=exclusive hold=process "
             "on-timeout=open on-error=open nested=wait inherit=all\n"
             "c readers=none nested=fail inherit=none timeout=infinity warn-after=0\n"
             "d kind=soft\ne readers=none kind=soft\nf kind=flock readers=shared\n"
             "g readers=exclusive\nh kind=soft\n",
             RULES_FILE);
    cr_assert(f->faults == 0, "%s", f->report);
    const struct rule_options *o = f->set.rules[0].options;
    cr_expect(o->timeout == RULE_FOREVER && o->warn_after == 10 * SECOND);
    cr_expect(o->readers == READERS_SHARED && o->hold == HOLD_OPEN && o->nested == NESTED_PASS);
    cr_expect(o->inherit == INHERIT_STDIO && o->kind == KIND_FLOCK);
    cr_expect(o->on_timeout == FAILURE_FAIL && o->on_error == FAILURE_FAIL);
    o = f->set.rules[1].options;
    cr_expect(o->timeout == 1500000 && o->warn_after == 250000);
    cr_expect(o->readers == READERS_EXCLUSIVE && o->hold == HOLD_PROCESS);
    cr_expect(o->on_timeout == FAILURE_OPEN && o->on_error == FAILURE_OPEN);
    cr_expect(o->nested == NESTED_WAIT && o->inherit == INHERIT_ALL);
    o = f->set.rules[2].options;
    cr_expect(o->readers == READERS_NONE && o->nested == NESTED_FAIL);
    cr_expect(o->inherit == INHERIT_NONE);
    cr_expect(o->timeout == RULE_FOREVER && o->warn_after == 0);
    o = f->set.rules[3].options;
    cr_expect(o->kind == KIND_SOFT && o->readers == READERS_EXCLUSIVE);
    o = f->set.rules[4].options;
    cr_expect(o->kind == KIND_SOFT && o->readers == READERS_NONE);
    o = f->set.rules[5].options;
    cr_expect(o->kind == KIND_FLOCK && o->readers == READERS_SHARED);
    cr_expect(f->set.rules[6].options->kind == KIND_FLOCK);
    cr_expect(f->set.rules[7].options->kind == KIND_SOFT);
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
