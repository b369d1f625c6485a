/*
 * Benchmark of libfilelock beside the bare system calls and python3-filelock:
 *
 *     lock PYTHON_SCRIPT
 *
 * All of it in one run, in turns, so that what disturbs one disturbs the other.
 * "bare" is what the protocol needs at least (contract P1, P2, P6): open, flock,
 * fstat, lstat, unlock, close. See main for the tables.
 */
#include <errno.h>
#include <fcntl.h>
#include <filelock.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define LOCK_FILE "bench.lock"
#define PYTHON "/usr/bin/python3"

static const char *python_script;
static struct filelock *object, *fair_object;
static int bare_fd;

static void die(const char *what, int error) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(error));
    exit(1);
}

/* --- ways to lock --- */

struct way {
    const char *name;
    void (*acquire)(void);
    void (*release)(void);
};

static void bare_acquire(void) {
    for (;;) {
        struct stat mine, there;
        bare_fd = open(LOCK_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
        if (bare_fd < 0 && errno == ENOENT) {
            bare_fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        }
        if (bare_fd < 0 || flock(bare_fd, LOCK_EX) < 0 || fstat(bare_fd, &mine) < 0) {
            die("flock", errno);
        }
        if (lstat(LOCK_FILE, &there) == 0 && there.st_ino == mine.st_ino &&
            there.st_dev == mine.st_dev) {
            return;
        }
        close(bare_fd);
    }
}
static void bare_release(void) {
    (void)flock(bare_fd, LOCK_UN);
    (void)close(bare_fd);
}

static void acquire(struct filelock *lock, uint64_t timeout) {
    int r = filelock_acquire(lock, timeout);
    if (r < 0) {
        die("filelock_acquire", -r);
    }
}
static void lib_acquire(void) {
    acquire(object, FILELOCK_FOREVER);
}
static void lib_acquire_timeout(void) {
    acquire(object, 60 * FILELOCK_SECOND);
}
static void lib_release(void) {
    (void)filelock_release(object);
}
static void fair_acquire(void) {
    acquire(fair_object, FILELOCK_FOREVER);
}
static void fair_release(void) {
    (void)filelock_release(fair_object);
}

static const struct way ways[] = {{"bare system calls", bare_acquire, bare_release},
                                  {"libfilelock", lib_acquire, lib_release},
                                  {"libfilelock, timeout", lib_acquire_timeout, lib_release}};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Numbers that the script prints, one a line. */
static size_t from_python(const char *mode, int number, double *ret, size_t size) {
    char command[4096];
    snprintf(command, sizeof(command), PYTHON " '%s' %s %d %s", python_script, mode, number,
             LOCK_FILE);
    fflush(stdout);
    FILE *pipe = popen(command, "r");
    size_t count = 0;
    while (pipe && count < size && fscanf(pipe, "%lf", &ret[count]) == 1) {
        count++;
    }
    if (!pipe || pclose(pipe) != 0 || count == 0) {
        die("python3-filelock", ENOEXEC);
    }
    return count;
}

static void row(const char *name, const double *values, size_t count, const double *base) {
    printf("  %-24s", name);
    for (size_t i = 0; i < count; i++) {
        printf("%10.2f (%6.2f)", values[i], values[i] / base[i]);
    }
    printf("\n");
}

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
        lib_acquire();
        counted[b] = block(&ways[1]);
        lib_release();
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

/* --- hand-over --- */

#define ROUNDS 60
#define TURNS 8

/* What parent and child share. */
struct meeting {
    double released, got;
};

/* From just before the release to just after the acquire of somebody who waits.
 * The waiter says that it is about to wait, and gets 2 ms to fall asleep. */
static void hand_over(const struct way *way, double *ret) {
    struct meeting *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int go[2], ready[2];
    char byte = 0;
    if (shared == MAP_FAILED || pipe(go) < 0 || pipe(ready) < 0) {
        die("pipe", errno);
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        while (read(go[0], &byte, 1) == 1) {
            (void)!write(ready[1], &byte, 1);
            way->acquire();
            shared->got = measure_now();
            way->release();
            (void)!write(ready[1], &byte, 1);
        }
        _exit(0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        way->acquire();
        if (write(go[1], &byte, 1) != 1 || read(ready[0], &byte, 1) != 1) {
            die("pipe", errno);
        }
        usleep(2000);
        shared->released = measure_now();
        way->release();
        if (read(ready[0], &byte, 1) != 1) {
            die("pipe", errno);
        }
        ret[i] = (shared->got - shared->released) / 1000;
    }
    close(go[1]);
    (void)waitpid(pid, NULL, 0);
    close(go[0]);
    close(ready[0]);
    close(ready[1]);
    (void)munmap(shared, sizeof(*shared));
}

static void handing_over(void) {
    static double samples[WAYS][ROUNDS * TURNS], python[ROUNDS * TURNS];
    double value[2], base[2];
    for (int turn = 0; turn < TURNS; turn++) {
        for (size_t w = 0; w < WAYS; w++) {
            hand_over(&ways[w], samples[w] + turn * ROUNDS);
        }
    }
    size_t count = from_python("handover", ROUNDS, python, ROUNDS * TURNS);
    printf("\nhand-over to one that waits: median and p99, us (ratio to bare)\n");
    for (size_t w = 0; w < WAYS; w++) {
        value[0] = measure_median(samples[w], ROUNDS * TURNS);
        value[1] = measure_quantile(samples[w], ROUNDS * TURNS, 0.99);
        if (w == 0) {
            memcpy(base, value, sizeof(base));
        }
        row(ways[w].name, value, 2, base);
    }
    value[0] = measure_median(python, count);
    value[1] = measure_quantile(python, count, 0.99);
    row("python3-filelock", value, 2, base);
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
static void beside_a_loop(const char *name, void (*take)(void), void (*give)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            take();
            usleep(1000);
            give();
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
    printf("  %-24s%10.2f s at the median, %zu of %zu without a turn in 20 s\n", name,
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
    int r = filelock_create(&object, LOCK_FILE, 0);
    if (r == 0) {
        r = filelock_create(&fair_object, LOCK_FILE, FILELOCK_FAIR);
    }
    if (r < 0) {
        die("filelock_create", -r);
    }
    without_contention();
    handing_over();
    crowds();
    printf("\na turn for py-filelock beside a loop of 1 ms holds in C\n");
    beside_a_loop("libfilelock", lib_acquire, lib_release);
    beside_a_loop("libfilelock, fair", fair_acquire, fair_release);
    filelock_destroy(object);
    filelock_destroy(fair_object);
    (void)unlink(LOCK_FILE);
    return chdir("/") < 0 || rmdir(directory) < 0;
}
