/*
 * Which run of which process a pid means: a number that no other process gets
 * before the machine has forgotten the first.
 *
 * As py-filelock 3.30 writes it into soft locks: the boot id as a 128-bit
 * number, shifted left by 64, or-ed with the start time of the process in clock
 * ticks since boot (field 22 of /proc/PID/stat, proc(5)); in decimal.
 */
#ifndef FILELOCK_START_TOKEN_H
#define FILELOCK_START_TOKEN_H

#include <stddef.h>
#include <sys/types.h>

#define START_TOKEN_SIZE 64 /* 192 bits are 58 digits */

/* Returns 0; -ESRCH when there is no such process, or another error where /proc
 * does not tell. Thread-safe, errno untouched. */
int start_token(pid_t pid, char ret[START_TOKEN_SIZE]);

/* The same for whom it has been read already. */
struct process_stat;
int start_token_of(const struct process_stat *stat, char ret[START_TOKEN_SIZE]);

#endif
