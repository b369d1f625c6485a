/*
 * The autolock command: what its files offer one another.
 *
 * `autolock run` works in two steps, because ld.so only warns about a library
 * that it cannot load and starts the program without it:
 *
 *  1. command_run reads the rules, looks the program up (lookup.c), refuses one
 *     that would run unprotected (inspect.c), finds libautolock.so (library.c),
 *     sets the environment and executes this command once more;
 *  2. command_run_loaded, now itself under LD_PRELOAD, looks whether the
 *     library is really there, and only then executes the program.
 *
 * A command returns the exit status. Other functions return 0 or a negative
 * errno value, give results through ret_*, which they leave alone on failure,
 * and print nothing, but for those that say so.
 */
#ifndef AUTOLOCK_CLI_H
#define AUTOLOCK_CLI_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/rules.h"

/* Exit statuses; those of `run` are what env(1) and timeout(1) have. */
enum {
    STATUS_NOT_LOCKED = 1, /* check: at least one file will not be locked */
    STATUS_FAILURE = 125,
    STATUS_CANNOT_RUN = 126,
    STATUS_NOT_FOUND = 127,
};

/* argv[0] is "autolock", the arguments of the subcommand follow. */
typedef int command_main(int argc, char **argv);
command_main command_run;
command_main command_run_loaded;
command_main command_check;

/* The name of the second step in the table of subcommands. */
#define RUN_LOADED "run-loaded"

/* --- message.c --- */

/* Prints "autolock: ...", a line on stderr. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* Prints text that comes from a user or a file name: control characters, which
 * could rewrite what stands on the terminal, as octal escapes. */
void print_text(FILE *stream, const char *text, size_t length);

/* Prints a faulty rule on stderr: "where:line: what: 'text'". */
void print_fault(const struct rules_fault *fault, void *data);

/* Complains that COMMAND cannot be executed, and why; returns 126 or 127. */
int cannot_execute(const char *command, int error);

/* --- lookup.c --- */

/* Finds the file that execvp(3) would execute for `name`. *ret_path always has
 * a '/' in it; the caller frees it. */
int program_find(const char *name, char **ret_path);

/* --- inspect.c --- */

/* Whether libautolock.so can be loaded into the program at `path`, which the
 * user called `command`; for a script, into its interpreter. Returns 0, or the
 * exit status after it has said why not. */
int program_inspect(const char *command, const char *path);

/* --- library.c --- */

/* Finds libautolock.so: beside this command, or where it is installed. The
 * caller frees *ret_path. -ENOENT where there is none. */
int library_find(char **ret_path);

/* Where LD_PRELOAD cannot hold the path of the library, since it has a blank in it,
 * ld.so finds it by its name: the value of LD_LIBRARY_PATH, with the library's
 * directory in front of `old` (NULL where it is unset), which the caller frees; NULL
 * where nothing need be changed. -EINVAL when that cannot hold it either. */
int library_search(const char *library, const char *old, char **ret_value);

/* Makes the value of LD_PRELOAD: `library`, or its name (library_search), in front
 * of `old` (NULL where it is unset), or `old` alone where that names the same file
 * already. The caller frees *ret_value. -EEXIST where another libautolock.so stands there: two
 * would wait for each other for ever. */
int library_preload(const char *library, const char *old, char **ret_value);

/* --- soft_sidecar.c --- */

/* Who has the file's soft lock (config/sidecar_path.h says which `name`, in the open
 * directory of the file or in lockdir), and why a program here could not get it ever;
 * NULL where it could. */
#define SOFT_SIDECAR_SIZE 400
const char *soft_sidecar_fault(int directory, const char *lockdir, const char *name,
                               char ret_description[SOFT_SIDECAR_SIZE]);

/* --- cleanup, as C's `with` --- */

static inline void free_text(char **text) {
    free(*text);
}
#define _cleanup_free_ __attribute__((cleanup(free_text)))

static inline void close_descriptor(const int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
}
#define _cleanup_close_ __attribute__((cleanup(close_descriptor)))

#endif
