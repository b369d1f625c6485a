/*
 * FILELOCK_FAIR: a turn for those who poll.
 *
 * The kernel wakes whoever stands in its queue, but somebody who looks every
 * 50 ms (py-filelock) finds a lock that is released and taken again at once
 * taken each time. An object that has been acquired again and again for
 * FAIR_STREAK, with no pause as long as FAIR_GAP, leaves such a pause itself.
 *
 * Of several threads that use the object none goes into a gap; but one may have stood
 * in the queue already, when it began: then it is counted from his release. Whose
 * timeout is shorter than the gap takes the lock in between, and the gap goes on.
 */
#ifndef FILELOCK_FAIR_H
#define FILELOCK_FAIR_H

#include "lib/clock.h"
#include "lib/object.h"
#include "lib/take.h"

#define FAIR_GAP (60 * CLOCK_MILLISECOND)
#define FAIR_STREAK CLOCK_SECOND

/* Before the file is taken, without the mutex: leaves it alone for the rest of a
 * gap that is due, but not past the deadline. Returns 0, -ECANCELED or -EINTR. */
int fair_leave_gap(struct taking *taking);

/* After the last release of a hold. The mutex is held. */
void fair_note_release(struct filelock *lock, const struct hold *hold);

#endif
