/* The autolock command: its table of subcommands, --help and --version. */
#include <string.h>

#include "cli.h"

static command_main command_help;

static const struct subcommand {
    const char *name;
    command_main *main;
    const char *summary; /* NULL: private, not shown */
} subcommands[] = {
    {"run", command_run, "run a program so that its files are locked while they are open"},
    {"check", command_check, "say whether files will be locked, and which rule decides"},
    {"help", command_help, "show this help, or that of a subcommand"},
    {RUN_LOADED, command_run_loaded, NULL},
};
#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static const struct subcommand *find(const char *name) {
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(subcommands[i].name, name) == 0)
            return &subcommands[i];
    return NULL;
}

static void print_help(FILE *stream) {
    fputs("Usage: autolock SUBCOMMAND [ARGUMENT]...\n"
          "Makes unmodified programs take turns at the files they share.\n\n",
          stream);
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        if (subcommands[i].summary)
            fprintf(stream, "  %-10s %s\n", subcommands[i].name, subcommands[i].summary);
    fputs("\n  --help     show this help\n"
          "  --version  show the version\n"
          "\n'autolock SUBCOMMAND --help' says more; see also autolock(1).\n",
          stream);
}

static int unknown(const char *name) {
    complain("there is no subcommand '%s'; try 'autolock --help'", name);
    return STATUS_FAILURE;
}

static int command_help(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    const struct subcommand *subcommand = find(argv[1]);
    if (!subcommand || !subcommand->summary)
        return unknown(argv[1]);
    char option[] = "--help";
    char *arguments[] = {argv[0], option, NULL};
    return subcommand->main(2, arguments);
}

/* Help or a report that did not reach its file must not look like success. */
static int finish(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    complain("cannot write to standard output");
    return STATUS_FAILURE;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return STATUS_FAILURE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        puts("autolock " AUTOLOCK_VERSION);
        return finish(0);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    const struct subcommand *subcommand = find(word);
    if (!subcommand)
        return unknown(word);
    /* getopt_long(3) begins its messages with argv[0]. */
    static char name[] = "autolock";
    argv[1] = name;
    return finish(subcommand->main(argc - 1, argv + 1));
}
