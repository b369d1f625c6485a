/*
 * A child that stops at one certain moment (ptrace(2)), so that what can happen there,
 * once in a million, happens there each time. And one to which the kernel refuses
 * something, as older ones and other file systems do.
 */
#ifndef LIB_MOMENT_H
#define LIB_MOMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/sys_linux.h"
#include "tests/support/harness.h"

/* Runs body in a child, whose exit status is the result. It waits to be led on. */
pid_t moment_start(int (*body)(void));

/* The child is about to wait for a.lock, which this stranger has. */
pid_t moment_about_to_wait(int (*body)(void), struct stranger *ret_holder);
/* The lock is free, but the file is none any more: another stranger has the one that is
 * there instead. */
pid_t moment_replaced(int (*body)(void), struct stranger *ret_next);

/* Joins a child of ours that is running already; and lets it go, on its way. */
void moment_join(pid_t pid);
void moment_leave(pid_t pid);

/* A thread of a process besides its first. */
pid_t moment_other_thread(pid_t pid);

/* Leads it on until it is about to make a system call, or has made it. Its arguments
 * are in moment_arguments. False when it has ended instead. */
bool moment_before(pid_t pid, long number);
bool moment_after(pid_t pid, long number);
/* Before a system call: until it has been made. */
bool moment_after_this(pid_t pid);
extern uint64_t moment_arguments[6];

/* Leads it on until it is about to make any: its number, -1 when it has ended. */
long moment_next(pid_t pid);

/* The numbers by which the library sleeps and sets timers. */
#define CALL_OF_SLEEP SYS_TIME64(SYS_clock_nanosleep, SYS_clock_nanosleep_time64)
#define CALL_OF_SETTIME SYS_TIME64(SYS_timer_settime, SYS_timer_settime64)

/* Reads its memory. */
uint64_t moment_peek(pid_t pid, uint64_t address);

/* Lets it go; its status (waitpid's). */
int moment_end(pid_t pid);
void moment_kill(pid_t pid);

/* In the child: the system call fails with this error where argument `which` has one
 * of these bits (0: always). False where that cannot be had. */
bool moment_refuse(long number, int which, uint32_t bits, int error);

#endif
