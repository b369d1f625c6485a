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
static long start_opener(int state) {
    struct opener *opener = &openers[opener_count];
    snprintf(opener->path, sizeof(opener->path), "%s", words[1]);
    opener->flags = (int)number(2);
    opener->type = words[3] ? (int)number(3) : -1;
    opener->state = state;
    int error = pthread_create(&opener->thread, NULL, open_in_thread, opener);
    return error ? -1 : opener_count++;
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

/* A thread that closes a descriptor once it can read from a FIFO. */
static char fifo[256];
static int to_close;
static void *close_later(void *unused) {
    char byte;
    int fd = open(fifo, O_RDONLY);
    if (read(fd, &byte, 1) == 1) {
        close(to_close);
    }
    close(fd);
    return unused;
}
static long do_thread_close_on(void) {
    pthread_t thread;
    snprintf(fifo, sizeof(fifo), "%s", words[1]);
    to_close = (int)number(2);
    return pthread_create(&thread, NULL, close_later, NULL);
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

const struct command wait_commands[] = {
    COMMAND(open_uncancelled), COMMAND(alarm_open),         COMMAND(jump_open),
    COMMAND(open_thread),      COMMAND(join_thread),        COMMAND(cancel_thread),
    COMMAND(thread_close_on),  COMMAND(block_signals),      COMMAND(mask),
    COMMAND(timers),           COMMAND(no_pending_signals), {NULL, NULL},
};
