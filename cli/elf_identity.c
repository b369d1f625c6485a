#include "elf_identity.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static void end_elf(Elf **elf) {
    (void)elf_end(*elf);
}

static int read_loader(int fd, const GElf_Phdr *header, char *ret) {
    char text[PATH_MAX];
    if (header->p_filesz == 0 || header->p_filesz > sizeof(text))
        return -EBADMSG;
    size_t size = (size_t)header->p_filesz;
    if (pread(fd, text, size, (off_t)header->p_offset) != (ssize_t)size || text[size - 1] != '\0')
        return -EBADMSG;
    memcpy(ret, text, size);
    return 0;
}

/* A program is static exactly when it has no PT_INTERP: one that is static-pie
 * has a dynamic section too. */
static int find_loader(int fd, Elf *elf, char *ret) {
    size_t count = 0;
    if (elf_getphdrnum(elf, &count) < 0)
        return -EBADMSG;
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (!gelf_getphdr(elf, (int)i, &header))
            return -EBADMSG;
        if (header.p_type == PT_INTERP)
            return read_loader(fd, &header, ret);
    }
    ret[0] = '\0';
    return 0;
}

int elf_identify(int fd, struct elf_identity *ret) {
    if (elf_version(EV_CURRENT) == EV_NONE)
        return -EOPNOTSUPP;
    __attribute__((cleanup(end_elf))) Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    GElf_Ehdr header;
    if (!elf || elf_kind(elf) != ELF_K_ELF) {
        /* To libelf a file that is cut off in its header is none. */
        char magic[SELFMAG];
        bool cut = pread(fd, magic, SELFMAG, 0) == SELFMAG && memcmp(magic, ELFMAG, SELFMAG) == 0;
        return cut ? -EBADMSG : -ENOEXEC;
    }
    if (!gelf_getehdr(elf, &header) || (header.e_type != ET_EXEC && header.e_type != ET_DYN))
        return -EBADMSG;
    ret->class = header.e_ident[EI_CLASS];
    ret->data = header.e_ident[EI_DATA];
    ret->machine = header.e_machine;
    return find_loader(fd, elf, ret->loader);
}
