/* Soft locks: the file is the lock (contract P3, P4). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/filelock.h"
#include "lib/start_token.h"
#include "tests/support/harness.h"
#include "tests/unit/lib_moment.h"

#define EXCHANGE 2 /* RENAME_EXCHANGE, renameat2(2) */

static struct filelock *lock;
static struct utsname host;

static void begin(void) {
    scenario_begin();
    cr_assert_eq(uname(&host), 0);
    cr_assert_eq(filelock_create(&lock, "a.lock", FILELOCK_SOFT), 0);
}

static void end(void) {
    filelock_destroy(lock);
    scenario_end();
}

TestSuite(soft, .init = begin, .fini = end, .timeout = 120);

static bool marker_exists(void) {
    return access("a.lock", F_OK) == 0;
}

/* A pid that was in use and is free now. */
static pid_t dead_process(void) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void plant(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    put_file("a.lock", text);
}

Test(soft, the_marker_says_who_holds_it) {
    char expected[512], token[START_TOKEN_SIZE];
    struct stat stat_of;
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_assert_eq(start_token(getpid(), token), 0);
    snprintf(expected, sizeof(expected), "%d\n%s\n%s\n", (int)getpid(), host.nodename, token);
    cr_expect_str_eq(file_content("a.lock"), expected);
    cr_assert_eq(stat("a.lock", &stat_of), 0);
    cr_expect(stat_of.st_mode & S_IWUSR, "py-filelock wants it writable");
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_not(marker_exists());
}

/* The token, against Python's arithmetic on the same two facts. */
Test(soft, the_start_token_is_py_filelock_s) {
    char token[START_TOKEN_SIZE + 1], command[400];
    cr_assert_eq(start_token(getpid(), token), 0);
    snprintf(command, sizeof(command),
             "/usr/bin/python3 -c 'import uuid\n"
             "boot = uuid.UUID(open(\"/proc/sys/kernel/random/boot_id\").read().strip()).int\n"
             "start = open(\"/proc/%d/stat\").read().rpartition(\")\")[2].split()[19]\n"
             "print((boot << 64) | int(start))' >out",
             (int)getpid());
    cr_assert_eq(run_shell(NULL, command), 0);
    strcat(token, "\n");
    cr_expect_str_eq(file_content("out"), token);
    cr_expect_eq(start_token(dead_process(), token), -ESRCH);
}

Test(soft, a_living_holder_is_waited_for) {
    struct filelock_owner owner;
    plant("%d\n%s\n", (int)getpid(), host.nodename);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), -ETIMEDOUT);
    cr_expect_eq(filelock_acquire(lock, 30000), -ETIMEDOUT);
    cr_assert_eq(filelock_get_owner(lock, &owner), 0);
    cr_expect_eq(owner.state, FILELOCK_ALIVE);
    cr_expect_eq(owner.pid, getpid());
    cr_expect_str_eq(owner.host, host.nodename);
    cr_expect(marker_exists());
}

Test(soft, what_is_in_doubt_is_held) {
    static const char *const texts[] = {
        "", "garbage", "12\n", "\n\n", "-5\nx\n", "1e3\nlocalhost\n", "99999999999\nx\n", "7\n\n"};
    struct filelock_owner owner;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        plant("%s", texts[i]);
        cr_expect_eq(filelock_acquire(lock, 5000), -ETIMEDOUT, "'%s'", texts[i]);
        cr_assert_eq(filelock_get_owner(lock, &owner), 0);
        cr_expect_eq(owner.state, FILELOCK_UNKNOWN, "'%s'", texts[i]);
    }
    plant("%d\nanother.host\n", (int)dead_process());
    cr_expect_eq(filelock_acquire(lock, 5000), -ETIMEDOUT);
    cr_assert_eq(filelock_get_owner(lock, &owner), 0);
    cr_expect_str_eq(owner.host, "another.host");
    cr_assert_eq(unlink("a.lock"), 0);
    cr_assert_eq(filelock_get_owner(lock, &owner), 0);
    cr_expect_eq(owner.state, FILELOCK_FREE);
}

Test(soft, a_stale_marker_is_broken) {
    struct filelock_owner owner;
    plant("%d\n%s\n", (int)dead_process(), host.nodename);
    cr_assert_eq(filelock_get_owner(lock, &owner), 0);
    cr_expect_eq(owner.state, FILELOCK_DEAD);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_release(lock), 0);
    /* The pid lives, but is another process by now. */
    plant("%d\n%s\n12345\n", (int)getpid(), host.nodename);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_eq(run_shell(NULL, "[ -z \"$(ls)\" ]"), 0, "something is left");
}

