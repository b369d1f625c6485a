/*
 * The literal directory that an absolute pattern begins with.
 */
#include <errno.h>
#include <string.h>

#include "config/rules_private.h"

static bool is_special(char c) {
    return c == '*' || c == '?' || c == '[' || c == '\\';
}

/* Whether the component has wildcards; `end` is the slash behind it. */
static bool is_literal(const char *component, const char *end) {
    for (const char *p = component; p < end; p++) {
        if (*p == '\\') {
            p++;
        } else if (is_special(*p)) {
            return false;
        }
    }
    return true;
}

/* Where the directory ends in the pattern: at a slash, or at the start where
 * there is no such directory. The last component is not part of it. */
static const char *directory_end(const char *pattern) {
    const char *end = pattern;
    while (*end == '/') {
        const char *component = end;
        while (*component == '/') { /* strspn(3) is a page of libc that few need */
            component++;
        }
        const char *slash = strchr(component, '/');
        if (!slash || !is_literal(component, slash)) {
            break;
        }
        end = slash;
    }
    return end;
}

int rules_literal_directory(const struct rule *rule, char *prefix, size_t size) {
    const char *end = directory_end(rule->pattern);
    size_t length = 0;
    for (const char *p = rule->pattern; p < end; p++) {
        if (p[0] == '/' && p[1] == '/') {
            continue;
        }
        p += *p == '\\';
        if (length + 1 >= size) {
            return -ENAMETOOLONG;
        }
        prefix[length++] = *p;
    }
    if (size > 0) {
        prefix[length] = '\0';
    }
    return (int)length;
}

int rules_resolve_directory(struct rule_set *set, struct rule *rule, const char *resolved) {
    const char *rest = directory_end(rule->pattern);
    if (rest == rule->pattern) {
        return 0;
    }
    size_t length = strlen(resolved);
    size_t escapes = 0;
    while (length > 0 && resolved[length - 1] == '/') {
        length--; /* the root is "" before "/x" */
    }
    for (size_t i = 0; i < length; i++) {
        escapes += is_special(resolved[i]);
    }
    size_t rest_size = strlen(rest) + 1;
    char *pattern = rules_take_text(set, length + escapes + rest_size);
    if (!pattern) {
        return -ENOSPC;
    }
    char *to = pattern;
    for (size_t i = 0; i < length; i++) {
        if (is_special(resolved[i])) {
            *to++ = '\\';
        }
        *to++ = resolved[i];
    }
    memcpy(to, rest, rest_size);
    rule->pattern = pattern;
    rules_note_pattern(rule);
    return 0;
}
