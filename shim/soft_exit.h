/* The end of the process, for soft holds; only soft.c starts it. */
#ifndef AUTOLOCK_SOFT_EXIT_H
#define AUTOLOCK_SOFT_EXIT_H

void soft_exit_start(void);

#endif
