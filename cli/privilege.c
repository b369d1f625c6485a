#include "privilege.h"

#include <endian.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* capabilities(7): the attribute holds a version with the effective flag, then
 * words of permitted and inheritable ones. */
static bool has_capabilities(int fd) {
    struct vfs_ns_cap_data data = {0};
    ssize_t size = fgetxattr(fd, "security.capability", &data, sizeof(data));
    if (size < (ssize_t)sizeof(data.magic_etc))
        return false;
    if (le32toh(data.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE)
        return true;
    for (size_t i = 0; i < sizeof(data.data) / sizeof(data.data[0]); i++)
        if (data.data[i].permitted != 0 || data.data[i].inheritable != 0)
            return true;
    return false;
}

const char *privilege_gained(int fd) {
    struct stat status;
    struct statvfs file_system;
    if (fstat(fd, &status) < 0)
        return NULL;
    if (fstatvfs(fd, &file_system) == 0 && (file_system.f_flag & ST_NOSUID))
        return NULL;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) != 1) {
        if ((status.st_mode & S_ISUID) && status.st_uid != getuid())
            return "set-user-ID";
        /* Without the group's x bit it once meant mandatory locking. */
        if ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getgid())
            return "set-group-ID";
    }
    /* Root has them all anyway, and the process does not count as secure. */
    return getuid() != 0 && has_capabilities(fd) ? "given file capabilities" : NULL;
}
