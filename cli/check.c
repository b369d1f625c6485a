/* autolock check: what the library would do with a file, and by which rule. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "config/canonical.h"
#include "config/load.h"
#include "config/log.h"
#include "config/sidecar_path.h"

static const char help[] =
    "Usage: autolock check PATH...\n"
    "Says for each file which one it really is, which rule decides, whether programs\n"
    "under the library will lock it, and which sidecar they lock.\n"
    "\n"
    "  --help  show this help\n"
    "\n"
    "The exit status is 0 where all files will be locked, 1 where some will not,\n"
    "125 for failures and faulty rules.\n";

/* What was found out about one path; the first reason against it decides. */
struct verdict {
    const char *against; /* why it will not be locked; NULL: it will be */
    const char *file;    /* what stands at the path */
    const char *sidecar; /* what stands at the sidecar's; NULL: it needs none */
    long long sidecar_size;
    char soft[SOFT_SIDECAR_SIZE]; /* room for that, of a soft lock */
    bool fault;                   /* it should be locked, but cannot be */
};

static void print_line(const char *key, const char *text) {
    printf("  %-10s ", key);
    print_text(stdout, text, strlen(text));
    putchar('\n');
}

static void print_rule(const struct rule *rule) {
    if (!rule) {
        print_line("rule", "none matches");
        return;
    }
    printf("  %-10s ", "rule");
    print_text(stdout, rule->source, strlen(rule->source));
    putchar(':');
    if (rule->line > 0)
        printf("%u:", rule->line);
    printf(" %s", rule->exclude ? "!" : "");
    print_text(stdout, rule->pattern, strlen(rule->pattern));
    putchar('\n');
}

static const char *kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "regular file";
    case S_IFLNK:
        return "symbolic link";
    case S_IFDIR:
        return "directory";
    case S_IFCHR:
    case S_IFBLK:
        return "device";
    case S_IFIFO:
        return "FIFO";
    case S_IFSOCK:
        return "socket";
    default:
        return "special file";
    }
}

static void against(struct verdict *verdict, const char *reason) {
    if (!verdict->against)
        verdict->against = reason;
}

