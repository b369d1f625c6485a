/*
 * What the scenarios of soft locks have in common: markers as others see and make
 * them.
 */
#ifndef TESTS_MARKER_H
#define TESTS_MARKER_H

#include <stdbool.h>
#include <sys/types.h>

bool is_there(const char *path);

/* As somebody else would have made it. */
void plant(const char *path, long pid, const char *host, const char *token);
const char *this_host(void);
/* A pid that was in use and is free now. */
pid_t dead_process(void);

/* Fails if a marker is left in the directory, or what a breaker has beside it. */
void expect_only_data(void);

/* Waits until the file "log" has this text. */
void wait_until_said(const char *text);

#endif
