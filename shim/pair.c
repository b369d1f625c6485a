#include "shim/pair.h"

#include <errno.h>
#include <string.h>

#include "shim/procfs.h"

/* The bytes of those who share it: the first one serves all who may read. */
#define SHARED 2
#define SHARED_END (PAIR_WIDTH - 2)

/* A mark's byte: whose thread, and which pair. Thread ids are far smaller. */
#define WAITS (RANGE_MARKS - (INT64_C(1) << 40))
#define THREADS (INT64_C(1) << 31)
#define WAITS_END (WAITS + 2 * THREADS)

static int set(int fd, short type, int64_t start, int64_t length) {
    struct flock64 range;
    return range_lock(fd, F_OFD_SETLK, type, start, length, &range);
}

/* Who excludes it: an error as pair_take's. */
static int find_other(int fd, int64_t start, int64_t length, int64_t *ret_byte) {
    struct flock64 range;
    int r = range_lock(fd, F_OFD_GETLK, F_WRLCK, start, length, &range);
    if (r < 0 || range.l_type == F_UNLCK) {
        return r;
    }
    *ret_byte = range.l_start;
    return range.l_pid == -1 ? -EAGAIN : -EBUSY; /* a process has it, and no description */
}

/* An error as pair_take's. The byte is nobody else's, or somebody has just come. */
static int take_exclusive(int fd, int64_t pair, int64_t *ret_byte) {
    int r = set(fd, F_RDLCK, pair, 1);
    r = r == -EBADF ? set(fd, F_WRLCK, pair, 1) : r;
    return r == -EAGAIN || r == -EACCES ? find_other(fd, pair, 1, ret_byte) : r;
}

static int take_shared(int fd, int64_t pair) {
    int r = set(fd, F_RDLCK, pair + SHARED, 1);
    for (int64_t i = SHARED + 2; (r == -EBADF || r == -EAGAIN) && i < SHARED_END; i += 2) {
        r = set(fd, F_WRLCK, pair + i, 1);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

int pair_take(int fd, int64_t pair, bool exclusive, int64_t *ret_byte) {
    int64_t length = exclusive ? PAIR_WIDTH : 1;
    (void)set(fd, F_UNLCK, pair, PAIR_WIDTH);
    int r = find_other(fd, pair, length, ret_byte);
    if (r < 0) {
        return r; /* without a byte, which would only disturb */
    }
    r = exclusive ? take_exclusive(fd, pair, ret_byte) : take_shared(fd, pair);
    if (r == 0) {
        r = find_other(fd, pair, length, ret_byte);
    }
    if (r < 0) {
        (void)set(fd, F_UNLCK, pair, PAIR_WIDTH);
    }
    return r;
}

bool pair_is_taken(int fd, int64_t pair) {
    int64_t byte;
    return find_other(fd, pair, 1, &byte) == -EAGAIN;
}

static bool is_exclusively(int fd, const struct lock_line *line, void *data) {
    (void)fd;
    return line->range && line->start == *(int64_t *)data;
}

bool pair_is_own(int fd, int64_t pair) {
    return proclocks_descriptor_has(fd, is_exclusively, &pair);
}

void pair_give_back(int fd) {
    (void)set(fd, F_UNLCK, PAIR_JOINED, RANGE_MARKS - PAIR_JOINED);
}

void pair_give_back_all(int fd) {
    (void)set(fd, F_UNLCK, WAITS, RANGE_MARKS - WAITS);
}

static int64_t marks_of(int64_t pair) {
    return WAITS + (pair == PAIR_JOINED ? THREADS : 0);
}

static int64_t mark_of(int64_t pair) {
    return marks_of(pair) + procfs_thread();
}

void pair_leave(int fd, int64_t pair) {
    (void)set(fd, F_UNLCK, pair, PAIR_WIDTH);
    (void)set(fd, F_UNLCK, marks_of(pair), THREADS);
}

void pair_mark_waiting(int fd, int64_t pair) {
    int64_t mark = mark_of(pair);
    if (set(fd, F_RDLCK, mark, 1) == -EBADF) {
        (void)set(fd, F_WRLCK, mark, 1);
    }
}

void pair_unmark_waiting(int fd, int64_t pair) {
    (void)set(fd, F_UNLCK, mark_of(pair), 1);
}

struct lock_key pair_key(const struct lock_key *file, int64_t pair) {
    return proclocks_range_key(file, pair);
}

static struct lock_key file_of(const struct lock_line *line) {
    struct lock_key file = line->key;
    file.text[strcspn(file.text, " ")] = '\0';
    return file;
}

bool pair_of_line(const struct lock_line *line, struct lock_key *ret) {
    if (!line->range || line->start < PAIR_JOINED || line->start >= RANGE_MARKS) {
        return false;
    }
    const struct lock_key file = file_of(line);
    *ret = pair_key(&file, line->start < PAIR_SIBLINGS ? PAIR_JOINED : PAIR_SIBLINGS);
    return true;
}

bool pair_is_exclusive(const struct lock_line *line) {
    return line->start == PAIR_JOINED || line->start == PAIR_SIBLINGS;
}

bool pair_of_mark(const struct lock_line *line, struct lock_key *ret, pid_t *ret_thread) {
    if (!line->range || line->start < WAITS || line->start >= WAITS_END) {
        return false;
    }
    const struct lock_key file = file_of(line);
    bool joined = line->start >= WAITS + THREADS;
    *ret = pair_key(&file, joined ? PAIR_JOINED : PAIR_SIBLINGS);
    *ret_thread = (pid_t)(line->start - WAITS - (joined ? THREADS : 0));
    return true;
}
