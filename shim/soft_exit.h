/* The end of the process, for soft holds. */
#ifndef AUTOLOCK_SOFT_EXIT_H
#define AUTOLOCK_SOFT_EXIT_H

#include <stdbool.h>

/* Only soft.c does. */
void soft_exit_start(void);

/* Whether this process has soft holds; and ends them as _exit(2) does: nothing is
 * flushed. Fork- and signal-safe; errno untouched. */
bool soft_exit_has_holds(void);
void soft_exit_at_once(void);

#endif
