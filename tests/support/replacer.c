#include "tests/support/replacer.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int lock_new(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd < 0 || flock(fd, LOCK_EX) < 0 ? -1 : fd;
}

static void replace(const char *path, long times, int ready) {
    int fd = lock_new(path);
    if (fd < 0 || write(ready, "x", 1) != 1) {
        _exit(1);
    }
    for (long i = 0; i < times; i++) {
        int next = lock_new("next");
        if (next < 0 || rename("next", path) < 0) {
            _exit(2);
        }
        (void)close(fd);
        fd = next;
    }
    _exit(0);
}

pid_t replacer_start(const char *path, long times) {
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ready[0]);
        (void)alarm(120);
        replace(path, times, ready[1]);
    }
    (void)close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    return pid;
}

int replacer_end(pid_t pid) {
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

void replacer_kill(pid_t pid) {
    cr_assert_eq(kill(pid, SIGKILL), 0);
    (void)replacer_end(pid);
}
