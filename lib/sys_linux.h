/*
 * System calls, without libc in between.
 *
 * This code lives inside other people's processes, where open, close and even
 * syscall may be somebody's wrapper (in libautolock they are ours), where errno
 * is the program's, and where a thread may be cancelled. A raw call returns the
 * result or a negative errno value, touches nothing else, is no cancellation
 * point, and is async-signal-safe.
 *
 * Source: syscall(2), and the kernel's Documentation for the calling
 * convention of each architecture. Other architectures go through libc.
 */
#ifndef FILELOCK_SYS_LINUX_H
#define FILELOCK_SYS_LINUX_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#if defined(__x86_64__) && !defined(__ILP32__)
static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#include <errno.h>
#include <unistd.h>
static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f) {
    int saved = errno;
    long result = syscall(number, a, b, c, d, e, f);
    if (result == -1) {
        result = -errno;
        errno = saved;
    }
    return result;
}
#endif

#define SYS_CALL(number, a, b, c, d, e, f)                                                         \
    sys_call6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int sys_openat(int dirfd, const char *path, int flags, unsigned mode) {
    return (int)SYS_CALL(SYS_openat, dirfd, path, flags, mode, 0, 0);
}

/* openat2(2), Linux 5.6; libc headers that do not know it are still about. */
struct sys_open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define SYS_RESOLVE_NO_SYMLINKS 0x04
#define SYS_RESOLVE_IN_ROOT 0x10

static inline int sys_openat2(int dirfd, const char *path, const struct sys_open_how *how) {
    return (int)SYS_CALL(SYS_openat2, dirfd, path, how, sizeof(*how), 0, 0);
}

