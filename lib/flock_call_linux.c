#include "lib/flock_call.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "lib/signals.h"
#include "lib/sys_linux.h"

#if FLOCK_CALL_STEPS

/* In flock_call: its beginning, the system call instruction, the one behind it, and
 * the end. */
#define LABEL(name) ".hidden " #name "\n.globl " #name "\n" #name ":\n"
extern const char flock_call_begin[] __attribute__((visibility("hidden")));
extern const char flock_call_at[] __attribute__((visibility("hidden")));
extern const char flock_call_behind[] __attribute__((visibility("hidden")));
extern const char flock_call_over[] __attribute__((visibility("hidden")));

_Static_assert(offsetof(struct flock_call, in_kernel) == 0, "as below");
_Static_assert(offsetof(struct flock_call, ended) == 1, "as below");

/* One copy, so that there is one address. */
__attribute__((noinline)) int flock_call(struct flock_call *call, int fd, int operation) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile(LABEL(flock_call_begin)
                     "movb $1, (%[call])\n"
                     "cmpb $0, 1(%[call])\n"
                     "jne 1f\n"
                     LABEL(flock_call_at)
                     "syscall\n"
                     LABEL(flock_call_behind)
                     "movb $0, (%[call])\n"
                     "jmp 2f\n"
                     "1: movb $0, (%[call])\n"
                     "movq %[ended], %%rax\n"
                     "2:\n"
                     LABEL(flock_call_over)
                     : "=a"(result)
                     : "a"((long)SYS_flock), "D"((long)fd), "S"((long)operation),
                       [call] "r"(call), [ended] "i"(-ETIMEDOUT)
                     : "rcx", "r11", "memory", "cc");
    return (int)result;
#else
    register long x8 __asm__("x8") = SYS_flock;
    register long x0 __asm__("x0") = fd;
    register long x1 __asm__("x1") = operation;
    __asm__ volatile(LABEL(flock_call_begin)
                     "mov w9, #1\n"
                     "strb w9, [%[call]]\n"
                     "ldrb w9, [%[call], #1]\n"
                     "cbnz w9, 1f\n"
                     LABEL(flock_call_at)
                     "svc 0\n"
                     LABEL(flock_call_behind)
                     "strb wzr, [%[call]]\n"
                     "b 2f\n"
                     "1: strb wzr, [%[call]]\n"
                     "mov x0, %[ended]\n"
                     "2:\n"
                     LABEL(flock_call_over)
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), [call] "r"(call), [ended] "i"(-ETIMEDOUT)
                     : "x9", "memory", "cc");
    return (int)x0;
#endif
}

enum flock_call_place flock_call_end(struct flock_call *call, void *context, int result) {
    ucontext_t *interrupted = context;
    const signal_set all = SIGNALS_ALL;
#if defined(__x86_64__)
    uintptr_t at = (uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP];
#else
    uintptr_t at = (uintptr_t)interrupted->uc_mcontext.pc;
#endif
    call->ended = 1;
    if (at < (uintptr_t)flock_call_begin || at >= (uintptr_t)flock_call_over) {
        return call->in_kernel ? FLOCK_CALL_ABOVE : FLOCK_CALL_NONE;
    }
    if (at > (uintptr_t)flock_call_at) {
        return FLOCK_CALL_NONE; /* it has its result */
    }
#if defined(__x86_64__)
    interrupted->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)flock_call_behind;
    interrupted->uc_mcontext.gregs[REG_RAX] = result;
#else
    interrupted->uc_mcontext.pc = (uintptr_t)flock_call_behind;
    interrupted->uc_mcontext.regs[0] = (unsigned long long)result;
#endif
    memcpy(&interrupted->uc_sigmask, &all, sizeof(all)); /* the kernel's part of it */
    return FLOCK_CALL_ENDED;
}

uintptr_t flock_call_stack(void *context) {
    const ucontext_t *interrupted = context;
#if defined(__x86_64__)
    return (uintptr_t)interrupted->uc_mcontext.gregs[REG_RSP];
#else
    return (uintptr_t)interrupted->uc_mcontext.sp;
#endif
}

#else

uintptr_t flock_call_stack(void *context) {
    (void)context;
    return (uintptr_t)__builtin_frame_address(0);
}

int flock_call(struct flock_call *call, int fd, int operation) {
    int r = call->ended ? -EINTR : sys_flock(fd, operation);
    return r == -EINTR && call->ended ? -ETIMEDOUT : r;
}

enum flock_call_place flock_call_end(struct flock_call *call, void *context, int result) {
    (void)context;
    call->ended = result == -ETIMEDOUT;
    return FLOCK_CALL_ENDED;
}

#endif
