/*
 * daemon, login_tty, forkpty: libc puts other files on the descriptors 0 to 2,
 * without coming by dup2. What they were is closed then.
 */
#include <errno.h>

#include "shim/real.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/wrap.h"

static void stdio_is_replaced(void) {
    for (int fd = 0; fd <= 2; fd++) {
        reference_drop(fd, table_get(fd));
        say_number_duplicated(fd);
    }
}

int wrap_daemon(int nochdir, int noclose) {
    int result = REAL(daemon)(nochdir, noclose);
    if (result == 0 && !noclose) {
        stdio_is_replaced();
    }
    return result;
}

int wrap_login_tty(int fd) {
    int result = REAL(login_tty)(fd);
    if (result == 0) {
        stdio_is_replaced();
        if (fd > 2) { /* closed as well, by libc */
            reference_heal(fd);
        }
    }
    return result;
}

pid_t wrap_forkpty(int *fd, char *name, const struct termios *term, const struct winsize *size) {
    pid_t result = REAL(forkpty)(fd, name, term, size);
    if (result == 0) {
        stdio_is_replaced();
    }
    return result;
}
