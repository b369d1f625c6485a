/*
 * daemon, login_tty, forkpty: libc puts other files on the descriptors 0 to 2,
 * without coming by dup2. What they were is closed then.
 */
#include <errno.h>
#include <unistd.h>

#include "shim/real.h"
#include "shim/reference.h"
#include "shim/say.h"
#include "shim/soft_exit.h"
#include "shim/wrap.h"

static void stdio_is_replaced(void) {
    for (int fd = 0; fd <= 2; fd++) {
        reference_drop(fd, table_get(fd));
        say_number_duplicated(fd);
    }
}

/* The process that has called daemon ends inside libc, which nobody sees; its soft
 * holds have to end before. So it ends here, and its child goes on to be one that ends
 * there. False where there can be no child. */
static bool end_of_soft_holds(void) {
    pid_t pid = soft_exit_has_holds() ? fork() : 0;
    if (pid > 0) {
        soft_exit_at_once();
        real._exit(0);
    }
    return pid == 0;
}

int wrap_daemon(int nochdir, int noclose) {
    if (!end_of_soft_holds()) {
        return -1;
    }
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
