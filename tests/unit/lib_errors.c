/* What each failure of a lock file is called, for both kinds; and that nothing
 * stays behind: no descriptor, no half marker, no hold. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

TestSuite(errors, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

static const unsigned kinds[] = {0, FILELOCK_SOFT};

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* One acquire through a new object; whether something stays is told by -1. */
static int once(const char *path, unsigned flags) {
    struct filelock *lock;
    int before = count_descriptors();
    if (filelock_create(&lock, path, flags) < 0) {
        return -1;
    }
    int r = filelock_acquire(lock, FILELOCK_ONCE);
    bool clean = r == 0 || (!filelock_is_held(lock) && count_descriptors() == before);
    filelock_destroy(lock);
    return clean ? r : -1;
}

/* Runs a check that changes the process in a child; its result is 0 for well,
 * SKIPPED where this machine does not let it be set up. */
#define SKIPPED 77
static void in_child(int (*check)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(check());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%x", status);
    if (WEXITSTATUS(status) == SKIPPED) {
        scenario_skip("needs root, and leave to mount");
    }
    cr_expect_eq(WEXITSTATUS(status), 0, "check %d failed", WEXITSTATUS(status));
}

static int no_permission(void) {
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
        return SKIPPED;
    }
    for (int i = 0; i < 2; i++) {
        if (once("closed/x.lock", kinds[i]) != -EACCES) {
            return 1 + i;
        }
    }
    if (once("written.lock", 0) != -EACCES) {
        return 3;
    }
    return once("secret.lock", 0) == -EACCES ? 0 : 4;
}

Test(errors, eacces) {
    cr_assert_eq(mkdir("closed", 0755), 0);
    put_file("secret.lock", "");
    cr_assert_eq(chmod("secret.lock", 0), 0);
    put_file("written.lock", "");
    cr_assert_eq(chmod("written.lock", 0222), 0);
    if (geteuid() != 0) {
        cr_assert_eq(chmod("closed", 0555), 0);
    }
    in_child(no_permission);
}

/* Who may only read the lock file still locks it, on a local file system. */
static int only_read(void) {
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
        return SKIPPED;
    }
    return once("readable.lock", 0) != 0;
}

Test(errors, reading_is_enough) {
    put_file("readable.lock", "");
    cr_assert_eq(chmod("readable.lock", 0444), 0);
    in_child(only_read);
}

/* A program that runs, which may lock itself, as flock(1) can. */
static int only_read_while_it_runs(void) {
    return !moment_refuse(SYS_openat, 2, O_RDWR, ETXTBSY) || once("program.lock", 0) != 0;
}

Test(errors, of_a_program_that_runs_too) {
    put_file("program.lock", "");
    in_child(only_read_while_it_runs);
}

/* A file system of our own, too small for anything, later read-only. */
static int small_file_system(void) {
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mkdir("small", 0755) < 0 || mount("none", "small", "tmpfs", 0, "size=64k") < 0) {
        return SKIPPED;
    }
    FILE *held = fopen("small/held.lock", "w"), *filler = fopen("small/filler", "w");
    if (!held || !filler || fclose(held) != 0) {
        return 1;
    }
    while (fputc('x', filler) != EOF && fflush(filler) == 0) {
    }
    if (once("small/x.lock", FILELOCK_SOFT) != -ENOSPC) {
        return 2;
    }
    if (access("small/x.lock", F_OK) == 0) {
        return 3; /* half a marker stays */
    }
    fclose(filler);
    if (mount("none", "small", "", MS_REMOUNT | MS_RDONLY, NULL) < 0) {
        return 4;
    }
    for (int i = 0; i < 2; i++) {
        if (once("small/x.lock", kinds[i]) != -EROFS) {
            return 5 + i;
        }
    }
    return once("small/held.lock", 0) == 0 ? 0 : 7; /* it is there: reading is enough */
}

Test(errors, enospc_and_erofs) {
    in_child(small_file_system);
}

/* A program that may make no files: it is told so, rather than ended by the signal for a
 * write of ours. Its own writes get theirs as before. */
static volatile sig_atomic_t too_large;
static void count_too_large(int unused) {
    (void)unused;
    too_large++;
}

static int no_file_may_grow(void) {
    struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    struct filelock *lock;
    if (filelock_create(&lock, "planted.lock", FILELOCK_SOFT) < 0 ||
        setrlimit(RLIMIT_FSIZE, &none) < 0) {
        return 1;
    }
    if (once("x.lock", FILELOCK_SOFT) != -EFBIG || access("x.lock", F_OK) == 0) {
        return 2;
    }
    if (filelock_break(lock) != -EFBIG || access("planted.lock", F_OK) < 0) {
        return 3;
    }
    if (signal(SIGXFSZ, count_too_large) != SIG_DFL || once("x.lock", FILELOCK_SOFT) != -EFBIG ||
        too_large != 0) {
        return 4;
    }
    int fd = open("own", O_WRONLY | O_CREAT, 0600);
    return write(fd, "x", 1) < 0 && errno == EFBIG && too_large == 1 ? 0 : 5;
}

Test(errors, efbig) {
    put_file("planted.lock", "1\nanother-host\n");
    in_child(no_file_may_grow);
}

static int no_descriptor(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 1;
    }
    limit.rlim_cur = (rlim_t)dup(0); /* the lowest free number */
    close((int)limit.rlim_cur);
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        if (once("x.lock", kinds[i]) != -EMFILE) {
            return 3 + i;
        }
    }
    return access("x.lock", F_OK) == 0 ? 5 : 0;
}

