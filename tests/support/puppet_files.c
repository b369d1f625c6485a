/*
 * The puppet's calls that map files, lock them, and change what names lead to.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/puppet.h"

#define PAGE 4096

static long do_rename(void) {
    return rename(words[1], words[2]);
}
static long do_renameat(void) {
    return renameat((int)number(1), words[2], (int)number(3), words[4]);
}
static long do_renameat2(void) {
    return renameat2(AT_FDCWD, words[1], AT_FDCWD, words[2], (unsigned)number(3));
}
static long do_unlink(void) {
    return unlink(words[1]);
}
static long do_unlinkat(void) {
    return unlinkat((int)number(1), words[2], (int)number(3));
}
static long do_chmod(void) {
    return chmod(words[1], (mode_t)number(2));
}
static long do_lchmod(void) {
    return lchmod(words[1], (mode_t)number(2));
}
static long do_fchmod(void) {
    return fchmod((int)number(1), (mode_t)number(2));
}
static long do_fchmodat(void) {
    return fchmodat((int)number(1), words[2], (mode_t)number(3), 0);
}
static long do_chown(void) {
    return chown(words[1], (uid_t)number(2), (gid_t)number(3));
}
static long do_lchown(void) {
    return lchown(words[1], (uid_t)number(2), (gid_t)number(3));
}
static long do_fchown(void) {
    return fchown((int)number(1), (uid_t)number(2), (gid_t)number(3));
}
static long do_fchownat(void) {
    return fchownat((int)number(1), words[2], (uid_t)number(3), (gid_t)number(4), 0);
}
/* fchownat of the descriptor itself. */
static long do_fchownat_empty(void) {
    return fchownat((int)number(1), "", (uid_t)number(2), (gid_t)number(3), AT_EMPTY_PATH);
}
/* In a child that shares our memory: of descriptor FD, then of PATH. */
static long do_vfork_chmod(void) {
    int status = -1, fd = (int)number(1);
    pid_t pid = vfork();
    if (pid == 0) {
        _exit(fchmod(fd, 0640) < 0 || chmod(words[2], 0644) < 0);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}
static long do_remove(void) {
    return remove(words[1]);
}
static long do_truncate(void) {
    return truncate(words[1], number(2));
}
static long do_truncate64(void) {
    return truncate64(words[1], number(2));
}

/* mmap FD PAGES PROTECTION FLAGS: the answer is the slot, from 1. "forget SLOT"
 * makes a slot free. */
static char *maps[16];
static long remember(void *address) {
    if (address == MAP_FAILED) {
        return -1;
    }
    for (int i = 1; i < 16; i++) {
        if (!maps[i]) {
            maps[i] = address;
            return i;
        }
    }
    return -1;
}
static long do_mmap(void) {
    return remember(
        mmap(NULL, (size_t)number(2) * PAGE, (int)number(3), (int)number(4), (int)number(1), 0));
}
static long do_mmap64(void) {
    return remember(
        mmap64(NULL, (size_t)number(2) * PAGE, (int)number(3), (int)number(4), (int)number(1), 0));
}
/* mmap_over SLOT PAGE PAGES FD: MAP_FIXED, anonymous where FD is -1. */
static long do_mmap_over(void) {
    int fd = (int)number(4);
    int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *at = maps[number(1)] + number(2) * PAGE;
    return mmap(at, (size_t)number(3) * PAGE, PROT_READ, flags, fd, 0) == at ? 0 : -1;
}
/* munmap SLOT PAGE PAGES */
static long do_munmap(void) {
    return munmap(maps[number(1)] + number(2) * PAGE, (size_t)number(3) * PAGE);
}
/* munmap_odd SLOT: not at a page, which fails. */
static long do_munmap_odd(void) {
    return munmap(maps[number(1)] + 1, PAGE);
}
/* mremap SLOT OLD_PAGES NEW_PAGES: may move; the slot follows. */
static long do_mremap(void) {
    void *now =
        mremap(maps[number(1)], (size_t)number(2) * PAGE, (size_t)number(3) * PAGE, MREMAP_MAYMOVE);
    if (now == MAP_FAILED) {
        return -1;
    }
    maps[number(1)] = now;
    return 0;
}
/* mremap_away SLOT PAGES: to a place of its own. */
static long do_mremap_away(void) {
    size_t size = (size_t)number(2) * PAGE;
    void *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *now = mremap(maps[number(1)], size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    maps[number(1)] = now;
    return now == place ? 0 : -1;
}
/* mremap_copy SLOT PAGES: a second mapping of the same; the answer is its slot. */
static long do_mremap_copy(void) {
    return remember(mremap(maps[number(1)], 0, (size_t)number(2) * PAGE, MREMAP_MAYMOVE));
}
static long do_mprotect(void) {
    return mprotect(maps[number(1)], (size_t)number(2) * PAGE, (int)number(3));
}
static long do_forget(void) {
    maps[number(1)] = NULL;
    return 0;
}
/* poke SLOT TEXT */
static long do_poke(void) {
    memcpy(maps[number(1)], words[2], strlen(words[2]));
    return 0;
}

/* fork_munmap SLOT PAGE PAGES: a child of fork that has our mappings, unmaps these
 * (PAGES 0: none), says so and stays. */
static int leave[2];
static long do_fork_munmap(void) {
    int done[2];
    char byte = 0;
    if (pipe2(leave, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(leave[1]);
        long r = number(3) ? do_munmap() : 0;
        _exit(r < 0 || write(done[1], &byte, 1) < 0 || read(leave[0], &byte, 1) < 0);
    }
    close(leave[0]);
    close(done[1]);
    long told = read(done[0], &byte, 1);
    close(done[0]);
    return told == 1 ? pid : -1;
}
static long do_end_fork(void) {
    int status = -1;
    close(leave[1]);
    return wait(&status) > 0 ? status : -1;
}

/* Record locks: setlk FD TYPE, getlk FD -> type that stands in the way. */
static long do_setlk(void) {
    struct flock lock = {.l_type = (short)number(2), .l_whence = SEEK_SET};
    return fcntl((int)number(1), F_SETLK, &lock);
}
static long do_ofd_setlk(void) {
    struct flock lock = {.l_type = (short)number(2), .l_whence = SEEK_SET};
    return fcntl((int)number(1), F_OFD_SETLK, &lock);
}
static long do_lockf(void) {
    return lockf((int)number(1), (int)number(2), 0);
}

const struct command file_commands[] = {
    COMMAND(rename),         COMMAND(renameat),    COMMAND(renameat2),  COMMAND(unlink),
    COMMAND(chmod),          COMMAND(lchmod),      COMMAND(fchmod),     COMMAND(fchmodat),
    COMMAND(chown),          COMMAND(lchown),      COMMAND(fchown),     COMMAND(fchownat),
    COMMAND(fchownat_empty), COMMAND(vfork_chmod), COMMAND(unlinkat),   COMMAND(remove),
    COMMAND(truncate),       COMMAND(truncate64),  COMMAND(mmap),       COMMAND(mmap64),
    COMMAND(mmap_over),      COMMAND(munmap),      COMMAND(munmap_odd), COMMAND(mremap),
    COMMAND(mremap_away),    COMMAND(mremap_copy), COMMAND(mprotect),   COMMAND(poke),
    COMMAND(fork_munmap),    COMMAND(end_fork),    COMMAND(setlk),      COMMAND(ofd_setlk),
    COMMAND(lockf),          COMMAND(forget),      {NULL, NULL},
};
