/*
 * Writing without the signals that a failing write(2) sends: SIGPIPE, and SIGXFSZ where
 * the file is as long as the program may make files (RLIMIT_FSIZE). Their default is to
 * end the program, which has written nothing.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef FILELOCK_UNSIGNALLED_H
#define FILELOCK_UNSIGNALLED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As write(2) and pwrite(2); a negative errno value for a failure. */
ssize_t unsignalled_write(int fd, const void *data, size_t size);
ssize_t unsignalled_write_at(int fd, const void *data, size_t size, off_t at);

#endif
