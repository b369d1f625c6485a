/*
 * Appends a record of several lines to a file that others append to as well:
 *
 *     append FILE LINE...
 *
 * Each line is written by itself, so without the lock the records of two that
 * run together would be mixed. Waits up to 30 seconds for the others, whoever
 * they are: flock(1), Python's filelock, another append.
 *
 *     cc -o append append.c $(pkg-config --cflags --libs filelock)
 */
#include <filelock.h>
#include <stdio.h>
#include <string.h>

static int append(const char *path, char **lines) {
    FILE *file = fopen(path, "a");
    if (!file) {
        perror(path);
        return 1;
    }
    for (; *lines; lines++) {
        fprintf(file, "%s\n", *lines);
        fflush(file);
    }
    if (fclose(file) != 0) {
        perror(path);
        return 1;
    }
    return 0;
}

static int append_locked(struct filelock *lock, const char *path, char **lines) {
    FILELOCK_GUARD(guard, lock, 30 * FILELOCK_SECOND);
    if (guard.error < 0) {
        fprintf(stderr, "append: cannot lock %s: %s\n", filelock_path(lock),
                strerror(-guard.error));
        return 1;
    }
    return append(path, lines); /* the guard releases the lock */
}

int main(int argc, char **argv) {
    char path[4096];
    struct filelock *lock;
    if (argc < 3) {
        fprintf(stderr, "usage: append FILE LINE...\n");
        return 2;
    }
    if (snprintf(path, sizeof(path), "%s.lock", argv[1]) >= (int)sizeof(path)) {
        fprintf(stderr, "append: the name is too long\n");
        return 2;
    }
    int r = filelock_create(&lock, path, 0);
    if (r < 0) {
        fprintf(stderr, "append: %s\n", strerror(-r));
        return 1;
    }
    int status = append_locked(lock, argv[1], argv + 2);
    filelock_destroy(lock);
    return status;
}
