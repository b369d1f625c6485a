#include <errno.h>
#include <string.h>

#include "config/rules_private.h"
#include "config/sidecar_path.h"

#define MILLISECOND UINT64_C(1000)
#define SECOND UINT64_C(1000000)

const struct rule_options rule_default_options = {
    .timeout = RULE_FOREVER,
    .warn_after = 10 * SECOND,
    .kind = KIND_FLOCK,
    .readers = READERS_SHARED,
    .hold = HOLD_OPEN,
    .on_timeout = FAILURE_FAIL,
    .on_error = FAILURE_FAIL,
    .nested = NESTED_PASS,
    .inherit = INHERIT_STDIO,
};

enum option {
    TIMEOUT,
    WARN_AFTER,
    KIND,
    READERS,
    HOLD,
    ON_TIMEOUT,
    ON_ERROR,
    NESTED,
    INHERIT,
    LOCKDIR,
    OPTIONS
};

/* Values are in the order of their enumerations. */
static const struct {
    const char *name;
    const char *values[4]; /* none: a duration, or a directory */
    const char *bad;
} table[OPTIONS] = {
    [TIMEOUT] = {"timeout", {NULL}, "bad duration; write 500ms, 10s, 2m, 1h or infinity"},
    [WARN_AFTER] = {"warn-after", {NULL}, "bad duration; write 500ms, 10s, 2m, 1h or infinity"},
    [KIND] = {"kind", {"flock", "soft"}, "bad value; known are flock, soft"},
    [READERS] = {"readers",
                 {"shared", "exclusive", "none"},
                 "bad value; known are shared, exclusive, none"},
    [HOLD] = {"hold", {"open", "process"}, "bad value; known are open, process"},
    [ON_TIMEOUT] = {"on-timeout", {"fail", "open"}, "bad value; known are fail, open"},
    [ON_ERROR] = {"on-error", {"fail", "open"}, "bad value; known are fail, open"},
    [NESTED] = {"nested", {"pass", "wait", "fail"}, "bad value; known are pass, wait, fail"},
    [INHERIT] = {"inherit", {"stdio", "all", "none"}, "bad value; known are stdio, all, none"},
    [LOCKDIR] = {"lockdir", {NULL}, "not a directory's whole path; write lockdir=/run/lock/ledger"},
};

static bool is_word(const char *word, const char *text, size_t length) {
    return strlen(word) == length && memcmp(word, text, length) == 0;
}

int rule_option_index(const char *word, size_t length) {
    const char *equals = memchr(word, '=', length);
    for (int i = 0; equals && i < OPTIONS; i++) {
        if (is_word(table[i].name, word, (size_t)(equals - word))) {
            return i;
        }
    }
    return -EINVAL;
}

static int find_value(int option, const char *value, size_t length) {
    for (int i = 0; i < 4 && table[option].values[i]; i++) {
        if (is_word(table[option].values[i], value, length)) {
            return i;
        }
    }
    return -EINVAL;
}

static void set_choice(struct rule_options *options, int option, int value) {
    switch (option) {
    case KIND:
        options->kind = (enum rule_kind)value;
        break;
    case READERS:
        options->readers = (enum rule_readers)value;
        break;
    case HOLD:
        options->hold = (enum rule_hold)value;
        break;
    case ON_TIMEOUT:
        options->on_timeout = (enum rule_failure)value;
        break;
    case ON_ERROR:
        options->on_error = (enum rule_failure)value;
        break;
    case NESTED:
        options->nested = (enum rule_nested)value;
        break;
    default:
        options->inherit = (enum rule_inherit)value;
        break;
    }
}

const char *rule_option(struct rule_options *options, const char *word, size_t length) {
    int option = rule_option_index(word, length);
    if (option < 0) {
        return memchr(word, '=', length)
                   ? "unknown option; known are kind, timeout, warn-after, readers, hold, "
                     "on-timeout, on-error, nested, inherit, lockdir"
                   : "not an option; write name=value, a pattern of its own is another rule, "
                     "a blank in a pattern is \"\\ \"";
    }
    const char *value = word + strlen(table[option].name) + 1;
    size_t value_length = length - (size_t)(value - word);

    if (option == TIMEOUT || option == WARN_AFTER) {
        uint64_t *duration = option == TIMEOUT ? &options->timeout : &options->warn_after;
        int r = rule_duration(value, value_length, duration);
        return r == -ERANGE ? "duration too long; write infinity"
               : r < 0      ? table[option].bad
                            : NULL;
    }
    if (option == LOCKDIR) {
        if (value_length == 0 || value[0] != '/') {
            return table[option].bad;
        }
        if (value_length > LOCKDIR_MAX) {
            return "path too long; a lockdir has at most 511 bytes";
        }
        options->lockdir = value;
        return NULL;
    }
    int choice = find_value(option, value, value_length);
    if (choice < 0) {
        return table[option].bad;
    }
    set_choice(options, option, choice);
    return NULL;
}

const char *rule_options_clash(const struct rule_options *options, unsigned given) {
    return options->kind == KIND_SOFT && given & 1u << READERS && options->readers == READERS_SHARED
               ? "a soft lock cannot be shared; write readers=exclusive or readers=none"
               : NULL;
}

void rule_options_complete(struct rule_options *options, unsigned given) {
    if (options->kind == KIND_SOFT && !(given & 1u << READERS)) {
        options->readers = READERS_EXCLUSIVE;
    }
}

/* Microseconds in a unit; 0 where there is no such unit. */
static uint64_t unit_usec(const char *text, size_t length) {
    static const struct {
        const char *name;
        uint64_t usec;
    } units[] = {
        {"", SECOND},       {"s", SECOND},        {"ms", MILLISECOND},
        {"m", 60 * SECOND}, {"h", 3600 * SECOND}, {"d", 86400 * SECOND},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (is_word(units[i].name, text, length)) {
            return units[i].usec;
        }
    }
    return 0;
}

static bool is_digit(const char *p, const char *end) {
    return p < end && *p >= '0' && *p <= '9';
}

int rule_duration(const char *text, size_t length, uint64_t *ret_usec) {
    const char *p = text;
    const char *end = text + length;
    uint64_t whole = 0;
    uint64_t fraction = 0;
    uint64_t divisor = 1;
    bool too_long = false;

    if (is_word("infinity", text, length)) {
        *ret_usec = RULE_FOREVER;
        return 0;
    }
    if (!is_digit(p, end)) {
        return -EINVAL;
    }
    for (; is_digit(p, end); p++) {
        too_long = too_long || __builtin_mul_overflow(whole, 10, &whole) ||
                   __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole);
    }
    if (p < end && *p == '.') {
        p++;
        if (!is_digit(p, end)) {
            return -EINVAL;
        }
        /* More than six digits say nothing in a unit of 86,400 million. */
        for (; is_digit(p, end); p++) {
            if (divisor < 1000000) {
                fraction = fraction * 10 + (uint64_t)(*p - '0');
                divisor *= 10;
            }
        }
    }
    uint64_t unit = unit_usec(p, (size_t)(end - p));
    if (unit == 0) {
        return -EINVAL;
    }
    uint64_t usec;
    if (too_long || __builtin_mul_overflow(whole, unit, &usec) ||
        __builtin_add_overflow(usec, fraction * unit / divisor, &usec) || usec == RULE_FOREVER) {
        return -ERANGE;
    }
    *ret_usec = usec;
    return 0;
}
