/*
 * open_by_handle_at: a file without a name. Opened with O_PATH first, which
 * touches no lock of the program's (contract O7) and leads to the name that the
 * file has now.
 */
#include <errno.h>
#include <fcntl.h>

#include "shim/hidden.h"
#include "shim/opening.h"
#include "shim/real.h"
#include "shim/start.h"
#include "shim/text.h"
#include "shim/wrap.h"

static const struct sidecar_id NO_ID;

/* A hidden O_PATH descriptor of the file; -1 where the handle leads nowhere. */
static int look(int mount, struct file_handle *handle) {
    int fd = REAL(open_by_handle_at)(mount, handle, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int hidden = hidden_make(fd, MODE_NOTHING, NO_ID);
    (void)sys_close(fd);
    return hidden;
}

static int open_handle(int mount, struct file_handle *handle, int flags, int hidden) {
    TEXT(link, 40);
    text_put_descriptor(&link, hidden);
    struct opening opening = {
        .dirfd = AT_FDCWD, .path = link.start, .flags = flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)};
    enum opening_way way = opening_begin(&opening);
    if (way == OPENING_FAILED && opening.error != ENOENT) { /* ENOENT: has no name any more */
        errno = opening.error;
        return -1;
    }
    int fd = REAL(open_by_handle_at)(mount, handle, flags);
    int saved = errno;
    if (way == OPENING_LOCKED) {
        opening_bind(&opening, fd);
    } else {
        opening_plain(fd);
    }
    errno = saved;
    return fd;
}

int wrap_open_by_handle_at(int mount, struct file_handle *handle, int flags) {
    int saved = errno;
    int hidden = shim_is_active() && !(flags & O_PATH) ? look(mount, handle) : -1;
    errno = saved;
    if (hidden < 0) {
        int fd = REAL(open_by_handle_at)(mount, handle, flags);
        opening_plain(fd);
        return fd;
    }
    int fd = open_handle(mount, handle, flags, hidden);
    hidden_close(hidden);
    return fd;
}
