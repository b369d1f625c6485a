/*
 * A hold is handed over to the program's descriptor of the sidecar (contract O4).
 *
 *     exec 3>>x; exec 9>x.lock; flock 9; exec 3>&-
 *
 * flock(1) is let in by the shell, which has the file open and waits; the lock of its
 * own is told by a pair of the description (pair.h), which the shell's 9 has too. When
 * the shell then closes the file, 9 is to keep the lock: its hold becomes that of 9,
 * to the end of which it lasts, or until a child gives the lock back by it (flock -u 9).
 * Nothing tells us when: it is looked for at the next fork, close, or open of a file
 * that a rule locks.
 *
 * Looked for only where the program has opened a file that is called like a sidecar, or
 * has inherited descriptors through exec.
 *
 * Thread-, fork- and signal-safe; errno untouched.
 */
#ifndef AUTOLOCK_HANDOVER_H
#define AUTOLOCK_HANDOVER_H

/* The program opens this path; it was started with descriptors that may be anything. No
 * system call. */
void handover_notice(const char *path);
void handover_notice_inherited(void);

/* Before `twin` is released, which has served fd. */
void handover_before_release(int twin, int fd);

/* From time to time. Without a system call where nothing was handed over. */
void handover_check(void);

#endif
