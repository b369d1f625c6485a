/* The puppet's commands about threads that open at the same time, and about
 * children that open much. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/puppet.h"

/* Threads that open one file and close it, now for reading and now for writing. */
static char path[256];
static long rounds;
static atomic_int failed, last_error;
static atomic_bool stop;

static void *open_and_close(void *seed) {
    unsigned state = (unsigned)(long)seed;
    for (long i = 0; i < rounds; i++) {
        int fd = open(path, rand_r(&state) & 1 ? O_RDWR : O_RDONLY);
        if (fd < 0) {
            atomic_store(&last_error, errno);
            atomic_fetch_add(&failed, 1);
        } else {
            close(fd);
        }
    }
    return NULL;
}

/* churn PATH THREADS ROUNDS: how many opens failed; the text is the last errno. */
static long do_churn(void) {
    pthread_t threads[16];
    long count = number(2);
    snprintf(path, sizeof(path), "%s", words[1]);
    rounds = number(3);
    atomic_store(&failed, 0);
    for (long i = 0; i < count; i++) {
        pthread_create(&threads[i], NULL, open_and_close, (void *)(i + 1));
    }
    for (long i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    snprintf(text, sizeof(text), "%d", atomic_load(&last_error));
    return atomic_load(&failed);
}

static void *open_until_stopped(void *unused) {
    while (!atomic_load(&stop)) {
        close(open(path, O_RDWR));
    }
    return unused;
}

/* In the child: closes what a program can know of, and looks whether a
 * descriptor of a sidecar is left that it cannot. */
static int look_in_child(void) {
    for (int fd = 3; fd < 200; fd++) {
        close(fd);
    }
    for (int fd = 600; fd < 1024; fd++) {
        char link[64], target[512];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strstr(target, ".lock")) {
            return 1;
        }
    }
    return 0;
}

/* fork_churn PATH COUNT: in how many children something was left. */
static long do_fork_churn(void) {
    pthread_t thread;
    long left = 0;
    snprintf(path, sizeof(path), "%s", words[1]);
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, open_until_stopped, NULL);
    for (long i = 0; i < number(2); i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            _exit(look_in_child());
        }
        waitpid(pid, &status, 0);
        left += status != 0;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    return left;
}

static int limit;
static void *dup2_over_until_stopped(void *unused) {
    while (!atomic_load(&stop)) {
        int fd = open(path, O_RDWR);
        for (int to = limit / 2; fd >= 0 && to < limit; to++) {
            dup2(fd, to);
        }
        for (int to = limit / 2; fd >= 0 && to < limit; to++) {
            close(to);
        }
        close(fd);
    }
    return unused;
}

static int limit_differs(void) {
    struct rlimit now;
    return getrlimit(RLIMIT_NOFILE, &now) < 0 || (int)now.rlim_cur != limit;
}

static bool differs_in_child(void) {
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        _exit(limit_differs());
    }
    return waitpid(pid, &status, 0) != pid || status != 0;
}

/* limit_churn PATH LIMIT COUNT: how often another limit was seen than the one that was
 * set, by this thread and by vforked children, while another uses up all numbers. */
static long do_limit_churn(void) {
    struct rlimit before, few;
    pthread_t thread;
    long differed = 0;
    snprintf(path, sizeof(path), "%s", words[1]);
    limit = (int)number(2);
    getrlimit(RLIMIT_NOFILE, &before);
    few = (struct rlimit){(rlim_t)limit, before.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &few) < 0) {
        return -1;
    }
    for (int fd = 0; fd >= 0 && fd < limit / 2 - 2;) {
        fd = open("/dev/null", O_RDONLY);
    }
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, dup2_over_until_stopped, NULL);
    for (long i = 0; i < number(3); i++) {
        for (int j = 0; j < 100; j++) {
            differed += limit_differs();
        }
        differed += differs_in_child();
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    return setrlimit(RLIMIT_NOFILE, &before) < 0 ? -1 : differed;
}

