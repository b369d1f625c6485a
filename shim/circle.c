#include "shim/circle.h"

#include "lib/clock.h"
#include "lib/sys_linux.h"
#include "shim/filename.h"
#include "shim/procfs.h"
#include "shim/waitgraph.h"

#define FIRST_LOOK CLOCK_SECOND
#define RAREST_LOOK (60 * CLOCK_SECOND)
#define SOON (30 * CLOCK_MILLISECOND)
#define HOPES 8
#define WHOLE_LOOKS 4
#define GENERATIONS 64
#define MEMBERS 64
#define CHILDREN 32

/* Those who wait, in the order in which they were found, each through another. */
struct member {
    pid_t pid;
    int by;                              /* the member that waits for this one; -1 for ourselves */
    const struct waitgraph_holder *lock; /* for this lock, or NULL: for its child */
};
struct search {
    const struct waitgraph *graph;
    const struct lock_key *wanted;
    struct member members[MEMBERS];
    int count;
    struct member last; /* who waits for us again, or by -1 */
    bool doubt, open;
};

static uint64_t jitter(uint64_t most) {
    /* Two checkers in step never see each other: their thread ids differ. */
    uint64_t x = clock_now() ^ (uint64_t)(unsigned)sys_gettid() << 32;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % most;
}

void circle_begin(struct circle *circle) {
    *circle = (struct circle){.look_at = clock_now() + FIRST_LOOK + jitter(FIRST_LOOK / 2),
                              .interval = FIRST_LOOK,
                              .hopes = HOPES};
}

static void add_member(struct search *search, struct member member) {
    for (int i = 0; i < search->count; i++) {
        if (search->members[i].pid == member.pid) {
            if (i == 0 && search->last.by < 0) {
                search->last = member;
            }
            return;
        }
    }
    if (search->count == MEMBERS) {
        search->open = true; /* too many to be sure of anything */
        return;
    }
    search->members[search->count++] = member;
}

/* Everybody who has the lock. Where a lock's descriptors are not all found,
 * there may be somebody else. */
static void add_holders(struct search *search, int by, const struct lock_key *key) {
    const struct waitgraph *graph = search->graph;
    for (int i = 0; i < graph->holder_count; i++) {
        const struct waitgraph_holder *holder = &graph->holders[i];
        if (lock_key_same(&holder->key, key)) {
            add_member(search, (struct member){.pid = holder->pid, .by = by, .lock = holder});
        }
    }
    for (int i = 0; i < graph->lock_count; i++) {
        const struct lock_line *line = &graph->locks[i];
        bool found = line->waits || !lock_key_same(&line->key, key);
        for (int j = 0; !found && j < graph->holder_count; j++) {
            found =
                graph->holders[j].locker == line->pid && lock_key_same(&graph->holders[j].key, key);
        }
        search->doubt |= !found;
    }
}

static void add_children(struct search *search, int by) {
    pid_t children[CHILDREN];
    int count = procfs_children(search->members[by].pid, children, CHILDREN);
    if (count <= 0 || count > CHILDREN) {
        search->open = true; /* it can be woken by what we do not know */
        return;
    }
    for (int i = 0; i < count; i++) {
        char name[32], state;
        unsigned uid;
        if (procfs_describe(children[i], name, &state, &uid) && state == 'Z') {
            search->open = true; /* the wait is about to end */
        }
        add_member(search, (struct member){.pid = children[i], .by = by});
    }
}

/* Follows what one process waits for; it must do so with all its threads. */
static void follow(struct search *search, int index) {
    pid_t pid = search->members[index].pid;
    struct procfs_threads threads = procfs_threads(pid);
    int waiting = threads.wait_for_children;
    if (index == 0) {
        waiting++; /* this thread, which has left the queue to look */
        add_holders(search, index, search->wanted);
    }
    for (int i = 0; i < search->graph->lock_count; i++) {
        const struct lock_line *line = &search->graph->locks[i];
        if (line->waits && line->pid == pid) {
            waiting++;
            add_holders(search, index, &line->key);
        }
    }
    if (threads.wait_for_children > 0) {
        add_children(search, index);
    }
    search->open |= threads.live == 0 || waiting < threads.live;
}

/* A process that may not be looked at has a lock at most if it comes from
 * somebody who had it: a set-user-ID child, say. */
