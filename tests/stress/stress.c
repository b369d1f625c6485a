/*
 * stress SECONDS LIBRARY [SEED [soft]]
 *
 * Threads that open, duplicate and close the same files, fork, vfork and exec
 * meanwhile, close in loops of every kind, and are interrupted by signals whose
 * handlers open files. In several processes at once, each under the library.
 *
 * This program itself is not under it, and looks from outside: each counter in
 * a file has to be what was added to it, no file may stay locked, and no process
 * may have a descriptor left. Exit status 0, or a line that says what is wrong.
 *
 * Nobody waits for a lock while it has another, so that there is no circle, and
 * EDEADLK (as any other error) is wrong. For that a vforked child, which has all
 * that its parent's threads have until exec, waits for a counter that nobody
 * keeps while he waits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 3
#define THREADS 4
#define COUNTERS 6
#define OF_VFORKED (COUNTERS - 1) /* of vforked children alone */
#define PATIENCE 90               /* seconds after the end, against a hang */

/* In a file that all processes map. */
struct shared {
    _Atomic long added[COUNTERS];
    _Atomic long actions, children, signals;
    _Atomic bool over;
};
static struct shared *shared;

static void fail(const char *format, ...) {
    char line[300];
    va_list more;
    va_start(more, format);
    int n = vsnprintf(line, sizeof(line) - 1, format, more);
    va_end(more);
    line[n++] = '\n';
    /* 2 may be a data file by now. */
    int fd = open("failures", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    (void)!write(fd, line, (size_t)n);
    _exit(9);
}

static void share(void) {
    int fd = open("shared", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof(*shared)) < 0) {
        fail("shared: %s", strerror(errno));
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
}

static __thread unsigned state;
static unsigned any(unsigned below) {
    state = state * 1103515245 + 12345;
    return (state >> 16) % below;
}

/* Adds one to a counter through a descriptor, in two steps. */
static void count_up(int fd, int which) {
    char text[32] = "";
    if (pread(fd, text, sizeof(text) - 1, 0) < 0) {
        fail("read counter %d as %d: %s", which, fd, strerror(errno));
    }
    long value = atol(text);
    int n = snprintf(text, sizeof(text), "%ld\n", value + 1);
    if (pwrite(fd, text, (size_t)n, 0) != n) {
        fail("write counter %d as %d: %s", which, fd, strerror(errno));
    }
    atomic_fetch_add(&shared->added[which], 1);
}

static int open_counter(int which) {
    char name[20];
    snprintf(name, sizeof(name), "f%d.csv", which);
    int fd = open(name, O_RDWR | (any(2) ? O_CLOEXEC : 0));
    if (fd < 0) {
        fail("open %s: %s", name, strerror(errno));
    }
    return fd;
}

/* The same file through several descriptors, of which any may be the last. */
static int shuffle(int fd) {
    int copy;
    switch (any(5)) {
    case 0:
        copy = dup(fd);
        break;
    case 1:
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3 + (int)any(60));
        break;
    case 2:
        copy = fcntl(fd, F_DUPFD, 3 + (int)any(60));
        break;
    case 3:
        copy = open("/dev/null", O_RDWR | O_CLOEXEC);
        copy = dup2(fd, copy);
        break;
    default:
        return fd;
    }
    if (copy < 0) {
        fail("duplicate %d: %s", fd, strerror(errno));
    }
    close(fd);
    return copy;
}

/* Threads of one process are one to the library. */
static pthread_mutex_t mutex[COUNTERS] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                          PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                          PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

static void add(void) {
    int which = (int)any(OF_VFORKED);
    pthread_mutex_lock(&mutex[which]);
    int fd = open_counter(which);
    fd = shuffle(shuffle(fd));
    count_up(fd, which);
    close(fd);
    pthread_mutex_unlock(&mutex[which]);
}

/* Many threads on one file at once; only the locks count. */
static void tumble(void) {
    char name[20];
    snprintf(name, sizeof(name), "t%d.csv", any(3));
    int fd = open(name, O_RDWR | (any(2) ? O_CLOEXEC : 0));
    if (fd < 0) {
        fail("open %s: %s", name, strerror(errno));
    }
    close(shuffle(fd));
}

