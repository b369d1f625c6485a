/*
 * Children that have a copy of our memory (contract H5).
 *
 * What a child of fork has to put right: descriptors that other threads had in
 * hand, which are not there, and holds that end with their process
 * (inherit=none). pthread_atfork sees fork(3) alone; _Fork and clone are
 * wrapped, and a child that was made by a raw system call notices at its first
 * open of a file with a rule.
 */
#ifndef AUTOLOCK_FORK_H
#define AUTOLOCK_FORK_H

/* Called once, while starting, where there is something to hold. */
void fork_start(void);

/* Puts right what a child of a raw system call has not. Costs a look at memory
 * in all others. */
void fork_notice(void);

#endif
