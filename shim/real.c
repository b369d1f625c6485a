#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include "lib/sys_linux.h"
#include "shim/syscall.h"
/* Last: it takes back names that headers define as macros. */
#include "shim/real.h"

/* A raw result, as libc's functions return it. */
static int as_libc(int r) {
    if (r < 0) {
        errno = -r;
        return -1;
    }
    return r;
}

static unsigned mode_argument(int flags, va_list *more) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(*more, unsigned) : 0;
}

static int raw_open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    unsigned mode = mode_argument(flags, &more);
    va_end(more);
    return as_libc(sys_openat(AT_FDCWD, path, flags | O_LARGEFILE, mode));
}

static int raw_openat(int dirfd, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    unsigned mode = mode_argument(flags, &more);
    va_end(more);
    return as_libc(sys_openat(dirfd, path, flags | O_LARGEFILE, mode));
}

static int raw_creat(const char *path, mode_t mode) {
    return as_libc(sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode));
}

static int raw_close(int fd) {
    return as_libc(sys_close(fd));
}

static int raw_dup(int fd) {
    return as_libc((int)SYS_CALL(SYS_dup, fd, 0, 0, 0, 0, 0));
}

static int raw_dup3(int from, int to, int flags) {
    return as_libc(sys_dup3(from, to, flags));
}

static int raw_dup2(int from, int to) {
    if (from == to) { /* dup3 refuses it; not every architecture has dup2 */
        int r = sys_fcntl(from, F_GETFD, 0);
        return r < 0 ? as_libc(r) : to;
    }
    return raw_dup3(from, to, 0);
}

static int raw_fcntl(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    long argument = (long)va_arg(more, void *);
    va_end(more);
    return as_libc(sys_fcntl(fd, command, argument));
}

static int raw_ioctl(int fd, IOCTL_REQUEST request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    return as_libc((int)SYS_CALL(SYS_ioctl, fd, request, argument, 0, 0, 0));
}

static void raw_exit(int status) {
    for (;;) {
        (void)SYS_CALL(SYS_exit_group, status, 0, 0, 0, 0, 0);
    }
}

static pid_t raw_fork(void) {
    return as_libc((int)SYS_CALL(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));
}

/* Takes a stack and a function, which no raw call of ours can. */
static int no_clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
    (void)function, (void)stack, (void)flags, (void)argument;
    return as_libc(-ENOSYS);
}

static int raw_flock(int fd, int operation) {
    return as_libc(sys_flock(fd, operation));
}

static int raw_renameat2(int from_directory, const char *from, int to_directory, const char *to,
                         unsigned flags) {
    return as_libc((int)SYS_CALL(SYS_renameat2, from_directory, from, to_directory, to, flags, 0));
}

static int raw_renameat(int from_directory, const char *from, int to_directory, const char *to) {
    return raw_renameat2(from_directory, from, to_directory, to, 0);
}

