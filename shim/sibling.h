/*
 * Those who are let in by a sleeping ancestor take turns among themselves
 * (contract W2).
 *
 * `flock x.csv.lock sh -c 'tool & tool & wait'`: the lock is the shell's, which
 * waits for its children, so both are let in without it; but not at once, or they
 * would overwrite one another. Who opens the file for writing takes a lock of his
 * description of the sidecar besides (pair.h), and keeps it as he would keep the
 * flock. Whose own ancestor has that one, and sleeps, passes without.
 *
 * Who opens it for reading is let in at once: two sides of a pipe may read it.
 * On network file systems all pass at once.
 *
 * The same for a program's descriptors of the sidecar that it locks itself (flock.c);
 * and for those which have joined one hold of ours, which threads and children share.
 *
 * The kernel has no queue for that, so it is tried again and again. Who waits so
 * can be in a circle as well (circle.h).
 *
 * A program that takes record locks of its own on the sidecar (fcntl, lockf) would
 * wait for ours, or ours for its: then ours are given up.
 *
 * Fork- and signal-safe; errno untouched; no malloc.
 */
#ifndef AUTOLOCK_SIBLING_H
#define AUTOLOCK_SIBLING_H

#include <stdint.h>

#include "shim/nested.h"
#include "shim/pair.h"
#include "shim/target.h"

enum sibling {
    SIBLING_PASSES, /* without a lock */
    SIBLING_BESIDE, /* the same, while another one writes */
    SIBLING_HAS_IT, /* fd's description has the lock */
    SIBLING_AGAIN   /* the ancestor is at work again, or has given the lock back; or
                       others have it as well */
};

/* fd: a hidden descriptor of the sidecar, the only one of its description. holder: the
 * lock that the ancestor has. Returns an enum sibling, -ETIMEDOUT past `until` (CLOCK_MONOTONIC in
 * microseconds), -EINTR, or -EDEADLK, with the circle in target->why. */
int sibling_take_turn(struct target *target, int fd, const struct nested *holder, uint64_t until);

/* The same for a flock's holder, where wait_for_lock (wait.h) has returned WAITED_PASS for
 * fd, which may be one of several of a description that has the lock shared. Returns
 * WAITED_LOCKED with a turn, WAITED_PASS without; WAITED_JOIN: the whole once more; or an
 * error. */
int sibling_pass(struct target *target, int fd, uint64_t until);

/* Whether fd's description has its turn already. And the end of it, or of a wait for it
 * that was left. */
bool sibling_has_turn(int fd);
void sibling_end_turn(int fd);

/*
 * Below one who only reads a child may write, and has no flock that would keep other
 * readers out. So who has just got a shared lock by fd, and nobody of his family has one,
 * looks for such a child, and waits until it is done, in the same way as those who take
 * turns. Returns SIBLING_PASSES; in the family at once, SIBLING_BESIDE unless the child is
 * an ancestor; SIBLING_AGAIN, when the flock (which is to be given up meanwhile) is to be
 * asked for again; or an error as sibling_take_turn's.
 */
bool sibling_writes(int fd);
int sibling_wait_for_writer(struct target *target, int fd, uint64_t until);

/*
 * For a descriptor of the program, as flock(2) with this operation (LOCK_SH or
 * LOCK_EX, perhaps LOCK_NB): takes that pair. Returns as the other one, SIBLING_HAS_IT
 * or SIBLING_PASSES for PAIR_JOINED; -EWOULDBLOCK, -EINTR, or -EDEADLK, which is said.
 */
int sibling_keep_out(int fd, int operation, int64_t pair);
void sibling_let_in(int fd);

/* The program is about to take a record lock on fd. */
void sibling_yield(int fd);

#endif
