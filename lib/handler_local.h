/*
 * Data of a thread that a signal handler, or a handler of fork(2), looks at; or that is
 * wanted in a hurry.
 *
 * glibc may have to allocate what a library has of it that was loaded late, which a
 * handler must not bring about: there it has a fixed place from the beginning
 * (initial-exec). musl allocates all of it as it loads the library, and its dlopen(3)
 * refuses one with fixed places.
 */
#ifndef FILELOCK_HANDLER_LOCAL_H
#define FILELOCK_HANDLER_LOCAL_H

#include <features.h>

#ifdef __GLIBC__
#define HANDLER_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define HANDLER_LOCAL _Thread_local
#endif

#endif
