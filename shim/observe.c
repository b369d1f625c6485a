#include "shim/observe.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

#include "lib/clock.h"
#include "shim/hidden.h"
#include "shim/procfs.h"
#include "shim/register.h"
#include "shim/say.h"
#include "shim/start.h"

static void put_rule(struct text *line, const struct rule *rule) {
    text_put(line, "rule ");
    text_put_visible(line, rule->source);
    text_put(line, ":");
    text_put_number(line, rule->line, 10);
    text_put(line, ": ");
    text_put_visible(line, rule->pattern);
}

static void say_opened(const struct target *target, bool exclusive) {
    TEXT(line, 900);
    text_put_visible(&line, target->where.path);
    text_put(&line, exclusive ? " would be locked against all others"
                              : " would be locked against writers");
    text_put(&line, target->rule->options->kind == KIND_SOFT ? ", by a soft lock (" : " (");
    put_rule(&line, target->rule);
    text_put(&line, ")");
    say_observed(&line);
}

struct overlap {
    const struct target *target;
    const struct register_place *mine;
};

static const char *consequence(const struct overlap *overlap, const struct register_place *other) {
    if (!other->writes && !overlap->mine->writes) {
        return ": both read, so this open would not have waited";
    }
    return procfs_is_ancestor(other->pid) /* W2 */
               ? ": this open would have waited, unless that one waits for this process"
               : ": this open would have waited";
}

static void say_overlap(const struct register_place *other, void *data) {
    const struct overlap *overlap = data;
    if (other->pid == overlap->mine->pid) {
        return; /* it would share its own lock */
    }
    uint64_t now = clock_now();
    TEXT(line, 900);
    text_put_visible(&line, overlap->target->where.path);
    text_put(&line, " is open already, opened by pid ");
    text_put_number(&line, (uint64_t)(unsigned)other->pid, 10);
    text_put(&line, " (");
    text_put_visible(&line, other->name);
    text_put(&line, other->writes ? ") to write " : ") to read ");
    text_put_duration(&line, now > other->since ? now - other->since : 0);
    text_put(&line, " ago");
    text_put(&line, consequence(overlap, other));
    say_observed(&line);
}

static void describe(struct register_place *place, const struct target *target, bool exclusive) {
    const char *path = target->where.path;
    size_t length = strlen(path), room = sizeof(place->path) - 1;
    memset(place, 0, sizeof(*place));
    register_hash(path, place->file);
    place->since = clock_now();
    place->pid = sys_getpid();
    place->writes = exclusive;
    (void)SYS_CALL(SYS_prctl, PR_GET_NAME, place->name, 0, 0, 0, 0);
    memcpy(place->path, path + (length > room ? length - room : 0), length > room ? room : length);
}

static void say_blind(int error) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&said)) {
        return;
    }
    TEXT(line, 400);
    text_put(&line, "cannot observe how long files are open and who has them: "
                    "/dev/shm/autolock-observe: ");
    text_put(&line, say_error(-error) ? say_error(-error) : "it cannot be used");
    say_observed(&line);
}

void observe_take(const struct target *target, bool exclusive, int *ret_twin) {
    struct register_place place;
    struct sys_stat stat;
    *ret_twin = -1;
    say_opened(target, exclusive);
    describe(&place, target, exclusive);
    int fd = register_take(&place);
    int twin = fd < 0 ? fd : sys_fstat(fd, &stat);
    if (fd >= 0 && twin == 0) {
        twin = hidden_make(fd, exclusive ? MODE_EXCLUSIVE : MODE_SHARED, sidecar_id_of(&stat));
    }
    if (fd >= 0) {
        (void)sys_close(fd);
    }
    if (twin < 0) {
        say_blind(twin);
        return;
    }
    struct overlap overlap = {target, &place};
    register_each(twin, place.file, say_overlap, &overlap);
    *ret_twin = twin;
}

/* Whether another descriptor of this process has the same place. */
static bool has_another(int twin, off_t at, int below) {
    for (int fd = table_previous(TABLE_HIDDEN, below); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        struct register_place place;
        off_t other;
        if (fd != twin && table_mode(table_get(fd)) >= MODE_SHARED &&
            register_get(fd, &place, &other) && other == at) {
            return true;
        }
    }
    return false;
}

static void say_end(const struct register_place *place, const char *how) {
    uint64_t now = clock_now();
    TEXT(line, 600);
    text_put_visible(&line, place->path);
    text_put(&line, how);
    text_put_duration(&line, now > place->since ? now - place->since : 0);
    say_observed(&line);
}

void observe_closing(int twin) {
    struct register_place place;
    off_t at;
    if (start_config.observe && table_mode(table_get(twin)) >= MODE_SHARED &&
        register_get(twin, &place, &at) && !has_another(twin, at, TABLE_NOBODY)) {
        place.path[sizeof(place.path) - 1] = '\0';
        say_end(&place, " closed; it was open for ");
    }
}

/* What is open at exit(3). (Not what is said, but what is locked, would last to
 * the end of the process.) */
__attribute__((destructor)) static void at_exit(void) {
    if (!start_config.observe) {
        return;
    }
    for (int fd = table_previous(TABLE_HIDDEN, TABLE_NOBODY); fd >= 0;
         fd = table_previous(TABLE_HIDDEN, fd)) {
        struct register_place place;
        off_t at;
        if (table_mode(table_get(fd)) >= MODE_SHARED && register_get(fd, &place, &at) &&
            !has_another(fd, at, fd)) {
            place.path[sizeof(place.path) - 1] = '\0';
            say_end(&place, " was open until the end of the process, for ");
        }
    }
}

int observe_belongs(int twin, int fd) {
    struct register_place place;
    off_t at;
    if (!register_get(twin, &place, &at)) {
        return -1;
    }
    char path[4096];
    uint64_t file[2];
    TEXT(link, 40);
    text_put_descriptor(&link, fd);
    ssize_t n = sys_readlinkat(AT_FDCWD, link.start, path, sizeof(path) - 1);
    if (n <= 0) {
        return 0;
    }
    path[n] = '\0';
    register_hash(path, file);
    return memcmp(file, place.file, sizeof(file)) == 0;
}
