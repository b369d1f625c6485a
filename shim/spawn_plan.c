#include "shim/spawn_plan.h"

#include <errno.h>

#include "lib/sys_linux.h"
#include "shim/hidden.h"
#include "shim/real.h"
#include "shim/spawn_child.h"

/* The twins that the child is to have after exec: some of child->hidden. */
struct wanted {
    unsigned first; /* the index from which on they are */
    int highest;
};

static bool is_wanted(const struct spawn_child *child, const struct wanted *wanted, int fd) {
    for (unsigned i = wanted->first; i < child->hidden_count; i++) {
        if (child->hidden[i] == fd) {
            return true;
        }
    }
    return false;
}

/* Whether a twin of ours comes through all this as it would through exec. */
static bool is_natural(const struct spawn_child *child, int twin, int served) {
    return !spawn_child_touched(child, served) && served < child->closed_from &&
           !spawn_child_target(child->record, twin) && twin < child->closed_from;
}

static int carrier_after_exec(struct spawn_child *child, int fd) {
    struct child_fd now = spawn_child_look(child, fd);
    return now.close_on_exec ? -1 : now.carrier;
}

struct pair {
    int fd, carrier;
};

/* The child's descriptors that may lead to a locked file, with what has its
 * hold. */
static unsigned gather(struct spawn_child *child, struct pair *pairs, unsigned room) {
    unsigned count = 0;
    for (unsigned i = 0; i < child->fd_count && count < room; i++) {
        int fd = child->fds[i].fd;
        pairs[count++] = (struct pair){fd, carrier_after_exec(child, fd)};
    }
    for (int twin = table_previous(TABLE_HIDDEN, TABLE_NOBODY); twin >= 0 && count < room;
         twin = table_previous(TABLE_HIDDEN, twin)) {
        int fd = table_serves(table_get(twin));
        if (fd >= 0 && !spawn_child_touched(child, fd) && !is_natural(child, twin, fd)) {
            pairs[count++] = (struct pair){fd, carrier_after_exec(child, fd)};
        }
    }
    return count;
}

static int find_wanted(struct spawn_child *child, struct wanted *ret) {
    unsigned room = child->hidden_room;
    struct pair *pairs = sys_map(room * sizeof(struct pair));
    if (!pairs) {
        return ENOMEM;
    }
    unsigned count = gather(child, pairs, room);
    *ret = (struct wanted){.first = child->hidden_count, .highest = -1};
    for (unsigned i = 0; i < count; i++) {
        if (pairs[i].carrier < 0 || !hidden_survives_exec(pairs[i].carrier, pairs[i].fd)) {
            continue;
        }
        int fd = pairs[i].fd;
        int twin = spawn_child_keep(child, hidden_another(pairs[i].carrier, fd), fd);
        if (twin > ret->highest) {
            ret->highest = twin;
        }
    }
    sys_unmap(pairs, room * sizeof(struct pair));
    return 0;
}

static int add(struct spawn_plan *plan, struct spawn_action action) {
    return spawn_add(&plan->actions, plan->child->record, &action);
}

/* Around the twins, which are there by then. libc takes no number beyond the limit, where
 * nothing is but some of ours. */
static int add_closefrom(struct spawn_plan *plan, const struct wanted *wanted, int first) {
    for (; first <= wanted->highest; first++) {
        if (!is_wanted(plan->child, wanted, first)) {
            int r = add(plan, (struct spawn_action){.kind = SPAWN_CLOSE, .fd = first});
            if (r != 0) {
                return r == EBADF ? 0 : r;
            }
        }
    }
    int r = add(plan, (struct spawn_action){.kind = SPAWN_CLOSEFROM, .fd = first});
    return r == EBADF ? 0 : r;
}

/* Hidden descriptors are not there for the program (contract T2). */
static bool closes_hidden(const struct spawn_record *record, const struct spawn_action *action) {
    return action->kind == SPAWN_CLOSE && !spawn_child_target(record, action->fd) &&
           table_kind(table_get(action->fd)) == TABLE_HIDDEN;
}

static int add_program_s(struct spawn_plan *plan, const struct wanted *wanted) {
    const struct spawn_record *record = plan->child->record;
    for (unsigned i = 0; i < record->count; i++) {
        const struct spawn_action *action = &record->actions[i];
        int r = 0;
        if (action->kind == SPAWN_CLOSEFROM) {
            r = add_closefrom(plan, wanted, action->fd);
        } else if (!closes_hidden(record, action)) {
            r = add(plan, *action);
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* Twins of the parent's that survive exec although what they serve does not. (One beyond
 * the limit the next program closes, if it is under the shim.) */
static int add_closes(struct spawn_plan *plan) {
    const struct spawn_child *child = plan->child;
    for (int twin = table_previous(TABLE_HIDDEN, TABLE_NOBODY); twin >= 0;
         twin = table_previous(TABLE_HIDDEN, twin)) {
        int served = table_serves(table_get(twin));
        if (served < 0 || is_natural(child, twin, served) ||
            spawn_child_target(child->record, twin) || sys_fcntl(twin, F_GETFD, 0) != 0) {
            continue;
        }
        int r = add(plan, (struct spawn_action){.kind = SPAWN_CLOSE, .fd = twin});
        if (r != 0 && r != EBADF) {
            return r;
        }
    }
    return 0;
}

/* Onto its own number takes close-on-exec from it, in both libcs. */
static int add_twins(struct spawn_plan *plan, const struct wanted *wanted) {
    const struct spawn_child *child = plan->child;
    for (unsigned i = wanted->first; i < child->hidden_count; i++) {
        int twin = child->hidden[i];
        if (spawn_child_target(child->record, twin)) {
            continue; /* it was made again, elsewhere */
        }
        int r = add(plan, (struct spawn_action){.kind = SPAWN_DUP2, .from = twin, .fd = twin});
        if (r == EBADF) { /* likewise */
            hidden_keep_over_exec(twin);
        } else if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int write_actions(struct spawn_plan *plan) {
    struct wanted wanted;
    int r = find_wanted(plan->child, &wanted);
    if (r == 0) {
        r = REAL(posix_spawn_file_actions_init)(&plan->actions);
        plan->has_actions = r == 0;
    }
    if (r == 0) {
        r = add_program_s(plan, &wanted);
    }
    if (r == 0) {
        r = add_closes(plan);
    }
    return r == 0 ? add_twins(plan, &wanted) : r;
}

static bool has_opens(const struct spawn_record *record) {
    for (unsigned i = 0; i < record->count; i++) {
        if (record->actions[i].kind == SPAWN_OPEN) {
            return true;
        }
    }
    return false;
}

static bool nothing_is_locked(void) {
    return table_previous(TABLE_HIDDEN, TABLE_NOBODY) < 0;
}

int spawn_plan_make(const struct spawn_record *record, struct spawn_plan *ret) {
    *ret = (struct spawn_plan){.child = NULL};
    if (nothing_is_locked() && !has_opens(record)) {
        return 0;
    }
    ret->child = spawn_child_make(record);
    if (!ret->child) {
        return ENOMEM;
    }
    int r = spawn_child_go_through(ret->child);
    if (r == 0 && !nothing_is_locked()) {
        r = write_actions(ret);
    }
    if (r != 0) {
        spawn_plan_done(ret);
    }
    return r;
}

void spawn_plan_done(struct spawn_plan *plan) {
    if (plan->has_actions) {
        (void)REAL(posix_spawn_file_actions_destroy)(&plan->actions);
    }
    if (plan->child) {
        spawn_child_done(plan->child);
    }
}
