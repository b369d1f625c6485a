/*
 * A set of rules for the tests, made of a text.
 */
#ifndef AUTOLOCK_TESTS_CONFIG_FIXTURE_H
#define AUTOLOCK_TESTS_CONFIG_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/rules.h"

/* A set in memory of exactly the size that is promised to be enough, and what
 * was wrong: "source:line: word: what\n" for each fault. */
struct fixture {
    struct rule_set set;
    void *memory;
    int faults;
    char report[4096];
};

static inline void note(const struct rules_fault *fault, void *data) {
    struct fixture *f = data;
    size_t used = strlen(f->report);
    snprintf(f->report + used, sizeof(f->report) - used, "%s:%u: %.*s: %s\n", fault->source,
             fault->line, (int)fault->length, fault->text, fault->what);
}

static inline struct fixture *make(const char *text, enum rules_form form) {
    struct fixture *f = calloc(1, sizeof(*f));
    size_t size = rules_memory(0) + (*text ? rules_memory(strlen(text)) : 0);
    f->memory = malloc(size);
    rules_init(&f->set, f->memory, size);
    f->faults = rules_add_text(&f->set, text, form, "t", note, f);
    cr_assert(f->faults >= 0, "no room for: %s", text);
    cr_assert(rules_add_builtin(&f->set) == 0, "no room for the built-in rules after: %s", text);
    return f;
}

static inline void done(struct fixture *f) {
    free(f->memory);
    free(f);
}

#endif
