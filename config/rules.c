#include "config/rules.h"

#include <errno.h>
#include <string.h>

#include "config/pattern.h"
#include "config/rules_private.h"
#include "config/sidecar_path.h"

/*
 * The shortest rule is a character and what divides it from the next one, so
 * that there are half as many rules as bytes. Each pattern, faulty ones too, is
 * stored with a terminator, which takes the place of what divided it. A rule
 * with options of its own takes at least as many bytes of text as three without,
 * which is room for them.
 */
size_t rules_memory(size_t text_length) {
    if (text_length == 0) {
        return builtin_count() * sizeof(struct rule);
    }
    if (text_length > SIZE_MAX / (2 * sizeof(struct rule))) {
        return SIZE_MAX;
    }
    return (text_length + 1) / 2 * sizeof(struct rule) + text_length + 1;
}

void rules_init(struct rule_set *set, void *memory, size_t size) {
    *set = (struct rule_set){.rules = memory, .memory = memory, .text = (char *)memory + size};
}

size_t rules_room(const struct rule_set *set) {
    if (set->text_memory) {
        return (size_t)(set->text - set->text_memory);
    }
    return (size_t)(set->text - set->memory) - set->count * sizeof(struct rule);
}

void rules_give_text_memory(struct rule_set *set, void *memory, size_t size) {
    set->text_memory = memory;
    set->text = set->text_memory + size;
}

char *rules_take_text(struct rule_set *set, size_t size) {
    if (size > rules_room(set)) {
        return NULL;
    }
    set->text -= size;
    return set->text;
}

static void note_name_end(struct rule_set *set, const char *pattern) {
    int last = pattern_last_byte(pattern);
    if (last < 0) {
        memset(set->name_ends, 0xff, sizeof(set->name_ends));
    } else {
        set->name_ends[last / 32] |= UINT32_C(1) << last % 32;
    }
}

void rules_note_pattern(struct rule *rule) {
    rule->last = (int16_t)pattern_last_byte(rule->pattern);
    size_t literal = pattern_literal_length(rule->pattern);
    rule->literal = literal < UINT16_MAX ? (uint16_t)literal : UINT16_MAX;
}

/* The pattern itself is only looked at where these say yes. */
static bool may_match_path(const struct rule *rule, const char *path, size_t length) {
    return (rule->last < 0 || (length > 0 && (unsigned char)path[length - 1] == rule->last)) &&
           rule->literal <= length && memcmp(path, rule->pattern, rule->literal) == 0;
}

static bool may_end_name(const struct rule_set *set, char last) {
    unsigned char byte = (unsigned char)last;
    return set->name_ends[byte / 32] >> byte % 32 & 1;
}

static bool same_options(const struct rule_options *a, const struct rule_options *b) {
    return a->timeout == b->timeout && a->warn_after == b->warn_after && a->kind == b->kind &&
           a->readers == b->readers && a->hold == b->hold && a->on_timeout == b->on_timeout &&
           a->on_error == b->on_error && a->nested == b->nested && a->inherit == b->inherit &&
           (a->lockdir == b->lockdir ||
            (a->lockdir && b->lockdir && strcmp(a->lockdir, b->lockdir) == 0));
}

/* Options like these that live as long as the set: the default ones, those of
 * the rule before (most rules of a file have the same), or a copy. NULL when
 * there is no room. */
static const struct rule_options *keep_options(struct rule_set *set,
                                               const struct rule_options *options) {
    if (same_options(options, &rule_default_options)) {
        return &rule_default_options;
    }
    if (set->count > 0 && same_options(options, set->rules[set->count - 1].options)) {
        return set->rules[set->count - 1].options;
    }
    size_t over = (uintptr_t)set->text % _Alignof(struct rule_options);
    char *copy = rules_take_text(set, sizeof(*options) + over);
    return copy ? memcpy(copy, options, sizeof(*options)) : NULL;
}

int rules_append(struct rule_set *set, const struct rule *rule) {
    const struct rule_options *options = keep_options(set, rule->options);
    if (!options || set->text_memory || rules_room(set) < sizeof(*rule)) {
        return -ENOSPC;
    }
    if (!rule->exclude) {
        note_name_end(set, rule->pattern);
    }
    set->rules[set->count] = *rule;
    set->rules[set->count].options = options;
    rules_note_pattern(&set->rules[set->count]);
    set->count++;
    return 0;
}

