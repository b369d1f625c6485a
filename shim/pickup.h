/*
 * What the program before exec left for us (contract H6): descriptors of
 * sidecars with a mark (hidden.h). Each is given to what it serves, and closed
 * where there is no such thing any more: popen of a program whose standard
 * output is locked gives the child a twin, but a pipe in the place of the file.
 *
 * Needs nothing from the environment. Called once, while starting, whether
 * there are rules or not.
 */
#ifndef AUTOLOCK_PICKUP_H
#define AUTOLOCK_PICKUP_H

#include <stdbool.h>

/* Returns whether there was anything to take over. */
bool pickup(void);

#endif
