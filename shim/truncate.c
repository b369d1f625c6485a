/*
 * truncate: edges over naming.h. There is no call for a file in an open
 * directory, and a descriptor of the file must not be opened and closed beside
 * the program's (contract O7), so the path goes through the directory's entry
 * in /proc.
 */
#include <errno.h>
#include <stdint.h>

#include "shim/naming.h"
#include "shim/real.h"
#include "shim/start.h"
#include "shim/text.h"
#include "shim/wrap.h"

typedef int real_truncate(const char *path, int64_t length);

/* A name that matches no rule may still be a link to one that does. */
static bool may_lead_to_match(const char *path) {
    char first[2];
    return target_may_match(path) || sys_readlinkat(AT_FDCWD, path, first, sizeof(first)) > 0;
}

static int truncate_any(const char *path, int64_t length, real_truncate *call) {
    if (!shim_is_active() || !path || length < 0 || !may_lead_to_match(path)) {
        return call(path, length);
    }
    struct naming_name name = {.dirfd = AT_FDCWD, .path = path, .role = NAMING_CUT};
    int r = naming_begin(&name, 1);
    if (r < 0) {
        errno = -r;
        return -1;
    }
    TEXT(room, TARGET_NAME_SIZE);
    int result = call(name.target ? target_name(name.target, path, &room) : path, length);
    int saved = errno;
    naming_end(&name, 1, result == 0);
    errno = saved;
    return result;
}

static int real_truncate_plain(const char *path, int64_t length) {
    return real.truncate(path, (off_t)length);
}
int wrap_truncate(const char *path, off_t length) {
    return truncate_any(path, length, real_truncate_plain);
}

static int real_truncate64(const char *path, int64_t length) {
    return real.truncate64(path, length);
}
int wrap_truncate64(const char *path, int64_t length) {
    return truncate_any(path, length, real_truncate64);
}
