#include "config/pattern.h"

#include <stdint.h>
#include <string.h>

#include "config/bracket.h"
#include "config/utf8.h"

struct span {
    const char *start, *end;
};

/* What is left of a pattern or a path, a component at a time. */
struct walk {
    const char *at;
    const char *end; /* at > end: nothing is left */
};

static struct walk walk_path(const char *path, size_t length) {
    struct walk walk = {path, path + length};
    while (walk.at < walk.end && *walk.at == '/') {
        walk.at++;
    }
    walk.at += walk.at == walk.end;
    return walk;
}

/* What follows a trailing slash is a component, an empty one. */
static bool next_name(struct walk *path, struct span *ret) {
    if (path->at > path->end) {
        return false;
    }
    const char *slash = memchr(path->at, '/', (size_t)(path->end - path->at));
    *ret = (struct span){path->at, slash ? slash : path->end};
    path->at = ret->end + 1;
    return true;
}

/* Several slashes count as one: "$DIR/x" where DIR ends with a slash. */
static bool next_component(struct walk *pattern, struct span *ret) {
    while (pattern->at < pattern->end && *pattern->at == '/') {
        pattern->at++;
    }
    return pattern->at < pattern->end && next_name(pattern, ret);
}

static bool is_any_depth(const struct span *component) {
    return component->end - component->start == 2 && memcmp(component->start, "**", 2) == 0;
}

static size_t character_length(const char *p, const char *end) {
    uint32_t ignored;
    return utf8_decode(p, end, &ignored);
}

/* Matches the first element of a pattern (not '*') with the first character of
 * a name; on success both move on. A faulty element matches nothing. */
static bool match_one(const char **pattern, const char *pattern_end, const char **name,
                      const char *name_end) {
    const char *p = *pattern;
    const char *n = *name;

    if (*p == '?') {
        p++;
        n += character_length(n, name_end);
    } else if (*p == '[') {
        uint32_t character;
        bool found;
        n += utf8_decode(n, name_end, &character);
        p = bracket_match(p, pattern_end, character, &found);
        if (!p || !found) {
            return false;
        }
    } else {
        if (*p == '\\' && ++p == pattern_end) {
            return false;
        }
        if (*p++ != *n++) {
            return false;
        }
    }
    *pattern = p;
    *name = n;
    return true;
}

/*
 * Matches one component. Only the last '*' is ever tried again: what an earlier
 * one could take more, the last one can take as well. So each element is held
 * against each character once at most.
 */
static bool match_component(const struct span *component, const struct span *name) {
    const char *p = component->start;
    const char *n = name->start;
    const char *retry = NULL; /* behind the last '*' */
    const char *retry_at = NULL;

    for (;;) {
        if (p < component->end && *p == '*') {
            while (p < component->end && *p == '*') {
                p++;
            }
            if (p == component->end) {
                return true;
            }
            retry = p;
            retry_at = n;
            continue;
        }
        if (p == component->end) {
            if (n == name->end) {
                return true;
            }
        } else if (n < name->end && match_one(&p, component->end, &n, name->end)) {
            continue;
        }
        if (!retry || retry_at == name->end) {
            return false;
        }
        retry_at += character_length(retry_at, name->end);
        p = retry;
        n = retry_at;
    }
}

/* The same over components, where "**" is what '*' is above. */
static bool match_path(const char *pattern, size_t pattern_length, struct walk path) {
    struct walk left = {pattern, pattern + pattern_length};
    bool below = pattern[pattern_length - 1] == '/';
    bool may_retry = pattern[0] != '/'; /* as if a "**" stood in front */
    struct walk retry = left;
    struct walk retry_at = path;

    for (;;) {
        struct span component, name;
        if (!next_component(&left, &component)) {
            bool path_ends = path.at > path.end;
            if (path_ends != below) {
                return true;
            }
        } else if (is_any_depth(&component)) {
            may_retry = true;
            retry = left;
            retry_at = path;
            continue;
        } else if (next_name(&path, &name) && match_component(&component, &name)) {
            continue;
        }
        if (!may_retry || !next_name(&retry_at, &name)) {
            return false;
        }
        left = retry;
        path = retry_at;
    }
}

