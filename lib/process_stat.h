/*
 * What /proc tells of a process (proc(5)): does it still run, since when, and is the
 * time of which it tells our time?
 *
 * No allocation; errno untouched; thread-safe.
 */
#ifndef FILELOCK_PROCESS_STAT_H
#define FILELOCK_PROCESS_STAT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process_stat {
    char state;       /* field 3 */
    uint64_t threads; /* field 20; the first one counts, ended or not, until it is reaped */
    uint64_t start;   /* field 22: clock ticks since boot, in the reader's time namespace */
};

/* Returns 0; -ESRCH when there is no such process, or none that we may see; -ENOTSUP for
 * this one under an emulator (qemu-user), which makes it up: another start than others
 * see, and each thread another; or another error of open(2). */
int process_stat_read(pid_t pid, struct process_stat *ret);

/* Whether it has ended and only waits to be reaped. One whose first thread has ended
 * is a zombie as well, but has others. */
bool process_stat_is_over(const struct process_stat *stat);

/*
 * Whether its clocks and ours are those of one time namespace (time_namespaces(7)):
 * in another one, start times are shifted. Returns 1; 0 where they are not, or where
 * we may not know; or -EMFILE, -ENFILE, -ENOMEM.
 */
int process_stat_shares_time(pid_t pid);

/* Reads a small file whole, and ends it with '\0'. Returns its length or an error. */
ssize_t process_stat_file(const char *path, char *ret, size_t size);

/* Whether it failed for a lack that says nothing of the file. */
bool process_stat_is_lack(int error);

#endif
