/*
 * From exclusive to shared, where a program's descriptor of the sidecar has joined a
 * hold of ours (contract O4):
 *
 *     f = open("x", O_RDWR); l = open("x.lock", O_RDWR);
 *     flock(l, LOCK_EX); flock(l, LOCK_SH); close(f);
 *
 * As long as the file is open for writing the hold stays exclusive. Once nothing has it
 * but descriptors of the sidecar, and the program has locked all of those shared, it is
 * shared as well. Not while another process has the same hold: a child may have the file
 * open, which only the child knows.
 *
 * Thread-, fork- and signal-safe; errno untouched; no malloc.
 */
#ifndef AUTOLOCK_JOINED_H
#define AUTOLOCK_JOINED_H

/* A descriptor of the sidecar may have an exclusive hold, and be locked shared itself. No
 * system call. */
void joined_may_share(void);

/* Something that has a hold is gone, or has changed how. Without a system call where
 * joined_may_share was never called. */
void joined_settle(void);

#endif
