/*
 * The pattern language: what a user writes and which files it names.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "config/pattern.h"

struct match {
    const char *pattern;
    const char *path;
    bool matches;
};

static void check(const struct match *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct match *c = &cases[i];
        cr_expect(!pattern_fault(c->pattern), "%s: %s", c->pattern, pattern_fault(c->pattern));
        cr_expect(pattern_match(c->pattern, c->path) == c->matches, "%s should%s match %s",
                  c->pattern, c->matches ? "" : " not", c->path);
        const char *name = strrchr(c->path, '/') + 1;
        cr_expect(!c->matches || pattern_may_match_name(c->pattern, name, strlen(name)),
                  "%s rules out the name %s", c->pattern, name);
    }
}
#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const struct match cases[] = {__VA_ARGS__};                                         \
        check(cases, sizeof(cases) / sizeof(*cases));                                              \
    } while (0)

Test(config_pattern, without_slash_is_a_name_in_any_directory) {
    CHECK({"*.csv", "/srv/a.csv", true}, {"*.csv", "/a.csv", true},
          {"*.csv", "/srv/a.csv.bak", false}, {"*.csv", "/srv/a.csv/b", false},
          {"*.csv", "/srv/.csv", true}, {"a.csv", "/x/y/a.csv", true},
          {"a.csv", "/x/y/ba.csv", false}, {"a.csv", "/x/y/a.csvx", false}, {"*", "/a", true},
          {"*", "/", false}, {"**", "/a/b", true}, {".*", "/home/u/.bashrc", true},
          {"data*", "/srv/data/x", false});
}

Test(config_pattern, slash_in_the_middle_may_stand_below_any_directory) {
    CHECK({"out/*.csv", "/srv/out/a.csv", true}, {"out/*.csv", "/out/a.csv", true},
          {"out/*.csv", "/srv/out/x/a.csv", false}, {"out/*.csv", "/srv/shout/a.csv", false},
          {"a/b", "/a/a/b", true}, {"a/b/c", "/a/b/a/b/c", true}, {"a/b", "/a/b/c", false});
}

Test(config_pattern, leading_slash_anchors) {
    CHECK({"/srv/*.csv", "/srv/a.csv", true}, {"/srv/*.csv", "/mnt/srv/a.csv", false},
          {"/srv/*.csv", "/srv/x/a.csv", false}, {"/a.csv", "/a.csv", true},
          {"/a.csv", "/srv/a.csv", false}, {"/srv", "/srv", true}, {"/srv", "/srv/a", false},
          {"/*/a", "/b/a", true}, {"/*/a", "/a", false}, {"/srv/x", "/srv", false});
}

Test(config_pattern, trailing_slash_is_everything_below) {
    CHECK({".git/", "/p/.git/config", true}, {".git/", "/p/.git/a/b/c", true},
          {".git/", "/p/.git", false}, {".git/", "/p/.gitignore", false},
          {".git/", "/.git/.git", true}, {"/srv/", "/srv/a", true}, {"/srv/", "/srv", false},
          {"/srv/", "/mnt/srv/a", false}, {"/", "/a/b", true}, {"/", "/", false},
          {"a*/", "/x/abc/f", true}, {"a*/", "/x/bcd/f", false}, {"/a/*/", "/a/b/c", true},
          {"/a/*/", "/a/b", false});
}

Test(config_pattern, two_stars_cross_directories) {
    CHECK({"/srv/**/a", "/srv/a", true}, {"/srv/**/a", "/srv/x/a", true},
          {"/srv/**/a", "/srv/x/y/z/a", true}, {"/srv/**/a", "/srv/x/a/b", false},
          {"/srv/**/a", "/mnt/a", false}, {"/srv/**", "/srv/x/y", true},
          {"/srv/**", "/srvx/y", false}, {"**/a", "/a", true}, {"**/a/b", "/x/a/b", true},
          {"/**", "/a", true}, {"/**/**/a", "/x/a", true}, {"/a/**/b/**/c", "/a/b/c", true},
          {"/a/**/b/**/c", "/a/x/b/y/b/z/c", true}, {"/a/**/b/**/c", "/a/x/c/y/b", false},
          {"/**/x/b", "/x/a/x/x/b", true});
}