static void on_alarm(int unused) {
    (void)unused;
    int saved = errno;
    int fd = open("h.csv", O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno != EINTR) {
        fail("open in a handler: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    atomic_fetch_add(&shared->signals, 1);
    errno = saved;
}

static int count_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    int count = -1;
    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count - 2;
}

/* In a child: everything above 2 goes. */
static void close_all(void) {
    struct rlimit limit = {.rlim_cur = 1024};
    switch (any(5)) {
    case 0:
        closefrom(3);
        break;
    case 1:
        close_range(3, ~0u, 0);
        break;
    case 2:
        getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = 3; fd < (int)limit.rlim_cur && fd < 2000; fd++) {
            close(fd);
        }
        break;
    case 3:
        for (int fd = 3; fd < 1024; fd++) {
            if (dup2(0, fd) < 0) {
                fail("dup2 onto %d: %s", fd, strerror(errno));
            }
        }
        closefrom(3);
        break;
    default:
        for (int fd = 1100; fd >= 3; fd--) {
            close(fd);
        }
        break;
    }
}

static char *self, seed_text[20], which_text[20];

/* exec: goes on in "once" with the counter as standard output. */
static void exec_once(int which) {
    int fd = open_counter(which);
    if (dup2(fd, 1) != 1) {
        _exit(8);
    }
    if (fd != 1 && any(2)) {
        close(fd);
    }
    snprintf(which_text, sizeof(which_text), "%d", which);
    char *arguments[] = {self, "once", which_text, NULL};
    if (any(2)) {
        char preload[4096];
        snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
        char *environment[] = {preload, NULL}; /* no rules any more */
        execve(self, arguments, environment);
    }
    execv(self, arguments);
    _exit(8);
}

static void child(void) {
    state = state * 31 + (unsigned)getpid();
    close_all();
    for (unsigned i = any(3); i > 0; i--) {
        int which = (int)any(OF_VFORKED);
        int fd = shuffle(open_counter(which));
        count_up(fd, which);
        close(fd);
    }
    if (any(3) == 0) {
        exec_once((int)any(OF_VFORKED));
    }
    _exit(0);
}