static int raw_rename(const char *from, const char *to) {
    return raw_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int raw_unlinkat(int directory, const char *path, int flags) {
    return as_libc((int)SYS_CALL(SYS_unlinkat, directory, path, flags, 0, 0, 0));
}

static int raw_unlink(const char *path) {
    return raw_unlinkat(AT_FDCWD, path, 0);
}

static int raw_remove(const char *path) {
    int r = (int)SYS_CALL(SYS_unlinkat, AT_FDCWD, path, 0, 0, 0, 0);
    return r == -EISDIR ? raw_unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : as_libc(r);
}
#ifndef __GLIBC__
static int raw_posix_close(int fd, int flags) {
    (void)flags;
    return raw_close(fd);
}
#endif

#ifdef __GLIBC__
static int raw_open_2(const char *path, int flags) {
    return as_libc(sys_openat(AT_FDCWD, path, flags | O_LARGEFILE, 0));
}

static int raw_openat_2(int dirfd, const char *path, int flags) {
    return as_libc(sys_openat(dirfd, path, flags | O_LARGEFILE, 0));
}

static int raw_close_range(unsigned first, unsigned last, int flags) {
    return as_libc((int)SYS_CALL(SYS_close_range, first, last, flags, 0, 0, 0));
}

static void raw_closefrom(int first) {
    (void)raw_close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}
#endif

/* ISO C knows no way from dlsym's pointer to a function but this one. */
#define FIND(member, name) (*(void **)&(member) = dlsym(RTLD_NEXT, name))

/* Only called while the others are being looked up, by a malloc that opens a
 * stream as it starts. */
static FILE *early_fopen(const char *path, const char *mode) {
    FILE *(*function)(const char *, const char *);
    FIND(function, "fopen");
    return function(path, mode);
}

static FILE *early_freopen(const char *path, const char *mode, FILE *stream) {
    FILE *(*function)(const char *, const char *, FILE *);
    FIND(function, "freopen");
    return function(path, mode, stream);
}

static int early_fclose(FILE *stream) {
    int (*function)(FILE *);
    FIND(function, "fclose");
    return function(stream);
}

static void *raw_mmap64(void *address, size_t length, int protection, int flags, int fd,
                        int64_t offset) {
    long result = sys_mmap(address, length, protection, flags, fd, offset);
    return sys_is_error(result) ? (as_libc((int)result), MAP_FAILED) : (void *)result;
}

static void *raw_mmap(void *address, size_t length, int protection, int flags, int fd,
                      off_t offset) {
    return raw_mmap64(address, length, protection, flags, fd, offset);
}

static int raw_munmap(void *address, size_t length) {
    return as_libc((int)SYS_CALL(SYS_munmap, address, length, 0, 0, 0, 0));
}

static void *raw_mremap(void *old, size_t old_length, size_t new_length, int flags, ...) {
    va_list more;
    va_start(more, flags);
    void *wanted = va_arg(more, void *);
    va_end(more);
    long result = SYS_CALL(SYS_mremap, old, old_length, new_length, flags, wanted, 0);
    return sys_is_error(result) ? (as_libc((int)result), MAP_FAILED) : (void *)result;
}

/* How lengths are passed differs between architectures, so these go to libc. */
static int early_truncate(const char *path, off_t length) {
    int (*function)(const char *, off_t);
    FIND(function, "truncate");
    return function(path, length);
}

static int early_truncate64(const char *path, int64_t length) {
    int (*function)(const char *, int64_t);
    FIND(function, "truncate64");
    return function(path, length);
}

struct real real = {
    .open = raw_open,
    .open64 = raw_open,
    .openat = raw_openat,
    .openat64 = raw_openat,
    .creat = raw_creat,
    .creat64 = raw_creat,
    .fopen = early_fopen,
    .fopen64 = early_fopen,
    .freopen = early_freopen,
    .freopen64 = early_freopen,
    .fclose = early_fclose,
    .close = raw_close,
    .dup = raw_dup,
    .dup2 = raw_dup2,
    .dup3 = raw_dup3,
    .fcntl = raw_fcntl,
    .ioctl = raw_ioctl,
    ._exit = raw_exit,
    ._Exit = raw_exit,
    ._Fork = raw_fork,
    .clone = no_clone,
    .flock = raw_flock,
    .rename = raw_rename,
    .renameat = raw_renameat,
    .renameat2 = raw_renameat2,
    .unlink = raw_unlink,
    .unlinkat = raw_unlinkat,
    .remove = raw_remove,
    .truncate = early_truncate,
    .truncate64 = early_truncate64,
    .mmap = raw_mmap,
    .mmap64 = raw_mmap64,
    .munmap = raw_munmap,
    .mremap = raw_mremap,
#ifdef __GLIBC__
    ._IO_fopen = early_fopen,
    ._IO_fclose = early_fclose,
    .__open = raw_open,
    .__open64 = raw_open,
    .__open_2 = raw_open_2,
    .__open64_2 = raw_open_2,
    .__openat_2 = raw_openat_2,
    .__openat64_2 = raw_openat_2,
    .__close = raw_close,
    .close_range = raw_close_range,
    .closefrom = raw_closefrom,
    .__dup2 = raw_dup2,
    .fcntl64 = raw_fcntl,
    .__fcntl = raw_fcntl,
    .__clone = no_clone,
#else
    .posix_close = raw_posix_close,
#endif
};

struct search {
    uintptr_t address;
    const ElfW(Phdr) *found; /* the program headers of the object that has it */
};

static int look_in(struct dl_phdr_info *object, size_t size, void *data) {
    struct search *search = data;
    (void)size;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type == PT_LOAD &&
            search->address - object->dlpi_addr - part->p_vaddr < part->p_memsz) {
            search->found = object->dlpi_phdr;
            return 1;
        }
    }
    return 0;
}

/* dladdr(3) would look at each of libc's symbols as well, whenever a program
 * starts. */
static const void *object_of(const void *function) {
    struct search search = {.address = (uintptr_t)function};
    (void)dl_iterate_phdr(look_in, &search);
    return search.found;
}

void real_look_up(void *member, const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found) { /* an older libc may lack a newer name: the raw call stays */
        *(void **)member = found;
    }
}

void real_find(void) {
#define WRAP(result, name, parameters) real_look_up((void *)&real.name, #name);
#include "shim/symbols.def"
    syscall_found();
    const void *libc = object_of(dlsym(RTLD_NEXT, "gnu_get_libc_version"));
    if (!libc) { /* musl, where libc and the loader are one object */
        libc = object_of(dlsym(RTLD_NEXT, "__libc_start_main"));
    }
    const void *next_open;
    *(void **)&next_open = *(void **)&real.open;
    real.open_is_libc = libc && object_of(next_open) == libc;
}
