#include "shim/waitgraph.h"

#include <errno.h>

#include "lib/sys_linux.h"
#include "shim/proclines.h"

static bool add_lock(const struct lock_line *line, void *data) {
    struct waitgraph *graph = data;
    if (graph->lock_count == WAITGRAPH_LOCKS) {
        graph->too_many = true;
        return true;
    }
    graph->locks[graph->lock_count++] = *line;
    return false;
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

static bool descriptor_is_wanted(int fd, const struct lock_line *line, void *data) {
    (void)fd;
    return is_waited_for(data, &line->key);
}

bool waitgraph_is_wanted(const struct waitgraph *graph, pid_t pid) {
    return proclocks_of_process(pid, descriptor_is_wanted, (void *)graph) == 1;
}

struct process {
    struct waitgraph *graph;
    pid_t pid;
};

static bool add_holder(int fd, const struct lock_line *line, void *data) {
    const struct process *process = data;
    struct waitgraph *graph = process->graph;
    if (!lock_key_same(graph->wanted, &line->key) && !is_waited_for(graph, &line->key)) {
        return false;
    }
    for (int i = graph->holder_count - 1; i >= 0 && graph->holders[i].pid == process->pid; i--) {
        if (lock_key_same(&graph->holders[i].key, &line->key) &&
            graph->holders[i].locker == line->pid) {
            return false; /* a twin */
        }
    }
    if (graph->holder_count == WAITGRAPH_HOLDERS) {
        graph->too_many = true;
        return true;
    }
    graph->holders[graph->holder_count++] = (struct waitgraph_holder){
        .pid = process->pid, .locker = line->pid, .fd = fd, .key = line->key};
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
