#include "lib/flock_call.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "lib/signals.h"
#include "lib/sys_linux.h"

#if FLOCK_CALL_STEPS

/* The address of the system call instruction in flock_call. */
extern const char flock_call_at[] __attribute__((visibility("hidden")));

/* One copy, so that there is one address. */
__attribute__((noinline)) int flock_call(int fd, int operation) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile(".hidden flock_call_at\n"
                     ".globl flock_call_at\n"
                     "flock_call_at: syscall"
                     : "=a"(result)
                     : "a"((long)SYS_flock), "D"((long)fd), "S"((long)operation)
                     : "rcx", "r11", "memory");
    return (int)result;
#else
    register long x8 __asm__("x8") = SYS_flock;
    register long x0 __asm__("x0") = fd;
    register long x1 __asm__("x1") = operation;
    __asm__ volatile(".hidden flock_call_at\n"
                     ".globl flock_call_at\n"
                     "flock_call_at: svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1)
                     : "memory");
    return (int)x0;
#endif
}

bool flock_call_step(void *context, int result) {
    ucontext_t *interrupted = context;
    const signal_set all = SIGNALS_ALL;
#if defined(__x86_64__)
    greg_t *registers = interrupted->uc_mcontext.gregs;
    if ((uintptr_t)registers[REG_RIP] != (uintptr_t)flock_call_at) {
        return false;
    }
    registers[REG_RIP] += 2;
    registers[REG_RAX] = result;
#else
    if (interrupted->uc_mcontext.pc != (uintptr_t)flock_call_at) {
        return false;
    }
    interrupted->uc_mcontext.pc += 4;
    interrupted->uc_mcontext.regs[0] = (unsigned long long)result;
#endif
    memcpy(&interrupted->uc_sigmask, &all, sizeof(all)); /* the kernel's part of it */
    return true;
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

static _Thread_local volatile bool fired __attribute__((tls_model("initial-exec")));

int flock_call(int fd, int operation) {
    fired = false;
    int r = sys_flock(fd, operation);
    return r == -EINTR && fired ? -ETIMEDOUT : r;
}

bool flock_call_step(void *context, int result) {
    (void)context;
    fired = result == -ETIMEDOUT;
    return true;
}

#endif
