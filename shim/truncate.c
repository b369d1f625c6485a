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

static int call_below(const struct naming_name *name, int64_t length, real_truncate *call) {
    TEXT(path, 320);
    text_put(&path, "/proc/thread-self/fd/");
    text_put_number(&path, (uint64_t)(unsigned)naming_directory(name), 10);
    text_put(&path, "/");
    text_put(&path, naming_path(name));
    return call(path.start, length);
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
    bool by_directory = name.target && !name.target->where.via_proc;
    int result = by_directory ? call_below(&name, length, call) : call(path, length);
    int saved = errno;
    naming_end(&name, 1);
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