/* Leaves a stale marker, whole at once, unless somebody has the lock. */
static bool leave_stale(pid_t dead, int number) {
    char name[32];
    snprintf(name, sizeof(name), "dead%d", number);
    FILE *file = fopen(name, "w");
    if (!file || fprintf(file, "%d\n%s\n", (int)dead, host.nodename) < 0 || fclose(file) != 0) {
        return false;
    }
    return (link(name, "a.lock") == 0 || errno == EEXIST) && unlink(name) == 0;
}

/* Counts in the data, under the lock. No assertion here: this is a child. */
static int count_and_die(pid_t dead, int number) {
    for (int i = 0; i < 60; i++) {
        if (filelock_acquire(lock, 30 * FILELOCK_SECOND) < 0) {
            return 1;
        }
        int count = 0;
        FILE *file = fopen("data", "r+");
        if (!file || fscanf(file, "%d", &count) != 1) {
            return 2;
        }
        rewind(file);
        fprintf(file, "%d\n", count + 1);
        if (fclose(file) != 0) {
            return 3;
        }
        if (filelock_release(lock) < 0) {
            return 4;
        }
        if (!leave_stale(dead, number)) {
            return 5;
        }
    }
    return 0;
}

/* Eight processes break one stale marker after the other. */
static void eight_break(bool exchange) {
    put_file("data", "0\n");
    pid_t dead = dead_process(), pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            _exit(exchange || moment_refuse(SYS_renameat2, 4, EXCHANGE, EINVAL)
                      ? count_and_die(dead, i)
                      : 6);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_expect_eq(status, 0, "%x", status);
    }
    cr_expect_str_eq(file_content("data"), "480\n");
    if (marker_exists()) {
        cr_expect_eq(unlink("a.lock"), 0);
    }
    cr_expect_eq(run_shell(NULL, "[ \"$(ls -A)\" = data ]"), 0, "something is left");
}

Test(soft, breaking_is_race_free) {
    eight_break(true);
}

Test(soft, breaking_is_race_free_where_names_cannot_change_places) {
    eight_break(false);
}

/* One breaker at a time has a marker: who has locked it is at it. */
Test(soft, a_marker_that_another_is_breaking) {
    plant("%d\n%s\n", (int)dead_process(), host.nodename);
    struct stranger stranger = stranger_locks("a", LOCK_EX);
    cr_expect_eq(filelock_acquire(lock, 10000), -ETIMEDOUT);
    cr_expect_eq(filelock_break(lock), -EAGAIN);
    cr_expect(marker_exists());
    stranger_leaves(stranger);
    cr_expect_eq(filelock_acquire(lock, 10000), 0);
}

Test(soft, a_marker_taken_away_is_noticed) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_assert_eq(unlink("a.lock"), 0);
    plant("somebody else's");
    cr_expect_eq(filelock_release(lock), -ESTALE);
    cr_expect_str_eq(file_content("a.lock"), "somebody else's", "never remove another's");
    cr_expect_not(filelock_is_held(lock));
}

/* A relative path leads elsewhere by the time of the release. */
Test(soft, released_from_another_directory) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_assert_eq(mkdir("elsewhere", 0755), 0);
    cr_assert_eq(chdir("elsewhere"), 0);
    cr_expect_eq(filelock_release(lock), 0);
    cr_expect_eq(access("../a.lock", F_OK), -1, "held for ever");
    cr_assert_eq(chdir(".."), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}

/* The directory has become one that may not be written to. */
static int release_twice(void) {
    struct filelock *own;
    if (filelock_create(&own, "closing/a.lock", FILELOCK_SOFT) < 0 ||
        filelock_acquire(own, FILELOCK_ONCE) < 0 || chmod("closing", 0555) < 0) {
        return 2;
    }
    if (filelock_release(own) != -EACCES || !filelock_is_held(own)) {
        return 3;
    }
    if (chmod("closing", 0755) < 0 || filelock_release(own) != 0) {
        return 4;
    }
    return access("closing/a.lock", F_OK) == 0;
}

Test(soft, a_release_that_fails_can_be_repeated) {
    int status;
    cr_assert_eq(mkdir("closing", 0755), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown("closing", 65534, 65534), 0);
    }
    pid_t pid = fork();
    if (pid == 0) {
        bool other = geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);
        _exit(other ? release_twice() : 5);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%x", status);
}

