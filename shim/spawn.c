/*
 * posix_spawn, posix_spawnp: with file actions of our making where a locked file
 * is concerned (spawn_plan.h); everything else of the call goes to libc as it
 * is.
 */
#include <errno.h>
#include <stdatomic.h>

#include "shim/real.h"
#include "shim/say.h"
#include "shim/spawn_plan.h"
#include "shim/start.h"
#include "shim/wrap.h"

typedef int real_spawn(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const *arguments,
                       char *const *environment);

/* Actions that were put together without us: by a library that was loaded with
 * a libc of its own, say. */
static void say_unseen(void) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&said)) {
        return;
    }
    TEXT(line, 200);
    text_put(&line, "posix_spawn with file actions that autolock has not seen being made; "
                    "files that they open are not locked");
    say(&line);
}

static int spawn_any(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const *arguments,
                     char *const *environment, real_spawn *call) {
    const struct spawn_record *record = NULL;
    struct spawn_plan plan = {.child = NULL};
    int saved = errno;
    if (shim_is_active() && !spawn_recorded(actions, &record)) {
        say_unseen();
        record = NULL;
    }
    if (record) {
        int r = spawn_plan_make(record, &plan);
        if (r != 0) {
#ifdef __GLIBC__ /* which leaves it there; musl does not */
            saved = r;
#endif
            errno = saved;
            return r;
        }
    }
    if (plan.has_actions) {
        actions = &plan.actions;
    }
    int result = call(pid, file, actions, attributes, arguments, environment);
    int after = errno;
    spawn_plan_done(&plan);
    /* Of what fails libc leaves the error there as well, and programs read it. */
    errno = result == 0 ? saved : after;
    return result;
}

int wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const *arguments,
                     char *const *environment) {
    return spawn_any(pid, path, actions, attributes, arguments, environment, REAL(posix_spawn));
}

int wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const *arguments,
                      char *const *environment) {
    return spawn_any(pid, file, actions, attributes, arguments, environment, REAL(posix_spawnp));
}
