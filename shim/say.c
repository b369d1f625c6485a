#include "shim/say.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "config/log.h"
#include "lib/sys_linux.h"
#include "lib/unsignalled.h"
#include "shim/scratch.h"
#include "shim/start.h"
#include "shim/syslog.h"
#include "shim/table.h"

static struct log_settings settings; /* a copy: programs write over their environment */

int say_start(char *const *environment) {
    return log_settings_read(&settings, environment, say_fault, NULL);
}

bool say_debugs(void) {
    return settings.debug;
}

/* In the table, where the child of a vfork changes only what it says itself. */
static void set_opened(bool opened) {
    static const struct sidecar_id none;
    enum table_mode mode = opened ? MODE_OPENED : MODE_NOTHING;
    table_word word = table_get(2);
    if (table_kind(word) == TABLE_NONE && table_mode(word) != mode) {
        (void)table_change(2, word, TABLE_NONE, mode, 0, none);
    }
}

void say_number_opened(int fd) {
    if (fd == 2) {
        set_opened(true);
    }
}

void say_number_duplicated(int fd) {
    if (fd == 2) {
        set_opened(false);
    }
}

static bool write_file(const char *line, size_t length) {
    int fd = sys_openat(
        AT_FDCWD, settings.path,
        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0666);
    if (fd < 0) {
        return false;
    }
    bool written = unsignalled_write(fd, line, length) == (ssize_t)length;
    (void)sys_close(fd);
    return written;
}

/* A file that a rule locks, though this process may have no hold of it: another
 * has it and waits for us, or it could not be locked, or it came through exec. */
static bool stderr_matches(void) {
    struct target *target = shim_is_active() ? scratch_get() : NULL;
    if (!target) {
        return false;
    }
    char *path = target->where.path;
    ssize_t n = sys_readlinkat(AT_FDCWD, "/proc/self/fd/2", path, sizeof(target->where.path) - 1);
    const struct rule *rule = NULL;
    if (n > 0 && *path == '/') {
        path[n] = '\0';
        rule = rules_decide(&start_config.rules, path);
    }
    scratch_put(target);
    return rule && !rule->exclude;
}

static void write_stderr(const char *line, size_t length) {
    table_word word = table_get(2);
    if (table_kind(word) == TABLE_NONE && table_mode(word) != MODE_OPENED && !stderr_matches()) {
        (void)unsignalled_write(2, line, length);
    }
}

static void say_as(enum syslog_severity severity, const struct text *line) {
    if (settings.to == LOG_TO_SYSLOG && syslog_send(severity, line)) {
        return;
    }
    TEXT(whole, 1100);
    text_put(&whole, "autolock: ");
    text_put(&whole, line->start);
    if (whole.length == whole.size - 1) {
        whole.length--; /* cut: the newline still has to fit */
    }
    text_put(&whole, "\n");
    if (settings.to != LOG_TO_FILE || !write_file(whole.start, whole.length)) {
        write_stderr(whole.start, whole.length);
    }
}

void say(const struct text *line) {
    say_as(SYSLOG_WARNING, line);
}

void say_put_self(struct text *line) {
    char name[17] = ""; /* prctl(2): 16 with the zero */
    text_put(line, "pid ");
    text_put_number(line, (uint64_t)sys_getpid(), 10);
    if (SYS_CALL(SYS_prctl, PR_GET_NAME, name, 0, 0, 0, 0) == 0) {
        text_put(line, " (");
        text_put_visible(line, name);
        text_put(line, ")");
    }
}

static void say_of_self(enum syslog_severity severity, const char *what, const struct text *line) {
    TEXT(whole, 1050);
    text_put(&whole, what);
    say_put_self(&whole);
    text_put(&whole, ": ");
    text_put(&whole, line->start);
    say_as(severity, &whole);
}

void say_observed(const struct text *line) {
    say_of_self(SYSLOG_INFO, "observe: ", line);
}

void say_debug(const struct text *line) {
    if (settings.debug) {
        say_of_self(SYSLOG_DEBUG, "debug: ", line);
    }
}

const char *say_error(int error) {
    static const struct {
        int error;
        const char *text;
    } known[] = {
        {EACCES, "permission denied"},
        {EPERM, "not permitted"},
        {EROFS, "read-only file system"},
        {ENOENT, "no such file or directory"},
        {EISDIR, "it is a directory"},
        {ELOOP, "it is a symbolic link"},
        {ENXIO, "it is not a regular file"},
        {EMFILE, "too many open files in this process"},
        {ENFILE, "too many open files in this system"},
        {ENOLCK, "no locks available"},
        {EBADF, "this file system does not lock read-only descriptors"},
        {ENOSPC, "no space left on device"},
        {EDQUOT, "disk quota exceeded"},
        {ENAMETOOLONG, "file name too long"},
        {EOPNOTSUPP, "/proc is not mounted, so the path of its directory cannot be told"},
        {ERANGE, "its path is too long"},
        {ESTALE, "it is replaced again and again"},
        {ENOMEM, "out of memory"},
        {EIO, "input/output error"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].error == error) {
            return known[i].text;
        }
    }
    return NULL;
}

void say_fault(const struct rules_fault *fault, void *data) {
    (void)data;
    TEXT(line, 768);
    text_put_visible(&line, fault->source);
    if (fault->line) {
        text_put(&line, ":");
        text_put_number(&line, fault->line, 10);
    }
    text_put(&line, ": ");
    text_put(&line, fault->what);
    if (fault->length) {
        TEXT(word, 256);
        for (size_t i = 0; i < fault->length && i < 200; i++) {
            char one[2] = {fault->text[i], '\0'};
            text_put(&word, one);
        }
        text_put(&line, ": '");
        text_put_visible(&line, word.start);
        text_put(&line, "'");
    }
    say(&line);
}
