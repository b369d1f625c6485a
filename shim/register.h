/*
 * Who has which file open, for AUTOLOCK=observe: a file in /dev/shm with a place
 * for each open, the same for all processes and users.
 *
 * Whoever opens takes a free place by an open file description lock on its bytes
 * (fcntl(2), F_OFD_SETLK), and writes down who it is. The lock belongs to the
 * description, as a hold's flock does: the kernel gives it back when the last
 * duplicate is closed, by kill -9 too, and neither fork nor exec ends it. So a
 * place counts if it is locked, whatever is written there; the description's
 * offset says which place it has. Nobody has to tidy up.
 *
 * The file is everybody's to write: a place can be made to lie by somebody who
 * wants to, and is only ever shown. Other hosts and other containers have
 * another /dev/shm. No malloc; errno untouched; thread-, fork- and signal-safe.
 */
#ifndef AUTOLOCK_REGISTER_H
#define AUTOLOCK_REGISTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct register_place {
    uint64_t file[2]; /* the canonical path, as a hash */
    uint64_t since;   /* CLOCK_MONOTONIC in microseconds */
    int32_t pid;      /* who opened it */
    int32_t writes;
    char name[16];  /* of its program, terminated */
    char path[208]; /* the end of the path, terminated */
};
_Static_assert(sizeof(struct register_place) == 256, "places are counted in the file's offset");

/* The file of a path, for register_place. */
void register_hash(const char *path, uint64_t ret[2]);

/* Takes a place for as long as the descriptor, which it returns, or one of its
 * duplicates is open; or a negative errno value. */
int register_take(const struct register_place *place);

/* The place of such a descriptor; false when it is none. */
bool register_get(int fd, struct register_place *ret, off_t *ret_at);

/* Calls visit() for each place of that file which somebody has, but that of
 * `fd` itself. */
void register_each(int fd, const uint64_t file[2],
                   void (*visit)(const struct register_place *place, void *data), void *data);

#endif
