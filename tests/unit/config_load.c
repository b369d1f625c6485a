/*
 * Where rules come from, and which files are not trusted.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_loading.h"

TestSuite(config_load, .init = setup, .fini = teardown);

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
    cr_expect(rules_decide(&config.rules, "/a.csv")->options->timeout == 5000000);
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
        {"AUTOLOCK=observe", false, false, ""},
        {"AUTOLOCK=OFF", false, false,
         "AUTOLOCK:0: OFF: unknown value; known are on, off and observe\n"},
        {"AUTOLOCK=offf", false, false,
         "AUTOLOCK:0: offf: unknown value; known are on, off and observe\n"},
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
    expect_report(2,
                  "c:2: [x: unclosed bracket; write \\[ for the character itself\n"
                  "c:3: foo=1: unknown option; known are kind, timeout, warn-after, readers, hold, "
                  "on-timeout, on-error, nested, inherit, lockdir\n");
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
        skip("needs root, to give a file away");
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
        skip("needs root, to be somebody else");
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
