/*
 * Whether the library can be loaded into a program. The user must hear it
 * before the program starts: ld.so says nothing, or only warns.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "elf_identity.h"
#include "privilege.h"
#include "script.h"

#define MAX_DEPTH 4 /* scripts that interpret scripts, as in the kernel */

struct inspection {
    const char *command; /* what the user asked for */
    struct elf_identity own;
    int depth;
};

static int inspect(struct inspection *in, const char *path);

/* "it", or for what runs the user's script "'/usr/bin/perl', which runs it,". */
static int refuse(const struct inspection *in, const char *path, const char *why) {
    if (in->depth == 0)
        complain("cannot run '%s': it %s", in->command, why);
    else
        complain("cannot run '%s': '%s', which runs it, %s", in->command, path, why);
    return STATUS_FAILURE;
}

static bool same_loader(const char *a, const char *b) {
    struct stat one, other;
    return strcmp(a, b) == 0 || (stat(a, &one) == 0 && stat(b, &other) == 0 &&
                                 one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

static int inspect_elf(const struct inspection *in, const char *path, int fd,
                       const struct elf_identity *program) {
    const struct elf_identity *own = &in->own;
    if (program->class != own->class || program->data != own->data ||
        program->machine != own->machine)
        return refuse(in, path,
                      "is made for another kind of machine than the library, so the library "
                      "cannot be loaded into it and its files would go unlocked");
    if (program->loader[0] == '\0')
        return refuse(in, path,
                      "is statically linked, so the library cannot be loaded into it and its "
                      "files would go unlocked");
    if (!same_loader(program->loader, own->loader))
        return refuse(in, path,
                      "is made for another C library (another program loader), so the library "
                      "cannot be loaded into it and its files would go unlocked");
    const char *privilege = privilege_gained(fd);
    if (!privilege)
        return 0;
    _cleanup_free_ char *why = NULL;
    if (asprintf(&why,
                 "is %s, so the system does not load the library into it and its files would go "
                 "unlocked",
                 privilege) < 0)
        why = NULL;
    return refuse(in, path, why ? why : privilege);
}

/* Something else that has to be loaded to run the file that was inspected. */
static int inspect_next(struct inspection *in, const char *path) {
    if (in->depth == MAX_DEPTH)
        return cannot_execute(in->command, ELOOP);
    in->depth++;
    int status = inspect(in, path);
    in->depth--;
    return status;
}

static int inspect_script(struct inspection *in, struct script *script) {
    if (access(script->interpreter, F_OK) < 0) {
        int error = errno;
        complain("cannot run '%s': its interpreter '%s': %s", in->command, script->interpreter,
                 strerror(error));
        return error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
    }
    int status = inspect_next(in, script->interpreter);
    if (status != 0)
        return status;
    const char *name = script_env_program(script);
    _cleanup_free_ char *program = NULL;
    /* One that is not there is env's to complain about. */
    if (!name || program_find(name, &program) < 0)
        return 0;
    return inspect_next(in, program);
}

static int inspect(struct inspection *in, const char *path) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return refuse(in, path,
                      "cannot be read, so nobody can tell whether the library would be loaded");
    struct elf_identity program;
    int result = elf_identify(fd, &program);
    if (result == 0)
        return inspect_elf(in, path, fd, &program);
    if (result != -ENOEXEC)
        return cannot_execute(in->command, ENOEXEC);

    char start[SCRIPT_LINE];
    ssize_t length = pread(fd, start, sizeof(start), 0);
    if (length < 0)
        return cannot_execute(in->command, errno);
    struct script script;
    if (script_parse(start, (size_t)length, &script) == 0)
        return inspect_script(in, &script);
    /* The kernel cannot execute it: execvp(3) hands the command to the shell. */
    return strcmp(path, "/bin/sh") != 0 ? inspect_next(in, "/bin/sh") : 0;
}

int program_inspect(const char *command, const char *path) {
    struct inspection in = {.command = command};
    _cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int result = self < 0 ? -errno : elf_identify(self, &in.own);
    if (result < 0) {
        complain("cannot read /proc/self/exe: %s", strerror(-result));
        return STATUS_FAILURE;
    }
    return inspect(&in, path);
}
