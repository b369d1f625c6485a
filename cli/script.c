#include "script.h"

#include <errno.h>
#include <string.h>

int script_parse(const char *start, size_t length, struct script *ret) {
    if (length < 2 || start[0] != '#' || start[1] != '!')
        return -ENOEXEC;
    struct script script = {0};
    size_t used = length - 2 < SCRIPT_LINE ? length - 2 : SCRIPT_LINE;
    memcpy(script.line, start + 2, used);
    script.line[used] = '\0';
    script.line[strcspn(script.line, "\n")] = '\0';

    size_t end = strlen(script.line);
    while (end > 0 && strchr(" \t", script.line[end - 1]))
        script.line[--end] = '\0';
    size_t first = strspn(script.line, " \t");
    if (first == end)
        return -ENOEXEC;
    size_t blank = first + strcspn(script.line + first, " \t");
    size_t argument = blank + strspn(script.line + blank, " \t");
    script.line[blank] = '\0';

    *ret = script;
    ret->interpreter = ret->line + first;
    ret->argument = ret->line + argument;
    return 0;
}

const char *script_env_program(struct script *script) {
    const char *name = strrchr(script->interpreter, '/');
    if (strcmp(name ? name + 1 : script->interpreter, "env") != 0)
        return NULL;
    char *word = script->line + (script->argument - script->line);
    if (strncmp(word, "-S", 2) == 0) {
        word += 2;
        word += strspn(word, " \t");
        word[strcspn(word, " \t")] = '\0';
    }
    /* Options, assignments, quotes and variables are env's to understand. */
    return *word == '\0' || *word == '-' || strpbrk(word, " \t='\"\\$") ? NULL : word;
}
