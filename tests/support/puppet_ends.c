/*
 * The puppet's ways to end, and what it does while it ends.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys_linux.h"
#include "tests/support/puppet.h"

static long do_exit(void) {
    exit((int)number(1));
}
static long do__exit(void) {
    _exit((int)number(1));
}
static long do__Exit(void) {
    _Exit((int)number(1));
}
static long do_quick_exit(void) {
    quick_exit((int)number(1));
}
static long do_abort(void) {
    abort();
}

/* A handler that still has something to write: write_at_exit FD, write_at_quick_exit
 * FD. */
static int late;
static void write_late(void) {
    if (write(late, "late\n", 5) != 5) {
        late = -1;
    }
}
static long do_write_at_exit(void) {
    late = (int)number(1);
    return atexit(write_late);
}
static long do_write_at_quick_exit(void) {
    late = (int)number(1);
    return at_quick_exit(write_late);
}

/* A child that ends at once in this way: child_ends exit | _exit | abort. */
static long do_child_ends(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        if (strcmp(words[1], "exit") == 0) {
            exit(0);
        } else if (strcmp(words[1], "_exit") == 0) {
            _exit(0);
        }
        abort();
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* A child that opens PATH, whose parent waits for it: child_opens PATH FLAGS. */
static long do_child_opens(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(words[1], (int)number(2), 0666);
        _exit(fd < 0 || close(fd) < 0);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* How many descriptors a child that opens PATH and closes it has more than before:
 * child_leaks PATH FLAGS. */
static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++) {
        count += sys_fcntl(fd, F_GETFD, 0) >= 0;
    }
    return count;
}
static long do_child_leaks(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int before = count_descriptors();
        int fd = open(words[1], (int)number(2), 0666);
        _exit(fd < 0 || close(fd) < 0 ? 99 : count_descriptors() - before);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In a child: waits until FIFO can be read from, and opens PATH. Its exit status. */
static int open_after(void) {
    char byte;
    int fifo = open(words[1], O_RDONLY);
    bool told = read(fifo, &byte, 1) == 1;
    int fd = open(words[2], (int)number(3), 0666);
    return !told || fd < 0 || close(fd) < 0;
}

/* A child that opens PATH once it can read from a FIFO: child_opens_after FIFO PATH FLAGS. */
static long do_child_opens_after(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(open_after());
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* The same in one that shares our memory: vfork_opens_after FIFO PATH FLAGS. */
static long do_vfork_opens_after(void) {
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        _exit(open_after());
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* A vforked child that opens PATH as standard output and goes on as the shell, with a
 * line of commands: vfork_shell PATH COMMAND... */
static long do_vfork_shell(void) {
    char line[4096] = "";
    for (int i = 2; words[i]; i++) {
        strcat(strcat(line, words[i]), " ");
    }
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open(words[1], O_WRONLY | O_APPEND);
        if (fd < 0 || dup2(fd, 1) != 1 || close(fd) < 0) {
            _exit(126);
        }
        execl("/bin/bash", "bash", "-c", line, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* A vforked child that closes what there is above 2 in this way and goes on as a shell
 * that is not under the library: vfork_closing WAY COMMAND... */
static void close_above_2(const char *way) {
    if (strcmp(way, "range") == 0) {
        close_range(3, ~0u, 0);
        return;
    }
    for (int fd = 3; fd < 1100; fd++) {
        if (strcmp(way, "loop") == 0) {
            close(fd);
        } else if (fd < 1024) { /* over */
            dup2(0, fd);
        }
    }
    closefrom(3);
}
static long do_vfork_closing(void) {
    char line[4096] = "";
    char *nothing[] = {NULL};
    for (int i = 2; words[i]; i++) {
        strcat(strcat(line, words[i]), " ");
    }
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        close_above_2(words[1]);
        execle("/bin/sh", "sh", "-c", line, (char *)NULL, nothing);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* Into the buffer of stdout or stderr: standard_puts 1|2 TEXT. */
static long do_standard_puts(void) {
    static char buffers[2][4096];
    FILE *stream = number(1) == 1 ? stdout : stderr;
    if (setvbuf(stream, buffers[number(1) - 1], _IOFBF, sizeof(buffers[0])) != 0) {
        return -1;
    }
    return fputs(words[2], stream) < 0;
}

/* Streams on s0.csv, s1.csv and so on, each with something in its buffer:
 * open_streams COUNT, how many there are; close_streams COUNT, how many fail. */
static FILE *many[1000];
static long do_open_streams(void) {
    struct rlimit limit;
    long i;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (i = 0; i < number(1); i++) {
        char name[32];
        snprintf(name, sizeof(name), "s%ld.csv", i);
        many[i] = fopen(name, "w");
        if (!many[i] || fputs("buffered", many[i]) < 0) {
            break;
        }
    }
    return i;
}
static long do_close_streams(void) {
    long failed = 0;
    for (long i = 0; i < number(1); i++) {
        failed += fclose(many[i]) != 0;
    }
    return failed;
}

/* A thread that has a stream in hand for good: lock_stream FD. */
static sem_t locked;
static _Noreturn void *lock_for_good(void *stream) {
    flockfile(stream);
    sem_post(&locked);
    for (;;) {
        pause();
    }
}
static long do_lock_stream(void) {
    pthread_t thread;
    sem_init(&locked, 0, 0);
    int r = pthread_create(&thread, NULL, lock_for_good, stream_at(number(1)));
    return r ? r : sem_wait(&locked);
}

/* Reads one character. */
static long do_fgetc(void) {
    return fgetc(stream_at(number(1)));
}

/* A child that shares a descriptor's position, and once we have ended writes it into a
 * FIFO: position_after_end FD FIFO. */
static long do_position_after_end(void) {
    int end[2];
    char byte;
    if (pipe2(end, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        char line[32];
        close(end[1]);
        int n = read(end[0], &byte, 1) == 0 ? 0 : -1;
        n = n < 0 ? n
                  : snprintf(line, sizeof(line), "%ld", (long)lseek((int)number(1), 0, SEEK_CUR));
        int fifo = open(words[2], O_WRONLY);
        _exit(write(fifo, line, (size_t)n) != n);
    }
    close(end[0]);
    return pid > 0 ? 0 : -1;
}

const struct command end_commands[] = {
    COMMAND(exit),
    COMMAND(_exit),
    COMMAND(_Exit),
    COMMAND(quick_exit),
    COMMAND(abort),
    COMMAND(write_at_exit),
    COMMAND(child_ends),
    COMMAND(write_at_quick_exit),
    COMMAND(child_opens),
    COMMAND(vfork_shell),
    COMMAND(standard_puts),
    COMMAND(open_streams),
    COMMAND(vfork_closing),
    COMMAND(child_leaks),
    COMMAND(child_opens_after),
    COMMAND(vfork_opens_after),
    COMMAND(close_streams),
    COMMAND(lock_stream),
    COMMAND(fgetc),
    COMMAND(position_after_end),
    {NULL, NULL},
};
