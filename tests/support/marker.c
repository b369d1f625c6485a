#include "tests/support/marker.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

bool is_there(const char *path) {
    struct stat stat;
    return lstat(path, &stat) == 0;
}

void plant(const char *path, long pid, const char *host, const char *token) {
    char text[512];
    snprintf(text, sizeof(text), "%ld\n%s\n%s", pid, host, token);
    put_file(path, text);
}

const char *this_host(void) {
    static struct utsname name;
    cr_assert_eq(uname(&name), 0);
    return name.nodename;
}

pid_t dead_process(void) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    return pid;
}

void expect_only_data(void) {
    DIR *directory = opendir(".");
    for (struct dirent *entry; (entry = readdir(directory));) {
        cr_expect(!strstr(entry->d_name, "lock") && !strstr(entry->d_name, "stale"), "%s is left",
                  entry->d_name);
    }
    closedir(directory);
}

void wait_until_said(const char *text) {
    for (int i = 0; i < 3000 && !strstr(file_content("log"), text); i++) {
        usleep(10000);
    }
    cr_assert(strstr(file_content("log"), text), "not said: %s: %s", text, file_content("log"));
}
