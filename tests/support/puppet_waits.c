/* The puppet's commands about waiting: timers, jumps, cancellation, threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/support/puppet.h"

/* alarm_open PATH FLAGS MILLISECONDS [SA_FLAGS]: an open that SIGALRM ends by
 * siglongjmp: -7. */
static sigjmp_buf jump;
static void on_alarm(int unused) {
    (void)unused;
    siglongjmp(jump, 1);
}
static long do_alarm_open(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = (int)number(4)}, before;
    struct itimerval when = {.it_value = {.tv_usec = (suseconds_t)number(3) * 1000}};
    sigaction(SIGALRM, &action, &before);
    if (sigsetjmp(jump, 1)) {
        sigaction(SIGALRM, &before, NULL);
        return -7;
    }
    setitimer(ITIMER_REAL, &when, NULL);
    long result = open(words[1], (int)number(2), 0666);
    when.it_value.tv_usec = 0;
    setitimer(ITIMER_REAL, &when, NULL);
    sigaction(SIGALRM, &before, NULL);
    return result;
}

/* jump_open PATH FLAGS: the same for SIGUSR1, whenever it comes. */
static long do_jump_open(void) {
    struct sigaction action = {.sa_handler = on_alarm}, before;
    sigaction(SIGUSR1, &action, &before);
    if (sigsetjmp(jump, 1)) {
        sigaction(SIGUSR1, &before, NULL);
        return -7;
    }
    long result = open(words[1], (int)number(2), 0666);
    sigaction(SIGUSR1, &before, NULL);
    return result;
}

/* Threads that open, each for itself. */
#define THREADS 16
static struct opener {
    pthread_t thread;
    char path[256];
    int flags, type, state, error;
    long result;
} openers[THREADS];
static int opener_count;

static void *open_in_thread(void *data) {
    struct opener *opener = data;
    int before;
    if (opener->type >= 0) {
        pthread_setcanceltype(opener->type, &before);
    }
    pthread_setcancelstate(opener->state, &before);
    errno = 0;
    opener->result = open(opener->path, opener->flags, 0666);
    opener->error = errno;
    return NULL;
}

/* open_thread PATH FLAGS [CANCEL TYPE]: its number. */
static long start_opener_on(const pthread_attr_t *attributes, int state) {
    struct opener *opener = &openers[opener_count];
    snprintf(opener->path, sizeof(opener->path), "%s", words[1]);
    opener->flags = (int)number(2);
    opener->type = words[3] ? (int)number(3) : -1;
    opener->state = state;
    int error = pthread_create(&opener->thread, attributes, open_in_thread, opener);
    return error ? -1 : opener_count++;
}
static long start_opener(int state) {
    return start_opener_on(NULL, state);
}
/* open_on_stack SIZE PATH FLAGS: the same on a stack of that size, guard aside. */
static long do_open_on_stack(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (size_t)number(1)) != 0) {
        return -1;
    }
    for (int i = 1; i < 4; i++) {
        words[i] = words[i + 1];
    }
    long result = start_opener_on(&attributes, PTHREAD_CANCEL_ENABLE);
    pthread_attr_destroy(&attributes);
    return result;
}
static long do_open_thread(void) {
    return start_opener(PTHREAD_CANCEL_ENABLE);
}
static long do_open_uncancelled(void) {
    return start_opener(PTHREAD_CANCEL_DISABLE);
}
/* join_thread NUMBER: what its open returned, with its errno as the text; -8 when
 * it was cancelled. */
static long do_join_thread(void) {
    void *result;
    pthread_join(openers[number(1)].thread, &result);
    snprintf(text, sizeof(text), "%d", openers[number(1)].error);
    return result == PTHREAD_CANCELED ? -8 : openers[number(1)].result;
}
static long do_cancel_thread(void) {
    return pthread_cancel(openers[number(1)].thread);
}

/* A thread that closes a descriptor once it can read from a FIFO: thread_close_on FIFO
 * FD; or makes it a copy: thread_dup2_on FIFO FROM TO. */
static char fifo[256];
static int to_close, from;
static void *close_later(void *unused) {
    char byte;
    int fd = open(fifo, O_RDONLY);
    if (read(fd, &byte, 1) == 1) {
        if (from >= 0) {
            dup2(from, to_close);
        } else {
            close(to_close);
        }
    }
    close(fd);
    return unused;
}
static long close_in_thread(int from_fd, int to) {
    pthread_t thread;
    snprintf(fifo, sizeof(fifo), "%s", words[1]);
    from = from_fd;
    to_close = to;
    return pthread_create(&thread, NULL, close_later, NULL);
}
static long do_thread_close_on(void) {
    return close_in_thread(-1, (int)number(2));
}
static long do_thread_dup2_on(void) {
    return close_in_thread((int)number(2), (int)number(3));
}

