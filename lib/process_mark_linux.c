#include "lib/process_mark.h"

#include <stdatomic.h>

#include "lib/sys_linux.h"

/* NULL: not asked for yet. `none` once there was none to be had, for good: the token
 * may not change while somebody holds something by it. */
static _Atomic(_Atomic pid_t *) page;
static _Atomic pid_t none;

static void map_page(void) {
    size_t size = 4096;
    _Atomic pid_t *mine = sys_map(size);
    if (mine && SYS_CALL(SYS_madvise, mine, size, MADV_WIPEONFORK, 0, 0, 0) < 0) {
        sys_unmap((void *)mine, size);
        mine = NULL;
    }
    _Atomic pid_t *nothing = NULL;
    if (!atomic_compare_exchange_strong(&page, &nothing, mine ? mine : &none) && mine) {
        sys_unmap((void *)mine, size);
    }
}

/* The page, or NULL: without it (no memory, an old kernel) every question costs a
 * getpid: slower, but right. */
static _Atomic pid_t *existing_page(void) {
    _Atomic pid_t *mark = atomic_load_explicit(&page, memory_order_acquire);
    return mark == &none ? NULL : mark;
}

static _Atomic pid_t *page_of_ours(void) {
    if (!atomic_load_explicit(&page, memory_order_acquire)) {
        map_page();
    }
    return existing_page();
}

/* Behind the id, and whether it is claimed. */
static _Atomic uint64_t *token_of(_Atomic pid_t *mark) {
    return (_Atomic uint64_t *)(void *)&mark[2];
}

pid_t process_mark(void) {
    _Atomic pid_t *mark = page_of_ours();
    if (!mark) {
        return sys_getpid();
    }
    pid_t pid = atomic_load_explicit(mark, memory_order_relaxed);
    if (pid == 0) {
        pid = sys_getpid();
        atomic_store_explicit(mark, pid, memory_order_relaxed);
    }
    return pid;
}

uint64_t process_token(void) {
    static _Atomic uint64_t forks; /* of our ancestors: its copy goes on in a child */
    _Atomic pid_t *mark = page_of_ours();
    if (!mark) {
        return (uint64_t)sys_getpid();
    }
    _Atomic uint64_t *token = token_of(mark);
    uint64_t now = atomic_load_explicit(token, memory_order_relaxed);
    if (now == 0) {
        uint64_t mine = atomic_fetch_add(&forks, 1) + 1;
        if (atomic_compare_exchange_strong(token, &now, mine)) {
            now = mine;
        }
    }
    return now;
}

bool process_mark_is_new(void) {
    _Atomic pid_t *mark = existing_page();
    return mark && atomic_load_explicit(&mark[1], memory_order_relaxed) == 0;
}

void process_mark_claim(void) {
    _Atomic pid_t *mark = existing_page();
    if (mark) {
        atomic_store_explicit(&mark[1], 1, memory_order_relaxed);
    }
}

void process_mark_after_fork(void) {
    _Atomic pid_t *mark = existing_page();
    if (mark) {
        atomic_store_explicit(mark, 0, memory_order_relaxed);
        atomic_store_explicit(&mark[1], 0, memory_order_relaxed);
        atomic_store_explicit(token_of(mark), 0, memory_order_relaxed);
    }
}
