/*
 * Those who are let in by a sleeping ancestor take turns among themselves
 * (contract W2).
 *
 * `flock x.csv.lock sh -c 'tool & tool & wait'`: the lock is the shell's, which
 * waits for its children, so both are let in without it; but not at once, or they
 * would overwrite one another. Who opens the file for writing takes a record lock
 * of his description of the sidecar besides (range_lock.h), and keeps it as he would
 * keep the flock. Whose own ancestor has that one, and sleeps, passes without.
 *
 * Who opens it for reading is let in at once: two sides of a pipe may read it.
 * On network file systems, and where the sidecar can only be read, all pass at once.
 *
 * The same for a program's descriptors of the sidecar that it locks itself (flock.c).
 *
 * A program that takes record locks of its own on the sidecar (fcntl, lockf) would
 * wait for ours, or ours for its: then ours are given up.
 *
 * Fork- and signal-safe; errno untouched; no malloc.
 */
#ifndef AUTOLOCK_SIBLING_H
#define AUTOLOCK_SIBLING_H

#include <stdint.h>

#include "shim/target.h"

enum sibling {
    SIBLING_PASSES, /* without a lock */
    SIBLING_HAS_IT, /* fd's description has the record lock */
    SIBLING_AGAIN   /* the ancestor is at work again, or has given the lock back */
};

/* fd: a hidden descriptor of the sidecar, the only one of its description. Returns
 * an enum sibling, -ETIMEDOUT past `until` (CLOCK_MONOTONIC in microseconds), -EINTR. */
int sibling_take_turn(struct target *target, int fd, uint64_t until);

/*
 * For a descriptor of the program, as flock(2) with this operation (LOCK_SH or
 * LOCK_EX, perhaps LOCK_NB): keeps others out by a byte (range_lock.h). 0 also where
 * that cannot be; -EWOULDBLOCK or -EINTR. And lets them in again.
 */
int sibling_keep_out(int fd, int operation, int64_t byte);
void sibling_let_in(int fd);

/* The program is about to take a record lock on fd. */
void sibling_yield(int fd);

#endif