Test(config_pattern, two_stars_inside_a_name_are_one) {
    CHECK({"/srv/a**b", "/srv/axxb", true}, {"/srv/a**b", "/srv/ab", true},
          {"/srv/a**b", "/srv/a/b", false}, {"/***/a", "/x/a", true}, {"/***/a", "/x/y/a", false},
          {"**.csv", "/x/a.csv", true}, {"/**.csv", "/x/a.csv", false});
}

Test(config_pattern, wildcards_never_match_a_slash) {
    CHECK({"/a?b", "/a/b", false}, {"/a*b", "/a/b", false}, {"/a[!x]b", "/a/b", false},
          {"/a[+-9]b", "/a/b", false}, {"/a[+-9]b", "/a.b", true});
}

Test(config_pattern, stars_take_any_length) {
    CHECK({"a*b*c", "/abc", true}, {"a*b*c", "/aXbYbZc", true}, {"a*b*c", "/aXbYcZ", false},
          {"*aab", "/aaab", true}, {"*a*a*", "/xaxax", true}, {"*a*a*", "/xax", false},
          {"*.tar.*", "/x.tar.gz", true}, {"?*", "/x", true}, {"??*", "/x", false},
          {"*?", "/x", true});
}

Test(config_pattern, brackets) {
    CHECK({"[abc]", "/b", true}, {"[abc]", "/d", false}, {"[a-c]x", "/bx", true},
          {"[!a-c]", "/b", false}, {"[!a-c]", "/d", true}, {"[^a-c]", "/d", true},
          {"[]]", "/]", true}, {"[]a]", "/a", true}, {"[!]a]", "/]", false}, {"[!]a]", "/b", true},
          {"[a-]", "/-", true}, {"[a-]", "/b", false}, {"[-a]", "/-", true}, {"[\\]]", "/]", true},
          {"[\\!a]", "/!", true}, {"[a\\-c]", "/b", false}, {"[a\\-c]", "/-", true},
          {"[[]", "/[", true}, {"[*]", "/*", true}, {"[*]", "/x", false},
          {"[[:digit:]]", "/7", true}, {"[[:digit:]]", "/x", false}, {"[![:digit:]]", "/x", true},
          {"[[:alpha:]_-]", "/-", true}, {"[[:upper:][:digit:]]", "/Q", true},
          {"[[:upper:][:digit:]]", "/q", false}, {"[[:punct:]]", "/~", true},
          {"[[:xdigit:]]", "/g", false}, {"[[:space:]]", "/\v", true}, {"[:al]", "/l", true},
          {"[[:al]", "/[", true}, {"x[0-9][0-9].csv", "/d/x07.csv", true});
}

Test(config_pattern, classes_know_ascii_only) {
    CHECK({"[[:alpha:]]", "/\xc3\xa9", false}, {"[![:alpha:]]", "/\xc3\xa9", true},
          {"[[:alpha:]]", "/\xe9", false});
}

Test(config_pattern, a_character_is_utf8) {
    CHECK({"?", "/\xc3\xa9", true}, {"??", "/\xc3\xa9", false}, {"?", "/\xf0\x9f\x98\x80", true},
          {"[\xc3\xa8-\xc3\xaa]", "/\xc3\xa9", true}, {"[\xc3\xa9]", "/\xc3\xa8", false},
          {"*[!\xc3\xa9]", "/\xc3\xa9", false}, {"*\xc3\xa9", "/caf\xc3\xa9", true});
}

Test(config_pattern, a_byte_that_is_not_utf8_is_a_character) {
    CHECK({"?", "/\xe9", true}, {"??", "/\xc3\x28", true}, {"[\xe8-\xea]", "/\xe9", true},
          {"[!a]", "/\xff", true}, {"??", "/\xc0\xaf", true}, {"???", "/\xed\xa0\x80", true},
          {"?", "/\xc3", true}, {"????", "/\xf4\x90\x80\x80", true});
}