/* The name has no room for anything behind it. */
Test(soft, a_stale_marker_with_a_long_name) {
    char name[256];
    struct filelock *own;
    memset(name, 'x', 255);
    name[255] = '\0';
    cr_assert_eq(filelock_create(&own, name, FILELOCK_SOFT), 0);
    char text[600];
    snprintf(text, sizeof(text), "%d\n%s\n", (int)dead_process(), host.nodename);
    put_file(name, text);
    cr_expect_eq(filelock_acquire(own, FILELOCK_ONCE), 0);
    filelock_destroy(own);
    cr_expect_eq(run_shell(NULL, "[ -z \"$(ls -A)\" ]"), 0, "something is left");
}

Test(soft, breaking_by_hand) {
    cr_expect_eq(filelock_break(lock), 0, "there is none");
    plant("1\nanother.host\n");
    cr_expect_eq(filelock_break(lock), 0);
    cr_expect_not(marker_exists());
    cr_assert_eq(mkdir("a.lock", 0755), 0);
    cr_expect_eq(filelock_break(lock), -EISDIR);
    cr_assert_eq(rmdir("a.lock"), 0);
    cr_assert_eq(mkfifo("a.lock", 0600), 0);
    cr_expect_eq(filelock_break(lock), -ENXIO);
    cr_assert_eq(unlink("a.lock"), 0);
    struct filelock *hard;
    cr_assert_eq(filelock_create(&hard, "a.lock", 0), 0);
    cr_expect_eq(filelock_break(hard), -EOPNOTSUPP);
    filelock_destroy(hard);
}

/* No room for the text: nothing half-made stays. */
Test(soft, a_full_disk_leaves_no_marker) {
    struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(signal(SIGXFSZ, SIG_IGN), SIG_DFL);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    int r = filelock_acquire(lock, FILELOCK_ONCE);
    bool left = marker_exists();
    none.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    cr_expect_eq(r, -EFBIG);
    cr_expect_not(left);
}

/* Killed as it writes its name: an empty marker would be held for ever. */
Test(soft, a_maker_that_dies_leaves_no_marker) {
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(instructions) / sizeof(instructions[0]),
                                .filter = instructions};
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) {
            _exit(2);
        }
        _exit(filelock_acquire(lock, FILELOCK_ONCE) != 0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%x", status);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}

Test(soft, fork) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int bad = filelock_is_held(lock) || filelock_release(lock) != -EPERM ||
                  filelock_acquire(lock, 5000) != -ETIMEDOUT;
        filelock_destroy(lock);
        _exit(bad);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    cr_expect(marker_exists(), "the child freed its parent's lock");
    cr_expect_eq(filelock_release(lock), 0);
}

Test(soft, errors) {
    struct filelock *other;
    cr_expect_eq(filelock_acquire_shared(lock, FILELOCK_ONCE), -EOPNOTSUPP);
    cr_assert_eq(filelock_create(&other, "missing/a.lock", FILELOCK_SOFT), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_ONCE), -ENOENT);
    filelock_destroy(other);
    cr_assert_eq(filelock_create(&other, "a.lock", FILELOCK_SOFT), 0);
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(filelock_acquire(other, FILELOCK_FOREVER), -EDEADLK);
    filelock_destroy(other);
}

/* P4 with py-filelock's SoftFileLock, whose marker is empty while it holds. */
Test(soft, excludes_py_filelock) {
    cr_assert_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
    cr_expect_eq(run_shell(NULL, "/usr/bin/python3 -c 'import filelock\n"
                                 "try: filelock.SoftFileLock(\"a.lock\").acquire(timeout=0)\n"
                                 "except filelock.Timeout: raise SystemExit(7)'"),
                 7);
    cr_assert_eq(filelock_release(lock), 0);
    cr_assert_eq(mkfifo("ready", 0600), 0);
    pid_t python = start_shell(NULL, "exec /usr/bin/python3 -c 'import filelock\n"
                                     "lock = filelock.SoftFileLock(\"a.lock\")\n"
                                     "lock.acquire()\n"
                                     "open(\"ready\", \"w\").close()\n"
                                     "open(\"ready\").read()'");
    close(open("ready", O_RDONLY)); /* waits for Python to have it */
    cr_expect_str_eq(file_content("a.lock"), "");
    cr_expect_eq(filelock_acquire(lock, 30000), -ETIMEDOUT);
    close(open("ready", O_WRONLY));
    cr_expect_eq(end_shell(python), 0);
    cr_expect_eq(filelock_acquire(lock, FILELOCK_ONCE), 0);
}
