/* autolock run: execute a program under libautolock.so. */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>

#include "cli.h"
#include "config/load.h"
#include "config/log.h"

static const char help[] =
    "Usage: autolock run [--pattern PATTERN]... [--] COMMAND [ARGUMENT]...\n"
    "Runs COMMAND under libautolock.so: while it has a file open that matches a rule,\n"
    "the file's sidecar FILE.lock is locked, and others who lock it wait.\n"
    "\n"
    "  --pattern PATTERN  a rule, in place of AUTOLOCK_PATTERNS and the configuration\n"
    "                     files: '*.csv', '/srv/data/**', '*.txt timeout=5s'\n"
    "  --help             show this help\n"
    "\n"
    "The exit status is that of COMMAND; 125 where autolock itself fails or refuses,\n"
    "126 where COMMAND cannot be executed, 127 where it is not found.\n";

static int out_of_memory(void) {
    complain("out of memory");
    return STATUS_FAILURE;
}

/* Appends a rule to those of earlier --pattern options, a line each. */
static int add_pattern(char **patterns, const char *pattern) {
    char *joined = NULL;
    if (asprintf(&joined, "%s%s%s", *patterns ? *patterns : "", *patterns ? "\n" : "", pattern) < 0)
        return -ENOMEM;
    free(*patterns);
    *patterns = joined;
    return 0;
}

static bool locks_anything(const struct rule_set *set) {
    for (size_t i = 0; i < set->count; i++)
        if (!set->rules[i].exclude)
            return true;
    return false;
}

/* Of AUTOLOCK_LOG and AUTOLOCK_LOG_LEVEL. */
static int log_faults(void) {
    static struct log_settings settings; /* some kilobytes */
    return log_settings_read(&settings, environ, print_fault, NULL);
}

/* Reads the rules as the library will read them in the program. */
static int read_rules(const char *command, bool *ret_off) {
    struct config config;
    if (config_load(&config, environ, print_fault, NULL) < 0)
        return out_of_memory();
    *ret_off = config.off;
    if (config.off)
        return 0;
    if (config.faults + log_faults() > 0) {
        complain("'%s' is not started: the rules or the variables have faults", command);
        return STATUS_FAILURE;
    }
    if (!locks_anything(&config.rules)) {
        complain("'%s' is not started: there are no rules, so nothing would be locked; "
                 "give --pattern, set AUTOLOCK_PATTERNS or write /etc/autolock.conf",
                 command);
        return STATUS_FAILURE;
    }
    return 0;
}

static int set_environment(void) {
    _cleanup_free_ char *library = NULL;
    _cleanup_free_ char *preload = NULL;
    _cleanup_free_ char *search = NULL;
    int result = library_find(&library);
    if (result == -ENOENT) {
        complain("cannot find libautolock.so, neither beside this command nor in "
                 "'" AUTOLOCK_LIBRARY_DIR "'");
        return STATUS_FAILURE;
    }
    if (result < 0) {
        complain("cannot find libautolock.so: %s", strerror(-result));
        return STATUS_FAILURE;
    }
    result = library_search(library, getenv("LD_LIBRARY_PATH"), &search);
    if (result == -EINVAL) {
        complain("cannot load '%s': ld.so takes no path with a colon or a semicolon in it; "
                 "move it or install it elsewhere",
                 library);
        return STATUS_FAILURE;
    }
    if (result == 0)
        result = library_preload(library, getenv("LD_PRELOAD"), &preload);
    if (result == -EEXIST) {
        complain("LD_PRELOAD names another libautolock.so than '%s'; "
                 "the two would wait for each other, so take it out",
                 library);
        return STATUS_FAILURE;
    }
    if (search && setenv("LD_LIBRARY_PATH", search, 1) < 0)
        return out_of_memory();
    if (result < 0 || setenv("LD_PRELOAD", preload, 1) < 0 || setenv("AUTOLOCK_STRICT", "1", 1) < 0)
        return out_of_memory();
    return 0;
}

/* Executes this command once more, now under the library. Returns on failure. */
static int start_loaded(char *path, int count, char **command) {
    static char name[] = "autolock", step[] = RUN_LOADED;
    char **arguments = calloc((size_t)count + 4, sizeof(*arguments));
    if (!arguments)
        return out_of_memory();
    arguments[0] = name;
    arguments[1] = step;
    arguments[2] = path;
    memcpy(arguments + 3, command, (size_t)count * sizeof(*arguments));
    (void)execv("/proc/self/exe", arguments);
    int error = errno;
    free(arguments);
    complain("cannot start '%s': /proc/self/exe: %s", *command, strerror(error));
    return STATUS_FAILURE;
}

static int run(int count, char **command) {
    bool off = false;
    int status = read_rules(*command, &off);
    if (status != 0)
        return status;
    _cleanup_free_ char *path = NULL;
    int result = program_find(*command, &path);
    if (result < 0)
        return cannot_execute(*command, -result);
    if (off) {
        /* Nothing is to be locked, so there is nothing to refuse either. */
        (void)execvp(path, command);
        return cannot_execute(*command, errno);
    }
    status = program_inspect(*command, path);
    if (status == 0)
        status = set_environment();
    return status == 0 ? start_loaded(path, count, command) : status;
}

int command_run(int argc, char **argv) {
    static const struct option options[] = {
        {"pattern", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    _cleanup_free_ char *patterns = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            if (add_pattern(&patterns, optarg) < 0)
                return out_of_memory();
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            complain("try 'autolock run --help'");
            return STATUS_FAILURE;
        }
    }
    if (optind == argc) {
        complain("no command is given; try 'autolock run --help'");
        return STATUS_FAILURE;
    }
    if (patterns && setenv("AUTOLOCK_PATTERNS", patterns, 1) < 0)
        return out_of_memory();
    return run(argc - optind, argv + optind);
}

/* The second step: autolock run-loaded PATH COMMAND [ARGUMENT]... */
int command_run_loaded(int argc, char **argv) {
    if (argc < 3) {
        complain("'" RUN_LOADED "' is the second step of 'autolock run', not a subcommand");
        return STATUS_FAILURE;
    }
    if (!dlsym(RTLD_DEFAULT, "autolock_version")) {
        const char *preload = getenv("LD_PRELOAD");
        complain("'%s' is not started: ld.so did not load libautolock.so (LD_PRELOAD is '%s')",
                 argv[2], preload ? preload : "");
        return STATUS_FAILURE;
    }
    (void)execvp(argv[1], argv + 2);
    return cannot_execute(argv[2], errno);
}