static bool may_have_inherited(const struct search *search, pid_t pid) {
    pid_t session = procfs_session(pid);
    for (int i = 0; i < search->count; i++) {
        pid_t member = search->members[i].pid;
        if (session > 0 && session == procfs_session(member)) {
            return true;
        }
        pid_t parent = pid;
        for (int up = 0; up < GENERATIONS && parent > 1; up++) {
            parent = procfs_parent(parent);
            if (parent == member) {
                return true;
            }
        }
    }
    return false;
}

static void put_process(struct text *text, pid_t pid) {
    char name[32], state;
    unsigned uid;
    text_put(text, "pid ");
    text_put_number(text, (uint64_t)pid, 10);
    if (procfs_describe(pid, name, &state, &uid)) {
        text_put(text, " (");
        text_put_visible(text, name);
        text_put(text, ")");
    }
}

static void put_step(struct text *text, const struct search *search, const struct member *step) {
    put_process(text, search->members[step->by].pid);
    text_put(text, " waits for ");
    if (step->lock) {
        filename_put(text, step->lock->pid, step->lock->fd);
        text_put(text, ", which ");
        put_process(text, step->pid);
        text_put(text, " has");
    } else {
        text_put(text, "its child ");
        put_process(text, step->pid);
    }
}

/* From ourselves around to ourselves: the way was found backwards. */
static void put_circle(struct text *text, const struct search *search) {
    const struct member *way[MEMBERS + 1];
    int length = 0;
    for (const struct member *step = &search->last; step->by >= 0;
         step = &search->members[step->by]) {
        way[length++] = step;
    }
    while (length > 0) {
        put_step(text, search, way[--length]);
        text_put(text, length > 0 ? "; " : "");
    }
}

static bool anybody_waits_for_us(const struct waitgraph *graph, pid_t self) {
    pid_t pid = self;
    for (int i = 0; i < GENERATIONS && pid > 0; i++, pid = procfs_parent(pid)) {
        if (waitgraph_is_wanted(graph, pid)) {
            return true;
        }
    }
    return false;
}

/* A sum that tells this circle from another. */
static uint64_t sum_of(const struct search *search) {
    uint64_t sum = 1;
    for (int i = 0; i < search->count; i++) {
        sum += (uint64_t)search->members[i].pid * UINT64_C(0x9e3779b97f4a7c15);
    }
    return sum;
}

/* Returns the circle's sum, 0 for none, 1 where there may be one later. */
static uint64_t find(struct search *search, struct text *ret_who) {
    struct waitgraph *graph = waitgraph_read();
    pid_t self = procfs_self();
    uint64_t sum = 0;
    if (!graph) {
        return 0;
    }
    if (self > 0 && !graph->too_many && anybody_waits_for_us(graph, self)) {
        sum = 1;
        waitgraph_find_holders(graph, search->wanted);
        search->graph = graph;
        search->open = graph->too_many;
        search->last.by = -1;
        add_member(search, (struct member){.pid = self, .by = -1});
        for (int i = 0; i < search->count && !search->open; i++) {
            follow(search, i);
        }
        if (!search->open && search->last.by >= 0) {
            sum = sum_of(search);
            for (int i = 0; i < graph->unseen_count && !search->doubt; i++) {
                search->doubt = may_have_inherited(search, graph->unseen[i]);
            }
            put_circle(ret_who, search);
        }
    }
    waitgraph_free(graph);
    return sum;
}

enum circle_answer circle_look(struct circle *circle, const struct lock_key *wanted,
                               struct text *ret_who) {
    struct search search = {.wanted = wanted};
    uint64_t before = circle->seen, start = clock_now();
    uint64_t sum = find(&search, ret_who), now = clock_now();
    uint64_t spread = WHOLE_LOOKS * (now - start); /* others look for as long */
    circle->seen = sum > 1 ? sum : 0;
    circle->hoping |= sum > 0;
    if (sum > 1 && sum == before) {
        if (!search.doubt) {
            return CIRCLE_CLOSED;
        }
        bool warned = circle->warned;
        circle->warned = true;
        circle->look_at = now + RAREST_LOOK;
        return warned ? CIRCLE_NONE : CIRCLE_DOUBT;
    }
    /* Nobody in the queue at one look may have been somebody who looked as well. */
    if (circle->hoping && circle->hopes > 0) {
        circle->hopes--;
        circle->look_at = now + SOON + jitter(2 * SOON + spread);
        return CIRCLE_NONE;
    }
    circle->hopes = HOPES;
    circle->hoping = false;
    circle->interval = circle->interval * 2 < RAREST_LOOK ? circle->interval * 2 : RAREST_LOOK;
    circle->look_at = now + circle->interval + jitter(circle->interval / 4 + spread);
    return CIRCLE_NONE;
}
