#include "config/sidecar_path.h"

#include <string.h>

#define NAME_MAX_BYTES 255

static const char suffix[] = SIDECAR_SUFFIX;
static const size_t suffix_length = sizeof(suffix) - 1;

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Behind `to`, which ends at `at`: the name, as much as fits, and the suffix. */
static bool put_name(char *to, size_t at, const char *name, char slash) {
    size_t length = strlen(name);
    bool fits = length + suffix_length <= NAME_MAX_BYTES;
    if (!fits) {
        length = NAME_MAX_BYTES - suffix_length;
    }
    for (size_t i = 0; i < length; i++) {
        to[at + i] = name[i] == '/' ? slash : name[i];
    }
    memcpy(to + at + length, suffix, sizeof(suffix));
    return fits;
}

bool sidecar_name(const char *path, const char *lockdir, char ret[SIDECAR_NAME_SIZE]) {
    if (!lockdir) {
        return put_name(ret, 0, last_component(path), '/');
    }
    size_t length = strlen(lockdir);
    memcpy(ret, lockdir, length);
    ret[length] = '/';
    return put_name(ret, length + 1, path, '%');
}

bool sidecar_owner(char *path, bool in_lockdir) {
    size_t length = strlen(path);
    const char *name = last_component(path);
    if (length <= suffix_length || strcmp(path + length - suffix_length, suffix) != 0 ||
        path + length - suffix_length == name || (in_lockdir && name[0] != '%')) {
        return false;
    }
    path[length - suffix_length] = '\0';
    if (in_lockdir) {
        memmove(path, name, strlen(name) + 1);
        for (char *p = path; *p; p++) {
            *p = *p == '%' ? '/' : *p;
        }
    }
    return true;
}
