#include "shim/procfs.h"

#include <stdlib.h>
#include <string.h>

#include "lib/sys_linux.h"
#include "shim/text.h"

#define CHUNK 4096

/* Calls line() for each line of a file until it says stop, by returning true.
 * Lines longer than the buffer are cut. Returns whether it was stopped. */
static bool each_line(int dirfd, const char *path, bool (*line)(const char *line, void *data),
                      void *data) {
    char *buffer = sys_map(CHUNK);
    int fd = buffer ? sys_openat(dirfd, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    size_t filled = 0;
    bool stopped = false;
    while (fd >= 0 && !stopped) {
        ssize_t n = sys_read(fd, buffer + filled, CHUNK - 1 - filled);
        if (n <= 0) {
            break;
        }
        filled += (size_t)n;
        buffer[filled] = '\0';
        char *start = buffer, *end;
        while (!stopped && (end = strchr(start, '\n'))) {
            *end = '\0';
            stopped = line(start, data);
            start = end + 1;
        }
        filled -= (size_t)(start - buffer);
        memmove(buffer, start, filled);
        if (filled == CHUNK - 1) {
            filled = 0;
        }
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    if (buffer) {
        sys_unmap(buffer, CHUNK);
    }
    return stopped;
}

/* Calls entry() for each numeric name in a directory until it returns true. */
static bool each_number(int dirfd, const char *path,
                        bool (*entry)(int directory, unsigned number, void *data), void *data) {
    char *buffer = sys_map(CHUNK);
    int fd = buffer ? sys_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) : -1;
    bool stopped = false;
    ssize_t n;
    while (fd >= 0 && !stopped && (n = sys_getdents64(fd, buffer, CHUNK)) > 0) {
        for (ssize_t at = 0; at < n && !stopped;) {
            /* struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name */
            unsigned short length;
            memcpy(&length, buffer + at + 16, sizeof(length));
            const char *name = buffer + at + 19;
            if (*name >= '0' && *name <= '9') {
                stopped = entry(fd, (unsigned)strtoul(name, NULL, 10), data);
            }
            at += length;
        }
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    if (buffer) {
        sys_unmap(buffer, CHUNK);
    }
    return stopped;
}

static void process_path(struct text *text, pid_t pid, const char *rest) {
    text_put(text, "/proc/");
    if (pid == 0) {
        text_put(text, "self");
    } else {
        text_put_number(text, (uint64_t)pid, 10);
    }
    text_put(text, rest);
}

/* mountinfo: "36 35 98:0 /root /mount ..." */
struct mount {
    uint64_t id;
    unsigned major, minor;
};

static bool mount_line(const char *line, void *data) {
    struct mount *mount = data;
    char *end;
    if (strtoul(line, &end, 10) != mount->id) {
        return false;
    }
    (void)strtoul(end, &end, 10);
    mount->major = (unsigned)strtoul(end, &end, 10);
    mount->minor = *end == ':' ? (unsigned)strtoul(end + 1, NULL, 10) : 0;
    return true;
}

static void put_hex2(struct text *text, unsigned number) {
    if (number < 16) {
        text_put(text, "0");
    }
    text_put_number(text, number, 16);
}

bool procfs_lock_key(int fd, struct lock_key *ret) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0) {
        return false;
    }
    struct mount mount = {.id = stat.mnt_id, .major = stat.dev_major, .minor = stat.dev_minor};
    if (stat.mask & SYS_STATX_MNT_ID) {
        (void)each_line(AT_FDCWD, "/proc/self/mountinfo", mount_line, &mount);
    }
    struct text key = {.start = ret->text, .size = sizeof(ret->text)};
    text_put(&key, " ");
    put_hex2(&key, mount.major);
    text_put(&key, ":");
    put_hex2(&key, mount.minor);
    text_put(&key, ":");
    text_put_number(&key, stat.ino, 10);
    text_put(&key, " ");
    return true;
}

/* "lock:\t1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF" in fdinfo, the same
 * without the first word in /proc/locks, where waiters have "->". */
struct lock_search {
    const struct lock_key *key;
    enum procfs_lock found;
    pid_t pid;
    int fd;
    bool (*skip)(int fd);
};

static bool lock_line(const char *line, void *data) {
    struct lock_search *search = data;
    const char *kind = strstr(line, ": FLOCK ");
    if (!kind || !strstr(line, search->key->text)) {
        return false;
    }
    const char *way = strstr(line, " WRITE ");
    search->found = way ? LOCK_IS_EXCLUSIVE : LOCK_IS_SHARED;
    if (!way) {
        way = strstr(line, " READ ");
    }
    if (way) {
        search->pid = (pid_t)strtol(strchr(way + 1, ' '), NULL, 10);
    }
    return true;
}

