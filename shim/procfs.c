#include "shim/procfs.h"

#include <stdlib.h>
#include <string.h>

#include "lib/sys_linux.h"
#include "shim/proclines.h"
#include "shim/table.h"
#include "shim/text.h"

#define GENERATIONS 64

/* /proc/PID/stat: "4242 (name with ) and blanks) S 17 ...": the last ')' ends
 * the name. */
struct stat_line {
    char name[32];
    char state;
    pid_t parent, session;
};

static bool stat_line(const char *line, void *data) {
    struct stat_line *stat = data;
    const char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (!open || !close || close < open || close[1] != ' ') {
        return true;
    }
    size_t length = (size_t)(close - open - 1);
    if (length >= sizeof(stat->name)) {
        length = sizeof(stat->name) - 1;
    }
    memcpy(stat->name, open + 1, length);
    stat->name[length] = '\0';
    stat->state = close[2];
    char *at;
    stat->parent = (pid_t)strtol(close + 3, &at, 10);
    (void)strtol(at, &at, 10); /* the process group */
    stat->session = (pid_t)strtol(at, NULL, 10);
    return true;
}

static bool read_stat(pid_t pid, struct stat_line *ret) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/stat");
    *ret = (struct stat_line){.state = '\0'};
    return proclines_each(AT_FDCWD, path.start, stat_line, ret) == 1 && ret->state;
}

pid_t procfs_self(void) {
    char name[16];
    ssize_t n = sys_readlinkat(AT_FDCWD, "/proc/self", name, sizeof(name) - 1);
    name[n < 0 ? 0 : n] = '\0';
    return (pid_t)strtol(name, NULL, 10);
}

pid_t procfs_thread(void) {
    char name[48]; /* "4242/task/4243" */
    ssize_t n = sys_readlinkat(AT_FDCWD, "/proc/thread-self", name, sizeof(name) - 1);
    name[n < 0 ? 0 : n] = '\0';
    const char *slash = strrchr(name, '/');
    return slash ? (pid_t)strtol(slash + 1, NULL, 10) : 0;
}

bool procfs_has_thread(pid_t pid, pid_t thread) {
    struct sys_stat stat;
    TEXT(path, 64);
    proclines_path(&path, pid, "/task/");
    text_put_number(&path, (uint64_t)thread, 10);
    return sys_stat(AT_FDCWD, path.start, 0, &stat) == 0;
}

pid_t procfs_session(pid_t pid) {
    struct stat_line stat;
    return read_stat(pid, &stat) ? stat.session : 0;
}

pid_t procfs_parent(pid_t pid) {
    struct stat_line stat;
    return read_stat(pid, &stat) ? stat.parent : 0;
}

bool procfs_describe(pid_t pid, char ret_name[32], char *ret_state, unsigned *ret_uid) {
    struct stat_line stat;
    struct sys_stat owner;
    TEXT(path, 40);
    proclines_path(&path, pid, "");
    if (!read_stat(pid, &stat) || sys_stat(AT_FDCWD, path.start, 0, &owner) < 0) {
        return false;
    }
    memcpy(ret_name, stat.name, sizeof(stat.name));
    *ret_state = stat.state;
    *ret_uid = owner.uid;
    return true;
}

/* /proc/PID/task/TID/children: numbers divided by blanks, no newline; the file
 * is there only where the kernel was built so. */
struct children {
    pid_t *list;
    int room, count;
    bool known;
};

static void add_child(struct children *children, pid_t pid) {
    if (children->count < children->room) {
        children->list[children->count] = pid;
    }
    children->count++;
}

static bool children_of_thread(int directory, unsigned number, void *data) {
    struct children *children = data;
    TEXT(path, 32);
    text_put_number(&path, number, 10);
    text_put(&path, "/children");
    int fd = sys_openat(directory, path.start, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    children->known = true;
    char buffer[256];
    ssize_t n;
    pid_t pid = 0;
    while ((n = sys_read(fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buffer[i] >= '0' && buffer[i] <= '9') {
                pid = pid * 10 + (buffer[i] - '0');
            } else if (pid) {
                add_child(children, pid);
                pid = 0;
            }
        }
    }
    (void)sys_close(fd);
    return false;
}

int procfs_children(pid_t pid, pid_t *ret, int room) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/task");
    struct children children = {.list = ret, .room = room};
    (void)proclines_each_number(AT_FDCWD, path.start, children_of_thread, &children);
    return children.known ? children.count : -1;
}

static bool thread_channel(const char *line, void *data) {
    struct text *channel = data;
    text_put(channel, line);
    return true;
}

/* By wait(2), or suspended by vfork(2), in a sleep of the kind that waits for disks. */
static bool waits_for_child(char state, const char *channel) {
    return strcmp(channel, "do_wait") == 0 ||
           (state == 'D' &&
            (strcmp(channel, "kernel_clone") == 0 || strcmp(channel, "wait_for_vfork_done") == 0));
}