static void judge_file(const struct canonical *file, struct verdict *verdict) {
    struct stat status;
    if (fstatat(file->directory, file->name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0) {
        int error = errno;
        verdict->file = error == ENOENT ? "not there yet" : strerror(error);
        if (error != ENOENT)
            against(verdict, "the file cannot be reached");
        return;
    }
    verdict->file = kind_of(status.st_mode);
    if (!S_ISREG(status.st_mode))
        against(verdict, "only regular files are locked");
}

static void judge_rule(const struct config *config, const struct rule *rule,
                       struct verdict *verdict) {
    if (config->off)
        against(verdict, "AUTOLOCK=off");
    if (config->observe)
        against(verdict, "AUTOLOCK=observe");
    if (!rule)
        against(verdict, "no rule matches");
    else if (rule->exclude)
        against(verdict, "the rule takes it out");
}

/* Why the sidecar cannot be locked; NULL where it can. */
static const char *fault_of_sidecar(const struct canonical *file, const char *lockdir,
                                    const char *name, struct verdict *verdict) {
    struct stat status;
    if (fstatat(file->directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
        int error = errno;
        verdict->sidecar = error == ENOENT ? "not there yet" : strerror(error);
        const char *directory = lockdir ? lockdir : ".";
        bool may_make =
            error == ENOENT && faccessat(file->directory, directory, W_OK | X_OK, AT_EACCESS) == 0;
        return may_make ? NULL : "the sidecar cannot be made";
    }
    verdict->sidecar = kind_of(status.st_mode);
    if (!S_ISREG(status.st_mode))
        return "the sidecar is not a regular file";
    verdict->sidecar_size = (long long)status.st_size;
    /* To lock it, either is enough. */
    bool may_open = faccessat(file->directory, name, W_OK, AT_EACCESS) == 0 ||
                    faccessat(file->directory, name, R_OK, AT_EACCESS) == 0;
    return may_open ? NULL : "the sidecar may not be opened";
}

static void judge_sidecar(const struct canonical *file, const struct rule *rule,
                          struct verdict *verdict) {
    const char *lockdir = rule->options->lockdir;
    char name[SIDECAR_NAME_SIZE];
    if (sidecar_name(file->path, lockdir, name) && rule->options->kind == KIND_SOFT) {
        verdict->against = soft_sidecar_fault(file->directory, lockdir, name, verdict->soft);
        verdict->sidecar = verdict->soft;
    } else if (sidecar_name(file->path, lockdir, name)) {
        verdict->against = fault_of_sidecar(file, lockdir, name, verdict);
    } else {
        verdict->sidecar = strerror(ENAMETOOLONG);
        verdict->against = "the sidecar's name is too long";
    }
    verdict->fault = verdict->against;
}

static const char *describe_readers(const struct rule *rule) {
    if (rule->options->kind == KIND_SOFT)
        return rule->options->readers == READERS_NONE
                   ? "yes, by a soft lock; readers are not locked"
                   : "yes, by a soft lock; readers exclude one another too";
    switch (rule->options->readers) {
    case READERS_EXCLUSIVE:
        return "yes; readers exclude one another too";
    case READERS_NONE:
        return "yes; readers are not locked";
    default:
        return "yes; readers share it";
    }
}

static void print_sidecar(const struct canonical *file, const struct rule *rule,
                          const struct verdict *verdict) {
    const char *lockdir = rule->options->lockdir;
    char name[SIDECAR_NAME_SIZE];
    (void)sidecar_name(file->path, lockdir, name);
    printf("  %-10s ", "sidecar");
    if (!lockdir)
        print_text(stdout, file->path, file->length - strlen(file->name));
    print_text(stdout, name, strlen(name));
    fputs(" (", stdout);
    print_text(stdout, verdict->sidecar, strlen(verdict->sidecar));
    fputs(")\n", stdout);
    if (verdict->fault)
        print_line("warning", rule->options->on_error == FAILURE_OPEN
                                  ? "the file goes unlocked (on-error=open)"
                                  : "writers cannot open the file (on-error=fail)");
    if (verdict->sidecar_size > 0)
        printf("  %-10s the sidecar holds %lld bytes: it may be somebody's data, or the lock of a\n"
               "  %-10s program to which its being there means locked; such a file should be\n"
               "  %-10s taken out with a '!' rule\n",
               "warning", verdict->sidecar_size, "", "");
}

static int check_canonical(const struct config *config, const struct canonical *file) {
    struct verdict verdict = {0};
    const struct rule *rule = rules_decide(&config->rules, file->path);
    judge_file(file, &verdict);
    judge_rule(config, rule, &verdict);
    if (!verdict.against)
        judge_sidecar(file, rule, &verdict);

    print_line("canonical", file->path);
    print_line("file", verdict.file);
    print_rule(rule);
    if (verdict.against)
        printf("  %-10s no: %s\n", "locked", verdict.against);
    else
        print_line("locked", describe_readers(rule));
    if (verdict.sidecar)
        print_sidecar(file, rule, &verdict);
    return verdict.against ? STATUS_NOT_LOCKED : 0;
}

static int check(const struct config *config, const char *path) {
    print_text(stdout, path, strlen(path));
    putchar('\n');
    struct canonical file;
    int result = canonical_resolve(AT_FDCWD, path, true, &file);
    if (result == 0) {
        result = check_canonical(config, &file);
        canonical_done(&file);
    }
    if (result >= 0)
        return result;
    print_line("failure", strerror(-result));
    return STATUS_FAILURE;
}

int command_check(int argc, char **argv) {
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        complain("try 'autolock check --help'");
        return STATUS_FAILURE;
    }
    if (optind == argc) {
        complain("no path is given; try 'autolock check --help'");
        return STATUS_FAILURE;
    }
    struct config config;
    if (config_load(&config, environ, print_fault, NULL) < 0) {
        complain("out of memory");
        return STATUS_FAILURE;
    }
    static struct log_settings settings; /* some kilobytes */
    config.faults += log_settings_read(&settings, environ, print_fault, NULL);
    int worst = config.faults > 0 && !config.off ? STATUS_FAILURE : 0;
    for (int i = optind; i < argc; i++) {
        int status = check(&config, argv[i]);
        worst = status > worst ? status : worst;
    }
    return worst;
}
