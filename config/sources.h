/*
 * Where rules come from: AUTOLOCK_PATTERNS, or the file AUTOLOCK_CONFIG, or the
 * system's and the user's own file (contract C3).
 */
#ifndef AUTOLOCK_SOURCES_H
#define AUTOLOCK_SOURCES_H

#include "config/rules.h"
#include "config/textfile.h"

/* Faults on their way to the caller of config_load, and how many there were. */
struct faults {
    rules_report *report; /* may be NULL */
    void *data;
    int count;
};

void faults_add(struct faults *faults, const char *source, const char *text, const char *what);

/* A text of rules, before it becomes rules. */
struct source {
    const char *name; /* lives as long as the process */
    const char *text;
    size_t length;
    enum rules_form form;
    struct textfile file; /* where the text is from one */
};

/* All of them, in the order in which they count. */
struct sources {
    struct source list[2];
    size_t count;
};

/* The value of a variable or NULL; the first one counts, as in getenv(3). */
const char *sources_variable(char *const *environment, const char *name);

/* Finds and reads the texts; one that cannot be read is a fault and left out.
 * Returns 0 or -ENOMEM; sources_done gives the texts back in either case. */
int sources_read(struct sources *ret, char *const *environment, struct faults *faults);
void sources_done(struct sources *sources);

#endif
