#include "config/load.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "config/resolve.h"
#include "config/rules_private.h"
#include "config/sources.h"
#include "lib/sys_linux.h"

#define POPULATED_MIN ((size_t)4 * 4096) /* below, faults are as cheap */

/* Whether a switch is set to `set`; missing, empty and `unset` are the same. */
static bool read_switch(char *const *environment, const char *name, const char *set,
                        const char *unset, const char *bad, struct faults *faults) {
    const char *value = sources_variable(environment, name);
    if (!value || value[0] == '\0' || strcmp(value, unset) == 0) {
        return false;
    }
    if (strcmp(value, set) == 0) {
        return true;
    }
    faults_add(faults, name, value, bad);
    return false;
}

static size_t memory_needed(const struct sources *sources) {
    size_t size = rules_memory(0) + RESOLVE_ROOM;
    for (size_t i = 0; i < sources->count; i++) {
        size += rules_memory(sources->list[i].length);
    }
    return size;
}

/* Few rules need no page of their own, which costs a program that starts more
 * than reading them. */
static void *get_memory(size_t size) {
    static _Alignas(struct rule) char few[2048];
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    if (size <= sizeof(few) && !atomic_flag_test_and_set(&taken)) {
        return few;
    }
    return sys_map(size);
}

/* With a line for each; in a variable a line may have several, whose pages are then
 * made one by one. */
static size_t count_rules(const struct sources *sources) {
    size_t count = builtin_count();
    for (size_t i = 0; i < sources->count; i++) {
        const struct source *source = &sources->list[i];
        const char *end = source->text + source->length;
        count++;
        for (const char *p = source->text; (p = memchr(p, '\n', (size_t)(end - p))); p++) {
            count++;
        }
    }
    return count;
}

/* What many rules will take of the memory: from its start themselves, from its
 * end their text. */
static void populate(char *memory, size_t size, const struct sources *sources) {
    size_t rules = count_rules(sources) * sizeof(struct rule), text = 0;
    for (size_t i = 0; i < sources->count; i++) {
        text += sources->list[i].length;
    }
    if (rules + text > POPULATED_MIN && rules < size && text < size) {
        sys_populate(memory, rules);
        sys_populate(memory + size - text, text);
    }
}

static int make_rules(struct rule_set *set, const struct sources *sources, struct faults *faults) {
    size_t size = memory_needed(sources);
    void *memory = get_memory(size);
    if (!memory) {
        return -ENOMEM;
    }
    populate(memory, size, sources);
    rules_init(set, memory, size);
    for (size_t i = 0; i < sources->count; i++) {
        const struct source *source = &sources->list[i];
        int r = rules_add_text(set, source->text, source->form, source->name, faults->report,
                               faults->data);
        if (r < 0) {
            return -ENOMEM;
        }
        faults->count += r;
    }
    return rules_add_builtin(set) < 0 ? -ENOMEM : resolve_rules(set, faults);
}

int config_load(struct config *ret, char *const *environment, rules_report *report, void *data) {
    struct faults faults = {report, data, 0};
    struct config config = {0};
    const char *mode = sources_variable(environment, "AUTOLOCK");
    config.observe = mode && strcmp(mode, "observe") == 0;
    config.off =
        !config.observe && read_switch(environment, "AUTOLOCK", "off", "on",
                                       "unknown value; known are on, off and observe", &faults);
    config.strict = read_switch(environment, "AUTOLOCK_STRICT", "1", "0",
                                "unknown value; known are 1 and 0", &faults);
    int r = 0;
    if (!config.off) {
        struct sources sources;
        r = sources_read(&sources, environment, &faults);
        if (r == 0) {
            r = make_rules(&config.rules, &sources, &faults);
            rules_prepare(&config.rules);
        }
        sources_done(&sources);
    }
    if (r < 0) {
        return r;
    }
    config.faults = faults.count;
    *ret = config;
    return 0;
}
