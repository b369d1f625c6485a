/*
 * Which process is this? Without a system call.
 *
 * A page that the kernel empties in the child of every fork (MADV_WIPEONFORK,
 * madvise(2), Linux 4.14) holds the process id. A child that shares our memory
 * (vfork, clone with CLONE_VM) sees its parent's id here: whoever needs to know
 * of those compares with getpid(2).
 *
 * Safe in signal handlers and threads; errno untouched.
 */
#ifndef FILELOCK_PROCESS_MARK_H
#define FILELOCK_PROCESS_MARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/hand_over.h"

/* The id of the process that this memory belongs to. */
pid_t process_mark(void);

/* A number that neither this process's ancestors had nor its children will have.
 * The id can be the same: in another pid namespace, or used again. Below 2^63. */
HAND_OVER uint64_t process_token(void);

/* Whether nobody has claimed the memory in this process yet: after a fork it is
 * unclaimed again. False where the kernel has no such page. */
bool process_mark_is_new(void);
void process_mark_claim(void);

/* In the child of a fork(3), of which we are told: what the kernel has done is not
 * relied on, since an emulator of it (qemu-user) may not. */
void process_mark_after_fork(void);

#endif
