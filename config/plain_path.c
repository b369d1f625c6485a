#include "config/plain_path.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "lib/sys_linux.h"

/* Whether each component is a name: not empty, not "." or "..". */
static bool has_names_only(const char *at) {
    for (;;) {
        if (*at == '/' || *at == '\0') {
            return false;
        }
        if (*at == '.') {
            const char *behind = at[1] == '.' ? at + 2 : at + 1;
            if (*behind == '/' || *behind == '\0') {
                return false;
            }
        }
        at = strchr(at, '/');
        if (!at) {
            return true;
        }
        at++;
    }
}

const char *plain_path(int dirfd, const char *path, char *room, size_t size) {
    if (path[0] == '/') {
        return has_names_only(path + 1) ? path : NULL;
    }
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
    }
    if (dirfd != AT_FDCWD || !has_names_only(path)) {
        return NULL;
    }
    long length = SYS_CALL(SYS_getcwd, room, size, 0, 0, 0, 0); /* with the zero */
    size_t name = strlen(path) + 1;
    if (length < 2 || room[0] != '/' || (size_t)length + name > size) {
        return NULL; /* "(unreachable)/...", or too long */
    }
    size_t end = length == 2 ? 0 : (size_t)length - 1;
    room[end] = '/';
    memcpy(room + end + 1, path, name);
    return room;
}
