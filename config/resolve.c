#include "config/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "config/canonical.h"
#include "config/rules_private.h"
#include "lib/sys_linux.h"

/* A directory whose every character has to be escaped. */
#define DIRECTORY_SIZE ((size_t)2 * 4096)
#define ABSOLUTE_MAX 1024
#define BUILTIN_LENGTH_MAX 64

/* Too much for the stack of a stranger. */
struct workspace {
    struct canonical canonical;
    char prefix[4096];   /* of the rule at hand */
    char known[4096];    /* the last prefix, which the next rule often has too, */
    char resolved[4096]; /* and what it resolves to; "" for nothing better */
};

/* How many patterns are absolute, or a few more. */
static size_t count_absolute(const char *text) {
    size_t count = 1; /* there may be a byte order mark before the first */
    for (const char *p = text; (p = strchr(p, '/')); p++) {
        count += p > text && strchr(" \t\n:!", p[-1]);
    }
    return count;
}

size_t resolve_memory(const char *text) {
    size_t count = count_absolute(text);
    return (count < ABSOLUTE_MAX ? count : ABSOLUTE_MAX) * DIRECTORY_SIZE + strlen(text) + 1;
}

size_t resolve_memory_builtin(void) {
    return builtin_count() * (DIRECTORY_SIZE + BUILTIN_LENGTH_MAX);
}

/* Shortens a path by its last component. */
static size_t parent_length(const char *path, size_t length) {
    while (length > 0 && path[length - 1] != '/') {
        length--;
    }
    return length > 0 ? length - 1 : 0;
}

/* Resolves the first `length` bytes of w->prefix, or as much of it as exists.
 * Fills w->resolved; returns false where there is nothing to be found out. */
static bool resolve_prefix(struct workspace *w, size_t length) {
    size_t kept = length;
    while (kept > 0) {
        char after = w->prefix[kept];
        w->prefix[kept] = '\0';
        int r = canonical_resolve(AT_FDCWD, w->prefix, true, &w->canonical);
        w->prefix[kept] = after;
        if (r == 0) {
            canonical_done(&w->canonical);
            break;
        }
        if (r == -EOPNOTSUPP || r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
            return false;
        }
        kept = parent_length(w->prefix, kept);
    }
    size_t rest = length - kept;
    if (kept == 0 || w->canonical.length + rest >= sizeof(w->resolved)) {
        return false;
    }
    memcpy(w->resolved, w->canonical.path, w->canonical.length);
    memcpy(w->resolved + w->canonical.length, w->prefix + kept, rest + 1);
    return true;
}

static int resolve_rule(struct rule_set *set, struct rule *rule, struct workspace *w) {
    int length = rules_literal_directory(rule, w->prefix, sizeof(w->prefix));
    if (length <= 0) {
        return 0;
    }
    if (strcmp(w->prefix, w->known) != 0) {
        if (!resolve_prefix(w, (size_t)length)) {
            w->resolved[0] = '\0';
        }
        memcpy(w->known, w->prefix, (size_t)length + 1);
    }
    if (w->resolved[0] == '\0' || strcmp(w->resolved, w->prefix) == 0) {
        return 0;
    }
    return rules_resolve_directory(set, rule, w->resolved);
}

/* A process without rules that lock needs no exclusions. */
static bool any_locks(const struct rule_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        if (!set->rules[i].exclude) {
            return true;
        }
    }
    return false;
}

int resolve_rules(struct rule_set *set, struct faults *faults) {
    if (!any_locks(set)) {
        return 0;
    }
    struct workspace *w = sys_map(sizeof(*w));
    if (!w) {
        return -ENOMEM;
    }
    /* The built-in ones first, in case that there is no room for the others. */
    for (size_t i = set->count; i-- > 0;) {
        struct rule *rule = &set->rules[i];
        if (resolve_rule(set, rule, w) < 0) {
            faults_add(faults, rule->source, rule->pattern,
                       "too many rules in directories with links; write their real paths");
        }
    }
    sys_unmap(w, sizeof(*w));
    return 0;
}