__attribute__((noinline)) static int high_numbers(void) {
    int count = 0;
    for (int fd = 600; fd < 1024; fd++) {
        count += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
    }
    return count;
}

/* handle_all_realtime: gives each real-time signal a handler, as signal(2) does.
 * The number of those that had one that is not the default. */
static volatile sig_atomic_t came;
static void on_realtime(int unused) {
    (void)unused;
    came++;
}
static long do_handle_all_realtime(void) {
    long others = 0;
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        struct sigaction action = {.sa_handler = on_realtime, .sa_flags = SA_RESTART}, before;
        others += sigaction(i, NULL, &before) < 0 || before.sa_handler != SIG_DFL;
        others += signal(i, on_realtime) != SIG_DFL;
        others += sigaction(i, &action, &before) < 0 || before.sa_handler != on_realtime;
    }
    return others;
}
/* Sends itself each of them; how many have come in all. */
static long do_raise_all_realtime(void) {
    for (int i = SIGRTMIN; i <= SIGRTMAX && number(1); i++) {
        raise(i);
    }
    return came;
}

/* vfork_many COUNT: a vforked child opens 0.csv, 1.csv, ..., and closes them. 0,
 * the errno of the first that fails, or 255 when descriptors are left. */
static long do_vfork_many(void) {
    static int fds[256];
    static int before;
    int status = -1;
    before = high_numbers();
    pid_t pid = vfork();
    if (pid == 0) {
        for (int i = 0; i < (int)number(1); i++) {
            char name[32];
            snprintf(name, sizeof(name), "%d.csv", i);
            fds[i] = open(name, O_RDWR | O_CREAT, 0666);
            if (fds[i] < 0) {
                _exit(errno);
            }
        }
        for (int i = 0; i < (int)number(1); i++) {
            close(fds[i]);
        }
        _exit(high_numbers() == before ? 0 : 255);
    }
    return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
}

/* vfork_replace FD PATH: the child closes a descriptor and opens a file there. */
static long do_vfork_replace(void) {
    int status = -1, fd = (int)number(1);
    pid_t pid = vfork();
    if (pid == 0) {
        close(fd);
        _exit(open(words[2], O_WRONLY) != fd);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}
static long do_vfork_dup2(void) {
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
        _exit(dup2((int)number(1), (int)number(2)) != number(2));
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* upgrades PATH COUNT: writes, reads and writes again, as fast as it can. How
 * often the file's times did not tell that the last write was there. */
static long do_upgrades(void) {
    long same = 0;
    for (long i = 0; i < number(2); i++) {
        struct stat before, after;
        int writer = open(words[1], O_RDWR);
        if (pwrite(writer, "1", 1, 0) != 1 || fstat(writer, &before) < 0) {
            return -1;
        }
        close(writer);
        int reader = open(words[1], O_RDONLY);
        writer = open(words[1], O_RDWR);
        if (pwrite(writer, "2", 1, 0) != 1 || fstat(writer, &after) < 0) {
            return -1;
        }
        close(writer);
        close(reader);
        same += before.st_ctim.tv_sec == after.st_ctim.tv_sec &&
                before.st_ctim.tv_nsec == after.st_ctim.tv_nsec;
    }
    return same;
}

/* idle_threads COUNT: threads that do nothing but take signals. */
static void *idle(void *unused) {
    for (;;) {
        pause();
    }
    return unused;
}
static long do_idle_threads(void) {
    pthread_t thread;
    long failures = 0;
    for (long i = 0; i < number(1); i++) {
        failures += pthread_create(&thread, NULL, idle, NULL) != 0;
    }
    return failures;
}

const struct command thread_commands[] = {
    COMMAND(handle_all_realtime),
    COMMAND(raise_all_realtime),
    COMMAND(churn),
    COMMAND(fork_churn),
    COMMAND(limit_churn),
    COMMAND(vfork_many),
    COMMAND(vfork_replace),
    COMMAND(vfork_dup2),
    COMMAND(upgrades),
    COMMAND(idle_threads),
    {NULL, NULL},
};
