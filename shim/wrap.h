/*
 * What a wrapper looks like: a function under another name, with the name of
 * libc's as its label in the assembler. So libc's headers, with their inline
 * and fortified forms, cannot get in the way, and our own code cannot call a
 * wrapper by accident (tests/symbols checks that).
 */
#ifndef AUTOLOCK_WRAP_H
#define AUTOLOCK_WRAP_H

#include <stdint.h>

#include "shim/types.h"

#define WRAP(result, name, parameters)                                                             \
    __attribute__((visibility("default"))) result wrap_##name parameters __asm__(#name);
#include "shim/symbols.def"

#endif
