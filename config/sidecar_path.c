#include "config/sidecar_path.h"

#include <string.h>

#define NAME_MAX_BYTES 255

static const char suffix[] = SIDECAR_SUFFIX;
static const size_t suffix_length = sizeof(suffix) - 1;

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What stands for a byte in a name that was a path. */
static const char *escape(char c) {
    return c == '/' ? "%" : c == '%' ? "=25" : c == '=' ? "=3D" : NULL;
}

/* To the end of `to`: the name, as much as fits, and the suffix. */
static bool put_name(char *to, const char *name, bool is_path) {
    size_t length = 0;
    bool fits = true;
    for (; *name && fits; name++) {
        const char *escaped = is_path ? escape(*name) : NULL;
        size_t more = escaped ? strlen(escaped) : 1;
        fits = length + more + suffix_length <= NAME_MAX_BYTES;
        if (fits) {
            memcpy(to + length, escaped ? escaped : name, more);
            length += more;
        }
    }
    memcpy(to + length, suffix, sizeof(suffix));
    return fits;
}

bool sidecar_name(const char *path, const char *lockdir, char ret[SIDECAR_NAME_SIZE]) {
    if (!lockdir) {
        return put_name(ret, last_component(path), false);
    }
    size_t length = strlen(lockdir);
    memcpy(ret, lockdir, length);
    ret[length] = '/';
    return put_name(ret + length + 1, path, true);
}

static void unescape(char *name) {
    char *to = name;
    for (const char *from = name; *from; to++) {
        bool percent = strncmp(from, "=25", 3) == 0;
        if (percent || strncmp(from, "=3D", 3) == 0) {
            *to = percent ? '%' : '=';
            from += 3;
        } else {
            *to = *from == '%' ? '/' : *from;
            from++;
        }
    }
    *to = '\0';
}

bool sidecar_has_suffix(const char *path, size_t length) {
    return length > suffix_length &&
           memcmp(path + length - suffix_length, suffix, suffix_length) == 0;
}

bool sidecar_owner(char *path, bool in_lockdir) {
    size_t length = strlen(path);
    const char *name = last_component(path);
    if (!sidecar_has_suffix(path, length) || path + length - suffix_length == name || (in_lockdir && name[0] != '%')) {
        return false;
    }
    path[length - suffix_length] = '\0';
    if (in_lockdir) {
        memmove(path, name, strlen(name) + 1);
        unescape(path);
    }
    return true;
}
