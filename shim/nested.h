/*
 * Would waiting be for ever, because those who hold the lock wait for us?
 * (contract W2)
 *
 * A program that was started by the holder of the lock, and is waited for by
 * it, must be let in: `with FileLock(f): subprocess.run(tool)`. So must one
 * that has the locked description open itself. An ancestor that is at work is
 * no reason: it has to be
 *
 *   - asleep, all threads, without a context switch since the last look, for
 *     15 ms where it has one child and 1 s where it has several (any of which it
 *     may be waiting for); that vfork(2) suspends one of them counts as asleep;
 *   - or to do next to nothing for longer than that, 1 s or 5 s: one that wakes
 *     now and then to see whether its child has ended (a wait with a timeout, in
 *     many languages; a shell's loop with sleep and kill -0) may never be quiet for
 *     15 ms on a machine with much to do. Next to nothing: at most a twentieth of
 *     the time in which it has not had to wait for a processor. A shell that counts,
 *     and runs a tool each time, needs several times as much itself.
 *
 * One that was quiet for long enough, and has not run since, is so still: the next
 * open of this process, or of a child that it forks, is let in after some
 * milliseconds (remembered.h).
 *
 * All the while it has to hold the lock, at every look. Who has it is told by
 * /proc/PID/fdinfo. The pid in /proc/locks is whoever called flock(2), often dead. A
 * soft lock (kind=soft) is its maker's, whom the marker names; one that names nobody
 * (py-filelock 3.9 writes nothing into it) is that of who has the marker open.
 *
 * Where it holds a shared lock, others may have one as well: who wants to write waits
 * until they are gone.
 */
#ifndef AUTOLOCK_NESTED_H
#define AUTOLOCK_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/sidecar.h"
#include "shim/procfs.h"
#include "shim/proclocks.h"

/* Which lock it is about, and what was seen at earlier looks, which starts as zeroes.
 * Times are CLOCK_MONOTONIC in microseconds. */
struct nested {
    struct lock_key key;
    bool soft;                /* in the key's place: */
    pid_t owner;              /* whom the marker names; 0: nobody */
    struct sidecar_id marker; /* its file */
    uint64_t quiet_since;     /* 0: was not quiet */
    uint64_t state;
    bool still;              /* NESTED_ANCESTOR: as at an earlier wait */
    uint64_t idle_since;     /* 0: not followed */
    struct procfs_rest rest; /* then */
    int looks, asleep;       /* since then */
    uint64_t look_again;     /* when a look can tell more; set for NESTED_MAYBE */
};

enum nested_answer {
    NESTED_NO,
    NESTED_BUSY,     /* an ancestor holds it, but is at work */
    NESTED_MAYBE,    /* an ancestor holds it and is asleep: look again soon */
    NESTED_OTHERS,   /* ancestors share it with others, and wait for us */
    NESTED_ANCESTOR, /* ancestors hold it and wait for us */
    NESTED_OURSELVES /* this process has it locked, as *ret_fd */
};

/* `exclusive`: what we want; a shared lock of our own does not answer that. */
enum nested_answer nested_look(struct nested *nested, bool exclusive, int *ret_fd);

/* After NESTED_ANCESTOR, and some time: whether that still holds, as far as one look can
 * tell. An ancestor that has run meanwhile may be at work, unless it was found to be one
 * that wakes now and then. */
bool nested_waits_still(const struct nested *nested, bool exclusive);

/* Whether this process or an ancestor has it locked at all, through a descriptor that
 * is not ours. */
bool nested_is_in_family(const struct lock_key *key);

/* Whether nobody but this process and its ancestors has it locked. Reads /proc/locks. */
bool nested_family_has_it_alone(const struct lock_key *key);

#endif