Test(config_pattern, escapes) {
    CHECK({"\\*", "/*", true}, {"\\*", "/x", false}, {"a\\?", "/a?", true}, {"a\\?", "/ab", false},
          {"\\[a]", "/[a]", true}, {"\\[a]", "/a", false}, {"a\\\\b", "/a\\b", true},
          {"my\\ file", "/my file", true}, {"\\!x", "/!x", true}, {"\\#x", "/#x", true},
          {"a\\:b", "/a:b", true}, {"\\a", "/a", true}, {"\\*\\*/a", "/x/y/a", false},
          {"/\\*\\*/a", "/**/a", true}, {"!x", "/!x", true});
}

Test(config_pattern, slashes_in_a_row_are_one) {
    CHECK({"/srv//a", "/srv/a", true}, {"//srv/a", "/srv/a", true}, {"a//b", "/x/a/b", true},
          {"/srv//", "/srv/a", true}, {"/srv//", "/srv", false});
}

Test(config_pattern, faults_say_what_is_wrong) {
    static const struct {
        const char *pattern, *fault;
    } cases[] = {
        {"", "no pattern"},
        {"[abc", "unclosed bracket"},
        {"[", "unclosed bracket"},
        {"[]", "unclosed bracket"},
        {"[!]", "unclosed bracket"},
        {"[a\\]", "unclosed bracket"},
        {"[a-", "unclosed bracket"},
        {"[[:alpha:]", "unclosed bracket"},
        {"x[a/b]", "slash inside brackets"},
        {"[z-a]", "range backwards"},
        {"[\xc3\xaa-\xc3\xa8]", "range backwards"},
        {"[[:letter:]]", "unknown class"},
        {"[[:ALPHA:]x", NULL},
        {"[[::]]", "unknown class"},
        {"a\\", "backslash with nothing behind"},
        {"a\\/b", "backslash before a slash"},
        {"../a", "\"..\""},
        {"/srv/./a", "\"..\""},
        {"/srv/..", "\"..\""},
        {"...", NULL},
        {"/", NULL},
        {"a]", NULL},
        {"\\[a", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *fault = pattern_fault(cases[i].pattern);
        if (cases[i].fault) {
            cr_expect(fault && strstr(fault, cases[i].fault), "%s: %s", cases[i].pattern,
                      fault ? fault : "no fault");
        } else {
            cr_expect(!fault, "%s: %s", cases[i].pattern, fault);
        }
    }
}

Test(config_pattern, faulty_patterns_match_nothing_and_do_no_harm) {
    static const char *const patterns[] = {"",      "[",   "[abc",       "[]",   "[!",  "[a-",
                                           "[[:",   "\\",  "a\\",        "*[",   "*\\", "[\\",
                                           "a[b/c", "[/]", "[[:alpha:]", "**\\", "/[",  "[!]"};
    static const char *const paths[] = {"/a", "/abc", "/", "/[abc", "/a/b/c", "/\xff"};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
        cr_expect(pattern_fault(patterns[i]) != NULL, "%s", patterns[i]);
        for (size_t j = 0; j < sizeof(paths) / sizeof(*paths); j++) {
            cr_expect(!pattern_match(patterns[i], paths[j]), "%s %s", patterns[i], paths[j]);
        }
    }
}

Test(config_pattern, patterns_longer_than_paths_are_faulty) {
    char *pattern = calloc(1, PATTERN_LENGTH_MAX + 2);
    memset(pattern, 'a', PATTERN_LENGTH_MAX);
    cr_expect(!pattern_fault(pattern));
    pattern[PATTERN_LENGTH_MAX] = 'a';
    cr_expect(pattern_fault(pattern) != NULL);
    free(pattern);
}

/*
 * The matcher may hold each byte of a pattern against each of a path, once. A
 * backtracking one needs more steps here than there are atoms, so that this
 * test would not end (Criterion's time limit ends it then).
 */
