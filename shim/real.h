/*
 * The functions behind the wrappers: the next ones in the order in which the
 * dynamic linker looks (dlsym(3), RTLD_NEXT), that is libc's or those of
 * another preloaded library.
 *
 * Until they are found, which takes a dlsym each and so perhaps a malloc that
 * itself opens files, the entries lead to raw system calls; those of streams,
 * which have none, to a look-up. Functions that nobody needs that early are NULL
 * until then: REAL(name) looks such a one up where it has to. Found once, by
 * start.c, they only are read.
 */
#ifndef AUTOLOCK_REAL_H
#define AUTOLOCK_REAL_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/types.h"

struct real {
#define WRAP(result, name, parameters) result(*name) parameters;
#include "shim/symbols.def"
    /* Whether open is libc's own, so that a raw openat2 may stand for it. */
    bool open_is_libc;
};
extern struct real real;

/* Looks them all up. errno may change. */
void real_find(void);

/* Looks one up, into its place in the table. */
void real_look_up(void *member, const char *name);
#define REAL(name) (real.name ? real.name : (real_look_up((void *)&real.name, #name), real.name))

#endif
