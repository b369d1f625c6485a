#include "shim/trace.h"

#include "shim/filename.h"
#include "shim/hidden.h"
#include "shim/say.h"

static void put_rule(struct text *line, const struct rule *rule) {
    text_put(line, rule->exclude ? "rule !" : "rule ");
    text_put_visible(line, rule->pattern);
    text_put(line, " of ");
    text_put_visible(line, rule->source);
    if (rule->line) {
        text_put(line, ":");
        text_put_number(line, rule->line, 10);
    }
}

void trace_passed_over(const struct target *target, const char *why) {
    if (!say_debugs()) {
        return;
    }
    TEXT(line, 900);
    text_put_visible(&line, target->where.path);
    text_put(&line, ": ");
    put_rule(&line, target->rule);
    text_put(&line, ": not locked: ");
    text_put(&line, why);
    say_debug(&line);
}

static void put_result(struct text *line, const struct target *target, bool exclusive, int result,
                       int twin) {
    if (result < 0) {
        const char *known = say_error(-result);
        text_put(line, "failed: ");
        text_put(line, target->why[0] ? target->why : known ? known : "error ");
        if (!target->why[0] && !known) {
            text_put_number(line, (uint64_t)-result, 10);
        }
    } else if (twin < 0) {
        text_put(line, "passed without a lock: ");
        text_put(line, target->why[0] ? target->why : "nobody has it");
    } else {
        text_put(line, exclusive ? "held exclusively" : "held shared");
        text_put(line, target->why[0] ? " among those let in: " : "");
        text_put(line, target->why);
    }
}

void trace_taken(const struct target *target, bool exclusive, int result, int twin) {
    if (!say_debugs()) {
        return;
    }
    TEXT(line, 900);
    text_put_visible(&line, target->where.path);
    text_put(&line, ": ");
    put_rule(&line, target->rule);
    text_put(&line, ": sidecar ");
    text_put_visible(&line, target->sidecar);
    text_put(&line, ": ");
    if (target->waited) {
        text_put(&line, "waited ");
        text_put_duration(&line, target->wait_time);
        text_put(&line, ": ");
    }
    put_result(&line, target, exclusive, result, twin);
    say_debug(&line);
}

void trace_closing(int twin, enum table_mode mode) {
    table_word word = table_get(twin), other;
    struct sidecar_id id;
    if (!say_debugs() || (mode != MODE_SHARED && mode != MODE_EXCLUSIVE) ||
        !table_id(twin, word, &id)) {
        return;
    }
    TEXT(line, 700);
    filename_put(&line, 0, twin);
    text_put(&line, hidden_find(id, twin, &other) >= 0
                        ? ": a reference less, still held by this process"
                        : ": released by this process");
    say_debug(&line);
}
