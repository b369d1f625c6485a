#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 120000 /* milliseconds, against a hang only */

static char directory[256];

void scenario_begin(void) {
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof(directory), "%s/autolock-test-XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(directory), "mkdtemp %s", directory);
    cr_assert_eq(chdir(directory), 0);
    cr_assert_eq(chmod(directory, 0755), 0);
    /* Rules of this machine must not come in. */
    char **name = environ;
    while (*name) {
        if (strncmp(*name, "AUTOLOCK", 8) == 0) {
            char copy[64];
            snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(*name, "="), *name);
            unsetenv(copy);
            name = environ;
        } else {
            name++;
        }
    }
}

void scenario_begin_with_file(void) {
    scenario_begin();
    put_file("a.csv", "0\n");
}

void stay_on_one_processor(void) {
    cpu_set_t may, one;
    CPU_ZERO(&one);
    cr_assert_eq(sched_getaffinity(0, sizeof(may), &may), 0);
    for (size_t i = 0; CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &may)) {
            CPU_SET(i, &one);
        }
    }
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

void scenario_end(void) {
    const int error = errno; /* the reason of a skip names it */
    char command[300];
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(system(command), 0);
    errno = error;
}

const char *scenario_directory(void) {
    return directory;
}

/* In the child, before exec. */
static void dress(const char *patterns) {
    if (patterns) {
        setenv("LD_PRELOAD", TEST_PRELOAD, 1);
        setenv("AUTOLOCK_PATTERNS", patterns, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
}

struct puppet *puppet_start(const char *patterns, ...) {
    struct puppet *puppet = calloc(1, sizeof(*puppet));
    int commands[2], answers[2];
    cr_assert_eq(pipe2(commands, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(answers, O_CLOEXEC), 0);
    fflush(NULL);
    puppet->pid = fork();
    if (puppet->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody */
        dress(patterns);
        va_list more;
        va_start(more, patterns);
        for (char *variable; (variable = va_arg(more, char *));) {
            putenv(variable);
        }
        va_end(more);
        dup2(commands[0], 500);
        dup2(answers[1], 501);
        /* The same numbers whatever the test has open. */
        for (int fd = 3; fd < 500; fd++) {
            close(fd);
        }
        execl(TEST_PUPPET, TEST_PUPPET, (char *)NULL);
        _exit(127);
    }
    close(commands[0]);
    close(answers[1]);
    puppet->commands = commands[1];
    puppet->answers = answers[0];
    return puppet;
}

int puppet_end(struct puppet *puppet) {
    int status = -1;
    close(puppet->commands);
    cr_assert_eq(waitpid(puppet->pid, &status, 0), puppet->pid);
    close(puppet->answers);
    free(puppet);
    return status;
}

void puppet_kill(struct puppet *puppet) {
    kill(puppet->pid, SIGKILL);
    (void)puppet_end(puppet);
}

static void tell(struct puppet *puppet, const char *format, va_list arguments) {
    char line[8192];
    int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    line[length++] = '\n';
    cr_assert_eq(write(puppet->commands, line, (size_t)length), length);
}

void puppet_tell(struct puppet *puppet, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tell(puppet, format, arguments);
    va_end(arguments);
}

long puppet_result(struct puppet *puppet) {
    char line[8300];
    size_t length = 0;
    for (;;) {
        struct pollfd wait = {.fd = puppet->answers, .events = POLLIN};
        cr_assert_eq(poll(&wait, 1, PATIENCE), 1, "the puppet does not answer");
        cr_assert_eq(read(puppet->answers, line + length, 1), 1, "the puppet has ended");
        if (line[length] == '\n') {
            break;
        }
        length++;
    }
    line[length] = '\0';
    puppet->text[0] = '\0';
    cr_assert_geq(sscanf(line, "%ld %d %8191[^\n]", &puppet->result, &puppet->error, puppet->text),
                  2);
    cr_assert(!strstr(line, "unknown command"), "unknown command");
    return puppet->result;
}

int puppet_first(struct puppet *const *puppets, int count, int patience) {
    struct pollfd waits[8];
    cr_assert(count <= 8);
    for (int i = 0; i < count; i++) {
        waits[i] = (struct pollfd){.fd = puppets[i]->answers, .events = POLLIN};
    }
    int ready = poll(waits, (nfds_t)count, patience);
    cr_assert(ready >= 0);
    for (int i = 0; i < count; i++) {
        if (waits[i].revents & POLLIN) {
            return i;
        }
    }
    return -1;
}

long puppet_call(struct puppet *puppet, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tell(puppet, format, arguments);
    va_end(arguments);
    return puppet_result(puppet);
}

static int queued(pid_t pid) {
    FILE *locks = fopen("/proc/locks", "re");
    char line[256];
    int count = 0;
    while (fgets(line, sizeof(line), locks)) {
        int owner = 0;
        const char *way = strstr(line, "-> FLOCK");
        count += way && sscanf(way, "-> FLOCK ADVISORY %*s %d", &owner) == 1 && owner == pid;
    }
    fclose(locks);
    return count;
}

void wait_until_queue_is(pid_t pid, int count) {
    struct timespec moment = {.tv_nsec = 2000000};
    for (int i = 0; i < PATIENCE / 2; i++) {
        if (queued(pid) >= count) {
            return;
        }
        nanosleep(&moment, NULL);
    }
    cr_assert_fail("not %d threads of process %d wait for a lock", count, (int)pid);
}

void wait_until_queued(pid_t pid) {
    wait_until_queue_is(pid, 1);
}

static void sidecar_of(const char *file, char *ret, size_t size) {
    snprintf(ret, size, "%s.lock", file);
}

enum lock_state lock_state(const char *file) {
    char path[4096];
    sidecar_of(file, path, sizeof(path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NO_SIDECAR;
    }
    enum lock_state state = EXCLUSIVE;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        state = FREE;
    } else if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        state = SHARED;
    }
    close(fd);
    return state;
}

struct stranger stranger_locks(const char *file, int operation) {
    char path[4096], ready = 0;
    int leave[2], locked[2];
    sidecar_of(file, path, sizeof(path));
    cr_assert_eq(pipe2(leave, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(locked, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        /* Not the other strangers' ends of their pipes, above all. */
        for (int other = 3; other < 256; other++) {
            if (other != leave[0] && other != locked[1]) {
                close(other);
            }
        }
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || flock(fd, operation | LOCK_NB) < 0 || write(locked[1], "", 1) != 1) {
            _exit(1);
        }
        _exit(read(leave[0], &ready, 1) != 0);
    }
    close(leave[0]);
    close(locked[1]);
    cr_assert_eq(read(locked[0], &ready, 1), 1, "%s is locked already", path);
    close(locked[0]);
    return (struct stranger){.pid = pid, .leave = leave[1]};
}

void stranger_leaves(struct stranger stranger) {
    close(stranger.leave);
    cr_assert_eq(waitpid(stranger.pid, NULL, 0), stranger.pid);
}

void put_file(const char *path, const char *content) {
    FILE *file = fopen(path, "we");
    cr_assert(file, "%s", path);
    cr_assert_geq(fputs(content, file), 0);
    cr_assert_eq(fclose(file), 0);
}

const char *file_content(const char *path) {
    static char content[65536];
    FILE *file = fopen(path, "re");
    content[0] = '\0';
    if (file) {
        content[fread(content, 1, sizeof(content) - 1, file)] = '\0';
        fclose(file);
    }
    return content;
}

pid_t start_shell(const char *patterns, const char *command) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dress(patterns);
        /* -k: a scenario that hangs must not hang the suite. */
        execlp("timeout", "timeout", "-k", "1", "60", "bash", "-c", command, (char *)NULL);
        _exit(127);
    }
    return pid;
}

int end_shell(pid_t pid) {
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int run_shell(const char *patterns, const char *command) {
    return end_shell(start_shell(patterns, command));
}

int run_shell_as_nobody(const char *patterns, const char *command) {
    char whole[4096];
    cr_assert_eq(run_shell(NULL, "cp " TEST_LIBRARY " nobody.so && chmod 755 nobody.so && "
                                 "echo 'exit 0' >loads && chmod 644 loads"),
                 0);
    snprintf(whole, sizeof(whole),
             "export AUTOLOCK_PATTERNS='%s'\n"
             "run() { setpriv --reuid 65534 --regid 65534 --clear-groups env "
             "LD_PRELOAD=" TEST_BEFORE_LIBRARY "$PWD/nobody.so bash \"$@\"; }\n"
             "[ -z \"$(run loads 2>&1)\" ] || exit 99 # it has to be loaded\n"
             "run -c '%s'",
             patterns, command);
    return run_shell(NULL, whole);
}
