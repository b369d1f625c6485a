/*
 * What decides whether a shared library can be loaded into a program: the
 * machine it is made for, and the program loader that it asks for.
 */
#ifndef AUTOLOCK_ELF_IDENTITY_H
#define AUTOLOCK_ELF_IDENTITY_H

#include <limits.h>

struct elf_identity {
    int class; /* ELFCLASS32, ELFCLASS64 */
    int data;  /* byte order */
    int machine;
    char loader[PATH_MAX]; /* PT_INTERP; "" where there is none: static */
};

/* Reads it from an open file. -ENOEXEC where that is no ELF file, -EBADMSG
 * where it is a damaged one or none that can be executed. */
int elf_identify(int fd, struct elf_identity *ret);

#endif
