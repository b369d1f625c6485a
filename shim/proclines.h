/*
 * Files and directories below /proc, a line or a number at a time.
 *
 * No malloc, no stdio; everything is closed before a function returns.
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_PROCLINES_H
#define AUTOLOCK_PROCLINES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "shim/text.h"

/* Calls line() for each line of a file until it says stop, by returning true.
 * Long lines are cut; a last line may lack its newline. Returns 1 when it was
 * stopped, 0 at the end, or the negative errno value that opening failed with. */
int proclines_each(int dirfd, const char *path, bool (*line)(const char *line, void *data),
                   void *data);

/* The same for one that changes between two reads of it: at most `size` bytes at a time go
 * into the buffer. The kernel gives a page at most, and what it gives at once belongs
 * together. */
int proclines_each_by(int dirfd, const char *path, char *buffer, size_t size,
                      bool (*line)(const char *line, void *data), void *data);

/* Calls entry() for each numeric name in a directory, in the same way. */
int proclines_each_number(int dirfd, const char *path,
                          bool (*entry)(int directory, unsigned number, void *data), void *data);

/* "/proc/PID" and the rest; pid 0 is this process. */
void proclines_path(struct text *text, pid_t pid, const char *rest);

#endif
