#include "shim/pickup.h"

#include <poll.h>
#include <sys/resource.h>

#include "lib/sys_linux.h"
#include "shim/belongs.h"
#include "shim/handover.h"
#include "shim/hidden.h"
#include "shim/number.h"
#include "shim/proclocks.h"
#include "shim/record.h"
#include "shim/reference.h"
#include "shim/soft.h"

#define CHUNK ((HIDDEN_END + HIDDEN_BEYOND) / 2)

static const struct sidecar_id NO_ID;

/* The kernel takes no more at once than the limit on open files. */
static int chunk_size(void) {
    struct rlimit limit;
    if (SYS_CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit, 0, 0) < 0 ||
        limit.rlim_cur >= CHUNK) {
        return CHUNK;
    }
    return limit.rlim_cur > 0 ? (int)limit.rlim_cur : 1;
}

/* Which of some numbers are open, by one call: poll(2) says POLLNVAL of those
 * that are not. Each is handed on; false from there ends it. */
static void each_open(int first, int end, bool (*found)(int fd, void *data), void *data) {
    struct pollfd set[CHUNK];
    int size = chunk_size();
    struct timespec now = {0};
    for (int low = first; low < end; low += size) {
        int count = end - low < size ? end - low : size;
        for (int i = 0; i < count; i++) {
            set[i] = (struct pollfd){.fd = low + i};
        }
        if (SYS_CALL(SYS_ppoll, set, count, &now, NULL, 0, 0) < 0) {
            return;
        }
        for (int i = 0; i < count; i++) {
            if (!(set[i].revents & POLLNVAL) && !found(low + i, data)) {
                return;
            }
        }
    }
}

static bool serves_already(int fd) {
    return table_kind(table_get(fd)) != TABLE_NONE;
}

/* Of what it may serve, the first that it does. */
struct search {
    int twin, fd;
};

static bool try_one(int fd, void *data) {
    struct search *search = data;
    if (fd == search->twin || serves_already(fd) || belongs(search->twin, fd) != BELONGS) {
        return true;
    }
    search->fd = fd;
    return false;
}

static int find_served(int twin, enum rule_inherit inherit) {
    int place = HIDDEN_PLACE(twin);
    if (inherit == INHERIT_STDIO && place < HIDDEN_STDIO && !serves_already(place) &&
        belongs(twin, place) != BELONGS_NOT) {
        return place;
    }
    struct search search = {.twin = twin, .fd = -1};
    each_open(0, inherit == INHERIT_ALL ? 1 << 16 : HIDDEN_STDIO, try_one, &search);
    return search.fd;
}

static void tie(int twin, int fd) {
    struct sys_stat stat;
    table_word before;
    if (sys_fstat(twin, &stat) < 0) {
        return;
    }
    struct sidecar_id id = sidecar_id_of(&stat);
    int access = sys_fcntl(fd, F_GETFL, 0);
    bool shared = access >= 0 && (access & O_ACCMODE) == O_RDONLY;
    /* A reader may hold it exclusively (readers=exclusive): asking for the
     * shared lock would give that up, asking for nothing is always right, and
     * an upgrade of what is exclusive already is harmless. */
    enum table_mode mode = shared ? MODE_SHARED : MODE_EXCLUSIVE;
    if (table_put(twin, TABLE_HIDDEN, mode, fd, id, &before)) {
        (void)table_put(fd, TABLE_DATA, MODE_NOTHING, twin, NO_ID, &before);
    }
}

/* What descriptors there are of a soft lock's file. */
struct references {
    int anchor;
    struct sidecar_id id;
    bool any;
};

static bool refer(int fd, void *data) {
    struct references *references = data;
    if (fd == references->anchor || serves_already(fd) ||
        belongs(references->anchor, fd) == BELONGS_NOT) {
        return true;
    }
    int twin = hidden_make(references->anchor, MODE_EXCLUSIVE, references->id);
    references->any = true; /* without a number it lasts to the end of the process */
    if (twin >= 0) {
        reference_set(fd, twin, true);
    }
    return true;
}

/* The anchor of a soft lock (soft.h): of our own, or of a parent that has lent us its
 * memory (vfork). */
static void look_at_soft(int fd, enum rule_inherit inherit, const struct sys_stat *stat) {
    struct references references = {.anchor = fd, .id = sidecar_id_of(stat)};
    table_word before;
    if (!hidden_is_own_soft(fd) ||
        !table_put(fd, TABLE_HIDDEN, MODE_NOTHING, TABLE_ANCHOR, references.id, &before)) {
        (void)sys_close(fd);
        return;
    }
    soft_start();
    if (inherit != INHERIT_NONE) {
        each_open(0, inherit == INHERIT_ALL ? 1 << 16 : HIDDEN_STDIO, refer, &references);
    }
    soft_picked_up(fd, references.any);
}

/* Whether the program has record locks on the sidecar. */
struct records {
    struct sidecar_id id;
    bool found;
};

static bool look_for_records(int fd, void *data) {
    struct records *records = data;
    records->found =
        !serves_already(fd) && sidecar_is(fd, records->id) && record_pick_up(fd, records->id);
    return !records->found;
}

/* What serves nothing is not closed where that would cost the program its record
 * locks (record.h). */
static bool leave(int fd, struct sidecar_id id) {
    struct records records = {.id = id, .found = record_descriptor(id) >= 0};
    table_word before;
    if (!records.found) {
        each_open(0, number_lowest_placed(), look_for_records, &records);
    }
    if (!records.found) {
        return false;
    }
    record_before_fork(); /* children from before the exec may share it */
    enum lock_how how = proclocks_of_descriptor(fd);
    enum table_mode mode = how == LOCK_IS_EXCLUSIVE ? MODE_EXCLUSIVE
                           : how == LOCK_IS_SHARED  ? MODE_SHARED
                                                    : MODE_NOTHING;
    return table_put(fd, TABLE_HIDDEN, mode, TABLE_LEFT, id, &before);
}

static bool look_at(int fd, void *data) {
    bool *any = data;
    enum rule_inherit inherit;
    struct sys_stat stat;
    if (sys_fstat(fd, &stat) < 0 || !S_ISREG(stat.mode)) {
        return true; /* a terminal or a pipe: most programs have inherited some */
    }
    record_use();
    handover_notice_inherited();
    if (serves_already(fd)) {
        return true;
    }
    if (hidden_is_soft(fd, &inherit)) {
        look_at_soft(fd, inherit, &stat);
        *any = true;
        return true;
    }
    if (!hidden_is_marked(fd, &inherit)) { /* marks of leases and the like are the program's */
        *any = record_inherit(fd, sidecar_id_of(&stat)) || *any;
        return true;
    }
    int served = find_served(fd, inherit);
    if (served >= 0) {
        tie(fd, served);
    } else if (!leave(fd, sidecar_id_of(&stat))) {
        (void)sys_close(fd);
        return true;
    }
    *any = true;
    return true;
}

bool pickup(void) {
    bool any = false;
    int end = HIDDEN_END + HIDDEN_BEYOND, beyond = number_beyond();
    each_open(HIDDEN_STDIO, end, look_at, &any);
    if (beyond > HIDDEN_END) {
        each_open(beyond > end ? beyond : end, beyond + HIDDEN_BEYOND, look_at, &any);
    }
    return any;
}
