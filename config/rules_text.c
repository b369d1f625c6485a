/*
 * From a text to rules: words, comments, and what divides them.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config/bracket.h"
#include "config/pattern.h"
#include "config/rules_private.h"

struct reader {
    const char *at; /* what has not been read yet */
    enum rules_form form;
    unsigned line;
    const char *blank;    /* the next blank or end of line, if it is not behind us */
    const char *unclosed; /* no bracket that opens before this closes */
};

struct word {
    const char *text;
    size_t length;
};

/* A carriage return counts as white space at the end of a line only. */
static bool is_blank(const char *p) {
    return *p == ' ' || *p == '\t' || (*p == '\r' && (p[1] == '\n' || p[1] == '\0'));
}

static bool ends_line(const char *p) {
    return *p == '\n' || *p == '\0';
}

static bool ends_rule(const struct reader *reader, const char *p) {
    return ends_line(p) || (reader->form == RULES_VARIABLE && *p == ':');
}

/* A backslash does not join lines. */
static bool is_escape(const char *p) {
    return *p == '\\' && !ends_line(p + 1) && !(p[1] == '\r' && is_blank(p + 1));
}

/* Where the blank or the end of the line is that ends every word from here. */
static const char *find_blank(const char *p) {
    while (!ends_line(p) && !is_blank(p)) {
        p += is_escape(p) ? 2 : 1;
    }
    return p;
}

/*
 * Where a bracket that begins here ends, if it does within the word: ':' does
 * not divide rules inside. One that is never closed is a fault and protects
 * nothing, so that it spoils its own rule only. What was found is kept, for a
 * text of nothing but brackets.
 */
static const char *find_bracket_end(struct reader *reader, const char *p) {
    if (reader->form != RULES_VARIABLE || p < reader->unclosed) {
        return NULL;
    }
    if (p >= reader->blank) {
        reader->blank = find_blank(p);
    }
    const char *end = bracket_end(p, reader->blank);
    if (!end) {
        reader->unclosed = reader->blank;
    }
    return end;
}

/* Those that may be more than a byte of a word. Most are none, and a thousand
 * rules are read whenever a process starts. */
static const bool may_mean_more[UCHAR_MAX + 1] = {
    ['\0'] = true, ['\t'] = true, ['\n'] = true, ['\r'] = true,
    [' '] = true,  [':'] = true,  ['['] = true,  ['\\'] = true,
};

static const char *find_word_end(struct reader *reader, const char *p) {
    for (;;) {
        while (!may_mean_more[(unsigned char)*p]) {
            p++;
        }
        if (ends_rule(reader, p) || is_blank(p)) {
            return p;
        }
        const char *bracket = *p == '[' ? find_bracket_end(reader, p) : NULL;
        if (bracket) {
            p = bracket;
        } else {
            p += is_escape(p) ? 2 : 1;
        }
    }
}

/* The next word of the rule; false at its end. */
static bool next_word(struct reader *reader, struct word *ret) {
    const char *p = reader->at;
    while (is_blank(p)) {
        p++;
    }
    if (*p == '#') {
        while (!ends_line(p)) {
            p++;
        }
    }
    reader->at = p;
    if (ends_rule(reader, p)) {
        return false;
    }
    reader->at = find_word_end(reader, p);
    *ret = (struct word){p, (size_t)(reader->at - p)};
    return true;
}

/* Goes behind the end of the rule; false at the end of the text. */
static bool next_rule(struct reader *reader) {
    for (struct word ignored; next_word(reader, &ignored);) {
    }
    if (*reader->at == '\0') {
        return false;
    }
    reader->line += *reader->at == '\n';
    reader->at++;
    return true;
}

/* Reads the options that are left of the rule. Returns NULL or what is wrong
 * with *ret. The text of a lockdir= is to be kept by keep_lockdir. */
static const char *read_options(struct reader *reader, bool exclude, struct rule_options *options,
                                struct word *ret, const char **ret_lockdir_end) {
    unsigned given = 0;
    struct word word;
    while (next_word(reader, &word)) {
        const char *what = NULL;
        int option = rule_option_index(word.text, word.length);
        if (exclude) {
            what = "an exclusion takes no options";
        } else if (option >= 0 && (given & 1u << option)) {
            what = "option given twice";
        } else {
            what = rule_option(options, word.text, word.length);
        }
        if (!what) {
            given |= 1u << option;
            what = rule_options_clash(options, given);
        }
        if (what) {
            *ret = word;
            return what;
        }
        if (options->lockdir && !*ret_lockdir_end) {
            *ret_lockdir_end = word.text + word.length;
        }
    }
    rule_options_complete(options, given);
    return NULL;
}

/* The rule's own copy of what its lockdir= points to, without escapes and
 * slashes at its end. */
static bool keep_lockdir(struct rule_set *set, struct rule_options *options, const char *end) {
    const char *from = options->lockdir;
    char *copy = rules_take_text(set, (size_t)(end - from) + 1);
    if (!copy) {
        return false;
    }
    options->lockdir = copy;
    while (from < end) {
        from += *from == '\\' && from + 1 < end;
        *copy++ = *from++;
    }
    while (copy - 1 > options->lockdir && copy[-1] == '/') {
        copy--;
    }
    *copy = '\0';
    return true;
}

/* A shell would have put the directory there; nobody does it here. */
static const char *home_fault(const char *pattern) {
    return pattern[0] == '~' && pattern[1] == '/'
               ? "~ is not known here; write the whole path, or \\~ for a directory of that name"
               : NULL;
}

/*
 * Reads one rule that begins with `first` and adds it. Returns 0, -EINVAL with
 * what is wrong with which word, or -ENOSPC.
 */
static int read_rule(struct rule_set *set, struct reader *reader, struct word first,
                     const char *source, struct rules_fault *ret) {
    struct rule_options options = rule_default_options;
    struct rule rule = {
        .source = source, .line = reader->line & RULE_LINE_MAX, .options = &options};
    struct word word = first;

    rule.exclude = first.text[0] == '!';
    size_t length = first.length - rule.exclude;
    char *pattern = rules_take_text(set, length + 1);
    if (!pattern) {
        return -ENOSPC;
    }
    memcpy(pattern, first.text + rule.exclude, length);
    pattern[length] = '\0';
    rule.pattern = pattern;

    const char *what = home_fault(pattern), *lockdir_end = NULL;
    if (!what) {
        what = pattern_fault(pattern);
    }
    if (!what) {
        what = read_options(reader, rule.exclude, &options, &word, &lockdir_end);
    }
    if (what) {
        *ret = (struct rules_fault){source, reader->line, word.text, word.length, what};
        return -EINVAL;
    }
    if (options.lockdir && !keep_lockdir(set, &options, lockdir_end)) {
        return -ENOSPC;
    }
    return rules_append(set, &rule);
}

int rules_add_text(struct rule_set *set, const char *text, enum rules_form form, const char *source,
                   rules_report *report, void *data) {
    struct reader reader = {.at = text, .form = form, .line = 1, .blank = text, .unclosed = text};
    int faults = 0;

    /* A byte order mark would be part of the first pattern, unseen. */
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) {
        reader.at += 3;
    }
    do {
        struct word first;
        if (!next_word(&reader, &first)) {
            continue;
        }
        struct rules_fault fault;
        int r = read_rule(set, &reader, first, source, &fault);
        if (r == -ENOSPC) {
            return r;
        }
        if (r < 0) {
            faults++;
            if (report) {
                report(&fault, data);
            }
        }
    } while (next_rule(&reader));
    return faults;
}
