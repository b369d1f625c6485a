#include "lib/unsignalled.h"

#include <errno.h>
#include <signal.h>

#include "lib/signals.h"
#include "lib/sys_linux.h"

#define APPEND (-1)

/* The signal is blocked meanwhile, and taken away if it is ours. */
static ssize_t write_any(int fd, const void *data, size_t size, off_t at) {
    signal_set before = signals_mask(SIGNALS_ALL), pending = signals_pending(0);
    long n = at == APPEND ? sys_write(fd, data, size)
                          : SYS_CALL(SYS_pwrite64, fd, data, size, at, 0, 0);
    int sent = n == -EPIPE ? SIGPIPE : n == -EFBIG ? SIGXFSZ : 0;
    if (sent && !(pending & signals_only(sent))) {
        signals_drain(sent);
    }
    (void)signals_mask(before);
    return (ssize_t)n;
}

ssize_t unsignalled_write(int fd, const void *data, size_t size) {
    return write_any(fd, data, size, APPEND);
}

ssize_t unsignalled_write_at(int fd, const void *data, size_t size, off_t at) {
    return write_any(fd, data, size, at);
}
