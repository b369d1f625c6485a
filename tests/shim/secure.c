/*
 * A program with libautolock.so linked to it, for the test of what it does where
 * the program has more rights than its caller.
 *
 *     secure FILE    opens FILE for writing and closes it
 *
 * Exits with 10 where it is a secure-execution process (ld.so(8)), with 3 where it
 * is not but the effective user is another, with 0 where there is no difference.
 */
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
    if (fd < 0 || close(fd) < 0) {
        return 1;
    }
    if (getauxval(AT_SECURE)) {
        return 10;
    }
    return getuid() == 0 ? 0 : 3;
}
