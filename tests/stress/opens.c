/*
 * opens COUNT [soft]
 *
 * Opens one file that a rule matches so many times, in all ways by turns, and
 * then looks at what is left of it: no descriptor, no memory, no lock; of a soft lock
 * (kind=soft) no file either.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define OUT 100 /* standard output comes and goes */
#define NOTHING 101

static void fail(const char *what, long count) {
    dprintf(OUT, "%s after %ld opens\n", what, count);
    exit(1);
}

static int count_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (directory && readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Pages of address space. */
static long count_pages(void) {
    char text[200] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) {
        fail("no /proc", 0);
    }
    close(fd);
    return atol(text);
}

static void open_once(long i) {
    if (i % 16 == 0) {
        FILE *stream = fopen("a.csv", "r+");
        if (!stream || fclose(stream) != 0) {
            fail("fopen", i);
        }
        return;
    }
    int fd = open("a.csv", i % 4 ? O_RDWR : O_RDONLY);
    if (fd != 3) {
        fail("another number", i);
    }
    if (i % 3 == 0) {
        int copy = i % 2 ? dup(fd) : dup2(fd, 1);
        if (copy != (i % 2 ? 4 : 1)) {
            fail("dup", i);
        }
        close(fd);
        fd = copy;
    }
    if (fd == 1 ? dup2(NOTHING, 1) < 0 : close(fd) < 0) {
        fail("close", i);
    }
}

static void expect_free(bool soft, long count) {
    int fd = open("a.csv", O_RDWR);
    if (fd < 0 || access("a.csv.lock", F_OK) < 0) {
        fail("no lock was taken", count);
    }
    close(fd);
    if (soft && access("a.csv.lock", F_OK) == 0) {
        fail("still locked", count);
    }
    int lock = soft ? -1 : open("a.csv.lock", O_RDWR | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0) {
        fail("still locked", count);
    }
}

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 1000000;
    char directory[] = "/tmp/autolock-opens-XXXXXX";
    if (!mkdtemp(directory) || chdir(directory) < 0 || close(open("a.csv", O_CREAT, 0644)) < 0) {
        perror(directory);
        return 2;
    }
    int null = open("/dev/null", O_RDWR);
    if (dup2(1, OUT) < 0 || dup2(null, NOTHING) < 0) {
        return 2;
    }
    closefrom(NOTHING + 1);
    for (int fd = 3; fd < OUT; fd++) {
        close(fd);
    }
    for (long i = 0; i < 1000; i++) {
        open_once(i);
    }
    int descriptors = count_descriptors();
    long pages = count_pages();
    for (long i = 0; i < count; i++) {
        open_once(i);
    }
    int descriptors_now = count_descriptors();
    long grown = count_pages() - pages;
    dup2(OUT, 1);
    expect_free(argc > 2 && strcmp(argv[2], "soft") == 0, count);
    if (descriptors_now != descriptors) {
        fail("descriptors left", count);
    }
    if (grown > 64) {
        fail("memory left", count);
    }
    (void)unlink("a.csv");
    (void)unlink("a.csv.lock");
    (void)rmdir(directory);
    printf("%ld opens: nothing left\n", count);
    return 0;
}
