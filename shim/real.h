/*
 * The functions behind the wrappers: the next ones in the order in which the
 * dynamic linker looks (dlsym(3), RTLD_NEXT), that is libc's or those of
 * another preloaded library.
 *
 * Until they are found, which takes a dlsym each and so perhaps a malloc that
 * itself opens files, the entries lead to raw system calls; streams have none
 * and are looked up alone. Found once, by start.c, they only are read.
 */
#ifndef AUTOLOCK_REAL_H
#define AUTOLOCK_REAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct real {
#define WRAP(result, name, parameters) result(*name) parameters;
#ifdef __GLIBC__
#define GLIBC(...) __VA_ARGS__
#endif
#include "shim/symbols.def"
    FILE *(*fdopen)(int fd, const char *mode);
    /* Whether open is libc's own, so that a raw openat2 may stand for it. */
    bool open_is_libc;
};
extern struct real real;

/* Looks them all up. errno is kept. */
void real_find(void);

#endif
