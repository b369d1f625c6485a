/*
 * Waiting for somebody else's lock (contract W1, W2): in the kernel's queue,
 * left only to see whether waiting still makes sense, and to say that we wait.
 */
#ifndef AUTOLOCK_WAIT_H
#define AUTOLOCK_WAIT_H

#include <stdint.h>

#include "lib/sidecar.h"
#include "shim/target.h"

enum waited {
    WAITED_LOCKED, /* fd has the lock */
    WAITED_JOIN,   /* another thread of ours has it: look at the table again */
    WAITED_OURS,   /* a descriptor of the program's has it, *ret_fd */
    WAITED_PASS,   /* an ancestor has it and waits for us: go on without */
};

/*
 * fd is a hidden descriptor of the sidecar `id`, on which `operation` (LOCK_EX,
 * LOCK_SH) has just met -EWOULDBLOCK. `until` as in flock_wait. Returns an enum
 * waited, -ETIMEDOUT, -EINTR, -EDEADLK (nested=fail), or flock's errors.
 */
int wait_for_lock(struct target *target, int fd, struct sidecar_id id, int operation,
                  uint64_t until, int *ret_fd);

/* Who looks whether waiting still makes sense is not seen waiting by others. So an eighth
 * of the time, at most, is spent with that: the pause after a look that took so long. */
static inline uint64_t wait_pause_after(uint64_t look) {
    return 8 * look;
}

/* When fd has got a shared lock, since others share it: if a writer waits, gives it
 * up and lets him have his turn (turn.h), for so long as that is right, until
 * `until` at the latest. 1 when the lock is to be asked for again, 0 when it is
 * kept, or -EINTR. */
int wait_for_turn(struct target *target, int fd, uint64_t until);

/* This thread has got a lock: others of the process that wait for it share it. */
void wait_wake(void);

/* In the child of a fork: threads that waited, or were waking others, are not here. */
void wait_after_fork(void);

#endif
