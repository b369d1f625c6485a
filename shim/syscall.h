/* The edge of the function syscall(2); see syscall.c. */
#ifndef AUTOLOCK_SYSCALL_H
#define AUTOLOCK_SYSCALL_H

typedef long syscall_function(long number, long a, long b, long c, long d, long e, long f);

extern syscall_function *syscall_next;
long syscall_followed(long number, long a, long b, long c, long d, long e, long f);

/* Once real.syscall is known. */
void syscall_found(void);

#endif
