/*
 * What the puppet's files share: the words of the command at hand, and room for
 * the text of its answer.
 */
#ifndef TESTS_PUPPET_H
#define TESTS_PUPPET_H

#include <stdio.h>

struct command {
    const char *name;
    long (*call)(void);
};
#define COMMAND(name)                                                                              \
    { #name, do_##name }

extern char *words[16];
extern char text[8192];
/* A word as a number; 0 where there is none. */
long number(int i);

/* How it was started. */
extern const char *program;

/* The stream that was opened with this descriptor; 0: the newest. */
FILE *stream_at(long fd);

/* puppet_files.c, puppet_process.c, puppet_waits.c, puppet_ways.c, puppet_confined.c,
 * puppet_ends.c; each ends with a name of NULL. */
extern const struct command file_commands[];
extern const struct command process_commands[];
extern const struct command wait_commands[];
extern const struct command way_commands[];
extern const struct command thread_commands[];
extern const struct command confined_commands[];
extern const struct command end_commands[];

/* What a program that the puppet has spawned does (puppet_ways.c). */
int be_spawned(char **arguments);

#endif