Test(errors, emfile) {
    in_child(no_descriptor);
}

Test(errors, what_is_no_file) {
    cr_assert_eq(mkdir("d.lock", 0755), 0);
    cr_assert_eq(mkfifo("p.lock", 0600), 0);
    cr_assert_eq(symlink("elsewhere", "l.lock"), 0);
    cr_expect_eq(once("d.lock", 0), -EISDIR);
    cr_expect_eq(once("p.lock", 0), -ENXIO);
    cr_expect_eq(once("l.lock", 0), -ELOOP);
    /* For who locks by existence it is there, whatever it is; but nobody removes
     * a directory as he would a marker. */
    cr_expect_eq(once("d.lock", FILELOCK_SOFT), -EISDIR);
    cr_expect_eq(once("p.lock", FILELOCK_SOFT), -ETIMEDOUT);
    cr_expect_eq(once("l.lock", FILELOCK_SOFT), -ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(once("missing/x.lock", kinds[i]), -ENOENT);
        cr_expect_eq(once("p.lock/x.lock", kinds[i]), -ENOTDIR);
    }
}

Test(errors, of_creation) {
    struct filelock *lock;
    cr_expect_eq(filelock_create(&lock, "", 0), -EINVAL);
    cr_expect_eq(filelock_create(&lock, NULL, 0), -EINVAL);
    cr_expect_eq(filelock_create(&lock, "x.lock", 1u << 31), -EINVAL);
}

/* File systems that cannot make a file without a name (NFS, vfat), and machines
 * without /proc, where it cannot be given one: it is made in the plain way. */
static int made_plainly(void) {
    umask(027);
    for (int i = 0; i < 2; i++) {
        struct filelock *lock;
        struct stat stat_of;
        if (filelock_create(&lock, "x.lock", kinds[i]) < 0 ||
            filelock_acquire(lock, FILELOCK_ONCE) < 0) {
            return 1 + i;
        }
        if (stat("x.lock", &stat_of) < 0 || (stat_of.st_mode & 07777) != 0640) {
            return 3 + i;
        }
        if ((stat_of.st_size > 0) != (kinds[i] == FILELOCK_SOFT)) {
            return 5 + i;
        }
        filelock_destroy(lock);
        if (unlink("x.lock") < 0 && kinds[i] == 0) {
            return 7;
        }
    }
    return 0;
}

static int without_nameless_files(void) {
    const uint32_t tmpfile = O_TMPFILE & ~O_DIRECTORY;
    return moment_refuse(SYS_openat, 2, tmpfile, EOPNOTSUPP) ? made_plainly() : 8;
}

static int without_proc(void) {
    return moment_refuse(SYS_linkat, 0, 0, ENOENT) ? made_plainly() : 8;
}

Test(errors, a_file_system_without_nameless_files) {
    in_child(without_nameless_files);
}

Test(errors, a_machine_without_proc) {
    in_child(without_proc);
}

/* The kernel, or the server of a network file system, has no lock left. */
static int no_lock_left(void) {
    return !moment_refuse(SYS_flock, 0, 0, ENOLCK) || once("x.lock", 0) != -ENOLCK;
}

Test(errors, enolck) {
    in_child(no_lock_left);
}

/* No memory for a hold: nothing is made, nothing is locked. */
static int no_memory(void) {
    struct filelock *lock;
    struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    if (filelock_create(&lock, "x.lock", 0) < 0 || setrlimit(RLIMIT_AS, &none) < 0) {
        return 1;
    }
    void *volatile taken; /* else the compiler leaves it out */
    for (size_t size = 65536; size > 0; size = size > 1024 ? size / 2 : size - 8) {
        do {
            taken = malloc(size);
        } while (taken);
    }
    int r = filelock_acquire(lock, FILELOCK_ONCE);
    if (r != -ENOMEM || filelock_is_held(lock) || access("x.lock", F_OK) == 0) {
        return 2;
    }
    none.rlim_cur = RLIM_INFINITY;
    return setrlimit(RLIMIT_AS, &none) < 0 || filelock_acquire(lock, FILELOCK_ONCE) < 0 ? 3 : 0;
}

Test(errors, enomem) {
    NOT_WITH_SANITIZERS("their allocator does not fail");
    in_child(no_memory);
}

/* Too little for a page, for a while, but enough for malloc: what was locked then is
 * held afterwards too. (It used to be taken for what a parent holds, and given up.) */
#define SIZES 64
#define OF_EACH 16
static void *kept[SIZES][OF_EACH];
static int no_page_at_first(void) {
    struct filelock *lock;
    struct rlimit limit = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    for (size_t i = 0; i < SIZES * OF_EACH; i++) {
        kept[i / OF_EACH][i % OF_EACH] = malloc((i / OF_EACH + 1) * 16);
    }
    for (size_t i = 0; i < SIZES * OF_EACH; i += 2) { /* the others keep it in the process */
        free(kept[i / OF_EACH][i % OF_EACH]);
        kept[i / OF_EACH][i % OF_EACH] = NULL;
    }
    if (setrlimit(RLIMIT_AS, &limit) < 0 || filelock_create(&lock, "x.lock", 0) < 0 ||
        filelock_acquire(lock, FILELOCK_ONCE) < 0) {
        return 1;
    }
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_AS, &limit) < 0 || !filelock_is_held(lock)) {
        return 2;
    }
    if (lock_state("x") != EXCLUSIVE) {
        return 3;
    }
    return filelock_release(lock) < 0 || lock_state("x") != FREE ? 4 : 0;
}

Test(errors, memory_that_comes_back) {
    in_child(no_page_at_first);
}
