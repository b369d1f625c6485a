/*
 * The few lines that the shim says (contract C6): failures that it causes
 * itself, waits past warn-after, faults in the rules; and what AUTOLOCK=observe
 * and AUTOLOCK_LOG_LEVEL=debug ask for. One write(2) a line, to the file
 * AUTOLOCK_LOG, or one datagram to syslog; else to stderr, nowhere when
 * descriptor 2 is closed or was given to a data file. Never SIGPIPE. errno
 * untouched, async-signal-safe.
 */
#ifndef AUTOLOCK_SAY_H
#define AUTOLOCK_SAY_H

#include "config/rules.h"
#include "shim/text.h"

/* Remembers where to say things. Called once, while starting. Returns the
 * number of faults in the variables, which are said. */
int say_start(char *const *environment);

/* The line, without "autolock: " in front and the newline behind. */
void say(const struct text *line);
/* The same for what was asked for, and for AUTOLOCK_LOG_LEVEL=debug, where the
 * line begins with the process: many write to one log. */
void say_observed(const struct text *line);
void say_debug(const struct text *line);
bool say_debugs(void);

/* "pid 4242 (make)": this process. */
void say_put_self(struct text *line);

/* A descriptor number has come back from open: is it the one we would write
 * to? A program that closed its stderr finds its data file there. */
void say_number_opened(int fd);
void say_number_duplicated(int fd);

/* What an errno value means for a lock, as a text: "permission denied". */
const char *say_error(int error);

/* "autolock: AUTOLOCK_PATTERNS:1: unknown option; ...: 'timeuot=5'". A
 * rules_report callback; data is ignored. */
void say_fault(const struct rules_fault *fault, void *data);

#endif
