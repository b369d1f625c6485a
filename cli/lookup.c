/*
 * Which file execvp(3) would execute.
 *
 * It is looked up once, here: the file that was inspected must be the one that
 * is executed, even if PATH leads somewhere else under LD_PRELOAD.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

/* What execve(2) would fail with for reasons that the file's name and mode
 * show, or 0. */
static int executable(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EACCES;
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* Errors after which execvp(3) goes on to the next directory of PATH. */
static bool goes_on(int error) {
    switch (error) {
    case -EACCES:
    case -ENOENT:
    case -ENOTDIR:
    case -ENODEV:
    case -ESTALE:
    case -ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static char *default_search_path(void) {
    size_t size = confstr(_CS_PATH, NULL, 0);
    char *path = malloc(size + 1);
    if (path) {
        path[0] = '\0';
        (void)confstr(_CS_PATH, path, size);
    }
    return path;
}

static int find_in(const char *search, const char *name, char **ret_path) {
    bool forbidden = false;
    for (const char *start = search;; start++) {
        size_t length = strcspn(start, ":");
        char *path = NULL;
        /* An empty element is the working directory. */
        if (asprintf(&path, "%.*s/%s", length > 0 ? (int)length : 1, length > 0 ? start : ".",
                     name) < 0)
            return -ENOMEM;
        int result = executable(path);
        if (result == 0) {
            *ret_path = path;
            return 0;
        }
        free(path);
        if (!goes_on(result))
            return result;
        forbidden |= result == -EACCES;
        start += length;
        if (*start == '\0')
            return forbidden ? -EACCES : -ENOENT;
    }
}

int program_find(const char *name, char **ret_path) {
    if (*name == '\0')
        return -ENOENT;
    if (strchr(name, '/')) {
        int result = executable(name);
        if (result < 0)
            return result;
        char *path = strdup(name);
        if (!path)
            return -ENOMEM;
        *ret_path = path;
        return 0;
    }
    const char *search = getenv("PATH");
    if (search)
        return find_in(search, name, ret_path);
    _cleanup_free_ char *usual = default_search_path();
    return usual ? find_in(usual, name, ret_path) : -ENOMEM;
}
