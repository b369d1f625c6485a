/* Where libautolock.so is, and how it gets into LD_PRELOAD. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

#define LIBRARY_NAME "libautolock.so"

static int found_at(const char *directory, const char *below, char **ret_path) {
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s%s/" LIBRARY_NAME, directory, below) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    char *resolved = realpath(path, NULL);
    if (!resolved)
        return -errno;
    *ret_path = resolved;
    return 0;
}

int library_find(char **ret_path) {
    /* The file that runs, not the link in PATH that led to it. */
    _cleanup_free_ char *self = realpath("/proc/self/exe", NULL);
    if (!self)
        return -errno;
    *strrchr(self, '/') = '\0';
    /* The build tree; an install tree, wherever it has been moved to; the
     * place that was configured. */
    static const char *const beside[] = {"", ("/" AUTOLOCK_LIBRARY_RELATIVE), "/../lib"};
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
        int result = found_at(self, beside[i], ret_path);
        if (result == 0 || result == -ENOMEM)
            return result;
    }
    return found_at(AUTOLOCK_LIBRARY_DIR, "", ret_path) == 0 ? 0 : -ENOENT;
}

static bool same_file(const char *a, const char *b) {
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* What an entry of LD_PRELOAD means for our library: 0 nothing, 1 it is our
 * library, -EEXIST it is another one of the same name. An entry without '/' is
 * ld.so's to find: with ours in front it takes ours, by its soname. */
static int judge_entry(const char *entry, const char *library) {
    const char *slash = strrchr(entry, '/');
    if (!slash)
        return 0;
    if (same_file(entry, library))
        return 1;
    return strcmp(slash + 1, LIBRARY_NAME) == 0 && access(entry, F_OK) == 0 ? -EEXIST : 0;
}

int library_search(const char *library, const char *old, char **ret_value) {
    *ret_value = NULL;
    if (!strpbrk(library, " :;"))
        return 0;
    int length = (int)(strrchr(library, '/') - library);
    if (memchr(library, ':', (size_t)length) || memchr(library, ';', (size_t)length))
        return -EINVAL;
    const char *rest = old ? old : "";
    if (strncmp(rest, library, (size_t)length) == 0 && strchr(":", rest[length]))
        return 0; /* it is the first already; "" ends like a colon */
    if (asprintf(ret_value, "%.*s%s%s", length, library, *rest ? ":" : "", rest) < 0) {
        *ret_value = NULL;
        return -ENOMEM;
    }
    return 0;
}

int library_preload(const char *library, const char *old, char **ret_value) {
    bool by_name = strpbrk(library, " :;"), present = false;
    _cleanup_free_ char *entries = strdup(old ? old : "");
    if (!entries)
        return -ENOMEM;
    char *rest = NULL;
    for (char *entry = strtok_r(entries, " :", &rest); entry; entry = strtok_r(NULL, " :", &rest)) {
        int result = by_name && strcmp(entry, LIBRARY_NAME) == 0 ? 1 : judge_entry(entry, library);
        if (result < 0)
            return result;
        present |= result == 1;
    }
    char *value = NULL;
    if (present)
        value = strdup(old);
    else if (asprintf(&value, "%s%s%s", by_name ? LIBRARY_NAME : library, old && *old ? ":" : "",
                      old ? old : "") < 0)
        value = NULL;
    if (!value)
        return -ENOMEM;
    *ret_value = value;
    return 0;
}
