#include "shim/syslog.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/sys_linux.h"

#define FACILITY_USER (1 << 3)

/* RFC 3164's time stamp is left out: it is local time, which asks for libc's
 * time zones; the daemons take the time of arrival. */
static void put_message(struct text *message, enum syslog_severity severity,
                        const struct text *line) {
    text_put(message, "<");
    text_put_number(message, FACILITY_USER | (unsigned)severity, 10);
    text_put(message, ">autolock[");
    text_put_number(message, (uint64_t)sys_getpid(), 10);
    text_put(message, "]: ");
    text_put(message, line->start);
}

bool syslog_send(enum syslog_severity severity, const struct text *line) {
    static const struct sockaddr_un daemon = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    TEXT(message, 1100);
    put_message(&message, severity, line);
    int fd =
        (int)SYS_CALL(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0, 0, 0);
    if (fd < 0) {
        return false;
    }
    long sent = SYS_CALL(SYS_sendto, fd, message.start, message.length, MSG_NOSIGNAL | MSG_DONTWAIT,
                         &daemon, sizeof(daemon));
    (void)sys_close(fd);
    return sent >= 0;
}
