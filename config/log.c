#include "config/log.h"

#include <errno.h>
#include <string.h>

#include "config/sources.h"
#include "lib/sys_linux.h"

/* The value as an absolute path. */
static bool make_absolute(char *ret, size_t size, const char *path) {
    size_t length = 0;
    if (path[0] != '/') {
        /* getcwd(2) counts the zero at the end. */
        long n = SYS_CALL(SYS_getcwd, ret, size, 0, 0, 0, 0);
        if (n <= 1 || ret[0] != '/') {
            return false;
        }
        length = (size_t)n - 1;
        if (ret[length - 1] != '/' && length + 1 < size) {
            ret[length++] = '/';
        }
    }
    size_t rest = strlen(path) + 1;
    if (length + rest > size) {
        return false;
    }
    memcpy(ret + length, path, rest);
    return true;
}

/* Whether a missing file could be made. */
static bool directory_is_writable(char *path) {
    char *slash = strrchr(path, '/');
    char after = slash[1];
    slash[1] = '\0';
    int r = (int)SYS_CALL(SYS_faccessat2, AT_FDCWD, path, 2 /* W_OK */, AT_EACCESS, 0, 0);
    slash[1] = after;
    return r == 0 || r == -ENOSYS || r == -EPERM;
}

static bool can_be_written(char *path) {
    int fd = sys_openat(AT_FDCWD, path,
                        O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0);
    if (fd >= 0) {
        (void)sys_close(fd);
        return true;
    }
    /* ENXIO: a FIFO that nobody reads just now. */
    return fd == -ENXIO || (fd == -ENOENT && directory_is_writable(path));
}

int log_settings_read(struct log_settings *ret, char *const *environment, rules_report *report,
                      void *data) {
    struct faults faults = {report, data, 0};
    ret->to = LOG_TO_STDERR;
    ret->debug = false;
    const char *to = sources_variable(environment, "AUTOLOCK_LOG");
    if (to && strcmp(to, "syslog") == 0) {
        ret->to = LOG_TO_SYSLOG;
    } else if (to && to[0] != '\0') {
        if (make_absolute(ret->path, sizeof(ret->path), to) && can_be_written(ret->path)) {
            ret->to = LOG_TO_FILE;
        } else {
            faults_add(&faults, "AUTOLOCK_LOG", to,
                       "not a file that can be written to (links are not followed); name "
                       "another one, or syslog");
        }
    }
    const char *level = sources_variable(environment, "AUTOLOCK_LOG_LEVEL");
    if (level && strcmp(level, "debug") == 0) {
        ret->debug = true;
    } else if (level && level[0] != '\0' && strcmp(level, "warning") != 0) {
        faults_add(&faults, "AUTOLOCK_LOG_LEVEL", level, "unknown value; known are warning, debug");
    }
    return faults.count;
}
