/*
 * A program that does what it is told, a call at a time: the unmodified program
 * of the scenarios. It knows nothing of autolock.
 *
 * Commands come as lines on descriptor 500, answers ("RESULT ERRNO TEXT") go
 * to 501, so that 0 to 2 and the low numbers are free for the scenario. errno
 * is 99 before each call: whoever sees 99 afterwards knows it was not touched.
 * A signal that is handled answers with -3.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys_linux.h"
#include "tests/support/puppet.h"

#define COMMANDS 500
#define ANSWERS 501
#define UNTOUCHED 99

/* Exported by libraries, not declared by headers. */
extern int __open_2(const char *path, int flags);
extern int __open64_2(const char *path, int flags);
extern int __openat_2(int dirfd, const char *path, int flags);
extern int __openat64_2(int dirfd, const char *path, int flags);
extern int __open(const char *path, int flags, ...);
extern int __open64(const char *path, int flags, ...);
extern int __close(int fd);
extern int __dup2(int from, int to);
extern int __fcntl(int fd, int command, ...);

char text[8192];
char *words[16];
static FILE *streams[1024], *newest;
const char *program;

long number(int i) {
    return words[i] ? strtol(words[i], NULL, 0) : 0;
}

static long remember(FILE *stream) {
    if (!stream) {
        return -1;
    }
    newest = streams[fileno(stream)] = stream;
    return fileno(stream);
}

FILE *stream_at(long fd) {
    return fd > 0 ? streams[fd] : newest;
}

static long do_open(void) {
    return open(words[1], (int)number(2), (mode_t)number(3));
}
static long do_open64(void) {
    return open64(words[1], (int)number(2), (mode_t)number(3));
}
static long do___open(void) {
    return __open(words[1], (int)number(2), (mode_t)number(3));
}
static long do___open64(void) {
    return __open64(words[1], (int)number(2), (mode_t)number(3));
}
static long do___open_2(void) {
    return __open_2(words[1], (int)number(2));
}
static long do___open64_2(void) {
    return __open64_2(words[1], (int)number(2));
}
static long do___openat_2(void) {
    return __openat_2(AT_FDCWD, words[1], (int)number(2));
}
static long do___openat64_2(void) {
    return __openat64_2(AT_FDCWD, words[1], (int)number(2));
}
static long do_openat(void) {
    return openat((int)number(1), words[2], (int)number(3), (mode_t)number(4));
}
static long do_openat64(void) {
    return openat64((int)number(1), words[2], (int)number(3), (mode_t)number(4));
}
static long do_open_null(void) {
    const char *volatile nothing = NULL;
    return open((const char *)nothing, O_RDWR);
}
static long do_creat(void) {
    return creat(words[1], (mode_t)number(2));
}
static long do_creat64(void) {
    return creat64(words[1], (mode_t)number(2));
}
static long do_fopen(void) {
    return remember(fopen(words[1], words[2]));
}
static long do_fopen64(void) {
    return remember(fopen64(words[1], words[2]));
}
static long do_fdopen(void) {
    return remember(fdopen((int)number(1), words[2]));
}
static FILE *take_stream(long fd) {
    FILE *stream = streams[fd];
    streams[fd] = NULL;
    if (!stream) {
        stream = fd == 0 ? stdin : fd == 1 ? stdout : stderr;
    }
    return stream;
}
static long do_freopen(void) {
    const char *path = strcmp(words[2], "-") == 0 ? NULL : words[2];
    return remember(freopen(path, words[3], take_stream(number(1))));
}
static long do_freopen64(void) {
    return remember(freopen64(words[2], words[3], take_stream(number(1))));
}
static long do_fclose(void) {
    return fclose(take_stream(number(1)));
}
static long do_fputs(void) {
    return fputs(words[2], streams[number(1)]);
}
static long do_close(void) {
    return close((int)number(1));
}
static long do___close(void) {
    return __close((int)number(1));
}
static long do_raw_close(void) {
    return sys_close((int)number(1));
}
static long do_close_range(void) {
    return close_range((unsigned)number(1), (unsigned)number(2), (int)number(3));
}
static long do_closefrom(void) {
    /* Keeps the way to the test open. */
    int first = (int)number(1);
    for (int fd = first; fd < COMMANDS; fd++) {
        close(fd);
    }
    closefrom(ANSWERS + 1);
    return 0;
}
static long do_close_loop(void) {
    for (int fd = (int)number(1); fd < (int)number(2); fd++) {
        if (fd != COMMANDS && fd != ANSWERS) {
            close(fd);
        }
    }
    return 0;
}
static long do_dup(void) {
    return dup((int)number(1));
}
static long do_dup2(void) {
    return dup2((int)number(1), (int)number(2));
}
static long do___dup2(void) {
    return __dup2((int)number(1), (int)number(2));
}
static long do_dup3(void) {
    return dup3((int)number(1), (int)number(2), (int)number(3));
}
static long do_fcntl(void) {
    return fcntl((int)number(1), (int)number(2), number(3));
}
static long do_fcntl64(void) {
    return fcntl64((int)number(1), (int)number(2), number(3));
}
static long do___fcntl(void) {
    return __fcntl((int)number(1), (int)number(2), number(3));
}
static long do_flock(void) {
    return flock((int)number(1), (int)number(2));
}
static long do_write(void) {
    return write((int)number(1), words[2], strlen(words[2]));
}
static long do_read(void) {
    ssize_t n = read((int)number(1), text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0'; /* an answer is one line */
    return n;
}

/* Which descriptors below 500 are open. */
static long do_numbers(void) {
    char *at = text;
    long count = 0;
    for (int fd = 0; fd < COMMANDS; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            at += sprintf(at, "%d ", fd);
            count++;
        }
    }
    return count;
}

