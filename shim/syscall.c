/*
 * The function syscall(2): some programs open, close and duplicate with it
 * (libuv, so node, closes that way), to get around wrappers in libc.
 *
 * Any other number has to reach libc without a frame of ours on the stack:
 * vfork and clone return twice, the second time to a frame that is gone. So the
 * edge is in assembler, looks at the number alone and jumps.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "shim/close.h"
#include "shim/dup.h"
#include "shim/open.h"
#include "shim/real.h"
#include "shim/start.h"
#include "shim/syscall.h"
#include "shim/wrap.h"

#define NUMBER_(number) #number
#define NUMBER(number) NUMBER_(number)

#if defined(__x86_64__) && !defined(__ILP32__)
#define IF_IT_IS(number) "    cmpq $" NUMBER(number) ", %rdi\n    je 1f\n"
__asm__(".text\n"
        "    .globl syscall\n"
        "    .type syscall, @function\n"
        "syscall:\n"
        "    endbr64\n" IF_IT_IS(SYS_open) IF_IT_IS(SYS_openat) IF_IT_IS(SYS_openat2)
            IF_IT_IS(SYS_creat) IF_IT_IS(SYS_close) IF_IT_IS(SYS_close_range) IF_IT_IS(SYS_dup)
                IF_IT_IS(SYS_dup2) IF_IT_IS(SYS_dup3)
                    IF_IT_IS(SYS_fcntl) "    jmp *syscall_next(%rip)\n"
                                        "1:  jmp syscall_followed\n"
                                        "    .size syscall, . - syscall\n");
#elif defined(__aarch64__)
#define IF_IT_IS(number) "    cmp x0, #" NUMBER(number) "\n    b.eq 1f\n"
__asm__(".text\n"
        "    .globl syscall\n"
        "    .type syscall, %function\n"
        "syscall:\n"
        "    hint #34\n" /* bti c */
        IF_IT_IS(SYS_openat) IF_IT_IS(SYS_openat2) IF_IT_IS(SYS_close) IF_IT_IS(SYS_close_range)
            IF_IT_IS(SYS_dup) IF_IT_IS(SYS_dup3)
                IF_IT_IS(SYS_fcntl) "    adrp x16, syscall_next\n"
                                    "    ldr x16, [x16, :lo12:syscall_next]\n"
                                    "    br x16\n"
                                    "1:  b syscall_followed\n"
                                    "    .size syscall, . - syscall\n");
#endif

#ifdef IF_IT_IS

/* Until start.c has found the next one. */
static long raw_syscall(long number, long a, long b, long c, long d, long e, long f) {
    long result = sys_call6(number, a, b, c, d, e, f);
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* Read by the assembler above alone. */
__attribute__((visibility("hidden"), used)) syscall_function *syscall_next = raw_syscall;

void syscall_found(void) {
    if (real.syscall) {
        syscall_next = (syscall_function *)(void (*)(void))real.syscall;
    }
}

static int next_openat(const struct opening *o) {
    return (int)syscall_next(SYS_openat, o->dirfd, (long)o->path, o->flags, o->mode, 0, 0);
}

static int next_close(int fd) {
    return (int)syscall_next(SYS_close, fd, 0, 0, 0, 0, 0);
}

static int next_close_range(unsigned first, unsigned last, int flags) {
    return (int)syscall_next(SYS_close_range, first, last, flags, 0, 0, 0);
}

static int next_dup(int fd) {
    return (int)syscall_next(SYS_dup, fd, 0, 0, 0, 0, 0);
}

#ifdef SYS_dup2
static int next_dup2(int from, int to) {
    return (int)syscall_next(SYS_dup2, from, to, 0, 0, 0, 0);
}
#endif

static int next_dup3(int from, int to, int flags) {
    return (int)syscall_next(SYS_dup3, from, to, flags, 0, 0, 0);
}

static int next_fcntl(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    long argument = (long)va_arg(more, void *);
    va_end(more);
    return (int)syscall_next(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

/* openat2 can ask for more than open (RESOLVE_BENEATH), so the call is made as
 * it is, between the lock and the descriptor's place in the table. */
static int openat2_any(int dirfd, const char *path, const struct sys_open_how *how, size_t size) {
    struct opening opening = OPENING(dirfd, path, 0, 0);
    enum opening_way way = OPENING_PLAIN;
    if (shim_is_active() && how && size >= sizeof(*how)) {
        opening.flags = (int)how->flags;
        opening.mode = (mode_t)how->mode;
        if (how->resolve & SYS_RESOLVE_IN_ROOT) {
            for (; path && *opening.path == '/'; opening.path++) {
            }
        }
        way = opening_begin(&opening);
    }
    if (way == OPENING_FAILED) {
        errno = opening.error;
        return -1;
    }
    int fd = (int)syscall_next(SYS_openat2, dirfd, (long)path, (long)how, (long)size, 0, 0);
    int saved = errno;
    if (way == OPENING_LOCKED) {
        opening_bind(&opening, fd);
    } else {
        opening_plain(fd);
    }
    errno = saved;
    return fd;
}

__attribute__((visibility("hidden"), used)) long syscall_followed(long number, long a, long b,
                                                                  long c, long d, long e, long f) {
    switch (number) {
#ifdef SYS_open
    case SYS_open:
        return open_any(OPENING(AT_FDCWD, (const char *)a, (int)b, (mode_t)c), next_openat);
    case SYS_creat:
        return open_any(OPENING(AT_FDCWD, (const char *)a, O_CREAT | O_WRONLY | O_TRUNC, (mode_t)b),
                        next_openat);
#endif
    case SYS_openat:
        return open_any(OPENING((int)a, (const char *)b, (int)c, (mode_t)d), next_openat);
    case SYS_openat2:
        return openat2_any((int)a, (const char *)b, (const struct sys_open_how *)c, (size_t)d);
    case SYS_close:
        return close_any((int)a, next_close);
    case SYS_close_range:
        return close_range_any((unsigned)a, (unsigned)b, (int)c, next_close_range);
    case SYS_dup:
        return dup_any((int)a, next_dup);
#ifdef SYS_dup2
    case SYS_dup2:
        return dup2_any((int)a, (int)b, next_dup2);
#endif
    case SYS_dup3:
        return dup3_any((int)a, (int)b, (int)c, next_dup3);
    case SYS_fcntl:
        return fcntl_any((int)a, (int)b, (void *)c, next_fcntl);
    default:
        return syscall_next(number, a, b, c, d, e, f);
    }
}

#else

void syscall_found(void) {
}

#endif
