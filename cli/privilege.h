/*
 * Whether executing a file changes the user's privileges. In such a process
 * ld.so ignores LD_PRELOAD, and the library does nothing (contract C7).
 */
#ifndef AUTOLOCK_PRIVILEGE_H
#define AUTOLOCK_PRIVILEGE_H

/* What changes them: "set-user-ID", "set-group-ID", "given file capabilities";
 * NULL where nothing does. fd: the ELF file itself; the bits of a script do
 * not count. */
const char *privilege_gained(int fd);

#endif
