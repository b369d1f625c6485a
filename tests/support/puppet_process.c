/*
 * The puppet's calls that make children, change what it is, and close in loops.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys_linux.h"
#include "tests/support/puppet.h"

#define COMMANDS 500
#define ANSWERS 501

/* Children that live until "end_kin"; each has what we have open, but for the
 * descriptors that are named. They are under way when the call returns. */
static int leave[2], begun[2];
static char stack[65536] __attribute__((aligned(16)));

static int live_until_told(void *unused) {
    char end;
    (void)unused;
    for (int i = 1; words[i] && strcmp(words[0], "clone") != 0; i++) {
        close((int)number(i));
    }
    if (write(begun[1], "", 1) != 1) {
        return 1;
    }
    (void)SYS_CALL(SYS_close, leave[1], 0, 0, 0, 0, 0);
    return read(leave[0], &end, 1) == 1;
}
static bool prepare(void) {
    return pipe2(leave, O_CLOEXEC) == 0 && pipe2(begun, O_CLOEXEC) == 0;
}
static long started(pid_t pid) {
    char byte;
    if (pid == 0) {
        _exit(live_until_told(NULL));
    }
    close(begun[1]);
    bool began = pid > 0 && read(begun[0], &byte, 1) == 1;
    close(begun[0]);
    close(leave[0]);
    return began ? pid : -1;
}
static long do_kin(void) {
    return prepare() ? started(fork()) : -1;
}
static long do__Fork(void) {
    return prepare() ? started(_Fork()) : -1;
}
/* By a raw system call: nobody can notice. */
static long do_raw_fork(void) {
    return prepare() ? started((pid_t)SYS_CALL(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0)) : -1;
}
static long do_clone(void) {
    int flags = (int)number(1) | SIGCHLD;
    return prepare() ? started(clone(live_until_told, stack + sizeof(stack), flags, NULL)) : -1;
}
static long do_end_kin(void) {
    int status = -1;
    close(leave[1]);
    return wait(&status) > 0 ? status : -1;
}

/* clone_call FLAGS close FD | open PATH | dup2 FROM TO: one call in a child, to
 * whose end we wait. The answer is what the call said. */
static int call_in_child(void *result) {
    long r = -1;
    if (strcmp(words[2], "close") == 0) {
        r = close((int)number(3));
    } else if (strcmp(words[2], "open") == 0) {
        r = open(words[3], O_RDWR | O_CREAT, 0666);
    } else if (strcmp(words[2], "dup2") == 0) {
        r = dup2((int)number(3), (int)number(4));
    }
    *(volatile long *)result = r;
    return 0;
}
static long do_clone_call(void) {
    long *result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = -1;
    pid_t pid =
        clone(call_in_child, stack + sizeof(stack), (int)number(1) | SIGCHLD, (void *)result);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        return -9;
    }
    return *result;
}

