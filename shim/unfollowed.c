#include "shim/unfollowed.h"

#include <errno.h>
#include <sys/stat.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/text.h"

#define ATTEMPTS 100 /* at a name that comes and goes */

static const struct sidecar_id NO_ID;

static int call(int directory, const char *name, int flags, mode_t mode) {
    int saved = errno;
    int r = real.openat(directory, name, flags, mode);
    r = r < 0 ? -errno : r;
    errno = saved;
    return r;
}

/* The file itself, out of the way of the program's numbers. */
static int pin(int directory, const char *name) {
    int fd = sys_openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    struct sys_stat stat;
    int r = sys_fstat(fd, &stat);
    if (r == 0) {
        r = S_ISLNK(stat.mode) ? -ELOOP : hidden_make(fd, MODE_NOTHING, NO_ID);
    }
    (void)sys_close(fd);
    return r;
}

/* By its entry in /proc, which leads to it whatever its name is now. -ENOENT: there is
 * no /proc. */
static int open_pinned(int pinned, int flags, mode_t mode) {
    TEXT(path, 48);
    text_put(&path, "/proc/thread-self/fd/");
    text_put_number(&path, (uint64_t)(unsigned)pinned, 10);
    return call(AT_FDCWD, path.start, flags & ~O_CREAT, mode);
}

/* The kernel refuses to write to somebody else's file in such a directory to one who might
 * have made it (fs.protected_regular, sysctl(8)): that has to be asked by the name. */
static bool is_sticky(int directory) {
    struct sys_stat stat;
    return sys_fstat(directory, &stat) == 0 && stat.mode & S_ISVTX;
}

/* A library behind us that goes by names has to see this one. */
static bool goes_by_name(int directory, int flags) {
    return !real.open_is_libc || (flags & O_CREAT && is_sticky(directory));
}

int unfollowed_open(int directory, const char *name, int flags, mode_t mode) {
    if (flags & O_NOFOLLOW || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return call(directory, name, flags, mode); /* O_EXCL follows no link either */
    }
    int r = -ENOENT;
    for (int i = 0; i < ATTEMPTS && !goes_by_name(directory, flags); i++) {
        int pinned = pin(directory, name);
        if (pinned >= 0) {
            r = open_pinned(pinned, flags, mode);
            hidden_close(pinned);
            break;
        }
        if (pinned == -EMFILE || pinned == -ENFILE) {
            break; /* it takes more numbers at once than the call that was meant */
        }
        if (pinned != -ENOENT || !(flags & O_CREAT)) {
            return pinned;
        }
        r = call(directory, name, flags | O_EXCL, mode);
        if (r != -EEXIST) {
            return r;
        }
    }
    return r == -ENOENT || r == -EEXIST ? call(directory, name, flags | O_NOFOLLOW, mode) : r;
}
