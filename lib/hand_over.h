/*
 * Marks the functions that run between the moment when one gives a lock back and the
 * moment when somebody who waits for it has it. Whoever waits has slept, and what he
 * needs is in no cache any more: so these functions stand next to one another, in few
 * pages, and not among all the others.
 *
 * Source: the function attribute `hot` of GCC and Clang, and ld(1), which puts .text.hot
 * before the rest.
 */
#ifndef FILELOCK_HAND_OVER_H
#define FILELOCK_HAND_OVER_H

#define HAND_OVER __attribute__((hot))

#endif
