/*
 * Readers let a writer that waits have its turn (contract O6).
 *
 * The kernel gives a shared lock to whoever asks while others share it, even if
 * somebody waits to write: readers that overlap without a gap would keep him
 * waiting for ever. So a writer who waits leaves a mark, a record lock of his
 * description far behind the sidecar's end (fcntl(2), F_OFD_SETLK), at a byte
 * that says when he began; and a reader who has just come in looks for it, and goes
 * out again. (Who finds the file locked by a writer stands in the queue.)
 *
 * While he waits readers come in together, at moments 8, 16, 32, ... ms after he
 * began, and not between. Once such a pause is longer than the readers keep the
 * file, they are all gone before the next moment, and he gets it: a writer waits
 * at most about three times as long as one reader keeps it. A reader waits, then,
 * no longer than the writer has, so that two readers of which one waits for the
 * other, in a pipe, do not hang for ever with a writer between them. Pauses are
 * never longer than a minute.
 *
 * To look for a mark is a system call that those who read while nobody waits need
 * not make: with the mark, and again every second, the time of the sidecar is
 * set to now, which shows in what an open asks about it anyway.
 *
 * Who knows nothing of this (flock(1), py-filelock) neither lets others have
 * their turn nor is let. A process that has the file open already opens it
 * again at once, whoever waits (H4). The mark is taken away for two milliseconds every
 * second or so, for those who lock the whole sidecar by fcntl(2). Not on network file
 * systems, where a flock may be a record lock itself. errno untouched; no malloc.
 */
#ifndef AUTOLOCK_TURN_H
#define AUTOLOCK_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/sys_linux.h"

/* The writer's mark, on the description that waits; `again`: there is one already, and
 * in between there is none for a moment. None where the sidecar's time cannot be set. And
 * its end. */
void turn_mark(int fd, uint64_t began, bool again);
void turn_unmark(int fd);

/* Whether there may be a mark, by what fstat has told; without a system call for
 * nearly all sidecars that nobody waits for. */
bool turn_may_be_marked(const struct sys_stat *sidecar);

/* For a reader: until when (CLOCK_MONOTONIC, microseconds) to let a writer have
 * his turn; 0 when nobody waits. */
uint64_t turn_of_writer(int fd);

/* For a reader who stands back: whether nobody waits any more. That the mark is not there
 * says so only if it does not come back: of many who look again and again some would
 * always see it away, go in, and keep the writer out for as long as they read. */
bool turn_is_over(int fd);

#endif
