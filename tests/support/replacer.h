/*
 * Somebody who holds a lock file all the time, but a new one each moment, as some
 * versions of py-filelock do who unlink it at each release and take it again: whoever
 * waits for it is woken at a file that is none any more. The path is never without a
 * file, nor the file ever free, so that nobody gets it by luck.
 */
#ifndef TESTS_REPLACER_H
#define TESTS_REPLACER_H

#include <sys/types.h>

#define REPLACER_FOR_EVER 1000000000L

/* Starts one, which holds it when this returns, and ends after so many times. */
pid_t replacer_start(const char *path, long times);
/* Its exit status (waitpid's). */
int replacer_end(pid_t pid);
void replacer_kill(pid_t pid);

#endif
