/*
 * Has anybody forked between the opening of a lock file and the noting of its
 * descriptor?
 *
 * The child of a fork gives up what its parent holds, by closing its copies of the
 * descriptors that are noted (object.c). One that another thread, or the thread that a
 * signal handler has interrupted, has just opened is not noted yet: its copy would stay
 * with the child, and keep the lock when the parent has died. So a file is not locked
 * but opened anew, if a fork has begun since, or was going on before. What the child
 * then has is a descriptor that nobody locks.
 *
 * Forks are told by pthread_atfork(3): those by _Fork(3) and clone(2) are not seen.
 * Nobody who forks waits for who opens a file, but for some milliseconds where one
 * thread forks after the other without end. Thread-safe, usable in signal handlers;
 * errno untouched.
 */
#ifndef FILELOCK_FORK_WATCH_H
#define FILELOCK_FORK_WATCH_H

#include <stdbool.h>

struct fork_watch {
    unsigned begun; /* forks, when the file was about to be opened */
    unsigned times; /* that it has been opened for nothing; 0 at first */
};

/* Before the file is opened. False, after a short pause, where a fork of another thread
 * is going on: to be asked again. But not for ever, for a handler of that fork may wait for
 * a lock of who asks. It then copies what is noted by that time. */
bool fork_watch_begin(struct fork_watch *watch);

/* Once its descriptor is noted. False where it has to be closed, and opened again. */
bool fork_watch_passed(struct fork_watch *watch);

/* After the last of it. */
void fork_watch_end(const struct fork_watch *watch);

/* For pthread_atfork(3). */
void fork_watch_prepare(void);
void fork_watch_in_parent(void);
void fork_watch_in_child(void);

#endif