static long do_block_signals(void) {
    sigset_t all;
    sigfillset(&all);
    return sigprocmask(number(1) ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
}
/* The mask of the thread as a hexadecimal number. */
static long do_mask(void) {
    sigset_t set;
    unsigned long long mask = 0;
    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int i = 1; i < 64; i++) {
        mask |= sigismember(&set, i) == 1 ? 1ull << i : 0;
    }
    snprintf(text, sizeof(text), "%llx", mask);
    return 0;
}
/* Timers of the process, by /proc: lines that begin with "ID:". */
static long do_timers(void) {
    char line[256];
    long count = 0;
    FILE *file = fopen("/proc/self/timers", "r");
    while (file && fgets(line, sizeof(line), file)) {
        count += strncmp(line, "ID:", 3) == 0;
    }
    if (file) {
        fclose(file);
    }
    return file ? count : -1;
}
static long do_no_pending_signals(void) {
    struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_SIGPENDING, &none);
}

/* handle_by_opening SIGNAL PATH: the handler opens the file, closes it and answers
 * with -3. */
static char handler_path[256];
static volatile sig_atomic_t failures;
static void open_in_handler(void) {
    int saved = errno, fd = open(handler_path, O_RDWR);
    if (fd < 0 || close(fd) < 0) {
        failures++;
    }
    errno = saved;
}
static void on_signal_open(int unused) {
    static const char line[] = "-3 0 signal\n", other[] = "-4 0 the handler cannot open it\n";
    (void)unused;
    open_in_handler();
    const char *answer = failures ? other : line;
    if (write(501, answer, strlen(answer)) < 0) {
        _exit(1);
    }
}
static long do_handle_by_opening(void) {
    struct sigaction action = {.sa_handler = on_signal_open, .sa_flags = SA_RESTART};
    snprintf(handler_path, sizeof(handler_path), "%s", words[2]);
    return sigaction((int)number(1), &action, NULL);
}

/* trap_by_opening SIGNAL PATH: the handler opens the file, closes it and then stops for
 * whoever traces us; with nobody there that ends us. How often it could not. */
static void on_signal_trap(int unused) {
    (void)unused;
    open_in_handler();
    raise(SIGTRAP);
}
static long do_trap_by_opening(void) {
    struct sigaction action = {.sa_handler = on_signal_trap, .sa_flags = SA_RESTART};
    snprintf(handler_path, sizeof(handler_path), "%s", words[2]);
    return sigaction((int)number(1), &action, NULL);
}
static long do_failures(void) {
    return failures;
}

/* storm PATH PATH2 COUNT: opens, duplicates and closes the first so often, while
 * handlers do so with the second. How often something failed. */
static void on_storm(int unused) {
    (void)unused;
    open_in_handler();
}
static long do_storm(void) {
    struct sigaction action = {.sa_handler = on_storm, .sa_flags = SA_RESTART}, before;
    struct itimerval often = {.it_interval.tv_usec = 200, .it_value.tv_usec = 200};
    struct itimerval never = {.it_value.tv_usec = 0};
    snprintf(handler_path, sizeof(handler_path), "%s", words[2]);
    failures = 0;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    long failed = 0;
    for (long i = 0; i < number(3); i++) {
        int fd = open(words[1], i % 2 ? O_RDWR : O_RDONLY), copy = i % 3 ? dup(fd) : dup2(fd, 90);
        failed += fd < 0 || copy < 0 || close(fd) < 0 || close(copy) < 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    return failed + failures;
}

const struct command wait_commands[] = {
    COMMAND(open_uncancelled),
    COMMAND(alarm_open),
    COMMAND(jump_open),
    COMMAND(open_thread),
    COMMAND(join_thread),
    COMMAND(cancel_thread),
    COMMAND(thread_close_on),
    COMMAND(thread_dup2_on),
    COMMAND(block_signals),
    COMMAND(mask),
    COMMAND(timers),
    COMMAND(no_pending_signals),
    COMMAND(open_on_stack),
    COMMAND(handle_by_opening),
    COMMAND(trap_by_opening),
    COMMAND(failures),
    COMMAND(storm),
    {NULL, NULL},
};