Test(config_pattern, hostile_patterns_take_no_more_than_pattern_times_path, .timeout = 20) {
    static char path[4096], name[4096], pattern[PATTERN_LENGTH_MAX + 1];

    memset(name, 'a', sizeof(name) - 1);
    name[0] = '/';
    for (size_t i = 0; i + 2 < sizeof(path); i += 2) {
        memcpy(path + i, "/a", 2);
    }
    for (size_t i = 0; i + 3 < sizeof(pattern); i += 2) {
        memcpy(pattern + i, "*a", 3);
    }
    strcat(pattern, "b");
    cr_expect(!pattern_match(pattern, name));
    pattern[strlen(pattern) - 1] = '\0';
    cr_expect(pattern_match(pattern, name));

    memset(pattern, '*', 400);
    strcpy(pattern + 400, "b");
    cr_expect(!pattern_match(pattern, name));
    memcpy(name + sizeof(name) - 2, "b", 1);
    cr_expect(pattern_match(pattern, name));

    pattern[0] = '\0';
    for (size_t i = 0; i + 12 < sizeof(pattern); i += 8) {
        strcpy(pattern + i, "**/a/*a/");
    }
    strcat(pattern, "b");
    cr_expect(!pattern_match(pattern, path));
    strcpy(pattern + strlen(pattern) - 1, "a");
    cr_expect(pattern_match(pattern, path));

    for (size_t i = 0; i + 14 < sizeof(pattern); i += 12) {
        strcpy(pattern + i, "*[[:alpha:]]");
    }
    strcat(pattern, "/");
    cr_expect(!pattern_match(pattern, path));
}

Test(config_pattern, a_prefix_of_a_path_is_a_path) {
    cr_expect(pattern_match_prefix("*.csv", "/srv/a.csv.lock", strlen("/srv/a.csv")));
    cr_expect(!pattern_match_prefix("*.lock", "/srv/a.csv.lock", strlen("/srv/a.csv")));
    cr_expect(pattern_match_prefix("/srv/", "/srv/a.csv.lock", strlen("/srv/a.csv")));
    cr_expect(!pattern_match_prefix("a", "/srv/\xc3\xa9", strlen("/srv/\xc3")));
}

Test(config_pattern, names_are_filtered_by_the_last_component) {
    static const struct {
        const char *pattern, *name;
        bool may;
    } cases[] = {
        {"*.csv", "a.csv", true},
        {"*.csv", "a.cs", false},
        {"*.csv", "a.tsv", false},
        {"*.csv", "", false},
        {"/srv/*.csv", "a.csv", true},
        {"/srv/*.csv", "srv", false},
        {"/srv/x/", "anything", true},
        {"/srv/**", "anything", true},
        {"**", "anything", true},
        {"/**/b", "b", true},
        {"/**/b", "c", false},
        {"a*", "ab", true},
        {"a*", "ba", false},
        {"[ab]", "b", true},
        {"[ab]", "c", false},
        {"x?", "xy", true},
        {"x?", "x", false},
        {"a\\*", "a*", true},
        {"a\\*", "ab", false},
        {"\\v", "v", true},
        {"a**", "ab", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_expect(pattern_may_match_name(cases[i].pattern, cases[i].name, strlen(cases[i].name)) ==
                      cases[i].may,
                  "%s %s", cases[i].pattern, cases[i].name);
    }
    cr_expect(pattern_may_match_name("*.csv", "a.csvxyz", 5), "only length bytes count");
}

Test(config_pattern, last_bytes) {
    cr_expect(pattern_last_byte("*.csv") == 'v');
    cr_expect(pattern_last_byte("caf\xc3\xa9") == 0xa9);
    cr_expect(pattern_last_byte("a\\v") == 'v');
    static const char *const open[] = {"", "a*", "a?", "[ab]", "a/", "/**", "a\\*"};
    for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++) {
        cr_expect(pattern_last_byte(open[i]) == -1, "%s", open[i]);
    }
}

/* Whatever matches begins with so much of the pattern. */
Test(pattern, literal_length) {
    static const struct {
        const char *pattern;
        size_t length;
    } cases[] = {
        {"*.csv", 0},   {"a/b", 0},       {"/srv/a.csv", 10},  {"/srv/*.csv", 4}, {"/srv/**", 4},
        {"/srv/", 5},   {"/*", 0},        {"/**/a", 0},        {"/a\\b/c", 0},    {"/srv/a[b]", 4},
        {"/srv//a", 4}, {"/srv/a?/b", 4}, {"/srv/dir1/**", 9}, {"/srv/x/\\*", 6}, {"//srv", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_eq(pattern_literal_length(cases[i].pattern), cases[i].length, "%s",
                     cases[i].pattern);
    }
    cr_expect(pattern_match("/srv/**", "/srv"), "why the last slash does not count");
}
