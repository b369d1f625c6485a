/*
 * When the lock cannot be had: whether the open fails or goes on without, and
 * what is said about it (contract C5, W1, O3). Failing to lock is never silent.
 */
#ifndef AUTOLOCK_FAILURE_H
#define AUTOLOCK_FAILURE_H

#include "shim/target.h"

/* Asked before a sidecar is made or waited for: 0, or the errno value of an
 * open that would fail anyway because the data file may not be opened so. A
 * stranger must not freeze a file that he may not read. */
int failure_before_wait(const struct target *target);

/* `error` kept us from the lock. Returns 0 when the open goes on without it, or
 * the negative errno value that it fails with. Says a line where that is due. */
int failure_decide(const struct target *target, int error);

/* hold=process or a twin could not be kept. */
void failure_say(const struct target *target, int error, bool goes_on);

#endif
