/* What stands in the place of a soft lock's sidecar, whose being there is the lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "lib/soft.h"

static void describe(const struct soft_owner *owner, char *ret, size_t size) {
    switch (owner->state) {
    case SOFT_FREE:
        (void)snprintf(ret, size, "not there: nobody has it");
        break;
    case SOFT_ALIVE:
        (void)snprintf(ret, size, "held by pid %ld", (long)owner->pid);
        break;
    case SOFT_DEAD:
        (void)snprintf(ret, size, "stale: pid %ld has ended", (long)owner->pid);
        break;
    case SOFT_UNKNOWN:
        if (owner->pid > 0)
            (void)snprintf(ret, size, "held by pid %ld on the host %s", (long)owner->pid,
                           owner->host);
        else
            (void)snprintf(ret, size, "held; it does not say by whom");
        break;
    }
}

const char *soft_sidecar_fault(int directory, const char *lockdir, const char *name,
                               char ret_description[SOFT_SIDECAR_SIZE]) {
    struct soft_owner owner;
    struct sidecar_id ignored;
    int r = soft_judge(directory, name, &owner, &ignored);
    if (r < 0) {
        (void)snprintf(ret_description, SOFT_SIDECAR_SIZE, "%s", strerror(-r));
        return r == -EISDIR ? "the sidecar is a directory" : "the sidecar cannot be reached";
    }
    describe(&owner, ret_description, SOFT_SIDECAR_SIZE);
    bool may_make = faccessat(directory, lockdir ? lockdir : ".", W_OK | X_OK, AT_EACCESS) == 0;
    return may_make ? NULL : "the sidecar cannot be made";
}