bool pattern_match_prefix(const char *pattern, const char *path, size_t length) {
    size_t pattern_length = strlen(pattern);
    if (pattern_length == 0) {
        return false;
    }
    if (memchr(pattern, '/', pattern_length)) {
        return match_path(pattern, pattern_length, walk_path(path, length));
    }
    const char *slash = memrchr(path, '/', length);
    struct span component = {pattern, pattern + pattern_length};
    struct span name = {slash ? slash + 1 : path, path + length};
    return name.start < name.end && match_component(&component, &name);
}

bool pattern_match(const char *pattern, const char *path) {
    return pattern_match_prefix(pattern, path, strlen(path));
}

/* -1 for a last character of a pattern that may stand for others; an escaped
 * one does not, but who ends a name with '*'? */
static int literal_end(char last) {
    switch (last) {
    case '\0':
    case '/':
    case '*':
    case '?':
    case ']':
        return -1;
    default:
        return (unsigned char)last;
    }
}

int pattern_last_byte(const char *pattern) {
    size_t length = strlen(pattern);
    return length > 0 ? literal_end(pattern[length - 1]) : -1;
}

/* "/srv" of "/srv/x*" and of "/srv/" followed by any directories, which matches
 * "/srv" too: up to the last slash before anything special. */
size_t pattern_literal_length(const char *pattern) {
    if (pattern[0] != '/') {
        return 0;
    }
    size_t length = 0;
    while (pattern[length] != '\0' && pattern[length] != '*' && pattern[length] != '?' &&
           pattern[length] != '[' && pattern[length] != '\\') {
        length++;
    }
    const char *doubled = strstr(pattern, "//");
    if (doubled && (size_t)(doubled - pattern) < length) {
        length = (size_t)(doubled - pattern);
    }
    if (pattern[length] != '\0' && pattern[length] != '/') {
        while (length > 0 && pattern[--length] != '/') {
        }
    }
    return length;
}

/* Nearly always the answer is no, and the last byte tells. */
bool pattern_may_match_name(const char *pattern, const char *name, size_t length) {
    size_t pattern_length = strlen(pattern);
    if (pattern_length == 0) {
        return false;
    }
    char last = pattern[pattern_length - 1];
    if (last == '/') {
        return true;
    }
    if (literal_end(last) >= 0 && (length == 0 || name[length - 1] != last)) {
        return false;
    }
    const char *slash = memrchr(pattern, '/', pattern_length);
    struct span component = {slash ? slash + 1 : pattern, pattern + pattern_length};
    struct span whole = {name, name + length};
    return is_any_depth(&component) || match_component(&component, &whole);
}

static bool is_dots(const struct span *component) {
    size_t length = (size_t)(component->end - component->start);
    return length <= 2 && memcmp(component->start, "..", length) == 0;
}

/* A name, with nothing in it that could be wrong: nearly every pattern of those
 * who have a thousand. */
static bool is_plain_name(const char *pattern, const char *end) {
    for (const char *p = pattern; p < end; p++) {
        if (*p == '[' || *p == '\\' || *p == '/') {
            return false;
        }
    }
    return *pattern != '.' && pattern < end && end - pattern <= PATTERN_LENGTH_MAX;
}

const char *pattern_fault(const char *pattern) {
    const char *end = pattern + strlen(pattern);
    if (is_plain_name(pattern, end)) {
        return NULL;
    }
    if (pattern == end) {
        return "no pattern";
    }
    if (end - pattern > PATTERN_LENGTH_MAX) {
        return "pattern longer than 4095 bytes";
    }
    for (const char *p = pattern; p < end; p++) {
        if (*p == '[') {
            const char *fault = bracket_fault(p, end);
            if (fault) {
                return fault;
            }
            p = bracket_end(p, end) - 1;
        } else if (*p == '\\') {
            p++;
            if (p == end) {
                return "backslash with nothing behind it; write \\\\ for the character itself";
            }
            if (*p == '/') {
                return "backslash before a slash, which needs none";
            }
        }
    }
    struct walk left = {pattern, end};
    for (struct span component; next_component(&left, &component);) {
        if (is_dots(&component)) {
            return "\".\" and \"..\" are not looked up; write the directory's own path";
        }
    }
    return NULL;
}
