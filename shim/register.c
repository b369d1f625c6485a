#include "shim/register.h"

#include <errno.h>
#include <string.h>

#include "lib/sys_linux.h"
#include "lib/unsignalled.h"
#include "shim/text.h"

#define PATH "/dev/shm/autolock-observe"
#define FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)
#define SIZE ((off_t)sizeof(struct register_place))
#define PLACES 65536 /* the first one is the heading */

static const char heading[SIZE] = "autolock: who has which file open, under AUTOLOCK=observe\n";

/* FNV-1a, twice with other beginnings. */
void register_hash(const char *path, uint64_t ret[2]) {
    ret[0] = UINT64_C(0xcbf29ce484222325);
    ret[1] = UINT64_C(0x84222325cbf29ce4);
    for (; *path; path++) {
        for (int i = 0; i < 2; i++) {
            ret[i] = (ret[i] ^ (unsigned char)*path) * UINT64_C(0x100000001b3);
        }
    }
}

static ssize_t read_at(int fd, void *ret, size_t size, off_t at) {
    return (ssize_t)SYS_CALL(SYS_pread64, fd, ret, size, at, 0, 0);
}

/* Never written to unless it is ours beyond doubt: anybody may put something in
 * its place, a hard link to another's file above all. */
static bool is_register(int fd) {
    struct sys_stat stat;
    char found[sizeof(heading)];
    if (sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode) || stat.nlink != 1) {
        return false;
    }
    return read_at(fd, found, sizeof(found), 0) == SIZE && memcmp(found, heading, SIZE) == 0;
}

/* Made whole under no name, then given one, so that nobody finds it half made. */
static int make(void) {
    TEXT(link, 40);
    int fd = sys_openat(AT_FDCWD, "/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0) {
        return fd;
    }
    text_put_descriptor(&link, fd);
    int r = (int)SYS_CALL(SYS_fchmod, fd, 0666, 0, 0, 0, 0); /* whatever the umask */
    if (r == 0) {
        r = unsignalled_write_at(fd, heading, SIZE, 0) == SIZE ? 0 : -EIO;
    }
    if (r == 0) {
        r = (int)SYS_CALL(SYS_linkat, AT_FDCWD, link.start, AT_FDCWD, PATH, AT_SYMLINK_FOLLOW, 0);
    }
    (void)sys_close(fd);
    return r == -EEXIST ? 0 : r;
}

static int open_register(void) {
    int fd = sys_openat(AT_FDCWD, PATH, FLAGS, 0);
    if (fd == -ENOENT) {
        int r = make();
        fd = r < 0 ? r : sys_openat(AT_FDCWD, PATH, FLAGS, 0);
    }
    if (fd >= 0 && !is_register(fd)) {
        (void)sys_close(fd);
        return -EPERM;
    }
    return fd;
}

static int lock(int fd, int command, off_t at, struct flock *ret) {
    *ret = (struct flock){
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = SIZE, .l_pid = 0};
    return (int)SYS_CALL(SYS_fcntl, fd, command, ret, 0, 0, 0);
}

int register_take(const struct register_place *place) {
    int fd = open_register();
    if (fd < 0) {
        return fd;
    }
    struct flock range;
    int r = -EAGAIN;
    off_t at = 0;
    for (int i = 1; r == -EAGAIN && i < PLACES; i++) {
        at = i * SIZE;
        r = lock(fd, F_OFD_SETLK, at, &range);
    }
    if (r == 0 && unsignalled_write_at(fd, place, sizeof(*place), at) != SIZE) {
        r = -EIO;
    }
    if (r == 0) {
        (void)SYS_CALL(SYS_lseek, fd, at, SEEK_SET, 0, 0, 0);
        return fd;
    }
    (void)sys_close(fd);
    return r;
}

bool register_get(int fd, struct register_place *ret, off_t *ret_at) {
    off_t at = (off_t)SYS_CALL(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0);
    *ret_at = at;
    return at > 0 && at % SIZE == 0 && is_register(fd) &&
           read_at(fd, ret, sizeof(*ret), at) == SIZE;
}

void register_each(int fd, const uint64_t file[2],
                   void (*visit)(const struct register_place *place, void *data), void *data) {
    struct register_place place;
    struct flock range;
    /* Its own lock does not stand in a description's way. */
    for (off_t at = SIZE; read_at(fd, &place, sizeof(place), at) == SIZE; at += SIZE) {
        if (memcmp(place.file, file, sizeof(place.file)) == 0 &&
            lock(fd, F_OFD_GETLK, at, &range) == 0 && range.l_type != F_UNLCK) {
            place.name[sizeof(place.name) - 1] = '\0';
            place.path[sizeof(place.path) - 1] = '\0';
            visit(&place, data);
        }
    }
}
