#include "tests/unit/lib_visit.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/harness.h"

struct filelock *lock;

void lock_begin(void) {
    scenario_begin();
    cr_assert_eq(filelock_create(&lock, "a.lock", 0), 0);
}

void lock_end(void) {
    filelock_destroy(lock);
    scenario_end();
}

void *visit(void *data) {
    struct visit *visit = data;
    visit->tid = (pid_t)syscall(SYS_gettid);
    visit->result = filelock_acquire(visit->lock, visit->timeout);
    if (visit->result == 0) {
        (void)filelock_release(visit->lock);
    }
    return NULL;
}

void visit_start(struct visit *data) {
    cr_assert_eq(pthread_create(&data->thread, NULL, visit, data), 0);
}

int visit_result(struct visit *data) {
    cr_assert_eq(pthread_join(data->thread, NULL), 0);
    return data->result;
}

unsigned long long caught(void) {
    const char *at = strstr(file_content("/proc/self/status"), "SigCgt:");
    cr_assert(at);
    return strtoull(at + strlen("SigCgt:"), NULL, 16);
}