static void make_child(void) {
    pid_t pid;
    bool vforked = false;
    switch (any(4)) {
    case 0:
        pid = _Fork();
        break;
    case 1:
        /* One at a time: it shares what the others of ours have. */
        pthread_mutex_lock(&mutex[OF_VFORKED]);
        pid = vfork();
        if (pid == 0) {
            close_all();
            exec_once(OF_VFORKED);
        }
        vforked = true;
        break;
    default:
        pid = fork();
        break;
    }
    if (pid == 0) {
        child();
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (vforked) {
        pthread_mutex_unlock(&mutex[OF_VFORKED]);
    }
    if (pid < 0 || status != 0) {
        fail("a child: status %x", (unsigned)status);
    }
    atomic_fetch_add(&shared->children, 1);
}

static void *run_thread(void *number) {
    state = (unsigned)(size_t)number * 7919 + (unsigned)atoi(seed_text) + (unsigned)getpid();
    while (!atomic_load(&shared->over)) {
        unsigned what = any(12);
        if (what < 6) {
            add();
        } else if (what < 11) {
            tumble();
        } else {
            make_child();
        }
        atomic_fetch_add(&shared->actions, 1);
    }
    return NULL;
}

static int work(void) {
    share();
    int before = count_descriptors();
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {.it_interval.tv_usec = 7000, .it_value.tv_usec = 7000};
    setitimer(ITIMER_REAL, &often, NULL);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, run_thread, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct itimerval never = {.it_value.tv_usec = 0};
    setitimer(ITIMER_REAL, &never, NULL);
    int after = count_descriptors();
    if (after != before) {
        char command[100];
        snprintf(command, sizeof(command), "ls -l /proc/%d/fd >>failures", (int)getpid());
        (void)!system(command);
        fail("process %d has %d descriptors, at first it had %d", (int)getpid(), after, before);
    }
    return 0;
}

/* After exec: the counter is standard output, and still locked. */
static int once(int which) {
    share();
    count_up(1, which);
    if (close(1) < 0) {
        fail("close: %s", strerror(errno));
    }
    for (int fd = 512; fd < 1100; fd++) {
        char link[40], target[200];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        if (n >= 0) {
            target[n] = '\0';
            fail("after exec %d is %s", fd, target);
        }
    }
    return 0;
}

static bool soft; /* kind=soft: the lock file's being there is the lock */

static bool is_locked(const char *name) {
    char path[40];
    snprintf(path, sizeof(path), "%s.lock", name);
    if (soft) {
        return access(path, F_OK) == 0;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
    close(fd);
    return locked;
}

static int check(void) {
    int bad = 0;
    for (int i = 0; i < COUNTERS; i++) {
        char name[20], text[32] = "";
        snprintf(name, sizeof(name), "f%d.csv", i);
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        (void)!read(fd, text, sizeof(text) - 1);
        close(fd);
        if (atol(text) != shared->added[i]) {
            printf("%s is %ld, and %ld were added\n", name, atol(text), (long)shared->added[i]);
            bad = 1;
        }
        if (is_locked(name)) {
            printf("%s is still locked\n", name);
            bad = 1;
        }
    }
    static const char *const others[] = {"t0.csv", "t1.csv", "t2.csv", "h.csv"};
    for (int i = 0; i < 4; i++) {
        if (is_locked(others[i])) {
            printf("%s is still locked\n", others[i]);
            bad = 1;
        }
    }
    return bad;
}

static void put(const char *name, const char *content) {
    FILE *file = fopen(name, "w");
    if (!file || fputs(content, file) < 0 || fclose(file) != 0) {
        perror(name);
        exit(2);
    }
}

static void show_failures(void) {
    char line[400];
    FILE *file = fopen("failures", "r");
    while (file && fgets(line, sizeof(line), file)) {
        fputs(line, stdout);
    }
}

/* For the workers alone. */
static pid_t start(const char *library, int number) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        char seed[20];
        setpgid(0, 0);
        setenv("LD_PRELOAD", library, 1);
        setenv("AUTOLOCK_PATTERNS",
               soft ? "*.csv kind=soft warn-after=60s" : "*.csv warn-after=60s", 1);
        snprintf(seed, sizeof(seed), "%d", atoi(seed_text) + number);
        execl(self, self, "work", seed, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int run(long seconds, const char *library) {
    char directory[] = "/tmp/autolock-stress-XXXXXX", command[100];
    if (!mkdtemp(directory) || chdir(directory) < 0) {
        perror("mkdtemp");
        return 2;
    }
    for (int i = 0; i < COUNTERS; i++) {
        char name[20];
        snprintf(name, sizeof(name), "f%d.csv", i);
        put(name, "0\n");
    }
    put("t0.csv", "");
    put("t1.csv", "");
    put("t2.csv", "");
    put("h.csv", "");
    share();
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = start(library, i);
    }
    int bad = 0, running = PROCESSES;
    time_t end = time(NULL) + seconds;
    struct timespec moment = {.tv_nsec = 20000000};
    while (running > 0 && time(NULL) < end + PATIENCE) {
        if (time(NULL) >= end || bad) {
            shared->over = true;
        }
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            running--;
            if (status != 0) {
                printf("process %d ended with status %x\n", (int)pid, (unsigned)status);
                bad = 1;
            }
        } else {
            nanosleep(&moment, NULL);
        }
    }
    if (running > 0) {
        printf("%d processes hang\n", running);
        bad = 1;
        for (int i = 0; i < PROCESSES; i++) {
            kill(-pids[i], SIGKILL);
        }
    }
    show_failures();
    bad |= check();
    printf("%ld actions, %ld children, %ld signals in %ld s: %s\n", (long)shared->actions,
           (long)shared->children, (long)shared->signals, seconds, bad ? "FAILED" : "all right");
    if (shared->actions == 0) {
        bad = 1;
    }
    if (!bad) {
        snprintf(command, sizeof(command), "rm -rf %s", directory);
        (void)!system(command);
    } else {
        printf("see %s\n", directory);
    }
    return bad;
}

int main(int argc, char **argv) {
    static char path[4096];
    self = realpath("/proc/self/exe", path);
    if (argc == 3 && strcmp(argv[1], "work") == 0) {
        snprintf(seed_text, sizeof(seed_text), "%s", argv[2]);
        return work();
    }
    if (argc == 3 && strcmp(argv[1], "once") == 0) {
        return once(atoi(argv[2]));
    }
    if (argc < 3) {
        fputs("usage: stress SECONDS LIBRARY [SEED [soft]]\n", stderr);
        return 2;
    }
    snprintf(seed_text, sizeof(seed_text), "%s", argc > 3 ? argv[3] : "1");
    soft = argc > 4 && strcmp(argv[4], "soft") == 0;
    return run(atol(argv[1]), argv[2]);
}
