/* The rarer ways in and out, for the puppet. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

#include "tests/support/puppet.h"

/* mk*temp: the name comes back as the text. */
static char *template(void) {
    return strcpy(text, words[1]);
}
static long do_mkstemp(void) {
    return mkstemp(template());
}
static long do_mkstemp64(void) {
    return mkstemp64(template());
}
static long do_mkostemp(void) {
    return mkostemp(template(), (int)number(2));
}
static long do_mkostemp64(void) {
    return mkostemp64(template(), (int)number(2));
}
static long do_mkstemps(void) {
    return mkstemps(template(), (int)number(2));
}
static long do_mkstemps64(void) {
    return mkstemps64(template(), (int)number(2));
}
static long do_mkostemps(void) {
    return mkostemps(template(), (int)number(2), (int)number(3));
}
static long do_mkostemps64(void) {
    return mkostemps64(template(), (int)number(2), (int)number(3));
}

/* syscall NUMBER ARGUMENT...: what does not start as a number is a text. */
static long argument(int i) {
    const char *word = words[i];
    return word && !strchr("0123456789-", *word) ? (long)word : number(i);
}
static long do_syscall(void) {
    if (!words[2]) {
        return syscall(number(1));
    }
    return syscall(number(1), argument(2), words[3] ? argument(3) : 0, words[3] ? argument(4) : 0,
                   words[3] && words[4] ? argument(5) : 0);
}
/* openat2 PATH FLAGS MODE RESOLVE */
static long do_openat2(void) {
    unsigned long long how[3] = {(unsigned long long)number(2), (unsigned long long)number(3),
                                 (unsigned long long)number(4)};
    return syscall(437, AT_FDCWD, words[1], how, sizeof(how));
}
/* The six arguments of a call that is nobody's business: the sixth is an offset. */
static long do_syscall_mmap(void) {
    void *page = (void *)syscall(SYS_mmap, NULL, 4096L, (long)PROT_READ,
                                 (long)(MAP_PRIVATE | MAP_ANONYMOUS), -1L, number(1));
    return page == MAP_FAILED ? -1 : munmap(page, 4096);
}
/* A copy of the process, which closes a descriptor. */
static long do_syscall_clone(void) {
    int status = -1;
    pid_t pid = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    if (pid == 0) {
        syscall(SYS_close, (int)number(1));
        _exit(7);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The file PATH by its handle. */
static long do_open_by_handle(void) {
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle = {.handle.handle_bytes = MAX_HANDLE_SZ};
    int mount, directory = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (name_to_handle_at(AT_FDCWD, words[1], &handle.handle, &mount, 0) < 0) {
        close(directory);
        return -4;
    }
    /* Out of the way of the number that is to come back. */
    int high = fcntl(directory, F_DUPFD_CLOEXEC, 400);
    close(directory);
    errno = 99;
    int fd = open_by_handle_at(high, &handle.handle, (int)number(2));
    int error = errno;
    close(high);
    errno = error;
    return fd;
}

/* Names of libio that headers do not declare. */
static FILE *old_stream;
static long do__IO_fopen(void) {
    FILE *(*function)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_DEFAULT, "_IO_fopen");
    old_stream = function(words[1], words[2]);
    return old_stream ? fileno(old_stream) : -1;
}
static long do__IO_fclose(void) {
    int (*function)(FILE *) = (int (*)(FILE *))dlsym(RTLD_DEFAULT, "_IO_fclose");
    return function(old_stream);
}
static long do_pclose_plain(void) {
    int (*volatile function)(FILE *) = pclose; /* the compiler knows that this is odd */
    return function(fdopen((int)number(1), "r+"));
}

/* popen MODE COMMAND...: reads one line where it can, as a sign of life. */
static FILE *pipe_stream;
static void command_line(char *ret, int first) {
    *ret = '\0';
    for (int i = first; words[i]; i++) {
        strcat(strcat(ret, words[i]), " ");
    }
}
static long do_popen_as(void) {
    char line[4096];
    command_line(line, 2);
    pipe_stream = popen(line, words[1]);
    if (!pipe_stream) {
        return -1;
    }
    if (*words[1] == 'r') {
        if (fgets(text, 4096, pipe_stream)) {
            text[strcspn(text, "\n")] = '\0';
        }
    }
    return fileno(pipe_stream);
}
static long do_pclose_it(void) {
    return pclose(pipe_stream);
}
static long do_system(void) {
    char line[4096];
    command_line(line, 1);
    return system(line);
}

static long do_daemon(void) {
    return daemon((int)number(1), (int)number(2));
}
static int master = -1;
static long do_login_tty(void) {
    int slave;
    if (openpty(&master, &slave, NULL, NULL, NULL) < 0) {
        return -4;
    }
    int away = fcntl(slave, F_DUPFD_CLOEXEC, 450);
    close(slave);
    fcntl(master, F_DUPFD_CLOEXEC, 440);
    close(master);
    return login_tty(away);
}
static pid_t spawned;
static long do_forkpty(void) {
    spawned = forkpty(&master, NULL, NULL, NULL);
    if (spawned == 0) {
        (void)!write(1, "x", 1);
        for (;;) {
            pause();
        }
    }
    char sign;
    int fd = master;
    long got = read(fd, &sign, 1);
    master = fcntl(fd, F_DUPFD_CLOEXEC, 440);
    close(fd);
    return got == 1 ? 0 : -1;
}

/* spawn ACTION...: open:FD:PATH:FLAGS, close:FD, dup2:FROM:TO, chdir:PATH,
 * fchdir:FD, closefrom:FD, flags:FLAGS (of the attributes). The child says by
 * SIGUSR1 that it is there, and waits. Minus the error where it fails. */
static int add(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, char *word) {
    char *part[4] = {0};
    for (int i = 0; i < 4 && word; i++) {
        part[i] = strsep(&word, ":");
    }
    int one = part[1] ? atoi(part[1]) : 0;
    if (strcmp(part[0], "open") == 0) {
        return posix_spawn_file_actions_addopen(actions, one, part[2],
                                                (int)strtol(part[3], NULL, 0), 0644);
    } else if (strcmp(part[0], "close") == 0) {
        return posix_spawn_file_actions_addclose(actions, one);
    } else if (strcmp(part[0], "dup2") == 0) {
        return posix_spawn_file_actions_adddup2(actions, one, atoi(part[2]));
    } else if (strcmp(part[0], "chdir") == 0) {
        return posix_spawn_file_actions_addchdir_np(actions, part[1]);
    } else if (strcmp(part[0], "fchdir") == 0) {
        return posix_spawn_file_actions_addfchdir_np(actions, one);
    } else if (strcmp(part[0], "closefrom") == 0) {
        return posix_spawn_file_actions_addclosefrom_np(actions, one);
    } else if (strcmp(part[0], "flags") == 0) {
        return posix_spawnattr_setflags(attributes, (short)one);
    }
    return EINVAL;
}

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *,
                           const posix_spawnattr_t *, char *const *, char *const *);

