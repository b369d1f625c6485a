/*
 * Benchmark of libfilelock beside the bare system calls and python3-filelock:
 *
 *     lock PYTHON_SCRIPT
 *
 * All of it in one run, in turns, so that what disturbs one disturbs the other. For
 * what is compared see ways.h, for the tables main.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/handover.h"
#include "tests/bench/measure.h"
#include "tests/bench/ways.h"

/* --- without contention --- */

#define BLOCKS 21
#define BLOCK 2000

static double block(const struct way *way) {
    double start = measure_now();
    for (int i = 0; i < BLOCK; i++) {
        way->acquire();
        way->release();
    }
    return (measure_now() - start) / BLOCK / 1000;
}

static void without_contention(void) {
    double samples[WAYS + 1][BLOCKS], counted[BLOCKS], python[BLOCKS], value[WAYS + 2];
    for (int b = 0; b < BLOCKS; b++) {
        for (size_t w = 0; w < WAYS; w++) {
            samples[w][b] = block(&ways[w]);
        }
        ways[WAY_LIBRARY].acquire();
        counted[b] = block(&ways[WAY_LIBRARY]);
        ways[WAY_LIBRARY].release();
        (void)from_python("uncontended", BLOCK, &python[b], 1);
    }
    printf("acquire + release, nobody else there: median, us (ratio to bare)\n");
    for (size_t w = 0; w < WAYS; w++) {
        value[w] = measure_median(samples[w], BLOCKS);
        row(ways[w].name, &value[w], 1, value);
    }
    value[WAYS] = measure_median(counted, BLOCKS);
    row("libfilelock, held already", &value[WAYS], 1, value);
    value[WAYS + 1] = measure_median(python, BLOCKS);
    row("python3-filelock", &value[WAYS + 1], 1, value);
}

/* --- throughput --- */

#define TOTAL 6400

static double throughput(const struct way *way, int processes) {
    int go[2];
    char byte;
    if (pipe(go) < 0) {
        die("pipe", errno);
    }
    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            close(go[1]);
            (void)!read(go[0], &byte, 1);
            for (int n = 0; n < TOTAL / processes; n++) {
                way->acquire();
                way->release();
            }
            _exit(0);
        }
    }
    double start = measure_now();
    close(go[0]);
    close(go[1]);
    while (wait(NULL) > 0) {
    }
    return TOTAL / ((measure_now() - start) / 1e9);
}

static void crowds(void) {
    static const int sizes[] = {2, 8, 64};
    enum { SIZES = 3, REPEATS = 5 };
    double value[WAYS + 1][SIZES], samples[WAYS + 1][REPEATS];
    for (int s = 0; s < SIZES; s++) {
        for (int i = 0; i < REPEATS; i++) {
            for (size_t w = 0; w < WAYS; w++) {
                samples[w][i] = throughput(&ways[w], sizes[s]);
            }
        }
        for (size_t w = 0; w < WAYS; w++) {
            value[w][s] = measure_median(samples[w], REPEATS);
        }
        (void)from_python("throughput", sizes[s], &value[WAYS][s], 1);
    }
    printf("\nholds a second of 2, 8, 64 processes in all (ratio to bare)\n");
    for (size_t w = 0; w < WAYS; w++) {
        row(ways[w].name, value[w], SIZES, value[0]);
    }
    row("python3-filelock", value[WAYS], SIZES, value[0]);
}

/* --- fairness --- */

/* How long py-filelock waits for one turn beside a loop that holds the lock
 * for a millisecond and takes it again at once; at most 20 s. */
static void beside_a_loop(const struct way *way) {
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            way->acquire();
            usleep(1000);
            way->release();
        }
    }
    double waits[9];
    size_t count = from_python("turns", 9, waits, 9), failed = 0;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        failed += waits[i] < 0;
        waits[i] = waits[i] < 0 ? 20 : waits[i];
    }
    printf("  %-24s%10.2f s at the median, %zu of %zu without a turn in 20 s\n", way->name,
           measure_quantile(waits, count, 0.5), failed, count);
}

int main(int argc, char **argv) {
    char directory[] = "/tmp/bench-lock-XXXXXX";
    if (argc != 2 || argv[1][0] != '/') {
        fprintf(stderr, "usage: lock PYTHON_SCRIPT (an absolute path)\n");
        return 2;
    }
    python_script = argv[1];
    if (!mkdtemp(directory) || chdir(directory) < 0) {
        die(directory, errno);
    }
    ways_begin();
    without_contention();
    handing_over();
    crowds();
    printf("\na turn for py-filelock beside a loop of 1 ms holds in C\n");
    beside_a_loop(&ways[WAY_LIBRARY]);
    beside_a_loop(&way_fair);
    ways_end();
    (void)unlink(LOCK_FILE);
    return chdir("/") < 0 || rmdir(directory) < 0;
}
