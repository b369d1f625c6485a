#include "config/sources.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/sys_linux.h"

#define SYSTEM_FILE "/etc/autolock.conf"
#define USER_FILE "/autolock/autolock.conf"

void faults_add(struct faults *faults, const char *source, const char *text, const char *what) {
    struct rules_fault fault = {source, 0, text, strlen(text), what};
    faults->count++;
    if (faults->report) {
        faults->report(&fault, faults->data);
    }
}

const char *sources_variable(char *const *environment, const char *name) {
    size_t length = strlen(name);
    for (; environment && *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

/*
 * Whether a file that nobody asked for by name is just not there. A directory
 * that may not be searched (a service with somebody else's HOME) is that too;
 * a file that is there and may not be read is not.
 */
static bool is_missing(const char *path, int error) {
    struct sys_stat stat;
    return error == -ENOENT || error == -ENOTDIR ||
           (error == -EACCES && sys_stat(AT_FDCWD, path, 0, &stat) == -EACCES);
}

/* Returns 0, or -ENOENT when the file is missing and may be. */
static int add_file(struct sources *sources, const char *name, bool may_miss,
                    struct faults *faults) {
    struct textfile file;
    int r = textfile_read(name, &file);
    if (r == 0) {
        sources->list[sources->count++] = (struct source){
            .name = name,
            .text = file.text,
            .length = file.length,
            .form = RULES_FILE,
            .file = file,
        };
    } else if (may_miss && is_missing(name, r)) {
        return -ENOENT;
    } else {
        faults_add(faults, name, "", textfile_error(r));
    }
    return 0;
}

/* The name is built of three strings, in mapped memory: rules point to it, but
 * the environment that it comes from belongs to the program. */
static int add_joined_file(struct sources *sources, const char *const parts[3], bool may_miss,
                           struct faults *faults) {
    size_t size = strlen(parts[0]) + strlen(parts[1]) + strlen(parts[2]) + 1;
    char *name = sys_map(size);
    if (!name) {
        return -ENOMEM;
    }
    char *to = name;
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(parts[i]);
        memcpy(to, parts[i], length);
        to += length;
    }
    if (add_file(sources, name, may_miss, faults) < 0) {
        sys_unmap(name, size);
    }
    return 0;
}

/* The user's own file: $XDG_CONFIG_HOME, or else $HOME/.config. A relative path
 * would mean another file after each chdir; the XDG base directory
 * specification says to ignore it. */
static int add_user_file(struct sources *sources, char *const *environment, struct faults *faults) {
    const char *directory = sources_variable(environment, "XDG_CONFIG_HOME");
    const char *below = "";
    if (!directory || directory[0] != '/') {
        directory = sources_variable(environment, "HOME");
        below = "/.config";
    }
    if (!directory || directory[0] != '/') {
        return 0;
    }
    return add_joined_file(sources, (const char *const[]){directory, below, USER_FILE}, true,
                           faults);
}

int sources_read(struct sources *ret, char *const *environment, struct faults *faults) {
    *ret = (struct sources){0};

    const char *patterns = sources_variable(environment, "AUTOLOCK_PATTERNS");
    if (patterns) {
        ret->list[ret->count++] = (struct source){
            .name = "AUTOLOCK_PATTERNS",
            .text = patterns,
            .length = strlen(patterns),
            .form = RULES_VARIABLE,
        };
        return 0;
    }
    const char *chosen = sources_variable(environment, "AUTOLOCK_CONFIG");
    if (chosen && chosen[0] != '\0') {
        return add_joined_file(ret, (const char *const[]){chosen, "", ""}, false, faults);
    }
    (void)add_file(ret, SYSTEM_FILE, true, faults);
    return add_user_file(ret, environment, faults);
}

void sources_done(struct sources *sources) {
    for (size_t i = 0; i < sources->count; i++) {
        textfile_done(&sources->list[i].file);
    }
    sources->count = 0;
}