static long spawn_with(spawn_function *function, const char *file, char **environment, int first,
                       const char *task) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t sign;
    sigemptyset(&sign);
    sigaddset(&sign, SIGUSR1);
    sigprocmask(SIG_BLOCK, &sign, NULL);
    char *arguments[] = {(char *)program, (char *)"--spawned", (char *)task, NULL};
    int error = 0;
    for (int i = first; words[i] && !error; i++) {
        error = add(&actions, &attributes, words[i]);
    }
    /* What has been added counts, not where it lies by now. */
    posix_spawn_file_actions_t moved = actions;
    memset(&actions, 0, sizeof(actions));
    errno = 99;
    if (!error) {
        error = function(&spawned, file, &moved, &attributes, arguments, environment);
    }
    int after = errno;
    posix_spawn_file_actions_destroy(&moved);
    posix_spawnattr_destroy(&attributes);
    struct timespec patience = {.tv_sec = 20};
    if (!error && sigtimedwait(&sign, NULL, &patience) != SIGUSR1) {
        return -1000;
    }
    errno = after;
    return -error;
}
static long do_spawn(void) {
    return spawn_with(posix_spawn, program, environ, 1, "-");
}
static long do_spawnp(void) {
    return spawn_with(posix_spawnp, program, environ, 1, "-");
}
/* The child is not under the shim. */
static long do_spawn_bare(void) {
    char *nothing[] = {NULL};
    return spawn_with(posix_spawn, program, nothing, 1, "-");
}
/* The child closes a descriptor first. */
static long do_spawn_closing(void) {
    return spawn_with(posix_spawn, program, environ, 2, words[1]);
}
static long do_spawn_missing(void) {
    return spawn_with(posix_spawn, "/nonexistent/program", environ, 1, "-");
}
static long do_end_spawned(void) {
    int status = -1;
    kill(spawned, SIGKILL);
    return waitpid(spawned, &status, 0) == spawned && WIFSIGNALED(status) ? 0 : -1;
}
static long do_session_of_spawned(void) {
    return getsid(spawned) == spawned;
}

int be_spawned(char **arguments) {
    if (*arguments[2] != '-' && close(atoi(arguments[2])) < 0) {
        return 1;
    }
    kill(getppid(), SIGUSR1);
    for (;;) {
        pause();
    }
}

const struct command way_commands[] = {
    COMMAND(mkstemp),
    COMMAND(mkstemp64),
    COMMAND(mkostemp),
    COMMAND(mkostemp64),
    COMMAND(mkstemps),
    COMMAND(mkstemps64),
    COMMAND(mkostemps),
    COMMAND(mkostemps64),
    COMMAND(syscall),
    COMMAND(openat2),
    COMMAND(syscall_mmap),
    COMMAND(syscall_clone),
    COMMAND(open_by_handle),
    COMMAND(_IO_fopen),
    COMMAND(_IO_fclose),
    COMMAND(pclose_plain),
    COMMAND(popen_as),
    COMMAND(pclose_it),
    COMMAND(system),
    COMMAND(daemon),
    COMMAND(login_tty),
    COMMAND(forkpty),
    COMMAND(spawn),
    COMMAND(spawnp),
    COMMAND(spawn_bare),
    COMMAND(spawn_closing),
    COMMAND(spawn_missing),
    COMMAND(end_spawned),
    COMMAND(session_of_spawned),
    {0},
};
