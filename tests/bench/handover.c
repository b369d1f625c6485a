#include "tests/bench/handover.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/measure.h"
#include "tests/bench/ways.h"

#define ROUNDS 1000
#define PYTHON_ROUNDS 60

/* What both processes share. */
struct meeting {
    double released, got;
};
static struct meeting *meeting;

/* A process that waits for the lock in its way whenever it is told to. */
struct waiter {
    pid_t pid;
    int go, ready;
};

static void tell(int fd) {
    if (write(fd, "", 1) != 1) {
        die("pipe", errno);
    }
}

static bool heard(int fd) {
    char byte;
    return read(fd, &byte, 1) == 1;
}

static _Noreturn void wait_as_told(const struct way *way, int go, int ready) {
    while (heard(go)) {
        tell(ready);
        way->acquire();
        meeting->got = measure_now();
        way->release();
        tell(ready);
    }
    _exit(0);
}

static struct waiter start(const struct way *way) {
    int go[2], ready[2];
    if (pipe(go) < 0 || pipe(ready) < 0) {
        die("pipe", errno);
    }
    struct waiter waiter = {.pid = fork(), .go = go[1], .ready = ready[0]};
    if (waiter.pid == 0) {
        close(go[1]);
        close(ready[0]);
        wait_as_told(way, go[0], ready[1]);
    }
    close(go[0]);
    close(ready[1]);
    return waiter;
}

/* From just before the release to just after the acquire. The waiter says that it is
 * about to wait, and gets 2 ms to fall asleep. */
static double hand_over(const struct way *way, const struct waiter *waiter) {
    way->acquire();
    tell(waiter->go);
    if (!heard(waiter->ready)) {
        die("the waiter", ECHILD);
    }
    usleep(2000);
    meeting->released = measure_now();
    way->release();
    if (!heard(waiter->ready)) {
        die("the waiter", ECHILD);
    }
    return (meeting->got - meeting->released) / 1000;
}

/* In turns, so that what goes on beside meets all of them alike. */
static void table(void) {
    static double samples[WAYS][ROUNDS], python[PYTHON_ROUNDS];
    struct waiter waiters[WAYS];
    for (int w = 0; w < WAYS; w++) {
        waiters[w] = start(&ways[w]);
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (int turn = 0; turn < WAYS; turn++) {
            int w = (i % 2 ? turn + i : WAYS - 1 - turn + i) % WAYS; /* every order */
            samples[w][i] = hand_over(&ways[w], &waiters[w]);
        }
    }
    for (int w = 0; w < WAYS; w++) {
        close(waiters[w].go); /* of which those started later have copies until they end */
    }
    for (int w = 0; w < WAYS; w++) {
        (void)waitpid(waiters[w].pid, NULL, 0);
        close(waiters[w].ready);
    }
    size_t count = from_python("handover", PYTHON_ROUNDS, python, PYTHON_ROUNDS);

    double value[2], base[2];
    for (int w = 0; w < WAYS; w++) {
        value[0] = measure_median(samples[w], ROUNDS);
        value[1] = measure_quantile(samples[w], ROUNDS, 0.99);
        if (w == WAY_BARE) {
            memcpy(base, value, sizeof(base));
        }
        row(ways[w].name, value, 2, base);
    }
    value[0] = measure_median(python, count);
    value[1] = measure_quantile(python, count, 0.99);
    row("python3-filelock", value, 2, base);
}

/* Of the processors that this process may use one is left. */
static void keep_one(const cpu_set_t *all) {
    cpu_set_t one;
    size_t first = 0;
    while (!CPU_ISSET(first, all)) {
        first++;
    }
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    if (sched_setaffinity(0, sizeof(one), &one) < 0) {
        die("sched_setaffinity", errno);
    }
}

void handing_over(void) {
    cpu_set_t all;
    meeting =
        mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (meeting == MAP_FAILED || sched_getaffinity(0, sizeof(all), &all) < 0) {
        die("sched_getaffinity", errno);
    }
    printf("\nhand-over to one that waits: median and p99, us (ratio to bare)\n");
    table();
    if (CPU_COUNT(&all) > 1) {
        printf("\nthe same with one processor for both\n");
        keep_one(&all);
        table();
        (void)sched_setaffinity(0, sizeof(all), &all);
    }
    (void)munmap(meeting, sizeof(*meeting));
}
