/*
 * How long it takes from the release of a lock until somebody who waits for it has it.
 */
#ifndef BENCH_HANDOVER_H
#define BENCH_HANDOVER_H

/* Prints a table for holder and waiter wherever the system lets them run, and one for
 * both on one processor, where the time is that of a switch from the one to the other
 * instead of waking up another processor. */
void handing_over(void);

#endif
