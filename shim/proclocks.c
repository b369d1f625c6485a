#include "shim/proclocks.h"

#include <stdlib.h>
#include <string.h>

#include "lib/sys_linux.h"
#include "shim/procfs.h"
#include "shim/proclines.h"

bool lock_key_same(const struct lock_key *a, const struct lock_key *b) {
    return strcmp(a->text, b->text) == 0;
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

bool proclocks_key(int fd, struct lock_key *ret) {
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0) {
        return false;
    }
    struct mount mount = {.id = stat.mnt_id, .major = stat.dev_major, .minor = stat.dev_minor};
    if (stat.mask & SYS_STATX_MNT_ID) {
        (void)proclines_each(AT_FDCWD, "/proc/self/mountinfo", mount_line, &mount);
    }
    struct text key = {.start = ret->text, .size = sizeof(ret->text)};
    put_hex2(&key, mount.major);
    text_put(&key, ":");
    put_hex2(&key, mount.minor);
    text_put(&key, ":");
    text_put_number(&key, stat.ino, 10);
    return true;
}

struct lock_key proclocks_range_key(const struct lock_key *file, int64_t start) {
    struct lock_key key = *file;
    struct text text = {.start = key.text, .size = sizeof(key.text), .length = strlen(key.text)};
    text_put(&text, " ");
    text_put_number(&text, (uint64_t)start, 10);
    return key;
}

/* More than a long on some machines. */
static int64_t first_byte(const char *digits) {
    int64_t value = 0;
    for (; *digits >= '0' && *digits <= '9' && value < INT64_MAX / 10; digits++) {
        value = value * 10 + (*digits - '0');
    }
    return value;
}

/* "1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF"; waiters have "->" after the
 * number, a line in fdinfo has "lock:" in front. OFDLCK: a record lock of an open
 * file description; what follows the file is its first byte. */
static bool parse(const char *line, struct lock_line *ret) {
    const char *kind = strstr(line, " FLOCK ");
    ret->range = !kind;
    if (ret->range) {
        kind = strstr(line, " OFDLCK ");
    }
    if (!kind) {
        return false;
    }
    ret->waits = strstr(line, " -> ");
    const char *way = strstr(kind, " WRITE ");
    ret->exclusive = way;
    way = way ? way + strlen(" WRITE ") : strstr(kind, " READ ");
    if (!way) {
        return false;
    }
    way += strcspn(way, "-0123456789");
    char *end;
    ret->pid = (pid_t)strtol(way, &end, 10);
    end += strspn(end, " ");
    size_t length = strcspn(end, " ");
    ret->start = 0;
    if (ret->range && end[length]) {
        ret->start = first_byte(end + length + 1);
        length += 1 + strcspn(end + length + 1, " ");
    }
    if (length == 0 || length >= sizeof(ret->key.text)) {
        return false;
    }
    memcpy(ret->key.text, end, length);
    ret->key.text[length] = '\0';
    return true;
}

struct visit {
    lock_visitor *visit;
    void *data;
};

static bool visit_line(const char *line, void *data) {
    const struct visit *visit = data;
    struct lock_line lock;
    return parse(line, &lock) && visit->visit(&lock, visit->data);
}

/* Of as many bytes as the kernel gives at once there is always room (a page, and what is
 * left of the one before). Not on the stack, which may be small. */
#define LOCKS_SIZE 8192

int proclocks_each(lock_visitor *visit, void *data) {
    struct visit both = {visit, data};
    char *buffer = sys_map(LOCKS_SIZE);
    if (!buffer) {
        return proclines_each(AT_FDCWD, "/proc/locks", visit_line, &both);
    }
    int r = proclines_each_by(AT_FDCWD, "/proc/locks", buffer, LOCKS_SIZE, visit_line, &both);
    sys_unmap(buffer, LOCKS_SIZE);
    return r;
}

struct descriptor_visit {
    descriptor_visitor *visit;
    void *data;
    int fd;
};