static long do_list_above(void) {
    char *at = text;
    *at = '\0';
    long count = 0;
    for (int fd = ANSWERS + 1; fd < 4096; fd++) {
        if (sys_fcntl(fd, F_GETFD, 0) >= 0) {
            at += sprintf(at, "%d ", fd);
            count++;
        }
    }
    return count;
}

/* A child that has what we have open until it is told to end. */
static int child_pipe[2];
static long do_fork(void) {
    if (pipe2(child_pipe, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        char end;
        close(child_pipe[1]);
        for (int i = 1; words[i]; i++) {
            close((int)number(i));
        }
        _exit(read(child_pipe[0], &end, 1) == 1);
    }
    close(child_pipe[0]);
    return pid;
}
static long do_end_child(void) {
    int status = -1;
    close(child_pipe[1]);
    return wait(&status) > 0 ? status : -1;
}

/* vfork, calls in the child, exec: what shells do. */
static long do_vfork_close(void) {
    int fd = (int)number(1);
    pid_t pid = vfork();
    if (pid == 0) {
        close(fd);
        _exit(0);
    }
    int status = -1;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}
static long do_vfork_open(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open(words[1], (int)number(2), 0666);
        _exit(fd < 0 || close(fd) < 0);
    }
    int status = -1;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* Goes on as the same program, after exec. */
static long do_exec(void) {
    execl(program, program, (char *)NULL);
    return -1;
}
static long do_exec_bare(void) {
    unsetenv("LD_PRELOAD");
    execl(program, program, (char *)NULL);
    return -1;
}

/* An open in a thread, to be waited for later. */
static pthread_t thread;
static char thread_path[4096];
static int thread_flags;
static void *thread_open(void *unused) {
    (void)unused;
    return (void *)(long)open(thread_path, thread_flags, 0666);
}
static long do_thread_open(void) {
    strcpy(thread_path, words[1]);
    thread_flags = (int)number(2);
    return pthread_create(&thread, NULL, thread_open, NULL);
}
static long do_thread_join(void) {
    void *result;
    pthread_join(thread, &result);
    return (long)result;
}

static volatile sig_atomic_t signals;
static void on_signal(int unused) {
    static const char line[] = "-3 0 signal\n";
    (void)unused;
    signals++;
    if (write(ANSWERS, line, sizeof(line) - 1) < 0) {
        _exit(1);
    }
}
static long do_handle(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)number(2)};
    return sigaction((int)number(1), &action, NULL);
}
static long do_signals(void) {
    return signals;
}
/* Real-time signals that do not have their default action. */
static long do_handlers(void) {
    long count = 0;
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        struct sigaction action;
        count += sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
    }
    return count;
}

static const struct command commands[] = {
    COMMAND(open),        COMMAND(open64),      COMMAND(__open),     COMMAND(__open64),
    COMMAND(__open_2),    COMMAND(__open64_2),  COMMAND(__openat_2), COMMAND(__openat64_2),
    COMMAND(openat),      COMMAND(openat64),    COMMAND(open_null),  COMMAND(creat),
    COMMAND(creat64),     COMMAND(fopen),       COMMAND(fopen64),    COMMAND(fdopen),
    COMMAND(freopen),     COMMAND(freopen64),   COMMAND(fclose),     COMMAND(fputs),
    COMMAND(close),       COMMAND(__close),     COMMAND(raw_close),  COMMAND(close_range),
    COMMAND(closefrom),   COMMAND(close_loop),  COMMAND(dup),        COMMAND(dup2),
    COMMAND(__dup2),      COMMAND(dup3),        COMMAND(fcntl),      COMMAND(fcntl64),
    COMMAND(__fcntl),     COMMAND(flock),       COMMAND(write),      COMMAND(read),
    COMMAND(numbers),     COMMAND(list_above),  COMMAND(fork),       COMMAND(end_child),
    COMMAND(vfork_close), COMMAND(vfork_open),  COMMAND(exec),       COMMAND(exec_bare),
    COMMAND(thread_open), COMMAND(thread_join), COMMAND(handle),     COMMAND(signals),
    COMMAND(handlers),
};

static const struct command *find(const char *name) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    const struct command *const more[] = {file_commands, process_commands, wait_commands,
                                          way_commands,  thread_commands,  confined_commands,
                                          end_commands};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        for (const struct command *command = more[i]; command->name; command++) {
            if (strcmp(name, command->name) == 0) {
                return command;
            }
        }
    }
    return NULL;
}

static void obey(char *line) {
    int count = 0;
    for (char *word = strtok(line, " \n"); word && count < 15; word = strtok(NULL, " \n")) {
        words[count++] = word;
    }
    words[count] = NULL;
    const struct command *command = count ? find(words[0]) : NULL;
    if (command) {
        text[0] = '\0';
        errno = UNTOUCHED;
        long result = command->call();
        int error = errno;
        dprintf(ANSWERS, "%ld %d %s\n", result, error, text);
        return;
    }
    dprintf(ANSWERS, "-2 0 unknown command\n");
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc > 1) {
        return be_spawned(argv);
    }
    char line[8192];
    size_t length = 0;
    /* Read by the byte, so that nothing is lost over exec. */
    while (read(COMMANDS, line + length, 1) == 1 || errno == EINTR) {
        if (line[length] == '\n') {
            line[length] = '\0';
            length = 0;
            obey(line);
        } else if (length < sizeof(line) - 1) {
            length++;
        }
    }
    return 0;
}
