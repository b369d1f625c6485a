/*
 * The puppet's calls that change where it is (another directory, another root) or
 * confine it (a filter of system calls, a limit), and those that look into its
 * streams.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mntent.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wchar.h>

#include "tests/support/puppet.h"

static long do_chdir(void) {
    return chdir(words[1]);
}
static long do_umask(void) {
    return (long)umask((mode_t)number(1));
}
static long do_chroot(void) {
    return chroot(words[1]) < 0 ? -1 : chdir("/");
}

/* refuse_openat2 ERRNO: as a sandbox does that does not know it. */
static long do_refuse_openat2(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)number(1)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

/* Stops itself in the middle of the next write to a file, which then fails. */
static void stop(int unused) {
    (void)unused;
    raise(SIGSTOP);
}
static long do_stop_at_write(void) {
    struct rlimit limit;
    signal(SIGXFSZ, stop);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 0;
    return setrlimit(RLIMIT_FSIZE, &limit);
}

static long do_ftell(void) {
    return ftell(stream_at(number(1)));
}
/* Above 0: for wide characters. */
static long do_fwide(void) {
    return fwide(stream_at(number(1)), 0);
}
static FILE *table;
static long do_setmntent(void) {
    table = setmntent(words[1], words[2]);
    return table ? fileno(table) : -1;
}
static long do_addmntent(void) {
    struct mntent entry = {"dev", "/dir", "type", "opts", 0, 0};
    return addmntent(table, &entry);
}
static long do_endmntent(void) {
    return endmntent(table);
}
/* fopen with a mode that has blanks, written as '_'. */
static long do_fopen_blanks(void) {
    for (char *p = words[2]; (p = strchr(p, '_'));) {
        *p = ' ';
    }
    FILE *stream = fopen(words[1], words[2]);
    return stream ? fileno(stream) : -1;
}
/* open_long LENGTH FLAGS: a name of so many bytes. */
static long do_open_long(void) {
    static char name[8192];
    memset(name, '/', sizeof(name));
    name[number(1) - 1] = 'x';
    name[number(1)] = '\0';
    return open(name, (int)number(2), 0666);
}

const struct command confined_commands[] = {
    COMMAND(chdir),         COMMAND(umask),     COMMAND(chroot),       COMMAND(refuse_openat2),
    COMMAND(stop_at_write), COMMAND(ftell),     COMMAND(fwide),        COMMAND(setmntent),
    COMMAND(addmntent),     COMMAND(endmntent), COMMAND(fopen_blanks), COMMAND(open_long),
    {NULL, NULL},
};
