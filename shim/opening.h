/*
 * What happens to an open: is the file locked, and if so, the lock first
 * (contract H1, H8, O2, O3, O5, T5).
 *
 *     struct opening opening = {.dirfd = AT_FDCWD, .path = path, .flags = flags};
 *     fd = opening_try(&opening);
 *     if (fd != OPENING_LOOK) return fd;
 *     switch (opening_begin(&opening)) {
 *     case OPENING_PLAIN:  fd = real.open(...); opening_plain(fd); break;
 *     case OPENING_LOCKED: fd = opening_finish(&opening); break;
 *     default:             errno = opening.error; fd = -1;
 *     }
 *
 * Streams that cannot be made from a descriptor open the file themselves
 * between opening_begin and opening_bind.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_OPENING_H
#define AUTOLOCK_OPENING_H

#include "shim/doing.h"
#include "shim/target.h"
#include "shim/text.h"

struct opening {
    int dirfd;
    const char *path;
    int flags; /* of open(2) */
    mode_t mode;
    bool for_child; /* another process will open it (spawn_plan.h) */
    /* Private, until opening_finish or opening_bind. */
    struct target *target;
    int twin;
    int kept; /* what hold=process keeps once the file is open; -1 */
    int error;
    uint64_t waited; /* for what the path led to before */
    int cancel_state;
    struct doing doing;
};

enum opening_way {
    OPENING_PLAIN,  /* no rule: the real function is to be called */
    OPENING_LOCKED, /* held: opening_finish or opening_bind must follow */
    OPENING_FAILED, /* opening.error */
};

/* Whether the name matches no rule, and no link is on its way that may lead to
 * one that does. */
bool opening_is_plain(const struct opening *opening);

enum opening_way opening_begin(struct opening *opening);

/*
 * Opens what can be opened without much ado: a file that no rule locks, and one
 * that nobody else has, where no link is on the way. Returns the descriptor, a
 * negative errno value, or OPENING_LOOK: opening_begin has to tell. Nothing need
 * be done after it.
 */
#define OPENING_LOOK (-0x10000)
int opening_try(const struct opening *opening);

/* Whether what openat2 has returned is what open would, and not a refusal of
 * openat2 itself or of what open ignores: then the call has been made. */
bool opening_openat2_settles(int r);

/* After a plain open: the number (or -1) may be one that we knew. */
void opening_plain(int fd);

/* Opens the locked file and ties the hold to its descriptor. Returns the
 * descriptor; or a negative errno value, or OPENING_LOOK where the path has come
 * to lead to a file without a rule (the hold is gone then). */
int opening_finish(struct opening *opening);

/* Instead of that: the hold, as a hidden descriptor that the caller owns; -1
 * where the open goes on without one. */
int opening_keep(struct opening *opening);

/* As opening_finish, for a file that the caller has opened itself, or not (fd -1);
 * and by what name to do so (target_name). */
const char *opening_name(const struct opening *opening, struct text *room);
void opening_bind(struct opening *opening, int fd);

#endif