/* The last user rule that matches the first `length` bytes of the path. */
static const struct rule *last_match(const struct rule_set *set, const char *path, size_t length) {
    const char *slash = memrchr(path, '/', length);
    const char *name = slash ? slash + 1 : path;
    size_t name_length = (size_t)(path + length - name);

    for (size_t i = set->count; i-- > 0;) {
        const struct rule *rule = &set->rules[i];
        if (!rule->builtin && may_match_path(rule, path, length) &&
            pattern_may_match_name(rule->pattern, name, name_length) &&
            pattern_match_prefix(rule->pattern, path, length)) {
            return rule;
        }
    }
    return NULL;
}

/*
 * Whether the rule names what the built-in one excludes: "/dev/shm/x*" names
 * "/dev/", "*" and "/d*" do not. The rule's pattern is taken for a path as it
 * stands; its escapes would matter only in letters that an exclusion spells out
 * itself, where nobody needs one.
 */
static bool names(const struct rule *rule, const struct rule *builtin) {
    return pattern_match(builtin->pattern, rule->pattern);
}

/* rules_decide, but for sidecars. */
static const struct rule *decide_plain(const struct rule_set *set, const char *path,
                                       size_t length) {
    const struct rule *rule = last_match(set, path, length);
    if (!rule || rule->exclude) {
        return rule;
    }
    for (size_t i = set->count; i-- > 0;) {
        const struct rule *builtin = &set->rules[i];
        if (builtin->builtin && may_match_path(builtin, path, length) &&
            pattern_match_prefix(builtin->pattern, path, length) && !names(rule, builtin)) {
            return builtin;
        }
    }
    return rule;
}

/* Length of the path whose sidecar this is by its name; 0 where it is none. */
static size_t owner_length(const char *path, size_t length) {
    const size_t suffix_length = sizeof(SIDECAR_SUFFIX) - 1;
    if (!sidecar_has_suffix(path, length) || path[length - suffix_length - 1] == '/') {
        return 0;
    }
    return length - suffix_length;
}

/*
 * P.lock is a sidecar where P is locked, P.lock.lock is not where P.lock is a
 * sidecar, and so on: what counts is how many of P.lock's inner names in a row
 * the rules would lock.
 */
static bool is_sidecar(const struct rule_set *set, const char *path, size_t length) {
    bool sidecar = false;
    while ((length = owner_length(path, length)) > 0) {
        const struct rule *rule = decide_plain(set, path, length);
        if (!rule || rule->exclude) {
            break;
        }
        sidecar = !sidecar;
    }
    return sidecar;
}

const struct rule *rules_decide(const struct rule_set *set, const char *path) {
    size_t length = strlen(path);
    const struct rule *rule = decide_plain(set, path, length);
    if (rule && !rule->exclude && is_sidecar(set, path, length)) {
        return builtin_sidecar(set);
    }
    return rule;
}

/* How much of the pattern all paths have in common with it that other rules
 * lock, as far as the first `length` bytes. */
static size_t common_with(const char *common, size_t length, const struct rule *rule) {
    size_t same = 0;
    while (same < length && same < rule->literal && common[same] == rule->pattern[same]) {
        same++;
    }
    return same;
}

void rules_prepare(struct rule_set *set) {
    set->common = NULL;
    for (size_t i = 0; i < set->count; i++) {
        const struct rule *rule = &set->rules[i];
        if (rule->exclude) {
            continue;
        }
        if (!set->common) {
            set->common = rule->pattern;
            set->common_length = rule->literal;
        }
        set->common_length = common_with(set->common, set->common_length, rule);
    }
}

const struct rule *rules_find_lock(const struct rule_set *set, const char *path) {
    if (set->common && strncmp(path, set->common, set->common_length) != 0) {
        return NULL;
    }
    const struct rule *rule = rules_decide(set, path);
    return rule && !rule->exclude ? rule : NULL;
}

bool rules_may_match(const struct rule_set *set, const char *name, size_t length) {
    if (length > 0 && !may_end_name(set, name[length - 1])) {
        return false;
    }
    for (size_t i = set->count; i-- > 0;) {
        const struct rule *rule = &set->rules[i];
        if (!rule->exclude &&
            (rule->last < 0 || length == 0 || (unsigned char)name[length - 1] == rule->last) &&
            pattern_may_match_name(rule->pattern, name, length)) {
            return true;
        }
    }
    return false;
}