/* vforks a child that does what shells do before exec, many times over. */
static long do_vfork_busy(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        for (int i = 0; i < 200; i++) {
            int fd = open(words[1], O_RDWR);
            int copy = fd < 0 ? -1 : dup2(fd, 100 + i % 16);
            if (copy < 0 || close(fd) < 0 || (i % 2 && close(copy) < 0)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    int status = -1;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* exec_env VARIABLE...: goes on as the same program with these variables only;
 * LD_PRELOAD stays. */
static long do_exec_env(void) {
    char preload[8192], *environment[18] = {NULL};
    const char *before = getenv("LD_PRELOAD");
    int count = 0;
    if (before) {
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", before);
        environment[count++] = preload;
    }
    for (int i = 1; words[i]; i++) {
        environment[count++] = words[i];
    }
    execle(program, program, (char *)NULL, environment);
    return -1;
}

static FILE *child;
static long do_popen(void) {
    char command[4096] = "";
    for (int i = 1; words[i]; i++) {
        strcat(strcat(command, words[i]), " ");
    }
    child = popen(command, "r");
    if (!child || fgetc(child) == EOF) { /* it has begun */
        return -1;
    }
    return 0;
}
static long do_pclose(void) {
    return pclose(child);
}

static long do_setrlimit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)number(1);
    limit.rlim_max = words[2] ? (rlim_t)number(2) : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}
static long do_getrlimit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? -1 : (long)limit.rlim_cur;
}
/* root may no more raise a hard limit than others. */
static long do_keep_limits(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (SYS_CALL(SYS_capget, &header, data, 0, 0, 0, 0) < 0) {
        return -1;
    }
    data[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    data[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
    return SYS_CALL(SYS_capset, &header, data, 0, 0, 0, 0) < 0 ? -1 : 0;
}
static long do_ioctl(void) {
    return ioctl((int)number(1), strcmp(words[2], "FIOCLEX") == 0 ? FIOCLEX : FIONCLEX);
}

/* All that is open from a number on, as /proc tells, but for the way to us. */
static long walk(int first, long (*call)(int fd)) {
    DIR *directory = opendir("/proc/self/fd");
    long failed = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        int fd = atoi(entry->d_name);
        if (fd >= first && fd != COMMANDS && fd != ANSWERS && fd != dirfd(directory)) {
            failed += call(fd) < 0;
        }
    }
    closedir(directory);
    return failed;
}
static long close_it(int fd) {
    return close(fd);
}
static long set_close_on_exec(int fd) {
    int flags = fcntl(fd, F_GETFD);
    return flags < 0 ? -1 : fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}
static long do_walk_close(void) {
    return walk((int)number(1), close_it);
}
static long do_walk_cloexec(void) {
    return walk((int)number(1), set_close_on_exec);
}
static long do_loop_cloexec(void) {
    for (int fd = (int)number(1); fd < (int)number(2); fd++) {
        if (fd != COMMANDS && fd != ANSWERS) {
            (void)ioctl(fd, FIOCLEX);
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    return 0;
}
static long do_dup2_over(void) {
    int null = open("/dev/null", O_RDWR), failed = 0;
    for (int fd = (int)number(1); fd < (int)number(2); fd++) {
        if (fd != COMMANDS && fd != ANSWERS && fd != null) {
            failed += dup2(null, fd) != fd;
        }
    }
    return failed;
}
/* FD onto all numbers, in a vforked child that then ends or goes on as cat(1) from a FIFO;
 * or in one that shares memory alone, and lives until end_kin: vfork_over LIMIT FD [FIFO],
 * clone_over LIMIT FD. */
static void put_over_all(int limit, int from, int except) {
    for (int fd = 3; fd < limit; fd++) {
        if (fd != from && fd != except && dup2(from, fd) != fd) {
            _exit(99);
        }
    }
}
/* What ld.so needs. */
static void make_a_little_room(void) {
    for (int fd = 3; fd < 10; fd++) {
        close(fd);
    }
}
static pid_t over;
static long do_over_ends(void) {
    int status = -1;
    return waitpid(over, &status, 0) == over ? status : -1;
}
static long do_vfork_over(void) {
    over = vfork();
    if (over == 0) {
        put_over_all((int)number(1), (int)number(2), -1);
        if (!words[3]) {
            _exit(0);
        }
        make_a_little_room();
        execl("/bin/cat", "cat", words[3], (char *)NULL);
        _exit(127);
    }
    return words[3] ? 0 : do_over_ends();
}
static int over_until_told(void *unused) {
    char end;
    (void)unused;
    put_over_all((int)number(1), (int)number(2), leave[0]);
    over = 1;
    return SYS_CALL(SYS_read, leave[0], &end, 1, 0, 0, 0) == 1;
}
static long do_clone_over(void) {
    over = 0;
    if (pipe2(leave, O_CLOEXEC) < 0 ||
        clone(over_until_told, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL) < 0) {
        return -1;
    }
    while (*(volatile pid_t *)&over == 0) { /* nothing else may be touched meanwhile */
        (void)SYS_CALL(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    return close(leave[0]);
}
/* As the two numbers are in the way of a range. */
static long do_close_range_around(void) {
    int flags = (int)number(3);
    return close_range((unsigned)number(1), COMMANDS - 1, flags) |
           close_range(ANSWERS + 1, (unsigned)number(2), flags);
}

/* Without libc: nobody sees it. */
static long do_unseen_close(void) {
    return SYS_CALL(SYS_close, number(1), 0, 0, 0, 0, 0);
}
static long do_unseen_close_range(void) {
    return SYS_CALL(SYS_close_range, number(1), number(2), 0, 0, 0, 0);
}
static long do_unseen_dup2(void) {
    return SYS_CALL(SYS_dup3, number(1), number(2), 0, 0, 0, 0);
}
/* -1 where this system has no io_uring. */
static long do_uring_close(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof(params));
    int ring = (int)SYS_CALL(SYS_io_uring_setup, 1, &params, 0, 0, 0, 0);
    if (ring < 0) {
        return -1;
    }
    char *rings = mmap(NULL, params.sq_off.array + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                       IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry =
        mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    memset(entry, 0, sizeof(*entry));
    entry->opcode = IORING_OP_CLOSE;
    entry->fd = (int)number(1);
    *(unsigned *)(rings + params.sq_off.array) = 0;
    *(unsigned *)(rings + params.sq_off.tail) = 1;
    long done = SYS_CALL(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    SYS_CALL(SYS_close, ring, 0, 0, 0, 0, 0);
    return done == 1 ? 0 : -2;
}

const struct command process_commands[] = {
    COMMAND(kin),
    COMMAND(_Fork),
    COMMAND(raw_fork),
    COMMAND(clone),
    COMMAND(end_kin),
    COMMAND(clone_call),
    COMMAND(vfork_busy),
    COMMAND(exec_env),
    COMMAND(popen),
    COMMAND(pclose),
    COMMAND(setrlimit),
    COMMAND(ioctl),
    COMMAND(getrlimit),
    COMMAND(keep_limits),
    COMMAND(vfork_over),
    COMMAND(over_ends),
    COMMAND(clone_over),
    COMMAND(walk_close),
    COMMAND(walk_cloexec),
    COMMAND(loop_cloexec),
    COMMAND(dup2_over),
    COMMAND(unseen_close),
    COMMAND(unseen_close_range),
    COMMAND(unseen_dup2),
    COMMAND(uring_close),
    COMMAND(close_range_around),
    {NULL, NULL},
};
