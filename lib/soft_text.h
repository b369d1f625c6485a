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
    SOFT_DEAD,   /* stale: its process of this host is gone */
    SOFT_UNKNOWN /* held: another host, empty, unreadable */
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

/* The text of a lock that this process makes. */
void soft_text_compose(struct soft_text *ret);

/* Who holds a lock with this text, which is cut to pieces. */
struct soft_owner soft_text_judge(char *text);

#endif
