/*
 * The unmodified program of the benchmark: repeats one thing and prints how
 * many nanoseconds it took, one number a line.
 *
 * The processor's time for what is done alone, since other work on the machine
 * must not count; the clock's for a hand-over.
 *
 *     shim_worker open|fopen|least FILE COUNT     the mean of COUNT times, of
 *                                                 which the median of BATCHES
 *     shim_worker start COUNT STDIO PROGRAM...    of fork, exec and wait
 *     shim_worker fork COUNT FILE...              the same with the FILEs open
 *     shim_worker handover open|flock|least FILE COUNT
 *                                                 the median from one to the next
 *     shim_worker memory [-]                      private kilobytes of this process
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 11

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t processor_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t children_time(void) {
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return ((uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)) *
           1000;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void open_once(const char *path) {
    int fd = open(path, O_RDWR);
    check(fd >= 0 && close(fd) == 0, path);
}

static void fopen_once(const char *path) {
    FILE *stream = fopen(path, "r");
    check(stream && fclose(stream) == 0, path);
}

/* The least that the protocol asks for (contract P1, P2, T2). */
static int least_open(const char *path, int operation, int *ret_lock) {
    static char sidecar[4096];
    if (!*sidecar) {
        snprintf(sidecar, sizeof(sidecar), "%s.lock", path);
        int made = open(sidecar, O_RDWR | O_CREAT, 0666);
        check(made >= 0 && close(made) == 0, sidecar);
    }
    struct stat descriptor, name;
    int low = open(sidecar, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    int lock = fcntl(low, F_DUPFD_CLOEXEC, 957);
    close(low);
    check(flock(lock, operation) == 0, "flock");
    check(fstat(lock, &descriptor) == 0 && lstat(sidecar, &name) == 0 &&
              descriptor.st_ino == name.st_ino && descriptor.st_dev == name.st_dev,
          "sidecar");
    int fd = open(path, O_RDWR);
    check(fd >= 0, path);
    *ret_lock = lock;
    return fd;
}

static void least_once(const char *path) {
    int lock, fd = least_open(path, LOCK_EX | LOCK_NB, &lock);
    check(close(fd) == 0 && close(lock) == 0, path);
}

static void repeat(void (*once)(const char *), const char *path, int count) {
    uint64_t times[BATCHES + 1];
    for (int batch = 0; batch <= BATCHES; batch++) { /* the first warms up */
        uint64_t start = processor_time();
        for (int i = 0; i < count; i++) {
            once(path);
        }
        times[batch] = processor_time() - start;
    }
    qsort(times + 1, BATCHES, sizeof(times[0]), by_value);
    printf("%.1f\n", (double)times[1 + BATCHES / 2] / count);
}

/* Runs the program COUNT times; LD_PRELOAD comes from START_PRELOAD, so that
 * this process itself is bare (or, for fork, the program is). */
static void run_children(int count, const char *stdio, char **program) {
    uint64_t start = processor_time() + children_time();
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (stdio) {
                int fd = open(stdio, O_RDWR);
                dup2(fd, 0);
                dup2(fd, 1);
                dup2(fd, 2);
            }
            execv(program[0], program);
            _exit(127);
        }
        int status;
        check(waitpid(pid, &status, 0) == pid && status == 0, program[0]);
    }
    printf("%.1f\n", (double)(processor_time() + children_time() - start) / count);
}

enum way { WAY_OPEN, WAY_FLOCK, WAY_LEAST };

static int get(const char *path, enum way way, int *ret_lock) {
    *ret_lock = -1;
    if (way == WAY_LEAST) {
        return least_open(path, LOCK_EX, ret_lock);
    }
    int fd = open(path, O_RDWR);
    check(fd >= 0, path);
    check(way != WAY_FLOCK || flock(fd, LOCK_EX) == 0, "flock");
    return fd;
}

/* Two processes in turn. Each keeps the file for a while, in which the other
 * comes to stand in the queue, then notes the time and lets go. */
static void hand_over(enum way way, const char *path, int count) {
    struct shared {
        _Atomic uint64_t left;
        _Atomic int who;
        uint64_t times[];
    } *shared = mmap(NULL, sizeof(*shared) + (size_t)count * 2 * sizeof(uint64_t),
                     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(shared != MAP_FAILED, "mmap");
    struct timespec moment = {.tv_nsec = 1500000}, short_moment = {.tv_nsec = 300000};
    pid_t pid = fork();
    int self = pid == 0;
    for (int i = 0; i < count; i++) {
        int lock, fd = get(path, way, &lock);
        uint64_t got = now(), left = atomic_load(&shared->left);
        if (left && atomic_load(&shared->who) != self) {
            shared->times[self * count + i] = got - left;
        }
        nanosleep(&moment, NULL);
        atomic_store(&shared->who, self);
        atomic_store(&shared->left, now());
        close(fd);
        if (lock >= 0) {
            close(lock);
        }
        nanosleep(&short_moment, NULL); /* not before the other has it */
    }
    if (pid == 0) {
        _exit(0);
    }
    check(waitpid(pid, NULL, 0) == pid, "waitpid");
    size_t seen = 0;
    for (int i = 0; i < 2 * count; i++) {
        if (shared->times[i]) {
            shared->times[seen++] = shared->times[i];
        }
    }
    check(seen > 0, "no hand-over");
    qsort(shared->times, seen, sizeof(uint64_t), by_value);
    printf("%llu\n", (unsigned long long)shared->times[seen / 2]);
}

static void print_memory(void) {
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    long sum = 0, number;
    check(file != NULL, "smaps_rollup");
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Private_%*[^:]: %ld", &number) == 1) {
            sum += number;
        }
    }
    fclose(file);
    printf("%ld\n", sum);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "open") == 0 && argc == 4) {
        repeat(open_once, argv[2], atoi(argv[3]));
    } else if (strcmp(what, "fopen") == 0 && argc == 4) {
        repeat(fopen_once, argv[2], atoi(argv[3]));
    } else if (strcmp(what, "least") == 0 && argc == 4) {
        repeat(least_once, argv[2], atoi(argv[3]));
    } else if (strcmp(what, "start") == 0 && argc > 4) {
        const char *preload = getenv("START_PRELOAD");
        if (preload && *preload) {
            setenv("LD_PRELOAD", preload, 1);
        }
        run_children(atoi(argv[2]), argv[3], argv + 4);
    } else if (strcmp(what, "fork") == 0 && argc > 3) {
        static char *true_program[] = {"/bin/true", NULL};
        for (int i = 3; i < argc; i++) {
            check(open(argv[i], O_RDWR | O_CLOEXEC) >= 0, argv[i]);
        }
        unsetenv("LD_PRELOAD");
        run_children(atoi(argv[2]), NULL, true_program);
    } else if (strcmp(what, "handover") == 0 && argc == 5) {
        hand_over(strcmp(argv[2], "flock") == 0   ? WAY_FLOCK
                  : strcmp(argv[2], "least") == 0 ? WAY_LEAST
                                                  : WAY_OPEN,
                  argv[3], atoi(argv[4]));
    } else if (strcmp(what, "memory") == 0) {
        print_memory();
        fflush(stdout);
        if (argc > 2) { /* stays until its standard input is closed */
            check(read(0, argv[2], 1) == 0, "read");
        }
    } else {
        fprintf(stderr, "see the head of shim_worker.c\n");
        return 2;
    }
    return 0;
}
