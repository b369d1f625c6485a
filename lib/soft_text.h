/*
 * What a soft lock's file says: "PID\nHOST\nSTART TOKEN\n" (contract P3), as
 * py-filelock 3.30 writes it, and what that means to this host.
 *
 * No allocation; errno untouched; thread-safe.
 */
#ifndef FILELOCK_SOFT_TEXT_H
#define FILELOCK_SOFT_TEXT_H

#include <stddef.h>
#include <sys/types.h>

#define SOFT_TEXT_SIZE 512

enum soft_state {
    SOFT_FREE,
    SOFT_ALIVE,  /* held by a living process of this host */
    SOFT_DEAD,   /* stale: its process of this host has ended, reaped or not */
    SOFT_UNKNOWN /* held: another host, another time namespace, empty, unreadable */
};

struct soft_owner {
    enum soft_state state;
    pid_t pid;      /* 0 where it is not known */
    char host[256]; /* "" where it is not known */
};

struct soft_text {
    size_t length;
    char start[SOFT_TEXT_SIZE];
};

/* The text of a lock that this process makes. Returns 0; or -EMFILE, -ENFILE, -ENOMEM:
 * without its token a lock would seem to be held once the pid is somebody else's. */
int soft_text_compose(struct soft_text *ret);

/* Who holds a lock with this text, which is cut to pieces. Returns 0; or -EMFILE,
 * -ENFILE, -ENOMEM where that cannot be found out. */
int soft_text_judge(char *text, struct soft_owner *ret);

#endif
