/*
 * The usual open: no link on the way, the sidecar is there, and nobody else has
 * it (contract T1, O5). Done with as few system calls as the protocol allows;
 * everything else is left to opening_begin.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_QUICK_H
#define AUTOLOCK_QUICK_H

#include "shim/opening.h"

/*
 * The rule that locks what the path leads to where no link is on the way.
 * Returns false where that cannot be told; *ret_rule is NULL for none. `room` is
 * for a path.
 */
bool quick_decide(const struct opening *opening, struct target *room, const struct rule **ret_rule);

/* Opens it as the rule says and ties the hold to its descriptor. Returns the descriptor, a
 * negative errno value, or OPENING_LOOK: opening_begin has to do it. */
int quick_open(const struct opening *opening, struct target *room, const struct rule *rule,
               bool exclusive);

#endif
