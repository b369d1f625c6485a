/*
 * What /proc tells about processes (proc(5)).
 *
 * Process ids are those of the /proc that is mounted here, which may be another
 * pid namespace's; procfs_self and procfs_parent speak the same language, where
 * getpid(2) may not. Where /proc is missing, or hides other users' processes,
 * the answers are "unknown".
 *
 * No malloc, no stdio; descriptors are closed before each function returns.
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_PROCFS_H
#define AUTOLOCK_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/sidecar.h"

/* This process, and this thread; 0 when they are not to be seen. */
pid_t procfs_self(void);
pid_t procfs_thread(void);

/* Whether a process has that thread. */
bool procfs_has_thread(pid_t pid, pid_t thread);

/* The parent of a process (pid 0: of this one), and its session; 0 when there
 * is none or it is unknown. */
pid_t procfs_parent(pid_t pid);
pid_t procfs_session(pid_t pid);

/* The children of a process: how many, of which the first `room` are listed;
 * -1 unknown. */
int procfs_children(pid_t pid, pid_t *ret, int room);

/* How many threads a process has, and how many of them wait for a child to end, or
 * (vfork) to execute another program; none where the kernel does not tell. */
struct procfs_threads {
    int live, wait_for_children;
};
struct procfs_threads procfs_threads(pid_t pid);

/* How much a process does, over all its threads: sums since they began. */
struct procfs_rest {
    bool asleep;              /* all of them, and not for a disk */
    bool awake;               /* one of them is neither asleep nor waiting for a disk */
    unsigned for_disk;        /* how many of them are; vfork(2) looks the same */
    bool timed;               /* whether the times are known */
    uint64_t threads;         /* a sum that tells these threads from others */
    uint64_t state;           /* changes whenever one of them has run meanwhile */
    uint64_t run_time, delay; /* microseconds on a processor, and in want of one */
};
struct procfs_rest procfs_rest(pid_t pid);

/* A number made of several, which another sequence hardly gives. */
uint64_t procfs_mix(uint64_t a, uint64_t b);

/* Whether a process (pid 0: this one) has that file open, by a descriptor that is not
 * one of ours. */
bool procfs_has_open(pid_t pid, struct sidecar_id id);

/* Whether that process has started this one, or its parent, and so on. */
bool procfs_is_ancestor(pid_t other);

/* Name, state letter and user of a process. False when it is gone. */
bool procfs_describe(pid_t pid, char ret_name[32], char *ret_state, unsigned *ret_uid);

#endif
