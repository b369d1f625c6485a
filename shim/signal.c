/*
 * sigaction, signal: while a thread waits for a lock, one real-time signal has a
 * handler of ours. For the program it does not: what it wants of that signal is
 * kept, and done when such a signal comes (lib/wait_signal.h).
 */
#include <errno.h>
#include <signal.h>

#include "lib/signals.h"
#include "lib/wait_signal.h"
#include "shim/real.h"
#include "shim/table.h"
/* Last: it takes back names that headers define as macros. */
#include "shim/wrap.h"

/* What our own code calls. */
int autolock_sigaction(int number, const struct sigaction *action, struct sigaction *before);
int autolock_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    return REAL(sigaction)(number, action, before);
}

/* A vforked child has our handlers, but a table of its own to change them in. */
static bool is_kept(int number, const struct sigaction *action, struct sigaction *ret_before) {
    return number >= SIGRTMIN && !table_is_foreign() &&
           wait_signal_action(number, action, ret_before);
}

int wrap_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    return is_kept(number, action, before) ? 0 : REAL(sigaction)(number, action, before);
}

/* What signal(2) makes of a handler: of BSD's kind or of System V's. */
static bool signal_is_kept(int number, signal_handler *handler, int flags,
                           signal_handler **ret_before) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, before;
    if (!(flags & SA_NODEFER)) {
        signal_set mask = signals_only(number);
        __builtin_memcpy(&action.sa_mask, &mask, sizeof(mask));
    }
    if (handler == SIG_ERR || !is_kept(number, &action, &before)) {
        return false;
    }
    *ret_before = before.sa_handler;
    return true;
}

#define BSD SA_RESTART
#define SYSTEM_V ((int)(SA_RESETHAND | SA_NODEFER))

#define EDGE(name, flags)                                                                          \
    signal_handler *wrap_##name(int number, signal_handler *handler) {                             \
        signal_handler *before;                                                                    \
        return number >= SIGRTMIN && signal_is_kept(number, handler, flags, &before)               \
                   ? before                                                                        \
                   : REAL(name)(number, handler);                                                  \
    }

EDGE(signal, BSD)
EDGE(bsd_signal, BSD)
EDGE(__sysv_signal, SYSTEM_V)
#ifdef __GLIBC__
EDGE(ssignal, BSD)
EDGE(sysv_signal, SYSTEM_V)

int wrap___sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    return is_kept(number, action, before) ? 0 : REAL(__sigaction)(number, action, before);
}
#endif
