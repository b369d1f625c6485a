#include "lib/soft_text.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "lib/start_token.h"
#include "lib/sys_linux.h"

static const char *host_name(struct utsname *name) {
    return uname(name) == 0 ? name->nodename : "";
}

void soft_text_compose(struct soft_text *ret) {
    struct utsname name;
    char token[START_TOKEN_SIZE];
    pid_t pid = sys_getpid();
    bool known = start_token(pid, token) == 0;
    ret->length = (size_t)snprintf(ret->start, sizeof(ret->start), "%ld\n%s\n%s%s", (long)pid,
                                   host_name(&name), known ? token : "", known ? "\n" : "");
}

/* Cuts the next line out of a text; NULL when it does not end. */
static char *next_line(char **text) {
    char *start = *text, *end = strchr(start, '\n');
    if (!end) {
        return NULL;
    }
    *end = '\0';
    *text = end + 1;
    return start;
}

static enum soft_state judge_process(pid_t pid, const char *token) {
    int r = (int)SYS_CALL(SYS_kill, pid, 0, 0, 0, 0, 0);
    if (r == -ESRCH) {
        return SOFT_DEAD;
    }
    char now[START_TOKEN_SIZE];
    if (!token || !*token || start_token(pid, now) < 0) {
        return SOFT_ALIVE;
    }
    return strcmp(now, token) == 0 ? SOFT_ALIVE : SOFT_DEAD;
}

/* *ret stays as it is where the text is none of ours. */
static void judge(char *text, struct soft_owner *ret) {
    struct utsname name;
    char *end, *pid = next_line(&text), *host = pid ? next_line(&text) : NULL;
    if (!host) {
        return;
    }
    long number = strtol(pid, &end, 10);
    if (*end || number <= 0 || number > INT_MAX || strlen(host) >= sizeof(ret->host)) {
        return;
    }
    ret->pid = (pid_t)number;
    (void)strcpy(ret->host, host);
    if (*host && strcmp(host, host_name(&name)) == 0) {
        ret->state = judge_process(ret->pid, next_line(&text));
    }
}

struct soft_owner soft_text_judge(char *text) {
    struct soft_owner owner = {.state = SOFT_UNKNOWN};
    int saved = errno;
    judge(text, &owner);
    errno = saved;
    return owner;
}
