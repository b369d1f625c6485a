#include "tests/unit/lib_moment.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t moment_arguments[6];

/* ptrace(2), PTRACE_GET_SYSCALL_INFO; not every libc knows all of it. */
#define GET_SYSCALL_INFO 0x420e
enum { ENTRY = 1, EXIT = 2 };
struct syscall_info {
    uint8_t op;
    uint32_t arch;
    uint64_t at, stack, number, arguments[6], more;
};

static int ended; /* its status, once it has */
static bool has_ended;
static int to_deliver;

#define CANNOT 77

/* Not for a signal, but for PTRACE_INTERRUPT. */
static bool is_stop_of_ours(int status) {
    return status >> 16 == PTRACE_EVENT_STOP;
}

pid_t moment_start(int (*body)(void)) {
    int status;
    has_ended = false;
    to_deliver = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
            _exit(CANNOT);
        }
        (void)raise(SIGSTOP);
        (void)alarm(60);
        _exit(body());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
        scenario_skip("may not trace its own child");
    }
    cr_assert(WIFSTOPPED(status), "%x", (unsigned)status);
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    cr_assert_eq(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options), 0);
    return pid;
}

pid_t moment_about_to_wait(int (*body)(void), struct stranger *ret_holder) {
    pid_t pid = moment_start(body); /* first, or it keeps the stranger's pipe open */
    *ret_holder = stranger_locks("a", LOCK_EX);
    cr_assert(moment_before(pid, SYS_flock), "the try");
    cr_assert(moment_before(pid, SYS_flock), "the wait");
    return pid;
}

pid_t moment_replaced(int (*body)(void), struct stranger *ret_next) {
    struct stranger first;
    pid_t pid = moment_about_to_wait(body, &first);
    cr_assert_eq(unlink("a.lock"), 0);
    *ret_next = stranger_locks("a", LOCK_EX);
    stranger_leaves(first);
    return pid;
}

void moment_join(pid_t pid) {
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    int status;
    has_ended = false;
    to_deliver = 0;
    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)options) < 0) {
        scenario_skip("may not trace its own child");
    }
    cr_assert_eq(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSTOPPED(status), "%x", (unsigned)status);
    to_deliver = is_stop_of_ours(status) ? 0 : WSTOPSIG(status);
}

void moment_leave(pid_t pid) {
    cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, (void *)(long)to_deliver), 0);
}

/* To the next system call's beginning or end. */
static bool step(pid_t pid, struct syscall_info *ret) {
    int status;
    for (;;) {
        cr_assert_eq(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)to_deliver), 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status)) {
            ended = status;
            has_ended = true;
            return false;
        }
        bool at_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
        to_deliver = at_call || is_stop_of_ours(status) ? 0 : WSTOPSIG(status);
        if (at_call) {
            cr_assert_geq(ptrace(GET_SYSCALL_INFO, pid, (void *)sizeof(*ret), ret), 0);
            return true;
        }
    }
}

bool moment_before(pid_t pid, long number) {
    struct syscall_info info = {.op = 0};
    while (!has_ended && step(pid, &info)) {
        if (info.op == ENTRY && info.number == (uint64_t)number) {
            memcpy(moment_arguments, info.arguments, sizeof(moment_arguments));
            return true;
        }
    }
    return false;
}

long moment_next(pid_t pid) {
    struct syscall_info info = {.op = 0};
    while (!has_ended && step(pid, &info)) {
        if (info.op == ENTRY) {
            memcpy(moment_arguments, info.arguments, sizeof(moment_arguments));
            return (long)info.number;
        }
    }
    return -1;
}

bool moment_after_this(pid_t pid) {
    struct syscall_info info = {.op = 0};
    return step(pid, &info);
}

bool moment_after(pid_t pid, long number) {
    return moment_before(pid, number) && moment_after_this(pid);
}

uint64_t moment_peek(pid_t pid, uint64_t address) {
    long words[sizeof(uint64_t) / sizeof(long)];
    uint64_t value;
    for (size_t i = 0; i < sizeof(value) / sizeof(long); i++) {
        words[i] = ptrace(PTRACE_PEEKDATA, pid, (long *)(uintptr_t)address + i, NULL);
    }
    memcpy(&value, words, sizeof(value));
    return value;
}

int moment_end(pid_t pid) {
    if (!has_ended) {
        cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, (void *)(long)to_deliver), 0);
        cr_assert_eq(waitpid(pid, &ended, 0), pid);
    }
    return ended;
}

void moment_kill(pid_t pid) {
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, &ended, 0), pid);
    has_ended = true;
}

bool moment_refuse(long number, int which, uint32_t bits, int error) {
    const uint32_t low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    const uint32_t argument =
        (uint32_t)offsetof(struct seccomp_data, args) + (uint32_t)which * 8 + low;
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, bits ? 1 : 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(instructions) / sizeof(instructions[0]),
                                .filter = instructions};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

pid_t moment_other_thread(pid_t pid) {
    char path[64];
    pid_t found = 0;
    snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        pid_t thread = atoi(entry->d_name);
        found = thread > 0 && thread != pid ? thread : found;
    }
    closedir(directory);
    cr_assert_gt(found, 0);
    return found;
}
