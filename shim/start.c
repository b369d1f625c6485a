#include "shim/start.h"

#include <errno.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "lib/process_mark.h"
#include "lib/sys_linux.h"
#include "shim/fork.h"
#include "shim/pickup.h"
#include "shim/real.h"
#include "shim/say.h"
#include "shim/soft.h"

#define EXIT_FAULT 125 /* as env(1) and timeout(1) for failures of their own */

/* Whoever starts a program looks for this to see that the library is there. */
extern const char autolock_version[];
__attribute__((visibility("default"))) const char autolock_version[] = AUTOLOCK_VERSION;

_Atomic int start_state = START_NOT_YET;
struct config start_config;

static bool some_rule_locks(enum rule_kind kind) {
    for (size_t i = 0; i < start_config.rules.count; i++) {
        const struct rule *rule = &start_config.rules.rules[i];
        if (!rule->exclude && rule->options->kind == kind) {
            return true;
        }
    }
    return false;
}

/* Faulty rules are reported by every program that starts, but under
 * AUTOLOCK_STRICT none does. */
static bool load(int faults) {
    int r = config_load(&start_config, environ, say_fault, NULL);
    if (r < 0) {
        TEXT(line, 128);
        text_put(&line, "cannot read the rules: out of memory; nothing is locked");
        say(&line);
        return false;
    }
    if (start_config.strict && start_config.faults + faults > 0) {
        real._exit(EXIT_FAULT);
    }
    if (start_config.off) {
        return false;
    }
    bool soft = some_rule_locks(KIND_SOFT);
    if (soft) {
        soft_start();
    }
    return soft || some_rule_locks(KIND_FLOCK);
}

/* Whether all that we depend on is initialised. */
static bool libc_is_ready;

/* Before libc is (a library with -z initfirst opens a file) there is no
 * environment, so no rules can be read yet. */
void start_now(void) {
    int expected = START_NOT_YET;
    if (!environ && !libc_is_ready) {
        return;
    }
    if (!atomic_compare_exchange_strong(&start_state, &expected, START_UNDER_WAY)) {
        return; /* we are inside it: what is opened now is libc's own business */
    }
    int saved = errno;
    real_find();
    bool active = false, picked_up = false;
    if (!getauxval(AT_SECURE)) {
        int faults = say_start(environ);
        picked_up = pickup();
        active = load(faults);
    }
    if (active || picked_up) {
        (void)process_mark();
        fork_start();
    }
    atomic_store_explicit(&start_state, active ? START_ACTIVE : START_IDLE, memory_order_release);
    errno = saved;
}

__attribute__((constructor)) static void start(void) {
    libc_is_ready = true;
    (void)shim_is_active();
}
