#include "lib/soft_text.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/utsname.h>

#include "lib/process_stat.h"
#include "lib/put.h"
#include "lib/start_token.h"
#include "lib/sys_linux.h"

static const char *host_name(struct utsname *name) {
    return SYS_CALL(SYS_uname, name, 0, 0, 0, 0, 0) == 0 ? name->nodename : "";
}

int soft_text_compose(struct soft_text *ret) {
    struct utsname name;
    char token[START_TOKEN_SIZE];
    pid_t pid = sys_getpid();
    int r = start_token(pid, token);
    if (process_stat_is_lack(r)) {
        return r;
    }
    struct put put = put_begin(ret->start, sizeof(ret->start));
    put_number(&put, (unsigned long)pid);
    put_string(&put, "\n");
    put_string(&put, host_name(&name));
    put_string(&put, "\n");
    put_string(&put, r == 0 ? token : "");
    put_string(&put, r == 0 ? "\n" : "");
    ret->length = (size_t)(put.at - ret->start);
    return 0;
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

/* A whole number above 0; 0 where it is none. */
static pid_t read_pid(const char *text) {
    int64_t number = 0;
    for (; *text >= '0' && *text <= '9' && number <= INT_MAX; text++) {
        number = number * 10 + (*text - '0');
    }
    return *text || number > INT_MAX ? 0 : (pid_t)number;
}

/* A process without a token, or of which /proc does not tell, may be the one. */
static int judge_process(pid_t pid, const char *token, enum soft_state *ret) {
    struct process_stat stat;
    char now[START_TOKEN_SIZE];
    *ret = SOFT_DEAD;
    if (SYS_CALL(SYS_kill, pid, 0, 0, 0, 0, 0) == -ESRCH) {
        return 0;
    }
    int r = process_stat_read(pid, &stat);
    if (r == 0 && process_stat_is_over(&stat)) {
        return 0;
    }
    if (r == 0 && token && *token) {
        r = start_token_of(&stat, now);
        if (r == 0 && strcmp(now, token) != 0) {
            /* Another process, or the same one seen from another time namespace. */
            r = process_stat_shares_time(pid);
            *ret = r == 1 ? SOFT_DEAD : SOFT_UNKNOWN;
            return r < 0 ? r : 0;
        }
    }
    *ret = SOFT_ALIVE;
    return process_stat_is_lack(r) ? r : 0;
}

/* *ret stays as it is where the text is none of ours. */
static int judge(char *text, struct soft_owner *ret) {
    struct utsname name;
    char *pid = next_line(&text), *host = pid ? next_line(&text) : NULL;
    if (!host) {
        return 0;
    }
    pid_t number = read_pid(pid);
    if (number == 0 || strlen(host) >= sizeof(ret->host)) {
        return 0;
    }
    ret->pid = number;
    memcpy(ret->host, host, strlen(host) + 1);
    if (!*host || strcmp(host, host_name(&name)) != 0) {
        return 0;
    }
    return judge_process(ret->pid, next_line(&text), &ret->state);
}

int soft_text_judge(char *text, struct soft_owner *ret) {
    *ret = (struct soft_owner){.state = SOFT_UNKNOWN};
    return judge(text, ret);
}
