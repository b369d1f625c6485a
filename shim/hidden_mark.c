/* The marks that survive exec, in the description (hidden.h). */
#include <fcntl.h>
#include <stdatomic.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/number.h"

/* Real-time signals that nobody gives to F_SETSIG for long. */
#define MARK_STDIO 61
#define MARK_ALL 60
#define MARK_NONE 59
/* So much lower where the program has the description as well, by a number of its
 * own, which must not be taken for ours: exec 9>x.lock; flock 9. */
#define WITH_PROGRAM 3

/* A soft lock's, by the rule's inherit=. */
#define MARK_SOFT 53

/* Whether a hold may have another mark than that of inherit=stdio. */
static atomic_bool marks_differ;

/* 0 for none. */
static int get_mark(int fd, bool *ret_with_program) {
    int mark = sys_fcntl(fd, F_GETSIG, 0);
    *ret_with_program = mark < MARK_NONE;
    mark += *ret_with_program ? WITH_PROGRAM : 0;
    return mark >= MARK_NONE && mark <= MARK_STDIO ? mark : 0;
}

static void set_mark(int fd, int mark) {
    bool with_program;
    bool has_mark = get_mark(fd, &with_program);
    (void)sys_fcntl(fd, F_SETSIG, has_mark && with_program ? mark - WITH_PROGRAM : mark);
}

void hidden_mark_stdio(int fd) {
    set_mark(fd, MARK_STDIO);
}

void hidden_mark_program(int fd) {
    (void)sys_fcntl(fd, F_SETSIG, MARK_STDIO - WITH_PROGRAM);
}

bool hidden_is_programs(int fd) {
    bool with_program;
    return get_mark(fd, &with_program) && with_program;
}

void hidden_set_inherit(int fd, enum rule_inherit inherit) {
    if (inherit != INHERIT_STDIO) {
        atomic_store_explicit(&marks_differ, true, memory_order_relaxed);
        set_mark(fd, inherit == INHERIT_ALL ? MARK_ALL : MARK_NONE);
    }
}

enum rule_inherit hidden_inherit(int fd) {
    if (!atomic_load_explicit(&marks_differ, memory_order_relaxed)) {
        return INHERIT_STDIO;
    }
    bool with_program;
    enum rule_inherit ignored;
    if (hidden_is_soft(fd, &ignored)) {
        return INHERIT_NONE;
    }
    int mark = get_mark(fd, &with_program);
    return mark == MARK_ALL ? INHERIT_ALL : mark == MARK_NONE ? INHERIT_NONE : INHERIT_STDIO;
}

void hidden_mark_soft(int fd, enum rule_inherit inherit) {
    atomic_store_explicit(&marks_differ, true, memory_order_relaxed);
    (void)sys_fcntl(fd, F_SETOWN, sys_getpid());
    (void)sys_fcntl(fd, F_SETSIG, MARK_SOFT + (int)inherit);
}

bool hidden_is_soft(int fd, enum rule_inherit *ret_inherit) {
    int mark = sys_fcntl(fd, F_GETSIG, 0) - MARK_SOFT;
    if (mark < INHERIT_STDIO || mark > INHERIT_NONE) {
        return false;
    }
    atomic_store_explicit(&marks_differ, true, memory_order_relaxed); /* it came through exec */
    *ret_inherit = (enum rule_inherit)mark;
    return true;
}

bool hidden_is_own_soft(int fd) {
    enum rule_inherit ignored;
    return hidden_is_soft(fd, &ignored) && sys_fcntl(fd, F_GETOWN, 0) == sys_getpid();
}

bool hidden_is_marked(int fd, enum rule_inherit *ret_inherit) {
    bool with_program;
    int mark = get_mark(fd, &with_program);
    if (!mark || (with_program && fd < number_lowest_placed())) {
        return false;
    }
    if (mark != MARK_STDIO) {
        atomic_store_explicit(&marks_differ, true, memory_order_relaxed);
    }
    *ret_inherit = hidden_inherit(fd);
    return true;
}
