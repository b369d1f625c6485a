#include "shim/failure.h"

#include <errno.h>
#include <unistd.h>

#include "shim/say.h"

/* Marks an error that is the program's own business: it would have met it
 * without us, so nothing is said. */
#define OWN_ERROR 0x10000

static int may(int directory, const char *name, int access) {
    return (int)SYS_CALL(SYS_faccessat2, directory, name, access, AT_EACCESS | AT_SYMLINK_NOFOLLOW,
                         0, 0);
}

int failure_before_wait(const struct target *target) {
    int access = R_OK;
    if (target->wants_write) {
        access = target->wants_read ? R_OK | W_OK : W_OK;
    }
    /* Making a file, or changing a name, is the directory's to allow. */
    int r = target->changes_name || !target->exists
                ? may(target->where.directory, ".", W_OK | X_OK)
                : may(target->where.directory, target->where.name, access);
    if (r == -EACCES || r == -EROFS || r == -EPERM) {
        return r - OWN_ERROR;
    }
    return 0;
}

static void say_remedy_for_deadlock(struct text *line, const struct target *target) {
    switch (target->why[0] ? target->remedy : REMEDY_READ_AGAIN) {
    case REMEDY_ORDER:
        text_put(line, "; open files in the same order everywhere, or one at a time");
        return;
    case REMEDY_NO_HANDLER:
        text_put(line, "; open it elsewhere than in a signal handler");
        return;
    case REMEDY_NESTED:
        text_put(line, "; nested=pass in the rule ");
        break;
    case REMEDY_READ_AGAIN:
        text_put(line, "; close it wherever this program has it open and read it again, or open "
                       "it for writing at once, or put hold=process in the rule ");
        break;
    }
    text_put_visible(line, target->rule->pattern);
    text_put(line, target->why[0] && target->remedy == REMEDY_NESTED ? " lets it in" : "");
}

static void say_remedy(struct text *line, const struct target *target, int error, bool goes_on) {
    if (goes_on) {
        text_put(line, "; goes on without a lock (");
        text_put(line, error == ETIMEDOUT ? "on-timeout=open" : "on-error=open");
        text_put(line, ")");
    } else if (error == ETIMEDOUT) {
        text_put(line, "; a longer timeout= or on-timeout=open in the rule ");
        text_put_visible(line, target->rule->pattern);
        text_put(line, " changes this");
    } else if (error == EDEADLK) {
        say_remedy_for_deadlock(line, target);
    } else {
        text_put(line, "; on-error=open in the rule ");
        text_put_visible(line, target->rule->pattern);
        text_put(line, " lets it go on without a lock");
    }
}

void failure_say(const struct target *target, int error, bool goes_on) {
    TEXT(line, 1000);
    text_put(&line, "cannot lock ");
    text_put_visible(&line, target->where.path);
    text_put(&line, ": ");
    if (error == ETIMEDOUT) {
        text_put(&line, "timeout after ");
        text_put_duration(&line, target->rule->options->timeout);
    } else if (error == EDEADLK && target->why[0]) {
        text_put(&line, target->why);
    } else if (error == EDEADLK) {
        text_put(&line, "somebody wrote to it since it was opened for reading; writing "
                        "now would lose that");
    } else {
        const char *known = say_error(error);
        text_put_visible(&line, target->sidecar);
        text_put(&line, ": ");
        text_put(&line, known ? known : "error ");
        if (!known) {
            text_put_number(&line, (uint64_t)error, 10);
        }
    }
    say_remedy(&line, target, error, goes_on);
    say(&line);
}

static bool cannot_be_made(int error) {
    return error == EACCES || error == EPERM || error == EROFS;
}

int failure_decide(const struct target *target, int error) {
    if (error < -OWN_ERROR / 2) {
        return error + OWN_ERROR;
    }
    if (error == -EINTR) {
        return error; /* as flock(2) and open(2) do */
    }
    const struct rule_options *options = target->rule->options;
    if (error == -ETIMEDOUT) {
        bool goes_on = options->on_timeout == FAILURE_OPEN;
        failure_say(target, ETIMEDOUT, goes_on);
        return goes_on ? 0 : -EBUSY;
    }
    if (error == -EDEADLK) {
        failure_say(target, EDEADLK, false);
        return error;
    }
    if (!target->wants_write && cannot_be_made(-error) && target->no_sidecar) {
        return 0; /* nobody holds it, and we may not make it (C5) */
    }
    bool goes_on = options->on_error == FAILURE_OPEN;
    failure_say(target, -error, goes_on);
    return goes_on ? 0 : error;
}
