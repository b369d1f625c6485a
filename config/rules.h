/*
 * The rules: which files are locked, and how.
 *
 * A rule set is made once, from texts (a configuration file, the variable
 * AUTOLOCK_PATTERNS), and only read afterwards:
 *
 *     rules_init(&set, memory, size);
 *     rules_add_text(&set, text, RULES_FILE, "/etc/autolock.conf", report, data);
 *     rules_add_builtin(&set);
 *     const struct rule *rule = rules_decide(&set, "/srv/ledger.csv");
 *
 * Everything here is a pure function over strings and memory that the caller
 * gives: no allocation, no input or output, errno untouched. After it has been
 * made a set may be read by any number of threads, by signal handlers and by
 * forked children. docs/autolock.conf.5.scd describes the grammar to users.
 */
#ifndef AUTOLOCK_RULES_H
#define AUTOLOCK_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Time is in microseconds everywhere; this is "for ever". */
#define RULE_FOREVER UINT64_MAX

enum rule_kind { KIND_FLOCK, KIND_SOFT };
enum rule_readers { READERS_SHARED, READERS_EXCLUSIVE, READERS_NONE };
enum rule_hold { HOLD_OPEN, HOLD_PROCESS };
enum rule_failure { FAILURE_FAIL, FAILURE_OPEN };
enum rule_inherit { INHERIT_STDIO, INHERIT_ALL, INHERIT_NONE };
enum rule_nested { NESTED_PASS, NESTED_WAIT, NESTED_FAIL };

struct rule_options {
    uint64_t timeout;    /* timeout=DURATION|infinity, default RULE_FOREVER */
    uint64_t warn_after; /* warn-after=DURATION|infinity, default 10 s */
    /* A byte each, since every process has them in its memory. */
    enum rule_kind kind : 8;          /* kind=flock|soft */
    enum rule_readers readers : 8;    /* readers=shared|exclusive|none; never shared where soft */
    enum rule_hold hold : 8;          /* hold=open|process */
    enum rule_failure on_timeout : 8; /* on-timeout=fail|open */
    enum rule_failure on_error : 8;   /* on-error=fail|open */
    enum rule_nested nested : 8;      /* nested=pass|wait|fail */
    enum rule_inherit inherit : 8;    /* inherit=stdio|all|none */
    const char *lockdir;              /* lockdir=DIR, an absolute path, or NULL: beside the file */
};

/* More lines than a text that is read can have (config/textfile.h). */
#define RULE_LINE_MAX 0x3fffffffu

struct rule {
    const char *pattern;                /* as it was written, escapes kept, without '!' */
    const char *source;                 /* "AUTOLOCK_PATTERNS", a path, or "built-in" */
    const struct rule_options *options; /* other rules may share them */
    unsigned line : 30;                 /* in the source, from 1; 0 for built-in rules */
    unsigned exclude : 1;               /* written with '!', or built in */
    unsigned builtin : 1;
    /* Private: what tells at a glance that a path does not match. */
    int16_t last;     /* the byte that it would end with; -1 for any */
    uint16_t literal; /* how many bytes it would have in common with the pattern */
};

struct rule_set {
    struct rule *rules; /* in the order in which they were added */
    size_t count;
    /* Private: the rest of the caller's memory. Rules grow from its start,
     * the text that they point to from its end. Then the bytes that names can
     * end with, a bit each, which answers most of rules_may_match at once. */
    char *text;
    char *memory;
    char *text_memory; /* NULL: the text is in `memory` too */
    uint32_t name_ends[8];
    const char *common;   /* what all paths that are locked begin with, */
    size_t common_length; /* as far as rules_prepare has found out */
};

/* How rules are divided: a line each, or by ':' (outside brackets) as well. */
enum rules_form { RULES_FILE, RULES_VARIABLE };

/*
 * A fault in one rule. source:line says where, text (length bytes, not
 * terminated) is the offending word, what the fault and its remedy, in a few
 * words without a full stop: "unknown option; known are timeout, ...".
 */
struct rules_fault {
    const char *source;
    unsigned line;
    const char *text;
    size_t length;
    const char *what;
};
typedef void rules_report(const struct rules_fault *fault, void *data);

/* Memory, in bytes, that is enough for all rules of a text of this length
 * besides the built-in ones, or (text_length 0) for the built-in ones alone. What
 * rules_resolve_directory adds comes on top (config/resolve.h). */
size_t rules_memory(size_t text_length);

/* Starts an empty set in `memory`, which must be aligned for struct rule and
 * must live and stay in place as long as the set is used. */
void rules_init(struct rule_set *set, void *memory, size_t size);

/*
 * Adds the rules of a terminated text. `source` must live as long as the set.
 * A faulty rule is reported, once, and left out; the others are added.
 * Returns the number of faulty rules, or -ENOSPC when the memory is too small
 * (the rules up to there stay).
 */
int rules_add_text(struct rule_set *set, const char *text, enum rules_form form, const char *source,
                   rules_report *report, void *data);

/* Adds the built-in exclusions (contract C1, P4); after all texts.
 * Returns 0 or -ENOSPC. */
int rules_add_builtin(struct rule_set *set);

/*
 * Puts `resolved` in the place of the literal directory prefix of an absolute
 * pattern ("/var/run" of "/var/run/foo*.pid"). rules_literal_directory gives
 * the prefix, unescaped, in `prefix`: its length, 0 where the pattern has none,
 * -ENAMETOOLONG where it does not fit. Characters of `resolved` that have a
 * meaning in patterns are escaped. Returns 0 or -ENOSPC.
 */
int rules_literal_directory(const struct rule *rule, char *prefix, size_t size);
int rules_resolve_directory(struct rule_set *set, struct rule *rule, const char *resolved);

/* Once all rules are there and resolved: makes the answers below faster. */
void rules_prepare(struct rule_set *set);

/*
 * The rule that decides for a canonical absolute path: the last one that
 * matches, where a built-in exclusion matches unless the pattern of the user's
 * rule that would decide otherwise, read as a path, falls under the exclusion
 * itself (it names it). NULL where none does. The file is locked where the
 * result is not NULL and not `exclude`.
 */
const struct rule *rules_decide(const struct rule_set *set, const char *path);

/* The same where it locks, else NULL: for whoever does not ask why, and mostly
 * hears that nothing is locked. */
const struct rule *rules_find_lock(const struct rule_set *set, const char *path);

/*
 * Whether a file whose last path component is name (length bytes) can be
 * matched at all by a rule that locks, wherever it is. A quick test that may
 * say yes too often, never no wrongly.
 */
bool rules_may_match(const struct rule_set *set, const char *name, size_t length);

/* Options when a rule says nothing. */
extern const struct rule_options rule_default_options;

/* Reads one option word, "timeout=5s" (length bytes), into *options. A lockdir
 * then points into the word: not terminated, and with its escapes.
 * Returns NULL, or what is wrong as in struct rules_fault. */
const char *rule_option(struct rule_options *options, const char *word, size_t length);

/* Reads a duration ("250ms", "1.5s", "10" seconds, "2m", "1h", "1d", "infinity")
 * into microseconds. Returns 0 or -EINVAL (-ERANGE when too long). */
int rule_duration(const char *text, size_t length, uint64_t *ret_usec);

#endif
