#include "config/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "config/canonical.h"
#include "config/plain_path.h"
#include "config/rules_private.h"
#include "lib/sys_linux.h"

/* A directory whose every character has to be escaped. */
#define DIRECTORY_SIZE ((size_t)2 * 4096)
#define ABSOLUTE_MAX 1024

/* Prefixes are hardly ever longer; such are resolved on the stack, since each
 * page of memory that a process touches as it starts costs it time. */
#define SHORT 256

/* Too much for the stack of a stranger. */
struct workspace {
    struct canonical canonical;
    char prefix[4096];   /* of the rule at hand */
    char resolved[4096]; /* what it resolves to */
};

/* What resolving may take for all rules together. */
static size_t memory_needed(const struct rule_set *set) {
    size_t count = 0, size = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->rules[i].pattern[0] == '/') {
            count++;
            size += strlen(set->rules[i].pattern) + 1;
        }
    }
    size_t most = ABSOLUTE_MAX + builtin_count();
    return (count < most ? count : most) * DIRECTORY_SIZE + size;
}

/* rules_resolve_directory, which may need more memory, once. */
static int put_directory(struct rule_set *set, struct rule *rule, const char *resolved) {
    int r = rules_resolve_directory(set, rule, resolved);
    if (r == -ENOSPC && !set->text_memory) {
        size_t size = memory_needed(set);
        void *memory = sys_map(size);
        if (!memory) {
            return -ENOMEM;
        }
        rules_give_text_memory(set, memory, size);
        r = rules_resolve_directory(set, rule, resolved);
    }
    return r;
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

/* Whether no link is in the prefix, or nothing at all is there, as far as one or
 * two system calls tell: nearly always. Below the root a name that is no link is
 * all there is to know. */
static bool is_resolved(const char *prefix) {
    char first[2];
    if (!strchr(prefix + 1, '/')) {
        long r = sys_readlinkat(AT_FDCWD, prefix, first, sizeof(first));
        return r == -EINVAL || r == -ENOENT;
    }
    int fd = sys_open_directory(AT_FDCWD, prefix);
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    return fd >= 0;
}

/*
 * The same for a prefix that is itself a link to a directory with no link on the
 * way, as /var/run and /var/spool/mail are. False where it is not so simple.
 */
static bool resolve_link(const char *prefix, char *ret, size_t size) {
    char text[SHORT];
    const char *rest = text;
    size_t parent = parent_length(prefix, strlen(prefix));
    ssize_t length = sys_readlinkat(AT_FDCWD, prefix, text, sizeof(text) - 1);
    if (length <= 0 || (size_t)length >= sizeof(text) - 1 || parent >= size) {
        return false;
    }
    text[length] = '\0';
    memcpy(ret, prefix, parent);
    ret[parent] = '\0';
    if (text[0] == '/') {
        parent = 0;
        rest++;
    } else if (parent > 0 && !is_resolved(ret)) {
        return false;
    }
    while (strncmp(rest, "../", 3) == 0) {
        rest += 3;
        parent = parent_length(ret, parent);
    }
    if (parent + strlen(rest) + 2 > size) {
        return false;
    }
    ret[parent] = '/';
    memcpy(ret + parent + 1, rest, strlen(rest) + 1);
    return plain_path(AT_FDCWD, ret, NULL, 0) && is_resolved(ret);
}

static int resolve_by_workspace(struct rule_set *set, struct rule *rule, struct workspace *w) {
    int length = rules_literal_directory(rule, w->prefix, sizeof(w->prefix));
    if (length <= 0 || !resolve_prefix(w, (size_t)length) || strcmp(w->resolved, w->prefix) == 0) {
        return 0;
    }
    return put_directory(set, rule, w->resolved);
}

/* `known` is the last prefix that has turned out to need nothing: the next rule
 * often has it too. */
static int resolve_rule(struct rule_set *set, struct rule *rule, char known[SHORT],
                        struct workspace **workspace) {
    char prefix[SHORT], resolved[SHORT];
    int length = rules_literal_directory(rule, prefix, sizeof(prefix));
    if (length == 0 || (length > 0 && strcmp(prefix, known) == 0)) {
        return 0;
    }
    if (length > 0 && is_resolved(prefix)) {
        memcpy(known, prefix, (size_t)length + 1);
        return 0;
    }
    if (length > 0 && resolve_link(prefix, resolved, sizeof(resolved))) {
        return put_directory(set, rule, resolved);
    }
    if (!*workspace && !(*workspace = sys_map(sizeof(**workspace)))) {
        return -ENOMEM;
    }
    return resolve_by_workspace(set, rule, *workspace);
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
    char known[SHORT] = "";
    struct workspace *workspace = NULL;
    int result = 0;
    /* The built-in ones first, in case that there is no room for the others. */
    for (size_t i = set->count; i-- > 0;) {
        struct rule *rule = &set->rules[i];
        int r = resolve_rule(set, rule, known, &workspace);
        if (r == -ENOMEM) {
            result = r;
        } else if (r < 0) {
            faults_add(faults, rule->source, rule->pattern,
                       "too many rules in directories with links; write their real paths");
        }
    }
    if (workspace) {
        sys_unmap(workspace, sizeof(*workspace));
    }
    return result;
}
