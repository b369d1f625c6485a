/*
 * A library that opens files in its constructor, which runs before that of one
 * that is preloaded in front of it. Linked with -z initfirst (libfirst), before
 * all others, libc's too.
 *
 * EARLY_FILE: is opened for writing, and stays open. EARLY_STREAM: is opened and
 * closed again, as a stream. What fails ends the process.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* libc, which is not initialised yet either, cannot be asked. */
static const char *find(char **environment, const char *variable) {
    size_t length = strlen(variable);
    for (char **each = environment; *each; each++) {
        if (strncmp(*each, variable, length) == 0) {
            return *each + length;
        }
    }
    return NULL;
}

__attribute__((constructor)) static void open_early(int count, char **arguments,
                                                    char **environment) {
    (void)count, (void)arguments;
    const char *file = find(environment, "EARLY_FILE="), *name = find(environment, "EARLY_STREAM=");
    if (file && open(file, O_RDWR | O_CREAT, 0666) < 0) {
        _exit(33);
    }
    if (name) {
        FILE *stream = fopen(name, "a");
        if (!stream || fputs("early\n", stream) < 0 || fclose(stream) != 0) {
            _exit(34);
        }
    }
}