static inline int sys_close(int fd) {
    return (int)SYS_CALL(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline int sys_fcntl(int fd, int command, long argument) {
    return (int)SYS_CALL(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

static inline int sys_dup3(int from, int to, int flags) {
    return (int)SYS_CALL(SYS_dup3, from, to, flags, 0, 0, 0);
}

static inline int sys_flock(int fd, int operation) {
    return (int)SYS_CALL(SYS_flock, fd, operation, 0, 0, 0, 0);
}

/*
 * statx(2), Linux 4.11: one layout on every architecture, unlike struct stat.
 * Named here because not every libc knows it (musl before 1.2.5), nor all of
 * its fields.
 */
struct sys_stat_time {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t reserved;
};
struct sys_stat {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct sys_stat_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mnt_id; /* Linux 5.8, where mask has SYS_STATX_MNT_ID */
    uint64_t spare[13];
};
_Static_assert(sizeof(struct sys_stat) == 256, "the kernel's struct statx");
#define SYS_STATX_BASIC 0x7ffu
#define SYS_STATX_MNT_ID 0x1000u

/* Everything that stat(2) tells. flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH. */
static inline int sys_stat(int dirfd, const char *path, int flags, struct sys_stat *ret) {
    return (int)SYS_CALL(SYS_statx, dirfd, path, flags, SYS_STATX_BASIC | SYS_STATX_MNT_ID, ret, 0);
}

static inline int sys_fstat(int fd, struct sys_stat *ret) {
    return sys_stat(fd, "", AT_EMPTY_PATH, ret);
}

/* Of stat(2), which file it is, and of what kind. */
struct sys_identity {
    uint64_t device; /* major << 32 | minor */
    uint64_t inode;
    unsigned mode;
};

/* How the kernel packs a device's numbers for those of its calls that have one word for
 * them (new_encode_dev of its headers). */
static inline uint64_t sys_device(uint64_t packed) {
    return (packed >> 8 & 0xfff) << 32 | (packed & 0xff) | (packed >> 12 & 0xfff00);
}

/* The older calls are quicker, since they tell less; taken where libc's struct stat is
 * known to be the kernel's. path: NULL for fd itself; else a name in that directory,
 * no link is followed. */
static inline int sys_identify(int fd, const char *path, struct sys_identity *ret) {
    *ret = (struct sys_identity){0};
#if (defined(__x86_64__) && !defined(__ILP32__)) || defined(__aarch64__)
    struct stat stat;
    int r = (int)(path ? SYS_CALL(SYS_newfstatat, fd, path, &stat, AT_SYMLINK_NOFOLLOW, 0, 0)
                       : SYS_CALL(SYS_fstat, fd, &stat, 0, 0, 0, 0));
    if (r == 0) {
        *ret = (struct sys_identity){sys_device(stat.st_dev), stat.st_ino, stat.st_mode};
    }
#else
    struct sys_stat stat;
    int r = path ? sys_stat(fd, path, AT_SYMLINK_NOFOLLOW, &stat) : sys_fstat(fd, &stat);
    if (r == 0) {
        *ret = (struct sys_identity){(uint64_t)stat.dev_major << 32 | stat.dev_minor, stat.ino,
                                     stat.mode};
    }
#endif
    return r;
}

static inline ssize_t sys_readlinkat(int dirfd, const char *path, char *ret, size_t size) {
    return (ssize_t)SYS_CALL(SYS_readlinkat, dirfd, path, ret, size, 0, 0);
}

static inline ssize_t sys_read(int fd, void *ret, size_t size) {
    return (ssize_t)SYS_CALL(SYS_read, fd, ret, size, 0, 0, 0);
}

/* lseek to the end. 0 or an errno value. */
static inline int sys_seek_end(int fd) {
#ifdef SYS__llseek
    int64_t at;
    return (int)SYS_CALL(SYS__llseek, fd, 0, 0, &at, SEEK_END, 0);
#else
    long r = SYS_CALL(SYS_lseek, fd, 0, SEEK_END, 0, 0, 0);
    return r < 0 ? (int)r : 0;
#endif
}

static inline ssize_t sys_write(int fd, const void *data, size_t size) {
    return (ssize_t)SYS_CALL(SYS_write, fd, data, size, 0, 0, 0);
}

static inline ssize_t sys_getdents64(int fd, void *ret, size_t size) {
    return (ssize_t)SYS_CALL(SYS_getdents64, fd, ret, size, 0, 0, 0);
}

/* On 32-bit machines where time_t has 64 bits, other numbers take it. */
#if defined(SYS_clock_nanosleep_time64) && defined(SYS_timer_settime64)
#define SYS_TIME64(name, name64) (sizeof(time_t) > sizeof(long) ? name64 : name)
#else
#define SYS_TIME64(name, name64) (name)
#endif

static inline int sys_clock(clockid_t clock, struct timespec *ret) {
    return (int)SYS_CALL(SYS_TIME64(SYS_clock_gettime, SYS_clock_gettime64), clock, ret, 0, 0, 0,
                         0);
}

/* Relative, of CLOCK_MONOTONIC. */
static inline int sys_sleep(const struct timespec *duration) {
    return (int)SYS_CALL(SYS_TIME64(SYS_clock_nanosleep, SYS_clock_nanosleep_time64),
                         CLOCK_MONOTONIC, 0, duration, NULL, 0, 0);
}

/* For who needs what another thread is just doing. sched_yield(2) would not do: a thread
 * with a real-time priority lets none run that has a lower one. */
static inline void sys_let_others_run(void) {
    const struct timespec moment = {.tv_nsec = 20000};
    (void)sys_sleep(&moment);
}

static inline int sys_timer_settime(int timer, int flags, const struct itimerspec *when) {
    return (int)SYS_CALL(SYS_TIME64(SYS_timer_settime, SYS_timer_settime64), timer, flags, when,
                         NULL, 0, 0);
}

static inline pid_t sys_getpid(void) {
    return (pid_t)SYS_CALL(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline pid_t sys_gettid(void) {
    return (pid_t)SYS_CALL(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* On 32-bit machines the older number has user ids of 16 bits. */
static inline uid_t sys_geteuid(void) {
#ifdef SYS_geteuid32
    long number = SYS_geteuid32;
#else
    long number = SYS_geteuid;
#endif
    return (uid_t)SYS_CALL(number, 0, 0, 0, 0, 0, 0);
}

/* mmap(2): an address, or a negative errno value. On 32-bit x86 the number of mmap means
 * an older call with one argument, which s390 has to this day. */
static inline long sys_mmap(void *address, size_t size, int protection, int flags, int fd,
                            int64_t offset) {
#ifdef SYS_mmap2
    return SYS_CALL(SYS_mmap2, address, size, protection, flags, fd, offset / 4096);
#elif defined(__s390__)
    const long arguments[] = {(long)address, (long)size, protection, flags, fd, (long)offset};
    return SYS_CALL(SYS_mmap, arguments, 0, 0, 0, 0, 0);
#else
    return SYS_CALL(SYS_mmap, address, size, protection, flags, fd, offset);
#endif
}

static inline bool sys_is_error(long result) {
    return result < 0 && result > -4096;
}

/* Zeroed private memory in whole pages that costs nothing until it is touched;
 * NULL when there is none. */
static inline void *sys_map(size_t size) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long result = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    return sys_is_error(result) ? NULL : (void *)result;
}

/* A directory to look names up in, with no symbolic link on the way to it. */
static inline int sys_open_directory(int dirfd, const char *path) {
    struct sys_open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                               .resolve = SYS_RESOLVE_NO_SYMLINKS};
    return sys_openat2(dirfd, path, &how);
}

/* Makes the pages there at once that are about to be written: cheaper than a
 * fault for each. A kernel before 5.14 makes them one by one. */
static inline void sys_populate(void *from, size_t size) {
    uintptr_t first = (uintptr_t)from & ~(uintptr_t)4095, end = (uintptr_t)from + size;
    (void)SYS_CALL(SYS_madvise, first, end - first, 23 /* MADV_POPULATE_WRITE */, 0, 0, 0);
}

/* A page of a file that can neither be read nor written: it keeps the open file
 * description alive. NULL when there is none. */
static inline void *sys_map_file(int fd) {
    long result = sys_mmap(NULL, 4096, PROT_NONE, MAP_SHARED, fd, 0);
    return sys_is_error(result) ? NULL : (void *)result;
}

static inline void sys_unmap(void *address, size_t size) {
    (void)SYS_CALL(SYS_munmap, address, size, 0, 0, 0, 0);
}

#endif
