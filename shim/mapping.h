/*
 * Which parts of the address space are shared mappings of locked files. A file
 * stays locked until its last mapping is gone, though its descriptors be closed
 * long before (contract H7).
 *
 * One hidden descriptor a sidecar (TABLE_MAPPED) serves all its mappings; it is
 * closed with the last of them. What is unmapped is forgotten after the real
 * call. Another thread may have got the same addresses by then: each entry has
 * a number, and only those older than the call go.
 *
 *     uint64_t before = mapping_now();
 *     int result = real.munmap(address, length);
 *     mapping_forget(address, length, before);
 *
 * Behind a lock that is held for a moment only (spin.h). A child that shares its
 * parent's memory changes nothing: the hold then ends late, never early. No malloc;
 * errno untouched.
 */
#ifndef AUTOLOCK_MAPPING_H
#define AUTOLOCK_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sidecar.h"

/* Whether something is known between these addresses. No system call; nearly
 * free as long as no locked file is mapped. */
bool mapping_touches(const void *address, size_t length);

uint64_t mapping_now(void);

/* A mapping has been made; `twin` is a hidden descriptor of its own, which is
 * taken over. */
void mapping_remember(const void *address, size_t length, int twin);

/* One mapping more of the same sidecar. */
void mapping_remember_more(const void *address, size_t length, struct sidecar_id id);

/* These addresses lead elsewhere now. */
void mapping_forget(const void *address, size_t length, uint64_t before);

/* The sidecar of the mapping at this address. */
bool mapping_find(const void *address, struct sidecar_id *ret);

/* The lowest known part of these addresses, of a mapping from before that number;
 * false for none. */
struct mapped_part {
    const char *start;
    size_t length;
    struct sidecar_id id;
};
bool mapping_next(const void *address, size_t length, uint64_t before, struct mapped_part *ret);

#endif
