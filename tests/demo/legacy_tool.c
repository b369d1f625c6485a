/*
 * A program as there are many: it keeps a number in a file, and knows nothing
 * of locks.
 *
 *     legacy_tool FILE COUNT    adds 1 to the number in FILE, COUNT times
 *
 * Each time it opens the file, reads the number, writes the next one over it
 * and closes the file. Two of these at once lose updates: both read 41, both
 * write 42.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *path) {
    fprintf(stderr, "legacy_tool: %s: %s\n", path, strerror(errno));
    return -1;
}

static int add_one(const char *path) {
    FILE *file = fopen(path, "r+");
    if (!file)
        return fail(path);
    long number;
    /* An empty file counts as 0: somebody may just be writing it anew. */
    if (fscanf(file, "%ld", &number) != 1)
        number = 0;
    rewind(file);
    if (fprintf(file, "%ld\n", number + 1) < 0) {
        (void)fail(path);
        (void)fclose(file);
        return -1;
    }
    return fclose(file) == 0 ? 0 : fail(path);
}

int main(int argc, char **argv) {
    char *end = NULL;
    long count = argc == 3 ? strtol(argv[2], &end, 10) : -1;
    if (count < 0 || end == argv[2] || *end != '\0') {
        fprintf(stderr, "usage: legacy_tool FILE COUNT\n");
        return 2;
    }
    for (long i = 0; i < count; i++)
        if (add_one(argv[1]) < 0)
            return 1;
    return 0;
}
