#include "shim/belongs.h"

#include <string.h>

#include "config/sidecar_path.h"
#include "lib/sidecar.h"
#include "lib/sys_linux.h"
#include "shim/observe.h"
#include "shim/text.h"

#define PATH_SIZE 4096 /* longer ones cannot be told */

static const char suffix[] = SIDECAR_SUFFIX;

static void cut_end(char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    if (length > tail && strcmp(path + length - tail, end) == 0) {
        path[length - tail] = '\0';
    }
}

/* The name of an open file; false when there is none. One that is deleted is
 * still the file of that name. */
static bool name_of(int fd, char path[PATH_SIZE]) {
    TEXT(link, 40);
    text_put_descriptor(&link, fd);
    ssize_t n = sys_readlinkat(AT_FDCWD, link.start, path, PATH_SIZE - sizeof(suffix));
    if (n <= 0 || n == PATH_SIZE - (ssize_t)sizeof(suffix)) {
        return false;
    }
    path[n] = '\0';
    cut_end(path, " (deleted)");
    return true;
}

static bool is_regular(int fd, struct sys_stat *ret) {
    return sys_fstat(fd, ret) == 0 && S_ISREG(ret->mode);
}

static bool is_at(const char *path, const struct sys_stat *sidecar) {
    struct sys_stat stat;
    return sys_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &stat) == 0 &&
           sidecar_same(sidecar_id_of(&stat), sidecar_id_of(sidecar));
}

/* As names, and as files: a file can be reached by several mounts, and a sidecar
 * that we have made goes by the name that it had before (open(2), O_TMPFILE). */
static enum belongs compare(int sidecar, const struct sys_stat *stat, int fd, char *paths) {
    char *data = paths, *lock = paths + PATH_SIZE, elsewhere[SIDECAR_NAME_SIZE];
    if (!name_of(fd, data) || !name_of(sidecar, lock)) {
        return BELONGS_MAYBE;
    }
    char *slash = strrchr(lock, '/');
    size_t length = strlen(data);
    memcpy(data + length, suffix, sizeof(suffix));
    if (strcmp(data, lock) == 0 || is_at(data, stat)) {
        return BELONGS;
    }
    data[length] = '\0';
    if (!slash || slash - lock > LOCKDIR_MAX) {
        return BELONGS_NOT;
    }
    *slash = '\0';
    return sidecar_name(data, lock, elsewhere) && is_at(elsewhere, stat) ? BELONGS : BELONGS_NOT;
}

enum belongs belongs(int sidecar, int fd) {
    struct sys_stat stat, data;
    if (!is_regular(sidecar, &stat) || !is_regular(fd, &data)) {
        return BELONGS_NOT;
    }
    int observed = observe_belongs(sidecar, fd);
    if (observed >= 0) {
        return observed ? BELONGS : BELONGS_NOT;
    }
    char *paths = sys_map(2 * PATH_SIZE);
    if (!paths) {
        return BELONGS_MAYBE;
    }
    enum belongs answer = compare(sidecar, &stat, fd, paths);
    sys_unmap(paths, 2 * PATH_SIZE);
    return answer;
}
