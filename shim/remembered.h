/*
 * Sleeps of ancestors that have been judged (nested.h): whoever has slept for long
 * enough to count as one that waits for us, and has not run since, need not be
 * watched for as long at the next open.
 *
 * A sleep is known by a number, made of all that changes when one of the sleepers
 * runs, or another has the lock in his place; 0 is none. This process remembers the
 * last ones, and the child of a fork what its parent did.
 *
 * No system call; thread-, fork- and signal-safe.
 */
#ifndef AUTOLOCK_REMEMBERED_H
#define AUTOLOCK_REMEMBERED_H

#include <stdbool.h>
#include <stdint.h>

void remember(uint64_t sleep);
bool remembered(uint64_t sleep);

#endif
