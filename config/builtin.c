#include <stddef.h>
#include <string.h>

#include "config/rules_private.h"

#define SOURCE "built-in"

/*
 * Files that other programs lock in their own way, by the existence of a lock
 * file, which ours would be for them for ever (contract P4), and files that
 * only look like files.
 */
static const char sidecars[] = "*.lock"; /* lock files: ours, poetry's, cargo's */
static const char *const patterns[] = {
    sidecars,
    ".git/",            /* git makes index.lock, HEAD.lock, ... itself */
    "?*.git/",          /* the same: bare repositories, as they are mostly called */
    ".hg/",             /* Mercurial: wlock, lock */
    "*.gitconfig",      /* git config makes .gitconfig.lock */
    ".gnupg/",          /* GnuPG: pubring.kbx.lock */
    "/var/mail/",       /* mail delivery: dot-locks (dotlockfile(1)) */
    "/var/spool/mail/", /* the same, by its older name */
    "/etc/passwd",      /* vipw(8), useradd(8), lckpwdf(3): /etc/passwd.lock */
    "/etc/group",       /* the same: vigr(8), groupadd(8) */
    "/etc/shadow",      /* the same */
    "/etc/gshadow",     /* the same */
    "/etc/subuid",      /* the same: usermod(8) */
    "/etc/subgid",      /* the same */
    "/proc/",           /* the kernel's: nobody can put a sidecar beside these */
    "/sys/",            /* the same */
    "/dev/",            /* devices, and the shared memory and semaphores of
                           programs in /dev/shm, which are no data files */
};

#define COUNT (sizeof(patterns) / sizeof(*patterns))

size_t builtin_count(void) {
    return COUNT;
}

static struct rule make(const char *pattern) {
    return (struct rule){
        .pattern = pattern,
        .source = SOURCE,
        .exclude = true,
        .builtin = true,
        .options = &rule_default_options,
    };
}

int rules_add_builtin(struct rule_set *set) {
    for (size_t i = 0; i < COUNT; i++) {
        struct rule rule = make(patterns[i]);
        int r = rules_append(set, &rule);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

const struct rule *builtin_sidecar(const struct rule_set *set) {
    static const struct rule outside = {.pattern = sidecars,
                                        .source = SOURCE,
                                        .exclude = true,
                                        .builtin = true,
                                        .options = &rule_default_options};

    for (size_t i = set->count; i-- > 0;) {
        if (set->rules[i].builtin && strcmp(set->rules[i].pattern, sidecars) == 0) {
            return &set->rules[i];
        }
    }
    return &outside;
}
