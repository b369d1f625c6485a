/* Which file it is: the quicker system calls say the same as statx(2), by which
 * libautolock and /proc/locks know it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/sys_linux.h"

static void compare(int fd, const char *path) {
    struct sys_identity file;
    struct sys_stat stat;
    int flags = path ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
    cr_assert_eq(sys_stat(fd, path ? path : "", flags, &stat), 0);
    cr_assert_eq(sys_identify(fd, path, &file), 0);
    cr_assert_eq(file.device, (uint64_t)stat.dev_major << 32 | stat.dev_minor);
    cr_assert_eq(file.inode, stat.ino);
    cr_assert_eq(file.mode, stat.mode);
}

Test(identity, of_a_path_and_of_a_descriptor) {
    static const char *const paths[] = {"/",          "/etc/passwd",    "/dev/null", "/dev/shm",
                                        "/proc/self", "/proc/self/exe", "/sys"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        compare(AT_FDCWD, paths[i]);
        int fd = open(paths[i], O_PATH | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        compare(fd, NULL);
        (void)close(fd);
    }
}

Test(identity, of_a_link_itself) {
    struct sys_identity file;
    cr_assert_eq(sys_identify(AT_FDCWD, "/proc/self/exe", &file), 0);
    cr_assert(S_ISLNK(file.mode));
}

Test(identity, of_nothing) {
    struct sys_identity file;
    cr_assert_eq(sys_identify(AT_FDCWD, "/nowhere/at all", &file), -ENOENT);
    cr_assert_eq(sys_identify(-1, NULL, &file), -EBADF);
}

/* As the kernel packs them: 12 bits of major, 20 of minor, which makedev(3) does too. */
Test(identity, device_numbers) {
    static const unsigned majors[] = {0, 1, 8, 253, 259, 511, 4095},
                          minors[] = {0, 1, 46, 255, 256, 4096, 65536, 1048575};
    for (size_t i = 0; i < sizeof(majors) / sizeof(majors[0]); i++) {
        for (size_t j = 0; j < sizeof(minors) / sizeof(minors[0]); j++) {
            cr_assert_eq(sys_device(makedev(majors[i], minors[j])),
                         (uint64_t)majors[i] << 32 | minors[j]);
        }
    }
}
