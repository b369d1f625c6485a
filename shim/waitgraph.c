#include "shim/waitgraph.h"

#include <errno.h>

#include "lib/sys_linux.h"
#include "shim/pair.h"
#include "shim/procfs.h"
#include "shim/proclines.h"

static bool add(struct waitgraph *graph, const struct lock_line *line) {
    if (graph->lock_count == WAITGRAPH_LOCKS) {
        graph->too_many = true;
        return true;
    }
    graph->locks[graph->lock_count++] = *line;
    return false;
}

/* Of record locks only the marks of those who wait for a pair: whose they are, the
 * descriptors tell. */
static bool add_lock(const struct lock_line *line, void *data) {
    struct lock_line waiter = {.waits = true, .exclusive = true, .pid = -1};
    pid_t thread;
    if (!line->range) {
        return add(data, line);
    }
    return pair_of_mark(line, &waiter.key, &thread) && add(data, &waiter);
}

struct waitgraph *waitgraph_read(void) {
    struct waitgraph *graph = sys_map(sizeof(*graph));
    if (graph && proclocks_each(add_lock, graph) < 0) {
        waitgraph_free(graph);
        return NULL;
    }
    return graph;
}

void waitgraph_free(struct waitgraph *graph) {
    sys_unmap(graph, sizeof(*graph));
}

static bool is_waited_for(const struct waitgraph *graph, const struct lock_key *key) {
    for (int i = 0; i < graph->lock_count; i++) {
        if (graph->locks[i].waits && lock_key_same(&graph->locks[i].key, key)) {
            return true;
        }
    }
    return false;
}

static struct lock_key key_of(const struct lock_line *line) {
    struct lock_key pair;
    return pair_of_line(line, &pair) ? pair : line->key;
}

static bool descriptor_is_wanted(int fd, const struct lock_line *line, void *data) {
    const struct lock_key key = key_of(line);
    (void)fd;
    return is_waited_for(data, &key);
}

bool waitgraph_is_wanted(const struct waitgraph *graph, pid_t pid) {
    return proclocks_of_process(pid, descriptor_is_wanted, (void *)graph) == 1;
}

struct process {
    struct waitgraph *graph;
    pid_t pid;
};

/* The mark may be on a description that others have as well: a child, or its parent.
 * It shows by each duplicate. */
static bool add_waiter(struct waitgraph *graph, pid_t pid, const struct lock_line *mark) {
    struct lock_line waiter = {.waits = true, .exclusive = true, .pid = pid};
    pid_t thread;
    if (!pair_of_mark(mark, &waiter.key, &thread) || !procfs_has_thread(pid, thread)) {
        return false;
    }
    waiter.start = thread; /* which tells it from others */
    for (int i = graph->lock_count - 1; i >= 0; i--) {
        if (graph->locks[i].pid == pid && graph->locks[i].start == waiter.start) {
            return false;
        }
    }
    return add(graph, &waiter);
}

static bool add_holder(int fd, const struct lock_line *line, void *data) {
    const struct process *process = data;
    struct waitgraph *graph = process->graph;
    const struct lock_key key = key_of(line);
    if (!lock_key_same(graph->wanted, &key) && !is_waited_for(graph, &key)) {
        return add_waiter(graph, process->pid, line);
    }
    for (int i = graph->holder_count - 1; i >= 0 && graph->holders[i].pid == process->pid; i--) {
        if (lock_key_same(&graph->holders[i].key, &key) && graph->holders[i].locker == line->pid) {
            return false; /* a twin */
        }
    }
    if (graph->holder_count == WAITGRAPH_HOLDERS) {
        graph->too_many = true;
        return true;
    }
    graph->holders[graph->holder_count++] =
        (struct waitgraph_holder){.pid = process->pid, .locker = line->pid, .fd = fd, .key = key};
    return false;
}

static bool add_process(int directory, unsigned number, void *data) {
    struct process process = {.graph = data, .pid = (pid_t)number};
    (void)directory;
    int r = proclocks_of_process(process.pid, add_holder, &process);
    if (r == -EACCES || r == -EPERM) {
        if (process.graph->unseen_count == WAITGRAPH_UNSEEN) {
            process.graph->too_many = true;
        } else {
            process.graph->unseen[process.graph->unseen_count++] = process.pid;
        }
    }
    return process.graph->too_many;
}

void waitgraph_find_holders(struct waitgraph *graph, const struct lock_key *wanted) {
    graph->wanted = wanted;
    (void)proclines_each_number(AT_FDCWD, "/proc", add_process, graph);
}
