/*
 * The types that the prototypes in symbols.def speak of, and no more of libc's
 * headers than that takes.
 */
#ifndef AUTOLOCK_TYPES_H
#define AUTOLOCK_TYPES_H

#include <spawn.h>
#include <stdio.h>
#include <sys/types.h>

struct file_handle;
struct sigaction;
struct termios;
struct winsize;

typedef void signal_handler(int number);

#endif