static bool descriptor_entry(int directory, unsigned number, void *data) {
    struct lock_search *search = data;
    if (search->skip && search->skip((int)number)) {
        return false;
    }
    TEXT(name, 12);
    text_put_number(&name, number, 10);
    search->fd = (int)number;
    return each_line(directory, name.start, lock_line, search);
}

enum procfs_lock procfs_find_locked(pid_t pid, const struct lock_key *key, bool (*skip)(int fd),
                                    int *ret_fd) {
    TEXT(path, 40);
    process_path(&path, pid, "/fdinfo");
    struct lock_search search = {.key = key, .found = LOCK_NOT_OPEN, .skip = skip};
    if (!each_number(AT_FDCWD, path.start, descriptor_entry, &search)) {
        return LOCK_NOT_OPEN;
    }
    *ret_fd = search.fd;
    return search.found;
}

pid_t procfs_lock_owner(const struct lock_key *key) {
    struct lock_search search = {.key = key};
    (void)each_line(AT_FDCWD, "/proc/locks", lock_line, &search);
    return search.pid;
}

/* /proc/PID/stat: "4242 (name with ) and blanks) S 17 ...": the last ')' ends
 * the name. */
struct stat_line {
    char name[32];
    char state;
    pid_t parent;
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
    stat->parent = (pid_t)strtol(close + 3, NULL, 10);
    return true;
}

static bool read_stat(pid_t pid, struct stat_line *ret) {
    TEXT(path, 40);
    process_path(&path, pid, "/stat");
    *ret = (struct stat_line){.state = '\0'};
    return each_line(AT_FDCWD, path.start, stat_line, ret) && ret->state;
}

pid_t procfs_parent(pid_t pid) {
    struct stat_line stat;
    return read_stat(pid, &stat) ? stat.parent : 0;
}

bool procfs_describe(pid_t pid, char ret_name[32], char *ret_state, unsigned *ret_uid) {
    struct stat_line stat;
    struct sys_stat owner;
    TEXT(path, 40);
    process_path(&path, pid, "");
    if (!read_stat(pid, &stat) || sys_stat(AT_FDCWD, path.start, 0, &owner) < 0) {
        return false;
    }
    memcpy(ret_name, stat.name, sizeof(stat.name));
    *ret_state = stat.state;
    *ret_uid = owner.uid;
    return true;
}

/* /proc/PID/task/TID/children: numbers divided by blanks, no newline. */
struct child_count {
    int count;
    bool known;
};

static bool count_children_of_thread(int directory, unsigned number, void *data) {
    struct child_count *children = data;
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
    while ((n = sys_read(fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            children->count += buffer[i] == ' ';
        }
    }
    (void)sys_close(fd);
    return false;
}

int procfs_count_children(pid_t pid) {
    TEXT(path, 40);
    process_path(&path, pid, "/task");
    struct child_count children = {0};
    (void)each_number(AT_FDCWD, path.start, count_children_of_thread, &children);
    return children.known ? children.count : -1;
}

/* /proc/PID/task/TID/status: "State:\tS (sleeping)", "voluntary_ctxt_switches:
 * 12", "nonvoluntary_ctxt_switches: 3". */
struct sleep_state {
    bool awake;
    unsigned threads;
    uint64_t switches;
};

static bool status_line(const char *line, void *data) {
    struct sleep_state *state = data;
    const char *value = strchr(line, ':');
    if (!value) {
        return false;
    }
    if (strncmp(line, "State:", 6) == 0) {
        value += strspn(value, ":\t ");
        state->awake |= *value != 'S' && *value != 'D';
    } else if (strstr(line, "voluntary_ctxt_switches:")) {
        state->switches += strtoul(value + 1, NULL, 10);
    }
    return false;
}

static bool look_at_thread(int directory, unsigned number, void *data) {
    struct sleep_state *state = data;
    TEXT(path, 32);
    text_put_number(&path, number, 10);
    text_put(&path, "/status");
    state->threads++;
    state->switches += number; /* another thread is a change too */
    (void)each_line(directory, path.start, status_line, state);
    return state->awake;
}

bool procfs_is_asleep(pid_t pid, uint64_t *ret_switches) {
    TEXT(path, 40);
    process_path(&path, pid, "/task");
    struct sleep_state state = {0};
    (void)each_number(AT_FDCWD, path.start, look_at_thread, &state);
    *ret_switches = state.switches;
    return state.threads > 0 && !state.awake;
}