static bool thread_state(const char *line, void *data) {
    const char *close = strrchr(line, ')');
    *(char *)data = close && close[1] == ' ' ? close[2] : '?';
    return true;
}

static bool count_thread(int directory, unsigned number, void *data) {
    struct procfs_threads *threads = data;
    TEXT(stat, 32);
    text_put_number(&stat, number, 10);
    text_put(&stat, "/stat");
    TEXT(channel, 32);
    text_put_number(&channel, number, 10);
    text_put(&channel, "/wchan");
    char state = '?';
    TEXT(sleeps_in, 40);
    (void)proclines_each(directory, stat.start, thread_state, &state);
    if (state == 'Z' || state == 'X') {
        return false; /* a first thread that has ended before the others */
    }
    (void)proclines_each(directory, channel.start, thread_channel, &sleeps_in);
    threads->live++;
    threads->wait_for_children += waits_for_child(state, sleeps_in.start);
    return false;
}

struct procfs_threads procfs_threads(pid_t pid) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/task");
    struct procfs_threads threads = {0};
    (void)proclines_each_number(AT_FDCWD, path.start, count_thread, &threads);
    return threads;
}

uint64_t procfs_mix(uint64_t a, uint64_t b) {
    uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) ^ b;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct thread_rest {
    struct procfs_rest *rest;
    uint64_t switches;
};

/* /proc/PID/task/TID/status: "State:\tS (sleeping)", "voluntary_ctxt_switches:
 * 12", "nonvoluntary_ctxt_switches: 3". */
static bool status_line(const char *line, void *data) {
    struct thread_rest *thread = data;
    struct procfs_rest *rest = thread->rest;
    const char *value = strchr(line, ':');
    if (!value) {
        return false;
    }
    if (strncmp(line, "State:", 6) == 0) {
        value += strspn(value, ":\t ");
        rest->awake |= *value != 'S' && *value != 'D';
        rest->for_disk += *value == 'D';
    } else if (strstr(line, "voluntary_ctxt_switches:")) {
        thread->switches += strtoul(value + 1, NULL, 10);
    }
    return false;
}

/* More than a long on some machines. */
static uint64_t number(const char **at) {
    uint64_t value = 0;
    *at += strspn(*at, " ");
    for (; **at >= '0' && **at <= '9'; ++*at) {
        value = value * 10 + (uint64_t)(**at - '0');
    }
    return value;
}

/* schedstat: nanoseconds on a processor, and nanoseconds waiting for one; only
 * where the kernel was built so. */
static bool schedule_line(const char *line, void *data) {
    struct procfs_rest *rest = data;
    rest->run_time += number(&line) / 1000;
    rest->delay += number(&line) / 1000;
    return true;
}

static bool look_at_thread(int directory, unsigned number, void *data) {
    struct procfs_rest *rest = data;
    TEXT(status, 32);
    text_put_number(&status, number, 10);
    text_put(&status, "/status");
    TEXT(schedule, 32);
    text_put_number(&schedule, number, 10);
    text_put(&schedule, "/schedstat");
    rest->threads += number;
    struct thread_rest thread = {.rest = rest};
    (void)proclines_each(directory, status.start, status_line, &thread);
    rest->state += procfs_mix(number, thread.switches); /* another thread is a change, too */
    rest->timed &= proclines_each(directory, schedule.start, schedule_line, rest) == 1;
    return false;
}

struct procfs_rest procfs_rest(pid_t pid) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/task");
    struct procfs_rest rest = {.timed = true};
    (void)proclines_each_number(AT_FDCWD, path.start, look_at_thread, &rest);
    rest.asleep = rest.threads > 0 && !rest.awake && rest.for_disk == 0;
    return rest;
}

struct open_search {
    bool own;
    struct sidecar_id id;
};

static bool is_open_as(int directory, unsigned number, void *data) {
    const struct open_search *search = data;
    struct sys_stat stat;
    TEXT(name, 12);
    text_put_number(&name, number, 10);
    return !(search->own && table_kind(table_get((int)number)) == TABLE_HIDDEN) &&
           sys_stat(directory, name.start, 0, &stat) == 0 &&
           sidecar_same(sidecar_id_of(&stat), search->id);
}

bool procfs_has_open(pid_t pid, struct sidecar_id id) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/fd");
    struct open_search search = {.own = pid == 0, .id = id};
    return proclines_each_number(AT_FDCWD, path.start, is_open_as, &search) == 1;
}

bool procfs_is_ancestor(pid_t other) {
    pid_t pid = procfs_parent(0); /* not getppid: this /proc may number otherwise */
    for (int i = 0; i < GENERATIONS && pid > 0 && pid != other; i++) {
        pid = procfs_parent(pid);
    }
    return pid == other;
}
