#include "tests/bench/ways.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PYTHON "/usr/bin/python3"

const char *python_script;
static struct filelock *object, *fair_object;
static int bare_fd;

void die(const char *what, int error) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(error));
    exit(1);
}

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

const struct way ways[WAYS] = {
    [WAY_BARE] = {"bare system calls", bare_acquire, bare_release},
    [WAY_LIBRARY] = {"libfilelock", lib_acquire, lib_release},
    [WAY_LIBRARY_TIMEOUT] = {"libfilelock, timeout", lib_acquire_timeout, lib_release}};
const struct way way_fair = {"libfilelock, fair", fair_acquire, fair_release};

void ways_begin(void) {
    int r = filelock_create(&object, LOCK_FILE, 0);
    if (r == 0) {
        r = filelock_create(&fair_object, LOCK_FILE, FILELOCK_FAIR);
    }
    if (r < 0) {
        die("filelock_create", -r);
    }
}

void ways_end(void) {
    filelock_destroy(object);
    filelock_destroy(fair_object);
}

size_t from_python(const char *mode, int number, double *ret, size_t size) {
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

void row(const char *name, const double *values, size_t count, const double *base) {
    printf("  %-24s", name);
    for (size_t i = 0; i < count; i++) {
        printf("%10.2f (%6.2f)", values[i], values[i] / base[i]);
    }
    printf("\n");
}
