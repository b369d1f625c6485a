#include "config/bracket.h"

#include <stddef.h>
#include <string.h>

#include "config/utf8.h"

struct range {
    unsigned char low, high;
};

/* The classes of the POSIX locale; isalpha(3) would ask the program's. */
struct class {
    const char *name;
    struct range ranges[4]; /* an unused one is {0, 0}: no path holds a NUL */
};
static const struct class classes[] = {
    {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
    {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
    {"blank", {{' ', ' '}, {'\t', '\t'}}},
    {"cntrl", {{1, 31}, {127, 127}}},
    {"digit", {{'0', '9'}}},
    {"graph", {{'!', '~'}}},
    {"lower", {{'a', 'z'}}},
    {"print", {{' ', '~'}}},
    {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
    {"space", {{'\t', '\r'}, {' ', ' '}}},
    {"upper", {{'A', 'Z'}}},
    {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
};

/* A class, or the characters from low to high. */
struct item {
    bool is_class;
    const struct class *class; /* NULL where nobody knows the name */
    uint32_t low, high;
};

static const struct class *find_class(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
        if (strlen(classes[i].name) == length && memcmp(classes[i].name, name, length) == 0) {
            return &classes[i];
        }
    }
    return NULL;
}

/* Reads "[:name:]"; NULL where there is none: then '[' stands for itself. */
static const char *read_class(const char *p, const char *end, struct item *ret) {
    if (end - p < 2 || p[0] != '[' || p[1] != ':') {
        return NULL;
    }
    const char *name = p + 2;
    const char *after = name;
    while (after < end && *after >= 'a' && *after <= 'z') {
        after++;
    }
    if (end - after < 2 || after[0] != ':' || after[1] != ']') {
        return NULL;
    }
    *ret = (struct item){.is_class = true, .class = find_class(name, (size_t)(after - name))};
    return after + 2;
}

/* Reads one character, escaped or not; NULL where the text ends first. */
static const char *read_character(const char *p, const char *end, uint32_t *ret) {
    if (p < end && *p == '\\') {
        p++;
    }
    return p < end ? p + utf8_decode(p, end, ret) : NULL;
}

static const char *read_item(const char *p, const char *end, struct item *ret) {
    const char *after = read_class(p, end, ret);
    if (after) {
        return after;
    }
    *ret = (struct item){0};
    p = read_character(p, end, &ret->low);
    if (p && end - p >= 2 && p[0] == '-' && p[1] != ']') {
        return read_character(p + 1, end, &ret->high);
    }
    ret->high = ret->low;
    return p;
}

static bool item_has(const struct item *item, uint32_t character) {
    if (!item->is_class) {
        return character >= item->low && character <= item->high;
    }
    if (!item->class) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        const struct range *range = &item->class->ranges[i];
        if (character >= range->low && character <= range->high) {
            return true;
        }
    }
    return false;
}

static bool is_negated(const char *open, const char *end) {
    return end - open >= 2 && (open[1] == '!' || open[1] == '^');
}

const char *bracket_match(const char *open, const char *end, uint32_t character, bool *ret) {
    bool negated = is_negated(open, end);
    const char *first = open + 1 + negated;
    const char *p = first;
    bool found = false;

    while (p && p < end && (*p != ']' || p == first)) {
        struct item item;
        p = read_item(p, end, &item);
        found = found || item_has(&item, character);
    }
    if (!p || p == end) {
        return NULL;
    }
    *ret = found != negated;
    return p + 1;
}

const char *bracket_end(const char *open, const char *end) {
    bool ignored;
    return bracket_match(open, end, 0, &ignored);
}

const char *bracket_fault(const char *open, const char *end) {
    const char *close = bracket_end(open, end);
    if (!close) {
        return "unclosed bracket; write \\[ for the character itself";
    }
    if (memchr(open, '/', (size_t)(close - open))) {
        return "slash inside brackets, which never match one";
    }
    const char *p = open + 1 + is_negated(open, end);
    do {
        struct item item;
        p = read_item(p, end, &item);
        if (item.is_class && !item.class) {
            return "unknown class; known are alnum, alpha, blank, cntrl, digit, graph, lower, "
                   "print, punct, space, upper, xdigit";
        }
        if (!item.is_class && item.low > item.high) {
            return "range backwards; write the lower character first";
        }
    } while (*p != ']');
    return NULL;
}
