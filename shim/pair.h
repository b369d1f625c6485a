/*
 * Locks of an open file description, shared or exclusive, beside flock(2): for those
 * whom one flock lets in together (sibling.h).
 *
 * Two kinds of bytes far behind the end of the file stand for the lock: who has it
 * exclusively has a record lock on the first, who shares it one on another
 * (range_lock.h). It is taken first; then it is looked whether anybody else has a byte
 * that excludes this one, and if so, it is given up again. Of two who come at the same
 * moment both may give up, but never do both keep it. So it does not matter whether
 * the record locks are for reading or writing: flock(1) opens a sidecar for reading
 * alone, and a shell's 9>x.lock for writing alone.
 *
 * Who waits marks that, for others to see who look for a circle (waitgraph.h): by a
 * record lock on a byte that tells for what, and which thread.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_PAIR_H
#define AUTOLOCK_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/proclocks.h"
#include "shim/range_lock.h"

/* Of those who are let in by a sleeping ancestor; and of a program's descriptors that
 * have joined one hold of ours. Bytes lie apart, or the kernel would make two one. */
#define PAIR_WIDTH 256
#define PAIR_SIBLINGS (RANGE_MARKS - PAIR_WIDTH)
#define PAIR_JOINED (PAIR_SIBLINGS - PAIR_WIDTH)

/* Gives up what fd's description has of it. 0 when it has got it; -EAGAIN when somebody
 * else has, by the byte *ret_byte; -EBUSY when there is a lock of another kind,
 * by fcntl on the whole file, say; or another error. */
int pair_take(int fd, int64_t pair, bool exclusive, int64_t *ret_byte);

/* Whether somebody else's description has it exclusively. One system call. */
bool pair_is_taken(int fd, int64_t pair);

/* Whether fd's own description has it exclusively. Reads /proc. */
bool pair_is_own(int fd, int64_t pair);

/* One pair, with all marks of those who wait for it by this description. */
void pair_leave(int fd, int64_t pair);
/* Both pairs; and everything, marks included. */
void pair_give_back(int fd);
void pair_give_back_all(int fd);

/* This thread waits; and no longer. */
void pair_mark_waiting(int fd, int64_t pair);
void pair_unmark_waiting(int fd, int64_t pair);

/* How /proc names the lock, by its first byte. */
struct lock_key pair_key(const struct lock_key *file, int64_t pair);
/* The same for any byte of it. False for others. And whether it is had exclusively. */
bool pair_of_line(const struct lock_line *line, struct lock_key *ret);
bool pair_is_exclusive(const struct lock_line *line);
/* The same for a mark, with the thread, as /proc numbers it. */
bool pair_of_mark(const struct lock_line *line, struct lock_key *ret, pid_t *ret_thread);

#endif
