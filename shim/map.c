/*
 * mmap, munmap and mremap: a shared mapping of a locked file is a reference
 * (contract H7). A private one sees what others write, but writes nothing
 * itself: it is none. mprotect changes nothing here, since a mapping counts
 * whatever may be done with it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>

#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/mapping.h"
#include "shim/real.h"
#include "shim/reference.h"
#include "shim/wrap.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static bool is_shared(int flags) {
    int type = flags & MAP_TYPE;
    return !(flags & MAP_ANONYMOUS) && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
}

/* A hidden descriptor for the mapping that is about to be made; -1 for none. */
static int twin_for(int fd, int flags) {
    return fd >= 0 && is_shared(flags) ? reference_another_twin(fd) : -1;
}

/* The kernel has given these addresses: what we knew of them is void, be it
 * through MAP_FIXED or a munmap that we did not see. */
static void *mapped(void *result, size_t length, int twin, uint64_t before) {
    if (result != MAP_FAILED) {
        mapping_forget(result, length, before);
        if (twin >= 0) {
            mapping_remember(result, length, twin);
        }
    } else {
        int saved = errno;
        hold_drop(twin);
        errno = saved;
    }
    return result;
}

void *wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    int twin = twin_for(fd, flags);
    uint64_t before = mapping_now();
    return mapped(real.mmap(address, length, protection, flags, fd, offset), length, twin, before);
}

void *wrap_mmap64(void *address, size_t length, int protection, int flags, int fd, int64_t offset) {
    int twin = twin_for(fd, flags);
    uint64_t before = mapping_now();
    return mapped(real.mmap64(address, length, protection, flags, fd, offset), length, twin,
                  before);
}

int wrap_munmap(void *address, size_t length) {
    if (!mapping_touches(address, length)) {
        return real.munmap(address, length);
    }
    uint64_t before = mapping_now();
    int result = real.munmap(address, length);
    if (result == 0) {
        mapping_forget(address, length, before);
    }
    return result;
}

/* As they are, several mappings may be moved at once (Linux 6.17). */
static void move_all(const char *old, const char *to, size_t length, uint64_t before) {
    struct mapped_part part;
    for (size_t at = 0; at < length && mapping_next(old + at, length - at, before, &part);) {
        mapping_remember_more(to + (part.start - old), part.length, part.id);
        at = (size_t)(part.start - old) + part.length;
    }
}

void *wrap_mremap(void *old, size_t old_length, size_t new_length, int flags, ...) {
    va_list more;
    va_start(more, flags);
    void *wanted = va_arg(more, void *);
    va_end(more);
    uint64_t before = mapping_now();
    struct sidecar_id id;
    bool ours = mapping_find(old, &id);
    void *result = real.mremap(old, old_length, new_length, flags, wanted);
    if (result == MAP_FAILED) {
        return result;
    }
    /* The new ones first: the hold must not end in between. */
    if (old_length == new_length) {
        move_all(old, result, old_length, before);
    } else if (ours) {
        mapping_remember_more(result, new_length, id);
    }
    if (!(flags & MREMAP_DONTUNMAP)) { /* length 0 makes a second mapping */
        mapping_forget(old, old_length, before);
    }
    mapping_forget(result, new_length, before);
    return result;
}