static bool descriptor_line(const char *line, void *data) {
    const struct descriptor_visit *visit = data;
    struct lock_line lock;
    return strncmp(line, "lock:", 5) == 0 && parse(line, &lock) &&
           visit->visit(visit->fd, &lock, visit->data);
}

static bool descriptor_entry(int directory, unsigned number, void *data) {
    struct descriptor_visit *visit = data;
    TEXT(name, 12);
    text_put_number(&name, number, 10);
    visit->fd = (int)number;
    return proclines_each(directory, name.start, descriptor_line, visit) == 1;
}

int proclocks_of_process(pid_t pid, descriptor_visitor *visit, void *data) {
    TEXT(path, 40);
    proclines_path(&path, pid, "/fdinfo");
    struct descriptor_visit both = {visit, data, -1};
    return proclines_each_number(AT_FDCWD, path.start, descriptor_entry, &both);
}

struct search {
    const struct lock_key *key;
    bool (*skip)(int fd);
    enum lock_how found;
    int fd;
    pid_t pid;
};

static bool is_flock(int fd, const struct lock_line *line, void *data) {
    (void)fd;
    if (line->range) {
        return false;
    }
    *(enum lock_how *)data = line->exclusive ? LOCK_IS_EXCLUSIVE : LOCK_IS_SHARED;
    return true;
}

bool proclocks_descriptor_has(int fd, descriptor_visitor *visit, void *data) {
    struct descriptor_visit both = {visit, data, fd};
    TEXT(path, 48);
    text_put(&path, "/proc/self/fdinfo/");
    text_put_number(&path, (uint64_t)(unsigned)fd, 10);
    return proclines_each(AT_FDCWD, path.start, descriptor_line, &both) == 1;
}

enum lock_how proclocks_of_descriptor(int fd) {
    enum lock_how how = LOCK_NOT_OPEN;
    (void)proclocks_descriptor_has(fd, is_flock, &how);
    return how;
}

static bool is_searched(int fd, const struct lock_line *line, void *data) {
    struct search *search = data;
    if (!lock_key_same(&line->key, search->key) || (search->skip && search->skip(fd))) {
        return false;
    }
    search->found = line->exclusive ? LOCK_IS_EXCLUSIVE : LOCK_IS_SHARED;
    search->fd = fd;
    return true;
}

enum lock_how proclocks_find(pid_t pid, const struct lock_key *key, bool (*skip)(int fd),
                             int *ret_fd) {
    struct search search = {.key = key, .skip = skip, .found = LOCK_NOT_OPEN, .fd = -1};
    (void)proclocks_of_process(pid, is_searched, &search);
    *ret_fd = search.fd;
    return search.found;
}

static bool is_owner(const struct lock_line *line, void *data) {
    struct search *search = data;
    if (line->waits || !lock_key_same(&line->key, search->key)) {
        return false;
    }
    search->pid = line->pid;
    return true;
}

pid_t proclocks_owner(const struct lock_key *key) {
    struct search search = {.key = key};
    (void)proclocks_each(is_owner, &search);
    return search.pid;
}

static bool holds(int directory, unsigned number, void *data) {
    struct search *search = data;
    (void)directory;
    search->pid = (pid_t)number;
    return proclocks_of_process(search->pid, is_searched, search) == 1;
}

pid_t proclocks_holder(const struct lock_key *key) {
    struct search search = {.key = key, .found = LOCK_NOT_OPEN};
    return proclines_each_number(AT_FDCWD, "/proc", holds, &search) == 1 ? search.pid : 0;
}

static bool holds_elsewhere(int directory, unsigned number, void *data) {
    struct search *search = data;
    (void)directory;
    return (pid_t)number != search->pid &&
           proclocks_of_process((pid_t)number, is_searched, search) == 1;
}

bool proclocks_is_elsewhere(const struct lock_key *key) {
    struct search search = {.key = key, .found = LOCK_NOT_OPEN, .pid = procfs_self()};
    return search.pid == 0 ||
           proclines_each_number(AT_FDCWD, "/proc", holds_elsewhere, &search) != 0;
}
