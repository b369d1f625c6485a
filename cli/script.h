/* The first line of a script, read as the kernel reads it (execve(2)). */
#ifndef AUTOLOCK_SCRIPT_H
#define AUTOLOCK_SCRIPT_H

#include <stddef.h>

#define SCRIPT_LINE 256 /* the kernel's BINPRM_BUF_SIZE */

struct script {
    char line[SCRIPT_LINE + 1];
    const char *interpreter; /* in line */
    const char *argument;    /* in line; "" where there is none */
};

/* Parses the first `length` bytes of a file. -ENOEXEC where it begins with no
 * "#!" line that the kernel would take: execvp(3) hands such a file to
 * /bin/sh. */
int script_parse(const char *start, size_t length, struct script *ret);

/* The program that env(1) would run for this argument ("prog", "-S prog -x"),
 * or NULL where that is not simple to tell. In ret->line of the script: the
 * argument is cut behind it. */
const char *script_env_program(struct script *script);

#endif
